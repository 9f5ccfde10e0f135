"""What the inventory accepts, what it turns away and why, on small copies of the real layouts."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.datasets import catalogue, inventory, survey
from pipeline.datasets.rendered import Rendered
from pipeline.errors import UserError
from tests.helpers.small_copies import RATE, SOURCES, noise, put, reasons, song


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_PROCESSES", "1")


def test_a_sound_dataset(tmp_path: Path) -> None:
    put(tmp_path / "Sources/Test/001 - B - Two/vocals.wav", np.zeros((2, 1500), np.float32))
    for stem in ("bass", "drums", "other"):
        put(tmp_path / f"Sources/Test/001 - B - Two/{stem}.wav", noise(2, 1500))
    for stem in ("vocals", "bass", "drums", "other"):
        put(tmp_path / f"Sources/Dev/051 - A - One/{stem}.wav", noise(2, 3000), 48_000)
    found = survey.take("DSD100", "local", tmp_path, SOURCES)
    first, second = found.recordings
    assert (first.track.id, first.sample_rate, first.channels, first.samples) == (
        "001 - B - Two", RATE, 2, 1500,
    )  # fmt: skip
    assert first.silent == ("vocals",)
    assert (second.sample_rate, second.samples, second.silent) == (48_000, 3000, ())
    assert found.rejected == ()
    assert len(found.files) == 8
    path = "Sources/Dev/051 - A - One/drums.wav"
    content = (tmp_path / path).read_bytes()
    assert found.files[path].bytes == len(content)
    assert found.files[path].md5 == hashlib.md5(content).hexdigest()


def test_bad_tracks_are_rejected_one_by_one_with_file_and_remedy(tmp_path: Path) -> None:
    song(tmp_path, "good_-_Don't Stop (Ça va)")
    song(tmp_path, "mono_-_song", noise(1), noise(1))
    song(tmp_path, "tiny_-_song", noise(2, 1), noise(2, 1))
    (song(tmp_path, "a_-_missing") / "source-02.wav").unlink()
    song(tmp_path, "b_-_lengths", noise(2, 1997))
    song(tmp_path, "c_-_rates", rate=48_000)
    song(tmp_path, "d_-_channels", noise(1))
    song(tmp_path, "e_-_zero", noise(2, 0))
    cut = song(tmp_path, "f_-_cut") / "source-01.wav"
    cut.write_bytes(cut.read_bytes()[:-1])
    broken = noise()
    broken[0, 1234] = np.nan
    song(tmp_path, "g_-_nan", broken)
    song(tmp_path, "h_-_silent", np.zeros((2, 2000), np.float32), np.zeros((2, 2000), np.float32))
    (tmp_path / "ccmixter_corpus/i_-_empty").mkdir()

    found = survey.take("CCMixter", "local", tmp_path, SOURCES)

    assert [recording.track.id for recording in found.recordings] == [
        "good_-_Don't Stop (Ça va)", "mono_-_song", "tiny_-_song",
    ]  # fmt: skip
    assert [recording.channels for recording in found.recordings] == [2, 1, 2]
    assert not any("_-_lengths" in file for file in found.files)
    said = reasons(found)
    expected = {
        "a_-_missing": ("source-02.wav", "no such file"),
        "b_-_lengths": ("source-02.wav", "1997 samples, but source-01.wav has 2000 samples"),
        "c_-_rates": ("source-02.wav", "48000 Hz, but source-01.wav has 44100 Hz"),
        "d_-_channels": ("source-02.wav", "1 channels, but source-01.wav has 2 channels"),
        "e_-_zero": ("source-02.wav", "holds no samples"),
        "f_-_cut": ("source-01.wav", "truncated"),
        "g_-_nan": ("source-02.wav", "NaN or infinite samples, the first at 0.028 s"),
        "i_-_empty": ("source-01.wav", "no such file"),
    }
    for track, (file, reason) in expected.items():
        assert said[track].startswith(f"ccmixter_corpus/{track}/{file}: {reason}")
        assert said[track].endswith("copy or download it again")
    assert said["h_-_silent"].startswith("silent from beginning to end; ")
    assert len(said) == len(expected) + 1


@pytest.mark.parametrize("position", [0, -1])
def test_a_source_with_one_sample_that_is_not_zero_is_not_silent(
    tmp_path: Path, position: int
) -> None:
    samples = 11 * RATE  # read in two blocks
    click = np.zeros((2, samples), np.float32)
    click[1, position] = 1e-6
    song(tmp_path, "a_-_b", click, np.zeros((2, samples), np.float32))
    (recording,) = survey.take("CCMixter", "local", tmp_path, SOURCES).recordings
    assert recording.silent == ("accompaniment",)


def test_ikala_channels_and_published_checksums(tmp_path: Path) -> None:
    long = noise(2, 30 * RATE)
    put(tmp_path / "Wavfile/10161_verse.wav", long)  # a published clip with other content
    put(tmp_path / "Wavfile/99999_verse.wav", np.stack([noise(1)[0], np.zeros(2000, np.float32)]))
    put(tmp_path / "Wavfile/99998_verse.wav", noise(1))
    found = survey.take("iKala", "local", tmp_path, SOURCES)
    (recording,) = found.recordings
    assert (recording.track.id, recording.channels, recording.silent) == (
        "99999_verse", 1, ("vocals",),
    )  # fmt: skip
    said = reasons(found)
    assert said["10161_verse"].startswith(
        "Wavfile/10161_verse.wav: its MD5 differs from the published one"
    )
    assert said["99998_verse"].startswith(
        "Wavfile/99998_verse.wav: 1 channel, expected 2 (left accompaniment, right vocals)"
    )
    rendered = survey.take("iKala", "synthetic", tmp_path, SOURCES)
    assert [recording.track.id for recording in rendered.recordings] == [
        "10161_verse",
        "99999_verse",
    ]


def test_medleydb_stem_missing_on_disk_is_a_problem_of_its_track(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "facts", lambda dataset: {})  # the copy here is a short one
    stems = tmp_path / "Audio/LizNelson_Rainfall/LizNelson_Rainfall_STEMS"
    for number in range(1, 5):  # the catalogue lists five
        put(stems / f"LizNelson_Rainfall_STEM_0{number}.wav", noise())
    (tmp_path / "Audio/New_Song").mkdir()
    with pytest.raises(UserError) as error:
        survey.take("MedleyDB", "local", tmp_path, SOURCES)
    assert "none of the 2 tracks can be used" in str(error.value)
    put(stems / "LizNelson_Rainfall_STEM_05.wav", noise())
    found = survey.take("MedleyDB", "local", tmp_path, SOURCES)
    assert [recording.track.id for recording in found.recordings] == ["LizNelson_Rainfall"]
    assert "nothing says which stems are vocals" in reasons(found)["New_Song"]
    assert str(tmp_path) not in reasons(found)["New_Song"]


def test_a_folder_of_unpaired_recordings(tmp_path: Path) -> None:
    put(tmp_path / "x/take 1.wav", noise(1, 700), 22_050)
    soundfile.write(tmp_path / "take 2.flac", noise(2, 900).T, RATE)
    put(tmp_path / "x/silence.wav", np.zeros((1, 700), np.float32))
    # put twice, it would carry two times of writing (PEAK)
    shutil.copy(tmp_path / "x/take 1.wav", tmp_path / "x/copy of take 1.wav")
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "notes.txt").write_text("not audio")
    found = survey.take_folder("DAMP", tmp_path, "vocals")
    assert (found.origin, found.kinds) == ("folder", ("vocals",))
    assert [(one.track.id, one.samples, one.sample_rate) for one in found.recordings] == [
        ("take 2.flac", 900, RATE),
        ("x/copy of take 1.wav", 700, 22_050),
    ]
    said = reasons(found)
    assert set(said) == {"empty.mp3", "x/silence.wav", "x/take 1.wav"}
    assert "empty.mp3: empty file (0 bytes)" in said["empty.mp3"]
    assert "same recording as x/copy of take 1.wav" in said["x/take 1.wav"]
    inventory.save(found, tmp_path / f"{found.dataset}.json")
    assert inventory.load(tmp_path / f"{found.dataset}.json") == found


def test_two_tracks_of_one_name_are_both_rejected(tmp_path: Path) -> None:
    for partition, name in (("Dev", "A"), ("Test", "A"), ("Test", "B")):
        for stem in ("vocals", "bass", "drums", "other"):
            put(tmp_path / f"Sources/{partition}/{name}/{stem}.wav", noise())
    found = survey.take("DSD100", "local", tmp_path, SOURCES)
    assert [recording.track.id for recording in found.recordings] == ["B"]
    assert reasons(found) == {"A": "2 tracks have this name; rename or remove the others"}


def test_a_source_that_the_dataset_cannot_give(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sources: iKala cannot give 'drums', only accompaniment"):
        survey.take("iKala", "local", tmp_path, ("drums", "vocals"))


def test_four_sources_of_dsd100(tmp_path: Path) -> None:
    for stem in ("vocals", "bass", "drums", "other"):
        put(tmp_path / f"Sources/Dev/051 - A - One/{stem}.wav", noise())
    found = survey.take("DSD100", "local", tmp_path, ("vocals", "bass", "drums", "other"))
    assert len(found.recordings) == 1


def test_saved_inventories_compare_well_and_name_no_machine(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    song(root, "Björk_-_Jóga")
    (song(root, "Other_-_Song") / "source-01.wav").unlink()
    found = survey.take("CCMixter", "local", root, SOURCES)
    path = tmp_path / "CCMixter.json"
    inventory.save(found, path)
    text = path.read_text(encoding="utf-8")
    assert inventory.load(path) == found
    assert str(tmp_path) not in text
    assert "Björk_-_Jóga" in text
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(json.loads(text))
    inventory.save(survey.take("CCMixter", "local", root, SOURCES), path)
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"dataset": "iKala"}', b"\xff\xfe"])
def test_a_damaged_inventory_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "iKala.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"iKala\.json: .*; delete it and run"):
        inventory.load(path)


def test_a_missing_inventory_names_the_stage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run `python -m stages\.download iKala` first"):
        inventory.load(tmp_path / "iKala.json")


def test_embedded_recordings_are_known_by_what_they_were_made_from(tmp_path: Path) -> None:
    """Their last bits depend on the processor; a user's file beside them keeps its checksum."""
    rng = np.random.default_rng(1)
    for name in ("ours_verse", "mine_verse"):
        (tmp_path / "Wavfile").mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"Wavfile/{name}.wav", rng.uniform(-1, 1, (800, 2)), 44100)
    rendered = Rendered({"seed": 7, "renderer": "abc"}, {"Wavfile/ours_verse.wav": "abc"})
    found = survey.take("iKala", "synthetic", tmp_path, ["vocals"], rendered=rendered)
    assert found.files["Wavfile/ours_verse.wav"].md5 is None
    assert found.files["Wavfile/mine_verse.wav"].md5 is not None
    inventory.save(found, tmp_path / f"{found.dataset}.json")
    assert inventory.load(tmp_path / f"{found.dataset}.json").made_from == {
        "seed": 7,
        "renderer": "abc",
    }


def test_what_is_passed_over_is_said_and_no_part_of_the_inventory(tmp_path: Path) -> None:
    """A file manager's settings must not make the experiment run again."""
    song(tmp_path, "...And You_-_Will Know Us")
    said: list[str] = []
    before = survey.take("CCMixter", "local", tmp_path, SOURCES, say=said.append)
    assert said == []
    assert [one.track.id for one in before.recordings] == ["...And You_-_Will Know Us"]
    for name in ("ccmixter_corpus/.DS_Store", "ccmixter_corpus/._...And You_-_Will Know Us"):
        (tmp_path / name).touch()
    assert survey.take("CCMixter", "local", tmp_path, SOURCES, say=said.append) == before
    assert said == ["CCMixter: passed over by their names: 1 .DS_Store, 1 ._*"]
