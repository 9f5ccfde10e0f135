"""From a dataset's folder to its inventory: every track looked at, what changed not at all read again."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pipeline.datasets import catalogue, completeness
from pipeline.datasets.inspection import Expected, Inspection, InspectionCache, inspect, without
from pipeline.datasets.inventory import FileEntry, Inventory
from pipeline.datasets.readers import READERS, folder, musdb18
from pipeline.datasets.readers.base import VOCALS, Listing, Rejected, in_words
from pipeline.datasets.rendered import Rendered
from pipeline.datasets.selection import Selection, chosen, published
from pipeline.errors import UserError
from pipeline.parallel.mapping import DIED, parallel_map
from pipeline.params import KNOWN, Origin
from pipeline.tracks import Recording, Track


def take(
    dataset: str,
    origin: Origin,
    root: Path,
    names: Sequence[str],
    *,
    collection: str | None = None,
    select: Selection | None = None,
    voice_level: float = 0.0,
    rendered: Rendered | None = None,
    memory: Path | None = None,
    say: Callable[[str], None] = print,
) -> Inventory:
    """Inspect every track of a dataset below `root`: decode all of it, note sizes and MD5s.

    `names` are the sources that the experiment needs; their sum is the mixture. `collection` is what
    lies at `root` when it is not the dataset itself, and `select` says which of its tracks are meant if
    not all. `voice_level` dB are added to the vocals. `rendered` says which files are embedded
    recordings. Tracks that did not change since the inspection noted in the file `memory` are not
    read again. A track that cannot be used is listed in `rejected` with the reason; `say` is told
    what was passed over by its name, which is no part of the inventory: a file manager's settings
    must not make the experiment run again. Raises UserError
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
    _tell_skipped(dataset, listing, say)
    stands_in, of = bool(collection) and dataset in KNOWN, collection or dataset
    real = origin != "synthetic"
    extra = completeness.extra(reader, root, listing) if real and not stands_in else []
    if stands_in:
        listing, of = musdb18.stand_in(listing, dataset), dataset
    if select:
        listing = _selected(listing, of, select, f"datasets.{dataset}.select")
    missing = completeness.missing(of, collection, listing, select) if real else []
    if select and not listing.tracks and not listing.rejected:
        none = f"none of the tracks that datasets.{dataset}.select names is there"
        if origin == "local":
            return Inventory(
                dataset=dataset, origin=origin, collection=collection or "", absent=none
            )
        raise UserError(
            f"{root}: {none}; add them, or move this copy away to have all of {collection or dataset}"
            " downloaded"
        )
    listing = listing._replace(
        tracks=[_as_used(track, dataset, voice_level) for track in listing.tracks]
    )
    facts = _published(of) if real and not stands_in else {}
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
        fingerprints=found.fingerprints,
        rejected=found.rejected,
        missing=tuple(missing),
        extra=tuple(extra),
        made_from=rendered.made_from if rendered else {},
    )


def take_folder(
    dataset: str,
    root: Path,
    holds: str,
    *,
    memory: Path | None = None,
    say: Callable[[str], None] = print,
) -> Inventory:
    """Inspect every audio file below `root`: unpaired recordings of `holds`, a source or mixture.

    Errors, `memory` and `say` as in `take`.
    """
    listing = folder.list_tracks(root, dataset, holds)
    _tell_skipped(dataset, listing, say)
    found = _inspect_all(dataset, listing, root, None, {}, memory)
    return Inventory(dataset=dataset, origin="folder", **found._asdict())


def absent(dataset: str, origin: Origin, collection: str | None = None) -> Inventory:
    """The inventory of a dataset that is not there: the experiment goes on without it."""
    place = collection or dataset
    reason = f"no recordings at DATA_ROOT/{place} when the experiment was run"
    return Inventory(dataset=dataset, origin=origin, collection=collection or "", absent=reason)


def _selected(listing: Listing, collection: str, select: Selection, key: str) -> Listing:
    """The tracks that are meant, and of the rejected ones those that may be."""
    tracks = chosen(listing.tracks, collection, select, key)
    meant, known = published(collection, select), catalogue.columns(collection)
    rejected = [one for one in listing.rejected if one.track in meant or one.track not in known]
    return Listing(tracks, rejected, listing.skipped)


def _as_used(track: Track, dataset: str, voice_level: float) -> Track:
    """The track under the dataset's name, with the vocals louder by `voice_level` dB."""
    if track.dataset == dataset and not voice_level:
        return track
    gain = 10 ** (voice_level / 20)
    parts = track.sources.get(VOCALS, ())
    louder = tuple(part.model_copy(update={"gain": gain}) for part in parts)
    sources = track.sources | ({VOCALS: louder} if voice_level and VOCALS in track.sources else {})
    return track.model_copy(update={"dataset": dataset, "sources": sources})


def _tell_skipped(dataset: str, listing: Listing, say: Callable[[str], None]) -> None:
    if listing.skipped:
        say(f"{dataset}: passed over by their names: {in_words(listing.skipped)}")


class _Usable(NamedTuple):
    recordings: tuple[Recording, ...]
    files: dict[str, FileEntry]
    rejected: tuple[Rejected, ...]
    fingerprints: dict[str, dict[str, str]]


def _inspect_all(
    dataset: str,
    listing: Listing,
    root: Path,
    names: Sequence[str] | None,
    facts: dict[str, Expected],
    memory: Path | None,
) -> _Usable:
    """Look at every track that is new or changed; raises UserError when not one can be used."""
    tracks, repeated = _unique(listing.tracks)
    remembered = InspectionCache.load(memory)
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


def _sort_out(root: Path, inspections: list[Inspection], rejected: list[Rejected]) -> _Usable:
    """Sound recordings, each once, and the rejected ones."""
    recordings: list[Recording] = []
    entries: dict[str, FileEntry] = {}
    heard: dict[str, dict[str, str]] = {}
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
            heard[track] = found.fingerprints or {}
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
    return _Usable(tuple(recordings), entries, tuple(rejected), heard)


def _content(found: Inspection) -> tuple[object, ...]:
    """What makes two tracks the same recording: the bytes of each source's parts."""
    assert found.recording is not None
    return tuple(
        (source, part.channel, part.stream, part.gain, found.files[part.file].md5)
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


def given_up(work: tuple[Track, Expected]) -> Inspection:
    """What stands for looking at a track that has ended the processes that tried."""
    track, _ = work
    first = min(part.file for parts in track.sources.values() for part in parts)
    reason = f"{first}: {DIED}; copy or download it again, give it more memory, or take it out"
    return Inspection(None, {}, Rejected(track=track.id, reason=reason))
