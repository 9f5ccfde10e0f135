"""Load one public file: whole or not at all, resumed where it broke, checked before it is used."""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.datasets.download.http import BLOCK, LARGE, AddressError, Transfer, progress
from pipeline.errors import UserError

_CHECKSUM = re.compile(r"(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})", re.ASCII)


def fetch(
    urls: Sequence[str],
    target: Path,
    *,
    checksum: str | None = None,
    size: int | None = None,
    attempts: int = 5,
    wait: float = 1.0,
    say: Callable[[str], None] = print,
) -> Path:
    """Get one file from the first address that gives it, to `target`; returns where it is.

    `checksum` is "md5:<hex>" or "sha256:<hex>", `size` the published number of bytes. What is at
    `target` already is checked and used. A file:// address or a path is checked and returned as it
    lies. A transfer that breaks off goes on where it stopped, also in a later process; an address
    is given up after `attempts` in a row without a new byte, about `wait`, 2 `wait`, 4 `wait`...
    seconds apart. Raises UserError, one line, when no address gives the file.
    """
    if checksum is not None:
        checksum = checksum.lower()
        if not _CHECKSUM.fullmatch(checksum):
            form = "expected md5:<32 hexadecimal digits> or sha256:<64 of them>"
            raise UserError(f"{target}: checksum {checksum!r}: {form}; correct it in params")
    failures = []
    for url in urls:
        if _present(target, checksum, size, say):
            return target
        try:
            if path := local(url):
                _check(path, checksum, size)
                say(f"{path}: used where it lies")
                return path
            with alone(target.with_name(f"{target.name}.lock"), say):
                if not _present(target, checksum, size, say):
                    say(f"{target}: loading {url}")
                    transfer = Transfer(target, size, checksum is not None, attempts, wait, say)
                    _load(url, checksum, transfer, say)
            return target
        except AddressError as error:
            failures.append(f"{url}: {error}")
    raise UserError(
        f"{target}: cannot be loaded: {'; '.join(failures) or 'no address is known'}; check the"
        f" network and run again (it goes on where it stopped), fetch the file by hand and put it"
        f" at {target}, or give another address in params"
    )


def room(path: Path, needed: int, what: str) -> None:
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


def local(url: str) -> Path | None:
    """The path that a file:// address or a plain path names; None for any other address."""
    if "://" not in url and not url.startswith("file:"):
        return Path(url).expanduser()
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return None


@contextmanager
def alone(lock: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the file `lock` as the only process; wait, and say so, while another one does."""
    from filelock import FileLock, Timeout

    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock)
        try:
            held.acquire(timeout=0)
        except Timeout:
            say(f"{lock}: another process is at work on it: waiting")
            held.acquire()
    except OSError as error:
        raise _not_written(lock, error) from error
    try:
        yield
    finally:
        # Still held: who waits for it notices that the file is another one, and makes its own.
        lock.unlink(missing_ok=True)
        held.release()


def _not_written(path: Path, error: OSError) -> UserError:
    remedy = "make room or mend that and run again: what arrived is kept"
    return UserError(f"{path}: cannot be written: {error.strerror or error}; {remedy}")


def _present(
    target: Path, checksum: str | None, size: int | None, say: Callable[[str], None]
) -> bool:
    """Whether the file is there already; UserError when it is there and wrong."""
    if not target.exists():
        return False
    try:
        _check(target, checksum, size)
    except AddressError as error:
        raise UserError(f"{target}: {error}; delete it to load it again") from None
    # A kill may have left the partial file, which is then the same file by another name.
    with suppress(OSError):
        left = Transfer(target)
        if left.partial.samefile(target):
            left.discard()
    say(f"{target}: is there already, nothing is loaded")
    return True


def _check(path: Path, checksum: str | None, size: int | None) -> None:
    """Raise AddressError unless the file is what was published."""
    if not path.is_file():
        raise AddressError("not a file" if path.exists() else "no such file")
    try:
        found = path.stat().st_size
        if checksum is None:
            if size is not None and found != size:
                raise AddressError(f"wrong size: found {found} bytes, expected {size}")
            return
        algorithm = checksum.partition(":")[0]
        digest = hashlib.new(algorithm, usedforsecurity=False)
        hidden = found < LARGE
        with path.open("rb") as file, progress(f"check {path.name}", found, disable=hidden) as bar:
            while block := file.read(BLOCK):
                digest.update(block)
                bar.update(len(block))
    except OSError as error:
        raise AddressError(f"cannot be read: {error.strerror}") from None
    if f"{algorithm}:{digest.hexdigest()}" != checksum:
        raise AddressError(_wrong(digest.hexdigest(), checksum))


def _wrong(found: str, checksum: str) -> str:
    return f"wrong checksum: found {checksum.partition(':')[0]}:{found}, expected {checksum}"


def _load(url: str, checksum: str | None, transfer: Transfer, say: Callable[[str], None]) -> None:
    """Have pooch carry the file to its place; UserError when the disk cannot take it."""
    import pooch

    target = transfer.target
    pooch.get_logger().setLevel("CRITICAL")
    for last in (False, True):
        try:
            pooch.retrieve(
                url, checksum, fname=target.name, path=target.absolute().parent, downloader=transfer
            )
            transfer.discard()
            return
        except ValueError as error:
            # Only pooch raises this, and only for wrong bytes; `transfer` never does.
            transfer.discard()
            if last or not transfer.resumed:
                found = str(error).rpartition("but got ")[2].partition(".")[0]
                raise AddressError(_wrong(found, checksum or "")) from None
            say(f"{target}: wrong bytes after a resumed transfer: loading all of it again")
            transfer.resumed = False
        except OSError as error:
            raise _not_written(target, error) from error
