"""A feature file while it is written: where everything lies, and which tracks are there already."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline import rooms
from pipeline.audio import decoding
from pipeline.datasets.inventory import Inventory
from pipeline.features import extraction
from pipeline.features.extraction import Extracted, load_extracted, working_length
from pipeline.features.stft import frame_count
from pipeline.features.store import ARRAYS, FORMAT, USER_BLOCK, FeatureFile, reading, seal
from pipeline.parallel import machine
from pipeline.params import FOLDER, Signal
from pipeline.tracks import MIXTURE, Recording


@dataclass(frozen=True)
class Layout:
    """Where everything in a feature file lies, known before a recording is read."""

    dataset: str
    kinds: tuple[str, ...]
    """Of `spectrogram`: the mixture, then the sources; or the only one of a folder."""
    sounds: tuple[str, ...]
    """Of `waveform`: the sources; or the only kind of a folder."""
    signal: Signal
    tracks: tuple[str, ...]
    keys: tuple[bytes, ...]
    silent: NDArray[np.bool_]
    """(tracks, sources)."""
    frames: NDArray[np.int64]
    samples: NDArray[np.int64]

    @classmethod
    def of(cls, inventory: Inventory, sources: Sequence[str], signal: Signal) -> "Layout":
        """The layout of a dataset's features."""
        paired = inventory.origin != FOLDER
        samples = [working_length(one, signal.sample_rate) for one in inventory.recordings]
        kinds = (MIXTURE, *sources) if paired else tuple(sources)
        common = {
            "format": FORMAT,
            "code": rooms.narrow_fingerprint(extraction.__name__),
            "decoders": decoding.VERSIONS,
            "arithmetic": machine.arithmetic(),
            "kinds": kinds,
            "signal": signal.model_dump(),
            "made_from": inventory.made_from,
        }
        base = hashlib.md5(json.dumps(common, sort_keys=True).encode(), usedforsecurity=False)
        return cls(
            dataset=inventory.dataset,
            kinds=kinds,
            sounds=tuple(sources),
            signal=signal,
            tracks=tuple(recording.track.id for recording in inventory.recordings),
            keys=tuple(_key(base, recording, inventory) for recording in inventory.recordings),
            silent=np.array(
                [[name in one.silent for name in sources] for one in inventory.recordings], np.bool_
            ).reshape(-1, len(sources)),
            frames=np.array([frame_count(n, signal) for n in samples], np.int64),
            samples=np.array(samples, np.int64),
        )

    @cached_property
    def first_frame(self) -> NDArray[np.int64]:
        return np.cumsum([0, *self.frames], dtype=np.int64)

    @cached_property
    def first_sample(self) -> NDArray[np.int64]:
        return np.cumsum([0, *self.samples], dtype=np.int64)

    @property
    def bytes(self) -> int:
        """Size of the two large arrays."""
        frames, samples = int(self.frames.sum()), int(self.samples.sum())
        return 4 * (len(self.kinds) * frames * self.signal.bins + len(self.sounds) * samples)


def _key(base: "hashlib._Hash", recording: Recording, inventory: Inventory) -> bytes:
    """What a track's rows depend on: the recording, its files' content, code and parameters.

    Not the dataset's name: experiments may name the same recordings differently.
    """
    digest = base.copy()
    parts = [part.file for parts in recording.track.sources.values() for part in parts]
    content = [(name, inventory.files[name].bytes, inventory.files[name].md5) for name in parts]
    sound = recording.model_dump(exclude={"track": {"dataset"}})
    digest.update(f"{sound} {content}".encode())
    return digest.hexdigest().encode()


class NewFile:
    """A feature file that gets its tracks one by one; it can be read when it is finished."""

    def __init__(self, path: Path, layout: Layout) -> None:
        """Write its structure to `path`: attributes, index and empty arrays."""
        self.path, self.layout = path, layout
        tracks, kinds, sounds = len(layout.tracks), len(layout.kinds), len(layout.sounds)
        self.done = np.zeros(tracks, np.bool_)
        """Which tracks are there (tracks,)."""
        self._checksums = {
            "waveform": np.zeros((tracks, sounds), np.uint32),
            "spectrogram": np.zeros((tracks, kinds), np.uint32),
        }
        self._file = h5py.File(path, "w", userblock_size=USER_BLOCK)
        signal, text = layout.signal, h5py.string_dtype()
        self._file.attrs.update(dataset=layout.dataset, **signal.model_dump())
        for name, values in (("signals", layout.kinds), ("sounds", layout.sounds)):
            self._file.attrs.create(name, list(values), dtype=text)
        frames, samples = int(layout.frames.sum()), int(layout.samples.sum())
        self._arrays = {
            "waveform": self._file.create_dataset("waveform", (sounds, samples), np.float32),
            "spectrogram": self._file.create_dataset(
                "spectrogram", (kinds, frames, signal.bins), np.float32
            ),
        }
        self._file.create_dataset("index/track", data=list(layout.tracks), dtype=text)
        index = {
            "key": np.full(tracks, b"", "S32"), "silent": layout.silent,
            "first_frame": layout.first_frame[:-1], "frames": layout.frames,
            "first_sample": layout.first_sample[:-1], "samples": layout.samples,
        } | {f"{name}_crc32": checksums for name, checksums in self._checksums.items()}  # fmt: skip
        for name, column in index.items():
            self._file[f"index/{name}"] = column

    def place(self, track: int, extracted: Extracted) -> None:
        """Write what `extract` computed of a track."""
        layout = self.layout
        sounds, samples = len(layout.sounds), int(layout.samples[track])
        found = load_extracted(extracted.path, samples, sounds, layout.signal)
        for (name, rows), checksums in zip(self._rows(track), extracted[1:], strict=True):
            if checksums:
                self._arrays[name][:, rows] = found[ARRAYS.index(name)]
                self._checksums[name][track] = checksums
        self.done[track] = True

    def copy(self, track: int, old: FeatureFile, row: int) -> None:
        """Copy a track from an older file, in bounded memory.

        Raises UserError when it is damaged there, or the file is gone; the track is then not done.
        """
        layout = self.layout
        with reading(old.path), old.path.open("rb") as file:
            for (name, rows), signals in zip(
                self._rows(track), (layout.sounds, layout.kinds), strict=True
            ):
                of = old.samples_of if name == "waveform" else old.frames_of
                for number, signal in enumerate(signals):
                    there = of(row, signal)
                    for begin, piece in there.pieces(file.fileno()):
                        start = rows.start + begin
                        self._arrays[name][number, start : start + len(piece)] = piece
                    self._checksums[name][track, number] = there.checksum
        self.done[track] = True

    def finish(self) -> None:
        """Write keys and checksums, and seal the file; tracks that are not done have no key."""
        self._file["index/key"][()] = np.where(self.done, self.layout.keys, b"")
        for name, checksums in self._checksums.items():
            self._file[f"index/{name}_crc32"][()] = checksums
        self.close()
        seal(self.path)

    def close(self) -> None:
        """May be called twice."""
        self._file.close()

    def _rows(self, track: int) -> tuple[tuple[str, slice], tuple[str, slice]]:
        """Where a track's rows go, in the order in which HDF5 lays the arrays out: as written first."""
        samples, frames = (
            slice(int(first[track]), int(first[track + 1]))
            for first in (self.layout.first_sample, self.layout.first_frame)
        )
        return ("waveform", samples), ("spectrogram", frames)
