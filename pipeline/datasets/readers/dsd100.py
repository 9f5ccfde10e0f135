"""DSD100: 100 songs in four stems (https://sigsep.github.io/datasets/dsd100.html).

The mixture is the exact sum of the stems, so the Mixtures folder is not read. DSD100subset, four of
the songs for a first try, has the same layout.
"""

from functools import partial
from pathlib import Path

from pipeline.datasets.readers.base import (
    ACCOMPANIMENT,
    VOCALS,
    Listing,
    Reader,
    content_folder,
    no_tracks,
    relative,
    subfolders,
    track_id,
)
from pipeline.tracks import Part, Track

NAME = "DSD100"
SUBSET = "DSD100subset"
PARTITIONS = ("Dev", "Test")
LAYOUT = "Sources/{Dev,Test}/<NNN - Artist - Title>/{vocals,drums,bass,other}.wav"

_BACKING = ("bass", "drums", "other")


def list_tracks(root: Path, dataset: str = NAME) -> Listing:
    """The songs below `root`/Sources; the folder's name is the id, its number makes it unique."""
    content = content_folder(root, "Sources", LAYOUT)
    found = Listing([], [])
    for partition in PARTITIONS:
        folders, rejected = subfolders(content / partition)
        found.tracks.extend(_track(folder, root, dataset, partition) for folder in folders)
        found.rejected.extend(rejected)
    if not found.tracks and not found.rejected:
        raise no_tracks(root, LAYOUT)
    found.tracks.sort(key=lambda track: track.id)
    return found


def artist(name: str) -> str:
    """The artist in `NNN - Artist - Title`, without guests: they do not make another artist."""
    fields = name.split(" - ")
    return (fields[1] if len(fields) > 2 else fields[0]).split(" feat. ")[0]


def _track(folder: Path, root: Path, dataset: str, partition: str) -> Track:
    stems = {
        stem: (Part(file=relative(folder / f"{stem}.wav", root)),) for stem in (VOCALS, *_BACKING)
    }
    backing = tuple(part for stem in _BACKING for part in stems[stem])
    return Track(
        dataset=dataset,
        id=track_id(folder.name),
        artist=artist(track_id(folder.name)),
        sources={**stems, ACCOMPANIMENT: backing},
        partition=partition,
    )


READERS = tuple(
    Reader(
        name,
        (ACCOMPANIMENT, VOCALS, *_BACKING),
        LAYOUT,
        partial(list_tracks, dataset=name),
        unused=("mixture.wav",),
    )
    for name in (NAME, SUBSET)
)
