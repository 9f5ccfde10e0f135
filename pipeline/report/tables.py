"""The page's tables as plain values: cells of means, rows of tracks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.critique.critic_table import ALL
from pipeline.evaluation.metrics import HEADLINE, REPORTED
from pipeline.report.finished_run import Run, paper_values
from pipeline.report.plots import Point
from pipeline.report.words import OF_DIFFERENCE, cell_of, plain, side_of_zero, signed
from pipeline.tracks import MIXTURE, TrackName


@dataclass(frozen=True)
class Cell:
    """One model's mean over seeds and the tracks of a test set."""

    value: float
    text: str
    best: bool = False
    """Whether it cannot be told from the best model."""
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
    """Those that have scores of the source."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class CriticRow:
    """What one critic makes of a group of recordings: means over seeds, lowest to highest."""

    model: str
    source: str
    recordings: str
    distances: tuple[str, str]
    """Of the estimates of the critic's own model, and of the supervised one."""
    correlations: tuple[str, str]


@dataclass(frozen=True)
class LikenessRow:
    """How like the real ones of a source a model's estimates are, as text."""

    test_set: str
    source: str
    model: str
    frechet: str
    floor: str
    mixture: str
    leakage: str


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
    paper, rows = paper_values(run), []
    table = run.table[(run.table["source"] == source) & (run.table["metric"] == metric)]
    for test_set, cells in run.means.items():
        drawn, tracks = [], 0
        for model in cells:
            found = cell_of(table, test_set, model, source, metric)
            value = found["mean"]
            difference, low, high = (found[name] for name in OF_DIFFERENCE)
            tracks = max(tracks, 0 if math.isnan(found["tracks"]) else int(found["tracks"]))
            printed = paper.get((test_set, model, source, metric))
            drawn.append(
                Cell(
                    value=value,
                    text="–" if math.isnan(value) else plain(value),
                    best=found["best"] == 1,
                    difference=_difference(difference, low, high),
                    verdict=side_of_zero(low, high),
                    paper="" if printed is None else plain(printed),
                )
            )
        rows.append(MeanRow(test_set, tracks, tuple(drawn)))
    return rows


def all_means(run: Run) -> Mapping[str, Mapping[str, list[MeanRow]]]:
    """`mean_rows` by source and metric."""
    return {
        source: {metric: mean_rows(run, source, metric) for metric in REPORTED}
        for source in run.params.sources
    }


def _difference(difference: float, low: float, high: float) -> str:
    if math.isnan(difference):
        return ""
    if math.isnan(low) or math.isnan(high):
        return signed(difference)
    return f"{signed(difference)} ({signed(low)} to {signed(high)})"


def scored_rows(run: Run) -> list[str]:
    """The rows of the comparison whose scores `track_rows` has of each source, in their order."""
    return [MIXTURE, *run.params.models]


def track_rows(
    run: Run, numbers: Mapping[TrackName, int], heard: Mapping[TrackName, str]
) -> list[TrackRow]:
    """Every test track with its headline scores, in the order of the scores."""
    shown = scored_rows(run)
    track, column = ["dataset", "track"], ["source", "model"]
    scores = run.scores.pivot(index=track, columns=column, values=HEADLINE).to_dict("index")
    notes = run.scores.groupby(track)["note"].agg(
        lambda column: ", ".join(sorted({note for note in column if note}))
    )
    rows = []
    for key, number in numbers.items():
        row = scores[key]
        values = [float(row[source, model]) for source in run.params.sources for model in shown]
        cells = tuple(Cell(v, plain(v) if math.isfinite(v) else "–") for v in values)
        rows.append(TrackRow(number, *key, str(notes[key]), cells, heard.get(key, "")))
    return rows


def points(run: Run, numbers: Mapping[TrackName, int], dataset: str, source: str) -> list[Point]:
    """The scored tracks of one test set and source, for `plots.distribution`."""
    chosen = run.scores[(run.scores["dataset"] == dataset) & (run.scores["source"] == source)]
    chosen = chosen[chosen["model"].isin(list(run.params.models)) & np.isfinite(chosen[HEADLINE])]
    return [
        Point(
            str(model), float(value), f"{track}: {model} {plain(float(value))} dB",
            f"#track-{numbers[TrackName(dataset, str(track))]}",
        )
        for model, track, value in chosen[["model", "track", HEADLINE]].itertuples(index=False)
    ]  # fmt: skip


def limits(run: Run, source: str) -> tuple[float, float]:
    """The ends of the headline metric's axis that all test sets of a source share."""
    chosen = run.scores[
        (run.scores["source"] == source) & run.scores["model"].isin(list(run.params.models))
    ]
    values = chosen.loc[np.isfinite(chosen[HEADLINE]), HEADLINE]
    if not len(values):
        return 0.0, 1.0
    margin = max(0.05 * float(values.max() - values.min()), 0.5)
    return float(values.min()) - margin, float(values.max()) + margin


def critic_rows(run: Run) -> list[CriticRow]:
    """Every critic and group of recordings, in the order of results/critics.csv."""
    rows = []
    about = ["model", "critic", "role", "dataset"]
    for (model, source, role, dataset), found in run.critics.groupby(about, sort=False):
        own = found["estimates"] == model
        sides = (found[own], found[~own])
        recordings = "unlabelled, which it learned from" if dataset == ALL else f"{dataset}, {role}"
        distances, correlations = (
            (_range(sides[0][column]), _range(sides[1][column]))
            for column in ("distance", "correlation")
        )
        rows.append(CriticRow(str(model), str(source), recordings, distances, correlations))
    return rows


def likeness_rows(run: Run) -> list[LikenessRow]:
    """Every model on every test set and source."""
    rows = []
    for (test_set, source, model), found in run.likeness.groupby(
        ["test_set", "source", "model"], sort=False
    ):
        floor, mixture = (plain(found[name].mean()) for name in ("floor", "mixture"))
        frechet, leakage = (_range(found[name]) for name in ("frechet", "leakage"))
        about = (str(test_set), str(source), str(model))
        rows.append(LikenessRow(*about, frechet, floor, mixture, leakage))
    order = {name: place for place, name in enumerate(dict.fromkeys(r.test_set for r in rows))}
    return sorted(rows, key=lambda row: (order[row.test_set], run.params.sources.index(row.source)))


def _range(values: pd.Series) -> str:
    """The mean over seeds, and between what; a dash where there is none."""
    values = values.dropna()
    if values.empty:
        return "–"
    mean = plain(values.mean())
    return f"{mean} ({plain(values.min())} to {plain(values.max())})" if len(values) > 1 else mean


def curve_names(run: Run) -> list[tuple[str, str]]:
    """(name of a curve in a history, what it is): those that any model has, in the page's order."""
    sources: Sequence[str] = run.params.sources
    named = [
        ("training/L_s", "L_s, training"),
        ("validation/L_s", "L_s, validation"),
        ("training/L_add", "L_add"),
        *((f"training/distance_{source}", f"distance, {source}") for source in sources),
        *((f"training/penalty_{source}", f"penalty, {source}") for source in sources),
        *(
            (f"validation/distance_{source}", f"distance, {source}, validation")
            for source in sources
        ),
        *((f"validation/correlation_{source}", f"correlation, {source}") for source in sources),
        ("training/L_teacher", "L_teacher"),
        ("training/L_mixit", "L_mixit"),
        ("training/alpha", "alpha"),
    ]
    there = {name for curves in run.histories.values() for name in curves}
    return [(name, label) for name, label in named if name in there]
