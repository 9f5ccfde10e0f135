"""From scores per seed and track to means per test set, their intervals, and the differences.

Scores live on a grid of 0.01 dB. All means are taken of whole hundredths, which double precision
adds exactly in any order: they are the same on every machine, and equal scores are equal.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from pipeline.comparison.intervals import Values, detectable, difference, holm, mean_of
from pipeline.errors import UserError, listing
from pipeline.evaluation.metrics import IMPROVEMENTS, REPORTED, named
from pipeline.evaluation.scoring import UNSCORED
from pipeline.evaluation.track_scores import KEY, MOST
from pipeline.files import write_text
from pipeline.params import DATASETS, REFERENCE_ROWS, Model
from pipeline.text_files import printed, read_json, read_table, shown
from pipeline.tracks import MIXTURE, Role

CELL = ["test_set", "model", "source", "metric"]
COUNTS = ["seeds", "tracks", "artists", "best"]
_OF_DIFFERENCE = ["difference", "difference_low", "difference_high"]
DECIBELS = ["mean", "low", "high", *_OF_DIFFERENCE, "detectable"]
P_VALUES = ["p_value", "p_holm"]
LONG_COLUMNS = [*CELL, *COUNTS, *DECIBELS[:-1], *P_VALUES, DECIBELS[-1]]
ALL = "all"
UNSEEN = "unseen"
"""Test set: the datasets without supervised tracks (paper, section 5: the corpora that only unpaired
recordings were taken from)."""

Means = dict[str, dict[str, dict[str, float | int]]]
"""{test_set: {model: {"SDR_vocals": dB, ..., "tracks": n}}}"""
_Decibels = Annotated[float, Field(ge=-MOST, le=MOST)]
_Cells = dict[str, Annotated[int, Field(ge=0, lt=2**31)] | _Decibels]


def combine(
    frames: Mapping[str, pd.DataFrame],
    sources: Sequence[str],
    seeds: Collection[int] | None = None,
) -> pd.DataFrame:
    """`stacked` scores, ordered by model, then seed, dataset, track and source.

    `frames` maps each row of the table, in its order, to its scores; `mixture` must be among them.
    seeds: those of the parameters (None: those of the first model). Raises UserError when a model has
    other seeds, or was not scored on the same tracks and sources as the others, naming the file that
    is out of date.
    """
    _check_seeds(frames, seeds)
    _check_same_tracks(frames, sources)
    ranked = partial(_ranked, sources=sources)
    return stacked(
        {name: frame.sort_values(KEY, key=ranked, kind="stable") for name, frame in frames.items()}
    )


def stacked(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All models' scores below each other: columns model, *KEY, *REPORTED, note.

    An improvement (NSDR) is the metric less that of the mixture taken as the estimate.
    """
    parts, place = [], KEY[1:]
    for model, frame in frames.items():
        part = frame.set_index(place)
        mixture = frames.get(MIXTURE, frame).drop_duplicates(place).set_index(place)
        mixture = mixture.reindex(part.index)
        # The difference of two infinite ratios is no number, and no reason for a warning.
        with np.errstate(invalid="ignore"):
            for improvement, metric in IMPROVEMENTS.items():
                part[improvement] = (part[metric] - mixture[metric]).round(2)
        parts.append(part.reset_index().assign(model=model)[["model", *KEY, *REPORTED, "note"]])
    return pd.concat(parts, ignore_index=True)


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `combine` with a track's mean over the seeds of a model: no column seed.

    A track that lacks a score with one of the seeds has none. Notes are those of any seed.
    """
    place = ["model", *KEY[1:]]
    grouped = frame.groupby(place, sort=False)
    means = grouped[REPORTED].agg(_complete_mean)
    notes = grouped["note"].agg(lambda column: next(filter(None, column), ""))
    return means.join(notes).reset_index()


def _complete_mean(scores: "pd.Series[float]") -> float:
    return float(scores.mean(skipna=False))


def _ranked(column: pd.Series, sources: Sequence[str]) -> pd.Series:
    """A sort key: datasets as in the paper, sources as in the parameters, the rest by name."""
    if column.name in ("seed", "track"):
        return column
    ranks = {name: f"{rank:03}" for rank, name in enumerate((*DATASETS, *sources))}
    return column.map(lambda name: ranks.get(name, name))


def _check_seeds(frames: Mapping[str, pd.DataFrame], seeds: Collection[int] | None) -> None:
    found = {
        model: sorted(set(frame["seed"]))
        for model, frame in frames.items()
        if model not in REFERENCE_ROWS
    }
    expected = sorted(seeds) if seeds is not None else next(iter(found.values()), [])
    for model, own in found.items():
        if own != expected:
            has, wanted = (
                f"{'seed' if len(some) == 1 else 'seeds'} {listing(map(str, some), limit=10)}"
                for some in (own, expected)
            )
            raise UserError(
                f"results/tracks/{model}.csv: scores of {has}, expected {wanted}; run"
                " `dvc repro compare`"
            )


def _check_same_tracks(frames: Mapping[str, pd.DataFrame], sources: Sequence[str]) -> None:
    rows = {
        (model, seed): frozenset(
            zip(*(own[name] for name in KEY[1:]), own["note"].isin(UNSCORED), strict=True)
        )
        for model, one in frames.items()
        for seed, own in one.groupby("seed")
    }
    # What most files agree on is taken to be current; the first of equals is the mixture's.
    current = Counter(rows.values()).most_common(1)[0][0]
    for (model, _), found in rows.items():
        rerun = "is out of date; delete it and run `dvc repro`"
        if found != current:
            odd = sorted(
                {printed(f"{dataset} / {track}") for dataset, track, *_ in found ^ current}
            )
            raise UserError(
                f"results/tracks/{model}.csv: {rerun}: it differs from the other models' files in"
                f" {listing(odd, limit=3)}"
            )
        there = {str(row[2]) for row in found}
        if there != set(sources):
            raise UserError(
                f"results/tracks/{model}.csv: {rerun}: expected the sources {', '.join(sources)},"
                f" found {listing(map(printed, sorted(there)))}"
            )


def baseline(models: Mapping[str, Model]) -> str | None:
    """The model that the others are compared with: the first that is purely supervised."""
    return next((name for name, model in models.items() if not model.unlabelled), None)


def unseen_datasets(split: pd.DataFrame) -> list[str]:
    """The datasets of data/split.csv without a supervised track."""
    seen = set(split.loc[split["role"] == Role.SUPERVISED, "dataset"])
    return [str(name) for name in split["dataset"].unique() if name not in seen]


def by_test_set(frame: pd.DataFrame, unseen: Collection[str] = ()) -> dict[str, pd.DataFrame]:
    """`all`, `unseen` and each dataset in it, with the rows of `combine` that belong to it.

    unseen: `unseen_datasets`; that test set is not there when it would be empty or equal to `all`.
    """
    names = [str(name) for name in frame["dataset"].unique()]
    found, is_unseen = {ALL: frame}, frame["dataset"].isin(list(unseen))
    if is_unseen.any() and not is_unseen.all():
        found[UNSEEN] = frame[is_unseen]
    return found | {name: frame[frame["dataset"] == name] for name in names}


def means(frame: pd.DataFrame, sources: Sequence[str], unseen: Collection[str] = ()) -> Means:
    """Unweighted means over seeds and tracks in dB, rounded to 0.01, from the rows of `combine`.

    {test_set: {model: {"SDR_<source>": ..., "NSDR_<source>": ..., "tracks": n, "seeds": n}}}. Tracks
    that lack a score (`scoring.UNSCORED`, an infinite ratio) with any seed are left out; a mean of
    nothing has no key. seeds: 0 for the reference rows.
    """
    result: Means = {}
    for name, part in by_test_set(frame, unseen).items():
        scored = part[~part["note"].isin(UNSCORED)]
        result[name] = {}
        for model, values in _by_model(part, sources).items():
            found = mean_of(values, np.zeros(values.shape[1]), 0.5).mean
            by_column = dict(zip(_columns(sources), found, strict=True))
            cells: dict[str, float | int] = {
                f"{metric}_{source}": round(by_column[source, metric]) / 100
                for metric in REPORTED
                for source in sources
                if np.isfinite(by_column[source, metric])
            }
            own = scored[scored["model"] == model]
            cells["tracks"] = len(own[["dataset", "track"]].drop_duplicates())
            cells["seeds"] = 0 if model in REFERENCE_ROWS else len(values)
            result[name][model] = cells
    return result


def save_means(values: Means, path: Path) -> None:
    """Write means as JSON in their own order, so that a diff shows changed numbers only."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def load_means(
    path: Path, again: str, absent: str | None = None, rows: Iterable[str] | None = None
) -> Means:
    """Read what `save_means` wrote; again and absent: the remedies (`text_files`).

    Raises UserError when the file is missing or damaged, or does not have all of `rows` in every
    test set.
    """
    found = read_json(path, dict[str, dict[str, _Cells]], again, absent)
    wrong = None if ALL in found else f"no test set {ALL}"
    for test_set, models in found.items():
        for model, cells in models.items():
            if not isinstance(cells.get("tracks"), int):
                wrong = f"{shown(test_set)}, {shown(model)}: no number of tracks"
        if set(models) != set(found[ALL] if rows is None else rows):
            wrong = f"{shown(test_set)}: not the rows of the table"
    if wrong:
        raise UserError(f"{path}: {wrong}; {again}")
    return found


