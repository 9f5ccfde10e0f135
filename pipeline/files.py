"""Outputs appear whole or not at all: written beside their place, then renamed."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError

PARTIAL = ".partial"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` to write to; rename it over `target` when the block succeeds.

    Works for a file and for a folder (an existing folder is replaced). On failure what was written
    is removed and `target` is as it was; after a kill, `recover` makes it so. Raises UserError when
    the disk is full or not writable.
    """
    partial = target.with_name(target.name + PARTIAL)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        recover(target)
        remove(partial)
    except OSError as error:
        raise _not_written(target, error) from error
    try:
        yield partial
        if partial.is_dir() and target.exists():
            # A folder cannot be renamed over another, and deleting one takes time to be killed in.
            target.replace(_aside(target))
        partial.replace(target)
        remove(_aside(target))
    except OSError as error:
        if error.filename is None or str(partial) in str(error.filename) or error.errno == 28:
            raise _not_written(target, error) from error
        raise
    finally:
        remove(partial)


@contextmanager
def alone(target: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Be the only process at work on `target`; wait, and say so, while another one is.

    Raises UserError when the disk cannot be written, also when the block finds that out.
    """
    from filelock import FileLock, Timeout

    lock = target.with_name(f"{target.name}.lock")
    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(blocking=False)
        except Timeout:
            say(f"{lock}: another process is at work on it: waiting")
            held.acquire()
        try:
            yield
        finally:
            # Still held: who waits for it notices that the file is another one, and makes its own.
            lock.unlink(missing_ok=True)
            held.release()
    except OSError as error:
        words = f"cannot be written: {error.strerror or error}"
        remedy = "make room or mend that and run again: what arrived is kept"
        raise UserError(f"{target}: {words}; {remedy}") from error


def recover(target: Path) -> None:
    """Put back a folder that was renamed aside when its replacement was killed halfway."""
    aside = _aside(target)
    if aside.exists() and not target.exists():
        aside.replace(target)
    remove(aside)


def _aside(target: Path) -> Path:
    return target.with_name(f"{target.name}.old{PARTIAL}")


def _not_written(target: Path, error: OSError) -> UserError:
    # The words of the system: those of HDF5 are several lines.
    reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
    return UserError(f"{target}: cannot be written: {reason}")


def require_space(path: Path, needed: int, what: str) -> None:
    """Raise UserError unless the file system that will hold `path` has `needed` bytes free."""
    free = shutil.disk_usage(existing(path)).free
    if free < needed:
        raise UserError(
            f"{path}: no room for {what}: {human(needed)} needed, {human(free)} free;"
            " free some disk space or put the data on another disk (DATA_ROOT)"
        )


def existing(path: Path) -> Path:
    """`path`, or the nearest folder above that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def human(count: float) -> str:
    """A number of bytes for people: 14.7 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def reserve(path: Path, size: int) -> None:
    """Raise OSError when the disk has no room for `size` bytes at `path`, which is empty afterwards.

    For writers that do not survive a full disk: HDF5 ends with a segmentation fault.
    """
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(0)


def remove(path: Path) -> None:
    """Delete a file or a folder; nothing happens when there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write a text file (UTF-8, \\n line ends) as a whole."""
    with atomic_path(target) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def md5(path: Path) -> str:
    """MD5 of a file's bytes in hexadecimal: the checksum that the datasets publish and DVC uses."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
