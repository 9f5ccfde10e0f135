"""The embedded recordings, judged by what other programs hear in them."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from ruamel.yaml import YAML

import pipeline.datasets
from pipeline.datasets.synthetic import dsp, render
from pipeline.datasets.synthetic.composition import Note
from pipeline.datasets.synthetic.layouts import Spec, write_track
from pipeline.datasets.synthetic.names import artist_name, camel_case, title_name
from pipeline.datasets.synthetic.styles import STYLES
from pipeline.datasets.synthetic.voice import draw_singer, sing

TRACKS = 6
SECONDS = 10.0
SEED = 3
DATASETS = ("DSD100", "MedleyDB", "CCMixter", "iKala")
VOCALS = ("female singer", "male singer", "vocalists")
Audio = NDArray[np.floating]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small rendering of every dataset."""
    root = tmp_path_factory.mktemp("corpora")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_PROCESSES", "2")
        for dataset in DATASETS:
            render(dataset, root / dataset, TRACKS, SECONDS, SEED)
    return root


def read(path: Path) -> NDArray[np.int16]:
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    assert rate == 44100
    return np.asarray(samples, np.int16)


def metadata(root: Path) -> Iterator[tuple[Path, dict]]:  # type: ignore[type-arg]
    for path in sorted(root.glob("MedleyDB/Audio/*/*_METADATA.yaml")):
        yield path, YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def sources(root: Path, dataset: str) -> Iterator[tuple[Audio, Audio]]:
    """Accompaniment and vocals of every sung track, mono: (samples,)."""
    if dataset == "DSD100":
        for folder in sorted(root.glob("DSD100/Sources/*/*")):
            stems = {path.stem: read(path).mean(1) for path in folder.glob("*.wav")}
            yield stems["drums"] + stems["bass"] + stems["other"], stems["vocals"]
    elif dataset == "MedleyDB":
        for path, track in metadata(root):
            vocals = accompaniment = np.zeros(1)
            for stem in track["stems"].values():
                samples = read(path.parent / track["stem_dir"] / stem["filename"]).mean(1)
                if stem["instrument"] in VOCALS:
                    vocals = vocals + samples
                else:
                    accompaniment = accompaniment + samples
            if vocals.any():
                yield accompaniment, vocals
    elif dataset == "CCMixter":
        for folder in sorted(root.glob("CCMixter/ccmixter_corpus/*")):
            yield read(folder / "source-01.wav").mean(1), read(folder / "source-02.wav").mean(1)
    else:
        for path in sorted(root.glob("iKala/Wavfile/*.wav")):
            samples = read(path).astype(np.float32)
            yield samples[:, 0], samples[:, 1]


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize(
    ("dataset", "pattern", "count"),
    [
        ("DSD100", "Mixtures/Dev/05[123] - * - */mixture.wav", 3),
        ("DSD100", "Mixtures/Test/00[123] - * - */mixture.wav", 3),
        ("DSD100", "Sources/Dev/* - * - */*.wav", 12),
        ("DSD100", "Sources/Test/* - * - */*.wav", 12),
        ("MedleyDB", "Audio/*_*/*_MIX.wav", 6),
        ("MedleyDB", "Audio/*_*/*_METADATA.yaml", 6),
        ("CCMixter", "ccmixter_corpus/*_-_*/mix.wav", 6),
        ("CCMixter", "ccmixter_corpus/*_-_*/source-0[12].wav", 12),
        ("iKala", "Wavfile/[0-9][0-9][0-9][0-9][0-9]_*.wav", 6),
    ],
)
def test_layout(corpora: Path, dataset: str, pattern: str, count: int) -> None:
    assert len(list((corpora / dataset).glob(pattern))) == count


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_file_is_16_bit_stereo_of_about_the_length_and_unclipped(
    corpora: Path, dataset: str
) -> None:
    paths = sorted((corpora / dataset).rglob("*.wav"))
    lengths = set()
    for path in paths:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (44100, 2, "PCM_16")
        assert 0.85 * SECONDS - 0.01 <= info.duration <= 1.15 * SECONDS + 0.01
        lengths.add(info.frames)
        assert np.abs(read(path).astype(int)).max() < 32000
    assert len(lengths) > TRACKS // 2


def test_dsd100_mixture_is_the_exact_sum_of_the_stems(corpora: Path) -> None:
    folders = sorted(corpora.glob("DSD100/Sources/*/*"))
    assert len(folders) == TRACKS
    for folder in folders:
        stems = [
            read(folder / f"{n}.wav").astype(int) for n in ("vocals", "drums", "bass", "other")
        ]
        mixture = corpora / "DSD100/Mixtures" / folder.parent.name / folder.name / "mixture.wav"
        np.testing.assert_array_equal(read(mixture), sum(stems))
        assert all(stem.any() for stem in stems)


