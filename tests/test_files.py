"""Outputs appear whole or not at all, whatever goes wrong while they are written."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import files
from pipeline.errors import UserError, listing
from pipeline.files import atomic_path
from tests.helpers.limits import small_files_only
from tests.helpers.places import TOP

OLD = "what was there"


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "x.txt"
    with atomic_path(target) as partial:
        assert partial.parent == target.parent  # the same file system: a rename is atomic
        partial.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"
    assert [*target.parent.iterdir()] == [target]


def test_a_folder_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    (target / "old").mkdir(parents=True)
    with atomic_path(target) as partial:
        partial.mkdir()
        (partial / "new").write_text("x")
        assert (target / "old").is_dir()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [*tmp_path.iterdir()] == [target]


def fail_in_the_middle(target: Path, error: BaseException) -> None:
    with atomic_path(target) as partial:
        partial.write_text("half of i")
        raise error


def fail_in_the_middle_of_a_folder(target: Path) -> None:
    with atomic_path(target) as partial:
        partial.mkdir()
        (partial / "new").write_text("x")
        raise ValueError


def write_to_a_full_disk(target: Path) -> None:
    with atomic_path(target) as partial:
        partial.symlink_to("/dev/full")
        partial.write_text("x")


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), UserError("x")])
def test_after_a_failure_the_old_file_is_there(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "x.txt"
    target.write_text(OLD)
    with pytest.raises(type(error)):
        fail_in_the_middle(target, error)
    assert target.read_text() == OLD
    assert [*tmp_path.iterdir()] == [target]


def test_after_a_failure_the_old_folder_is_there(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text(OLD)
    with pytest.raises(ValueError):  # noqa: PT011 - ours
        fail_in_the_middle_of_a_folder(target)
    assert (target / "old").read_text() == OLD
    assert [*tmp_path.iterdir()] == [target]


def test_what_a_killed_run_left_is_overwritten(tmp_path: Path) -> None:
    left = tmp_path / "folder.partial"
    left.mkdir()
    (left / "stale").write_text("x")
    with atomic_path(tmp_path / "folder") as partial:
        partial.mkdir()
    assert not [*(tmp_path / "folder").iterdir()]


def test_a_folder_where_a_file_was_and_the_other_way_round(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text(OLD)
    with atomic_path(target) as partial:
        partial.mkdir()
    assert target.is_dir()
    with pytest.raises(UserError, match="x: cannot be written"):
        files.write_text(target, "x")
    assert target.is_dir()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text(OLD)
    with pytest.raises(UserError) as caught:
        write_to_a_full_disk(target)
    reason = "No space left on device; make room and run the same command again"
    assert str(caught.value) == f"{target}: cannot be written: {reason}"
    assert target.read_text() == OLD
    assert [*tmp_path.iterdir()] == [target]


def test_a_write_that_stops_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text(OLD)
    with small_files_only(10_000), pytest.raises(UserError, match=r"x\.txt: cannot be written: "):
        files.write_text(target, "x" * 1_000_000)
    assert target.read_text() == OLD
    assert [*tmp_path.iterdir()] == [target]


def test_a_full_disk_while_copying_is_one_line(tmp_path: Path) -> None:
    """shutil names the file that it copies, not the one that it writes."""
    with pytest.raises(UserError, match="No space left"), atomic_path(tmp_path / "x"):
        raise OSError(28, os.strerror(28), str(tmp_path / "source.wav"))


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A file where a folder is needed; no file mode stops the user root."""
    (tmp_path / "data").write_text(OLD)
    target = tmp_path / "data" / "features" / "x.h5"
    with pytest.raises(UserError) as caught:
        files.write_text(target, "x")
    assert str(caught.value).startswith(f"{target}: cannot be written: ")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "data").read_text() == OLD


@pytest.mark.parametrize("method", ["mkdir", "write_text", "replace"])
def test_a_folder_without_permission_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Refused when the folder is made, when the file is opened, when it is renamed."""

    def refused(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    target = tmp_path / "data" / "x.json"
    monkeypatch.setattr(Path, method, refused)
    with pytest.raises(UserError) as caught:
        files.write_text(target, "x")
    monkeypatch.undo()
    assert str(caught.value).startswith(f"{target}: cannot be written: Permission denied; let ")
    assert not target.exists()
    assert not [*tmp_path.rglob("*.partial")]


def test_an_error_about_another_file_is_not_blamed_on_the_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "x"):
        (tmp_path / "other.wav").read_bytes()
    assert not [*tmp_path.iterdir()]


def test_text_is_utf8_with_plain_line_ends(tmp_path: Path) -> None:
    files.write_text(tmp_path / "x", "Ärzte\nß\n")
    assert (tmp_path / "x").read_bytes() == b"\xc3\x84rzte\n\xc3\x9f\n"


def test_remove_takes_anything_but_what_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "folder link").symlink_to(tmp_path / "folder")
    for name in ("link", "folder link", "nothing"):
        files.remove(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "file"}
    files.remove(tmp_path / "folder")
    files.remove(tmp_path / "file")
    assert not [*tmp_path.iterdir()]


def test_md5_of_a_known_string(tmp_path: Path) -> None:
    """The test suite of RFC 1321, and a file longer than any buffer."""
    (tmp_path / "x").write_bytes(b"message digest")
    assert files.md5(tmp_path / "x") == "f96b697d7cb7938d525a2f31aaf161d0"
    (tmp_path / "x").write_bytes(b"ab" * 1_000_000)
    assert files.md5(tmp_path / "x") == hashlib.md5(b"ab" * 1_000_000).hexdigest()


def test_listing_elides_what_is_too_much() -> None:
    assert listing(["a", Path("b/c")]) == "a, b/c"
    assert listing("abcdefg") == "a, b, c, d, e and 2 more"
    assert listing("abc", limit=3) == "a, b, c"


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_kill_while_a_folder_is_replaced_loses_nothing(tmp_path: Path, moment: int) -> None:
    """Killed before, between or after the renames: the next look finds the old or the new, whole."""
    target = tmp_path / "recordings"
    target.mkdir()
    (target / "song.wav").write_text("old")
    script = (
        "import os, sys, shutil; from pathlib import Path; from pipeline import files\n"
        "target, moment = Path(sys.argv[1]), int(sys.argv[2])\n"
        "calls = 0\n"
        "def dying(function):\n"
        "    def called(*a, **k):\n"
        "        global calls; calls += 1\n"
        "        if calls == moment: os._exit(9)\n"
        "        return function(*a, **k)\n"
        "    return called\n"
        "with files.atomic_path(target) as partial:\n"
        "    partial.mkdir(); (partial / 'song.wav').write_text('new')\n"
        "    Path.replace = dying(Path.replace); shutil.rmtree = dying(shutil.rmtree)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(target), str(moment)], cwd=TOP)
    assert done.returncode == 9
    with pytest.raises(RuntimeError, match="look"), files.atomic_path(target):
        raise RuntimeError("only a look")
    assert (target / "song.wav").read_text() == ("new" if moment == 3 else "old")
    assert [path.name for path in tmp_path.iterdir()] == ["recordings"]
