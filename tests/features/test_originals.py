"""A recording is the one that its inventory describes while its features are computed, or refused."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline import params
from pipeline.datasets import inventory, survey
from pipeline.datasets.inventory import FileEntry
from pipeline.datasets.rendered import MARKER
from pipeline.errors import UserError
from pipeline.features import extraction, preprocess
from pipeline.features.originals import unchanged
from pipeline.files import md5, state
from pipeline.params import Params
from stages import common, download
from stages import preprocess as stage
from tests.helpers.damage import instead
from tests.helpers.places import inside
from tests.helpers.small_recordings import music, put

DOWNLOAD = "`python -m stages.download iKala`"


@pytest.fixture
def settings(with_features: Path) -> Params:
    return params.load(with_features / "params.yaml")


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Three recordings of the same length in a folder."""
    for number in range(3):
        put(tmp_path / f"songs/{number}.wav", music(1, 30_000, seed=number))
    return tmp_path / "songs"


def features(root: Path, settings: Params, target: Path) -> Callable[[], int]:
    """What computes the features of the folder as it is now; returns how many recordings were read."""
    found = survey.take_folder("songs", root, "mixture")
    return lambda: preprocess.write(found, root, found.kinds, settings.signal, target)


def swap(path: Path, other: Path) -> None:
    """Another recording of the same size and times."""
    status = path.stat()
    shutil.copy(other, path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_replaced_recording_is_refused_and_the_others_are_computed_once(
    songs: Path, settings: Params, tmp_path: Path, one_process: None
) -> None:
    """With the original back, the same command reads it alone; the bytes are as without all that."""
    target, fresh = tmp_path / "songs.h5", tmp_path / "fresh.h5"
    compute, never_replaced = features(songs, settings, target), features(songs, settings, fresh)
    never_replaced()
    original = (songs / "1.wav").read_bytes()
    swap(songs / "1.wav", songs / "2.wav")
    with pytest.raises(UserError) as caught:
        compute()
    wrong = "not the recording that data/inventory describes: its content is another"
    remedy = (
        "put the recording back, or run `python -m stages.download songs`, and then the same command"
        " again"
    )
    assert str(caught.value) == f"{songs / '1.wav'}: {wrong}; {remedy}"
    assert not target.exists()
    (songs / "1.wav").write_bytes(original)
    assert compute() == 1
    assert target.read_bytes() == fresh.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh.h5", "songs", "songs.h5"]


def test_several_are_counted(
    songs: Path, settings: Params, tmp_path: Path, one_process: None
) -> None:
    compute = features(songs, settings, tmp_path / "songs.h5")
    swap(songs / "0.wav", songs / "2.wav")
    (songs / "1.wav").unlink()
    with pytest.raises(UserError, match=r"/0\.wav: not the recording .*\(2 recordings are refused"):
        compute()


def test_features_that_are_there_need_no_recordings(
    songs: Path, settings: Params, tmp_path: Path, one_process: None
) -> None:
    compute = features(songs, settings, tmp_path / "songs.h5")
    assert compute() == 3
    shutil.rmtree(songs)
    assert compute() == 0


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (Path.unlink, "no such file"),
        (instead("a folder"), "not a file"),
        (instead("a pipe"), "not a file"),
        (instead("a link to itself"), r"cannot be read \(Too many levels"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "not the recording that"),
    ],
)
def test_whatever_lies_in_its_place_is_one_line(
    songs: Path, harm: Callable[[Path], object], said: str
) -> None:
    """A pipe would be waited for, for ever."""
    path = songs / "0.wav"
    entry = FileEntry(bytes=path.stat().st_size, md5=md5(path))
    harm(path)
    with (
        pytest.raises(
            UserError, match=f"^{re.escape(str(path))}: {said}.*; put .*stages.download iKala`"
        ),
        unchanged(songs, {"0.wav": entry}, "iKala"),
    ):
        raise AssertionError("was read")


@pytest.mark.parametrize(
    "change",
    [
        lambda path, other: shutil.copy(other, path),
        lambda path, other: other.replace(path),
        lambda path, other: swap(path, other),
        lambda path, _: path.unlink(),
    ],
)
def test_a_recording_that_changes_while_it_is_read_is_refused(
    songs: Path, change: Callable[[Path, Path], object]
) -> None:
    path = songs / "0.wav"
    entry = FileEntry(bytes=path.stat().st_size, md5=md5(path))
    with (
        pytest.raises(UserError, match=r"0\.wav: changed while it was read; run the same command"),
        unchanged(songs, {"0.wav": entry}, "songs"),
    ):
        change(path, songs / "1.wav")


