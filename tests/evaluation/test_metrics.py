"""The table of metrics: every entry against a judge of its own, and what follows from the table."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from pipeline.evaluation import metrics
from pipeline.evaluation.bss_eval import RATIOS, Values
from pipeline.evaluation.judge import museval_sources, torchmetrics_ratio
from pipeline.evaluation.metrics import (
    HEADLINE,
    IMPROVEMENTS,
    MEASURED,
    METRICS,
    REPORTED,
    TABLED,
    Compared,
    Metric,
    named,
)  # fmt: skip
from pipeline.evaluation.scoring import CEILING, score_track


@pytest.fixture(scope="module")
def compared() -> Compared:
    """Two correlated sources, each leaking into the estimate of the other, and noise."""
    first, second, error = np.random.default_rng(0).standard_normal((3, 2, 6000))
    smooth = np.apply_along_axis(np.convolve, 1, first, np.hanning(20), "same")
    references = smooth + 0.3 * second
    estimates = references + 0.4 * references[::-1] + 0.2 * error
    return Compared(references, estimates, ("accompaniment", "vocals"), 64, 1000)


def by_museval(name: str) -> Callable[[Compared], Values]:
    def judge(of: Compared) -> Values:
        ratios = museval_sources(of.references, of.estimates, of.filter_length)
        return dict(zip(RATIOS, ratios, strict=True))[name]

    return judge


def by_museval_evaluate(of: Compared) -> Values:
    """What its users call, and how its results are aggregated over frames."""
    import museval

    waveforms = (one[:, :, None] for one in (of.references, of.estimates))
    ratios, *_ = museval.evaluate(*waveforms, win=of.sample_rate, hop=of.sample_rate)
    return np.asarray(np.nanmedian(ratios, axis=1))


def by_torchmetrics(name: str) -> Callable[[Compared], Values]:
    return lambda of: torchmetrics_ratio(name, of.references, of.estimates)


def challenge(of: Compared) -> Values:
    """By the letter of the Music Demixing Challenge's definition."""
    error = of.references - of.estimates
    above, below = ((np.square(one).sum(axis=1) + 1e-7) for one in (of.references, error))
    return np.asarray(10 * np.log10(above / below))


JUDGES = {name: by_museval(name) for name in RATIOS} | {
    "SI-SDR": by_torchmetrics("scale_invariant_signal_distortion_ratio"),
    "SNR": by_torchmetrics("signal_noise_ratio"),
    "SDR-v4": by_museval_evaluate,
    "uSDR": challenge,
}
"""An independent computation of every metric: museval's, or a closed form."""


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_has_a_judge_that_agrees(metric: Metric, compared: Compared) -> None:
    values = metric.function(compared)
    assert values.shape == (2,)
    np.testing.assert_allclose(values, JUDGES[metric.name](compared), rtol=0, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_better_estimate_scores_better(metric: Metric, compared: Compared) -> None:
    halfway = (compared.references + compared.estimates) / 2
    better = metric.function(dataclasses.replace(compared, estimates=halfway))
    assert np.all((better > metric.function(compared)) == metric.higher_is_better)


def test_bss_eval_is_computed_once_for_all_its_ratios(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(*arguments: object) -> tuple[Values, Values, Values]:
        calls.append(arguments)
        return np.ones(2), np.ones(2), np.ones(2)

    monkeypatch.setattr(metrics, "energy_ratios", counted)
    score_track(compared)
    assert len(calls) == 1


def test_the_names_follow_from_the_table() -> None:
    assert MEASURED == ["SDR", "SIR", "SAR", "SI-SDR", "SNR", "SDR-v4", "uSDR"]
    assert IMPROVEMENTS == {"NSDR": "SDR"}
    assert TABLED == ["SDR", "SIR", "SAR", "NSDR"]
    assert [*TABLED, "SI-SDR", "SNR", "SDR-v4", "uSDR"] == REPORTED
    assert len(set(REPORTED)) == len(REPORTED)
    assert {named(name).aggregate for name in TABLED} == {"mean"}, "metrics.json holds means"
    assert not any("_" in name for name in REPORTED), "keys of metrics.json end it with _<source>"
    assert [named(name).name for name in TABLED] == ["SDR", "SIR", "SAR", "SDR"]
    assert named(HEADLINE).higher_is_better


def test_only_decibels_are_cut(compared: Compared, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        Metric(unit, lambda of: 1e3 * np.ones(len(of.sources)), unit) for unit in ("dB", "%")
    ]
    monkeypatch.setattr("pipeline.evaluation.scoring.METRICS", entries)
    for score in score_track(compared):
        assert score.values == {"dB": CEILING, "%": 1e3}
