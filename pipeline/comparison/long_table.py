"""results/table.csv: every cell of the table with its interval, difference and p-values."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.comparison.aggregation import by_test_set, unseen_datasets
from pipeline.comparison.intervals import Values, detectable, difference, holm, mean_of
from pipeline.comparison.score_arrays import by_model, medians, score_columns
from pipeline.errors import UserError
from pipeline.evaluation.metrics import named
from pipeline.evaluation.track_scores import KEY, MOST
from pipeline.files import write_text
from pipeline.params import REFERENCE_ROWS
from pipeline.text_files import printed, read_table, shown

CELL = ["test_set", "model", "source", "metric"]
COUNTS = ["seeds", "tracks", "artists", "best"]
_OF_DIFFERENCE = ["difference", "difference_low", "difference_high"]
DECIBELS = ["mean", "low", "high", *_OF_DIFFERENCE, "detectable"]
P_VALUES = ["p_value", "p_holm"]
_SAME = ["model", "source", "metric", "tracks", "mean", "difference", "p_value"]
"""What differs between two tests in some way."""
NUMBERS = [*COUNTS, *DECIBELS[:-1], *P_VALUES, DECIBELS[-1]]
LONG_COLUMNS = [*CELL, "aggregate", *NUMBERS]


def long_table(
    frame: pd.DataFrame,
    sources: Sequence[str],
    split: pd.DataFrame,
    baseline: str | None,
    confidence: float,
) -> pd.DataFrame:
    """The table in long form: a row per test set, model, source and metric, in dB.

    aggregate: what the column mean is of tracks, mean or median (`metrics.Metric`). Medians have no
    interval, no test and no best (`intervals.Estimate`), and their differences are those of medians.
    seeds, tracks, artists: how many are behind the mean (`intervals.Estimate`); split, data/split.csv,
    names the artists. low, high: the interval of the mean over other seeds and artists; over other
    artists alone where nothing was trained, and where there is one seed. best: 1 for each model that
    cannot be told from the best, corrected over the models; 0 for all others.
    For the models that are compared with `baseline` also the difference to it (tracks paired, seeds
    not), its interval, its p-value, that p-value corrected over all differences in this metric, and
    what true difference is found so in 80 % of repetitions. None of a difference but its mean where
    there are too few seeds or artists.
    """
    artists, of_columns = artist_numbers(frame, split), score_columns(sources)
    parts = []
    for name, part in by_test_set(frame, unseen_datasets(split)).items():
        tracks = part.loc[part["model"] == part["model"].iloc[0], KEY[1:3]].drop_duplicates()
        of_tracks = np.array([artists[name] for name in tracks.itertuples(index=False, name=None)])
        values = by_model(part, sources)
        best = _best(values, of_tracks, confidence, sources)
        for model, own in values.items():
            cells = _cells(model, own, of_tracks, confidence, sources)
            cells["best"] = best.get(model, np.zeros(len(of_columns)))
            if baseline is not None and model != baseline and model not in REFERENCE_ROWS:
                cells |= _difference_cells(own, values[baseline], of_tracks, confidence, sources)
            rows = pd.DataFrame(cells, pd.MultiIndex.from_tuples(of_columns, names=CELL[2:]))
            rows["aggregate"] = [named(metric).aggregate for _, metric in of_columns]
            parts.append(rows.reset_index().assign(test_set=name, model=model))
    table = pd.concat(parts, ignore_index=True)
    return _rounded(_corrected(table, confidence))


def distinct(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that are tests, each once.

    Two test sets may have the same tracks (`unseen` and its only dataset, `all` and the only one); the
    numbers are then the same, and one test.
    """
    return table[table["p_value"].notna()].drop_duplicates(_SAME)


