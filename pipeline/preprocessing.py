"""From a dataset's recordings to its feature file, reading only what is new.

Recordings are transformed in parallel; the rows of those that are in the replaced file already, by
their key, are copied from it.
"""

import hashlib
import inspect
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline import audio, decoding, extraction, ffmpeg, headers, spectrogram
from pipeline.datasets.inventory import Inventory
from pipeline.errors import UserError
from pipeline.extraction import extract, load_extracted, resampled_length
from pipeline.features import FORMAT, FeatureFile
from pipeline.files import PARTIAL, atomic_path, reserve
from pipeline.parallel import parallel_map
from pipeline.params import FOLDER, MIXTURE, Signal
from pipeline.spectrogram import frame_count
from pipeline.tracks import Recording

CODE = (audio, decoding, extraction, ffmpeg, headers, spectrogram)
"""The modules whose change makes every row another."""
HEADROOM = 2**20
"""Bytes kept free for the index and HDF5's own structures."""
COPY = 2**26
"""Bytes that are copied from the replaced file at a time."""


def write(
    inventory: Inventory, root: Path, sources: Sequence[str], signal: Signal, target: Path
) -> int:
    """Compute the features of every recording in parallel and write them as one file.

    root: the folder of the recordings; sources: those of the experiment, or the one signal that a
    folder of unpaired recordings holds. Returns how many recordings were read: those of which
    `target` has the features already are not. Raises UserError when a recording no longer is what
    the inventory says, naming the file; `target` is then as it was.
    """
    layout = Layout.of(inventory, sources, signal)
    with _reusable(target, layout) as old:
        known = {} if old is None else dict(zip(old.keys(), range(len(old.index)), strict=True))
        rows = [known.get(key) for key in layout.keys]
        unread = [
            recording
            for recording, row in zip(inventory.recordings, rows, strict=True)
            if row is None
        ]
        with (
            atomic_path(target) as path,
            TemporaryDirectory(suffix=PARTIAL, dir=target.parent) as scratch,
            _create(path, layout.bytes + HEADROOM) as file,
        ):
            _describe(file, layout)
            work = partial(
                extract, root=root, signals=layout.signals, signal=signal, folder=Path(scratch)
            )
            computed = parallel_map(work, unread, f"features {inventory.dataset}")
            for first, count, row in runs(rows):
                if row is None:
                    for track, extracted in zip(
                        range(first, first + count), islice(computed, count), strict=True
                    ):
                        _place(file, layout, track, extracted)
                        extracted.unlink()
                else:
                    assert old is not None
                    _copy(file, layout, first, count, old, row)
            # The last item is out, but not the end of the progress bar and the workers.
            assert next(computed, None) is None
    return len(unread)


@dataclass(frozen=True)
class Layout:
    """Where everything in a feature file lies, known before a recording is read."""

    dataset: str
    signals: tuple[str, ...]
    """Of `spectrogram`: the mixture, then the sources; or the only one of a folder."""
    sources: tuple[str, ...]
    """Of `waveform`."""
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
        samples = [resampled_length(one, signal.sample_rate) for one in inventory.recordings]
        signals = (MIXTURE, *sources) if paired else tuple(sources)
        common = {
            "format": FORMAT,
            "code": [inspect.getsource(module) for module in CODE],
            "signals": signals,
            "signal": signal.model_dump(),
            "made_from": inventory.made_from,
        }
        base = hashlib.md5(json.dumps(common, sort_keys=True).encode(), usedforsecurity=False)
        return cls(
            dataset=inventory.dataset,
            signals=signals,
            sources=tuple(sources) if paired else (),
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
        return 4 * (len(self.signals) * frames * self.signal.bins + len(self.sources) * samples)


def _key(base: "hashlib._Hash", recording: Recording, inventory: Inventory) -> bytes:
    """What a track's rows depend on: the recording, its files' content, code and parameters."""
    digest = base.copy()
    parts = [part.file for parts in recording.track.sources.values() for part in parts]
    content = [(name, inventory.files[name].bytes, inventory.files[name].md5) for name in parts]
    digest.update(f"{recording!r} {content}".encode())
    return digest.hexdigest().encode()


@contextmanager
def _reusable(target: Path, layout: Layout) -> Iterator[FeatureFile | None]:
    """The file that will be replaced, if it can be read and holds the same signals."""
    try:
        old = FeatureFile.open(target)
    except UserError:
        yield None
        return
    with old.file:
        same = (old.signals, old.sources, old.signal) == (
            layout.signals, layout.sources, layout.signal,
        )  # fmt: skip
        yield old if same else None


def runs(rows: Sequence[int | None]) -> Iterator[tuple[int, int, int | None]]:
    """Cut a list of old rows (None: a new track) into runs: (first track, count, first old row)."""
    first = 0
    for track in range(1, len(rows) + 1):
        before = rows[track - 1]
        after = None if before is None else before + 1
        if track == len(rows) or rows[track] != after:
            yield first, track - first, rows[first]
            first = track


def _describe(file: h5py.File, layout: Layout) -> None:
    """Attributes, index and empty arrays."""
    signal = layout.signal
    file.attrs.update(
        format=FORMAT, dataset=layout.dataset, sample_rate=signal.sample_rate,
        fft_size=signal.fft_size, hop_size=signal.hop_size,
    )  # fmt: skip
    text = h5py.string_dtype()
    for name in ("signals", "sources"):
        file.attrs.create(name, list(getattr(layout, name)), dtype=text)
    file.create_dataset(
        "spectrogram", (len(layout.signals), int(layout.frames.sum()), signal.bins), np.float32
    )
    file.create_dataset("waveform", (len(layout.sources), int(layout.samples.sum())), np.float32)
    file.create_dataset("index/track", data=list(layout.tracks), dtype=text)
    file["index/key"] = np.array(layout.keys, "S32")
    file["index/silent"] = layout.silent
    for name, column in (
        ("first_frame", layout.first_frame[:-1]),
        ("frames", layout.frames),
        ("first_sample", layout.first_sample[:-1]),
        ("samples", layout.samples),
    ):
        file[f"index/{name}"] = column


def _place(file: h5py.File, layout: Layout, track: int, extracted: Path) -> None:
    """Write what `extract` computed of a track."""
    waveform, spectrograms = load_extracted(
        extracted, int(layout.samples[track]), len(layout.sources), layout.signal
    )
    frame, sample = layout.first_frame[track], layout.first_sample[track]
    if len(layout.sources):
        file["waveform"][:, sample : sample + layout.samples[track]] = waveform
    file["spectrogram"][:, frame : frame + layout.frames[track]] = spectrograms


def _copy(
    file: h5py.File, layout: Layout, first: int, count: int, old: FeatureFile, row: int
) -> None:
    """Copy `count` tracks that lie one behind the other in both files, in bounded memory."""
    for name, starts, begin in (
        ("spectrogram", layout.first_frame, int(old.index["first_frame"].iloc[row])),
        ("waveform", layout.first_sample, int(old.index["first_sample"].iloc[row])),
    ):
        source, target = old.file[name], file[name]
        end, place = int(starts[first + count]), int(starts[first])
        step = max(1, COPY // max(1, source.nbytes // max(1, source.shape[1])))
        for place in range(int(starts[first]), end, step):
            size = min(step, end - place)
            offset = begin + place - int(starts[first])
            target[:, place : place + size] = source[:, offset : offset + size]


def _create(path: Path, size: int) -> h5py.File:
    """A new HDF5 file, once the disk is known to have room for it."""
    reserve(path, size)
    return h5py.File(path, "w")