def long_table(
    frame: pd.DataFrame,
    sources: Sequence[str],
    split: pd.DataFrame,
    baseline: str | None,
    confidence: float,
) -> pd.DataFrame:
    """The table in long form: a row per test set, model, source and metric, in dB.

    seeds, tracks, artists: how many are behind the mean (`intervals.Estimate`); split, data/split.csv,
    names the artists. low, high: the interval of the mean over other seeds and artists; over other
    artists alone where nothing was trained, and where there is one seed. best: 1 for each model that
    cannot be told from the best, corrected over the models; 0 for all others.
    For the models that are compared with `baseline` also the difference to it (tracks paired, seeds
    not), its interval, its p-value, that p-value corrected over all differences in this metric, and
    what true difference is found so in 80 % of repetitions. None of a difference but its mean where
    there are too few seeds or artists.
    """
    artists, of_columns = _artist_numbers(frame, split), _columns(sources)
    parts = []
    for name, part in by_test_set(frame, unseen_datasets(split)).items():
        tracks = part.loc[part["model"] == part["model"].iloc[0], KEY[1:3]].drop_duplicates()
        of_tracks = np.array([artists[name] for name in tracks.itertuples(index=False, name=None)])
        values = _by_model(part, sources)
        best = _best(values, of_tracks, confidence, sources)
        for model, own in values.items():
            cells = _cells(model, own, of_tracks, confidence)
            cells["best"] = best.get(model, np.zeros(len(of_columns)))
            if baseline is not None and model != baseline and model not in REFERENCE_ROWS:
                cells |= _difference_cells(own, values[baseline], of_tracks, confidence)
            rows = pd.DataFrame(cells, pd.MultiIndex.from_tuples(of_columns, names=CELL[2:]))
            parts.append(rows.reset_index().assign(test_set=name, model=model))
    table = pd.concat(parts, ignore_index=True)
    return _rounded(_corrected(table, confidence))


