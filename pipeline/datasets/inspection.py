"""Look at one track: decode all of it, hash its files, compare it with what is published, listen to it.

What was found sound is remembered beside the inventory (`InspectionCache`): a file that has not changed
since is not read again.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ValidationError

from pipeline import files, rooms
from pipeline.audio import decoding, reading
from pipeline.audio.landmarks import Listener
from pipeline.audio.reading import AudioInfo
from pipeline.datasets.inventory import FileEntry
from pipeline.datasets.readers.base import Rejected
from pipeline.errors import UserError
from pipeline.text_files import read_text
from pipeline.tracks import MIXTURE, Recording, Track, mixture_of

TOLERANCE = 1.0
"""Seconds by which a track's length may differ from the published one."""


class Expected(NamedTuple):
    """What is published about a track; None: nothing."""

    sample_rate: int | None = None
    """Hz."""
    channels: int | None = None
    seconds: float | None = None
    md5: str | None = None
    """Of its only file."""


class Inspection(NamedTuple):
    """What looking at one track found: a recording with its files, or the reason to reject it."""

    recording: Recording | None
    files: dict[str, FileEntry]
    rejected: Rejected | None
    state: list[list[int]] | None = None
    """`files.state` of the files, as they were when they were read."""
    fingerprints: dict[str, str] | None = None
    """How the mixture and each source sound, or what a folder holds (`audio.landmarks`)."""


def inspect(
    work: tuple[Track, Expected], root: Path, names: Sequence[str] | None = None
) -> Inspection:
    """Open, decode and hash every file of a track, and compare it with what is expected.

    names: the sources whose sum is the mixture, None for the one kind that a folder holds. Raises
    nothing that a file can cause: it is the reason of the rejection.
    """
    track, expected = work
    try:
        return _inspect(track, expected, root, names)
    except UserError as error:
        rejected = Rejected(track=track.id, reason=str(error))
    except OSError as error:
        reason = f"{error.filename}: cannot be read: {error.strerror}; copy or download it again"
        rejected = Rejected(track=track.id, reason=reason)
    return Inspection(None, {}, without(root, rejected))


def without(root: Path, rejected: Rejected) -> Rejected:
    """The reason without the machine's own path: the inventory is committed."""
    return rejected.model_copy(update={"reason": rejected.reason.replace(f"{root}/", "")})


def _inspect(
    track: Track, expected: Expected, root: Path, names: Sequence[str] | None, again: int = 3
) -> Inspection:
    every = sorted(track.sources)
    parts = [part for parts in track.sources.values() for part in parts]
    paths = sorted({part.file for part in parts})
    before = _state(root, paths)
    info = reading.track_info(track, root, every)
    sounding = dict.fromkeys(every, False)
    mixture, samples = False, 0
    asked = [every.index(name) for name in names or every]
    heard = {name: Listener(info.sample_rate) for name in ([MIXTURE, *names] if names else every)}
    for block in reading.stream_sources(track, root, every):
        samples += block.shape[2]
        for name, source in zip(every, block, strict=True):
            sounding[name] |= bool(source.any())
        mixed = mixture_of(block[asked])
        mixture |= bool(mixed.any())
        for name, listener in heard.items():
            sound = mixed if name not in every else block[every.index(name)]
            listener.push(sound.mean(axis=0))
    if any(part.channel is not None for part in parts):
        expected = expected._replace(channels=None)  # the reader asked for exactly its channels
    _compare(root / paths[0], info, samples, expected)
    if not mixture:
        raise UserError(
            "silent from beginning to end; copy or download it again, or take it out of the folder"
        )
    entries = {}
    for file in paths:
        path = root / file
        entries[file] = FileEntry(bytes=path.stat().st_size, md5=files.md5(path))
        if expected.md5 not in (None, entries[file].md5):
            wrong = "its MD5 differs from the published one: a damaged or altered copy"
            if _md5_of_swapped(path) == expected.md5:
                wrong = "its channels are swapped: the voice is on the left"
            raise UserError(f"{path}: {wrong}; replace it")
    if (now := _state(root, paths)) != before:
        if again and now and before and all(map(files.perhaps_unchanged, before, now)):
            return _inspect(track, expected, root, names, again=again - 1)
        raise UserError("changed while it was read; run the same command again")
    recording = Recording(
        track=track,
        sample_rate=info.sample_rate,
        channels=info.channels,
        samples=samples,
        silent=tuple(name for name in every if not sounding[name]),
    )
    fingerprints = {name: listener.fingerprint() for name, listener in heard.items()}
    return Inspection(recording, entries, None, before, fingerprints)


