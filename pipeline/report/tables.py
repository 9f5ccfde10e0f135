"""The page's tables as plain values: cells of means, rows of tracks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.comparison.aggregation import METRICS
from pipeline.params import REFERENCE_ROWS
from pipeline.report.finished_run import Run, paper_values
from pipeline.report.plots import Point
from pipeline.report.words import plain, row_of, signed, verdict


@dataclass(frozen=True)
class Cell:
    """One model's mean on one test set."""

    value: float
    text: str
    best: bool = False
    difference: str = ""
    """To the baseline, with its interval; empty where it is not compared."""
    verdict: str = "none"
    """Where that interval lies: above, below, unclear; none without one."""
    paper: str = ""
    """The paper's value."""


@dataclass(frozen=True)
class MeanRow:
    """A test set."""

    test_set: str
    tracks: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class TrackRow:
    """A test track."""

    number: int
    dataset: str
    track: str
    note: str
    cells: tuple[Cell, ...]
    """A source after the other: the mixture, then every model."""
    heard: str
    """Why it is among the excerpts; empty when it is not."""


def mean_rows(run: Run, source: str, metric: str) -> list[MeanRow]:
    """The comparison of one source and metric: a row per test set, a cell per row of the table."""
    paper = paper_values(run)
    rows = []
    for test_set, cells in run.means.items():
        values = {model: one.get(f"{metric}_{source}") for model, one in cells.items()}
        competing = [v for m, v in values.items() if m not in REFERENCE_ROWS and v is not None]
        best = max(competing) if len(competing) > 1 else None
        drawn = []
        for model, value in values.items():
            row = row_of(run.statistics, test_set, model, source, metric)
            printed = paper.get((test_set, model, source, metric))
            drawn.append(
                Cell(
                    value=math.nan if value is None else float(value),
                    text="–" if value is None else plain(value),
                    best=value is not None and value == best and model not in REFERENCE_ROWS,
                    difference=_difference(row),
                    verdict=verdict(float(row["difference_low"]), float(row["difference_high"])),
                    paper="" if printed is None else plain(printed),
                )
            )
        rows.append(
            MeanRow(test_set, max(int(one["tracks"]) for one in cells.values()), tuple(drawn))
        )
    return rows


def all_means(run: Run) -> Mapping[str, Mapping[str, list[MeanRow]]]:
    """`mean_rows` by source and metric."""
    return {
        source: {metric: mean_rows(run, source, metric) for metric in METRICS}
        for source in run.params.sources
    }


def _difference(row: pd.Series) -> str:
    difference, low, high = (
        float(row[name]) for name in ("difference", "difference_low", "difference_high")
    )
    if math.isnan(difference):
        return ""
    if math.isnan(low) or math.isnan(high):
        return signed(difference)
    return f"{signed(difference)} ({signed(low)} to {signed(high)})"


def track_rows(
    run: Run, numbers: Mapping[tuple[str, str], int], heard: Mapping[tuple[str, str], str]
) -> list[TrackRow]:
    """Every test track with its SDR, in the order of the scores."""
    shown = [REFERENCE_ROWS[0], *run.params.models]
    wide = run.scores.pivot(index=["dataset", "track"], columns=["source", "model"], values="SDR")
    scores = wide.to_dict("index")
    notes = run.scores.groupby(["dataset", "track"])["note"].agg(
        lambda column: ", ".join(sorted({note for note in column if note}))
    )
    rows = []
    for key, number in numbers.items():
        row = scores[key]
        values = [float(row[source, model]) for source in run.params.sources for model in shown]
        cells = tuple(
            Cell(value, plain(value) if math.isfinite(value) else "–") for value in values
        )
        rows.append(TrackRow(number, *key, str(notes[key]), cells, heard.get(key, "")))
    return rows


def points(
    run: Run, numbers: Mapping[tuple[str, str], int], dataset: str, source: str
) -> list[Point]:
    """The scored tracks of one test set and source, for `plots.distribution`."""
    chosen = run.scores[(run.scores["dataset"] == dataset) & (run.scores["source"] == source)]
    chosen = chosen[chosen["model"].isin(list(run.params.models)) & np.isfinite(chosen["SDR"])]
    return [
        Point(
            str(model), float(value), f"{track}: {model} {plain(float(value))} dB",
            f"#track-{numbers[dataset, str(track)]}",
        )
        for model, track, value in zip(
            chosen["model"], chosen["track"], chosen["SDR"], strict=True
        )
    ]  # fmt: skip


def limits(run: Run, source: str) -> tuple[float, float]:
    """The ends of the SDR axis that all test sets of a source share."""
    chosen = run.scores[
        (run.scores["source"] == source) & run.scores["model"].isin(list(run.params.models))
    ]
    values = _finite(chosen["SDR"])
    if not len(values):
        return 0.0, 1.0
    margin = max(0.05 * float(np.ptp(values)), 0.5)
    return float(values.min()) - margin, float(values.max()) + margin


def _finite(column: pd.Series) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = column.to_numpy(dtype=np.float64)
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = values[np.isfinite(values)]
    return found


def curves(run: Run) -> list[tuple[str, str]]:
    """(name of the curve in a history, what it is): those that any model has, in the page's order."""
    sources: Sequence[str] = run.params.sources
    named = [
        ("training/L_s", "L_s, training"),
        ("validation/L_s", "L_s, validation"),
        ("training/L_u", "L_u"),
        ("training/L_add", "L_add"),
        *((f"training/distance_{source}", f"distance, {source}") for source in sources),
        *((f"training/penalty_{source}", f"penalty, {source}") for source in sources),
    ]
    there = {name for curves in run.histories.values() for name in curves}
    return [(name, label) for name, label in named if name in there]
