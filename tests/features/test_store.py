"""The feature store: what is stored is what is read, or one line with a remedy that works."""

import random
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.features.store import FORMAT, PIECE, USER_BLOCK, FeatureFile
from stages import preprocess
from tests.helpers.damage import instead, put_instead
from tests.helpers.places import inside

AGAIN = "run `python -m stages.preprocess iKala`, which computes it again"
SIGNALS = ("mixture", "accompaniment", "vocals")
Harm = Callable[[Path], None]


@pytest.fixture
def path(with_features: Path, tmp_path: Path) -> Path:
    """A feature file to be harmed, in an experiment of its own."""
    for name in ("params.yaml", "data/inventory", "data/synthetic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(with_features / name)
    path = tmp_path / "data/features/iKala.h5"
    path.parent.mkdir()
    shutil.copy2(with_features / "data/features/iKala.h5", path)
    return path


def everything(path: Path) -> list[Any]:
    """All that anybody reads of a feature file."""
    store = FeatureFile.open(path)
    tracks = range(len(store.index))
    return [
        store.kinds, store.sounds, store.signal, store.keys,
        store.index.reset_index().to_numpy().tolist(), store.silent.tolist(),
        *(store.spectrogram(row, store.kinds).tobytes() for row in tracks),
        *(store.waveforms(row).tobytes() for row in tracks),
    ]  # fmt: skip


# ---------------------------------------------------------------- the structure, and what stands there


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def replace_by_text(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def earlier_version(path: Path) -> None:
    """HDF5 from its first byte on, as files were before they had a seal."""
    path.write_bytes(path.read_bytes()[USER_BLOCK:])


def another_format(path: Path) -> None:
    old, new = (f'"format":{number},'.encode() for number in (FORMAT, FORMAT + 1))
    path.write_bytes(path.read_bytes().replace(old, new, 1))


INDEX = re.escape("damaged (its index is not what was written)")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (truncate, r"damaged \(\d+ bytes were written, \d+ are there\)"),
        (lengthen, r"damaged \(\d+ bytes were written, \d+ are there\)"),
        (replace_by_text, "damaged"),
        (empty, "damaged"),
        (earlier_version, "of an earlier version"),
        (another_format, f"feature format {FORMAT + 1}, expected {FORMAT}"),
        (instead("a link to itself"), r"cannot be read \(Too many levels of symbolic links\)"),
        (instead("an unreadable file"), r"cannot be read \(Input/output error\)"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(path: Path, harm: Harm, said: str) -> None:
    harm(path)
    with pytest.raises(UserError) as caught:
        FeatureFile.open(path)
    assert re.fullmatch(f"{re.escape(str(path))}: {said}; {re.escape(AGAIN)}", str(caught.value))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        FeatureFile.open(tmp_path / "iKala.h5")
    assert str(caught.value) == f"{tmp_path}/iKala.h5: no such file; run `dvc repro preprocess`"


@pytest.mark.parametrize("harm", [truncate, earlier_version, instead("an unreadable file")])
def test_the_command_that_the_line_names_helps(
    with_features: Path, path: Path, harm: Harm, one_process: None
) -> None:
    """Afterwards the file is the old one to the byte."""
    harm(path)
    with inside(path.parents[2]):
        preprocess.preprocess("iKala")
    assert path.read_bytes() == (with_features / "data/features/iKala.h5").read_bytes()
    assert not path.is_symlink()


@pytest.mark.parametrize(
    "harm", [instead("a folder"), instead("a pipe"), instead("an endless file")]
)
def test_what_is_no_file_is_to_be_removed_first(path: Path, harm: Harm) -> None:
    """A pipe would be waited for, and a device read, for ever."""
    harm(path)
    with pytest.raises(UserError) as caught:
        FeatureFile.open(path)
    remedy = "remove it and run `python -m stages.preprocess iKala`"
    assert str(caught.value) == f"{path}: not a file; {remedy}"


def test_no_folder_is_computed_for_in_vain(path: Path) -> None:
    put_instead(path, "a folder")
    with inside(path.parents[2]), pytest.raises(UserError, match=r"iKala\.h5: a folder, expected"):
        preprocess.preprocess("iKala")


def in_hdf5(change: Callable[[h5py.File], None]) -> Harm:
    def harm(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return harm


def set_to(name: str, value: Any) -> Harm:
    def change(file: h5py.File) -> None:
        data = file[name]
        data[(0,) * data.ndim] = value

    return in_hdf5(change)


def replaced(name: str, value: Any) -> Harm:
    def change(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return in_hdf5(change)


def attribute(name: str, value: Any) -> Harm:
    def change(file: h5py.File) -> None:
        file.attrs[name] = value

    return in_hdf5(change)


CHANGES: list[Harm] = [
    set_to("index/first_frame", 1), set_to("index/first_frame", -(2**40)),
    set_to("index/frames", 2**50), set_to("index/samples", 3), set_to("index/silent", True),
    set_to("index/track", "another"), set_to("index/key", b"0" * 32),
    set_to("index/spectrogram_crc32", 1), set_to("index/waveform_crc32", 1),
    attribute("sample_rate", 16_000), attribute("fft_size", 2**34), attribute("hop_size", "x"),
    attribute("signals", [["mixture"]]), attribute("sources", ["vocals", "accompaniment"]),
    attribute("dataset", "DSD100"), in_hdf5(lambda file: file.attrs.clear()),
    *(replaced(f"index/{name}", None) for name in ("track", "frames", "silent", "key")),
    replaced("spectrogram", None), replaced("waveform", np.zeros((2, 5), "<f8")),
    replaced("index/frames", np.zeros(0, np.int64)), replaced("index/first_frame", ["a", "b"]),
    replaced("index/track", np.arange(4)), replaced("index", np.zeros(3)),
    in_hdf5(lambda file: file.move("waveform", "spectrogram2")),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_what_others_write_into_the_file_is_not_read(path: Path, number: int) -> None:
    CHANGES[number](path)
    with pytest.raises(UserError) as caught:
        FeatureFile.open(path)
    assert re.match(re.escape(f"{path}: damaged"), str(caught.value))
    assert str(caught.value).endswith(AGAIN)


def test_who_reads_hdf5_alone_reads_the_same(path: Path) -> None:
    """The seal is in a block that HDF5 leaves to us; places in the file are as HDF5 says."""
    store = FeatureFile.open(path)
    with h5py.File(path) as file:
        first, frames = (int(store.index[name].iloc[1]) for name in ("first_frame", "frames"))
        expected = file["spectrogram"][:, first : first + frames]
        np.testing.assert_array_equal(store.spectrogram(1, store.kinds), expected)
        first, samples = (int(store.index[name].iloc[1]) for name in ("first_sample", "samples"))
        expected = file["waveform"][:, first : first + samples]
        np.testing.assert_array_equal(store.waveforms(1), expected)


def test_a_track_that_is_not_in_the_file_is_named(with_features: Path) -> None:
    store = FeatureFile.open(with_features / "data/features/iKala.h5")
    names = store.index.index.tolist()
    assert store.rows([names[2], names[0]]) == [2, 0]
    with pytest.raises(UserError, match=r"iKala\.h5: no features of 'elsewhere'; run `dvc repro`"):
        store.rows([names[0], "elsewhere"])


# ------------------------------------------------------------------------------------------- the rows


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5])
def test_a_damaged_row_is_named_and_the_others_are_read(path: Path, value: float) -> None:
    before = FeatureFile.open(path)
    with h5py.File(path, "r+") as file:
        file["spectrogram"][2, int(before.index["first_frame"].iloc[1]) + 3, 100] = value
        file["waveform"][0, int(before.index["first_sample"].iloc[2])] = value
    store = FeatureFile.open(path)
    tracks = store.index.index
    with pytest.raises(UserError) as caught:
        store.spectrogram(1, SIGNALS)
    damaged = "damaged (its checksum is another)"
    assert str(caught.value) == f"{path}: {tracks[1]}, vocals: {damaged}; {AGAIN}"
    with pytest.raises(UserError) as caught:
        store.waveforms(2)
    assert str(caught.value) == f"{path}: {tracks[2]}, accompaniment: {damaged}; {AGAIN}"
    assert store.spectrogram(1, SIGNALS[:2]).shape[0] == 2
    assert np.isfinite(store.spectrogram(0, SIGNALS)).all()
    assert np.isfinite(store.waveforms(1)).all()


def test_a_damaged_row_is_computed_again_and_the_others_kept(
    with_features: Path, path: Path, one_process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is copied on under a good key is what was stored under it."""
    store = FeatureFile.open(path)
    with path.open("r+b") as file:
        file.seek(store.frames_of(1, "mixture").offset + 77)
        file.write(b"\x01")
        file.seek(store.samples_of(2, "vocals").offset)
        file.write(b"\x01")
    with inside(path.parents[2]):
        preprocess.preprocess("iKala")
    kept = len(store.index) - 2
    assert (
        capsys.readouterr().out == f"iKala: 2 recordings read, the features of {kept} others kept\n"
    )
    assert path.read_bytes() == (with_features / "data/features/iKala.h5").read_bytes()


def test_rows_of_several_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureFile.open(path)
    expected = store.spectrogram(0, SIGNALS), store.waveforms(0)
    for size in (1, 4 * 257 * 7, PIECE * 100):
        monkeypatch.setattr("pipeline.features.store.PIECE", size)
        np.testing.assert_array_equal(store.spectrogram(0, SIGNALS), expected[0])
    np.testing.assert_array_equal(store.waveforms(0), expected[1])


# ------------------------------------------------------------------------------------------- fuzzing

DAMAGES = 1500
SECONDS = 60.0
"""In which one damage is read; what takes longer hangs."""


def damage(path: Path, seed: int) -> str:
    """Damage a file as disks, cables, file systems and people do; returns how."""
    chance = random.Random(seed)
    content = bytearray(path.read_bytes())
    if seed % 10 == 0:
        number = chance.randrange(len(CHANGES))
        CHANGES[number](path)
        return f"change {number}"
    size = len(content)
    structure = FeatureFile.open(path).places.waveform[0]
    # most of the file is numbers, which are all alike
    start = chance.randrange(structure if seed % 2 else size)
    length = min(chance.choice((1, 4, 8, 512, 4096, 100_000)), size - start)
    other = chance.randrange(size - length + 1)
    how = chance.choice(("bits", "cut", "zeros", "noise", "swap", "copy", "left out", "doubled"))
    if how == "bits":
        for _ in range(chance.choice((1, 1, 1, 2, 10))):
            content[chance.randrange(structure if seed % 2 else size)] ^= 1 << chance.randrange(8)
    elif how == "cut":
        del content[start:]
    elif how == "zeros":
        content[start : start + length] = bytes(length)
    elif how == "noise":
        content[start : start + length] = chance.randbytes(length)
    elif how == "swap":
        page = min(4096, size // 2)
        first, second = (chance.randrange(size // page) * page for _ in range(2))
        content[first : first + page], content[second : second + page] = (
            content[second : second + page], content[first : first + page],
        )  # fmt: skip
    elif how == "copy":
        content[start : start + length] = content[other : other + length]
    elif how == "left out":
        del content[start : start + length]
    else:
        content[start:start] = content[start : start + length]
    path.write_bytes(content)
    return f"{how} at {start}, {length} bytes"


def outcome(original: Path, folder: Path, seed: int) -> tuple[str, str]:
    """How a file was damaged, and what became of it when it was read."""
    path = folder / "iKala.h5"
    shutil.copy2(original, path)
    how = damage(path, seed)
    try:
        found = everything(path)
    except UserError as error:
        line = str(error)
        good = line.startswith(f"{path}: ") and line.endswith(AGAIN) and "\n" not in line
        return how, "refused" if good else line
    return how, "read" if found == everything(original) else "READ SILENTLY"


@pytest.mark.slow
def test_fuzz(with_features: Path, tmp_path: Path) -> None:
    """Refused in one line, or read as it was; nothing silently, no traceback, crash or hang.

    In a process of its own, which a crash of HDF5 would end and a hang keep.
    """
    original = with_features / "data/features/iKala.h5"
    outcomes: dict[str, int] = {}
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:
        for seed in range(DAMAGES):
            how, what = apart.submit(outcome, original, tmp_path, seed).result(SECONDS)
            assert what in ("refused", "read"), (seed, how, what)
            outcomes[what] = outcomes.get(what, 0) + 1
    # a few change nothing: zeros over zeros, or a page swapped with itself
    assert outcomes["refused"] > 0.9 * DAMAGES, outcomes
