"""Any folder of audio as a dataset: mixtures without stems, or solo recordings of one source.

Every file that audio or video programs decode is a track, wherever it lies in the folder. Nothing is
opened: a file that is not what its name says is found when it is decoded.
"""

import errno
import os
import stat
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from pipeline.datasets.readers.base import (
    Listing,
    Rejected,
    in_words,
    is_text,
    kind,
    litter,
    suffix,
    track_id,
)
from pipeline.errors import UserError, printable
from pipeline.tracks import Part, Track

_LIBSNDFILE = (
    "wav wave w64 rf64 bwf aif aiff aifc au snd caf flac ogg oga opus mp3 mp2 mp1 voc ircam sf svx"
    " 8svx iff nist sph paf pvf xi htk sd2 avr wve mpc2k"
)
_FFMPEG = (
    "m4a m4b m4r aac adts ac3 eac3 dts dtshd mlp thd alac ape wv tta tak mpc shn wma xwma ra rm amr"
    " awb gsm qcp spx dsf dff aa3 oma at3 mka weba mpa vqf"
)
_VIDEO = (
    "mp4 m4v mov mkv webm avi wmv asf flv f4v f4a mpg mpeg vob m2ts mts ogv ogx 3gp 3g2 rmvb mxf"
)

SUFFIXES = frozenset(f".{name}" for name in f"{_LIBSNDFILE} {_FFMPEG} {_VIDEO}".split())
"""Suffixes of audio and video files, in lower case; not those of samples without a header (.raw)."""

_NO_FILE = "not a regular file; remove it"

_Key = tuple[int, int]


class _Found(NamedTuple):
    """What a walk has found so far; paths are relative to the root, with forward slashes."""

    files: list[str]
    rejected: list[Rejected]
    links: list[str]
    """Symbolic links that were not followed yet."""
    file_links: list[str]
    """Links to audio files."""
    walked: set[_Key]
    """Device and inode of every folder that was listed: each is, once."""
    skipped: Counter[str]
    """What was passed over by its name, as `base.kind` counts it."""


def list_tracks(root: Path, dataset: str, holds: str) -> Listing:
    """The audio files in `root` and below; `holds` is what sounds in them: mixture, or a source.

    The id is the path relative to `root` (printable, NFC, forward slashes), the artist its first
    folder, or for a file that lies in no folder its name without the suffix. Links are followed; a
    folder or file that is reached by several ways is listed once, by its own path rather than a
    link's. Rejected are: names that are not valid UTF-8, folders that cannot be listed, links that
    lead nowhere, what is no regular file. Raises UserError when `root` is no folder, cannot be
    listed, or holds no audio file.
    """
    found = _Found([], [], [], [], set(), Counter())
    _check(root)
    _walk(root, "", found)
    while found.links:
        links = sorted(found.links)
        found.links.clear()
        for link in links:
            _follow(root, link, found)
    _add_file_links(root, found)
    if not found.files and not found.rejected:
        raise _no_audio(root, found.skipped)
    tracks = [_track(file, dataset, holds) for file in found.files]
    tracks.sort(key=lambda track: (track.id, track.sources[holds][0].file))
    return Listing(tracks, sorted(found.rejected, key=lambda entry: entry.track), found.skipped)


def _check(root: Path) -> None:
    try:
        mode = root.stat().st_mode
    except FileNotFoundError:
        problem = "no such folder; create it, or name the folder that holds the audio files"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}; make it readable"
    else:
        if stat.S_ISDIR(mode):
            return
        problem = "not a folder; name the folder that holds the audio files"
    raise UserError(f"{printable(root)}: {problem}")