def _md5_of_swapped(path: Path) -> str:
    """The MD5 that a 16-bit stereo WAV file has with its two channels exchanged."""
    content = path.read_bytes()
    start = content.find(b"data") + 8
    size = int.from_bytes(content[start - 4 : start], "little")
    end = start + min(size, len(content) - start) // 4 * 4
    frames = np.frombuffer(content[start:end], np.uint16).reshape(-1, 2)
    swapped = content[:start] + frames[:, ::-1].tobytes() + content[end:]
    return hashlib.md5(swapped, usedforsecurity=False).hexdigest()


def _compare(path: Path, info: AudioInfo, samples: int, expected: Expected) -> None:
    """Raises UserError when the shape is not the published one."""
    seconds = samples / info.sample_rate
    for unit, found, published, tolerance in (
        ("Hz", info.sample_rate, expected.sample_rate, 0),
        ("channels", info.channels, expected.channels, 0),
        ("s", seconds, expected.seconds, TOLERANCE),
    ):
        if published is not None and abs(found - published) > tolerance:
            raise UserError(
                f"{path}: {round(found, 1)} {unit}, the published track has {published} {unit}:"
                " a damaged or altered copy; replace it"
            )


class _Sound(BaseModel):
    """What is remembered of a sound track, but for the track, which its reader lists again."""

    recording: dict[str, Any]
    files: dict[str, FileEntry]
    state: list[list[int]] | None
    """`files.state` of the files."""
    fingerprints: dict[str, str]


class InspectionCache:
    """The sound tracks of the last inspection, one JSON text each, valid while their files are as
    they were then: same size, inode and times of change. Another decoder may find another length, so
    it looks again, as other code does."""

    def __init__(self, texts: dict[str, str], version: str) -> None:
        self.before = texts
        self.now: dict[str, str] = {}
        self.version = version

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """Read what `save` wrote; empty when there is nothing or this code would look differently."""
        ours = f"{rooms.narrow_fingerprint(__name__)} {decoding.VERSIONS}"
        try:
            version, *lines = read_text(path, "").split("\n") if path else [""]
        except UserError:
            return cls({}, ours)
        texts = dict(line.split("\t", 1) for line in lines if "\t" in line)
        return cls(texts if version == ours else {}, ours)

    def save(self, path: Path) -> None:
        """Write what was recalled or remembered this time."""
        with files.atomic_path(path) as partial, partial.open("w", encoding="utf-8") as file:
            file.write(f"{self.version}\n")
            file.writelines(f"{key}\t{text}\n" for key, text in self.now.items())

    def recall(
        self, track: Track, expected: Expected, root: Path, names: Sequence[str] | None
    ) -> Inspection | None:
        """What was found, if nothing has changed since."""
        key = _key(track, expected, names)
        text = self.before.get(key, "")
        try:
            sound = _Sound.model_validate_json(text)
            recording = Recording.model_validate(sound.recording | {"track": track})
        except ValidationError:
            return None
        if sound.state != _state(root, sound.files):
            return None
        self.now[key] = text
        return Inspection(recording, sound.files, None, fingerprints=sound.fingerprints)

    def remember(
        self, found: Inspection, expected: Expected, root: Path, names: Sequence[str] | None
    ) -> None:
        """Keep what was found of a sound track; a rejected one is always looked at again."""
        if found.recording is None:
            return
        recording = found.recording.model_dump(mode="json", exclude={"track"})
        sound = _Sound(
            recording=recording,
            files=found.files,
            state=found.state,
            fingerprints=found.fingerprints or {},
        )
        self.now[_key(found.recording.track, expected, names)] = sound.model_dump_json()


def _key(track: Track, expected: Expected, names: Sequence[str] | None) -> str:
    text = f"{track!r} {expected} {names}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _state(root: Path, names: Iterable[str]) -> list[list[int]] | None:
    """`files.state` of each file; None when one is gone."""
    try:
        return [files.state(root / name) for name in names]
    except (OSError, ValueError):  # a name that no file can have: what is remembered is damaged
        return None
