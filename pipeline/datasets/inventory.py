"""What is usable of a dataset's folder, and what exactly was in it: small enough for git.

Later stages depend on the inventory, never on the folder: gigabytes are hashed once, and one
changed byte in a recording changes the inventory. It holds no path or time of this machine.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline import files
from pipeline.datasets import catalogue, completeness
from pipeline.datasets.download.obtain import Rendered
from pipeline.datasets.inspection import (
    Expected,
    FileEntry,
    Inspection,
    Memory,
    given_up,
    inspect,
    without,
)
from pipeline.datasets.readers import READERS, folder, musdb18
from pipeline.datasets.readers.base import Listing, Rejected
from pipeline.errors import UserError
from pipeline.parallel.mapping import parallel_map
from pipeline.tracks import Recording, Track


class Inventory(BaseModel):
    """The usable recordings of a dataset, their files, and what was found wrong with the copy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    origin: str
    collection: str = ""
    """The collection that the songs were taken from, when it is not the dataset itself."""
    absent: str = ""
    """Why there are no recordings at all; empty when there are."""
    recordings: tuple[Recording, ...] = ()
    """Sorted by the track's id."""
    files: dict[str, FileEntry] = {}
    """Every file of the recordings, by its path relative to the dataset's folder."""
    rejected: tuple[Rejected, ...] = ()
    """Damaged tracks."""
    missing: tuple[str, ...] = ()
    """Published tracks that the copy does not have."""
    extra: tuple[str, ...] = ()
    """Audio files of the copy that do not belong to the published dataset."""
    made_from: dict[str, str | int | float] = {}
    """What the embedded recordings were rendered from: parameters, hash of the renderer."""

    @property
    def signals(self) -> tuple[str, ...]:
        """What is recorded of every track: sources, or mixture for a folder of mixtures."""
        held = [set(recording.track.sources) for recording in self.recordings]
        return tuple(sorted(set.intersection(*held))) if held else ()


def take(
    dataset: str,
    origin: str,
    root: Path,
    names: Sequence[str],
    *,
    collection: str | None = None,
    rendered: Rendered | None = None,
    memory: Path | None = None,
) -> Inventory:
    """Inspect every track of a dataset below `root`: decode all of it, note sizes and MD5s.

    `names` are the sources that the experiment needs; their sum is the mixture. `collection` is what
    lies at `root` when it is not the dataset itself; `rendered` says which files are embedded
    recordings. Tracks that did not change since the inspection noted in the file `memory` are not
    read again. A track that cannot be used is listed in `rejected` with the reason. Raises UserError
    when the dataset cannot give one of the sources, the folder holds no tracks, or not one of them
    can be used.
    """
    reader = READERS[collection or dataset]
    unknown = [name for name in names if name not in reader.sources]
    if unknown:
        raise UserError(
            f"sources: {dataset} cannot give {unknown[0]!r}, only {', '.join(reader.sources)};"
            f" change sources or leave {dataset} out of datasets"
        )
    listing = reader.list_tracks(root)
    if collection:
        listing = musdb18.stand_in(listing, dataset)
    if origin == "synthetic":
        facts: dict[str, Expected] = {}
        missing, extra = [], []
    else:
        facts = {} if collection else _published(dataset)
        missing = completeness.missing(dataset, collection, listing)
        extra = [] if collection else completeness.extra(reader, root, listing)
    found = _inspect_all(dataset, listing, root, names, facts, memory)
    ours = rendered.files if rendered else {}
    return Inventory(
        dataset=dataset,
        origin=origin,
        collection=collection or "",
        recordings=found.recordings,
        files={
            name: FileEntry(bytes=entry.bytes) if name in ours else entry
            for name, entry in found.files.items()
        },
        rejected=found.rejected,
        missing=tuple(missing),
        extra=tuple(extra),
        made_from=rendered.made_from if rendered else {},
    )


def take_folder(dataset: str, root: Path, holds: str, *, memory: Path | None = None) -> Inventory:
    """Inspect every audio file below `root`: unpaired recordings of `holds`, a source or mixture.

    Errors and `memory` as in `take`.
    """
    listing = folder.list_tracks(root, dataset, holds)
    found = _inspect_all(dataset, listing, root, None, {}, memory)
    return Inventory(
        dataset=dataset,
        origin="folder",
        recordings=found.recordings,
        files=found.files,
        rejected=found.rejected,
    )


def absent(dataset: str, origin: str, collection: str | None = None) -> Inventory:
    """The inventory of a dataset that is not there: the experiment goes on without it."""
    place = collection or dataset
    reason = f"no recordings at DATA_ROOT/{place} when the experiment was run"
    return Inventory(dataset=dataset, origin=origin, collection=collection or "", absent=reason)


