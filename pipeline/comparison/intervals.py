"""What a mean over seeds and tracks is worth: an interval, a test, and what it could have found.

Nothing here knows of models or metrics: arrays in, numbers out; NaN marks a missing value.
docs/statistics.md says what is computed, from which sources, and how well it keeps its level.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int_]

FEWEST_SEEDS = 2
FEWEST_FREEDOM = 2.5
"""Degrees of freedom of the artists that an interval needs. Three equal artists have 2, two 1: too few
for a test of both seeds and artists to hold its level (docs/statistics.md)."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and tracks, or the difference of two; every field is (columns,).

    In the columns that are `medians` the mean over seeds of the median over tracks, or the difference
    of two of those. Of it nothing else is known: what follows is the variance of a mean. That of a
    median needs the density of the scores there, which a few artists do not show, and a bootstrap of
    so few is too liberal even for a mean.
    """

    mean: Values
    """NaN when no track is complete."""
    error: Values
    """Standard error; like what follows NaN of medians, and with too few seeds or artists."""
    freedom: Values
    """Degrees of freedom of the t distribution behind the interval."""
    low: Values
    high: Values
    p_value: Values
    """Two-sided, of the mean being zero."""
    tracks: Counts
    """Tracks with a value for every seed; the others are left out."""
    artists: Counts
    """Artists of these tracks."""


def mean_of(
    values: Values,
    artists: ArrayLike,
    confidence: float,
    *,
    retrained: bool = True,
    medians: Flags | None = None,
) -> Estimate:
    """The mean of `values` (seeds, tracks, columns), with the interval of other seeds and tracks.

    artists: (tracks,), a number for each artist. retrained: whether seeds are a sample; False for
    what no training precedes (one seed): the interval is then that of other tracks alone. medians:
    (columns,), which of them have a median over tracks in place of the mean (`Estimate`); none.
    """
    return _estimate([(1.0, values)], artists, confidence, retrained, medians)


def difference(
    new: Values,
    old: Values,
    artists: ArrayLike,
    confidence: float,
    *,
    retrained: bool = True,
    medians: Flags | None = None,
) -> Estimate:
    """The mean of `new` (seeds, tracks, columns) less that of `old` (other seeds, tracks, columns).

    Tracks are paired, seeds are not: the same seed of two models is no pair, and the numbers of
    seeds may differ. artists, retrained, medians: as in `mean_of`.
    """
    return _estimate([(1.0, new), (-1.0, old)], artists, confidence, retrained, medians)


def holm(p_values: ArrayLike) -> Values:
    """Holm's step-down adjustment of p-values (tests,); NaN is no test and stays NaN.

    Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6.
    """
    adjusted: Values = np.array(p_values, dtype=np.float64)
    order = np.argsort(adjusted)[: np.isfinite(adjusted).sum()]  # NaN comes last
    steps = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def detectable(error: Values, freedom: Values, level: float, power: float = 0.8) -> Values:
    """The true difference that a two-sided test at `level` finds with probability `power`.

    error, freedom: of an `Estimate`, taken as those of a repetition. From the noncentral t
    distribution.
    """
    from scipy.special import nctdtrinc, stdtrit

    shift: Values = nctdtrinc(freedom, 1 - power, stdtrit(freedom, 1 - level / 2)) * error
    return shift


def _estimate(
    sides: Sequence[tuple[float, Values]],
    artists: ArrayLike,
    confidence: float,
    retrained: bool,
    medians: Flags | None,
) -> Estimate:
    present = np.logical_and.reduce([np.isfinite(values).all(axis=0) for _, values in sides])
    columns = present.shape[1]
    mean, error, freedom = np.full((3, columns), np.nan)
    counts = np.zeros((2, columns), dtype=np.int_)
    # Columns that lack the same tracks, nearly always all of them, are computed together.
    patterns, pattern_of = np.unique(present, axis=1, return_inverse=True)
    for number, kept in enumerate(patterns.T):
        if not kept.any():
            continue
        here = np.flatnonzero(pattern_of.ravel() == number)
        complete = [(sign, values[:, kept][:, :, here]) for sign, values in sides]
        mean[here] = sum(sign * _mean(values) for sign, values in complete)
        groups, members = np.unique(np.asarray(artists)[kept], return_inverse=True)
        counts[:, here] = [[kept.sum()], [len(groups)]]
        enough = not retrained or min(len(values) for _, values in complete) >= FEWEST_SEEDS
        if enough and len(groups) > 1:
            clusters = _Clusters(members)
            if clusters.freedom >= FEWEST_FREEDOM:
                error[here], freedom[here] = _error(complete, clusters, retrained)
        if medians is not None and (those := medians[here]).any():
            middle = [(sign, np.median(values, axis=1)) for sign, values in complete]
            mean[here[those]] = sum(sign * own.mean(axis=0) for sign, own in middle)[those]
            error[here[those]] = freedom[here[those]] = np.nan
    return _with_interval(mean, error, freedom, confidence, counts)


def _mean(values: Values) -> Values:
    """Over seeds and tracks, from one sum: whole numbers are added exactly in any order."""
    mean: Values = values.sum(axis=(0, 1)) / (values.shape[0] * values.shape[1])
    return mean


def _with_interval(
    mean: Values, error: Values, freedom: Values, confidence: float, counts: Counts
) -> Estimate:
    from scipy.special import stdtr, stdtrit

    half = stdtrit(freedom, (1 + confidence) / 2) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p_value = 2 * stdtr(freedom, -np.abs(mean) / error)
    p_value[(error == 0) & (mean == 0)] = 1  # 0 / 0: nothing differs anywhere
    return Estimate(mean, error, freedom, mean - half, mean + half, p_value, *counts)


def _error(
    sides: Sequence[tuple[float, Values]], clusters: "_Clusters", retrained: bool
) -> tuple[Values, Values]:
    """(standard error, degrees of freedom), each (columns,), of complete `values`."""
    by_track = sum(sign * values.mean(axis=0) for sign, values in sides)
    of_artists = clusters.variance(by_track)
    if not retrained:
        return np.sqrt(of_artists), np.full_like(of_artists, clusters.freedom)
    freedom = np.array([len(values) - 1 for _, values in sides])
    seeds = np.array([values.mean(axis=1).var(axis=0, ddof=1) for _, values in sides])
    seeds /= freedom[:, None] + 1
    rest: Values = sum(
        np.sum([clusters.variance(part) for part in _particular(values)], axis=0)
        / (len(values) * (len(values) - 1))
        for _, values in sides
    )
    # What is particular to a seed with an artist is in the seeds' part and in the artists', so it
    # is taken off once. A part that is not above it shows no variance of its own.
    of_seeds: Values = seeds.sum(axis=0)
    seeds_count, artists_count = of_seeds > rest, of_artists > rest
    rest_counts = seeds_count == artists_count
    variance = np.maximum(of_seeds, rest) + np.maximum(of_artists, rest) - rest
    with np.errstate(divide="ignore", invalid="ignore"):  # a part without variance
        # Welch (1947), Biometrika 34, has two formulas. The second is less biased for few seeds, but
        # too liberal where one side has many more.
        add = 2 if len(set(freedom)) == 1 else 0
        freedom_of_seeds = of_seeds**2 / (seeds**2 / (freedom[:, None] + add)).sum(axis=0) - add
        parts = (
            np.where(seeds_count, of_seeds**2 / freedom_of_seeds, 0)
            + artists_count * of_artists**2 / clusters.freedom
            + rest_counts * rest**2 / (freedom.sum() * clusters.freedom)
        )
        together = np.where(variance > 0, variance**2 / parts, clusters.freedom)
    return np.sqrt(variance), together


def _particular(values: Values) -> Values:
    """What of (seeds, tracks, columns) neither the seed nor the track explains."""
    of_seed, of_track = values.mean(axis=1, keepdims=True), values.mean(axis=0)
    rest: Values = values - of_seed - of_track + values.mean(axis=(0, 1))
    return rest


class _Clusters:
    """Tracks in artists of unequal size, and the variance of a mean over such tracks.

    The variance is the sum of the squared artists' sums of residuals, each divided by the square
    root of one less the artist's share (CR2), which is unbiased for independent tracks; its degrees
    of freedom are those of its first two moments there.
    Bell & McCaffrey (2002), Bias reduction in standard errors for linear regression with
    multi-stage samples, Survey Methodology 28.
    """

    def __init__(self, members: Counts) -> None:
        sizes = np.bincount(members)
        self.tracks = len(members)
        self.order = np.argsort(members, kind="stable")
        self.starts = np.cumsum(sizes) - sizes
        self.rest = 1 - sizes / self.tracks
        # The trace of the covariance of the weighted sums is `tracks`; off its diagonal, which is
        # `sizes`, it is -sqrt(q_i q_j).
        q = sizes**2 / self.rest / self.tracks
        squares = (sizes**2).sum() + q.sum() ** 2 - (q**2).sum()
        self.freedom = float(self.tracks**2 / squares)

    def variance(self, values: Values) -> Values:
        """Of the mean over tracks of `values` (tracks, columns): (columns,)."""
        residuals = (values - values.mean(axis=0))[self.order]
        sums = np.add.reduceat(residuals, self.starts, axis=0) / self.tracks
        found: Values = (sums**2 / self.rest[:, None]).sum(axis=0)
        return found
