"""Recordings are rendered or loaded when, and only when, they are not there."""

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline import datasets, files
from pipeline.datasets.catalogue import Collection
from pipeline.datasets.download import obtain
from pipeline.datasets.rendered import MARKER
from pipeline.errors import UserError
from pipeline.parallel import machine
from tests.helpers.places import TOP
from tests.helpers.server import Answer, Server
from tests.helpers.waiting import until

SONGS = {f"Songs/{song}/vocals.wav": random.Random(song).randbytes(100_000) for song in range(4)}


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """A renderer that is quick and counts its calls."""
    calls: list[tuple[object, ...]] = []

    def render(dataset: str, root: Path, tracks: int, seconds: float, seed: int) -> None:
        calls.append((dataset, tracks, seconds, seed))
        for track in range(tracks):
            (root / f"{track}").mkdir(parents=True)
            (root / f"{track}" / "x.wav").write_text(f"{seed}")
        if seed < 0:
            raise RuntimeError("interrupted")

    module = ModuleType("pipeline.datasets.synthetic")
    module.render = render  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(datasets, "synthetic", module, raising=False)
    monkeypatch.setattr(obtain, "_renderer_md5", lambda: "code")
    return calls


def renders(calls: list[Any], *asked: Any) -> bool:
    """Whether asking for the recordings renders them."""
    before = len(calls)
    obtain.embedded(*asked)
    return len(calls) > before


def test_nothing_is_rendered_twice(rendered: list[object], tmp_path: Path) -> None:
    root = tmp_path / "iKala"
    assert renders(rendered, "iKala", root, 2, 1.0, 7)
    assert not renders(rendered, "iKala", root, 2, 1.0, 7)
    assert rendered == [("iKala", 2, 1.0, 7)]
    assert (root / "1/x.wav").read_text() == "7"


