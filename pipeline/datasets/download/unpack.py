"""Unpack an archive that came from elsewhere: whole or not at all, and nowhere but in its folder."""

import bz2
import gzip
import io
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial as bound
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from pipeline.datasets.download.transfer import BLOCK, progress
from pipeline.errors import UserError
from pipeline.files import atomic_path, human, require_space

Item = TypeVar("Item")

EXPANSION = 50
ALLOWANCE = 1 << 30
"""Bytes that an archive may unpack to unless told otherwise: EXPANSION times its size + ALLOWANCE."""
MOST_MEMBERS = 1_000_000
DEEPEST = 64
LONGEST_NAME = 4096

_LONGEST_READ = 16 << 20
_REMEDY = "delete it and run again"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"PK00")
_COMPRESSED: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, struct.error,
    EOFError, ValueError, OverflowError, IndexError, RecursionError, NotImplementedError,
)  # fmt: skip
"""What the libraries raise for bytes that make no sense to them."""


class _Member(NamedTuple):
    """A file or folder in an archive; what it claims has been looked at, its bytes have not."""

    name: str
    parts: tuple[str, ...]
    size: int
    folder: bool
    open: Callable[[], IO[bytes] | None]


class _RefusedError(Exception):
    """The archive holds what no dataset needs; the words say what."""


def unpack(archive: Path, target: Path, limit: int | None = None) -> None:
    """Unpack a zip or tar (plain, gzip, bzip2, xz; by content) into the folder `target`.

    Names and sizes are checked before anything is written: a name that leads out of the folder, a
    link, a device, a second file of the same name, more than `limit` bytes in all or than the disk
    has free raises UserError, as does an archive that is damaged, cut off or encrypted. `target`
    must not exist or hold hidden files only, which stay; it is as it was after a failure.
    """
    # Renamed into place, so a link to a folder on another disk is followed first.
    target = target.resolve()
    refuse_visible(target)
    with _refusing(archive):
        size = archive.stat().st_size
        total = _survey(_members(archive), EXPANSION * size + ALLOWANCE if limit is None else limit)
    require_space(target, total, f"what {archive.name} holds")
    with atomic_path(target) as partial:
        _folder(partial)
        with progress(f"unpack {archive.name}", total) as bar:
            for member in _guarded(archive, _members(archive)):
                place = partial.joinpath(*member.parts)
                _folder(place if member.folder else place.parent)
                if not member.folder:
                    with place.open("xb") as file:
                        for block in _guarded(archive, _content(member)):
                            file.write(block)
                            bar.update(len(block))
                    place.chmod(0o644)
        refuse_visible(target)
        _keep_hidden(target, partial)


def visible(folder: Path) -> list[Path]:
    """What the folder holds but hidden files; nothing when there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def refuse_visible(target: Path) -> None:
    """Raise UserError when something is at `target` that unpacking there would replace."""
    if (target.exists() and not target.is_dir()) or visible(target):
        wrong = "is there already and not empty; move it away to unpack there"
        raise UserError(f"{target}: {wrong}")


def _keep_hidden(target: Path, partial: Path) -> None:
    for path in target.iterdir() if target.is_dir() else ():
        if not (partial / path.name).exists():
            copy = shutil.copytree if path.is_dir() else shutil.copy2
            copy(path, partial / path.name)


def _folder(path: Path) -> None:
    """Make the folder and those above it, readable for all whatever the umask."""
    if not path.is_dir():
        if not path.parent.is_dir():
            _folder(path.parent)
        path.mkdir()
        path.chmod(0o755)


def _survey(members: Iterable[_Member], limit: int) -> int:
    """Check every member against the others and the sum against `limit`; returns the sum, bytes."""
    files: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = set()
    total = 0
    for number, member in enumerate(members, 1):
        above = {member.parts[:depth] for depth in range(1, len(member.parts))}
        if member.folder:
            above.add(member.parts)
        elif member.parts in files or member.parts in folders:
            raise _RefusedError(f"holds {member.name!r} twice")
        else:
            files.add(member.parts)
        folders |= above
        if not files.isdisjoint(above):
            raise _RefusedError(f"holds a file where {member.name!r} needs a folder")
        total += member.size
        if total > limit:
            raise _RefusedError(f"would unpack to {human(total)} or more, {human(limit)} allowed")
        if number > MOST_MEMBERS:
            raise _RefusedError(f"holds more than {MOST_MEMBERS} files")
    if not files:
        raise _RefusedError("holds no file")
    return total


def _content(member: _Member) -> Iterator[bytes]:
    """The member's bytes: as many as it claims to have."""
    source = member.open()
    if source is None:
        raise _RefusedError(f"has no content for {member.name!r}")
    arrived = 0
    with source:
        while block := source.read(BLOCK):
            arrived += len(block)
            if arrived > member.size:
                break
            yield block
    if arrived != member.size:
        raise _RefusedError(f"{member.name!r} is not of the {member.size} bytes it claims to have")


