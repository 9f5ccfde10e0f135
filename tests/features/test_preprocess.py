"""From recordings to features: against librosa; whole or not there; nothing read twice."""

import os
import re
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import librosa
import numpy as np
import pytest
import soundfile
import yaml
from numpy.typing import NDArray

from pipeline import files, params, rooms
from pipeline.datasets import inventory, survey
from pipeline.datasets.inventory import Inventory
from pipeline.errors import UserError
from pipeline.features import extraction, preprocess
from pipeline.features.store import FeatureFile
from pipeline.parallel import machine
from pipeline.params import Params
from tests.helpers.experiment import TRACKS
from tests.helpers.limits import small_files_only
from tests.helpers.places import TOP

SIGNALS = ("mixture", "accompaniment", "vocals")


@pytest.fixture
def settings(with_features: Path) -> Params:
    return params.load(with_features / "params.yaml")


def taken(with_features: Path, dataset: str) -> Inventory:
    return inventory.load(with_features / f"data/inventory/{dataset}.json")


def write(with_features: Path, found: Inventory, target: Path, settings: Params) -> int:
    root = with_features / "data/synthetic" / found.dataset
    return preprocess.write(found, root, settings.sources, settings.signal, target)


# ------------------------------------------------------------------------------------- the content


def stereo_sources(root: Path, dataset: str, track: str) -> dict[str, tuple[NDArray[Any], int]]:
    """The sources of a track (channels, samples), read by the datasets' own documentation."""

    def read(path: Path) -> NDArray[Any]:
        samples: NDArray[Any] = soundfile.read(path, always_2d=True)[0]
        return samples.T

    if dataset == "iKala":
        left, right = read(root / f"Wavfile/{track}.wav")
        found = {"accompaniment": left[None], "vocals": right[None]}
    elif dataset == "CCMixter":
        folder = root / "ccmixter_corpus" / track
        found = {
            "accompaniment": read(folder / "source-01.wav"),
            "vocals": read(folder / "source-02.wav"),
        }
    elif dataset == "DSD100":
        (folder,) = (root / "Sources").glob(f"*/{track}")
        stems = {
            name: read(folder / f"{name}.wav") for name in ("vocals", "bass", "drums", "other")
        }
        found = {
            "accompaniment": stems["bass"] + stems["drums"] + stems["other"],
            "vocals": stems["vocals"],
        }
    else:
        (metadata,) = root.rglob(f"{track}_METADATA.yaml")
        (folder,) = root.rglob(f"{track}_STEMS")
        parts: dict[str, list[NDArray[Any]]] = {"accompaniment": [], "vocals": []}
        for stem in yaml.safe_load(metadata.read_text())["stems"].values():
            sung = re.search(r"singer|vocalists|choir|speaker|rapper|screamer", stem["instrument"])
            parts["vocals" if sung else "accompaniment"].append(read(folder / stem["filename"]))
        shape = parts["accompaniment"][0].shape
        found = {name: np.sum([np.zeros(shape), *stems], axis=0) for name, stems in parts.items()}
    return {name: (samples, 44_100) for name, samples in found.items()}


def log_magnitudes(waveform: NDArray[Any]) -> NDArray[Any]:
    """(frames, bins) as section 4.3.1 of the paper describes them."""
    padded = np.pad(waveform, (0, -len(waveform) % 256))
    spectrum = librosa.stft(padded, n_fft=512, hop_length=256, window="hann", pad_mode="reflect")
    magnitudes: NDArray[Any] = np.log1p(np.abs(spectrum)).T
    return magnitudes


