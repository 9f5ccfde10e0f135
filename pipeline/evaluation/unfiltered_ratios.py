"""Ratios that forgive no filter: SNR, uSDR, SI-SDR, and the SDR of BSS Eval v4 over frames.

All of them follow from a few energies of one-second frames, read once. Waveforms are (sources,
samples), or (sources, samples, channels): energies are then sums over channels, as in the images
version of BSS Eval.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.bss_eval import Values, Waveforms, decibels

MDX_DELTA = 1e-7
"""What the Music Demixing Challenge adds to both energies of a track."""
CANCELLED = 1e-6
"""Of an energy: a smaller difference of two has fewer than nine digits, and is not taken as such."""


class Energies(NamedTuple):
    """Sums over the samples of frames, one after another, the last one short: (sources, frames)."""

    reference: Values
    """|s|^2"""
    estimate: Values
    """|e|^2"""
    error: Values
    """|s - e|^2"""
    product: Values
    """<s, s - e>"""
    scaled_error: Values
    """(sources,): |a s - e|^2 of the whole track, with the gain a that makes it smallest."""
    whole: int
    """How many frames have their full length: 1 where the track is shorter than a frame."""


def energies(references: Waveforms, estimates: Waveforms, frame: int) -> Energies:
    """Those of frames of `frame` samples."""
    sources, samples = references.shape[:2]
    shape = sources, -(-samples // frame)
    reference, estimate, error, product = (np.empty(shape) for _ in range(4))
    for k, (s, e) in enumerate(_frames(references, estimates, frame)):
        d = s - e
        reference[:, k], estimate[:, k] = np.vecdot(s, s), np.vecdot(e, e)
        error[:, k], product[:, k] = np.vecdot(d, d), np.vecdot(s, d)
    share = product.sum(axis=1) / reference.sum(axis=1)  # 1 - a
    whole_error = error.sum(axis=1)
    scaled_error = whole_error - share * product.sum(axis=1)
    rounding = scaled_error < CANCELLED * whole_error
    if rounding.any():
        scaled_error[rounding] = 0
        for s, e in _frames(references[rounding], estimates[rounding], frame):
            d = (1 - share[rounding, None]) * s - e
            scaled_error[rounding] += np.vecdot(d, d)
    whole = max(samples // frame, 1)
    return Energies(reference, estimate, error, product, scaled_error, whole)


def _frames(
    references: Waveforms, estimates: Waveforms, frame: int
) -> Iterator[tuple[Values, Values]]:
    """Both (sources, samples of all channels) in double precision."""
    for start in range(0, references.shape[1], frame):
        parts = (one[:, start : start + frame] for one in (references, estimates))
        s, e = (part.reshape(len(part), -1).astype(np.float64) for part in parts)
        yield s, e


def signal_to_noise(of: Energies) -> Values:
    """SNR (sources,): |s|^2 / |s - e|^2 in dB, of the whole track."""
    return decibels(of.reference.sum(axis=1), of.error.sum(axis=1))


def challenge_sdr(of: Energies) -> Values:
    """uSDR (sources,): (|s|^2 + d) / (|s - e|^2 + d) in dB, d = MDX_DELTA, of the whole track.

    "SDR" of Mitsufuji et al.: Music Demixing Challenge 2021, Frontiers in Signal Processing 1, 2022;
    "uSDR" (of an utterance) of Luo and Yu: Music source separation with band-split RNN, IEEE/ACM
    Trans. on Audio, Speech, and Language Processing 31, 2023.
    """
    return decibels(of.reference.sum(axis=1) + MDX_DELTA, of.error.sum(axis=1) + MDX_DELTA)


def scale_invariant_sdr(of: Energies) -> Values:
    """SI-SDR (sources,): |a s|^2 / |a s - e|^2 in dB, a = <s, e> / |s|^2, of the whole track.

    Le Roux, Wisdom, Erdogan and Hershey: SDR - half-baked or well done?, ICASSP 2019. As there, no
    mean is subtracted: an offset of the estimate is an error of it, and recordings have none.
    """
    reference = of.reference.sum(axis=1)
    explained = (reference - of.product.sum(axis=1)) ** 2 / reference
    return decibels(explained, of.scaled_error)


def framewise_sdr(of: Energies) -> Values:
    """SDR of BSS Eval v4 (sources,): the median over whole frames of |s|^2 / |s - e|^2 in dB.

    Stoter, Liutkus and Ito: The 2018 Signal Separation Evaluation Campaign, LVA/ICA 2018; museval's
    `evaluate`. Its filters (one for the whole track) divide the error among ISR, SIR and SAR; the SDR
    has all of it, whatever they are. As there, frames in which any reference or estimate is silent
    count for no source, infinite ones do not count, and a shorter last frame does not either. A
    track shorter than a frame is one. NaN where no frame counts; infinite where all are.
    """
    reference, estimate, error = (
        part[:, : of.whole] for part in (of.reference, of.estimate, of.error)
    )
    heard = ((reference > 0) & (estimate > 0)).all(axis=0)
    ratios = decibels(reference[:, heard], error[:, heard])
    finite = np.isfinite(ratios)
    medians = [
        np.median(row[own]) if own.any() else np.nan
        for row, own in zip(ratios, finite, strict=True)
    ]
    exact = heard.any() & ~finite.any(axis=1)
    return np.where(exact, np.inf, medians)
