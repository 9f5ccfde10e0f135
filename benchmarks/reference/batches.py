"""Batches with a Dataset over HDF5 and a DataLoader: every excerpt is read when it is drawn."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

Place = tuple[int, int]
"""A track by its row, and the excerpt's first output frame in it."""


class Excerpts(Dataset[tuple[Tensor, Tensor]]):
    """Excerpts of a feature file by place: a mixture with context, and its sources.

    Mixtures (bins, frames + 2 * context), sources (sources, bins, frames); silence beyond the ends.
    """

    def __init__(self, path: Path, frames: int, context: int) -> None:
        self.path, self.frames, self.context = path, frames, context
        self.file: h5py.File | None = None
        with h5py.File(path, "r") as file:
            self.first = file["index/first_frame"][()]
            self.lengths = file["index/frames"][()]

    def __getitem__(self, place: Place) -> tuple[Tensor, Tensor]:
        if self.file is None:
            # an open file cannot be handed to a worker: each opens its own
            self.file = h5py.File(self.path, "r")
        track, start = place
        data = self.file["spectrogram"]
        mixture = self.read(data, 0, track, start - self.context, self.frames + 2 * self.context)
        sources = [
            self.read(data, signal, track, start, self.frames) for signal in range(1, len(data))
        ]
        return torch.from_numpy(mixture), torch.from_numpy(np.stack(sources))

    def read(
        self, data: h5py.Dataset, signal: int, track: int, start: int, count: int
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Frames of a track as (bins, count)."""
        length, first = int(self.lengths[track]), int(self.first[track])
        begin, end = max(start, 0), min(start + count, length)
        block = data[signal, first + begin : first + end]
        return np.pad(block, ((begin - start, start + count - end), (0, 0))).T


class Draws(Sampler[Place]):
    """Random places: uniform over tracks, then over positions."""

    def __init__(self, lengths: Sequence[int], frames: int, count: int) -> None:
        self.lengths, self.frames, self.count = lengths, frames, count

    def __iter__(self) -> Iterator[Place]:
        for track in torch.randint(len(self.lengths), (self.count,)).tolist():
            positions = max(int(self.lengths[track]) - self.frames + 1, 1)
            yield track, int(torch.randint(positions, ()))

    def __len__(self) -> int:
        return self.count


def loader(
    excerpts: Excerpts, batch_size: int, batches: int, workers: int, pinned: bool
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of random excerpts: mixtures (n, bins, frames + 2 * context), sources (n, ...)."""
    draws = Draws(excerpts.lengths.tolist(), excerpts.frames, batch_size * batches)
    return DataLoader(
        excerpts, batch_size, sampler=draws, num_workers=workers,
        persistent_workers=workers > 0, pin_memory=pinned,
        # as on any Linux; a process that was itself spawned would spawn them
        multiprocessing_context="fork" if workers else None,
    )  # fmt: skip
