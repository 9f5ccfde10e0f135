"""DSD100: 100 songs in four stems (https://sigsep.github.io/datasets/dsd100.html).

The mixture is the exact sum of the stems, so the Mixtures folder is not read. DSD100subset, four of
the songs for a first try, has the same layout.
"""

from functools import partial
from pathlib import Path

from pipeline.datasets.readers import base
from pipeline.datasets.readers.base import ACCOMPANIMENT, VOCALS, Listing, Reader
from pipeline.tracks import Part, Track

NAME = "DSD100"
SUBSET = "DSD100subset"
PARTITIONS = ("Dev", "Test")
LAYOUT = "Sources/{Dev,Test}/<NNN - Artist - Title>/{vocals,drums,bass,other}.wav"

_BACKING = ("bass", "drums", "other")


def list_tracks(root: Path, dataset: str = NAME) -> Listing:
    """The songs below `root`/Sources; the folder's name is the id, its number makes it unique."""
    content = base.content_folder(root, "Sources", LAYOUT)
    tracks, refused = [], []
    for partition in PARTITIONS:
        folders, rejected = base.subfolders(content / partition)
        tracks += [_track(folder, root, dataset, partition) for folder in folders]
        refused += rejected
    return base.listed(root, LAYOUT, tracks, refused)


def artist(name: str) -> str:
    """The artist in `NNN - Artist - Title`, without guests: they do not make another artist."""
    fields = name.split(" - ")
    return (fields[1] if len(fields) > 2 else fields[0]).split(" feat. ")[0]


def _track(folder: Path, root: Path, dataset: str, partition: str) -> Track:
    stems = {
        stem: (Part(file=base.relative(folder / f"{stem}.wav", root)),)
        for stem in (VOCALS, *_BACKING)
    }
    backing = tuple(part for stem in _BACKING for part in stems[stem])
    return Track(
        dataset=dataset,
        id=base.track_id(folder.name),
        artist=artist(base.track_id(folder.name)),
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
