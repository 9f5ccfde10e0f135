"""Which files are songs to be separated, and the folder in which each one's sources are put."""

import hashlib
import os
import unicodedata
from collections import Counter
from pathlib import Path, PurePath
from typing import NamedTuple

from pipeline.datasets.readers.base import suffix
from pipeline.datasets.readers.folder import SUFFIXES, list_tracks
from pipeline.errors import UserError
from pipeline.files import PARTIAL, existing

MARK = "Estimate of a source by adversarial-separation"
"""The comment in every file that is written: it tells a result from a song wherever it lies."""
SEPARATED = "separated before"
"""What is passed over because of it."""
ROOM = 32
"""Bytes of a name that are left for a number, and for what atomic_path puts behind it."""


class Song(NamedTuple):
    """A file to be separated."""

    path: Path
    name: PurePath
    """Where it lies below the folder that was named, or its file name."""


def find(given: list[Path]) -> tuple[list[Song], list[str], Counter[str]]:
    """The songs in files and folders, each once, a line for everything that is none, and how much of
    each kind was passed over.

    A folder's results of an earlier separation are no songs, wherever they lie in it: their files say
    what they are (MARK). A file that was named is always one.
    """
    songs: dict[Path, Song] = {}
    failures: list[str] = []
    skipped: Counter[str] = Counter()
    for path in given:
        if not os.path.isdir(path):  # noqa: PTH112 - raises nothing, as realpath
            if os.path.lexists(path):
                songs.setdefault(_real(path), Song(path, PurePath(path.name)))
            else:
                failures.append(f"{path}: no such file or folder")
            continue
        try:
            listing = list_tracks(path, "songs", "mixture")
        except UserError as error:
            failures.append(str(error))
            continue
        failures += [rejected.reason for rejected in listing.rejected]
        skipped += listing.skipped
        for track in listing.tracks:
            name = PurePath(track.sources["mixture"][0].file)
            if _is_result(path / name):
                skipped[SEPARATED] += 1
            else:
                songs.setdefault(_real(path / name), Song(path / name, name))
    return list(songs.values()), failures, skipped


def places(songs: list[Song], out: Path) -> list[Path]:
    """A folder for each song, none of which is another's, lies in another's, or is a song.

    It is named like the song without its suffix. Songs that would share a folder keep their suffix, and
    those that still do get a number. A name that would be too long for the disk is cut, and ends in a
    digest of all of it.
    """
    longest = min(os.pathconf(existing(out), "PC_NAME_MAX"), 255) - ROOM
    whole = [song.name.with_name(_fitting(song.name.name, longest)) for song in songs]
    bare = [song.name.with_name(_fitting(_title(song.name.name), longest)) for song in songs]
    # on some disks the same name may be spelt in several ways
    count = Counter(map(_spelling, bare))
    inner = {parent for song in songs for parent in map(_spelling, song.name.parents)}
    inputs = {_real(song.path) for song in songs}
    taken: set[str] = set()

    def is_free(name: PurePath) -> bool:
        # files.atomic_path writes to names that end so
        free = _spelling(name) not in taken | inner and not name.name.endswith(PARTIAL)
        return free and _real(out / name) not in inputs

    targets = []
    for name, full in zip(bare, whole, strict=True):
        if count[_spelling(name)] > 1 or not is_free(name):
            name = full
        number = 1
        while not is_free(name):
            number += 1
            name = full.with_name(f"{full.name} ({number})")
        taken.add(_spelling(name))
        targets.append(out / name)
    return targets


def identities(songs: list[Song]) -> set[tuple[int, int]]:
    """Device and inode of every song and of the folders that it lies in: what is never replaced."""
    real = {_real(song.path) for song in songs}
    paths = real | {parent for path in real for parent in path.parents}
    return {_identity(path) for path in paths if path.exists()}


def check_target(target: Path, overwrite: bool, inputs: set[tuple[int, int]]) -> None:
    """Raise UserError when `target` is there and may not, or must not, be replaced.

    Only results are: folders of nothing but files with our mark, none of which is an input now.
    """
    if os.path.lexists(target) and not overwrite:
        raise UserError(f"{target}: is there already; use --overwrite to replace it")
    # beside the target: what files.atomic_path removes, or puts back, after a run that was killed
    for ending in ("", PARTIAL, f".old{PARTIAL}"):
        path = target.with_name(target.name + ending)
        if not os.path.lexists(path):
            continue
        within = path.iterdir() if path.is_dir() and not path.is_symlink() else [path]
        if not all(_is_result(file, or_empty=bool(ending)) for file in within):
            raise UserError(
                f"{path}: holds other things than separated sources; move it, or choose another --out"
            )
        if _identity(path) in inputs:
            raise UserError(f"{path}: holds a song that is to be separated; choose another --out")


def _is_result(path: Path, or_empty: bool = False) -> bool:
    """Whether a file is our own result, or what a killed run left of one before it wrote anything."""
    if path.suffix not in (".wav", ".flac") or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False  # the reason is said when it is its turn
    return MARK.encode() in head or (or_empty and not head)


def _title(name: str) -> str:
    """A song's name without its suffix, unless nothing but dots and spaces is left."""
    ending = suffix(name)
    title = name[: len(name) - len(ending)] if ending in SUFFIXES else name
    return title if title.strip(". ") else name


def _fitting(name: str, longest: int) -> str:
    """A name of at most so many bytes: its first letters and a digest, when it has more."""
    if len(os.fsencode(name)) <= longest:
        return name
    digest = "~" + hashlib.md5(os.fsencode(name), usedforsecurity=False).hexdigest()[:8]
    end = longest - len(digest)
    while end and (len(os.fsencode(name[:end])) > longest - len(digest) or _continues(name[end])):
        end -= 1
    return name[:end] + digest


def _continues(letter: str) -> bool:
    """Whether it belongs to the letter before it: an accent, or what joins emoji."""
    return unicodedata.category(letter).startswith("M") or letter == "\u200d"


def _spelling(name: PurePath) -> str:
    """What a disk may take for the same: in any case or normal form, without dots at the end."""
    folded = (unicodedata.normalize("NFD", part).casefold() for part in name.parts)
    return "/".join(unicodedata.normalize("NFC", part).rstrip(". ") or part for part in folded)


def _identity(path: Path) -> tuple[int, int]:
    info = path.stat()
    return info.st_dev, info.st_ino


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
