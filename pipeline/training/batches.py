"""Batches of excerpts. A batch is a pure function of (seed, stream, step).

Nothing is carried from one batch to the next, so a resumed run, a run on other processes and a run
interrupted anywhere draw the same excerpts.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.networks import sight
from pipeline.networks.representations import LOG_MAGNITUDES, Representation
from pipeline.training.mixing import HeardMixtures, Mixer
from pipeline.training.pools import Pool, generator


class CriticBatch(NamedTuple):
    """What one update of the critics takes: n excerpts of each."""

    mixtures: Tensor
    """Unlabelled, with context, as the separator sees them (n, …)."""
    real: Mapping[str, Tensor]
    """Source to recordings of it as critics see them, log magnitudes (n, bins, frames) or samples
    (n, samples), unpaired with the mixtures."""
    epsilon: Mapping[str, Tensor]
    """Source to where the penalty's interpolates lie (n,)."""
    phases: Tensor | None = None
    """Of the mixtures, without context, where critics need them (`networks.sight`)."""


class SeparatorBatch(NamedTuple):
    """What one update of the separator takes: n excerpts of each."""

    mixtures: Tensor
    """Supervised, with context, as the separator sees them (n, …)."""
    sources: Tensor
    """Of these mixtures, as it gives them (n, sources, …)."""
    unlabelled: Tensor | None = None
    """Other mixtures with context; None for a purely supervised model."""
    spectra: Tensor | None = None
    """For a teacher that remixes: complex spectra or waveforms of unlabelled mixtures, with twice the
    context, and as many frames more as its network needs."""
    permutations: Tensor | None = None
    """And of which excerpt each source is taken (sources, n)."""
    pairs: tuple[Tensor, Tensor] | None = None
    """For mixture invariant training: sums of two unlabelled mixtures with context (n, …), and the
    two (n, 2, …)."""
    phases: Tensor | None = None
    """Of the unlabelled mixtures, without context, where critics need them (`networks.sight`)."""


@dataclass(frozen=True)
class Batches:
    """Every batch that training draws, by stream and step (paper, section 4.3)."""

    seed: int
    batch_size: int
    gain: tuple[float, float]
    supervised: Pool
    """Kinds: the mixture, then every source."""
    mixtures: Pool | None = None
    """Unlabelled mixtures, as `sight.drawn` says; None for a purely supervised model."""
    recordings: Mapping[int, Pool] = field(default_factory=dict)
    """A source alone as critics see it, for each source that has a critic, by its number."""
    part: slice = field(default_factory=lambda: slice(None))
    """Which excerpts of every batch are handed out: those of one of several processes."""
    mixer: Mixer | None = None
    """Draws supervised excerpts in place of `supervised`."""
    representation: Representation = LOG_MAGNITUDES
    """What the separator sees and gives."""
    remixes: HeardMixtures | None = None
    sums: HeardMixtures | None = None
    """What draws `spectra`, and `pairs`, of batches that have them."""
    seen: Representation = LOG_MAGNITUDES
    """What critics see."""

    def for_critics(self, step: int, numbers: Mapping[str, int]) -> CriticBatch:
        """numbers: of the sources that have a critic, by name."""
        mixtures, phases = self._mixture("critics", step)
        return CriticBatch(
            mixtures,
            {source: self.real(number, step) for source, number in numbers.items()},
            {source: self.epsilon(number, step) for source, number in numbers.items()},
            phases,
        )

    def for_separator(self, step: int) -> SeparatorBatch:
        unlabelled = phases = None
        if self.mixtures is not None:
            unlabelled, phases = self._mixture("separator", step)
        drawn = (self.seed, step, self.batch_size, self.part)
        spectra, permutations = self.remixes.shuffled(*drawn) if self.remixes else (None, None)
        pairs = self.sums.summed(*drawn) if self.sums else None
        return SeparatorBatch(*self.paired(step), unlabelled, spectra, permutations, pairs, phases)

    def paired(self, step: int) -> tuple[Tensor, Tensor]:
        """Mixtures with context (n, …) and their sources (n, sources, …)."""
        if self.mixer:
            return self.mixer.paired(self.seed, step, self.batch_size, self.part)
        pool = self.supervised
        starts = pool.draw(generator(self.seed, "supervised", step), self.batch_size)[self.part]
        return pool.gather(starts, 0, context=True), pool.gather_sources(starts)

    def mixture(self, stream: str, step: int) -> Tensor:
        """Unlabelled mixtures with context, each at a random level (n, …)."""
        return self._mixture(stream, step)[0]

    def _mixture(self, stream: str, step: int) -> tuple[Tensor, Tensor | None]:
        """The same, and their phases."""
        assert self.mixtures is not None
        kind = sight.drawn(self.representation, self.seen)
        excerpts = self._unpaired(self.mixtures, f"mixture/{stream}", step, kind, context=True)
        return sight.of_mixtures(excerpts, self.mixtures.context, self.representation, self.seen)

    def real(self, source: int, step: int) -> Tensor:
        """Real recordings of a source, each at a random level, as critics see them (n, …).

        Drawn independently of the mixtures: unpaired is the method's premise.
        """
        pool = self.recordings[source]
        excerpts = self._unpaired(pool, f"real/{source}", step, self.seen, context=False)
        return sight.of_real(excerpts, self.seen)

    def epsilon(self, source: int, step: int) -> Tensor:
        """Where the penalty's interpolates lie (n,)."""
        random = generator(self.seed, f"epsilon/{source}", step)
        return torch.from_numpy(random.random(self.batch_size, dtype=np.float32)[self.part])

    def _unpaired(
        self, pool: Pool, stream: str, step: int, kind: Representation, context: bool
    ) -> Tensor:
        """Excerpts of a pool, each at a random level (n, …); kind: of what the pool holds."""
        random = generator(self.seed, stream, step)
        starts = pool.draw(random, self.batch_size)[self.part]
        gains = torch.from_numpy(random.uniform(*self.gain, self.batch_size).astype(np.float32))
        gains = gains[self.part]
        excerpts = pool.gather(starts, 0, context=context)
        return kind.amplified(excerpts, gains.to(excerpts.device))


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

    def _unpaired(
        self, pool: Pool, stream: str, step: int, kind: Representation, context: bool
    ) -> Tensor:
        draw = super()._unpaired
        batch: Tensor = self._take(draw, pool, stream, step=step, kind=kind, context=context)
        return batch

    def _take(self, draw: Callable[..., Any], *stream: Any, step: int, **options: Any) -> Any:
        key = (draw.__name__, stream[1:])
        waiting = self._coming.pop((*key, step), None)
        batch = waiting.result() if waiting else draw(*stream, step=step, **options)
        coming = self._background.submit(draw, *stream, step=step + 1, **options)
        self._coming[(*key, step + 1)] = coming
        return batch
