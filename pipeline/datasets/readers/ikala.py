"""iKala: 252 clips of 30 s (http://mac.citi.sinica.edu.tw/ikala/; withdrawn by its makers).

The left channel is the accompaniment, the right one the vocals, the mixture their sum: averaging
the channels on load would halve it.
"""

from pathlib import Path

from pipeline.datasets.readers.base import (
    ACCOMPANIMENT,
    VOCALS,
    Listing,
    Reader,
    content_folder,
    files_ending,
    no_tracks,
    relative,
    track_id,
)
from pipeline.tracks import Part, Track

NAME = "iKala"
LAYOUT = "Wavfile/<song>_<verse or chorus>.wav"


def list_tracks(root: Path) -> Listing:
    """The clips in `root`/Wavfile; the file's name without its ending is the id."""
    files, rejected = files_ending(content_folder(root, "Wavfile", LAYOUT), ".wav")
    if not files and not rejected:
        raise no_tracks(root, LAYOUT)
    tracks = [_track(file, root) for file in files]
    return Listing(sorted(tracks, key=lambda track: track.id), rejected)


def artist(name: str) -> str:
    """The song's number stands for the artist: verse and chorus of a song share their singer."""
    return name.split("_")[0]


def _track(file: Path, root: Path) -> Track:
    name = relative(file, root)
    return Track(
        dataset=NAME,
        id=track_id(file.stem),
        artist=artist(track_id(file.stem)),
        sources={
            ACCOMPANIMENT: (Part(file=name, channel=0),),
            VOCALS: (Part(file=name, channel=1),),
        },
    )


READERS = (Reader(NAME, (ACCOMPANIMENT, VOCALS), LAYOUT, list_tracks),)
