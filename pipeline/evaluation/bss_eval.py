"""BSS Eval v3, "sources" variant, of a whole signal: museval's numbers, each step done once.

Vincent, Gribonval, Fevotte: Performance measurement in blind audio source separation, IEEE Trans.
on Audio, Speech and Language Processing 14(4), 2006.

What depends on the references alone is computed once a track: a Cholesky factorisation, which all
estimates of short signals share. It goes with a bound on what rounding does to each ratio.

Where the bound is too large, as the normal equations of some music at 8 kHz are so badly conditioned
(1e15) that the order of a sum moves an SIR by 1e-6 dB and more, museval's own operations are
repeated, bit for bit: FFTs of the whole signals, and a solution for one estimate at a time. The rest
is free of that and is done block by block in the processor's cache. `scripts/confirm-scores`
compares.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import cache, cached_property
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft, ifft, irfft, next_fast_len, rfft
from scipy.linalg import LinAlgError, cho_factor, cho_solve, toeplitz
from scipy.linalg.lapack import dgetrf, dgetrs

POINTS = 2**13
"""Of a block's FFT unless the filter is long or the signal short: the fastest of 2**12 to 2**16."""

SHORT = 2**18
"""Samples. Of longer signals the FFTs take most of the time, and their spectra much memory."""
CERTAIN = 4e-6
"""The largest bound (`Factorised`) that will do. Chosen on 99 recordings: no ratio within it was
further from museval's than 3.3e-7 dB, and within 1e-5 than 7.4e-7 dB. Then, on the 368 test clips of
mir1k with the five seeds of VA, the furthest was 3.6e-7 dB."""
ROUNDING = 110.0
"""dB. An error so small is rounding, to museval too (`scoring.CEILING` is 100)."""

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
    known = _known(references, filter_length)
    if references.shape[1] <= SHORT and known.factorised:
        with np.errstate(divide="ignore", invalid="ignore"):
            found = known.factorised.energy_ratios(estimates)
        if found:
            return found
    return _ratios_in_time(references, estimates, *known.equations.distortion_filters(estimates))


class Known:
    """What is known of references, computed when it is first needed."""

    def __init__(self, references: Waveforms, taps: int) -> None:
        self.references, self.taps = references, taps

    @cached_property
    def factorised(self) -> "Factorised | None":
        with suppress(LinAlgError):
            return Factorised(self.references, self.taps)
        return None

    @cached_property
    def equations(self) -> "NormalEquations":
        return NormalEquations(self.references, self.taps)


_kept: list[Known] = []
"""Of the latest short references: all seeds of a row are scored on a track before the next."""


def _known(references: Waveforms, taps: int) -> Known:
    if _kept and _kept[0].taps == taps and np.array_equal(_kept[0].references, references):
        return _kept[0]
    _kept.clear()
    if references.shape[1] > SHORT:
        return Known(references, taps)
    _kept.append(Known(references.copy(), taps))
    return _kept[0]