@pytest.mark.parametrize("dataset", TRACKS)
def test_content_equals_librosas(with_features: Path, dataset: str) -> None:
    """Channel mean, 8 kHz, the mixture as the sum of the sources, log(1 + |STFT|)."""
    store = FeatureFile.open(with_features / f"data/features/{dataset}.h5")
    row = len(store.index) - 1
    found = stereo_sources(
        with_features / "data/synthetic" / dataset, dataset, store.index.index[row]
    )
    expected = {
        name: librosa.resample(
            samples.mean(axis=0), orig_sr=rate, target_sr=8000, res_type="soxr_vhq"
        )
        for name, (samples, rate) in found.items()
    }
    expected["mixture"] = expected["accompaniment"] + expected["vocals"]

    waveforms = store.waveforms(row)
    spectrograms = store.spectrogram(row, SIGNALS)
    assert waveforms.dtype == spectrograms.dtype == np.float32
    for number, name in enumerate(SIGNALS[1:]):
        samples = min(len(expected[name]), waveforms.shape[1])
        assert abs(len(expected[name]) - waveforms.shape[1]) <= 1
        np.testing.assert_allclose(waveforms[number, :samples], expected[name][:samples], atol=1e-4)
    for number, name in enumerate(SIGNALS):
        frames = log_magnitudes(expected[name])
        assert spectrograms[number].shape == frames.shape
        assert frames.max() > 1 or name == "vocals"
        np.testing.assert_allclose(spectrograms[number], frames, atol=1e-3)


@pytest.mark.parametrize("dataset", TRACKS)
def test_the_index_is_the_inventorys(with_features: Path, dataset: str, settings: Params) -> None:
    """Every recording, in its order, one behind the other, without gap or overlap."""
    recordings = taken(with_features, dataset).recordings
    store = FeatureFile.open(with_features / f"data/features/{dataset}.h5")
    assert store.sounds == tuple(settings.sources)
    assert store.signal == settings.signal
    assert store.index.index.tolist() == [recording.track.id for recording in recordings]
    for row, recording in enumerate(recordings):
        seconds = recording.samples / recording.sample_rate
        assert store.index["samples"].iloc[row] == pytest.approx(seconds * 8000, abs=1)
        assert (
            store.index["frames"].iloc[row] == np.ceil(store.index["samples"].iloc[row] / 256) + 1
        )
        assert store.waveforms(row).shape == (2, store.index["samples"].iloc[row])
        silent = [
            name for name, quiet in zip(store.sounds, store.silent[row], strict=True) if quiet
        ]
        assert set(silent) == set(recording.silent) & set(store.sounds)
        assert [not waveform.any() for waveform in store.waveforms(row)] == list(store.silent[row])
    with h5py.File(store.path) as file:
        spectrograms, waveforms = file["spectrogram"][()], file["waveform"][()]
    for first, length, total in (
        ("first_frame", "frames", spectrograms.shape[1]),
        ("first_sample", "samples", waveforms.shape[1]),
    ):
        ends = store.index[first] + store.index[length]
        assert store.index[first].tolist() == [0, *ends[:-1]]
        assert ends.iloc[-1] == total


def test_some_fixture_tracks_are_instrumental(with_features: Path) -> None:
    """Otherwise the test above would not see `silent`."""
    assert FeatureFile.open(with_features / "data/features/MedleyDB.h5").silent[:, 1].any()