def save(inventory: Inventory, path: Path) -> None:
    """Write as JSON that compares well line by line."""
    with (
        files.atomic_path(path) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(_lines(inventory))


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


class _Found(NamedTuple):
    recordings: tuple[Recording, ...]
    files: dict[str, FileEntry]
    rejected: tuple[Rejected, ...]


def _inspect_all(
    dataset: str,
    listing: Listing,
    root: Path,
    names: Sequence[str] | None,
    facts: dict[str, Expected],
    memory: Path | None,
) -> _Found:
    """Look at every track that is new or changed; raises UserError when not one can be used."""
    tracks, repeated = _unique(listing.tracks)
    remembered = Memory.load(memory)
    work = [(track, facts.get(track.id, Expected())) for track in tracks]
    found = [remembered.recall(*item, root, names) for item in work]
    unread = [item for item, recalled in zip(work, found, strict=True) if recalled is None]
    look = partial(inspect, root=root, names=names)
    looked = parallel_map(look, unread, f"inspect {dataset}", given_up)
    for number, (track, expected) in enumerate(work):
        if found[number] is None:
            inspection = next(looked)
            remembered.remember(inspection, expected, root, names)
            found[number] = _with_track(inspection, track)
    assert next(looked, None) is None  # the end of its progress bar and workers
    rejected = [*(without(root, entry) for entry in listing.rejected), *repeated]
    sorted_out = _sort_out(root, [one for one in found if one is not None], rejected)
    if memory is not None:
        remembered.save(memory)
    return sorted_out


def _with_track(found: Inspection, track: Track) -> Inspection:
    """The same with the track that is in memory already, not the copy that a worker sent back."""
    if found.recording is None:
        return found
    return found._replace(recording=found.recording.model_copy(update={"track": track}))


def _sort_out(root: Path, inspections: list[Inspection], rejected: list[Rejected]) -> _Found:
    """Sound recordings, each once, and the rejected ones."""
    recordings: list[Recording] = []
    entries: dict[str, FileEntry] = {}
    first: dict[tuple[object, ...], str] = {}
    for found in inspections:
        if found.recording is None:
            assert found.rejected is not None
            rejected.append(found.rejected)
            continue
        track = found.recording.track.id
        same = first.setdefault(_content(found), track)
        if same == track:
            recordings.append(found.recording)
            entries |= found.files
        else:
            reason = (
                f"byte for byte the same recording as {same}, which is used; remove one of them"
            )
            rejected.append(Rejected(track=track, reason=reason))
    if not recordings:
        raise UserError(
            f"{root}: none of the {len(rejected)} tracks can be used;"
            f" the first: {rejected[0].track}: {rejected[0].reason}"
        )
    rejected.sort(key=lambda entry: entry.track)
    return _Found(tuple(recordings), entries, tuple(rejected))


def _content(found: Inspection) -> tuple[object, ...]:
    """What makes two tracks the same recording: the bytes of each source's parts."""
    assert found.recording is not None
    return tuple(
        (source, part.channel, part.stream, found.files[part.file].md5)
        for source, parts in sorted(found.recording.track.sources.items())
        for part in parts
    )


def _published(dataset: str) -> dict[str, Expected]:
    """What the catalogue knows about each track of a dataset."""
    checksums = catalogue.checksums(dataset)
    return {
        track: Expected(facts.sample_rate, facts.channels, facts.seconds, checksums.get(track))
        for track, facts in catalogue.facts(dataset).items()
    }


def _unique(tracks: Sequence[Track]) -> tuple[list[Track], list[Rejected]]:
    """Tracks whose id is theirs alone, and the others: which one is meant cannot be known."""
    count = Counter(track.id for track in tracks)
    repeated = [
        Rejected(track=name, reason=f"{number} tracks have this name; rename or remove the others")
        for name, number in count.items()
        if number > 1
    ]
    return [track for track in tracks if count[track.id] == 1], repeated


def _lines(inventory: Inventory) -> Iterator[str]:
    """The JSON text, an entry at a time: never all of it, nor all of the model as dictionaries."""
    scalars = inventory.model_dump(
        mode="json", exclude_defaults=True, exclude={"files", "recordings"}
    )
    fields: dict[str, Callable[[], Iterator[str]] | None] = dict.fromkeys(scalars)
    if inventory.files:
        fields["files"] = lambda: (
            f"{_json(name)}: {_json(entry.model_dump(mode='json', exclude_defaults=True))}"
            for name, entry in sorted(inventory.files.items())
        )
    if inventory.recordings:
        fields["recordings"] = lambda: (
            _json(recording.model_dump(mode="json", exclude_defaults=True))
            for recording in inventory.recordings
        )
    separator = "{"
    for name, entries in sorted(fields.items()):
        yield f"{separator}\n {_json(name)}: "
        separator = ","
        if entries is None:
            yield _json(scalars[name])
            continue
        opening, closing = "{}" if name == "files" else "[]"
        for entry in entries():
            yield f"{opening}\n  {entry}"
            opening = ","
        yield f"\n {closing}"
    yield "\n}\n"


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