class Factorised:
    """Spectra of references, and Cholesky factors of the Gram matrix of these, delayed."""

    def __init__(self, references: Waveforms, taps: int) -> None:
        """Raises LinAlgError where the Gram matrix is not positive definite in double precision."""
        self.references, self.taps = references, taps
        sources, samples = references.shape
        self.points = next_fast_len(samples + taps - 1, True)
        self.spectra = rfft(references.astype(np.float64), self.points)
        transposed = np.empty((sources * taps, sources * taps))
        blocks = transposed.reshape(sources, taps, sources, taps)
        self.norm = 0.0
        for i, j in combinations_with_replacement(range(sources), 2):
            product = irfft(self.spectra[j] * self.spectra[i].conj(), self.points)
            ahead, behind = product[:taps], np.append(product[0], product[:-taps:-1])
            blocks[j, :, i] = toeplitz(behind, ahead)
            if i != j:
                blocks[i, :, j] = blocks[j, :, i].T
            self.norm += np.abs(ahead).sum() + np.abs(behind).sum()
        transposed.flat[:: len(transposed) + 1] += np.finfo(float).eps
        # columns lie one behind the other, as LAPACK wants them: it would copy anything else
        others = [blocks[j, :, j].copy().T for j in range(1, sources)]
        self.whole = cho_factor(transposed.T, True, overwrite_a=True, check_finite=False)
        own = self.whole[0][:taps, :taps].copy(order="F")  # no reference is before the first
        self.own = [(own, True)]
        self.own += [cho_factor(one, True, overwrite_a=True, check_finite=False) for one in others]

    def energy_ratios(self, estimates: Waveforms) -> tuple[Values, Values, Values] | None:
        """`energy_ratios`; None where rounding might move one by more than CERTAIN.

        |P|^2 and |S|^2 are the products of the filters with the right-hand sides. Rounding, museval's
        as well as ours, moves them by some eps |G| |filter|^2. On recordings, with condition numbers
        of 1e9 to 1e15, the differences were 1e-13 to 1e-4 dB, and below this bound.
        """
        sources, taps = len(self.references), self.taps
        estimates = estimates.astype(np.float64)
        heard = rfft(estimates, self.points)
        crossed = np.empty((sources, sources, taps))
        """[j, i, m]: of estimate j and reference i delayed by m."""
        for j, i in np.ndindex(sources, sources):
            crossed[j, i] = irfft(heard[j] * self.spectra[i].conj(), self.points)[:taps]
        sides = crossed.reshape(sources, -1)
        together = cho_solve(self.whole, sides.T, check_finite=False).T
        alone = together
        if sources > 1:
            pairs = [(one, crossed[j, j]) for j, one in enumerate(self.own)]
            alone = np.array([cho_solve(*pair, check_finite=False) for pair in pairs])
        energy = np.einsum("jt,jt->j", estimates, estimates)
        explained = np.einsum("jm,jm->j", together, sides)
        target = np.einsum("jm,jjm->j", alone, crossed)
        above = np.array([target, target, explained])
        below = np.array([energy - target, explained - target, energy - explained])
        gain = np.maximum(*(np.einsum("jm,jm->j", one, one) for one in (together, alone)))
        # 50, 1000: museval adds eps to the diagonal; right-hand sides are rounded as well
        moved = np.finfo(float).eps * ((self.norm + 50) * gain + 1000 * energy)
        certain = (above > 0) & (below > 0) & (moved / above + moved / below < CERTAIN)
        if sources == 1:
            certain[1], below[1] = True, 0  # nothing interferes
        if certain.all():
            sdr, sir, sar = map(decibels, above, below)
            return sdr, sir, sar
        # A mixture as the estimate has no artifacts: their energy is rounding, and tiny in time.
        if certain[:2].all() and (moved / above < CERTAIN).all():
            shape = sources, sources, taps
            found = _ratios_in_time(self.references, estimates, together.reshape(shape), alone)
            if (certain[2] | (found[2] > ROUNDING)).all():
                return found
        return None


def _ratios_in_time(
    references: Waveforms, estimates: Waveforms, together: Values, alone: Values
) -> tuple[Values, Values, Values]:
    """The ratios of what these filters make of the references."""
    filter_length = alone.shape[-1]
    samples = references.shape[1]
    points = next_fast_len(min(max(POINTS, 4 * filter_length), samples + filter_length - 1), True)
    energies = np.zeros((5, len(references)))
    for estimate, projection, own in _projections(references, estimates, together, alone, points):
        parts = (own, projection, estimate - own, projection - own, estimate - projection)
        energies += [np.einsum("jt,jt->j", part, part) for part in parts]
    target, explained, *errors = energies
    sdr, sir, sar = map(decibels, (target, target, explained), errors)
    return sdr, sir, sar