def save_long_table(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV; a cell without a value is empty."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def load_long_table(path: Path, again: str, absent: str) -> pd.DataFrame:
    """Read what `save_long_table` wrote. Raises UserError as `load_means` does."""
    rows = read_table(path, LONG_COLUMNS, again, absent)
    frame = pd.DataFrame(rows, columns=LONG_COLUMNS, dtype=str)
    for name in LONG_COLUMNS[len(CELL) :]:
        numbers = pd.to_numeric(frame[name], errors="coerce")
        wrong = numbers.isna() & (frame[name] != "") | (numbers.abs() > MOST)
        if wrong.any():
            cell = shown(str(frame.loc[wrong, name].iloc[0]))
            raise UserError(f"{path}: {name}: expected a number, found {cell}; {again}")
        frame[name] = numbers
    if frame.duplicated(CELL).any():
        raise UserError(f"{path}: a cell of the table is there twice; {again}")
    return frame


def _columns(sources: Sequence[str]) -> list[tuple[str, str]]:
    """(source, metric) of the columns of `_by_model`."""
    return [(source, metric) for source in sources for metric in REPORTED]


def _by_model(part: pd.DataFrame, sources: Sequence[str]) -> dict[str, Values]:
    """Of each model whole hundredths of a dB (seeds, tracks, columns); NaN where there is no score.

    The tracks are those of the test set, in the order of the first model.
    """
    first = part[part["model"] == part["model"].iloc[0]]
    tracks = pd.MultiIndex.from_frame(first[KEY[1:3]].drop_duplicates())
    found = {}
    for model, rows in part.groupby("model", sort=False):
        seeds = rows["seed"].unique()
        wide = rows.pivot(index=KEY[1:3], columns=["seed", "source"], values=REPORTED)
        columns = pd.MultiIndex.from_product([REPORTED, seeds, sources], names=wide.columns.names)
        values = _hundredths(wide.reindex(index=tracks, columns=columns))
        values = values.reshape(len(tracks), len(REPORTED), len(seeds), len(sources))
        found[str(model)] = values.transpose(2, 0, 3, 1).reshape(len(seeds), len(tracks), -1)
    return found


def _artist_numbers(frame: pd.DataFrame, split: pd.DataFrame) -> dict[tuple[str, str], int]:
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


def _cells(model: str, values: Values, artists: Values, confidence: float) -> dict[str, Values]:
    retrained = model not in REFERENCE_ROWS and len(values) > 1
    found = mean_of(values, artists, confidence, retrained=retrained)
    seeds = np.full(len(found.mean), 0 if model in REFERENCE_ROWS else len(values))
    return {
        "seeds": seeds, "tracks": found.tracks, "artists": found.artists,
        "mean": found.mean, "low": found.low, "high": found.high,
    }  # fmt: skip


def _difference_cells(
    new: Values, old: Values, artists: Values, confidence: float
) -> dict[str, Values]:
    found = difference(new, old, artists, confidence)
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
    columns = _columns(sources)
    p_values = np.full((len(models), len(models), len(columns)), np.nan)
    for (i, one), (j, other) in combinations(enumerate(models), 2):
        found = difference(values[one], values[other], artists, confidence)
        p_values[i, j] = p_values[j, i] = found.p_value
    nobody = np.zeros(values[models[0]].shape[1]) if models else np.zeros(0)
    levels = {model: mean_of(values[model], nobody, confidence).mean for model in models}
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
        table.loc[rows.index, "p_holm"] = holm(rows["p_value"])
        level = (1 - confidence) / max(rows["p_value"].count(), 1)
        tested = rows[rows["p_value"].notna()]
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


def _hundredths(scores: pd.Series | pd.DataFrame) -> Values:
    """Whole hundredths of a dB; NaN for what has no place in a mean (missing, infinite)."""
    values = scores.to_numpy(dtype=np.float64)
    return np.where(np.isfinite(values), np.rint(values * 100), np.nan)
