"""BSS Eval v3, "sources" variant, of a whole signal: museval's numbers, each step done once.

Vincent, Gribonval, Fevotte: Performance measurement in blind audio source separation, IEEE Trans.
on Audio, Speech and Language Processing 14(4), 2006.

The normal equations of music at 8 kHz are so badly conditioned (1e15) that the order of a sum moves
an SIR by some 1e-6 dB. So their numbers are computed by museval's own operations, bit for bit: FFTs
of the whole signals, and a solution for one estimate at a time. The rest is free of that and is done
block by block in the processor's cache. `scripts/confirm-scores` compares.
"""

from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft, ifft, irfft, next_fast_len, rfft
from scipy.linalg import toeplitz

POINTS = 2**13
"""Of a block's FFT unless the filter is long or the signal short: the fastest of 2**12 to 2**16."""

RATIOS = ("SDR", "SIR", "SAR")
"""What `energy_ratios` gives."""

Waveforms = NDArray[np.floating[Any]]
"""(sources, samples)"""
Values = NDArray[np.float64]
Spectrum = NDArray[np.complex128]


def energy_ratios(
    references: Waveforms, estimates: Waveforms, filter_length: int
) -> tuple[Values, Values, Values]:
    """(SDR, SIR, SAR) in dB, each (sources,), of arrays (sources, samples).

    With P_j the least-squares projection of estimate j on all references delayed by 0 to
    filter_length - 1 samples, and S_j that on reference j alone (all filter_length - 1 samples
    longer than the waveforms):

        SDR = |S_j|^2 / |estimate - S_j|^2    error: anything but the filtered source
        SIR = |S_j|^2 / |P_j - S_j|^2         interference: from the other references
        SAR = |P_j|^2 / |estimate - P_j|^2    artifacts: from no reference

    A ratio is infinite when the energy below is zero, as SIR is for a single source, and minus
    infinity when only the one above is. Where references hold nothing in a band, not even the noise
    of 16 bits, their Gram matrix is singular in double precision, and the last digits of SIR and
    SAR, or all of them, are rounding; museval's too.
    """
    samples = references.shape[1]
    points = next_fast_len(min(max(POINTS, 4 * filter_length), samples + filter_length - 1), True)
    equations = _normal_equations(references, estimates, filter_length)
    together, alone = _distortion_filters(*equations)
    energies = np.zeros((5, len(references)))
    for estimate, projection, own in _projections(references, estimates, together, alone, points):
        parts = (own, projection, estimate - own, projection - own, estimate - projection)
        energies += [np.einsum("jt,jt->j", part, part) for part in parts]
    target, explained, *errors = energies
    sdr, sir, sar = map(_decibels, (target, target, explained), errors)
    return sdr, sir, sar


def _normal_equations(
    references: Waveforms, estimates: Waveforms, taps: int
) -> tuple[Values, Values]:
    """Gram matrices of the delayed references, and the estimates' products with these.

    [i, j, m, n]: of reference i delayed by m and reference j by n (sources, sources, taps, taps).
    [i, j, m]: of reference i delayed by m and estimate j (sources, sources, taps).
    """
    sources, samples = references.shape
    points = 2 ** int(np.ceil(np.log2(samples + taps - 1)))
    spectra = [fft(reference.astype(np.float64), points) for reference in references]
    gram = np.empty((sources, sources, taps, taps))
    crossed = np.empty((sources, sources, taps))
    for i, j in combinations_with_replacement(range(sources), 2):
        ahead, behind = _both_ways(spectra[j], spectra[i], taps)
        # of a reference with itself the two differ in rounding, and museval keeps them apart
        gram[j, i] = toeplitz(behind, ahead)
        gram[i, j] = gram[j, i].T.copy()
    for j, estimate in enumerate(estimates):
        spectrum = fft(estimate.astype(np.float64), points)
        for i in range(sources):
            _, crossed[i, j] = _both_ways(spectra[i], spectrum, taps)
    return gram, crossed


def _both_ways(first: Spectrum, second: Spectrum, taps: int) -> tuple[Values, Values]:
    """Sums over t of first[t + lag] * second[t] for the lags 0 to taps - 1, and 0 to 1 - taps."""
    # not in place: numpy's other loop rounds otherwise
    correlation = ifft(first * np.conjugate(second), overwrite_x=True).real
    return correlation[:taps], np.concatenate([correlation[:1], correlation[:-taps:-1]])


def _distortion_filters(gram: Values, crossed: Values) -> tuple[Values, Values]:
    """Least-squares filters that make each estimate from all references, and from its own alone.

    Returns [j, i, tap] from reference i to estimate j (sources, sources, taps) and (sources, taps).
    """
    sources, taps = crossed.shape[1:]
    alone = [_least_squares(gram[j, j], crossed[j, j]) for j in range(sources)]
    if sources == 1:
        return np.array([alone]), np.array(alone)
    whole = np.moveaxis(gram, 1, 2).reshape(sources * taps, sources * taps)
    together = [_least_squares(whole, crossed[:, j].reshape(-1)) for j in range(sources)]
    return np.array(together).reshape(sources, sources, taps), np.array(alone)


def _least_squares(gram: Values, crossed: Values) -> Values:
    """Solve the normal equations, as museval does; by its second way where they are singular."""
    try:
        filters = np.linalg.solve(gram + np.finfo(float).eps * np.eye(len(gram)), crossed)
    except np.linalg.LinAlgError:
        filters = np.linalg.lstsq(gram, crossed)[0]
    return np.asarray(filters, np.float64)


def _projections(
    references: Waveforms, estimates: Waveforms, together: Values, alone: Values, points: int
) -> Iterator[tuple[Values, Values, Values]]:
    """Blocks (sources, samples), one after another, of the estimates, P and S (`energy_ratios`)."""
    sources, samples = references.shape
    taps = alone.shape[-1]
    hop = points - taps + 1
    all_filters, own_filters = rfft(together, points), rfft(alone, points)
    delayed, heard = np.empty((sources, points)), np.empty((sources, hop))
    products = np.empty((2 * sources, points // 2 + 1), complex)
    for start in range(0, samples + taps - 1, hop):
        # Convolution comes round into the first taps - 1 samples: overlap and save the others.
        _read(references, start - taps + 1, delayed)
        spectra = rfft(delayed)
        np.einsum("jif,if->jf", all_filters, spectra, out=products[:sources])
        np.multiply(own_filters, spectra, out=products[sources:])
        filtered = irfft(products, points)[:, taps - 1 :]
        own = filtered[sources:]
        # A single source explains alone what all explain: no rounding may say otherwise.
        projection = filtered[:sources] if sources > 1 else own
        _read(estimates, start, heard)
        # Of the last block no more than the waveforms' length: beyond it is rounding of zero.
        kept = slice(samples + taps - 1 - start)
        yield heard[:, kept], projection[:, kept], own[:, kept]


def _read(waveforms: Waveforms, start: int, into: Values) -> None:
    """Samples from `start` on, in double precision; zeros before the first and after the last."""
    piece = waveforms[:, max(start, 0) : max(start + into.shape[1], 0)]
    before = min(max(-start, 0), into.shape[1])
    into[:, :before] = 0
    into[:, before : before + piece.shape[1]] = piece
    into[:, before + piece.shape[1] :] = 0


def _decibels(above: Values, below: Values) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: Values = 10 * np.log10(above / below)
    return np.where(below == 0, np.inf, ratios)
