"""From scores per track to means per test set, their spread, and the differences between models.

Scores live on a grid of 0.01 dB. All sums are taken in whole hundredths, which double precision
adds exactly in any order: the results are the same on every machine, and equal scores are equal.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from pipeline.comparison.intervals import Values, bootstrap_interval, signed_rank
from pipeline.errors import UserError, listing
from pipeline.evaluation.metrics import IMPROVEMENTS, REPORTED, named
from pipeline.evaluation.scoring import UNSCORED
from pipeline.evaluation.track_scores import KEY, MOST
from pipeline.files import write_text
from pipeline.params import DATASETS, REFERENCE_ROWS, Model
from pipeline.text_files import printed, read_json, read_table, shown
from pipeline.tracks import MIXTURE

_OF_DIFFERENCE = ["difference", "difference_low", "difference_high"]
DECIBELS = ["mean", "median", "std", "low", "high", *_OF_DIFFERENCE]
LONG_COLUMNS = ["test_set", "model", "source", "metric", "tracks", *DECIBELS, "p_value"]
ALL = "all"

Means = dict[str, dict[str, dict[str, float | int]]]
"""{test_set: {model: {"SDR_vocals": dB, ..., "tracks": n}}}"""
_Decibels = Annotated[float, Field(ge=-MOST, le=MOST)]
_Cells = dict[str, Annotated[int, Field(ge=0, lt=2**31)] | _Decibels]


def combine(frames: Mapping[str, pd.DataFrame], sources: Sequence[str]) -> pd.DataFrame:
    """`stacked` scores, ordered by model, then dataset, track and source.

    `frames` maps each row of the table, in its order, to its scores; `mixture` must be among them.
    Raises UserError when the models were not scored on the same tracks and sources, naming the file
    that is out of date.
    """
    _check_same_tracks(frames, sources)
    ranked = partial(_ranked, sources=sources)
    return stacked(
        {name: frame.sort_values(KEY, key=ranked, kind="stable") for name, frame in frames.items()}
    )


def stacked(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All models' scores below each other: columns model, *KEY, *REPORTED, note.

    An improvement (NSDR) is the metric less that of the mixture taken as the estimate.
    """
    parts = []
    for model, frame in frames.items():
        part = frame.set_index(KEY)
        mixture = frames.get(MIXTURE, frame).set_index(KEY).reindex(part.index)
        # The difference of two infinite ratios is no number, and no reason for a warning.
        with np.errstate(invalid="ignore"):
            for improvement, metric in IMPROVEMENTS.items():
                part[improvement] = (part[metric] - mixture[metric]).round(2)
        parts.append(part.reset_index().assign(model=model)[["model", *KEY, *REPORTED, "note"]])
    return pd.concat(parts, ignore_index=True)


def _ranked(column: pd.Series, sources: Sequence[str]) -> pd.Series:
    """A sort key: datasets as in the paper, sources as in the parameters, the rest by name."""
    if column.name == "track":
        return column
    ranks = {name: f"{rank:03}" for rank, name in enumerate((*DATASETS, *sources))}
    return column.map(lambda name: ranks.get(name, name))


def _check_same_tracks(frames: Mapping[str, pd.DataFrame], sources: Sequence[str]) -> None:
    rows = {
        model: frozenset(zip(*(one[name] for name in KEY), one["note"].isin(UNSCORED), strict=True))
        for model, one in frames.items()
    }
    # What most files agree on is taken to be current; the first of equals is the mixture's.
    current = Counter(rows.values()).most_common(1)[0][0]
    for model, found in rows.items():
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