def _members(archive: Path) -> Iterator[_Member]:
    with archive.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"Rar!"):
        raise _RefusedError("is a RAR archive, which is not read: take the zip")
    return _zip_members(archive) if start.startswith(_ZIP) else _tar_members(archive, start)


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        _refuse_overlaps(archive, file)
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _RefusedError(f"{info.filename!r} is a link or a device")
            if info.flag_bits & 0x41:
                raise _RefusedError(f"{info.filename!r} is encrypted")
            folder = info.is_dir() or kind == stat.S_IFDIR
            parts = _parts(info.orig_filename, folder)
            size = 0 if folder else info.file_size
            content = bound(archive.open, info)
            yield _Member(info.orig_filename, parts, size, folder, content)


def _refuse_overlaps(archive: zipfile.ZipFile, file: IO[bytes]) -> None:
    """Many members over the same bytes: how a small zip unpacks to terabytes."""
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    ends = [*(info.header_offset for info in infos), archive.start_dir][1:]
    for info, end in zip(infos, ends, strict=True):
        file.seek(info.header_offset)
        header = struct.unpack("<4s22xHH", file.read(30))
        after = info.header_offset + 30 + header[1] + header[2] + info.compress_size
        if header[0] != b"PK\x03\x04" or after > end:
            raise _RefusedError(f"{info.filename!r} overlaps with what follows it")


class _Bounded(io.BufferedIOBase):
    """A tar's uncompressed bytes, never many at once: its long names may claim to be gigabytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _LONGEST_READ:
            raise tarfile.ReadError("a header of impossible length")
        return self.file.read(size)

    def seek(self, position: int, whence: int = 0) -> int:
        return self.file.seek(position, whence)

    def tell(self) -> int:
        return self.file.tell()


def _tar_members(path: Path, start: bytes) -> Iterator[_Member]:
    openers = (opener for magic, opener in _COMPRESSED.items() if start.startswith(magic))
    with next(openers, open)(path, "rb") as plain:
        try:
            archive = tarfile.TarFile(fileobj=_Bounded(plain), mode="r")
        except tarfile.ReadError as error:
            raise _RefusedError(f"neither a zip nor a tar archive ({error})") from None
        for info in archive:
            folder = info.isdir()
            if info.issparse() or not (folder or info.isreg()):
                raise _RefusedError(f"{info.name!r} is a link or a device")
            if info.size < 0:
                raise tarfile.ReadError("negative size")
            parts = _parts(info.name, folder)
            size = 0 if folder else info.size
            yield _Member(info.name, parts, size, folder, bound(archive.extractfile, info))
        _check_end(plain, archive.offset)


def _check_end(plain: IO[bytes], offset: int) -> None:
    """A tar ends with zeros: tarfile takes a damaged header or a cut for the end, too."""
    plain.seek(offset)
    block = plain.read(tarfile.BLOCKSIZE)
    if block != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("no end of archive")
    # What is compressed carries its checksum at the very end. A tar's padding is short.
    rest = 0
    while block := plain.read(BLOCK):
        rest += len(block)
        if rest > _LONGEST_READ:
            raise tarfile.ReadError("goes on behind its end")


def _parts(name: str, folder: bool) -> tuple[str, ...]:
    """The folders and the file that a member's name stands for."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if (
        name.startswith("/")
        or ".." in parts
        or "\\" in name
        or "\0" in name
        or re.match("[A-Za-z]:", name)
        or not (parts or folder)
    ):
        raise _RefusedError(f"the name {name!r} may lead out of its folder")
    if len(parts) > DEEPEST or len(name) > LONGEST_NAME:
        raise _RefusedError(f"the name {name[:80]!r}... is too long")
    return parts


def _guarded(archive: Path, items: Iterable[Item]) -> Iterator[Item]:
    """`items`, with what goes wrong in making them (not in using them) as a UserError."""
    with _refusing(archive):
        yield from items


@contextmanager
def _refusing(archive: Path) -> Iterator[None]:
    """One line about the archive for whatever is wrong with it."""
    try:
        yield
    except _RefusedError as error:
        raise UserError(f"{archive}: {error}: nothing is unpacked; {_REMEDY}") from None
    except FileNotFoundError:
        raise UserError(f"{archive}: no such file; download it or put it there") from None
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            reason = f"cannot be read: {error.strerror}"
        else:
            words = " ".join(str(error).split()) or type(error).__name__
            reason = f"damaged or cut off ({words})"
        raise UserError(f"{archive}: {reason}; {_REMEDY}") from None
