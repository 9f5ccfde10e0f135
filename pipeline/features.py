"""The feature store: one HDF5 file a dataset, written by preprocess, read by everyone after it.

    attributes    format, dataset, sources, sample_rate, fft_size, hop_size
    /spectrogram  float32 (1 + sources, frames, bins)  log magnitudes: the mixture, then each source
    /waveform     float32 (sources, samples)           at the working rate; their sum is the mixture
    /index/*      a row per track: track, first_frame, frames, first_sample, samples; and
                  silent (tracks, sources)

Tracks lie one behind the other. The layout is contiguous and written in the order of the inventory, so
the same recordings give the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline import audio
from pipeline.datasets.inventory import Inventory
from pipeline.errors import UserError
from pipeline.files import atomic_path
from pipeline.parallel import parallel_map
from pipeline.params import Signal
from pipeline.spectrogram import frame_count, log_magnitude, stft
from pipeline.tracks import Recording

FORMAT = 1
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
    work = partial(extract, root=root, sources=tuple(sources), signal=signal)
    with atomic_path(target) as path, h5py.File(path, "w") as file:
        file.attrs.update(
            format=FORMAT, dataset=inventory.dataset, sources=list(sources),
            sample_rate=signal.sample_rate, fft_size=signal.fft_size, hop_size=signal.hop_size,
        )  # fmt: skip
        spectrograms = file.create_dataset(
            "spectrogram", (1 + len(sources), sum(frames), signal.bins), np.float32
        )
        waveforms = file.create_dataset("waveform", (len(sources), sum(samples)), np.float32)
        first_frame, first_sample = (np.cumsum([0, *sizes])[:-1] for sizes in (frames, samples))
        computed = parallel_map(work, recordings, f"features {inventory.dataset}")
        for index, (waveform, spectrogram) in enumerate(computed):
            waveforms[:, first_sample[index] : first_sample[index] + samples[index]] = waveform
            spectrograms[:, first_frame[index] : first_frame[index] + frames[index]] = spectrogram
        file["index/track"] = [recording.track.id for recording in recordings]
        for name, column in zip(
            INDEX[1:], (first_frame, frames, first_sample, samples), strict=True
        ):
            file[f"index/{name}"] = np.asarray(column, np.int64)
        file["index/silent"] = np.array(
            [[source in recording.silent for source in sources] for recording in recordings]
        )


def resampled_length(recording: Recording, sample_rate: int) -> int:
    """Samples of a recording at the working rate, at least 1."""
    return audio.resampled_length(recording.samples, recording.sample_rate, sample_rate)


def extract(
    recording: Recording, root: Path, sources: Sequence[str], signal: Signal
) -> tuple[FloatArray, FloatArray]:
    """Waveforms (sources, samples) and log magnitudes (1 + sources, frames, bins) of one recording."""
    waveforms = audio.read_mono(recording.track, root, sources, signal.sample_rate)
    expected = resampled_length(recording, signal.sample_rate)
    if waveforms.shape[1] != expected:
        raise UserError(
            f"{root}: {recording.track.id} has another length than data/inventory says; run"
            f" `dvc repro -f download@{recording.track.dataset}`"
        )
    signals = np.concatenate([waveforms.sum(axis=0, keepdims=True), waveforms])
    magnitudes = log_magnitude(stft(torch.from_numpy(signals), signal))
    return waveforms, magnitudes.transpose(1, 2).contiguous().numpy()


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
            columns = {name: file[f"index/{name}"][()] for name in INDEX[1:]}
            names = file["index/track"].asstr()[()]
            silent = file["index/silent"][()]
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; run `dvc repro preprocess`") from None
        except (OSError, KeyError) as error:
            raise UserError(f"{path}: damaged ({error}); delete it and run `dvc repro`") from None
        return cls(
            path=path,
            sources=tuple(attributes["sources"]),
            signal=Signal(
                **{key: int(attributes[key]) for key in ("sample_rate", "fft_size", "hop_size")}
            ),
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
