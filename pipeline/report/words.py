"""What the numbers say, in sentences that claim no more than their intervals."""

import math
from collections.abc import Sequence

import pandas as pd

from pipeline.comparison.aggregation import ALL, UNSEEN
from pipeline.comparison.long_table import CELL, NUMBERS
from pipeline.evaluation.metrics import HEADLINE
from pipeline.params import REFERENCE_ROWS
from pipeline.report.finished_run import Run

OF_DIFFERENCE = ("difference", "difference_low", "difference_high")
ALL_COUNTED = ", but not if all comparisons of the table are counted"
FEW = 3
"""Models beside the baseline that have a sentence each, whatever comes out."""


def joined(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def signed(value: float) -> str:
    """A difference in dB with its sign, a real minus."""
    return f"{value:+.2f}".replace("-", "−")


def plain(value: float) -> str:
    """dB with a real minus."""
    return f"{value:.2f}".replace("-", "−")


def cell_of(
    table: pd.DataFrame, test_set: str, model: str, source: str, metric: str
) -> dict[str, float]:
    """The numbers of one row of results/table.csv by column; NaN where there are none."""
    chosen = table[(table[CELL] == [test_set, model, source, metric]).all(axis=1)]
    if chosen.empty:
        return dict.fromkeys(NUMBERS, math.nan)
    row = chosen.iloc[0]
    return {name: math.nan if pd.isna(row[name]) else float(row[name]) for name in NUMBERS}


def side_of_zero(low: float, high: float) -> str:
    """above, below or unclear: where the interval of a difference lies; none without one."""
    if math.isnan(low) or math.isnan(high):
        return "none"
    return "above" if low > 0 else "below" if high < 0 else "unclear"


def headline(run: Run) -> tuple[str, list[str]]:
    """(what was compared, what came out of each source: over all test tracks, and on unseen data)."""
    models = list(run.params.models)
    tracks = max(int(cells["tracks"]) for cells in run.means[ALL].values())
    kind = "embedded synthetic recordings in the layout of " if run.embedded else ""
    sets = [str(name) for name in run.means if name not in (ALL, UNSEEN)]
    where = f"{tracks} test track{'s' if tracks != 1 else ''} of {kind}{joined(sets)}"
    what = f"{joined(models)} {'were' if len(models) > 1 else 'was'} tested on {where}."
    shown = [test_set for test_set in (ALL, UNSEEN) if test_set in run.means]
    return what, [
        _outcome(run, source, test_set) for test_set in shown for source in run.params.sources
    ]


def _outcome(run: Run, source: str, test_set: str) -> str:
    means = {
        model: float(cells[f"{HEADLINE}_{source}"])
        for model, cells in run.means[test_set].items()
        if model not in REFERENCE_ROWS and f"{HEADLINE}_{source}" in cells
    }
    title = source.capitalize() + (f", {test_set}" if test_set != ALL else "")
    if not means:
        return f"{title}: no track has scores."
    if run.baseline not in means or len(means) == 1:
        listed = joined([f"{plain(mean)} dB of {model}" for model, mean in means.items()])
        alone = "; there is no supervised baseline to compare with" if len(means) > 1 else ""
        return f"{title}: mean {HEADLINE} {listed}{alone}."
    others = [model for model in means if model != run.baseline]
    told = _one_by_one if len(others) <= FEW else _together
    said = told(run, test_set, source, others)
    return (
        f"{title}: {run.baseline} has a mean {HEADLINE} of {plain(means[run.baseline])} dB; {said}."
    )


def _one_by_one(run: Run, test_set: str, source: str, models: Sequence[str]) -> str:
    return "; ".join(
        f"{model} {_difference(run, test_set, model, source)}"
        + ALL_COUNTED * _doubtful(run, test_set, model, source)
        for model in models
    )


def _together(run: Run, test_set: str, source: str, models: Sequence[str]) -> str:
    """What can be told of many models, and then those that are like the baseline as far as one sees."""
    sides = {}
    for model in models:
        cell = cell_of(run.table, test_set, model, source, HEADLINE)
        sides[model] = side_of_zero(*(cell[name] for name in OF_DIFFERENCE[1:]))
    unclear = [model for model, side in sides.items() if side == "unclear"]
    others = [model for model in models if model not in unclear]
    doubtful = [model for model in others if _doubtful(run, test_set, model, source)]
    said = [f"{model} {_difference(run, test_set, model, source)}" for model in others]
    if unclear:
        said.append(f"{joined(unclear)} cannot be told from it")
    text = "; ".join(said)
    if doubtful:
        text += f". If all comparisons of the table are counted, {joined(doubtful)} cannot be told either"
    return text


def _doubtful(run: Run, test_set: str, model: str, source: str) -> bool:
    """Whether a difference beyond its interval is none after the correction."""
    cell = cell_of(run.table, test_set, model, source, HEADLINE)
    clear = side_of_zero(*(cell[name] for name in OF_DIFFERENCE[1:])) in ("above", "below")
    return clear and cell["p_holm"] >= 1 - run.params.evaluation.confidence


def _difference(run: Run, test_set: str, model: str, source: str) -> str:
    cell = cell_of(run.table, test_set, model, source, HEADLINE)
    difference, low, high = (cell[name] for name in OF_DIFFERENCE)
    if math.isnan(difference):
        return "cannot be compared with it track by track"
    said = side_of_zero(low, high)
    if said == "none":
        return f"differs by {signed(difference)} dB, with too few seeds or artists for an interval"
    interval = f"{confidence(run)} interval {signed(low)} to {signed(high)}"
    if said == "unclear":
        return f"cannot be told from it ({signed(difference)} dB, {interval})"
    return f"lies {plain(abs(difference))} dB {said} it ({interval})"


def confidence(run: Run) -> str:
    """95 % or what the parameters say."""
    return f"{100 * run.params.evaluation.confidence:g}\N{NO-BREAK SPACE}%"
