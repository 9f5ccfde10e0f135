"""The scores of all rows in one frame, its test sets, and the means that DVC tracks."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from pipeline.comparison.intervals import mean_of
from pipeline.comparison.score_arrays import by_model, score_columns
from pipeline.errors import UserError, listing
from pipeline.evaluation.metrics import IMPROVEMENTS, REPORTED, TABLED
from pipeline.evaluation.scoring import UNSCORED
from pipeline.evaluation.track_scores import KEY, MOST
from pipeline.files import write_text
from pipeline.params import DATASETS, REFERENCE_ROWS
from pipeline.text_files import printed, read_json, shown
from pipeline.tracks import MIXTURE, Role
from pipeline.ways import Model

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
    """The model that the others are compared with: the first that learns from pairs as they are alone."""
    return next((name for name, model in models.items() if model.only_supervised), None)


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
    """Unweighted means over seeds and tracks of the metrics of the table (TABLED), from `combine`.

    In dB, rounded to 0.01. The others are in results/table.csv alone: whoever reads what a change did
    would have to find the lines that matter among three times as many.
    {test_set: {model: {"SDR_<source>": ..., "NSDR_<source>": ..., "tracks": n, "seeds": n}}}. Tracks
    that lack a score (`scoring.UNSCORED`, an infinite ratio) with any seed are left out; a mean of
    nothing has no key. seeds: 0 for the reference rows.
    """
    result: Means = {}
    for name, part in by_test_set(frame, unseen).items():
        scored = part[~part["note"].isin(UNSCORED)]
        result[name] = {}
        for model, values in by_model(part, sources).items():
            found = mean_of(values, np.zeros(values.shape[1]), 0.5).mean
            by_column = dict(zip(score_columns(sources), found, strict=True))
            cells: dict[str, float | int] = {
                f"{metric}_{source}": round(by_column[source, metric]) / 100
                for metric in TABLED
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
