"""The feature store: one HDF5 file a dataset, written by preprocess, read by everyone after it.

    attributes    format, dataset, sources, sample_rate, fft_size, hop_size
    /spectrogram  float32 (1 + sources, frames, bins)  log magnitudes: the mixture, then each source
    /waveform     float32 (sources, samples)           at the working rate; their sum is the mixture
    /index/*      a row per track: track, first_frame, frames, first_sample, samples; and
                  silent (tracks, sources)

Tracks lie one behind the other. The layout is contiguous and written in the order of the inventory, so
the same recordings give the same bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

import h5py
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline import audio
from pipeline.datasets.inventory import Inventory
from pipeline.errors import UserError
from pipeline.files import PARTIAL, atomic_path, reserve
from pipeline.parallel import parallel_map
from pipeline.params import Signal
from pipeline.spectrogram import frame_count, log_magnitude, pad, stft_of_padded
from pipeline.tracks import Recording

FORMAT = 1
BLOCK_FRAMES = 2048
"""Frames that are transformed at a time: a long track's complex spectrum is several times its size."""
HEADROOM = 2**20
"""Bytes kept free for the index and HDF5's own structures."""
INDEX = ("track", "first_frame", "frames", "first_sample", "samples")
FloatArray = NDArray[np.float32]


def write(
    inventory: Inventory, root: Path, sources: Sequence[str], signal: Signal, target: Path
) -> None:
    """Compute the features of every recording in parallel and write them as one file.

    root: the folder of the recordings. Raises UserError when a recording no longer is what the
    inventory says, naming the file; `target` is then as it was.
    """
    recordings = inventory.recordings
    samples = [resampled_length(recording, signal.sample_rate) for recording in recordings]
    frames = [frame_count(n, signal) for n in samples]
    size = 4 * ((1 + len(sources)) * sum(frames) * signal.bins + len(sources) * sum(samples))
    with (
        atomic_path(target) as path,
        TemporaryDirectory(suffix=PARTIAL, dir=target.parent) as scratch,
        _create(path, size + HEADROOM) as file,
    ):
        file.attrs.update(
            format=FORMAT, dataset=inventory.dataset, sources=list(sources),
            sample_rate=signal.sample_rate, fft_size=signal.fft_size, hop_size=signal.hop_size,
        )  # fmt: skip
        spectrograms = file.create_dataset(
            "spectrogram", (1 + len(sources), sum(frames), signal.bins), np.float32
        )
        waveforms = file.create_dataset("waveform", (len(sources), sum(samples)), np.float32)
        first_frame, first_sample = (np.cumsum([0, *sizes])[:-1] for sizes in (frames, samples))
        work = partial(
            extract, root=root, sources=tuple(sources), signal=signal, folder=Path(scratch)
        )
        computed = parallel_map(work, recordings, f"features {inventory.dataset}")
        for index, extracted in enumerate(computed):
            waveform, spectrogram = load_extracted(extracted, samples[index], len(sources), signal)
            waveforms[:, first_sample[index] : first_sample[index] + samples[index]] = waveform
            spectrograms[:, first_frame[index] : first_frame[index] + frames[index]] = spectrogram
            extracted.unlink()
        file["index/track"] = [recording.track.id for recording in recordings]
        for name, column in zip(
            INDEX[1:], (first_frame, frames, first_sample, samples), strict=True
        ):
            file[f"index/{name}"] = np.asarray(column, np.int64)
        file["index/silent"] = np.array(
            [[source in recording.silent for source in sources] for recording in recordings]
        )


def _create(path: Path, size: int) -> h5py.File:
    """A new HDF5 file, once the disk is known to have room for it."""
    reserve(path, size)
    return h5py.File(path, "w")


def resampled_length(recording: Recording, sample_rate: int) -> int:
    """Samples of a recording at the working rate, at least 1."""
    return audio.resampled_length(recording.samples, recording.sample_rate, sample_rate)


