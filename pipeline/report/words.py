"""What the numbers say, in sentences that claim no more than their intervals."""

import math
from collections.abc import Sequence

import pandas as pd

from pipeline.comparison.aggregation import ALL
from pipeline.evaluation.metrics import HEADLINE
from pipeline.params import REFERENCE_ROWS
from pipeline.report.finished_run import Run


def joined(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def signed(value: float) -> str:
    """A difference in dB with its sign, a real minus."""
    return f"{value:+.2f}".replace("-", "−")


def plain(value: float) -> str:
    """dB with a real minus."""
    return f"{value:.2f}".replace("-", "−")


def difference_of(
    table: pd.DataFrame, test_set: str, model: str, source: str, metric: str
) -> tuple[float, float, float]:
    """Difference to the baseline and its interval's ends in results/table.csv; NaN where none."""
    keys = table[["test_set", "model", "source", "metric"]]
    chosen = table[(keys == [test_set, model, source, metric]).all(axis=1)]
    if chosen.empty:
        return math.nan, math.nan, math.nan
    row = chosen.iloc[0]
    return float(row["difference"]), float(row["difference_low"]), float(row["difference_high"])


def side_of_zero(low: float, high: float) -> str:
    """above, below or unclear: where the interval of a difference lies; none without one."""
    if math.isnan(low) or math.isnan(high):
        return "none"
    return "above" if low > 0 else "below" if high < 0 else "unclear"


def headline(run: Run) -> tuple[str, list[str]]:
    """(what was compared, what came out of each source)."""
    models = list(run.params.models)
    tracks = max(int(cells["tracks"]) for cells in run.means[ALL].values())
    kind = "embedded synthetic recordings in the layout of " if run.embedded else ""
    sets = [str(name) for name in run.means if name != ALL]
    where = f"{tracks} test track{'s' if tracks != 1 else ''} of {kind}{joined(sets)}"
    what = f"{joined(models)} {'were' if len(models) > 1 else 'was'} tested on {where}."
    return what, [_outcome(run, source) for source in run.params.sources]


def _outcome(run: Run, source: str) -> str:
    means = {
        model: float(cells[f"{HEADLINE}_{source}"])
        for model, cells in run.means[ALL].items()
        if model not in REFERENCE_ROWS and f"{HEADLINE}_{source}" in cells
    }
    title = source.capitalize()
    if not means:
        return f"{title}: no track has scores."
    top = max(means.values())
    best = [model for model, value in means.items() if value == top]
    if len(means) == 1:
        return f"{title}: {best[0]} has a mean {HEADLINE} of {plain(top)} dB."
    if len(best) > 1:
        return f"{title}: {joined(best)} share the highest mean {HEADLINE}, {plain(top)} dB."
    lead = f"{title}: {best[0]} has the highest mean {HEADLINE}, {plain(top)} dB"
    if run.baseline is None:
        return f"{lead}; there is no supervised baseline to compare it with."
    if best[0] == run.baseline:
        second = max((model for model in means if model != best[0]), key=lambda m: means[m])
        return f"{lead}; the next, {second}, {_difference(run, second, source)}."
    return f"{lead}; it {_difference(run, best[0], source)}."


def _difference(run: Run, model: str, source: str) -> str:
    difference, low, high = difference_of(run.table, ALL, model, source, HEADLINE)
    if math.isnan(difference):
        return f"cannot be compared with {run.baseline} track by track"
    interval = f"{confidence(run)} interval {signed(low)} to {signed(high)}"
    said = side_of_zero(low, high)
    if said in ("above", "below"):
        return f"lies {plain(abs(difference))} dB {said} {run.baseline} ({interval})"
    if said == "none":
        return (
            f"differs from {run.baseline} by {signed(difference)} dB, on too few tracks for an"
            " interval"
        )
    return (
        f"differs from {run.baseline} by {signed(difference)} dB, which the tracks do not tell"
        f" from zero ({interval})"
    )


def confidence(run: Run) -> str:
    """95 % or what the parameters say."""
    return f"{100 * run.params.evaluation.confidence:g}\N{NO-BREAK SPACE}%"
