"""The line that says where a conclusion turns with the metric."""

import re

import numpy as np
import pandas as pd
import pytest

from pipeline.comparison import aggregation, turns
from tests.helpers.score_tables import SOURCES, Tracks, frame, markdown, seeds_of, table_of

Levels = dict[str, tuple[float, float]]
"""(SDR, SI-SDR) in dB of the vocals of each model."""


def scores(levels: Levels, seeds: int = 4, spread: float = 0.05) -> pd.DataFrame:
    """Nine tracks of as many artists; accompaniment is the same for all models."""
    random, frames = np.random.default_rng(1), {}
    for model, (sdr, si_sdr) in {"mixture": (0.0, 0.0), **levels}.items():
        runs = []
        for seed in seeds_of(model, range(seeds)):
            off = spread * random.normal(size=9)
            rows: Tracks = {
                ("iKala", str(k)): (
                    (5.0, 5.0, 5.0),
                    tuple(np.round([sdr + by, 5.0, 5.0, si_sdr + by, *[sdr + by] * 3], 2)),
                )
                for k, by in enumerate(off)
            }
            runs.append(frame(rows, seeds=(seed,)))
        frames[model] = pd.concat(runs, ignore_index=True)
    return aggregation.combine(frames, SOURCES)


def line(levels: Levels, seeds: int = 4, spread: float = 0.05) -> str:
    return "".join(turns.as_line(table_of(scores(levels, seeds, spread))))


def test_a_told_difference_of_another_sign_by_another_metric() -> None:
    said = line({"baseline": (5.0, 5.0), "V": (6.0, 4.5)})
    assert said.startswith(
        "Turns with the metric (interval where it tells): vocals, all: V less the"
    )
    assert "V less the baseline SDR +1.0" in said
    assert "SI-SDR -0.5" in said
    assert "best row" not in said  # would say the same once more
    assert "SNR" not in said  # by which it is as by SDR
    assert "iKala" not in said  # has the same tracks
    assert "accompaniment" not in said
    assert "\n" not in said


def test_what_is_told_by_one_of_the_two_is_enough() -> None:
    """Runs half a decibel apart: a decibel is told, a tenth is not and has no interval here."""
    for levels in ((6.0, 4.95), (4.95, 6.0)):
        said = line({"baseline": (5.0, 5.0), "V": levels}, spread=0.5)
        assert said.count(" to ") == 1
        assert "V less the baseline SDR" in said


def test_where_nothing_is_told_nothing_turns() -> None:
    assert line({"baseline": (5.0, 5.0), "V": (5.2, 4.8)}, spread=2.0) == ""
    assert line({"baseline": (5.0, 5.0), "V": (7.0, 3.0)}, seeds=1) == ""


def test_where_all_metrics_agree_there_is_no_line() -> None:
    assert line({"baseline": (5.0, 5.0), "V": (6.0, 6.2), "VA": (7.0, 6.5)}) == ""
    assert line({"baseline": (5.0, 5.0)}) == ""


def test_another_best_row_counts_where_it_is_told_from_the_other() -> None:
    """V and VA are both above the baseline by either metric; which is best is not the same."""
    said = line({"baseline": (3.0, 3.0), "V": (5.0, 6.0), "VA": (6.0, 5.0)})
    assert "vocals, all: best row VA by SDR, V by SI-SDR" in said
    assert "less the baseline" not in said


def test_a_median_turns_against_what_is_told_but_tells_nothing() -> None:
    table = scores({"baseline": (5.0, 5.0), "V": (6.0, 6.0)})
    v = (table["model"] == "V") & (table["source"] == "vocals")
    against = table.assign(**{"SDR-v4": table["SDR-v4"] - 3.0 * v})
    (said,) = turns.as_line(table_of(against))
    assert re.search(r"SDR-v4 -[12]\.\d\d\.", said), "no interval"
    equal = against.assign(**dict.fromkeys(("SDR", "SNR", "SI-SDR", "uSDR"), 5.0))
    assert turns.as_line(table_of(equal)) == []


def test_of_many_some_are_named() -> None:
    many = {f"V{k}": (6.0 + k, 4.0 - k) for k in range(7)}
    said = line({"baseline": (5.0, 5.0), **many})
    assert said.count("less the baseline") == turns.MOST
    assert "; and 3 more. All are in table.csv" in said


@pytest.mark.parametrize("turned", [True, False])
def test_it_is_a_note_of_the_table(turned: bool) -> None:
    text = markdown(scores({"baseline": (5.0, 5.0), "V": (6.0, 4.0 if turned else 6.0)}))
    notes = text.split("## Notes\n\n")[1]
    assert notes.startswith("- Turns with the metric") == turned
    assert text.count("Turns with the metric") == turned
