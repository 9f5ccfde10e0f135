"""From a dataset's recordings to its feature file, reading only what is new.

Recordings are transformed in parallel; the rows of those that are in the replaced file already, by
their key, are copied from it. A write that fails keeps what it has computed beside its target, where
the next one finds it.
"""

import hashlib
import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline import rooms
from pipeline.datasets.inventory import Inventory
from pipeline.errors import UserError, listing
from pipeline.features import extraction
from pipeline.features.extraction import extract, load_extracted, working_length
from pipeline.features.stft import frame_count
from pipeline.features.store import FORMAT, FeatureFile
from pipeline.files import PARTIAL, atomic_path, remove, reserve
from pipeline.parallel.mapping import DIED, parallel_map
from pipeline.params import FOLDER, Signal
from pipeline.tracks import MIXTURE, Recording

HEADROOM = 2**20
"""Bytes kept free for the index and HDF5's own structures."""
COPY = 2**26
"""Bytes that are copied from the replaced file at a time."""


def write(
    inventory: Inventory, root: Path, sources: Sequence[str], signal: Signal, target: Path
) -> int:
    """Compute the features of every recording in parallel and write them as one file.

    root: the folder of the recordings; sources: those of the experiment, or the one kind that a
    folder of unpaired recordings holds. Returns how many recordings were read: those of which
    `target` has the features already are not. Raises UserError when a recording no longer is what
    the inventory says, naming the file, or when computing one has ended two worker processes, once
    all others are computed. `target` is then as it was, and what was computed is kept beside it.
    """
    layout = Layout.of(inventory, sources, signal)
    kept = target.with_name(f"{target.name}.kept{PARTIAL}")
    done = np.zeros(len(layout.tracks), np.bool_)
    with _reusable((target, kept), layout) as (old, rows), atomic_path(target) as path:
        new = [track for track, row in enumerate(rows) if row is None]
        try:
            reserve(path, layout.bytes + HEADROOM)
            with (
                TemporaryDirectory(suffix=PARTIAL, dir=target.parent) as scratch,
                h5py.File(path, "w") as file,
            ):
                _describe(file, layout)
                for first, count, row in runs(rows):
                    if old is not None and row is not None:
                        _copy(file, layout, first, count, old, row)
                        done[first : first + count] = True
                work = partial(
                    extract, root=root, kinds=layout.kinds, signal=signal, folder=Path(scratch)
                )
                unread = [inventory.recordings[track] for track in new]
                computed: Generator[Path | None, None, None] = parallel_map(
                    work, unread, f"features {inventory.dataset}", lambda _: None
                )
                with closing(computed):
                    for track, extracted in zip(new, computed, strict=True):
                        if extracted is not None:
                            _place(file, layout, track, extracted)
                            extracted.unlink()
                            done[track] = True
            _refuse_lost(target, layout, done)
        except (UserError, KeyboardInterrupt):
            if done[new].any():
                _keep(path, kept, done)
            raise
    remove(kept)
    return len(new)


def _refuse_lost(target: Path, layout: "Layout", done: NDArray[np.bool_]) -> None:
    lost = [track for track, there in zip(layout.tracks, done, strict=True) if not there]
    if lost:
        raise UserError(
            f"{target}: {len(lost)} of {len(done)} tracks are lost: {listing(lost)}: {DIED}; give it"
            " more memory, or take the tracks out of the folder and run `make look`; the others are"
            " kept for the next run"
        )


def _keep(path: Path, kept: Path, done: NDArray[np.bool_]) -> None:
    """Put an unfinished file where the next run finds it; tracks that it lacks have no key."""
    with h5py.File(path, "r+") as file:
        file["index/key"][()] = np.where(done, file["index/key"][()], b"")
    path.replace(kept)


@dataclass(frozen=True)
class Layout:
    """Where everything in a feature file lies, known before a recording is read."""

    dataset: str
    kinds: tuple[str, ...]
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
        samples = [working_length(one, signal.sample_rate) for one in inventory.recordings]
        kinds = (MIXTURE, *sources) if paired else tuple(sources)
        common = {
            "format": FORMAT,
            "code": rooms.narrow_fingerprint(extraction.__name__),
            "kinds": kinds,
            "signal": signal.model_dump(),
            "made_from": inventory.made_from,
        }
        base = hashlib.md5(json.dumps(common, sort_keys=True).encode(), usedforsecurity=False)
        return cls(
            dataset=inventory.dataset,
            kinds=kinds,
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
        return 4 * (len(self.kinds) * frames * self.signal.bins + len(self.sources) * samples)


def _key(base: "hashlib._Hash", recording: Recording, inventory: Inventory) -> bytes:
    """What a track's rows depend on: the recording, its files' content, code and parameters."""
    digest = base.copy()
    parts = [part.file for parts in recording.track.sources.values() for part in parts]
    content = [(name, inventory.files[name].bytes, inventory.files[name].md5) for name in parts]
    digest.update(f"{recording!r} {content}".encode())
    return digest.hexdigest().encode()


@contextmanager
def _reusable(
    paths: Sequence[Path], layout: Layout
) -> Iterator[tuple[FeatureFile | None, list[int | None]]]:
    """The older file that has most of the tracks, and the row of each track in it (None: not there)."""
    best: FeatureFile | None = None
    rows: list[int | None] = [None] * len(layout.keys)
    wanted = (layout.kinds, layout.sources, layout.signal)
    with ExitStack() as stack:
        for path in paths:
            try:
                old = FeatureFile.open(path)
            except UserError:
                continue
            stack.enter_context(old.file)
            if (old.kinds, old.sources, old.signal) != wanted:
                continue
            known = {key: row for row, key in enumerate(old.keys()) if key}
            found = [known.get(key) for key in layout.keys]
            if found.count(None) < rows.count(None):
                best, rows = old, found
        yield best, rows


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
    for name, values in (("signals", layout.kinds), ("sources", layout.sources)):
        file.attrs.create(name, list(values), dtype=text)
    file.create_dataset(
        "spectrogram", (len(layout.kinds), int(layout.frames.sum()), signal.bins), np.float32
    )
    file.create_dataset("waveform", (len(layout.sources), int(layout.samples.sum())), np.float32)
    file.create_dataset("index/track", data=list(layout.tracks), dtype=text)
    file["index/key"] = np.array(layout.keys, "S32")
    file["index/silent"] = layout.silent
    file["index/first_frame"] = layout.first_frame[:-1]
    file["index/frames"] = layout.frames
    file["index/first_sample"] = layout.first_sample[:-1]
    file["index/samples"] = layout.samples


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
    # In the order of `_place`: HDF5 lays out an array when it is first written.
    for name, starts, begin in (
        ("waveform", layout.first_sample, int(old.index["first_sample"].iloc[row])),
        ("spectrogram", layout.first_frame, int(old.index["first_frame"].iloc[row])),
    ):
        source, target = old.file[name], file[name]
        end, place = int(starts[first + count]), int(starts[first])
        step = max(1, COPY // max(1, source.nbytes // max(1, source.shape[1])))
        for place in range(int(starts[first]), end, step):
            size = min(step, end - place)
            offset = begin + place - int(starts[first])
            target[:, place : place + size] = source[:, offset : offset + size]
