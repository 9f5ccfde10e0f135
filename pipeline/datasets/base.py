"""What every reader of a dataset has in common.

A reader only says which file, or which channel of it, belongs to which source. Whether the files
are sound is the inventory's question, and decoding them is `pipeline.audio`'s, for all alike.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from pipeline.errors import UserError, listing
from pipeline.tracks import Track

VOCALS = "vocals"
ACCOMPANIMENT = "accompaniment"

# Left behind by archives made on a Mac, full of copies that are no audio.
_LITTER = ("__MACOSX",)


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
    deeper = [folder / name for folder in subfolders(root) if (folder / name).is_dir()]
    if len(deeper) > 1:
        raise UserError(f"{root}: holds several copies: {listing(deeper)}; keep one of them")
    return deeper[0] if deeper else root


def no_tracks(root: Path, layout: str) -> UserError:
    """The error for a folder in which no track was found."""
    return UserError(
        f"{root}: no tracks in this folder; expected {layout};"
        f" DATA_ROOT sets the folder that holds {root.name}/"
    )


def subfolders(folder: Path) -> list[Path]:
    """The visible folders in `folder`, sorted by name; none when it does not exist."""
    return [entry for entry in _visible(folder) if entry.is_dir()]


def wav_files(folder: Path) -> list[Path]:
    """The visible WAV files in `folder`, sorted by name; none when it does not exist."""
    return [
        entry for entry in _visible(folder) if entry.suffix.lower() == ".wav" and entry.is_file()
    ]


def track_id(name: str) -> str:
    """A file's or folder's name as the id: in NFC, as file systems differ in how they spell é."""
    return unicodedata.normalize("NFC", name)


def relative(path: Path, root: Path) -> str:
    """`path` as `Part.file` has it: below `root`, with forward slashes."""
    return path.relative_to(root).as_posix()


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    entries = [
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and entry.name not in _LITTER
    ]
    for entry in entries:
        if not _is_text(entry.name):
            shown = entry.name.encode("utf-8", "backslashreplace").decode()
            raise UserError(f"{folder}: the name {shown} in it is not valid UTF-8; rename it")
    return sorted(entries, key=lambda entry: track_id(entry.name))


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
