"""Intervals, differences and tests against scipy and pandas."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.comparison import aggregation, intervals
from tests.helpers.score_tables import SOURCES, cell, many_tracks, markdown, table_of

ROOT = Path(__file__).parents[2]


def test_statistics_agree_with_pandas_and_the_metrics() -> None:
    collected = many_tracks(15)
    long = table_of(collected)
    means = aggregation.means(collected, SOURCES)
    for row in long.to_dict("records"):
        rows = collected[
            (collected["model"] == row["model"]) & (collected["source"] == row["source"])
        ]
        values = rows[row["metric"]]
        assert row["tracks"] == 15
        assert (
            row["mean"] == means[row["test_set"]][row["model"]][f"{row['metric']}_{row['source']}"]
        )
        assert row["mean"] == pytest.approx(values.mean(), abs=0.00501)
        assert row["median"] == pytest.approx(values.median(), abs=0.00501)
        assert row["std"] == pytest.approx(values.std(), abs=0.00501)
        assert row["low"] <= row["mean"] <= row["high"]
        compared = row["model"] == "V"
        assert pd.notna(row["difference"]) == pd.notna(row["p_value"]) == compared


def test_differences_agree_with_scipy() -> None:
    from scipy.stats import wilcoxon

    collected = many_tracks(20)
    wide = collected[collected["source"] == "vocals"].pivot(
        index="track", columns="model", values="SIR"
    )
    row = cell(table_of(collected), "CCMixter", "V", "vocals", "SIR")
    difference = (wide["V"] - wide["baseline"]).round(2)
    assert row["difference"] == pytest.approx(difference.mean(), abs=0.00501)
    assert row["p_value"] == pytest.approx(wilcoxon(difference).pvalue, rel=5e-3)
    assert row["difference_low"] <= row["difference"] <= row["difference_high"]


def test_bootstrap_agrees_with_scipy_and_the_normal_law() -> None:
    from scipy.stats import bootstrap, norm

    values = np.random.default_rng(5).normal(3, 2, (200, 1))
    low, high = intervals.bootstrap_interval(values, 20_000, 0.95, [1])
    theirs = bootstrap(
        (values[:, 0],), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    np.testing.assert_allclose([low[0], high[0]], [theirs.low, theirs.high], atol=0.02)
    error = norm.ppf(0.975) * values.std() / np.sqrt(200)
    np.testing.assert_allclose(
        [low[0], high[0]], values.mean() + error * np.array([-1, 1]), atol=0.02
    )


def test_bootstrap_keeps_columns_paired_and_skips_gaps() -> None:
    values = np.random.default_rng(5).normal(size=(30, 1)) * 10
    gaps = np.where(np.arange(30)[:, None] < 25, values, np.nan)
    one = np.where(np.arange(30)[:, None] < 1, values, np.nan)
    empty = np.full_like(values, np.nan)
    columns = np.hstack([values, values + 1, gaps, one, empty])
    low, high = intervals.bootstrap_interval(columns, 3000, 0.9, [1, 2])
    np.testing.assert_allclose([low[1], high[1]], [low[0] + 1, high[0] + 1])
    assert low[2] < np.nanmean(gaps) < high[2]
    assert np.isnan([low[3:], high[3:]]).all()
    again = intervals.bootstrap_interval(columns, 3000, 0.9, [1, 2])
    np.testing.assert_array_equal(again, (low, high))
    other = intervals.bootstrap_interval(columns, 3000, 0.9, [1, 3])
    assert other[0][0] != low[0]
    nothing = intervals.bootstrap_interval(np.empty((0, 3)), 10, 0.9, [1])
    assert np.isnan(nothing).all()


@settings(max_examples=20, deadline=None)
@given(
    values=st.lists(st.integers(-3000, 3000), min_size=2, max_size=40),
    shift=st.integers(-1000, 1000),
)
def test_bootstrap_moves_with_the_values(values: list[int], shift: int) -> None:
    column = np.array(values, dtype=float)[:, None]
    low, high = intervals.bootstrap_interval(column, 300, 0.95, [7])
    moved = intervals.bootstrap_interval(column + shift, 300, 0.95, [7])
    np.testing.assert_allclose(np.ravel(moved), np.ravel([low, high]) + shift, atol=1e-6)
    assert column.min() <= low[0] <= high[0] <= column.max()


def test_signed_rank() -> None:
    assert intervals.signed_rank(np.arange(1.0, 7.0)) == pytest.approx(2 / 2**6)
    assert intervals.signed_rank(-np.arange(1.0, 9.0)) == pytest.approx(2 / 2**8)
    assert np.isnan(intervals.signed_rank(np.arange(1.0, 6.0)))
    assert np.isnan(intervals.signed_rank(np.zeros(50)))
    gaps = np.array([1, 2, 3, 4, 5, 6, 0, 0, np.nan])
    assert intervals.signed_rank(gaps) == pytest.approx(2 / 2**6)


def test_intervals_do_not_depend_on_other_models_or_test_sets() -> None:
    collected = many_tracks(12)
    fewer = collected[collected["model"] != "oracle"]
    full, part = table_of(collected), table_of(fewer)
    pd.testing.assert_frame_equal(
        full[full["model"] != "oracle"].reset_index(drop=True), part.reset_index(drop=True)
    )


def test_without_a_baseline(collected: pd.DataFrame) -> None:
    long = table_of(collected, baseline=None)
    assert long["difference"].isna().all()
    assert long["mean"].notna().all()
    assert "Difference" not in markdown(collected, baseline=None)
