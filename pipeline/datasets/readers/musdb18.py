"""MUSDB18 and MUSDB18-HQ: the same 150 songs, compressed and not.

Pages: https://sigsep.github.io/datasets/musdb.html; Zenodo records 1117372 and 3338373. A song of
MUSDB18 is one file of five audio streams, a song of MUSDB18-HQ a folder of WAV files. Either has the
mixture too, which is not read: here the mixture always is the sum of the sources.

100 of the songs are DSD100's, 46 are MedleyDB's: `stand_in` makes them tracks of those datasets.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pipeline.datasets import catalogue
from pipeline.datasets.readers import base, dsd100, medleydb
from pipeline.datasets.readers.base import FOUR_STEMS, VOCALS, Listing, Reader
from pipeline.errors import UserError
from pipeline.tracks import Part, Track

PARTITIONS = ("train", "test")
STREAMS = {"drums": 1, "bass": 2, "other": 3, VOCALS: 4}
"""The audio stream of each source in a MUSDB18 file; stream 0 is the mixture."""

_ENDING = ".stem.mp4"


class _Form(NamedTuple):
    """How one of the two collections stores a song."""

    name: str
    layout: str
    songs: Callable[[Path], base.Entries]
    """The songs in a partition's folder."""
    ending: str
    """What a song's file has behind the track's name."""
    part: Callable[[str, str], Part]
    """Where a source of a song is, by the song's path and the source's name."""
    unused: tuple[str, ...]


def list_tracks(root: Path, form: _Form) -> Listing:
    """The songs below `root`/train and `root`/test; `<Artist> - <Title>` is the id."""
    tracks, refused, skipped = [], [], Counter[str]()
    for partition in PARTITIONS:
        folder = base.content_folder(root, partition, form.layout)
        if folder == root:  # no such partition
            continue
        found = form.songs(folder)
        tracks += [_track(song, root, form, partition) for song in found.paths]
        refused += found.rejected
        skipped += found.skipped
    return base.listed(root, form.layout, tracks, refused, skipped)


def artist(name: str) -> str:
    """The artist in `<Artist> - <Title>`, without guests: they do not make another artist."""
    return name.split(" - ")[0].split(" feat. ")[0]


def stand_in(listing: Listing, dataset: str) -> Listing:
    """The songs of DSD100 or MedleyDB in a listing of MUSDB18 or MUSDB18-HQ, as tracks of that dataset.

    Id, artist and partition are the original's, files and sources stay. Songs of other origin are
    left out. Raises UserError for a dataset of which MUSDB18 has no songs.
    """
    songs = {song.track: song.original for song in catalogue.musdb18() if song.dataset == dataset}
    if not songs:
        raise UserError(
            f"{dataset}: MUSDB18 has no songs of it; it has those of {dsd100.NAME} and {medleydb.NAME}"
        )
    partitions = {entry.id: entry.partition for entry in catalogue.tracks(dataset)}
    name_artist = dsd100.artist if dataset == dsd100.NAME else medleydb.artist
    tracks = [
        Track(
            dataset=dataset,
            id=songs[track.id],
            artist=name_artist(songs[track.id]),
            sources=track.sources,
            partition=partitions[songs[track.id]],
        )
        for track in listing.tracks
        if track.id in songs
    ]
    rejected = [
        entry.model_copy(update={"track": songs[entry.track]})
        for entry in listing.rejected
        if entry.track in songs
    ]
    return Listing(sorted(tracks, key=lambda track: track.id), rejected, listing.skipped)


def _track(song: Path, root: Path, form: _Form, partition: str) -> Track:
    name = base.track_id(song.name[: len(song.name) - len(form.ending)])
    path = base.relative(song, root)
    return Track(
        dataset=form.name,
        id=name,
        artist=artist(name),
        sources=base.from_stems(partial(form.part, path)),
        partition=partition,
    )


_COMPRESSED = _Form(
    name="MUSDB18",
    layout="{train,test}/<Artist> - <Title>.stem.mp4",
    songs=partial(base.files_ending, ending=_ENDING),
    ending=_ENDING,
    part=lambda song, stem: Part(file=song, stream=STREAMS[stem]),
    unused=(),
)
_UNCOMPRESSED = _Form(
    name="MUSDB18-HQ",
    layout="{train,test}/<Artist> - <Title>/{vocals,drums,bass,other}.wav",
    songs=base.subfolders,
    ending="",
    part=lambda song, stem: Part(file=f"{song}/{stem}.wav"),
    unused=("mixture.wav",),
)

READERS = tuple(
    Reader(form.name, FOUR_STEMS, form.layout, partial(list_tracks, form=form), form.unused)
    for form in (_COMPRESSED, _UNCOMPRESSED)
)
