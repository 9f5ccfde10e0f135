"""The feature store: one HDF5 file a dataset, written by preprocess, read by everyone after it.

    attributes    format, dataset, kinds, sources, sample_rate, fft_size, hop_size
    /spectrogram  float32 (kinds, frames, bins)  log magnitudes: the mixture, then each source
    /waveform     float32 (sources, samples)       at the working rate; their sum is the mixture
    /index/*      a row per track: track, first_frame, frames, first_sample, samples, key; and
                  silent (tracks, sources)

A folder of unpaired recordings has one kind, the mixture or a source, and no waveforms: it is
never evaluated. Tracks lie one behind the other. The layout is contiguous and written in the order
of the inventory, so the same recordings give the same bytes. `key` stands for everything that a track's
rows depend on: rows whose key is in the file that is replaced are copied from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.params import Signal

FORMAT = 2
INDEX = ("track", "first_frame", "frames", "first_sample", "samples")
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureFile:
    """An open feature file."""

    path: Path
    kinds: tuple[str, ...]
    """Of which there are log magnitudes."""
    sources: tuple[str, ...]
    """Of which there are waveforms."""
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
            kinds, sources = (tuple(map(str, attributes[key])) for key in ("signals", "sources"))
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
        index = pd.DataFrame(columns, index=pd.Index(names, name="track"))
        return cls(path, kinds, sources, signal, index, silent, file)

    def rows(self, tracks: Sequence[str]) -> list[int]:
        """Positions of tracks in the index. Raises UserError when one is not in the file."""
        positions = self.index.index.get_indexer(pd.Index(tracks))
        if (positions < 0).any():
            unknown = [track for track, row in zip(tracks, positions, strict=True) if row < 0]
            raise UserError(f"{self.path}: no features of {unknown[0]!r}; run `dvc repro`")
        return [int(row) for row in positions]

    def keys(self) -> list[bytes]:
        """What each track's rows depend on (`Layout.keys`)."""
        return [bytes(key) for key in self.file["index/key"][()]]

    def spectrogram(self, row: int, kinds: Sequence[str]) -> FloatArray:
        """Log magnitudes (kinds, frames, bins) of a track, by the kinds' names."""
        first, frames = (int(self.index[name].iloc[row]) for name in ("first_frame", "frames"))
        data, places = self.file["spectrogram"], [self.kinds.index(name) for name in kinds]
        return np.stack([data[place, first : first + frames] for place in places])

    def waveforms(self, row: int) -> FloatArray:
        """Waveforms of the sources (sources, samples) of a track."""
        first, samples = (int(self.index[name].iloc[row]) for name in ("first_sample", "samples"))
        waveforms: FloatArray = self.file["waveform"][:, first : first + samples]
        return waveforms
