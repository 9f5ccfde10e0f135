"""What a mean over tracks is worth: a bootstrap interval, and a paired test.

Nothing here knows of models or metrics: arrays in, numbers out; NaN marks a missing value.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

FEWEST_PAIRS = 6
"""Fewer differences can never reach p < 0.05, even all of one sign: 2 / 2^5 = 0.06."""

BLOCK = 1000
"""Resamples drawn at a time, which bounds memory."""


def bootstrap_interval(
    values: Values, samples: int, confidence: float, seed: Sequence[int]
) -> tuple[Values, Values]:
    """(low, high), each (columns,): percentile bootstrap of the mean over the rows of `values`.

    `values` is (rows, columns). All columns are resampled by the same rows, which keeps pairs of
    columns paired. NaN values are left out of a resample's mean. A column with fewer than two
    values has no spread to resample: NaN. The same `seed` gives the same interval.
    """
    rows, columns = values.shape
    present = np.isfinite(values)
    enough = present.sum(axis=0) >= 2
    if not enough.any():
        return np.full(columns, np.nan), np.full(columns, np.nan)
    filled = np.where(present, values, 0.0)
    generator = np.random.default_rng(list(seed))
    means = []
    for start in range(0, samples, BLOCK):
        weights = _draw_counts(generator, min(BLOCK, samples - start), rows)
        drawn = weights @ present
        means.append(np.where(drawn > 0, weights @ filled / np.maximum(drawn, 1), np.nan))
    means_of_resamples = np.concatenate(means)
    # With nothing but NaN in a column nanpercentile warns; its place in the result is NaN anyway.
    means_of_resamples[:, ~enough] = 0.0
    tail = 100 * (1 - confidence) / 2
    bounds: Values = np.nanpercentile(means_of_resamples, [tail, 100 - tail], axis=0)
    bounds[:, ~enough] = np.nan
    return bounds[0], bounds[1]


def _draw_counts(generator: np.random.Generator, samples: int, rows: int) -> Values:
    """(samples, rows): how often each row is drawn when `rows` rows are drawn with replacement."""
    drawn = generator.integers(rows, size=(samples, rows))
    cells = drawn + rows * np.arange(samples)[:, None]
    counts = np.bincount(cells.ravel(), minlength=samples * rows)
    return counts.reshape(samples, rows).astype(np.float64)


def signed_rank(differences: NDArray[np.floating[Any]]) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test for paired differences (pairs,).

    Zero differences and NaN are dropped, as in Wilcoxon's paper. NaN when fewer than FEWEST_PAIRS
    are left: there is then nothing to test.
    """
    from scipy.stats import wilcoxon

    left = differences[np.isfinite(differences) & (differences != 0)]
    return float(wilcoxon(left).pvalue) if len(left) >= FEWEST_PAIRS else np.nan
