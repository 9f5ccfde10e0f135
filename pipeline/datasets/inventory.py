"""What is usable of a dataset's folder, and what exactly was in it: small enough for git.

Later stages depend on the inventory, never on the folder: gigabytes are hashed once, and one
changed byte in a recording changes the inventory. It holds no path or time of this machine.
"""

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline import audio, files
from pipeline.datasets import READERS, catalogue
from pipeline.datasets.base import Rejected
from pipeline.datasets.obtain import Rendered
from pipeline.errors import UserError
from pipeline.parallel import parallel_map
from pipeline.tracks import Recording, Track


class FileEntry(BaseModel):
    """A file as it was when the inventory was taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    md5: str | None = None
    """None for an embedded recording: its last bits depend on the processor that rendered it; what
    it was rendered from is in `Inventory.made_from`."""


class Inventory(BaseModel):
    """The usable recordings of a dataset, their files, and the tracks that were turned away."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    origin: str
    recordings: tuple[Recording, ...]
    """Sorted by the track's id."""
    files: dict[str, FileEntry]
    """Every file of the recordings, by its path relative to the dataset's folder."""
    rejected: tuple[Rejected, ...] = ()
    made_from: dict[str, str | int | float] = {}
    """What the embedded recordings were rendered from: parameters, hash of the renderer."""


class Inspection(NamedTuple):
    """What looking at one track found: a recording with its files, or the reason to reject it."""

    recording: Recording | None
    files: dict[str, FileEntry]
    rejected: Rejected | None


def take(
    dataset: str,
    origin: str,
    root: Path,
    names: Sequence[str],
    rendered: Rendered | None = None,
) -> Inventory:
    """Inspect every track below `root`: decode all of it, note sizes and MD5s.

    `names` are the sources that the experiment needs; their sum is the mixture. `rendered` says
    which of the files are embedded recordings. A track that cannot be used is listed in `rejected`
    with the reason. Raises UserError when the dataset cannot give one of the sources, the folder
    holds no tracks, or not one of them can be used.
    """
    reader = READERS[dataset]
    unknown = [name for name in names if name not in reader.sources]
    if unknown:
        raise UserError(
            f"sources: {dataset} cannot give {unknown[0]!r}, only {', '.join(reader.sources)};"
            f" change sources or leave {dataset} out of datasets"
        )
    tracks, rejected = reader.list_tracks(root)
    rejected = [_without(root, entry) for entry in rejected]
    unique, repeated = _unique(tracks)
    published = catalogue.checksums(dataset) if origin == "local" else {}
    examine = partial(inspect, root=root, names=tuple(names), published=published)
    inspections = list(parallel_map(examine, unique, f"inspect {dataset}"))
    recordings = [found.recording for found in inspections if found.recording]
    rejected += repeated + [found.rejected for found in inspections if found.rejected]
    ours = rendered.files if rendered else ()
    if not recordings:
        raise UserError(
            f"{root}: none of the {len(rejected)} tracks can be used;"
            f" the first: {rejected[0].track}: {rejected[0].reason}"
        )
    return Inventory(
        dataset=dataset,
        origin=origin,
        recordings=tuple(recordings),
        files={
            name: FileEntry(bytes=entry.bytes) if name in ours else entry
            for found in inspections
            for name, entry in found.files.items()
        },
        rejected=tuple(sorted(rejected, key=lambda entry: entry.track)),
        made_from=rendered.made_from if rendered else {},
    )


def inspect(
    track: Track, root: Path, names: Sequence[str], published: dict[str, str]
) -> Inspection:
    """Open, decode and hash every file of a track.

    `published` holds the MD5 of single-file tracks by id. Raises nothing that a file can cause: it
    is the reason of the rejection.
    """
    try:
        return _inspect(track, root, names, published)
    except UserError as error:
        rejected = Rejected(track=track.id, reason=str(error))
    except OSError as error:
        reason = f"{error.filename}: cannot be read: {error.strerror}; copy or download it again"
        rejected = Rejected(track=track.id, reason=reason)
    return Inspection(None, {}, _without(root, rejected))


def save(inventory: Inventory, path: Path) -> None:
    """Write as JSON that compares well line by line."""
    data = inventory.model_dump(mode="json", exclude_defaults=True)
    files.write_text(path, json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def load(path: Path) -> Inventory:
    """Read what `save` wrote; raises UserError when the file is missing or damaged."""
    try:
        return Inventory.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        remedy = f"run `python -m stages.download {path.stem}` first"
        raise UserError(f"{path}: no such file; {remedy}") from None
    except (ValidationError, UnicodeDecodeError):
        remedy = f"delete it and run `python -m stages.download {path.stem}`"
        raise UserError(f"{path}: not a valid inventory; {remedy}") from None


def _inspect(
    track: Track, root: Path, names: Sequence[str], published: dict[str, str]
) -> Inspection:
    every = sorted(track.sources)
    info = audio.track_info(track, root, every)
    sounding = dict.fromkeys(every, False)
    mixture = False
    asked = [every.index(name) for name in names]
    for block in audio.stream_sources(track, root, every):
        for name, source in zip(every, block, strict=True):
            sounding[name] |= bool(source.any())
        mixture |= bool(block[asked].sum(axis=0).any())
    if not mixture:
        raise UserError(
            "silent from beginning to end; copy or download it again, or take it out of the folder"
        )
    entries = {}
    for file in sorted({part.file for parts in track.sources.values() for part in parts}):
        path = root / file
        entries[file] = FileEntry(bytes=path.stat().st_size, md5=files.md5(path))
        if entries[file].md5 != published.get(track.id, entries[file].md5):
            raise UserError(
                f"{path}: its MD5 differs from the published one: a damaged or altered copy;"
                " replace it"
            )
    recording = Recording(
        track=track,
        sample_rate=info.sample_rate,
        channels=info.channels,
        samples=info.samples,
        silent=tuple(name for name in every if not sounding[name]),
    )
    return Inspection(recording, entries, None)


def _unique(tracks: Sequence[Track]) -> tuple[list[Track], list[Rejected]]:
    """Tracks whose id is theirs alone, and the others: which one is meant cannot be known."""
    count = Counter(track.id for track in tracks)
    repeated = [
        Rejected(track=name, reason=f"{number} tracks have this name; rename or remove the others")
        for name, number in count.items()
        if number > 1
    ]
    return [track for track in tracks if count[track.id] == 1], repeated


def _without(root: Path, rejected: Rejected) -> Rejected:
    """The reason without the machine's own path: the inventory is committed."""
    return rejected.model_copy(update={"reason": rejected.reason.replace(f"{root}/", "")})
