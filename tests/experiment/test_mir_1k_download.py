"""MIR-1K from a web server: its archive loaded once for all that want it, whole or with one line."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets import catalogue, inventory
from pipeline.datasets.download import transfer
from pipeline.datasets.inventory import Inventory
from pipeline.errors import UserError
from stages import download
from tests.helpers import small_mir_1k
from tests.helpers.experiment import small_params, write_params
from tests.helpers.places import TOP, fingerprints, inside
from tests.helpers.server import Answer, Server, serving
from tests.helpers.small_mir_1k import CLIPS, archived
from tests.helpers.waiting import LONG_ENOUGH

PARTS = {"MIR-1K-male": "m", "MIR-1K-female": "f"}
ARCHIVE = "raw/archives/MIR-1K.zip"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as site:
        yield site


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The clips, which are the published ones as long as the tests last."""
    folder = small_mir_1k.put_clips(tmp_path_factory.mktemp("clips"))
    with pytest.MonkeyPatch.context() as patch:
        small_mir_1k.publish(patch, folder)
        yield folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: None) -> Iterator[Path]:
    """The working directory, which gets the recordings too; nobody waits between two attempts."""
    monkeypatch.setenv("DATA_ROOT", "raw")
    monkeypatch.setattr(transfer, "LONGEST_WAIT", 0.0)
    with inside(tmp_path):
        yield tmp_path


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def ask_for(url: str, checksum: str | None) -> None:
    """params.yaml with two datasets out of one archive; without a checksum it is the published one."""
    entry: dict[str, Any] = {"origin": "download", "collection": "MIR-1K", "url": url}
    if checksum:
        entry["checksum"] = checksum
    data = small_params()
    data["datasets"] = {name: {**entry, "select": {"sex": [sex]}} for name, sex in PARTS.items()}
    write_params(data, Path())


def refused() -> str:
    """The one line in which the download ends; no inventory says that there is anything."""
    with pytest.raises(UserError) as caught:
        download.download("MIR-1K-female")
    assert not Path("data").exists()
    line = str(caught.value)
    assert line.isprintable()
    return line


def taken(name: str, place: Path = Path()) -> Inventory:
    return inventory.load(place / f"data/inventory/{name}.json")


def published(sex: str) -> set[str]:
    return {clip for clip, row in catalogue.columns("MIR-1K").items() if row["sex"] == sex}


def test_one_archive_gives_two_datasets_and_goes_on_where_it_broke(
    folder: Path, clips: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    content = archived(clips)
    half = len(content) // 2
    url = server.serve("/MIR-1K.zip", content, Answer(drop=half), Answer(404), Answer())
    ask_for(url, md5(content))
    line = refused()
    assert f"{url}: HTTP 404" in line
    assert "run again (it goes on where it stopped)" in line
    assert Path(f"{ARCHIVE}.partial").read_bytes() == content[:half]
    assert [path.name for path in Path("raw").iterdir()] == ["archives"]
    for name in PARTS:
        download.download(name)

    assert server.ranges == [None, f"bytes={half}-", f"bytes={half}-"]
    assert server.requests[-1].headers["if-range"] == '"v1"'
    assert sum(server.sent) == len(content)
    assert [str(path) for path in Path("raw/archives").iterdir()] == [ARCHIVE]
    assert sorted(path.name for path in Path("raw").iterdir()) == ["MIR-1K", "archives"]
    for name, sex in PARTS.items():
        found = taken(name)
        there = sorted(published(sex) & set(CLIPS))
        assert [(one.track.id, one.track.artist) for one in found.recordings] == [
            (clip, clip.split("_")[0]) for clip in there
        ]
        assert {file: entry.md5 for file, entry in found.files.items()} == {
            f"MIR-1K/Wavfile/{clip}.wav": catalogue.checksums("MIR-1K")[clip] for clip in there
        }
        assert set(found.missing) == published(sex) - set(there)
        assert (found.rejected, found.extra) == ((), ())
    said = capsys.readouterr().out
    assert "licence: not stated; see its page" in said
    assert "please cite: C.-L. Hsu, J.-S. R. Jang" in said
    assert "MIR-1K: raw/MIR-1K holds files: they are used as they are, nothing is loaded" in said


@pytest.mark.parametrize(
    ("around", "wavfile"), [("", "Wavfile/"), ("Songs of mine/", "Wavfile/"), ("", "")]
)
def test_folders_around_the_clips_that_are_seen_through(
    folder: Path, clips: Path, server: Server, around: str, wavfile: str
) -> None:
    content = archived(clips, around, wavfile)
    ask_for(server.serve("/MIR-1K.zip", content), md5(content))
    download.download("MIR-1K-female")
    found = taken("MIR-1K-female")
    assert list(found.files) == [f"{around}{wavfile}{clip}.wav" for clip in CLIPS[:2]]
    assert found.extra == ()


@pytest.mark.parametrize(
    ("around", "wavfile"), [("a/MIR-1K/", "Wavfile/"), ("MIR-1K/", "wavfile/"), ("MIR-1K/", "")]
)
def test_other_folders_are_one_line_and_can_be_renamed(
    folder: Path, clips: Path, server: Server, around: str, wavfile: str
) -> None:
    content = archived(clips, around, wavfile)
    ask_for(server.serve("/MIR-1K.zip", content), md5(content))
    expected = "no tracks in this folder; expected Wavfile/<singer>_<song>_<clip>.wav"
    assert refused().startswith(f"raw/MIR-1K: {expected}")
    shutil.move(Path("raw/MIR-1K", around, wavfile), "raw/MIR-1K/Wavfile")
    download.download("MIR-1K-female")
    assert len(taken("MIR-1K-female").recordings) == 2
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("file", "start", "what"),
    [
        ("MIR-1K.zip", b"PK\x03\x04", ""),
        ("MIR-1K.rar", b"Rar!\x1a\x07\x01\x00", ""),
        ("MIR-1K.zip", b"<!DOCTYPE html>", " (a web page)"),
    ],
)
def test_what_is_not_the_published_archive_leaves_nothing(
    folder: Path, server: Server, file: str, start: bytes, what: str
) -> None:
    content = start + bytes(1000)
    url = server.serve(f"/{file}", content)
    ask_for(url, None)
    before = fingerprints(folder)
    line = refused()
    said = f"found {md5(content)}, expected md5:3a4e5acd740110ae481a836460dabb6a{what}"
    assert line.startswith(f"{ARCHIVE}: cannot be loaded: {url}: wrong checksum: {said}; ")
    assert fingerprints(folder) == before