@pytest.mark.parametrize(
    "touch",
    [lambda path: (path.parent / "link.wav").hardlink_to(path), lambda path: path.chmod(0o600)],
)
def test_a_hard_link_or_other_permissions_change_no_recording(
    songs: Path, touch: Callable[[Path], object]
) -> None:
    """They move the inode's time of change alone: DVC links the same file when it fills its cache."""
    path = songs / "0.wav"
    entry = FileEntry(bytes=path.stat().st_size, md5=md5(path))
    before = state(path)
    with unchanged(songs, {"0.wav": entry}, "songs"):
        touch(path)
    assert state(path) != before


def test_other_kinds_of_the_same_track_are_not_hashed(
    with_features: Path, settings: Params, tmp_path: Path, one_process: None
) -> None:
    """Of a track whose vocals alone are asked for, only those files are read and compared."""
    found = inventory.load(with_features / "data/inventory/DSD100.json")
    root, one = tmp_path / "DSD100", found.recordings[0]
    shutil.copytree(with_features / "data/synthetic/DSD100", root)
    alone = found.model_copy(update={"recordings": (one,)})
    (root / one.track.sources["accompaniment"][0].file).unlink()
    assert preprocess.write(alone, root, ["vocals"], settings.signal, tmp_path / "x.h5") == 1


# ---------------------------------------------------------------------------- embedded recordings


@pytest.fixture
def experiment(with_features: Path, tmp_path: Path) -> Path:
    """iKala's embedded recordings and inventory, for a test to change."""
    for name in ("data/synthetic/iKala", "data/inventory"):
        shutil.copytree(with_features / name, tmp_path / name)
    shutil.copy(with_features / "params.yaml", tmp_path)
    return tmp_path


def test_an_embedded_recording_that_was_replaced_is_refused_and_rendered_again(
    with_features: Path, experiment: Path, one_process: None
) -> None:
    """The inventory has no MD5 of it; what was rendered here is noted beside it."""
    first, second, *_ = sorted((experiment / "data/synthetic/iKala/Wavfile").glob("*.wav"))
    swap(first, second)
    with inside(experiment):
        with pytest.raises(UserError) as caught:
            stage.preprocess("iKala")
        assert f"{first.relative_to(experiment)}: not the recording that" in str(caught.value)
        assert DOWNLOAD in str(caught.value)
        download.download("iKala")
        stage.preprocess("iKala")
        computed = common.features_path("iKala").read_bytes()
    assert computed == (with_features / "data/features/iKala.h5").read_bytes()


@pytest.mark.parametrize("noted", ['"seed": 99', ""])
def test_what_was_rendered_from_something_else_is_refused(
    experiment: Path, noted: str, one_process: None
) -> None:
    """Another seed gives other recordings of the same sizes and names; then: nothing is known."""
    marker = experiment / "data/synthetic/iKala" / MARKER
    text = marker.read_text()
    marker.write_text(re.sub(r'"seed": \d+', noted, text))
    assert marker.read_text() != text
    with inside(experiment), pytest.raises(UserError) as caught:
        stage.preprocess("iKala")
    said = "data/synthetic/iKala: not rendered from what the inventory of iKala says; run"
    assert str(caught.value).startswith(f"{said} {DOWNLOAD}")


# ------------------------------------------------------------------------------------- no numbers


def test_magnitudes_that_overflow_are_named(tmp_path: Path, settings: Params) -> None:
    """Each sample is a number; their sum over a window is none."""
    put(tmp_path / "songs/loud.wav", np.full((1, 9000), 3e38, np.float32), subtype="FLOAT")
    found = survey.take_folder("songs", tmp_path / "songs", "mixture")
    with pytest.raises(UserError) as caught:
        extraction.extract(
            found.recordings[0], tmp_path / "songs", found.kinds, settings.signal, tmp_path
        )
    said = (
        r"songs/loud\.wav: loud.*: its mixture has infinite magnitudes: .*stages\.download songs`"
    )
    assert re.search(said, str(caught.value))