def save_long_table(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV; a cell without a value is empty."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def load_long_table(path: Path, again: str, absent: str) -> pd.DataFrame:
    """Read what `save_long_table` wrote. Raises UserError as `load_means` does."""
    rows = read_table(path, LONG_COLUMNS, again, absent)
    frame = pd.DataFrame(rows, columns=LONG_COLUMNS, dtype=str)
    for name in NUMBERS:
        numbers = pd.to_numeric(frame[name], errors="coerce")
        wrong = numbers.isna() & (frame[name] != "") | (numbers.abs() > MOST)
        if wrong.any():
            cell = shown(str(frame.loc[wrong, name].iloc[0]))
            raise UserError(f"{path}: {name}: expected a number, found {cell}; {again}")
        frame[name] = numbers
    if frame.duplicated(CELL).any():
        raise UserError(f"{path}: a cell of the table is there twice; {again}")
    return frame


def artist_numbers(frame: pd.DataFrame, split: pd.DataFrame) -> dict[tuple[str, str], int]:
    """A number for the artist of each track; the name counts in any case, in all datasets."""
    numbers: dict[str, int] = {}
    found = {
        (str(dataset), str(track)): numbers.setdefault(artist.strip().casefold(), len(numbers))
        for dataset, track, artist in split[["dataset", "track", "artist"]].itertuples(index=False)
    }
    for dataset, track in frame[["dataset", "track"]].itertuples(index=False, name=None):
        if (dataset, track) not in found:
            name = printed(f"{dataset} / {track}")
            raise UserError(
                f"data/split.csv: lacks {name}, which results/tracks has scores of; run `dvc repro`"
            )
    return found


def _cells(
    model: str, values: Values, artists: Values, confidence: float, sources: Sequence[str]
) -> dict[str, Values]:
    retrained, of_tracks = model not in REFERENCE_ROWS and len(values) > 1, medians(sources)
    found = mean_of(values, artists, confidence, retrained=retrained, medians=of_tracks)
    seeds = np.full(len(found.mean), 0 if model in REFERENCE_ROWS else len(values))
    return {
        "seeds": seeds, "tracks": found.tracks, "artists": found.artists,
        "mean": found.mean, "low": found.low, "high": found.high,
    }  # fmt: skip


def _difference_cells(
    new: Values, old: Values, artists: Values, confidence: float, sources: Sequence[str]
) -> dict[str, Values]:
    found = difference(new, old, artists, confidence, medians=medians(sources))
    return {
        "difference": found.mean, "difference_low": found.low, "difference_high": found.high,
        "p_value": found.p_value, "error": found.error, "freedom": found.freedom,
    }  # fmt: skip


def _best(
    values: Mapping[str, Values], artists: Values, confidence: float, sources: Sequence[str]
) -> dict[str, Values]:
    """Of each model (columns,): 1 where it cannot be told from the best one, else 0.

    All are 0 where nothing can be told: one model, one seed, one artist.
    """
    models = [model for model in values if model not in REFERENCE_ROWS]
    columns, of_tracks = score_columns(sources), medians(sources)
    p_values = np.full((len(models), len(models), len(columns)), np.nan)
    for (i, one), (j, other) in combinations(enumerate(models), 2):
        found = difference(values[one], values[other], artists, confidence, medians=of_tracks)
        p_values[i, j] = p_values[j, i] = found.p_value
    nobody = np.zeros(values[models[0]].shape[1]) if models else np.zeros(0)
    levels = {
        model: mean_of(values[model], nobody, confidence, medians=of_tracks).mean
        for model in models
    }
    best = {model: np.zeros(len(columns)) for model in models}
    for column, (_, metric) in enumerate(columns):
        there = [k for k, model in enumerate(models) if np.isfinite(levels[model][column])]
        sign = 1 if named(metric).higher_is_better else -1
        if len(there) < 2:
            continue
        top = max(there, key=lambda k: sign * levels[models[k]][column])
        others = [k for k in there if k != top]
        adjusted = holm(p_values[top, others, column])
        if np.isfinite(adjusted).all():
            best[models[top]][column] = 1
            for k, p_value in zip(others, adjusted, strict=True):
                best[models[k]][column] = p_value >= 1 - confidence
    return best


def _corrected(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """With the p-values corrected over all differences in a metric, and what can be detected so."""
    table = table.reindex(columns=[*LONG_COLUMNS, "error", "freedom"])
    for _, rows in table.groupby("metric"):
        tested, tests = rows[rows["p_value"].notna()], distinct(rows)
        keys = tests[_SAME].itertuples(index=False, name=None)
        adjusted = dict(zip(keys, holm(tests["p_value"]), strict=True))
        table.loc[tested.index, "p_holm"] = [
            adjusted[key] for key in tested[_SAME].itertuples(index=False, name=None)
        ]
        level = (1 - confidence) / max(len(tests), 1)
        table.loc[tested.index, "detectable"] = detectable(
            tested["error"].to_numpy(), tested["freedom"].to_numpy(), level
        )
    return table


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    table = table[LONG_COLUMNS].copy()
    for name in DECIBELS:
        table[name] = table[name].astype(float).round() / 100 + 0.0  # no -0.0
    for name in P_VALUES:
        table[name] = table[name].map(lambda p: float(f"{p:.3g}"))
    table[COUNTS] = table[COUNTS].astype("Int64")
    return table