def test_the_block_size_changes_nothing(
    with_features: Path, settings: Params, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recording = taken(with_features, "iKala").recordings[0]
    root = with_features / "data/synthetic/iKala"
    store = FeatureFile.open(with_features / "data/features/iKala.h5")
    waveforms, spectrogram = store.waveforms(0), store.spectrogram(0, SIGNALS)
    for frames in (1, 7, spectrogram.shape[1] - 1):
        monkeypatch.setattr(extraction, "BLOCK_FRAMES", frames)
        found = extraction.extract(recording, root, SIGNALS, settings.signal, tmp_path)
        blocks = extraction.load_extracted(found.path, waveforms.shape[1], 2, settings.signal)
        np.testing.assert_array_equal(blocks[0], waveforms)
        np.testing.assert_allclose(blocks[1], spectrogram, atol=1e-6)


@pytest.mark.parametrize("number", ["1", "2"])
def test_the_same_bytes_again_with_any_number_of_processes(
    with_features: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Params,
    number: str,
) -> None:
    """DVC would take other bytes for other features and train again."""
    monkeypatch.setenv("PIPELINE_PROCESSES", number)
    write(with_features, taken(with_features, "iKala"), tmp_path / "iKala.h5", settings)
    assert files.md5(tmp_path / "iKala.h5") == files.md5(with_features / "data/features/iKala.h5")


# ------------------------------------------------------------------------------- nothing read twice


def test_only_new_and_changed_recordings_are_read(
    with_features: Path, tmp_path: Path, settings: Params, one_process: None
) -> None:
    """Rows are copied from the replaced file, and the bytes are those of a file made from nothing."""
    whole = taken(with_features, "DSD100")
    some = whole.model_copy(update={"recordings": whole.recordings[1:3] + whole.recordings[4:6]})
    target, fresh = tmp_path / "DSD100.h5", tmp_path / "fresh.h5"
    assert write(with_features, some, target, settings) == 4
    assert write(with_features, some, target, settings) == 0
    assert write(with_features, whole, target, settings) == len(whole.recordings) - 4
    assert write(with_features, whole, fresh, settings) == len(whole.recordings)
    assert files.md5(target) == files.md5(fresh)
    assert files.md5(target) == files.md5(with_features / "data/features/DSD100.h5")

    # an MD5 of the same file: the key is another one, and the rows are the same
    name = whole.recordings[2].track.sources["vocals"][0].file
    md5 = files.md5(with_features / "data/synthetic/DSD100" / name)
    other = {**whole.files, name: whole.files[name].model_copy(update={"md5": md5})}
    changed = whole.model_copy(update={"files": other})
    assert write(with_features, changed, target, settings) == 1
    reordered = changed.model_copy(update={"recordings": changed.recordings[::-1]})
    assert write(with_features, reordered, target, settings) == 0
    store = FeatureFile.open(target)
    last = FeatureFile.open(fresh)
    for recording in whole.recordings:
        (row,), (place,) = store.rows([recording.track.id]), last.rows([recording.track.id])
        np.testing.assert_array_equal(
            store.spectrogram(row, SIGNALS), last.spectrogram(place, SIGNALS)
        )
        np.testing.assert_array_equal(store.waveforms(row), last.waveforms(place))


def test_other_parameters_or_code_read_everything_again(
    with_features: Path,
    tmp_path: Path,
    settings: Params,
    one_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = taken(with_features, "iKala")
    root, target = with_features / "data/synthetic/iKala", tmp_path / "iKala.h5"
    everything = len(found.recordings)
    assert write(with_features, found, target, settings) == everything
    longer = settings.signal.model_copy(update={"fft_size": 1024, "hop_size": 512})
    assert preprocess.write(found, root, settings.sources, longer, target) == everything
    assert preprocess.write(found, root, ["vocals"], longer, target) == everything
    monkeypatch.setattr(rooms, "narrow_fingerprint", lambda _: "other code")
    assert preprocess.write(found, root, ["vocals"], longer, target) == everything
    monkeypatch.setattr(machine, "arithmetic", lambda: "portable")
    assert preprocess.write(found, root, ["vocals"], longer, target) == everything


def test_a_dataset_that_is_absent_has_an_empty_file(tmp_path: Path, settings: Params) -> None:
    found = survey.absent("iKala", "local")
    target = tmp_path / "iKala.h5"
    assert preprocess.write(found, tmp_path, settings.sources, settings.signal, target) == 0
    store = FeatureFile.open(target)
    assert (len(store.index), store.kinds) == (0, SIGNALS)


# --------------------------------------------------------------------------------------- bad input


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """An older feature file that a failing stage must not touch."""
    path = tmp_path / "features" / "iKala.h5"
    path.parent.mkdir()
    path.write_bytes(b"older features")
    return path


def untouched(old: Path) -> bool:
    return old.read_bytes() == b"older features" and [*old.parent.iterdir()] == [old]


@pytest.mark.parametrize("reason", [KeyboardInterrupt, UserError])
def test_a_write_that_ends_early_leaves_what_was_there_and_keeps_what_it_computed(
    with_features: Path,
    old: Path,
    settings: Params,
    one_process: None,
    reason: type[BaseException],
) -> None:
    """The second run reads the other tracks alone, and its file is the same to the byte."""

    def interrupted(function: Any, items: Sequence[Any], *_: Any) -> Iterator[Any]:
        yield from map(function, items[:2])
        raise reason("stopped")

    found = taken(with_features, "iKala")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preprocess, "parallel_map", interrupted)
        with pytest.raises(reason):
            write(with_features, found, old, settings)
    kept = old.with_name("iKala.h5.kept.partial")
    assert sorted(old.parent.iterdir()) == [old, kept]
    assert old.read_bytes() == b"older features"
    assert write(with_features, found, old, settings) == len(found.recordings) - 2
    assert [*old.parent.iterdir()] == [old]
    assert old.read_bytes() == (with_features / "data/features/iKala.h5").read_bytes()


def test_lost_tracks_are_named_and_the_others_kept(
    with_features: Path, old: Path, settings: Params, one_process: None
) -> None:
    def losing(function: Any, items: Sequence[Any], _: str, lost: Any) -> Iterator[Any]:
        yield from (lost(item) if n in (0, 2) else function(item) for n, item in enumerate(items))

    found = taken(with_features, "DSD100")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preprocess, "parallel_map", losing)
        with pytest.raises(UserError) as caught:
            write(with_features, found, old, settings)
    message = str(caught.value)
    first, third = (found.recordings[number].track.id for number in (0, 2))
    assert f"2 of 8 tracks are lost: {first}, {third}: its worker process died twice" in message
    assert "\n" not in message
    assert old.read_bytes() == b"older features"
    assert write(with_features, found, old, settings) == 2
    assert old.read_bytes() == (with_features / "data/features/DSD100.h5").read_bytes()