def extract(
    recording: Recording, root: Path, sources: Sequence[str], signal: Signal, folder: Path
) -> Path:
    """Compute the waveforms and log magnitudes of one recording into a new file in `folder`.

    A file and no arrays: a worker hands its results over through a pipe, which would need several
    times their size in memory, here and where they wait. `load_extracted` reads it.
    """
    waveforms = audio.read_mono(recording.track, root, sources, signal.sample_rate)
    expected = resampled_length(recording, signal.sample_rate)
    if waveforms.shape[1] != expected:
        raise UserError(
            f"{root}: {recording.track.id} has another length than data/inventory says; run"
            f" `dvc repro -f download@{recording.track.dataset}`"
        )
    with NamedTemporaryFile(dir=folder, delete=False) as file:
        for waveform in waveforms:
            file.write(waveform.data)
        for waveform in (waveforms.sum(axis=0), *waveforms):
            for block in _log_magnitudes(waveform, signal):
                file.write(block.data)
    return Path(file.name)


def load_extracted(
    path: Path, samples: int, sources: int, signal: Signal
) -> tuple[FloatArray, FloatArray]:
    """Waveforms (sources, samples) and log magnitudes (1 + sources, frames, bins) from `extract`."""
    data = np.memmap(path, np.float32, "r")
    waveforms, spectrograms = np.split(data, [sources * samples])
    return waveforms.reshape(sources, samples), spectrograms.reshape(1 + sources, -1, signal.bins)


def _log_magnitudes(waveform: FloatArray, signal: Signal) -> Iterator[FloatArray]:
    """Log magnitudes (frames, bins) of a waveform (samples,), up to BLOCK_FRAMES at a time."""
    padded = pad(torch.from_numpy(waveform), signal)
    frames = frame_count(len(waveform), signal)
    for first in range(0, frames, BLOCK_FRAMES):
        count = min(BLOCK_FRAMES, frames - first)
        start = first * signal.hop_size
        stretch = padded[start : start + (count - 1) * signal.hop_size + signal.fft_size]
        yield log_magnitude(stft_of_padded(stretch, signal)).T.contiguous().numpy()


@dataclass(frozen=True)
class FeatureFile:
    """An open feature file."""

    path: Path
    sources: tuple[str, ...]
    signal: Signal
    index: pd.DataFrame
    """Per track (its id is the index): first_frame, frames, first_sample, samples."""
    silent: NDArray[np.bool_]
    """(tracks, sources)."""
    file: h5py.File

    @classmethod
    def open(cls, path: Path) -> "FeatureFile":
        """Raises UserError when the file is missing, damaged or of another format."""
        try:
            file = h5py.File(path, "r")
            attributes = dict(file.attrs)
            if attributes["format"] != FORMAT:
                raise UserError(f"{path}: feature format {attributes['format']}, expected {FORMAT}")
            sources = tuple(attributes["sources"])
            signal = Signal(
                **{key: int(attributes[key]) for key in ("sample_rate", "fft_size", "hop_size")}
            )
            columns = {name: file[f"index/{name}"][()] for name in INDEX[1:]}
            names = file["index/track"].asstr()[()]
            silent = file["index/silent"][()]
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; run `dvc repro preprocess`") from None
        except (OSError, KeyError) as error:
            raise UserError(f"{path}: damaged ({error}); delete it and run `dvc repro`") from None
        return cls(
            path=path,
            sources=sources,
            signal=signal,
            index=pd.DataFrame(columns, index=pd.Index(names, name="track")),
            silent=silent,
            file=file,
        )

    def rows(self, tracks: Sequence[str]) -> list[int]:
        """Positions of tracks in the index. Raises UserError when one is not in the file."""
        positions = self.index.index.get_indexer(pd.Index(tracks))
        if (positions < 0).any():
            unknown = [track for track, row in zip(tracks, positions, strict=True) if row < 0]
            raise UserError(f"{self.path}: no features of {unknown[0]!r}; run `dvc repro`")
        return [int(row) for row in positions]

    def spectrogram(self, row: int, signals: Sequence[int]) -> FloatArray:
        """Log magnitudes (signals, frames, bins) of a track; signal 0 is the mixture."""
        first, frames = (int(self.index[name].iloc[row]) for name in ("first_frame", "frames"))
        data = self.file["spectrogram"]
        return np.stack([data[signal, first : first + frames] for signal in signals])

    def waveforms(self, row: int) -> FloatArray:
        """Waveforms of the sources (sources, samples) of a track."""
        first, samples = (int(self.index[name].iloc[row]) for name in ("first_sample", "samples"))
        waveforms: FloatArray = self.file["waveform"][:, first : first + samples]
        return waveforms
