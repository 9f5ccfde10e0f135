"""iKala: 252 clips of 30 s (http://mac.citi.sinica.edu.tw/ikala/; withdrawn by its makers).

The left channel is the accompaniment, the right one the vocals, the mixture their sum: averaging
the channels on load would halve it.
"""

from pathlib import Path

from pipeline.datasets.readers import base
from pipeline.datasets.readers.base import ACCOMPANIMENT, VOCALS, Listing, Reader
from pipeline.tracks import Part, Track

NAME = "iKala"
LAYOUT = "Wavfile/<song>_<verse or chorus>.wav"

_ENDING = ".wav"


def list_tracks(root: Path) -> Listing:
    """The clips in `root`/Wavfile; the file's name without its ending is the id."""
    found = base.files_ending(base.content_folder(root, "Wavfile", LAYOUT), _ENDING)
    tracks = [_track(file, root) for file in found.paths]
    return base.listed(root, LAYOUT, tracks, found.rejected, found.skipped)


def artist(name: str) -> str:
    """The song's number stands for the artist: verse and chorus of a song share their singer."""
    return name.split("_")[0]


def _track(file: Path, root: Path) -> Track:
    name, path = base.track_id(file.name[: -len(_ENDING)]), base.relative(file, root)
    left, right = Part(file=path, channel=0), Part(file=path, channel=1)
    return Track(
        dataset=NAME,
        id=name,
        artist=artist(name),
        sources={ACCOMPANIMENT: (left,), VOCALS: (right,)},
    )


READERS = (Reader(NAME, (ACCOMPANIMENT, VOCALS), LAYOUT, list_tracks),)