def test_of_two_older_files_the_one_with_more_tracks_is_used(
    with_features: Path, tmp_path: Path, settings: Params, one_process: None
) -> None:
    """An early end after one new track must not hide the features of all the others."""

    def interrupted(function: Any, items: Sequence[Any], *_: Any) -> Iterator[Any]:
        yield function(items[0])
        raise KeyboardInterrupt

    found = taken(with_features, "DSD100")
    target = tmp_path / "DSD100.h5"
    some = found.model_copy(update={"recordings": found.recordings[2:6]})
    assert write(with_features, some, target, settings) == 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preprocess, "parallel_map", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(with_features, found, target, settings)
    assert write(with_features, found, target, settings) == 3
    assert target.read_bytes() == (with_features / "data/features/DSD100.h5").read_bytes()


@pytest.mark.parametrize("size", [0, 4096, 300_000])
def test_a_full_disk_is_one_line(
    with_features: Path, old: Path, settings: Params, one_process: None, size: int
) -> None:
    """Full at once, full at the first track, full in the middle of one."""
    with small_files_only(size), pytest.raises(UserError) as caught:
        write(with_features, taken(with_features, "iKala"), old, settings)
    assert str(caught.value).startswith(f"{old}: cannot be written: ")
    assert "\n" not in str(caught.value)
    assert untouched(old)


def test_a_recording_of_another_length_is_refused_and_the_others_kept(
    with_features: Path, old: Path, settings: Params, one_process: None
) -> None:
    """The same file, decoded by something else than the inventory's decoder."""
    found = taken(with_features, "iKala")
    first, *rest = found.recordings
    longer = first.model_copy(update={"samples": first.samples + 1000})
    changed = found.model_copy(update={"recordings": (longer, *rest)})
    with pytest.raises(UserError) as caught:
        write(with_features, changed, old, settings)
    assert first.track.id in str(caught.value)
    assert "another length than data/inventory says" in str(caught.value)
    assert "download@iKala" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert old.read_bytes() == b"older features"
    assert write(with_features, found, old, settings) == 1