def test_medleydb_metadata_describes_the_stems(corpora: Path) -> None:
    sung = []
    for path, track in metadata(corpora):
        folder = path.parent.name
        assert " ".join(sorted(track)) == (
            "album artist composer excerpt genre has_bleed instrumental mix_filename origin"
            " producer raw_dir stem_dir stems title version website"
        )
        assert track["mix_filename"] == f"{folder}_MIX.wav"
        stems = {stem["filename"] for stem in track["stems"].values()}
        assert stems == {p.name for p in (path.parent / track["stem_dir"]).glob("*.wav")}
        vocal = [s for s in track["stems"].values() if s["instrument"] in VOCALS]
        assert track["instrumental"] == ("no" if vocal else "yes")
        sung.append(len(vocal))
        total = sum(read(path.parent / track["stem_dir"] / name).astype(float) for name in stems)
        mix = read(path.parent / track["mix_filename"])
        assert np.corrcoef(mix.ravel(), np.ravel(total))[0, 1] > 0.8
        assert np.abs(mix - total).max() > 500
    assert sum(count == 0 for count in sung) == TRACKS // 3
    assert all(any(sung[first : first + 2]) for first in (0, 2, 4))  # every third has singing
    assert 2 in sung  # and someone has a second voice


def test_ikala_songs_recur_as_verse_and_chorus(corpora: Path) -> None:
    names = [path.stem.split("_") for path in corpora.glob("iKala/Wavfile/*.wav")]
    forms: dict[str, set[str]] = {}
    for song, form in names:
        forms.setdefault(song, set()).add(form)
    assert sorted(len(found) for found in forms.values()) == [1, 1, 2, 2]
    assert set().union(*forms.values()) == {"verse", "chorus"}


def test_ccmixter_artists_recur(corpora: Path) -> None:
    artists = [path.name.split("_-_")[0] for path in corpora.glob("CCMixter/ccmixter_corpus/*")]
    assert len(set(artists)) < len(artists)


