"""Hold a copy of a dataset against what is published: what is missing, what does not belong."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pipeline.datasets import catalogue, selection
from pipeline.datasets.readers import folder
from pipeline.datasets.readers.base import Listing, Reader
from pipeline.datasets.selection import Selection
from pipeline.errors import UserError
from pipeline.tracks import MIXTURE, Track


def missing(
    dataset: str, collection: str | None, listing: Listing, select: Selection | None = None
) -> list[str]:
    """Published tracks of a dataset that are not in the listing, sorted; none where none is published.

    From another `collection` only those are missed that it should hold, and with `select` those that are
    meant.
    """
    if collection and collection != dataset:
        published = {song.original for song in catalogue.musdb18() if song.dataset == dataset}
    else:
        published = {entry.id for entry in catalogue.tracks(dataset)}
    if select:
        published &= selection.published(dataset, select)
    there = {track.id for track in listing.tracks} | {entry.track for entry in listing.rejected}
    return sorted(published - there)


def extra(reader: Reader, root: Path, listing: Listing) -> list[str]:
    """Audio files below `root` that the dataset does not have, sorted.

    Files that no track uses, but for those that the layout has beside them (`Reader.unused`), and
    the tracks that are not published.
    """
    published = {entry.id for entry in catalogue.tracks(reader.name)}
    unknown = [track for track in listing.tracks if published and track.id not in published]
    try:
        audio = folder.list_tracks(root, reader.name, MIXTURE).tracks
    except UserError:
        audio = []  # none at all
    strangers = {
        name
        for name in _files(audio) - _files(listing.tracks)
        if not any(PurePosixPath(name).match(pattern) for pattern in reader.unused)
    }
    return sorted(_files(unknown) | strangers)


def _files(tracks: Iterable[Track]) -> set[str]:
    return {part.file for track in tracks for parts in track.sources.values() for part in parts}
