"""Intervals over seeds and artists against scipy, analysis of variance and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from pipeline.comparison.intervals import Estimate, detectable, difference, holm, mean_of

Values = NDArray[np.float64]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(17)


def same(estimate: Estimate, other: Estimate) -> None:
    for name in vars(estimate):
        np.testing.assert_allclose(getattr(estimate, name), getattr(other, name), err_msg=name)


def test_tracks_of_as_many_artists_are_a_t_test(random: np.random.Generator) -> None:
    values = random.normal(1, 2, (1, 12, 3))
    found = mean_of(values, np.arange(12), 0.9, retrained=False)
    theirs = stats.ttest_1samp(values[0], 0)
    np.testing.assert_allclose(found.p_value, theirs.pvalue)
    np.testing.assert_allclose(found.low, theirs.confidence_interval(0.9).low)
    np.testing.assert_allclose(found.high, theirs.confidence_interval(0.9).high)
    np.testing.assert_allclose(found.freedom, 11)


def test_paired_tracks_are_a_paired_t_test(random: np.random.Generator) -> None:
    new, old = random.normal(0, 1, (2, 1, 9, 2))
    found = difference(new, old, np.arange(9), 0.95, retrained=False)
    np.testing.assert_allclose(found.p_value, stats.ttest_rel(new[0], old[0]).pvalue)


def test_equal_artists_are_a_t_test_of_their_means(random: np.random.Generator) -> None:
    values = random.normal(1, 1, (1, 12, 2)) + np.repeat(random.normal(size=(4, 1)), 3, axis=0)
    found = mean_of(values, np.repeat([7, 3, 9, 1], 3), 0.95, retrained=False)
    theirs = stats.ttest_1samp(values.reshape(4, 3, 2).mean(axis=1), 0)
    np.testing.assert_allclose(found.p_value, theirs.pvalue)
    assert found.artists.tolist() == [4, 4]
    assert found.tracks.tolist() == [12, 12]


def test_seeds_alone_are_a_t_test_over_seeds(random: np.random.Generator) -> None:
    """Where a seed moves all tracks alike, tracks say nothing that the seeds do not."""
    new, old = random.normal(size=(2, 5, 1, 3)) + random.normal(size=(10, 1))
    theirs = stats.ttest_ind(new[:, 0], old[:, 0], equal_var=False)
    found = difference(new, old, np.arange(10), 0.95)
    np.testing.assert_allclose(found.mean / found.error, theirs.statistic)
    assert (found.freedom >= theirs.df).all()
    fewer = difference(new[:4], old, np.arange(10), 0.95)
    theirs = stats.ttest_ind(new[:4, 0], old[:, 0], equal_var=False)
    np.testing.assert_allclose(fewer.p_value, theirs.pvalue)


def test_equally_many_seeds_of_equal_spread_are_about_a_pooled_t_test() -> None:
    """Welch's second formula gives 2 (f + 2) - 2 for two sides that vary alike."""
    new = np.array([0.0, 1.0, 2.0])[:, None, None] + np.arange(10.0)[:, None]
    found = difference(new, new, np.arange(10), 0.95)
    np.testing.assert_allclose(found.freedom, 2 * (2 + 2) - 2)


def test_both_parts_are_those_of_an_analysis_of_variance(random: np.random.Generator) -> None:
    seeds, tracks = 4, 6
    values = (
        random.normal(0, 2, (seeds, 1, 1))
        + random.normal(0, 3, (tracks, 1))
        + random.normal(0, 0.5, (seeds, tracks, 1))
    )
    table = values[:, :, 0]
    of_seeds = tracks * table.mean(axis=1).var(ddof=1)
    of_tracks = seeds * table.mean(axis=0).var(ddof=1)
    total = ((table - table.mean()) ** 2).sum()
    rest = total - (seeds - 1) * of_seeds - (tracks - 1) * of_tracks
    rest /= (seeds - 1) * (tracks - 1)
    found = mean_of(values, np.arange(tracks), 0.95)
    variance = (of_seeds + of_tracks - rest) / (seeds * tracks)
    np.testing.assert_allclose(found.error[0] ** 2, variance)
    shares = np.array([of_seeds, of_tracks, rest]) / (seeds * tracks) / variance
    freedom = 1 / (shares**2 / [seeds - 1, tracks - 1, (seeds - 1) * (tracks - 1)]).sum()
    np.testing.assert_allclose(found.freedom[0], freedom)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    np.testing.assert_allclose(
        [found.low[0], found.high[0]], table.mean() + half * np.array([-1, 1])
    )


UNEQUAL = np.repeat(np.arange(8), [8, 3, 2, 1, 1, 1, 1, 1])


def test_the_variance_is_right_on_average_for_unequal_artists(random: np.random.Generator) -> None:
    draws, of_seed, of_track, rest = 4000, 0.5, 0.7, 0.6
    values = (
        of_seed * random.normal(size=(3, 1, draws))
        + of_track * random.normal(size=(18, draws))
        + rest * random.normal(size=(3, 18, draws))
    )
    true = of_seed**2 / 3 + of_track**2 / 18 + rest**2 / 54
    found = mean_of(values, UNEQUAL, 0.95)
    assert (found.error**2).mean() == pytest.approx(true, rel=0.05)


def test_the_freedom_of_unequal_artists_is_that_of_the_moments(random: np.random.Generator) -> None:
    """Of a variance with f degrees of freedom, the relative variance is 2 / f."""
    values = random.normal(size=(1, 18, 40_000))
    found = mean_of(values, UNEQUAL, 0.95, retrained=False)
    variances = found.error**2
    assert found.freedom[0] == pytest.approx(2 * variances.mean() ** 2 / variances.var(), rel=0.05)
    assert found.freedom[0] < 4, "one of eight has nearly half the tracks"


