"""Some tracks, one behind the other, and excerpts of them: log magnitudes or waveforms."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def generator(seed: int, stream: str, step: int) -> np.random.Generator:
    """The random numbers of one step of one stream: a counter-based generator, nothing to store."""
    key = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=16).digest()
    # the step is the counter's highest word: 2**192 numbers lie between two steps
    return np.random.Generator(
        np.random.Philox(key=np.frombuffer(key, np.uint64), counter=[0, 0, 0, step])
    )


def silence(kinds: int, frames: int, bins: int, device: torch.device | None = None) -> Tensor:
    """Allocate zero frames (kinds, frames, bins), float32, each padded to a multiple of 16 bytes."""
    return torch.zeros(kinds, frames, width(bins), device=device)[..., :bins]


def width(bins: int) -> int:
    """Numbers that a frame takes in memory: a multiple of 16 bytes.

    Excerpts are then copied 16 bytes at a time, which is faster than number by number.
    """
    return -(-bins // 4) * 4


def layout(lengths: Tensor, length: int, context: int) -> tuple[Tensor, int]:
    """Where tracks of `lengths` frames lie in a pool: their first frames, and frames in all.

    The silence between two tracks holds the context of an excerpt, and every excerpt of `length` frames
    that holds the whole of a shorter track.
    """
    room = context + (length - lengths).clamp_min(0)
    gaps = torch.maximum(room[1:], room[:-1])
    first = room[0] + torch.cat([torch.zeros_like(room[:1]), (lengths[:-1] + gaps).cumsum(0)])
    return first, int(first[-1] + lengths[-1] + room[-1])


class Frames(Protocol):
    """The frames of a pool that are read when they are asked for (`pool_loading.FramesOnDisk`)."""

    def __len__(self) -> int:
        """The number of kinds."""

    def read(self, kind: int, starts: Tensor, extra: int, length: int) -> Tensor:
        """Excerpts (n, length + 2 * extra, bins) of one kind, on the device where they are wanted."""


@dataclass(frozen=True)
class Pool:
    """The log magnitudes or waveforms of some tracks, with silence between them, and their places.

    An excerpt is `length` frames of output with `context` frames around it; beyond a track's ends
    there is silence (`layout`). An excerpt of a track that is shorter holds all of it, and silence.
    """

    frames: "Tensor | Frames"
    """(kinds, frames, bins); of waveforms (kinds, blocks, samples), see `pool_loading.Blocks`."""
    first: Tensor
    """First frame of each track (tracks,)."""
    lengths: Tensor
    """Frames of each track (tracks,)."""
    length: int
    context: int
    device: torch.device | None = None
    """Where excerpts go; None: where the frames are."""
    shares: Tensor | None = None
    """Of all draws, those of each track (tracks,), float64, the sum is 1; None: the same for each."""
    more: int = 0
    """Of waveforms: the blocks that an excerpt, and a track, has more than frames; else 0."""

    @cached_property
    def positions(self) -> Tensor:
        """How many excerpts without silence each track has, at least one (tracks,)."""
        positions: Tensor = (self.lengths - self.length + 1).clamp_min(1)
        return positions

    def draw(self, random: np.random.Generator, count: int) -> Tensor:
        """First output frames of `count` excerpts: tracks by their shares, then uniform over places.

        Of a track shorter than an excerpt these are the places that hold all of it.
        """
        tracks = torch.from_numpy(self._tracks(random, count))
        spare = self.lengths[tracks] - self.length
        places = torch.from_numpy(random.random(count)) * (spare.abs() + 1)
        return self.first[tracks] + spare.clamp_max(0) + places.long()

    def _tracks(self, random: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Numbers of `count` tracks; equal shares draw what no shares draw."""
        if self.shares is None or bool((self.shares == self.shares[0]).all()):
            return random.integers(len(self.first), size=count)
        # the last end may be rounded to less than 1
        ends = self.shares.cumsum(0)[:-1].numpy()
        return np.searchsorted(ends, random.random(count), side="right").astype(np.int64)

    def tiles(self) -> tuple[Tensor, Tensor]:
        """Excerpts that cover every track, the last one of each shifted back: first frames and weights.

        The weights of a track's excerpts add up to 1, whatever its length. A track shorter than an
        excerpt has one, at whose beginning it is.
        """
        frames = self.length - self.more
        places = [
            first
            + torch.arange(0, int(positions) + frames - 1, frames).clamp_max(int(positions) - 1)
            for first, positions in zip(self.first, self.positions, strict=True)
        ]
        weights = [torch.full((len(own),), 1 / len(own), dtype=torch.float64) for own in places]
        return torch.cat(places), torch.cat(weights)

    def gather(self, starts: Tensor, kind: int, context: bool = False) -> Tensor:
        """Excerpts of one kind, with the frames around them if `context`.

        (n, bins, frames), or (n, samples), of which frame f starts at sample f * hop_size.
        """
        rows = self._rows(starts, slice(kind, kind + 1), context)[0]
        return rows.flatten(1) if self.more else rows.transpose(1, 2)

    def gather_sources(self, starts: Tensor) -> Tensor:
        """Excerpts of every kind but the first, which is the mixture (n, sources, …)."""
        rows = self._rows(starts, slice(1, len(self.frames)), False)
        return rows.transpose(0, 1).flatten(2) if self.more else rows.permute(1, 0, 3, 2)

    def _rows(self, starts: Tensor, kinds: slice, context: bool) -> Tensor:
        """Excerpts as they are stored (kinds, n, frames, bins): one copy, each in one piece."""
        extra = self.context if context else 0
        if isinstance(self.frames, Tensor):
            # every excerpt there is, side by side and overlapping, is a view of the frames
            frames = _large_pieces(self.frames[kinds])
            size, pieces = self.length + 2 * extra, frames.shape[2]
            windows = frames.flatten(1).unfold(1, size * pieces, pieces)
            chosen: Tensor = windows[:, (starts - extra).to(frames.device)]
            rows = chosen.view(*chosen.shape[:2], size, pieces)
            rows = rows if self.device is None else rows.to(self.device)
            return rows.view(self.frames.dtype)[..., : self.frames.shape[2]]
        numbers = range(kinds.start, kinds.stop)
        return torch.stack(
            [self.frames.read(number, starts, extra, self.length) for number in numbers]
        )


def _large_pieces(frames: Tensor) -> Tensor:
    """Frames (kinds, frames, bins) as pieces of 16 bytes, with what `silence` leaves between them.

    Frames of another layout stay as they are, number by number.
    """
    row = frames.stride(1)
    if row * frames.itemsize % 16:
        return frames
    # nothing is calculated with: an element of this type is simply 16 bytes
    return frames.as_strided((*frames.shape[:2], row), frames.stride()).view(torch.complex128)
