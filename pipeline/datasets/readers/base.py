"""What every reader of a dataset has in common.

A reader only says which file, or which channel of it, belongs to which source. Whether the files
are sound is the inventory's question, and decoding them is `pipeline.audio.reading`'s, for all alike.
"""

import fnmatch
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from pipeline.errors import UserError, listing, printable
from pipeline.files import PARTIAL
from pipeline.tracks import Part, Track

VOCALS = "vocals"
ACCOMPANIMENT = "accompaniment"
BACKING = ("bass", "drums", "other")
"""The stems of DSD100 and MUSDB18 that sum to the accompaniment."""
FOUR_STEMS = (ACCOMPANIMENT, VOCALS, *BACKING)
"""The sources of those two."""

LITTER = (
    # macOS: resource forks, folder settings, indexes
    "._*", ".DS_Store", "__MACOSX", ".AppleDouble", ".AppleDB", ".AppleDesktop", ".fseventsd",
    ".Spotlight-V100", ".TemporaryItems", ".DocumentRevisions-V100", "Network Trash Folder",
    # Windows
    "Thumbs.db", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information",
    # Linux and its file systems
    ".Trash", ".Trash-*", ".Trashes", ".directory", ".thumbnails", ".cache", ".nfs*",
    ".fuse_hidden*", "lost+found", ".snapshot", ".snapshots", ".zfs",
    # network storage and programs that keep folders in step
    "@eaDir", "#recycle", "@Recycle", ".stfolder", ".stversions", ".dropbox.cache",
    # revision control and its stores
    ".git", ".svn", ".hg", ".dvc",
    f"*{PARTIAL}",
)  # fmt: skip
"""Patterns (in either case) of what programs leave beside music: copies, settings and stores. A name
with a leading dot alone is no litter: `...Baby One More Time.wav`, `.38 Special/`."""

_LITTER = re.compile("|".join(f"({fnmatch.translate(one)})" for one in LITTER), re.IGNORECASE)


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
    skipped: Counter[str]
    """What was passed over by its name: how often each `kind`."""


class Entries(NamedTuple):
    """The files or folders in a folder, without litter."""

    paths: list[Path]
    """Sorted by name."""
    rejected: list[Rejected]
    """Links that lead nowhere, and names that no inventory could hold."""
    skipped: Counter[str]
    """Litter, and what is of another kind: how often each `kind`."""


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


def listed(
    root: Path,
    layout: str,
    tracks: list[Track],
    rejected: list[Rejected],
    skipped: Counter[str],
) -> Listing:
    """What a reader has found. Raises UserError when it is nothing at all."""
    if not tracks and not rejected:
        packed = [path.name for path in _entries(root, "", Path.is_file).paths if _is_packed(path)]
        if packed:
            raise UserError(
                f"{root}: holds {listing(packed)}, not unpacked; unpack it there: {layout}"
            )
        raise UserError(
            f"{root}: no tracks in this folder; expected {layout};"
            f" DATA_ROOT sets the folder that holds {root.name}/"
        )
    return Listing(sorted(tracks, key=lambda track: track.id), rejected, skipped)


