"""CCMixter, the vocal separation database: 50 songs (https://members.loria.fr/ALiutkus/kam/).

source-01 is the accompaniment, source-02 the vocals. That they sum to mix.wav is not documented, so
mix.wav is not read: here the mixture always is the sum of the sources. One song is mono.
"""

from pathlib import Path

from pipeline.datasets.readers import base
from pipeline.datasets.readers.base import ACCOMPANIMENT, VOCALS, Listing, Reader
from pipeline.tracks import Part, Track

NAME = "CCMixter"
LAYOUT = "ccmixter_corpus/<artist>_-_<title>/{source-01,source-02}.wav"

_FILES = {ACCOMPANIMENT: "source-01.wav", VOCALS: "source-02.wav"}


def list_tracks(root: Path) -> Listing:
    """The songs below `root`/ccmixter_corpus; the folder's name is the id."""
    found = base.subfolders(base.content_folder(root, "ccmixter_corpus", LAYOUT))
    tracks = [_track(folder, root) for folder in found.paths]
    return base.listed(root, LAYOUT, tracks, found.rejected, found.skipped)


def artist(name: str) -> str:
    """The artist in `<artist>_-_<title>`."""
    return name.split("_-_")[0]


def _track(folder: Path, root: Path) -> Track:
    name, path = base.track_id(folder.name), base.relative(folder, root)
    return Track(
        dataset=NAME,
        id=name,
        artist=artist(name),
        sources={source: (Part(file=f"{path}/{file}"),) for source, file in _FILES.items()},
    )


READERS = (Reader(NAME, (ACCOMPANIMENT, VOCALS), LAYOUT, list_tracks, unused=("mix.wav",)),)