def test_recordings_that_are_gone(
    with_features: Path, old: Path, settings: Params, one_process: None, tmp_path: Path
) -> None:
    found = taken(with_features, "iKala")
    remedy = r"or run `python -m stages\.download iKala`"
    with pytest.raises(UserError, match=rf"nowhere/Wavfile/.*\.wav: no such file; .*{remedy}"):
        preprocess.write(found, tmp_path / "nowhere", settings.sources, settings.signal, old)
    assert untouched(old)


KILLED = """
import os, signal
from stages import common, preprocess
import pipeline.features.preprocess as module

def stopping(function, items, *_):
    yield function(items[0])
    function(items[1])
    os.kill(os.getpid(), signal.SIGKILL)

module.parallel_map = stopping
common.run(preprocess.preprocess)
"""


def test_the_temporary_folder_of_a_dead_run_is_cleared(
    with_features: Path, tmp_path: Path, settings: Params
) -> None:
    """Others' are left alone: that of another dataset may be at work."""
    dead, other = (tmp_path / f"{name}.h5.scratch.partial" for name in ("iKala", "DSD100"))
    older = tmp_path / "tmp_x2ab9zq.partial"
    for folder in (dead, other, older):
        folder.mkdir()
        (folder / "tmp1").write_bytes(b"of a track")
    nothing = taken(with_features, "iKala").model_copy(update={"recordings": ()})
    write(with_features, nothing, tmp_path / "iKala.h5", settings)
    assert sorted(tmp_path.iterdir()) == [other, tmp_path / "iKala.h5"]


@pytest.mark.slow
def test_what_a_killed_run_left_is_cleared_by_the_next(
    with_features: Path, tmp_path: Path, settings: Params, one_process: None
) -> None:
    """Its temporary folder has the features of a track that was computed and not yet placed."""
    for name in ("params.yaml", "data/inventory", "data/synthetic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(with_features / name)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "iKala"], cwd=tmp_path, check=False,
        env={**os.environ, "PYTHONPATH": str(TOP)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    folder = tmp_path / "data/features"
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["iKala.h5.partial", "iKala.h5.scratch.partial"]
    assert any((folder / left[1]).iterdir())
    write(with_features, taken(with_features, "iKala"), folder / "iKala.h5", settings)
    assert [path.name for path in folder.iterdir()] == ["iKala.h5"]


# ------------------------------------------------------------------------------------------ memory

MEASURE = r"""
import re, sys
from pathlib import Path
from pipeline.features import extraction
from pipeline.params import Signal
from pipeline.tracks import Part, Recording, Track
from pipeline.parallel.workers import single_thread
single_thread()
sources = {name: (Part(file=f"{name}.wav"),) for name in ("accompaniment", "vocals")}
track = Track(dataset="iKala", id="x", artist="x", sources=sources)
samples = 20 * 60 * 44100
recording = Recording(track=track, sample_rate=44100, channels=2, samples=samples)
signal = Signal(sample_rate=8000, fft_size=512, hop_size=256)
root = Path(sys.argv[1])
found = extraction.extract(recording, root, ("mixture", *sources), signal, root)
assert found.path.stat().st_size == 4 * (2 * 9_600_000 + 3 * 37_501 * 257)
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1))
"""


@pytest.mark.slow
def test_twenty_minutes_of_stereo_need_less_than_a_gigabyte(tmp_path: Path) -> None:
    second = (np.random.default_rng(1).standard_normal((44_100, 2)) * 3000).astype("<i2").tobytes()
    for name in SIGNALS[1:]:
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as file:
            file.setparams((2, 2, 44_100, 0, "NONE", ""))
            file.setnframes(20 * 60 * 44_100)
            for _ in range(20):
                file.writeframes(second * 60)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], cwd=TOP, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1e9 / 1024  # kB
