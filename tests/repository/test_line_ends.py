"""Every checkout has the same bytes, whatever git is told about line ends."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.places import TOP
from tests.helpers.revision_control import git

pytestmark = pytest.mark.usefixtures("quiet_git")

BINARY = b"RIFF\r\n\0\r\n"


def test_a_checkout_for_windows_has_the_bytes_that_were_committed(tmp_path: Path) -> None:
    """A script, a table and an empty file as text; a recording, and one without any zero, as bytes."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    git(ours, "init", "--quiet", "--initial-branch", "main")
    for name in (".gitattributes", "scripts/lock-current", "params.yaml", "data/split.csv"):
        (ours / name).parent.mkdir(exist_ok=True)
        shutil.copy(TOP / name, ours / name)
    (ours / "empty.py").touch()
    (ours / "song.wav").write_bytes(BINARY)
    (ours / "picture.png").write_bytes(b"\x89PNG\r\n")
    git(ours, "add", "--all")
    git(ours, "commit", "--quiet", "--message", "first")
    crlf = ["-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    git(tmp_path, *crlf, "clone", "--quiet", *crlf, str(ours), str(theirs))
    names = git(ours, "ls-files").splitlines()
    assert len(names) == 7
    for name in names:
        assert (theirs / name).read_bytes() == (ours / name).read_bytes(), name
    assert git(theirs, "status", "--porcelain") == ""


def test_no_file_has_windows_line_ends() -> None:
    text = {
        ".py",
        ".md",
        ".csv",
        ".json",
        ".yaml",
        ".yml",
        ".toml",
        ".html",
        ".js",
        ".css",
        ".svg",
        "",
    }
    folders = ("pipeline", "stages", "scripts", "tests", "data/inventory", "docs", "container")
    for folder in folders:
        for path in (TOP / folder).rglob("*"):
            if path.is_file() and path.suffix in text:
                assert b"\r\n" not in path.read_bytes(), path
