"""What a separator sees of a mixture and gives of its sources, and the ways between both kinds.

Whatever it is, additivity and tables of masks need log magnitudes of the estimates, and critics these
or waveforms: they are computed from them, differentiably.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.features.stft import log_magnitude, reconstruct, stft_of_padded
from pipeline.params import Signal


class Representation(Protocol):
    """One kind of excerpts, of any leading axes."""

    waveform: bool
    """Whether they are samples."""

    def log_magnitudes(self, excerpts: Tensor) -> Tensor:
        """The log magnitudes (…, bins, frames) of excerpts."""
        ...

    def linear(self, excerpts: Tensor) -> Tensor:
        """What can be summed over sources, of the same shape; samples, or magnitudes (eq. 5)."""
        ...

    def of_linear(self, summed: Tensor) -> Tensor:
        """The way back."""
        ...

    def amplified(self, excerpts: Tensor, gains: Tensor) -> Tensor:
        """Excerpts (n, …) as they are at other levels; gains (n,)."""
        ...

    def inside(self, excerpts: Tensor, context: int) -> Tensor:
        """Excerpts without `context` frames on both sides."""
        ...


class LogMagnitudes:
    """Excerpts are log(1 + magnitude) (…, bins, frames); estimates take the mixture's phase."""

    waveform = False

    def log_magnitudes(self, excerpts: Tensor) -> Tensor:
        return excerpts

    def linear(self, excerpts: Tensor) -> Tensor:
        return torch.expm1(excerpts)

    def of_linear(self, summed: Tensor) -> Tensor:
        return torch.log1p(summed)

    def amplified(self, excerpts: Tensor, gains: Tensor) -> Tensor:
        gains = gains.view(-1, *[1] * (excerpts.dim() - 1))
        return torch.expm1(excerpts).mul_(gains).log1p_()

    def inside(self, excerpts: Tensor, context: int) -> Tensor:
        return _inner(excerpts, context)


@dataclass(frozen=True)
class Waveforms:
    """Excerpts are the samples (…, signal.samples(frames)) that the windows of their frames cover."""

    signal: Signal
    waveform = True

    def log_magnitudes(self, excerpts: Tensor) -> Tensor:
        return log_magnitude(self.spectra(excerpts))

    def spectra(self, excerpts: Tensor) -> Tensor:
        """Complex (…, bins, frames)."""
        return stft_of_padded(excerpts, self.signal)

    def covered(self, excerpts: Tensor) -> Tensor:
        """Of excerpts the samples (…, signal.covered(frames)) that all the windows over them cover."""
        return _inner(excerpts, self.signal.fft_size // 2 + self._half_covered)

    def reconstructed(self, log_magnitudes: Tensor, phases: Tensor) -> Tensor:
        """The same samples of estimates (…, bins, frames) with the phase of complex spectra.

        What `covered` leaves out of an estimate would be known from a part of its windows alone.
        """
        return _inner(reconstruct(log_magnitudes, phases, self.signal), self._half_covered)

    @property
    def _half_covered(self) -> int:
        """Samples between the first frame's centre and the first one that all windows cover."""
        return (self.signal.reach - 1) * self.signal.hop_size

    def linear(self, excerpts: Tensor) -> Tensor:
        return excerpts

    def of_linear(self, summed: Tensor) -> Tensor:
        return summed

    def amplified(self, excerpts: Tensor, gains: Tensor) -> Tensor:
        return excerpts * gains.view(-1, *[1] * (excerpts.dim() - 1))

    def inside(self, excerpts: Tensor, context: int) -> Tensor:
        return _inner(excerpts, context * self.signal.hop_size)


def _inner(excerpts: Tensor, cut: int) -> Tensor:
    return excerpts[..., cut : excerpts.shape[-1] - cut]


LOG_MAGNITUDES = LogMagnitudes()
