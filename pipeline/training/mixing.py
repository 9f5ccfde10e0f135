"""Supervised excerpts that are mixed as they are drawn, from waveforms.

Random mixing: Uhlich et al., Improving music source separation based on deep neural networks through
data augmentation and network blending, ICASSP 2017, section 3.1 (sources of different songs, random
levels); the paper's introduction argues against it. Solo mixing: the same with unpaired recordings of
a source alone. Without either, level and speed of an excerpt change and its song stays coherent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

import numpy as np
import torch
from torch import Tensor
from torchaudio.functional import resample

from pipeline.features.stft import log_magnitude, stft_of_padded
from pipeline.networks.representations import LOG_MAGNITUDES, Representation
from pipeline.params import Signal
from pipeline.training.pools import Pool, generator
from pipeline.ways import Augmentation

PERCENT = 100
"""Speeds are whole percents: a resampler has a filter for each ratio."""
UNCHANGED: tuple[float, list[float] | None, float] = (0.0, None, 0.0)
"""What `Augmentation` says by default."""


def margin(speed: float, frames: int) -> int:
    """Frames on both sides of `frames` that an excerpt of them takes more when it is faster."""
    return ceil((frames + 1) * speed / 2) + 1 if speed else 0


@dataclass(frozen=True)
class Mixer:
    """Draws what `Batches.paired` gives, from waveforms: of supervised tracks, and of solo recordings."""

    signal: Signal
    context: int
    """Frames of mixture around an excerpt."""
    sounds: Pool
    """Every source of the supervised tracks, as waveforms."""
    augmentation: Augmentation | None = None
    share: float = 0.0
    """Of the excerpts, those that hold solo recordings."""
    representation: Representation = LOG_MAGNITUDES
    """What the separator sees."""
    solos: Mapping[int, Pool] = field(default_factory=dict)
    """The unlabelled recordings of a source alone, by its number, as waveforms."""

    def paired(self, seed: int, step: int, count: int, part: slice) -> tuple[Tensor, Tensor]:
        """Mixtures with context (n, …) and their sources (n, sources, …).

        Of `count` excerpts those of `part`; before anything is changed the excerpts are those of a model
        that changes nothing.
        """
        mix, gain, speed = UNCHANGED
        if self.augmentation:
            mix, gain, speed = (getattr(self.augmentation, key) for key in ("mix", "gain", "speed"))
        starts = self.sounds.draw(generator(seed, "supervised", step), count)[part]
        mixed = torch.from_numpy(generator(seed, "mix", step).random(count)[part] < mix)
        solo = torch.from_numpy(generator(seed, "solo", step).random(count)[part] < self.share)
        waveforms = []
        for number in range(len(self.sounds.frames)):
            apart = self.sounds.draw(generator(seed, f"mix/{number}", step), count)[part]
            heard = self.sounds.gather(torch.where(mixed, apart, starts), number, True)
            if number in self.solos:
                pool = self.solos[number]
                alone = pool.draw(generator(seed, f"solo/{number}", step), count)[part]
                heard[solo] = pool.gather(alone[solo], 0, True)
            waveforms.append(heard)
        sources = torch.stack(waveforms, dim=1)  # (n, sources, samples)
        if gain:
            random = generator(seed, "level", step)
            levels = random.uniform(gain[0], gain[1], (count, sources.shape[1]))
            sources *= torch.from_numpy(levels.astype(np.float32)[part]).to(sources.device)[
                ..., None
            ]
        if speed:
            bound = int(speed * PERCENT)
            speeds = generator(seed, "speed", step).integers(-bound, bound + 1, count)[part]
            sources = self._at_speeds(sources, [int(one) for one in speeds])
        if self.representation.waveform:
            return sources.sum(dim=1), self.representation.inside(sources, self.context)
        spectra = stft_of_padded(sources, self.signal)  # (n, sources, bins, frames)
        inner = log_magnitude(spectra[..., self.context : -self.context])
        return log_magnitude(spectra.sum(dim=1)), inner

    def _at_speeds(self, sources: Tensor, percents: list[int]) -> Tensor:
        """Of waveforms (n, sources, samples) with a margin, stretches without, so much faster each."""
        extra = self.sounds.context - self.context
        samples = sources.shape[-1] - 2 * extra * self.signal.hop_size
        found = sources.new_empty((*sources.shape[:2], samples))
        for target, waveform, percent in zip(found, sources, percents, strict=True):
            changed = resample(waveform, PERCENT + percent, PERCENT) if percent else waveform
            begin = (changed.shape[-1] - samples) // 2
            target.copy_(changed[:, begin : begin + samples])
        return found


@dataclass(frozen=True)
class HeardMixtures:
    """Draws from the waveforms of unlabelled mixtures what is made of more than one of them."""

    signal: Signal
    gain: tuple[float, float]
    sounds: Pool
    """The mixtures as waveforms."""
    sources: int
    representation: Representation = LOG_MAGNITUDES
    """What the separator sees."""

    def shuffled(self, seed: int, step: int, count: int, part: slice) -> tuple[Tensor, Tensor]:
        """Mixtures at random levels, and for each source an order (sources, n).

        Mixtures are complex spectra (n, bins, frames) where the separator sees their magnitudes, else
        waveforms. The orders are of the excerpts in `part`: of several processes each mixes its own.
        """
        heard = self._waveforms(seed, "mixture/remix", step, count, part)
        if not self.representation.waveform:
            heard = stft_of_padded(heard, self.signal)
        random = generator(seed, "permutation", step)
        orders = [random.permutation(len(heard)) for _ in range(self.sources)]
        return heard, torch.from_numpy(np.stack(orders))

    def summed(self, seed: int, step: int, count: int, part: slice) -> tuple[Tensor, Tensor]:
        """Sums of two with context (n, …), and both without (n, 2, …)."""
        both = torch.stack(
            [self._waveforms(seed, f"mixture/sum/{k}", step, count, part) for k in range(2)], dim=1
        )
        context = self.sounds.context
        if self.representation.waveform:
            return both.sum(dim=1), self.representation.inside(both, context)
        spectra = stft_of_padded(both, self.signal)
        return log_magnitude(spectra.sum(dim=1)), log_magnitude(spectra[..., context:-context])

    def _waveforms(self, seed: int, stream: str, step: int, count: int, part: slice) -> Tensor:
        random = generator(seed, stream, step)
        starts = self.sounds.draw(random, count)[part]
        gains = torch.from_numpy(random.uniform(*self.gain, count).astype(np.float32))[part]
        waveforms = self.sounds.gather(starts, 0, True)
        return waveforms * gains.to(waveforms.device)[:, None]