def _walk(root: Path, start: str, found: _Found) -> None:
    """List the folder `start` and all below it, but no folder twice; links are noted for later."""
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        below: list[str] = []
        try:
            info = os.stat(root / folder)  # noqa: PTH116
            key = (info.st_dev, info.st_ino)
            if key in found.walked:
                continue
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    _place(entry, root, f"{folder}/" if folder else "", below, found)
            found.walked.add(key)
        except OSError as error:
            reason = f"cannot be listed: {error.strerror}; make it readable"
            if not folder:
                raise UserError(f"{printable(root)}: {reason}") from None
            _reject(root, folder, reason, found)
        waiting.extend(sorted(below, reverse=True))


def _place(
    entry: os.DirEntry[str], root: Path, prefix: str, below: list[str], found: _Found
) -> None:
    """Put one entry of a folder where it belongs, without asking the disk about it."""
    if litter(entry.name):
        found.skipped[kind(entry.name)] += 1
        return
    path = prefix + entry.name
    if entry.is_symlink():
        found.links.append(path)
    elif entry.is_dir(follow_symlinks=False):
        if _named(root, path, found):
            below.append(path)
    elif _is_audio(path, found) and _named(root, path, found):
        if entry.is_file(follow_symlinks=False):
            found.files.append(path)
        else:
            _reject(root, path, _NO_FILE, found)


def _follow(root: Path, link: str, found: _Found) -> None:
    """Walk the folder behind a link, or note the file behind it."""
    try:
        mode = os.stat(root / link).st_mode  # noqa: PTH116
    except OSError as error:
        # Of a link without a suffix that leads nowhere, nobody knows whether it meant audio: say so.
        if suffix(link) in SUFFIXES or not suffix(link):
            nowhere = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
            said = "a link that leads nowhere" if nowhere else f"cannot be read: {error.strerror}"
            _reject(root, link, f"{said}; mend or remove it", found)
        else:
            found.skipped[kind(link)] += 1
        return
    if stat.S_ISDIR(mode):
        if _named(root, link, found):
            _walk(root, link, found)
    elif _is_audio(link, found) and _named(root, link, found):
        if stat.S_ISREG(mode):
            found.file_links.append(link)
        else:
            _reject(root, link, _NO_FILE, found)


def _add_file_links(root: Path, found: _Found) -> None:
    """Add the files behind links, but for those that have been found without."""
    linked: set[_Key] = set()
    for link in sorted(found.file_links):
        try:
            target = (root / link).resolve()
            info, parent = target.stat(), target.parent.stat()
        except OSError as error:
            _reject(root, link, f"cannot be read: {error.strerror}; mend or remove it", found)
            continue
        key = (info.st_dev, info.st_ino)
        listed = (
            (parent.st_dev, parent.st_ino) in found.walked
            and not litter(target.name)
            and suffix(target.name) in SUFFIXES
            and is_text(target.name)
        )
        if not listed and key not in linked:
            linked.add(key)
            found.files.append(link)


def _named(root: Path, path: str, found: _Found) -> bool:
    """Whether the last name in a path is valid UTF-8; rejected if not."""
    if is_text(path):
        return True
    _reject(root, path, "the name is not valid UTF-8; rename it", found)
    return False


def _is_audio(path: str, found: _Found) -> bool:
    """Whether the suffix is one of audio; counted if not."""
    if suffix(path) in SUFFIXES:
        return True
    found.skipped[kind(path)] += 1
    return False


def _reject(root: Path, path: str, reason: str, found: _Found) -> None:
    shown = printable(path)
    found.rejected.append(Rejected(track=shown, reason=f"{printable(root)}/{shown}: {reason}"))


def _track(file: str, dataset: str, holds: str) -> Track:
    name = track_id(file)
    folder, below, _ = name.partition("/")
    # One string for all files of a folder.
    artist = sys.intern(folder) if below else name[: -len(suffix(name))] or name
    return Track(dataset=dataset, id=name, artist=artist, sources={holds: (Part(file=file),)})


def _no_audio(root: Path, skipped: Counter[str]) -> UserError:
    there = f", only {in_words(skipped, 5)}" if skipped else ""
    return UserError(
        f"{root}: no audio file in this folder or below{there};"
        " put recordings there (.wav, .flac, .mp3, ...)"
    )
