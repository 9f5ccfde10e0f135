"""DSD100: 100 songs in four stems (https://sigsep.github.io/datasets/dsd100.html).

The mixture is the exact sum of the stems, so the Mixtures folder is not read. DSD100subset, four of
the songs for a first try, has the same layout.
"""

from collections import Counter
from functools import partial
from pathlib import Path

from pipeline.datasets.readers import base
from pipeline.datasets.readers.base import FOUR_STEMS, Listing, Reader
from pipeline.tracks import Part, Track

NAME = "DSD100"
SUBSET = "DSD100subset"
PARTITIONS = ("Dev", "Test")
LAYOUT = "Sources/{Dev,Test}/<NNN - Artist - Title>/{vocals,drums,bass,other}.wav"


def list_tracks(root: Path, dataset: str = NAME) -> Listing:
    """The songs below `root`/Sources; the folder's name is the id, its number makes it unique."""
    content = base.content_folder(root, "Sources", LAYOUT)
    tracks, refused, skipped = [], [], Counter[str]()
    for partition in PARTITIONS:
        found = base.subfolders(content / partition)
        tracks += [_track(folder, root, dataset, partition) for folder in found.paths]
        refused += found.rejected
        skipped += found.skipped
    return base.listed(root, LAYOUT, tracks, refused, skipped)


def artist(name: str) -> str:
    """The artist in `NNN - Artist - Title`, without guests: they do not make another artist."""
    fields = name.split(" - ")
    return (fields[1] if len(fields) > 2 else fields[0]).split(" feat. ")[0]


def _track(folder: Path, root: Path, dataset: str, partition: str) -> Track:
    name, path = base.track_id(folder.name), base.relative(folder, root)
    return Track(
        dataset=dataset,
        id=name,
        artist=artist(name),
        sources=base.from_stems(lambda stem: Part(file=f"{path}/{stem}.wav")),
        partition=partition,
    )


READERS = tuple(
    Reader(name, FOUR_STEMS, LAYOUT, partial(list_tracks, dataset=name), ("mixture.wav",))
    for name in (NAME, SUBSET)
)