@pytest.mark.parametrize("dataset", DATASETS)
def test_bytes_depend_on_seed_and_index_alone(
    corpora: Path, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_PROCESSES", "1")  # the corpora came from two
    render(dataset, tmp_path / "again", 2, SECONDS, SEED)
    write_track(Spec(dataset, tmp_path / "other", 0, SECONDS, SEED + 1))
    whole, again, other = map(digests, (corpora / dataset, tmp_path / "again", tmp_path / "other"))
    assert 0 < len(again) < len(whole)
    assert again.items() <= whole.items()
    sounds = {name for name in other if name.endswith(".wav")}
    assert sounds & set(whole)  # the same names
    assert not sounds & {name for name in sounds if other[name] == whole.get(name)}


@pytest.mark.parametrize("dataset", DATASETS)
def test_levels_are_those_of_singing_over_a_band(corpora: Path, dataset: str) -> None:
    ratios = [
        10 * np.log10(np.sum(vocals**2) / np.sum(accompaniment**2))
        for accompaniment, vocals in sources(corpora, dataset)
    ]
    assert -6.5 < min(ratios) < max(ratios) < 3.5
    assert max(ratios) - min(ratios) > 0.5


@pytest.mark.parametrize("dataset", DATASETS)
def test_phrases_are_parted_by_rests(corpora: Path, dataset: str) -> None:
    for _, vocals in sources(corpora, dataset):
        blocks = np.array_split(vocals, len(vocals) // 2205)  # of 50 ms
        loud = np.array([np.sqrt(np.mean(b**2)) for b in blocks])
        sounding = loud > 0.02 * loud.max()
        assert 0.25 < sounding.mean() < 0.9
        edges = np.flatnonzero(np.diff(sounding.astype(int), prepend=0, append=0))
        rests = (edges[2::2] - edges[1:-1:2]) * 0.05
        assert 0.6 <= rests.max(initial=0) <= 8


@pytest.mark.slow
def test_voice_and_accompaniment_share_their_key(corpora: Path) -> None:
    own, tritone = [], []
    for dataset in DATASETS:
        for pair in sources(corpora, dataset):
            band, voice = (
                librosa.feature.chroma_stft(
                    y=s[::8] / 32768, sr=44100 / 8, n_fft=2048, tuning=0
                ).mean(1)
                for s in pair
            )
            own.append(np.corrcoef(band, voice)[0, 1])
            tritone.append(np.corrcoef(band, np.roll(voice, 6))[0, 1])
    assert np.mean(own) > np.mean(tritone) + 0.4
    assert np.mean(np.array(own) > np.array(tritone)) > 0.85


def voiced_pitch(vocals: Audio) -> NDArray[np.float64]:
    """F0 of the louder frames, Hz."""
    low = librosa.resample(vocals / 32768, orig_sr=44100, target_sr=8000)
    f0 = librosa.yin(low, fmin=70, fmax=800, sr=8000, frame_length=1024, trough_threshold=0.2)
    loud = librosa.feature.rms(y=low, frame_length=1024, hop_length=256)[0]
    return np.asarray(f0[: len(loud)][loud[: len(f0)] > 0.3 * loud.max()])


@pytest.mark.slow
def test_dsd100_is_sung_an_octave_below_the_others(corpora: Path) -> None:
    for dataset in DATASETS:
        medians = []
        for _, vocals in sources(corpora, dataset):
            pitch = voiced_pitch(vocals)
            medians.append(np.median(pitch))
            low, high = STYLES[dataset].voice.register
            # Scoops, falls and an estimator's octave slips stray from the register.
            assert np.mean((pitch > 0.9 * low) & (pitch < 1.1 * high)) > 0.8
        if dataset == "DSD100":
            assert max(medians) < 220
        else:
            assert min(medians) > 200


def test_long_notes_have_vibrato_of_the_styles_rate() -> None:
    style = STYLES["iKala"].voice
    singer = draw_singer(np.random.default_rng(1), style)
    samples = 4 * dsp.RATE
    line = (Note(1.0, 2.8, singer.register[6]),)
    voice = sing(np.random.default_rng(2), singer, (line,), 1.0, samples)
    f0 = librosa.yin(voice, fmin=150, fmax=900, sr=dsp.RATE, frame_length=1024, hop_length=220)
    held = f0[int(1.6 * 100) : int(3.6 * 100)]
    cents = 1200 * np.log2(held / held.mean())
    spectrum = np.abs(np.fft.rfft(cents * np.hanning(len(cents)), 4096))
    rate = np.fft.rfftfreq(4096, 220 / dsp.RATE)[np.argmax(spectrum)]
    assert style.vibrato_hz[0] - 0.5 < rate < style.vibrato_hz[1] + 0.5
    assert 15 < cents.std() < 80


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_track_of_a_second_is_sung(dataset: str, tmp_path: Path) -> None:
    for index in range(2):
        write_track(Spec(dataset, tmp_path / dataset, index, 1.0, seed=1))
    for accompaniment, vocals in sources(tmp_path, dataset):
        assert accompaniment.any()
        assert vocals.any()


def test_names_are_unique_and_nobodys() -> None:
    pairs = [(artist_name(i), title_name(i)) for i in range(300)]
    assert len({title for _, title in pairs}) == 300
    assert len({camel_case(artist) for artist, _ in pairs}) == 300
    assert camel_case("Wicker O'Farrow & Cie (Café Møller)") == "WickerOFarrowCieCafeMoller"
    for pair in pairs:
        assert re.fullmatch("[A-Za-z0-9]+_[A-Za-z0-9]+", "_".join(map(camel_case, pair)))
    catalogue = Path(pipeline.datasets.__file__).parent / "catalogue"
    known = "\n".join(path.read_text(encoding="utf-8") for path in catalogue.glob("*.csv"))
    for artist, title in pairs:
        for name in (artist, title, camel_case(artist), camel_case(title)):
            assert f" {name}" not in known
            assert f"\n{name}" not in known


def test_oscillate_adds_harmonics() -> None:
    points = 101
    f0 = np.full(points, 441.0)
    tone = dsp.oscillate(f0, np.tile([0.5, 0.0, 0.25], (points, 1)))
    phase = 2 * np.pi * 441.0 * np.arange(1, len(tone) + 1) / dsp.RATE
    np.testing.assert_allclose(tone, 0.5 * np.sin(phase) + 0.25 * np.sin(3 * phase), atol=1e-4)


def test_upsample_keeps_a_tone() -> None:
    def tone(rate: int) -> Audio:
        seconds = np.arange(rate) / rate
        return np.sin(2 * np.pi * 3000 * seconds).astype(np.float32)

    doubled = dsp.upsample(tone(dsp.RATE)[None])[0]
    np.testing.assert_allclose(doubled[50:-50], tone(dsp.OUTPUT_RATE)[50:-50], atol=2e-3)


def test_shaped_noise_has_the_power_of_its_gains() -> None:
    gains = np.where(dsp.NOISE_HZ < 2000, 0.5, 0.0)[None].repeat(400, 0)
    noise = dsp.shaped_noise(np.random.default_rng(0), gains)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    frequencies = np.fft.rfftfreq(len(noise), 1 / dsp.RATE)
    assert spectrum[frequencies < 1800].mean() / len(noise) == pytest.approx(0.25, rel=0.1)
    assert spectrum[frequencies > 2500].mean() < 1e-3 * spectrum[frequencies < 1800].mean()
