"""What every reader of a dataset has in common.

A reader only says which file, or which channel of it, belongs to which source. Whether the files
are sound is the inventory's question, and decoding them is `pipeline.audio.reading`'s, for all alike.
"""

import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from pipeline.errors import UserError, listing
from pipeline.tracks import Part, Track

VOCALS = "vocals"
ACCOMPANIMENT = "accompaniment"
BACKING = ("bass", "drums", "other")
"""The stems of DSD100 and MUSDB18 that sum to the accompaniment."""
FOUR_STEMS = (ACCOMPANIMENT, VOCALS, *BACKING)
"""The sources of those two."""

# What archives made on a Mac, Synology's indexer and file systems leave behind: copies, no music.
_LITTER = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")


class Rejected(BaseModel):
    """A track that cannot be used, and why: one line that names the file and the remedy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    track: str
    reason: str


class Listing(NamedTuple):
    """What a dataset's folder holds; files are named in it, none was opened."""

    tracks: list[Track]
    """Sorted by id."""
    rejected: list[Rejected]
    """Tracks of which not even the sources are known."""


class Entries(NamedTuple):
    """The visible files or folders in a folder."""

    paths: list[Path]
    """Sorted by name."""
    rejected: list[Rejected]
    """Those whose names are not valid UTF-8: no inventory could name them."""


@dataclass(frozen=True)
class Reader:
    """One dataset's layout on disk."""

    name: str
    sources: tuple[str, ...]
    """The sources that it can give."""
    layout: str
    """The expected layout, for people who put their copy in place."""
    list_tracks: Callable[[Path], Listing]
    """List the tracks below the dataset's folder; raises UserError when there are none."""
    unused: tuple[str, ...] = ()
    """Patterns (as `PurePath.match` takes them) of audio files that the layout has and no track uses."""


def content_folder(root: Path, name: str, layout: str) -> Path:
    """The folder that holds the tracks: `root`/`name`, `root`/*/`name`, or `root` itself.

    Archives differ in how many folders they wrap around the content. Raises UserError when `root`
    does not exist or holds several copies.
    """
    if not root.is_dir():
        raise UserError(
            f"{root}: no such folder; put the dataset there as {layout},"
            f" or set DATA_ROOT to the folder that holds {root.name}/"
        )
    if (root / name).is_dir():
        return root / name
    deeper = [folder / name for folder in subfolders(root).paths if (folder / name).is_dir()]
    if len(deeper) > 1:
        raise UserError(f"{root}: holds several copies: {listing(deeper)}; keep one of them")
    return deeper[0] if deeper else root


def listed(root: Path, layout: str, tracks: list[Track], rejected: list[Rejected]) -> Listing:
    """What a reader has found. Raises UserError when it is nothing at all."""
    if not tracks and not rejected:
        raise UserError(
            f"{root}: no tracks in this folder; expected {layout};"
            f" DATA_ROOT sets the folder that holds {root.name}/"
        )
    return Listing(sorted(tracks, key=lambda track: track.id), rejected)


def subfolders(folder: Path) -> Entries:
    """The visible folders in `folder`; none when it does not exist.

    Raises UserError when it cannot be listed.
    """
    return _entries(folder, Path.is_dir)


def files_ending(folder: Path, ending: str) -> Entries:
    """The visible files in `folder` whose names end so in either case; none when it does not exist.

    Raises UserError when it cannot be listed.
    """

    def wanted(path: Path) -> bool:
        return path.name.lower().endswith(ending) and path.is_file()

    return _entries(folder, wanted)


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is hidden or left behind by a program: never music."""
    return name.startswith(".") or name in _LITTER


def is_text(name: str) -> bool:
    """Whether a name is valid UTF-8; the system hands over other bytes as lone surrogates."""
    return name.isascii() or not re.search(r"[\ud800-\udfff]", name)


def printable(name: str | Path) -> str:
    """A name or path for one line of a message, with what cannot be shown as escapes."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def from_stems(part: Callable[[str], Part]) -> dict[str, tuple[Part, ...]]:
    """FOUR_STEMS of a song, by where each of its stems is."""
    stems = {stem: (part(stem),) for stem in (VOCALS, *BACKING)}
    return {**stems, ACCOMPANIMENT: tuple(part(stem) for stem in BACKING)}


def misnamed(path: Path) -> Rejected:
    """The rejection of a file or folder whose name is not valid UTF-8."""
    reason = f"{printable(path)}: the name is not valid UTF-8; rename it"
    return Rejected(track=printable(path.name), reason=reason)


def track_id(name: str) -> str:
    """A file's or folder's name as the id: in NFC, as file systems differ in how they spell é."""
    return unicodedata.normalize("NFC", name)


def relative(path: Path, root: Path) -> str:
    """`path` as `Part.file` has it: below `root`, with forward slashes."""
    return path.relative_to(root).as_posix()


def _entries(folder: Path, wanted: Callable[[Path], bool]) -> Entries:
    try:
        if not folder.is_dir():
            return Entries([], [])
        found = [path for path in folder.iterdir() if not is_litter(path.name) and wanted(path)]
    except OSError as error:
        raise UserError(
            f"{printable(folder)}: cannot be listed: {error.strerror}; make it readable"
        ) from None
    named = [path for path in found if is_text(path.name)]
    rejected = [misnamed(path) for path in found if not is_text(path.name)]
    return Entries(
        sorted(named, key=lambda path: track_id(path.name)),
        sorted(rejected, key=lambda entry: entry.track),
    )
