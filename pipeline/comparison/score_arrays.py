"""Scores as arrays (seeds, tracks, columns) of whole hundredths of a dB.

Scores live on a grid of 0.01 dB. Double precision adds whole hundredths exactly in any order: means are
the same on every machine, and equal scores are equal.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.comparison.intervals import Values
from pipeline.evaluation.metrics import REPORTED, named
from pipeline.evaluation.track_scores import KEY


def score_columns(sources: Sequence[str]) -> list[tuple[str, str]]:
    """(source, metric) of each column."""
    return [(source, metric) for source in sources for metric in REPORTED]


def medians(sources: Sequence[str]) -> NDArray[np.bool_]:
    """Of each column whether it is the median over tracks that its metric is reported by."""
    return np.array([named(name).aggregate == "median" for _, name in score_columns(sources)])


def by_model(part: pd.DataFrame, sources: Sequence[str]) -> dict[str, Values]:
    """The array of each model in rows of `aggregation.combine`; tracks in the first model's order."""
    first = part[part["model"] == part["model"].iloc[0]]
    tracks = pd.MultiIndex.from_frame(first[KEY[1:3]].drop_duplicates())
    models = part.groupby("model", sort=False)
    return {str(model): hundredths(rows, tracks, sources) for model, rows in models}


def hundredths(scores: pd.DataFrame, tracks: pd.MultiIndex, sources: Sequence[str]) -> Values:
    """One model's scores of `tracks` (dataset, track), seeds in the order of the rows.

    NaN for what has no place in a mean: a score that is missing or infinite.
    """
    seeds = scores["seed"].unique()
    wide = scores.pivot(index=KEY[1:3], columns=["seed", "source"], values=REPORTED)
    wanted = pd.MultiIndex.from_product([REPORTED, seeds, sources], names=wide.columns.names)
    values = wide.reindex(index=tracks, columns=wanted).to_numpy(dtype=np.float64)
    values = np.where(np.isfinite(values), np.rint(values * 100), np.nan)
    cells = values.reshape(len(tracks), len(REPORTED), len(seeds), len(sources))
    return cells.transpose(2, 0, 3, 1).reshape(len(seeds), len(tracks), -1)