def _is_packed(path: Path) -> bool:
    return suffix(path.name) in (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz")


def subfolders(folder: Path) -> Entries:
    """The folders in `folder`; none when it does not exist.

    Raises UserError when it cannot be listed.
    """
    return _entries(folder, "", Path.is_dir)


def files_ending(folder: Path, ending: str) -> Entries:
    """The files in `folder` whose names end so in either case; none when it does not exist.

    A file that has no name before the ending is rejected. Raises UserError when the folder cannot be
    listed.
    """
    found = _entries(folder, ending, Path.is_file)
    nameless = [path for path in found.paths if path.name.lower() == ending]
    for path in nameless:
        found.paths.remove(path)
        reason = f"{printable(path)}: nothing stands before {ending}; give it a name"
        found.rejected.append(Rejected(track=path.name, reason=reason))
    return found


def litter(name: str) -> str:
    """The pattern of LITTER that a file's or folder's name fits; empty for one that may be music."""
    found = _LITTER.match(name)
    return LITTER[found.lastindex - 1] if found and found.lastindex else ""


def kind(name: str) -> str:
    """What to count a name that is passed over as: a pattern of LITTER, *.jpg, or no suffix."""
    ending = suffix(name)
    named = ending and " " not in ending
    return litter(name) or (f"*{printable(ending)}" if named else "without a suffix")


def suffix(path: str) -> str:
    """The suffix of a file's name in lower case: .wav of `...wav` and `.wav` too."""
    _, dot, ending = path.rpartition("/")[2].rpartition(".")
    return dot + ending.lower() if dot and ending else ""


def in_words(skipped: Counter[str], limit: int = 20) -> str:
    """What was passed over, the most frequent first: 12 *.jpg, 3 .DS_Store."""
    ordered = sorted(skipped.items(), key=lambda entry: (-entry[1], entry[0]))
    return listing((f"{count} {name}" for name, count in ordered), limit)


def is_text(name: str) -> bool:
    """Whether a name is valid UTF-8; the system hands over other bytes as lone surrogates."""
    return name.isascii() or not re.search(r"[\ud800-\udfff]", name)


def from_stems(part: Callable[[str], Part]) -> dict[str, tuple[Part, ...]]:
    """FOUR_STEMS of a song, by where each of its stems is."""
    stems = {stem: (part(stem),) for stem in (VOCALS, *BACKING)}
    return {**stems, ACCOMPANIMENT: tuple(part(stem) for stem in BACKING)}


def karaoke_clips(root: Path, dataset: str, layout: str) -> Listing:
    """The clips `root`/Wavfile/<artist>_<...>.wav: accompaniment left, vocals right (iKala, MIR-1K).

    The mixture is their sum: averaging the channels on load would halve it. The file's name without its
    ending is the id.
    """
    found = files_ending(content_folder(root, "Wavfile", layout), ".wav")
    tracks = []
    for file in found.paths:
        name, path = track_id(file.name[: -len(".wav")]), relative(file, root)
        left, right = Part(file=path, channel=0), Part(file=path, channel=1)
        sources: dict[str, tuple[Part, ...]] = {ACCOMPANIMENT: (left,), VOCALS: (right,)}
        tracks.append(Track(dataset=dataset, id=name, artist=clip_artist(name), sources=sources))
    return listed(root, layout, tracks, found.rejected, found.skipped)


def clip_artist(name: str) -> str:
    """What a clip's name has before the first underscore: iKala's song, MIR-1K's singer."""
    return name.split("_")[0]


def misnamed(path: Path) -> Rejected:
    """The rejection of a file or folder whose name is not valid UTF-8."""
    reason = f"{printable(path)}: the name is not valid UTF-8; rename it"
    return Rejected(track=printable(path.name), reason=reason)


def track_id(name: str) -> str:
    """A file's or folder's name as the id: one printable line, in NFC.

    File systems differ in how they spell é, and a table has no place for a line break.
    """
    return printable(unicodedata.normalize("NFC", name))


def relative(path: Path, root: Path) -> str:
    """`path` as `Part.file` has it: below `root`, with forward slashes."""
    return path.relative_to(root).as_posix()


def _entries(folder: Path, ending: str, is_wanted: Callable[[Path], bool]) -> Entries:
    found = Entries([], [], Counter())
    try:
        for path in folder.iterdir() if folder.is_dir() else ():
            if litter(path.name) or not path.name.lower().endswith(ending):
                found.skipped[kind(path.name)] += 1
            elif path.is_symlink() and not path.exists():
                reason = f"{printable(path)}: a link that leads nowhere; mend or remove it"
                found.rejected.append(Rejected(track=printable(path.name), reason=reason))
            elif not is_wanted(path):
                found.skipped[kind(path.name)] += 1
            elif is_text(path.name):
                found.paths.append(path)
            else:
                found.rejected.append(misnamed(path))
    except OSError as error:
        raise UserError(
            f"{printable(folder)}: cannot be listed: {error.strerror}; make it readable"
        ) from None
    found.paths.sort(key=lambda path: track_id(path.name))
    found.rejected.sort(key=lambda entry: entry.track)
    return found