@pytest.mark.parametrize(
    ("seeds", "artists", "retrained"),
    [
        (1, [0, 1, 2], True),
        (3, [5, 5, 5], True),
        (1, [5, 5, 5], False),
        (3, [5, 6, 7], True),
        (1, [5, 6, 7], False),
    ],
)
def test_too_few_have_a_mean_and_no_interval(
    seeds: int, artists: list[int], retrained: bool
) -> None:
    values = np.arange(3.0 * seeds).reshape(seeds, 3, 1)
    found = mean_of(values, artists, 0.95, retrained=retrained)
    assert found.mean[0] == values.mean()
    for name in ("error", "freedom", "low", "high", "p_value"):
        assert np.isnan(getattr(found, name)).all(), name


def test_a_single_seed_on_one_side_of_a_difference_has_no_interval(
    random: np.random.Generator,
) -> None:
    new, old = random.normal(size=(4, 6, 1)), random.normal(size=(1, 6, 1))
    for found in (difference(new, old, range(6), 0.95), difference(old, new, range(6), 0.95)):
        assert np.isfinite(found.mean).all()
        assert np.isnan(found.p_value).all()


def test_tracks_that_lack_a_value_are_left_out_of_their_column(random: np.random.Generator) -> None:
    values = random.normal(size=(3, 7, 4))
    values[1, 2, 1], values[:, 5, 1], values[0, 0, 2], values[0, :, 3] = (
        np.nan,
        np.inf,
        np.nan,
        -np.inf,
    )
    artists = np.array([0, 0, 1, 2, 2, 3, 4])
    found = mean_of(values, artists, 0.95)
    kept = [[0, 1, 2, 3, 4, 5, 6], [0, 1, 3, 4, 6], [1, 2, 3, 4, 5, 6]]
    for column, tracks in enumerate(kept):
        alone = mean_of(values[:, tracks, column : column + 1], artists[tracks], 0.95)
        same(Estimate(*(field[[column]] for field in vars(found).values())), alone)
    assert np.isnan(found.mean[3])
    assert found.tracks.tolist() == [7, 5, 6, 0]
    for shape in ((3, 0, 4), (3, 5, 0)):
        empty = mean_of(np.zeros(shape), np.zeros(shape[1]), 0.95)
        assert np.isnan(empty.mean).all()
        assert empty.mean.shape == (shape[2],)


def test_a_difference_takes_the_tracks_that_both_have(random: np.random.Generator) -> None:
    new, old = random.normal(size=(3, 6, 1)), random.normal(size=(4, 6, 1))
    new[0, 1], old[3, 4] = np.nan, np.nan
    found, kept = difference(new, old, range(6), 0.95), [0, 2, 3, 5]
    same(found, difference(new[:, kept], old[:, kept], kept, 0.95))


def test_no_difference_at_all_is_certain_and_no_surprise() -> None:
    same_values = np.full((3, 5, 1), 700.0)
    for retrained in (True, False):
        values = same_values if retrained else same_values[:1]
        found = difference(values, values, range(5), 0.95, retrained=retrained)
        assert (found.mean, found.low, found.high, found.p_value) == (0, 0, 0, 1)
        moved = difference(values + 1, values, range(5), 0.95, retrained=retrained)
        assert (moved.low, moved.high, moved.p_value) == (1, 1, 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 9), st.integers(-500, 500))
def test_the_order_of_anything_does_not_matter(
    number: int, seeds: int, tracks: int, shift: int
) -> None:
    random = np.random.default_rng(number)
    new, old = random.integers(-900, 900, (2, seeds, tracks, 2)).astype(float)
    artists = random.integers(0, 6, tracks)
    found = difference(new, old, artists, 0.95)
    mixed = random.permutation(tracks)
    again = difference(
        random.permutation(new)[:, mixed], random.permutation(old)[:, mixed], artists[mixed], 0.95
    )
    same(found, again)
    np.testing.assert_array_equal(found.mean, again.mean)
    other = difference(old, new, artists, 0.95)
    np.testing.assert_allclose([-other.high, other.p_value], [found.low, found.p_value])
    moved = difference(new + shift, old, artists, 0.95)
    np.testing.assert_allclose(moved.low, found.low + shift, atol=1e-6)
    if np.isfinite(found.p_value).all():
        assert (found.low <= found.mean).all()
        assert (found.mean <= found.high).all()
        assert ((found.p_value < 0.05) == ((found.low > 0) | (found.high < 0))).all()


def test_holm() -> None:
    """Worked by hand: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1 raised to the one before."""
    adjusted = holm([0.01, 0.04, np.nan, 0.03, 0.005])
    np.testing.assert_allclose(adjusted, [0.03, 0.06, np.nan, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.4, 0.9, 0.6]), [1, 1, 1])
    assert len(holm([])) == 0
    assert np.isnan(holm([np.nan])).all()


@pytest.mark.parametrize("freedom", [1.0, 2.5, 8.0, 60.0])
def test_what_can_be_detected_is_found_as_often_as_said(
    random: np.random.Generator, freedom: float
) -> None:
    shift = detectable(np.array([2.0]), np.array([freedom]), 0.05, 0.8)[0] / 2
    normal, chi = random.normal(size=50_000), random.chisquare(freedom, 50_000)
    found = stats.t.sf((normal + shift) / np.sqrt(chi / freedom), freedom) < 0.025
    assert found.mean() == pytest.approx(0.8, abs=0.01)
