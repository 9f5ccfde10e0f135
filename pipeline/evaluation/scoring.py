"""BSS Eval of one track: how much of an estimate is the source, another source, or neither."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.bss_eval import energy_ratios

SILENT_REFERENCE = "silent reference"
SILENT_ESTIMATE = "silent estimate"
TOO_SHORT = "too short"
UNSCORED = (SILENT_REFERENCE, TOO_SHORT)
"""Notes of tracks that have no scores and are left out of every mean."""

CEILING = 100.0
"""dB. An error this small (the artifacts of a mixture taken as the estimate) is rounding: BSS Eval
then gives some 150 dB, whose digits depend on the processor."""

NOISE_SEED = 6_302_418_955_071
"""No round number: a signal made with the same seed would be "separated" by the noise."""

Signals = NDArray[np.floating[Any]]
Ratios = NDArray[np.float64]


class Score(NamedTuple):
    """What BSS Eval says of one source of one track; ratios in dB, NaN where it has none."""

    source: str
    SDR: float
    SIR: float
    SAR: float
    note: str
    """Empty, or SILENT_REFERENCE, SILENT_ESTIMATE, TOO_SHORT."""


def score_track(
    references: Signals, estimates: Signals, names: Sequence[str], filter_length: int = 512
) -> list[Score]:
    """Score all sources of a track, in the order of `names`; arrays are (sources, samples).

    A track has no scores (NaN, and a note on every row) when
    - a reference is silent: the ratios are undefined, and the paper leaves such tracks out (its 22
      instrumental pieces, section 4.1);
    - it has fewer than sources * filter_length samples: filtered references then explain any
      estimate, so the ratios (hundreds of dB) say nothing about it.
    A silent estimate is scored (see `bss_eval_sources`) and noted on its row. Finite ratios are cut
    at CEILING.
    Raises ValueError for a wrong shape and for NaN or infinite samples, naming the source.
    """
    _check(references, estimates, names)
    if _silent(references).any():
        note = SILENT_REFERENCE
    elif references.shape[1] < len(names) * filter_length:
        note = TOO_SHORT
    else:
        sdr, sir, sar = (
            np.where(np.isfinite(ratios), np.minimum(ratios, CEILING), ratios)
            for ratios in bss_eval_sources(references, estimates, filter_length)
        )
        notes = [SILENT_ESTIMATE if silent else "" for silent in _silent(estimates)]
        return [
            Score(name, float(sdr[k]), float(sir[k]), float(sar[k]), notes[k])
            for k, name in enumerate(names)
        ]
    return [Score(name, np.nan, np.nan, np.nan, note) for name in names]


def bss_eval_sources(
    references: Signals, estimates: Signals, filter_length: int = 512
) -> tuple[Ratios, Ratios, Ratios]:
    """(SDR, SIR, SAR) in dB, each (sources,), of arrays (sources, samples).

    BSS Eval v3, "sources" variant, over the whole signal, without permutation: row k compares
    estimate k with reference k, allowing for any filter of `filter_length` taps (paper, section
    4). museval's values; `scripts/confirm-scores` compares.

    SIR is infinite for a single source, and so is a ratio whose error is exactly zero. A silent
    estimate, which BSS Eval cannot score, is replaced by white noise of a fixed seed: it carries as
    little of the source, and the ratios do not depend on its level. Its SDR comes to about
    10 log10(filter_length / samples), -36 dB for 4 minutes at 8 kHz; other rows are unaffected,
    since a row depends on its own estimate alone. Recordings with fewer than sources *
    filter_length samples get values, but these say nothing (`score_track`).

    Raises ValueError when shapes differ or are not (sources, samples), samples are not finite or a
    reference is silent.
    """
    _check(references, estimates, [str(row) for row in range(len(references))])
    if (silent := _silent(references)).any():
        raise ValueError(f"reference {int(silent.argmax())} is silent: its ratios are undefined")
    return energy_ratios(references, audible(estimates), filter_length)


def audible(estimates: Signals) -> Signals:
    """Estimates (sources, samples) with white noise in place of the silent ones."""
    silent = _silent(estimates)
    if not silent.any():
        return estimates
    noise = np.random.default_rng(NOISE_SEED).standard_normal(estimates.shape[1])
    return np.where(silent[:, None], noise, estimates)


def _silent(signals: Signals) -> NDArray[np.bool_]:
    """Which rows of (sources, samples) are zero, or so small that their energy underflows to it."""
    silent: NDArray[np.bool_] = np.square(signals, dtype=np.float64).sum(axis=1) == 0
    return silent


def _check(references: Signals, estimates: Signals, names: Sequence[str]) -> None:
    if references.ndim != 2 or references.shape != estimates.shape:
        raise ValueError(
            "references and estimates must have the same shape (sources, samples),"
            f" found {references.shape} and {estimates.shape}"
        )
    if len(names) != len(references) or not references.size:
        raise ValueError(f"expected samples of {len(names)} sources, found {references.shape}")
    for kind, signals in (("reference", references), ("estimate", estimates)):
        for name, signal in zip(names, signals, strict=True):
            if not np.isfinite(signal).all():
                raise ValueError(f"the {kind} of source {name} holds NaN or infinite samples")
