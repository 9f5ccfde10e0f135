"""Tracks for training that are a test or validation track once more, in another dataset or folder."""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.audio import landmarks
from pipeline.datasets.inventory import Inventory
from pipeline.tracks import MIXTURE, Role, TrackName


class Duplicate(NamedTuple):
    """A track that is left out, and why."""

    track: TrackName
    original: TrackName
    role: Role
    """Of the original: test or validation."""


class _Known(NamedTuple):
    """What is known of the sound of a track."""

    md5s: Set[str]
    """Of its files; empty where one of them is not known."""
    heard: Mapping[str, str]
    """Fingerprints by kind: the mixture and the sources, or what a folder holds."""


def find(frame: pd.DataFrame, inventories: Sequence[Inventory]) -> list[Duplicate]:
    """The tracks of inventories that are not to be learned from, given the roles in `frame`.

    Whatever is a test track once more, and not itself one; then whatever is a validation track. The
    same are two tracks when all files of one are files of the other, byte for byte, or when they sound
    the same (`audio.landmarks.same`): their mixtures, or the one kind of recordings that a folder
    holds and the other's recording of this kind. `frame` may still have these tracks or not.
    """
    known = dict(_known(inventories))
    found: dict[TrackName, Duplicate] = {}
    kept: set[TrackName] = set()
    for role in (Role.TEST, Role.VALIDATION):
        chosen = frame.loc[frame["role"] == role, ["dataset", "track"]]
        names = [TrackName(*row) for row in chosen.itertuples(index=False)]
        originals = {name: known[name] for name in names if name in known and name not in found}
        kept |= originals.keys()
        index = _Index(originals)
        for name, track in known.items():
            if name not in kept and name not in found and (original := index.find(track)):
                found[name] = Duplicate(name, original, role)
    return list(found.values())


def without(frame: pd.DataFrame, found: Sequence[Duplicate]) -> pd.DataFrame:
    """The rows of a split that are no duplicates."""
    names = {duplicate.track for duplicate in found}
    rows = frame[["dataset", "track"]].itertuples(index=False)
    keep = [TrackName(*row) not in names for row in rows]
    return frame[np.array(keep, bool)].reset_index(drop=True)


def _known(inventories: Sequence[Inventory]) -> Iterator[tuple[TrackName, _Known]]:
    for inventory in inventories:
        for track in (recording.track for recording in inventory.recordings):
            parts = [part for parts in track.sources.values() for part in parts]
            md5s = {inventory.files[part.file].md5 for part in parts}
            known = frozenset() if None in md5s else frozenset(filter(None, md5s))
            heard = inventory.fingerprints.get(track.id, {})
            yield TrackName(inventory.dataset, track.id), _Known(known, heard)


class _Index:
    """Tracks by their files and by their hashes."""

    def __init__(self, tracks: Mapping[TrackName, _Known]) -> None:
        self.tracks = list(tracks)
        self.by_md5: dict[str, set[int]] = {}
        self.heard: dict[str, list[tuple[int, landmarks.Hashes]]] = {}
        for number, track in enumerate(tracks.values()):
            for md5 in track.md5s:
                self.by_md5.setdefault(md5, set()).add(number)
            for kind, text in track.heard.items():
                self.heard.setdefault(kind, []).append((number, landmarks.hashes(text)))
        self.hashes: dict[str, landmarks.Hashes] = {}
        self.owners: dict[str, NDArray[np.intp]] = {}
        for kind, ones in self.heard.items():
            hashes = np.concatenate([one for _, one in ones])
            order = np.argsort(hashes, kind="stable")
            owners = np.repeat(np.arange(len(ones)), [len(one) for _, one in ones])
            self.hashes[kind], self.owners[kind] = hashes[order], owners[order]

    def find(self, track: _Known) -> TrackName | None:
        """The first track that `track` is once more."""
        holding = [self.by_md5.get(md5, set()) for md5 in track.md5s]
        if holding and (numbers := set.intersection(*holding)):
            return self.tracks[min(numbers)]
        for kind in [MIXTURE] if MIXTURE in track.heard else track.heard:
            if kind in self.heard and (number := self._heard(kind, track.heard[kind])) is not None:
                return self.tracks[number]
        return None

    def _heard(self, kind: str, text: str) -> int | None:
        """The number of the first track that sounds the same."""
        mine = landmarks.hashes(text)
        low, high = (np.searchsorted(self.hashes[kind], mine, side) for side in ("left", "right"))
        hits = [self.owners[kind][i:j] for i, j in zip(low, high, strict=True) if i < j]
        counts = np.bincount(np.concatenate(hits)) if hits else np.zeros(0, np.intp)
        for one in np.flatnonzero(counts >= landmarks.FEWEST):
            number, its = self.heard[kind][one]
            if landmarks.same(mine, its):
                return number
        return None
