"""Load one public file: whole or not at all, resumed where it broke, checked before it is used."""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.datasets.download.transfer import BLOCK, AddressError, Transfer, plainly, progress
from pipeline.errors import UserError
from pipeline.files import alone

_CHECKSUM = re.compile("md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")


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
    is given up after `attempts` in a row that were too slow (pace.LOWEST_SPEED) or brought nothing,
    about `wait`, 2 `wait`, 4 `wait`... seconds apart. Without `size`, no more than transfer.LARGEST
    bytes are taken. What a server says is shown with its control characters escaped. Raises
    UserError, one line, when no address gives the file.
    """
    checksum = None if checksum is None else checksum.lower()
    if checksum is not None and not _CHECKSUM.fullmatch(checksum):
        form = "expected md5:<32 hexadecimal digits> or sha256:<64 of them>"
        raise UserError(f"{target}: checksum {checksum!r}: {form}; correct it in params")
    say = plainly(say)
    transfer = Transfer(target, size, checksum, attempts, wait, say)
    failures = []
    with alone(target, say):
        if target.exists():
            if wrong := _wrong(target, checksum, size):
                raise UserError(f"{target}: {wrong}; delete it to load it again")
            transfer.discard()
            say(f"{target}: is there already, nothing is loaded")
            return target
        for url in urls:
            try:
                path = local(url)
                if path is None:
                    return _load(url, transfer)
                if wrong := _wrong(path, checksum, size):
                    raise AddressError(wrong)
                say(f"{path}: used where it lies")
                return path
            except AddressError as error:
                failures.append(f"{url}: {error}")
    raise UserError(
        f"{target}: cannot be loaded: {'; '.join(failures) or 'no address is known'}; check the"
        f" network and run again (it goes on where it stopped), fetch the file by hand and put it"
        f" at {target}, or give another address in params"
    )


def local(url: str) -> Path | None:
    """The path that a file:// address or a plain path names; None for any other address."""
    if url.startswith("file:"):
        parts = urlsplit(url)
        return Path(unquote(parts.path)) if parts.netloc in ("", "localhost") else None
    return None if "://" in url else Path(url).expanduser()


def _load(url: str, transfer: Transfer) -> Path:
    """Load the file, check it and rename it to its place, which is returned."""
    target, partial = transfer.target, transfer.partial
    transfer.say(f"{target}: loading {url}")
    for last in (False, True):
        resumed = transfer.load(url)
        wrong = _wrong(partial, transfer.checksum, transfer.size)
        if not wrong:
            partial.replace(target)
        transfer.discard()
        if not wrong:
            break
        if last or not resumed:
            raise AddressError(wrong)
        transfer.say(f"{target}: wrong bytes after a resumed transfer: loading all of it again")
    return target


def _wrong(path: Path, checksum: str | None, size: int | None) -> str | None:
    """What is wrong with the file; None when it is what was published."""
    if not path.is_file():
        return "not a file" if path.exists() else "no such file"
    try:
        found = path.stat().st_size
        if checksum is None:
            right = size in (None, found)
            sizes = f"found {found} bytes, expected {size}"
            return None if right else f"wrong size: {sizes}{_page(path)}"
        algorithm = checksum.partition(":")[0]
        digest = hashlib.new(algorithm, usedforsecurity=False)
        with path.open("rb") as file, progress(f"check {path.name}", found) as bar:
            while block := file.read(BLOCK):
                digest.update(block)
                bar.update(len(block))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    actual = f"{algorithm}:{digest.hexdigest()}"
    if actual == checksum:
        return None
    return f"wrong checksum: found {actual}, expected {checksum}{_page(path)}"


def _page(path: Path) -> str:
    """Words for what hotels, log-ins and publishers that have moved send in place of a file."""
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    return " (a web page)" if start.startswith((b"<!doctype html", b"<html")) else ""
