"""Batches of excerpts. A batch is a pure function of (seed, stream, step).

Nothing is carried from one batch to the next, so a resumed run, a run on other processes and a run
interrupted anywhere draw the same excerpts.
"""

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, stream: str, step: int) -> np.random.Generator:
    """The random numbers of one step of one stream: a counter-based generator, nothing to store."""
    key = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=16).digest()
    # the step is the counter's highest word: 2**192 numbers lie between two steps
    return np.random.Generator(
        np.random.Philox(key=np.frombuffer(key, np.uint64), counter=[0, 0, 0, step])
    )


def silence(signals: int, frames: int, bins: int, device: torch.device | None = None) -> Tensor:
    """Frames of a pool to be filled: zeros (signals, frames, bins), float32, with room between them."""
    return torch.zeros(signals, frames, width(bins), device=device)[..., :bins]


def width(bins: int) -> int:
    """Numbers that a frame takes in memory: it begins at a multiple of 16 bytes.

    Excerpts are then copied 16 bytes at a time, which is faster than number by number.
    """
    return -(-bins // 4) * 4


class Frames(Protocol):
    """The frames of a pool that are read when they are asked for (`pools.FramesOnDisk`)."""

    def __len__(self) -> int:
        """The number of signals."""

    def read(self, signal: int, starts: Tensor, extra: int, length: int) -> Tensor:
        """Excerpts (n, length + 2 * extra, bins) of one signal, on the device where they are wanted."""


@dataclass(frozen=True)
class Pool:
    """The log magnitudes of some tracks, with silence between them, and their places.

    An excerpt is `length` frames of output with `context` frames around it; beyond a track's ends
    there is silence. A track shorter than an excerpt is one excerpt, filled with silence.
    """

    frames: "Tensor | Frames"
    """(signals, frames, bins)."""
    first: Tensor
    """First frame of each track (tracks,)."""
    lengths: Tensor
    """Frames of each track (tracks,)."""
    length: int
    context: int
    device: torch.device | None = None
    """Where excerpts go; None: where the frames are."""

    @cached_property
    def positions(self) -> Tensor:
        """How many excerpts each track has (tracks,)."""
        positions: Tensor = (self.lengths - self.length + 1).clamp_min(1)
        return positions

    def draw(self, random: np.random.Generator, count: int) -> Tensor:
        """First output frames of `count` excerpts: uniform over tracks, then over positions."""
        tracks = torch.from_numpy(random.integers(len(self.first), size=count))
        places = torch.from_numpy(random.random(count)) * self.positions[tracks]
        return self.first[tracks] + places.long()

    def tiles(self) -> Tensor:
        """First output frames of excerpts that cover every track, the last one of each shifted back."""
        places = [
            first
            + torch.arange(0, int(positions) + self.length - 1, self.length).clamp_max(
                int(positions) - 1
            )
            for first, positions in zip(self.first, self.positions, strict=True)
        ]
        return torch.cat(places)

    def gather(self, starts: Tensor, signal: int, context: bool = False) -> Tensor:
        """Excerpts of one signal (n, bins, frames), with the frames around them if `context`."""
        return self._rows(starts, slice(signal, signal + 1), context)[0].transpose(1, 2)

    def gather_sources(self, starts: Tensor) -> Tensor:
        """Excerpts of every signal but the first, which is the mixture (n, sources, bins, frames)."""
        return self._rows(starts, slice(1, len(self.frames)), False).permute(1, 0, 3, 2)

    def _rows(self, starts: Tensor, signals: slice, context: bool) -> Tensor:
        """Excerpts as they are stored (signals, n, frames, bins): one copy, each in one piece."""
        extra = self.context if context else 0
        if isinstance(self.frames, Tensor):
            # every excerpt there is, side by side and overlapping, is a view of the frames
            frames = _large_pieces(self.frames[signals])
            size, pieces = self.length + 2 * extra, frames.shape[2]
            windows = frames.flatten(1).unfold(1, size * pieces, pieces)
            chosen: Tensor = windows[:, (starts - extra).to(frames.device)]
            rows = chosen.view(*chosen.shape[:2], size, pieces)
            rows = rows if self.device is None else rows.to(self.device)
            return rows.view(self.frames.dtype)[..., : self.frames.shape[2]]
        numbers = range(signals.start, signals.stop)
        return torch.stack(
            [self.frames.read(number, starts, extra, self.length) for number in numbers]
        )


def _large_pieces(frames: Tensor) -> Tensor:
    """Frames (signals, frames, bins) as pieces of 16 bytes, with what `silence` leaves between them.

    Frames of another layout stay as they are, number by number.
    """
    row = frames.stride(1)
    if row * frames.itemsize % 16:
        return frames
    # nothing is calculated with: an element of this type is simply 16 bytes
    return frames.as_strided((*frames.shape[:2], row), frames.stride()).view(torch.complex128)


@dataclass(frozen=True)
class Batches:
    """Every batch that training draws, by stream and step (paper, section 4.3)."""

    seed: int
    batch_size: int
    gain: tuple[float, float]
    supervised: Pool
    """Signals: the mixture, then every source."""
    mixtures: Pool | None = None
    """Unlabelled mixtures; None for a purely supervised model."""
    recordings: Mapping[int, Pool] = field(default_factory=dict)
    """Recordings of a source alone, for each source that has a critic, by its number."""
    part: slice = field(default_factory=lambda: slice(None))
    """Which excerpts of every batch are handed out: those of one of several processes."""

    def paired(self, step: int) -> tuple[Tensor, Tensor]:
        """Mixtures with context (n, bins, frames) and their sources (n, sources, bins, frames)."""
        pool = self.supervised
        starts = pool.draw(generator(self.seed, "supervised", step), self.batch_size)[self.part]
        return pool.gather(starts, 0, context=True), pool.gather_sources(starts)

    def mixture(self, stream: str, step: int) -> Tensor:
        """Unlabelled mixtures with context, each at a random level (n, bins, frames)."""
        assert self.mixtures is not None
        return self._unpaired(self.mixtures, f"mixture/{stream}", step, context=True)

    def real(self, source: int, step: int) -> Tensor:
        """Real recordings of a source, each at a random level (n, bins, frames).

        Drawn independently of the mixtures: unpaired is the method's premise.
        """
        return self._unpaired(self.recordings[source], f"real/{source}", step, context=False)

    def epsilon(self, source: int, step: int) -> Tensor:
        """Where the penalty's interpolates lie (n,)."""
        random = generator(self.seed, f"epsilon/{source}", step)
        return torch.from_numpy(random.random(self.batch_size, dtype=np.float32)[self.part])

    def _unpaired(self, pool: Pool, stream: str, step: int, context: bool) -> Tensor:
        random = generator(self.seed, stream, step)
        starts = pool.draw(random, self.batch_size)[self.part]
        gains = torch.from_numpy(random.uniform(*self.gain, self.batch_size).astype(np.float32))
        gains = gains[self.part]
        excerpts = pool.gather(starts, 0, context)
        return amplify(excerpts, gains.to(excerpts.device))


@dataclass(frozen=True)
class BatchesAhead(Batches):
    """The same batches, each computed in the background while the one before it is used.

    For pools that are read from a disk: the next step of a stream is known before it is asked for.
    """

    _background: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "batches"), repr=False
    )
    _coming: dict[tuple[Any, ...], Future[Any]] = field(default_factory=dict, repr=False)

    def paired(self, step: int) -> tuple[Tensor, Tensor]:
        batch: tuple[Tensor, Tensor] = self._take(super().paired, step=step)
        return batch

    def _unpaired(self, pool: Pool, stream: str, step: int, context: bool) -> Tensor:
        batch: Tensor = self._take(super()._unpaired, pool, stream, step=step, context=context)
        return batch

    def _take(self, draw: Callable[..., Any], *stream: Any, step: int, **options: Any) -> Any:
        key = (draw.__name__, stream[1:])
        waiting = self._coming.pop((*key, step), None)
        batch = waiting.result() if waiting else draw(*stream, step=step, **options)
        coming = self._background.submit(draw, *stream, step=step + 1, **options)
        self._coming[(*key, step + 1)] = coming
        return batch


def amplify(log_magnitudes: Tensor, gains: Tensor) -> Tensor:
    """Scale the linear magnitudes behind log magnitudes (n, bins, frames) by gains (n,)."""
    return torch.expm1(log_magnitudes).mul_(gains[:, None, None]).log1p_()
