"""Estimates without a model, from the true sources: the rows that frame the table.

All but the mixture itself keep the mixture's phase, as the models do, and differ in the magnitude
that they give it, cell by cell. S_k is the complex STFT of source k, X that of the mixture:

    irm        |X| |S_k| / sum over j of |S_j|
    magnitude  |S_k|
    oracle     max(0, Re(S_k e^(-i phase(X))))

The last is the truncated phase-sensitive filter of Erdogan, Hershey, Watanabe and Le Roux, ICASSP
2015: in each cell, of all magnitudes the one with the smallest |magnitude e^(i phase(X)) - S_k|. It
is no upper bound: windows overlap, and magnitudes that are fitted to the waveform all at once reach
about 1 dB more SDR.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.features.stft import reconstruct, stft
from pipeline.params import Signal
from pipeline.tracks import MIXTURE, mixture_of

FloatArray = NDArray[np.float32]


def reference_estimates(row: str, sources: FloatArray, signal: Signal) -> FloatArray:
    """The estimates of one of `params.REFERENCE_ROWS`; sources and result (sources, samples)."""
    mixture = mixture_of(sources)
    if row == MIXTURE:
        return np.repeat(mixture[None], len(sources), axis=0)
    spectrum = stft(torch.from_numpy(mixture), signal)  # (bins, frames)
    magnitudes = MAGNITUDES[row](stft(torch.from_numpy(sources), signal), spectrum)
    estimates = reconstruct(torch.log1p(magnitudes), spectrum, signal)
    return estimates[:, : len(mixture)].numpy()


def ratio_mask(sources: Tensor, mixture: Tensor) -> Tensor:
    """Of spectra (sources, bins, frames) and the mixture's (bins, frames): (sources, bins, frames)."""
    magnitudes = sources.abs()
    return magnitudes / magnitudes.sum(dim=0).clamp_min(SMALLEST) * mixture.abs()


def true_magnitude(sources: Tensor, mixture: Tensor) -> Tensor:
    """The same shapes."""
    return sources.abs()


def phase_sensitive(sources: Tensor, mixture: Tensor) -> Tensor:
    """The same shapes. Where the mixture is zero it has no phase, and this is zero."""
    phase = mixture / mixture.abs().clamp_min(SMALLEST)
    return (sources * phase.conj()).real.clamp_min(0)


SMALLEST = torch.finfo(torch.float32).tiny
MAGNITUDES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "irm": ratio_mask,
    "magnitude": true_magnitude,
    "oracle": phase_sensitive,
}
