"""Where things are, and working in a folder."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOP = Path(__file__).parents[2]
REAL_SONGS = TOP.parent / "shared" / "real_songs"


@contextmanager
def inside(folder: Path) -> Iterator[Path]:
    """Run with `folder` as the working directory."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


def fingerprints(folder: Path) -> dict[str, str]:
    """Every file below a folder with a hash of its content."""
    with inside(folder):
        return {
            str(path): hashlib.md5(path.read_bytes()).hexdigest()
            for path in Path().rglob("*")
            if path.is_file()
        }