def test_a_rar_is_not_read_and_the_zip_can_take_its_place(
    folder: Path, clips: Path, server: Server
) -> None:
    rar, content = b"Rar!\x1a\x07\x01\x00" + bytes(1000), archived(clips)
    ask_for(server.serve("/MIR-1K.rar", rar), md5(rar))
    line = refused()
    assert line.startswith(f"{ARCHIVE}: is a RAR archive, which is not read: take the zip")
    assert line.endswith("delete it and run again")
    assert [path.name for path in Path("raw").iterdir()] == ["archives"]
    Path(ARCHIVE).unlink()
    ask_for(server.serve("/MIR-1K.zip", content), md5(content))
    download.download("MIR-1K-female")
    assert len(taken("MIR-1K-female").recordings) == 2


DOWNLOAD = """
import sys
from pathlib import Path

import pytest

from stages import common, download
from tests.helpers import small_mir_1k

if __name__ == "__main__":
    small_mir_1k.publish(pytest.MonkeyPatch(), Path(sys.argv.pop()))
    common.run(download.download)
"""


@pytest.mark.slow
def test_two_experiments_that_want_it_at_the_same_time_load_it_once(
    folder: Path, clips: Path, server: Server
) -> None:
    """One at the top, one in its folder: the second waits until the first has unpacked everything."""
    content = archived(clips)
    url = server.serve("/MIR-1K.zip", content, Answer(hold=len(content) // 2))
    ask_for(url, md5(content))
    second = folder / "experiments/second"
    second.mkdir(parents=True)
    shutil.copy("params.yaml", second)

    def downloading(name: str, place: Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-u", "-c", DOWNLOAD, name, str(clips)], cwd=place, text=True,
            env=os.environ | {"PYTHONPATH": str(TOP)}, stdout=subprocess.PIPE,
        )  # fmt: skip

    with downloading("MIR-1K-male", folder) as first:
        assert first.stdout is not None
        assert any("loading" in line for line in first.stdout)
        with downloading("MIR-1K-female", second) as other:
            assert other.stdout is not None
            assert any("is at work on it: waiting" in line for line in other.stdout)
            server.go.set()
            statuses = [one.wait(LONG_ENOUGH) for one in (first, other)]
    assert statuses == [0, 0]
    assert server.sent == [len(content)]
    for name, place in (("MIR-1K-male", folder), ("MIR-1K-female", second)):
        assert len(taken(name, place).recordings) == 2
    assert not (second / "raw").exists()