class NormalEquations:
    """The least-squares problem, by museval's own operations."""

    def __init__(self, references: Waveforms, taps: int) -> None:
        sources, samples = references.shape
        self.taps, self.points = taps, 2 ** int(np.ceil(np.log2(samples + taps - 1)))
        self.spectra = [fft(one.astype(np.float64), self.points) for one in references]
        transposed = np.empty((sources, taps, sources, taps))
        """[j, n, i, m]: of reference i delayed by m and reference j by n."""
        for i, j in combinations_with_replacement(range(sources), 2):
            ahead, behind = _both_ways(self.spectra[j], self.spectra[i], taps)
            # of a reference with itself the two differ in rounding, and museval keeps them apart
            transposed[i, :, j] = toeplitz(ahead, behind)
            transposed[j, :, i] = transposed[i, :, j].T.copy()
        self.own = [LeastSquares(transposed[j, :, j].copy().T) for j in range(sources)]
        if sources > 1:
            self.whole = LeastSquares(transposed.reshape(sources * taps, sources * taps).T)

    def distortion_filters(self, estimates: Waveforms) -> tuple[Values, Values]:
        """Filters that make each estimate from all references, and from its own alone.

        Returns [j, i, tap] from reference i to estimate j (sources, sources, taps), and
        (sources, taps).
        """
        sources = len(estimates)
        crossed = np.empty((sources, sources, self.taps))
        """[j, i, m]: of estimate j and reference i delayed by m."""
        for j, estimate in enumerate(estimates):
            spectrum = fft(estimate.astype(np.float64), self.points)
            for i in range(sources):
                _, crossed[j, i] = _both_ways(self.spectra[i], spectrum, self.taps)
        alone = np.array([self.own[j].solve(crossed[j, j]) for j in range(sources)])
        if sources == 1:
            return alone[None], alone
        together = [self.whole.solve(one.reshape(-1)) for one in crossed]
        return np.array(together).reshape(crossed.shape), alone


class LeastSquares:
    """Solves normal equations as museval does; by its second way where they are singular."""

    def __init__(self, gram: Values) -> None:
        self.gram = gram
        self.factors: tuple[Values, NDArray[np.int_]] | None = None
        if _factors_as_numpy(len(gram)):
            *factors, singular = dgetrf(self._regular(), overwrite_a=True)
            self.factors = None if singular else tuple(factors)

    def _regular(self) -> Values:
        regular = self.gram.copy(order="F")  # LAPACK would copy anything else
        regular.flat[:: len(regular) + 1] += np.finfo(float).eps
        return regular

    def solve(self, crossed: Values) -> Values:
        if self.factors:
            return np.asarray(dgetrs(*self.factors, crossed)[0])
        try:
            filters = np.linalg.solve(self._regular(), crossed)
        except np.linalg.LinAlgError:
            filters = np.linalg.lstsq(self.gram, crossed)[0]
        return np.asarray(filters, np.float64)


@cache
def _factors_as_numpy(size: int) -> bool:
    """Whether factors that are kept solve a system with the bits of NumPy, which keeps none.

    NumPy and SciPy bring a LAPACK each. With `arithmetic: portable` both use the same loops.
    """
    random = np.random.default_rng(0)
    matrix, side = random.standard_normal((size, size)), random.standard_normal(size)
    *factors, _ = dgetrf(matrix)
    return np.array_equal(dgetrs(*factors, side)[0], np.linalg.solve(matrix, side))


def _both_ways(first: Spectrum, second: Spectrum, taps: int) -> tuple[Values, Values]:
    """Sums over t of first[t + lag] * second[t] for the lags 0 to taps - 1, and 0 to 1 - taps."""
    # not in place: numpy's other loop rounds otherwise
    correlation = ifft(first * np.conjugate(second), overwrite_x=True).real
    return correlation[:taps], np.concatenate([correlation[:1], correlation[:-taps:-1]])


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


def decibels(above: Values, below: Values) -> Values:
    """The ratio of energies in dB; infinite where the one below is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: Values = 10 * np.log10(above / below)
    return np.where(below == 0, np.inf, ratios)
