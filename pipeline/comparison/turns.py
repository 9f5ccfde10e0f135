"""Where a conclusion turns with the metric: by one of them one row is ahead, by another the other.

Only what is told counts: a difference whose interval in one of the two metrics holds no zero, a best
row that one of the two tells from the other's.
"""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pipeline.comparison.markdown import escaped, interval, number
from pipeline.evaluation.metrics import HEADLINE, REPORTED, TABLED, named
from pipeline.params import REFERENCE_ROWS

PANEL = [name for name in REPORTED if name not in TABLED]
"""What HEADLINE is held against: other answers to the same question. SIR and SAR ask others."""
MOST = 4
"""So many are named."""

_Row = Mapping[Hashable, Any]
"""Of the table, by column."""


def as_line(long: pd.DataFrame) -> list[str]:
    """A line for the notes of the table, or none, from `long_table.long_table`."""
    found: dict[str, str] = {}
    for (test_set, source), block in long.groupby(["test_set", "source"], sort=False):
        place = f"{escaped(str(source))}, {escaped(str(test_set))}"
        for said in (*_differences(block), *_best_rows(block)):
            # two test sets may have the same tracks: the first one is named
            found.setdefault(f"{source}: {said}", f"{place}: {said}")
    if not found:
        return []
    told, more = list(found.values()), len(found) - MOST
    rest = f"; and {more} more" if more > 0 else ""
    return [
        f"Turns with the metric (interval where it tells): {'; '.join(told[:MOST])}{rest}."
        " All are in table.csv; docs/metrics.md says what each metric forgives."
    ]


def _differences(block: pd.DataFrame) -> Iterator[str]:
    """Differences to the baseline whose sign is another, of one test set and source."""
    for model, rows in block[block["difference"].notna()].groupby("model", sort=False):
        by_metric = {str(row["metric"]): row for row in rows.to_dict("records")}
        if (first := by_metric.get(HEADLINE)) is None:
            continue
        others = [
            row
            for row in (by_metric[name] for name in PANEL if name in by_metric)
            if _sign(row) * _sign(first) < 0 and (_tells(row) or _tells(first))
        ]
        if others:
            listed = ", ".join(_difference(row) for row in (first, *others))
            yield f"{escaped(str(model))} less the baseline {listed}"


def _best_rows(block: pd.DataFrame) -> Iterator[str]:
    """The best model where it is another, of one test set and source; not the baseline, which
    `_differences` is about."""
    models = block[~block["model"].isin(list(REFERENCE_ROWS)) & block["mean"].notna()]
    by_metric = {str(name): rows.set_index("model") for name, rows in models.groupby("metric")}
    tops = {name: _top(rows, name) for name, rows in by_metric.items()}
    if (first := tops.get(HEADLINE)) is None:
        return
    compared = set(block.loc[block["difference"].notna(), "model"]) or set(models["model"])
    others = [
        name
        for name in PANEL
        if (top := tops.get(name, first)) != first and {top, first} <= compared
        if _marked_below(by_metric[HEADLINE], top) or _marked_below(by_metric[name], first)
    ]
    if others:
        listed = ", ".join(f"{escaped(tops[name])} by {name}" for name in (HEADLINE, *others))
        yield f"best row {listed}"


def _direction(metric: str) -> int:
    return 1 if named(metric).higher_is_better else -1


def _sign(row: _Row) -> float:
    """Of a difference: 1 where it is one for the better."""
    return float(np.sign(row["difference"])) * _direction(str(row["metric"]))


def _tells(row: _Row) -> bool:
    """Whether the interval holds no zero; without one nothing is told."""
    return bool(row["difference_low"] > 0 or row["difference_high"] < 0)


def _difference(row: _Row) -> str:
    ends = f" ({interval(row['difference_low'], row['difference_high'])})" if _tells(row) else ""
    return f"{row['metric']} {number(row['difference'], '+')}{ends}"


def _top(rows: pd.DataFrame, metric: str) -> str:
    return str((rows["mean"] * _direction(metric)).idxmax())


def _marked_below(rows: pd.DataFrame, model: str) -> bool:
    """Whether a model is told from the best one: some are marked as that, and it is not."""
    marked = set(rows.index[rows["best"] == 1])
    return bool(marked) and model not in marked