def by_test_set(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """`all` and each dataset in it, with the rows of `combine` that belong to it."""
    names = [str(name) for name in frame["dataset"].unique()]
    return {ALL: frame} | {name: frame[frame["dataset"] == name] for name in names}


def means(frame: pd.DataFrame, sources: Sequence[str]) -> Means:
    """Unweighted means over tracks in dB, rounded to 0.01, from the rows of `combine`.

    {test_set: {model: {"SDR_<source>": ..., "NSDR_<source>": ..., "tracks": n}}}. Tracks without
    scores (`scoring.UNSCORED`) are left out and infinite ratios too; a mean of nothing has no key.
    """
    result: Means = {}
    for name, part in by_test_set(frame).items():
        result[name] = {}
        for model in part["model"].unique():
            rows = part[(part["model"] == model) & ~part["note"].isin(UNSCORED)]
            cells: dict[str, float | int] = {}
            for metric in REPORTED:
                for source in sources:
                    values = _hundredths(rows.loc[rows["source"] == source, metric])
                    if np.isfinite(values).any():
                        cells[f"{metric}_{source}"] = round(float(np.nanmean(values))) / 100
            cells["tracks"] = len(rows[["dataset", "track"]].drop_duplicates())
            result[name][str(model)] = cells
    return result


def winners(metric: str, values: Mapping[str, float | None]) -> list[str]:
    """Of one metric's means by row of the table: the best model and its equals.

    Reference rows do not compete; no model wins alone.
    """
    found = {n: v for n, v in values.items() if n not in REFERENCE_ROWS and v is not None}
    if len(found) < 2:
        return []
    best = (max if named(metric).higher_is_better else min)(found.values())
    return [name for name, value in found.items() if value == best]


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
    baseline: str | None,
    bootstrap_samples: int,
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    """The table in long form: a row per test set, model, source and metric, in dB.

    tracks, mean, median, std (of a sample) and low, high: the percentile bootstrap interval of the
    mean over tracks. For the models that are compared with `baseline` also the mean paired
    difference to it, that difference's interval, and the p-value of a two-sided Wilcoxon
    signed-rank test; empty for the reference rows, the baseline itself and when `baseline` is None.
    In a test set all intervals come from the same resampled tracks.
    """
    parts = []
    for name, part in by_test_set(frame).items():
        values = _by_track(part, sources)
        paired = _paired(values, baseline)
        # One matrix for values and differences: the same tracks are drawn for all of them.
        low, high = bootstrap_interval(
            np.hstack([values.to_numpy(), paired.to_numpy()]),
            bootstrap_samples,
            confidence,
            [seed, *name.encode()],  # a test set's intervals do not depend on the others
        )
        width = values.shape[1]
        cells = _cells(values, low[:width], high[:width])
        cells = cells.join(_difference_cells(paired, low[width:], high[width:]))
        parts.append(cells.reset_index().assign(test_set=name))
    return _rounded(pd.concat(parts, ignore_index=True))


def save_long_table(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV; a cell without a value is empty."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def load_long_table(path: Path, again: str, absent: str) -> pd.DataFrame:
    """Read what `save_long_table` wrote. Raises UserError as `load_means` does."""
    rows = read_table(path, LONG_COLUMNS, again, absent)
    frame = pd.DataFrame(rows, columns=LONG_COLUMNS, dtype=str)
    for name in LONG_COLUMNS[4:]:
        numbers = pd.to_numeric(frame[name], errors="coerce")
        wrong = numbers.isna() & (frame[name] != "") | (numbers.abs() > MOST)
        if wrong.any():
            cell = shown(str(frame.loc[wrong, name].iloc[0]))
            raise UserError(f"{path}: {name}: expected a number, found {cell}; {again}")
        frame[name] = numbers
    if frame.duplicated(LONG_COLUMNS[:4]).any():
        raise UserError(f"{path}: a cell of the table is there twice; {again}")
    return frame


def _by_track(part: pd.DataFrame, sources: Sequence[str]) -> pd.DataFrame:
    """Hundredths of a dB: a row per scored track, a column per (model, source, metric)."""
    scored = part[~part["note"].isin(UNSCORED)]
    columns = pd.MultiIndex.from_product(
        [part["model"].unique(), sources, REPORTED], names=["model", "source", "metric"]
    )
    wide = (
        scored.melt(["dataset", "track", "model", "source"], REPORTED, var_name="metric")
        .pivot(index=["dataset", "track"], columns=["model", "source", "metric"], values="value")
        .reindex(columns=columns)
    )
    return pd.DataFrame(_hundredths(wide), wide.index, columns)


def _paired(values: pd.DataFrame, baseline: str | None) -> pd.DataFrame:
    """Per track the differences to the baseline, of the models that are compared with it."""
    models = values.columns.get_level_values("model")
    if baseline is None:
        return values.loc[:, models == ""]
    kept = values.loc[:, ~models.isin([*REFERENCE_ROWS, baseline])]
    its_cells = kept.columns.to_frame().assign(model=baseline)
    return kept - values.reindex(columns=pd.MultiIndex.from_frame(its_cells)).to_numpy()


def _cells(values: pd.DataFrame, low: Values, high: Values) -> pd.DataFrame:
    return pd.DataFrame({
        "tracks": values.count(), "mean": values.mean(), "median": values.median(),
        "std": values.std(ddof=1), "low": low, "high": high,
    })  # fmt: skip


def _difference_cells(paired: pd.DataFrame, low: Values, high: Values) -> pd.DataFrame:
    p_values = [signed_rank(column) for column in paired.to_numpy().T]
    return pd.DataFrame({
        "difference": paired.mean(), "difference_low": low, "difference_high": high,
        "p_value": p_values,
    })  # fmt: skip


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    table = table.reindex(columns=LONG_COLUMNS)
    for name in DECIBELS:
        table[name] = table[name].astype(float).round() / 100 + 0.0  # no -0.0
    table["p_value"] = table["p_value"].map(lambda p: float(f"{p:.3g}"))
    return table


def _hundredths(scores: pd.Series | pd.DataFrame) -> Values:
    """Whole hundredths of a dB; NaN for what has no place in a mean (missing, infinite)."""
    values = scores.to_numpy(dtype=np.float64)
    return np.where(np.isfinite(values), np.rint(values * 100), np.nan)
