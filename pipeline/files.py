"""Outputs appear whole or not at all: written beside their place, then renamed."""

import errno
import hashlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from pipeline.errors import REMEDIES, UserError, printable, refused

if TYPE_CHECKING:
    from filelock import BaseFileLock

PARTIAL = ".partial"
NOT_OF_THE_DISK = {None, errno.EPIPE, errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE}
"""What may go wrong in the block of `atomic_path` and says nothing about its target."""


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
    except UserError:
        raise
    except Exception as error:
        name = getattr(error, "filename", None)
        full = refused(error) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        unnamed = name is None and refused(error) not in NOT_OF_THE_DISK
        ours = isinstance(error, OSError) and (str(partial) in str(name) or name == str(target))
        if full or unnamed or ours:
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
            say(f"{target}: {_holder(lock)} is at work on it: waiting")
            held.acquire()
        with _signed(lock, held):
            yield
    except OSError as error:
        if error.errno in NOT_OF_THE_DISK:
            raise
        words = f"cannot be written: {error.strerror or error}"
        remedy = "make room or mend that and run again: what arrived is kept"
        raise UserError(f"{target}: {words}; {remedy}") from error


@contextmanager
def claimed(target: Path, say: Callable[[str], None], lock: Path | None = None) -> Iterator[None]:
    """Be the only process that makes `target`. Raises UserError, which names the other, if there is one.

    Raises it too when `target` could not be written, before hours are spent on it. lock: a file of
    its own, by default beside `target`, gone afterwards; one that a killed process left holds nobody.
    Where there can be no lock, the block runs all the same; `say` is told if the file system has none.
    """
    from filelock import FileLock, Timeout

    _require_writable(target)
    lock = lock or target.with_name(f"{target.name}.lock{PARTIAL}")
    held = FileLock(lock, fallback_to_soft=False)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(blocking=False)
    except Timeout:
        raise UserError(
            f"{target}: {_holder(lock)} is at work on it; wait until it has ended, or end it"
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            say(f"warning: {lock}: no locks here; see to it that nobody else writes {target} now")
        yield
        return
    with _signed(lock, held):
        yield


def _require_writable(target: Path) -> None:
    try:
        with TemporaryFile(dir=existing(target.parent)):
            pass
    except OSError as error:
        raise _not_written(target, error) from error


@contextmanager
def _signed(lock: Path, held: "BaseFileLock") -> Iterator[None]:
    """Say in a lock file that is held who holds it; delete it at the end."""
    try:
        program, *words = sys.orig_argv
        who = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "command": " ".join([Path(program).name, *words])[:200],
        }
        with suppress(OSError):  # on a full disk it stays unsaid
            lock.write_text(json.dumps(who) + "\n", encoding="utf-8")
        yield
    finally:
        # Still held: who waits for it notices that the file is another one, and makes its own.
        lock.unlink(missing_ok=True)
        held.release()


def _holder(lock: Path) -> str:
    """Who holds a lock, for people."""
    try:
        who = json.loads(lock.read_text(encoding="utf-8"))
        command = printable(who["command"])
        return f"process {who['process']} on {who['host']} (`{command}`, since {who['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def recover(target: Path) -> None:
    """Put back a folder that was renamed aside when its replacement was killed halfway."""
    aside = _aside(target)
    if aside.exists() and not target.exists():
        aside.replace(target)
    remove(aside)


def _aside(target: Path) -> Path:
    return target.with_name(f"{target.name}.old{PARTIAL}")


def _not_written(target: Path, error: Exception) -> UserError:
    # The words of the system: those of HDF5 are several lines.
    number = refused(error)
    reason = os.strerror(number) if number else " ".join(str(error).split())
    remedy = f"; {REMEDIES[number]} and run the same command again" if number in REMEDIES else ""
    return UserError(f"{target}: cannot be written: {reason}{remedy}")


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


def state(path: Path) -> list[int]:
    """What changes when a file is written to or replaced: size, inode and times of change (ns)."""
    seen = path.stat()
    return [seen.st_size, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns]


def perhaps_unchanged(before: Sequence[int], after: Sequence[int]) -> bool:
    """Whether two states differ at most in the inode's time of change.

    A hard link made elsewhere (DVC's cache, a copy with `cp --link`) or other permissions change it and
    leave the content; so does who writes and sets the old time back: the content decides.
    """
    return list(before[:3]) == list(after[:3])


def md5(path: Path) -> str:
    """MD5 of a file's bytes in hexadecimal: the checksum that the datasets publish and DVC uses."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
