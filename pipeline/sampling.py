"""Batches of excerpts. A batch is a pure function of (seed, stream, step).

Nothing is carried from one batch to the next, so a resumed run, a run on other processes and a run
interrupted anywhere draw the same excerpts.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.features import FeatureFile
from pipeline.tracks import Role


def generator(seed: int, stream: str, step: int) -> np.random.Generator:
    """The random numbers of one step of one stream: a counter-based generator, nothing to store."""
    key = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=16).digest()
    # the step is the counter's highest word: 2**192 numbers lie between two steps
    return np.random.Generator(
        np.random.Philox(key=np.frombuffer(key, np.uint64), counter=[0, 0, 0, step])
    )


@dataclass(frozen=True)
class Pool:
    """The log magnitudes of some tracks as one tensor, with silence between them, and their places.

    An excerpt is `length` frames of output with `context` frames around it; beyond a track's ends
    there is silence. A track shorter than an excerpt is one excerpt, filled with silence.
    """

    frames: Tensor
    """(signals, frames, bins)."""
    first: Tensor
    """First frame of each track (tracks,)."""
    lengths: Tensor
    """Frames of each track (tracks,)."""
    length: int
    context: int

    @property
    def positions(self) -> Tensor:
        """How many excerpts each track has (tracks,)."""
        return (self.lengths - self.length + 1).clamp_min(1)

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
        extra = self.context if context else 0
        offsets = torch.arange(-extra, self.length + extra)
        places = (starts[:, None] + offsets).to(self.frames.device)
        return self.frames[signal][places].transpose(1, 2)  # (n, frames, bins) -> (n, bins, frames)


def load_pool(
    split: pd.DataFrame,
    role: Role,
    folder: Path,
    signals: Sequence[str],
    length: int,
    context: int,
    device: torch.device,
) -> Pool:
    """Read the tracks of one role that have all of `signals` from the feature files under `folder`.

    signals: which to keep, by name; `Pool.gather` counts within these. Raises UserError when no track
    has them.
    """
    chosen = split[split["role"] == role]
    files = {name: FeatureFile.open(folder / f"{name}.h5") for name in chosen["dataset"].unique()}
    places = [
        (features, row)
        for name, features in files.items()
        if set(signals) <= set(features.signals)
        for row in features.rows(chosen.loc[chosen["dataset"] == name, "track"].tolist())
    ]
    if not places:
        raise UserError(
            f"{folder}: no track with the role {role} has {' and '.join(signals)}; add a dataset or a"
            " folder of unpaired recordings that has"
        )
    lengths = torch.tensor([features.index["frames"].iloc[row] for features, row in places])
    # behind each track (or the excerpt it is filled up to) comes the next one's context
    ends = torch.cumsum(lengths.clamp_min(length) + context, 0) + context
    first = ends - lengths.clamp_min(length) - context
    bins = places[0][0].signal.bins
    frames = torch.zeros(len(signals), int(ends[-1]), bins, device=device)
    for (features, row), start, count in zip(places, first, lengths, strict=True):
        block = torch.from_numpy(features.spectrogram(row, signals))
        frames[:, start : start + count] = block.to(device)
    for features in files.values():
        features.file.close()
    return Pool(frames, first, lengths, length, context)


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

    def paired(self, step: int) -> tuple[Tensor, Tensor]:
        """Mixtures with context (n, bins, frames) and their sources (n, sources, bins, frames)."""
        pool = self.supervised
        starts = pool.draw(generator(self.seed, "supervised", step), self.batch_size)
        sources = [pool.gather(starts, signal) for signal in range(1, len(pool.frames))]
        return pool.gather(starts, 0, context=True), torch.stack(sources, dim=1)

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
        return torch.from_numpy(random.random(self.batch_size, dtype=np.float32))

    def _unpaired(self, pool: Pool, stream: str, step: int, context: bool) -> Tensor:
        random = generator(self.seed, stream, step)
        starts = pool.draw(random, self.batch_size)
        gains = torch.from_numpy(random.uniform(*self.gain, self.batch_size).astype(np.float32))
        excerpts = pool.gather(starts, 0, context)
        return amplify(excerpts, gains.to(excerpts.device))


def amplify(log_magnitudes: Tensor, gains: Tensor) -> Tensor:
    """Scale the linear magnitudes behind log magnitudes (n, bins, frames) by gains (n,)."""
    return torch.log1p(torch.expm1(log_magnitudes) * gains[:, None, None])
