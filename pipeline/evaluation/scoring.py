"""The scores of one track, and what of it has none."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.bss_eval import Values, Waveforms
from pipeline.evaluation.metrics import MEASURED, METRICS, Compared

SILENT_REFERENCE = "silent reference"
SILENT_ESTIMATE = "silent estimate"
TOO_SHORT = "too short"
UNSCORED = (SILENT_REFERENCE, TOO_SHORT)
"""Notes of rows that have no scores and are left out of every mean."""

CEILING = 100.0
"""dB. An error this small (the artifacts of a mixture taken as the estimate) is rounding: BSS Eval
then gives some 150 dB, whose digits depend on the processor."""

NOISE_SEED = 6_302_418_955_071
"""No round number: a waveform made with the same seed would be "separated" by the noise."""
INAUDIBLE = 20
"""Powers of two (120 dB) of that noise below the reference."""


class Score(NamedTuple):
    """What is measured of one source of one track."""

    source: str
    values: Mapping[str, float]
    """By metric (`metrics.MEASURED`); NaN where there are no scores (see `Metric.everywhere` too)."""
    note: str
    """Empty, or SILENT_REFERENCE, SILENT_ESTIMATE, TOO_SHORT."""


def score_track(compared: Compared) -> list[Score]:
    """Score all sources of a track, in their order.

    There are no scores (NaN, and a note)
    - of a source whose reference is silent: its ratios are undefined. The other sources are scored
      as if it were not there: silence adds nothing to what filtered references explain;
    - of the whole track when fewer than two references sound: the mixture is then the source, and
      there is nothing to separate. The paper leaves such tracks out (its 22 instrumental pieces);
    - of the whole track when it has fewer than filter_length samples for each reference that
      sounds: filtered references then explain any estimate, so the ratios (hundreds of dB) say
      nothing about it.
    A silent estimate, which BSS Eval is not defined for, is scored as faint white noise (`audible`)
    and noted on its row. Finite ratios in dB are cut at CEILING; an infinite one, of an estimate
    without any error, stays infinite and has no place in a mean.
    Raises ValueError for a wrong shape and for NaN or infinite samples, naming the source.
    """
    _check(compared)
    sources, heard = compared.sources, sounding(compared)
    scores = {source: _without(source, SILENT_REFERENCE) for source in sources}
    if len(heard.sources) < min(2, len(sources)):
        return list(scores.values())
    if heard.references.shape[1] < len(heard.sources) * heard.filter_length:
        return [_without(source, TOO_SHORT) for source in sources]
    silent = _silent(heard.estimates)
    heard = replace(heard, estimates=audible(heard.references, heard.estimates))
    found = {one.name: _cut(one.function(heard), one.unit) for one in METRICS}
    for k, source in enumerate(heard.sources):
        values = {name: float(of_all[k]) for name, of_all in found.items()}
        scores[source] = Score(source, values, SILENT_ESTIMATE if silent[k] else "")
    return list(scores.values())


def sounding(compared: Compared) -> Compared:
    """The same of the sources whose references are not silent."""
    kept = ~_silent(compared.references)
    names = [name for name, keep in zip(compared.sources, kept, strict=True) if keep]
    references, estimates = compared.references[kept], compared.estimates[kept]
    return replace(compared, references=references, estimates=estimates, sources=names)


def _without(source: str, note: str) -> Score:
    return Score(source, dict.fromkeys(MEASURED, np.nan), note)


def _cut(values: Values, unit: str) -> Values:
    cut = np.isfinite(values) & (unit == "dB")
    return np.where(cut, np.minimum(values, CEILING), values)


def audible(references: Waveforms, estimates: Waveforms) -> Waveforms:
    """Estimates (sources, samples) with white noise of a fixed seed in place of the silent ones.

    It carries as little of the source, and the ratios of BSS Eval v3 and SI-SDR do not depend on its
    level. Its SDR comes to about 10 log10(filter_length / samples), -36 dB for 4 minutes at 8 kHz.
    It is 120 dB below the reference, and so silence to the ratios that do depend on it: an SNR, uSDR
    and SDR of BSS Eval v4 of 0 dB, as their formulas have it. Other rows are unaffected: a row of
    BSS Eval depends on its own estimate alone, and v4 leaves out no frame for the noise.
    """
    silent = _silent(estimates)
    if not silent.any():
        return estimates
    noise = np.random.default_rng(NOISE_SEED).standard_normal(estimates.shape[1])
    levels = np.sqrt(np.square(references, dtype=np.float64).mean(axis=1, keepdims=True))
    # by a power of two, which leaves every digit of BSS Eval's ratios as it is
    faint = np.ldexp(noise, np.frexp(levels)[1] - INAUDIBLE)
    return np.where(silent[:, None], faint, estimates)


def _silent(waveforms: Waveforms) -> NDArray[np.bool_]:
    """Which rows of (sources, samples) are zero, or so small that their energy underflows to it."""
    silent: NDArray[np.bool_] = np.square(waveforms, dtype=np.float64).sum(axis=1) == 0
    return silent


def _check(compared: Compared) -> None:
    references, estimates, sources = compared.references, compared.estimates, compared.sources
    if references.ndim != 2 or references.shape != estimates.shape:
        raise ValueError(
            "references and estimates must have the same shape (sources, samples),"
            f" found {references.shape} and {estimates.shape}"
        )
    if len(sources) != len(references) or not references.size:
        raise ValueError(f"expected samples of {len(sources)} sources, found {references.shape}")
    for kind, waveforms in (("reference", references), ("estimate", estimates)):
        for source, waveform in zip(sources, waveforms, strict=True):
            if not np.isfinite(waveform).all():
                raise ValueError(f"the {kind} of source {source} holds NaN or infinite samples")