def test_other_parameters_files_or_code_render_again(
    rendered: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "iKala"
    obtain.embedded("iKala", root, 2, 1.0, 7)
    assert renders(rendered, "iKala", root, 1, 1.0, 8)
    assert not (root / "1/x.wav").exists()
    (root / "0/x.wav").unlink()
    assert renders(rendered, "iKala", root, 1, 1.0, 8)
    (root / "0/x.wav").write_text("9")  # of the same length
    assert renders(rendered, "iKala", root, 1, 1.0, 8)
    (root / "0/x.wav").unlink()
    os.mkfifo(root / "0/x.wav")
    assert renders(rendered, "iKala", root, 1, 1.0, 8)
    (root / MARKER).write_text("{")
    assert renders(rendered, "iKala", root, 1, 1.0, 8)
    monkeypatch.setattr(obtain, "_renderer_md5", lambda: "other code")
    assert renders(rendered, "iKala", root, 1, 1.0, 8)
    monkeypatch.setattr(machine, "arithmetic", lambda: "portable")
    assert renders(rendered, "iKala", root, 1, 1.0, 8)
    assert not renders(rendered, "iKala", root, 1, 1.0, 8)


def test_a_users_own_recordings_stay(rendered: list[object], tmp_path: Path) -> None:
    root = tmp_path / "iKala"
    obtain.embedded("iKala", root, 2, 1.0, 7)
    (root / "mine").mkdir()
    (root / "mine/song.wav").write_text("irreplaceable")
    assert not renders(rendered, "iKala", root, 2, 1.0, 7)
    assert renders(rendered, "iKala", root, 1, 1.0, 8)
    assert (root / "mine/song.wav").read_text() == "irreplaceable"
    assert not (root / "1").exists()
    assert not renders(rendered, "iKala", root, 1, 1.0, 8)


def test_an_interrupted_rendering_leaves_what_was_there(
    rendered: list[object], tmp_path: Path
) -> None:
    root = tmp_path / "iKala"
    obtain.embedded("iKala", root, 1, 1.0, 7)
    with pytest.raises(RuntimeError, match="interrupted"):
        obtain.embedded("iKala", root, 1, 1.0, -1)
    assert (root / "0/x.wav").read_text() == "7"
    assert [path.name for path in tmp_path.iterdir()] == ["iKala"]


def test_a_kill_while_rendering_again_keeps_a_users_recordings(
    rendered: list[Any], tmp_path: Path
) -> None:
    """Killed when the folder was renamed aside: it is put back before anything looks at it."""
    root = tmp_path / "iKala"
    obtain.embedded("iKala", root, 1, 1.0, 7)
    (root / "song.wav").write_text("irreplaceable")
    root.replace(tmp_path / "iKala.old.partial")
    obtain.embedded("iKala", root, 1, 1.0, 8)
    assert (root / "song.wav").read_text() == "irreplaceable"
    assert [path.name for path in tmp_path.iterdir()] == ["iKala"]


def packed() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, song in SONGS.items():
            archive.writestr(zipfile.ZipInfo(name), song)
    return content.getvalue()


PACKED = packed()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "Songs"


def published(*urls: str, **other: Any) -> Collection:
    md5 = hashlib.md5(PACKED).hexdigest()
    return Collection(
        name="Songs",
        title="Some songs",
        apply="",
        urls=urls,
        file="songs.zip",
        bytes=len(PACKED),
        checksum=f"md5:{md5}",
        unpacked_bytes=400_000,
        licence="CC BY 4.0",
        citation="Doe 2020",
        page="https://example.org/songs",
    )._replace(**other)


def songs(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_a_public_collection_is_loaded_and_unpacked(server: Server, root: Path) -> None:
    said: list[str] = []
    archive = published(server.serve("/songs.zip", PACKED))
    obtain.public(archive, root, said.append)
    assert songs(root) == SONGS
    for line in ("https://example.org/songs", "licence: CC BY 4.0", "please cite: Doe 2020"):
        assert f"Songs: {line}" in said
    place = root.parent / "archives" / "songs.zip"
    assert said[-2:] == [
        f"Songs: unpacked to {root}",
        f"Songs: its archive {place} may be deleted now",
    ]
    assert {path.name for path in root.parent.rglob("*")} >= {"Songs", "archives", "songs.zip"}
    assert [*place.parent.iterdir()] == [place]
    assert {path.name for path in root.parent.iterdir()} == {"Songs", "archives"}
    place.unlink()
    said.clear()
    obtain.public(archive, root, said.append)
    assert said == [f"Songs: {root} holds files: they are used as they are, nothing is loaded"]
    assert len(server.requests) == 1


def test_a_users_copy_is_used_and_hidden_files_are_none(server: Server, root: Path) -> None:
    archive = published(server.serve("/songs.zip", PACKED))
    root.mkdir(parents=True)
    (root / ".DS_Store").write_text("x")
    (root / "mine").mkdir()
    obtain.public(archive, root)
    assert server.requests == []
    (root / "mine").rmdir()
    obtain.public(archive, root)
    assert songs(root) == {**SONGS, ".DS_Store": b"x"}


def test_an_archive_that_lies_there_is_used(server: Server, root: Path) -> None:
    place = root.parent / "archives" / "songs.zip"
    place.parent.mkdir(parents=True)
    place.write_bytes(PACKED)
    obtain.public(published(server.serve("/songs.zip", b"")), root)
    assert songs(root) == SONGS
    assert server.requests == []


def test_an_archive_elsewhere_on_this_machine_is_used(tmp_path: Path, root: Path) -> None:
    (tmp_path / "mine.zip").write_bytes(PACKED)
    said: list[str] = []
    obtain.public(published(str(tmp_path / "mine.zip")), root, said.append)
    assert songs(root) == SONGS
    assert said[-1] == f"Songs: unpacked to {root}"  # of one's own file nothing is said
    assert [*(root.parent / "archives").iterdir()] == []


def test_the_disk_is_looked_at_before_anything_is_loaded(
    server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive and what it holds need room, less what is there already."""
    needed: list[int] = []
    monkeypatch.setattr(files, "require_space", lambda path, size, what: needed.append(size))
    url = server.serve("/songs.zip", PACKED, Answer(drop=100_000), Answer(404))
    with pytest.raises(UserError):
        obtain.public(published(url), root)
    with pytest.raises(UserError):
        obtain.public(published(url), root)
    with pytest.raises(UserError):
        obtain.public(published(url, bytes=None, unpacked_bytes=None), root)
    (root.parent / "archives" / "songs.zip").write_bytes(PACKED)
    obtain.public(published(url), root)
    every = len(PACKED) + 400_000
    assert needed == [every, every - 100_000, 0, 400_000]


def test_a_disk_without_room(server: Server, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = published(server.serve("/songs.zip", PACKED), unpacked_bytes=10**18)
    with pytest.raises(UserError, match=r"Songs: no room for Songs and its archive: 1000000\.0 TB"):
        obtain.public(archive, root)
    assert server.requests == []
    assert not root.exists()


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == Path("/tmp").stat().st_dev,
    reason="no second file system",
)
def test_two_disks_are_looked_at_one_by_one(
    server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed: list[int] = []
    monkeypatch.setattr(files, "require_space", lambda path, size, what: needed.append(size))
    root.parent.mkdir()
    root.symlink_to("/dev/shm/songs of a test that does not exist")
    with pytest.raises(UserError):
        obtain.public(published(server.serve("/songs.zip", b"", Answer(404))), root)
    assert needed == [len(PACKED), 400_000]


def test_a_damaged_archive_leaves_nothing_and_can_be_replaced(server: Server, root: Path) -> None:
    """Published without a checksum: only unpacking tells."""
    damaged = PACKED[:200_000] + b"damage" + PACKED[200_006:]
    archive = published(server.serve("/songs.zip", damaged), checksum=None)
    place = root.parent / "archives" / "songs.zip"
    with pytest.raises(UserError, match=rf"^{place}: damaged .*; delete it and run again$"):
        obtain.public(archive, root)
    assert [*root.parent.iterdir()] == [place.parent]
    place.unlink()
    server.serve("/songs.zip", PACKED)
    obtain.public(archive, root)
    assert songs(root) == SONGS


PUBLIC = """
import os, sys; from pathlib import Path
from pipeline.datasets import catalogue
from pipeline.datasets.download import obtain, unpack
if sys.argv[3] == "unpacking":
    content = unpack._content
    def dying(member):
        yield from content(member)
        if "2" in member.name: os._exit(9)
    unpack._content = dying
songs = catalogue.collection("CCMixter")._replace(
    urls=(sys.argv[1],), file="songs.zip", bytes=None, checksum=None, unpacked_bytes=None
)
obtain.public(songs, Path(sys.argv[2]))
"""


def test_killed_while_loading_and_run_again(server: Server, root: Path) -> None:
    url = server.serve("/songs.zip", PACKED, Answer(stall=100_000))
    partial = root.parent / "archives" / "songs.zip.partial"
    command = [sys.executable, "-c", PUBLIC, url, str(root), "loading"]
    with subprocess.Popen(command, cwd=TOP) as process:
        until(lambda: partial.exists() and partial.stat().st_size > 60_000, process, 0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not root.exists()
    kept = partial.stat().st_size
    server.requests.clear()
    server.serve("/songs.zip", PACKED)
    obtain.public(published(url), root)
    assert songs(root) == SONGS
    assert server.ranges == [f"bytes={kept}-"]
    assert server.sent == [len(PACKED) - kept]
    assert [path.name for path in partial.parent.iterdir()] == ["songs.zip"]


def test_killed_while_unpacking_and_run_again(server: Server, root: Path) -> None:
    url = server.serve("/songs.zip", PACKED)
    command = [sys.executable, "-c", PUBLIC, url, str(root), "unpacking"]
    assert subprocess.run(command, cwd=TOP).returncode == 9
    assert not root.exists()
    assert songs(root.with_name("Songs.partial"))
    obtain.public(published(url), root)
    assert songs(root) == SONGS
    assert {path.name for path in root.parent.iterdir()} == {"Songs", "archives"}
    assert len(server.requests) == 1


def test_two_at_the_same_time(server: Server, root: Path) -> None:
    """The second waits until the first has unpacked everything."""
    url = server.serve("/songs.zip", PACKED, Answer(hold=100_000))
    command = [sys.executable, "-u", "-c", PUBLIC, url, str(root), ""]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert any("loading" in line for line in first.stdout)
        with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as second:
            assert second.stdout is not None
            assert any("is at work on it: waiting" in line for line in second.stdout)
            server.go.set()
            assert [first.wait(), second.wait()] == [0, 0]
    assert songs(root) == SONGS
    assert len(server.requests) == 1


def test_the_catalogues_entry_with_ones_own_address_and_checksum() -> None:
    known = obtain.publisher("MUSDB18")
    assert known.urls[0].startswith("https://zenodo.org/record/1117372/")
    assert (known.bytes, known.checksum) == (
        4_684_228_845, "md5:af06762477334799bfc5abf237648207",
    )  # fmt: skip
    mirrored = obtain.publisher("MUSDB18", "/disk/musdb18.zip")
    assert mirrored == known._replace(urls=("/disk/musdb18.zip",))
    other = obtain.publisher("MUSDB18", checksum="md5:" + "0" * 32)
    assert (other.urls, other.bytes, other.unpacked_bytes) == (known.urls, None, None)
    for name in ("iKala", "MedleyDB"):
        with pytest.raises(UserError, match=rf"{name}: cannot be downloaded: .*origin: local"):
            obtain.publisher(name)


def test_nothing_is_empty(tmp_path: Path) -> None:
    assert obtain.is_empty(tmp_path / "nowhere")
    (tmp_path / ".hidden").touch()
    assert obtain.is_empty(tmp_path)
    (tmp_path / "file").touch()
    assert not obtain.is_empty(tmp_path)
    assert not obtain.is_empty(tmp_path / "file")
