"""Cells and rows against the tables that they come from."""

import csv
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.critique import critic_table
from pipeline.datasets.readers.base import Rejected
from pipeline.report import finished_run, tables
from pipeline.report.excerpts import numbers
from pipeline.report.finished_run import Run, paper_values
from pipeline.tracks import TrackName
from pipeline.ways import Model
from tests.helpers.score_tables import cell


def test_cells_say_what_the_table_says(run: Run) -> None:
    for metric in ("SDR", "NSDR"):
        first, second = tables.mean_rows(run, "vocals", metric)
        assert (first.test_set, second.test_set, first.tracks) == ("all", "CCMixter", 12)
        for row in (first, second):
            for model, shown in zip(run.means["all"], row.cells, strict=True):
                known = cell(run.table, row.test_set, model, "vocals", metric)
                assert shown.value == known["mean"]
                assert shown.text == f"{known['mean']:.2f}".replace("-", "−")
                assert bool(shown.difference) == (model == "V")
                if model == "V":
                    assert f"{known['difference_low']:+.2f}".replace("-", "−") in shown.difference
                    sign = np.sign([known["difference_low"], known["difference_high"]]).sum()
                    assert shown.verdict == {2: "above", -2: "below"}.get(int(sign), "unclear")
                assert shown.best == (known["best"] == 1)
            assert any(one.best for one in row.cells)


def of_the_paper(run: Run, **counts: int) -> Run:
    """The run with as many scored tracks as the paper's test sets have, or as many as said."""
    tracks = [
        (name, f"{k:03}", note)
        for name, count in (finished_run.PAPER_TRACKS | counts).items()
        for k, note in enumerate([""] * count + ["silent reference"] * 22 * (name == "MedleyDB"))
    ]
    return replace(run, scores=pd.DataFrame(tracks, columns=["dataset", "track", "note"]))


def with_dataset(run: Run, number: int, **changes: Any) -> Run:
    """The run with another inventory in one place."""
    found = list(run.inventories)
    found[number] = found[number].model_copy(update=changes)
    return replace(run, inventories=tuple(found))


def test_the_papers_values_are_those_that_it_prints(run: Run) -> None:
    with finished_run.PAPER.open(newline="") as file:
        printed = list(csv.DictReader(line for line in file if not line.startswith("#")))
    models = run.params.models | {"VA": Model(critics=["vocals", "accompaniment"], alpha=1, beta=1)}
    whole = replace(run, params=run.params.model_copy(update={"models": models}))
    found = paper_values(of_the_paper(whole))
    assert len(found) == len(printed) == 5 * 3 * 2 * 3
    for row in printed:
        key = (row["test_set"], row["model"], row["source"], row["metric"])
        assert found[key] == float(row["db"])
    assert found["all", "VA", "vocals", "SDR"] == 7.47


@pytest.mark.parametrize(
    ("counts", "number", "changes"),
    [
        ({"iKala": 83}, 3, {}),
        ({"iKala": 85}, 3, {}),
        ({"iKala": 0}, 3, {"absent": "not there"}),
        ({}, 3, {"missing": ("a",)}),
        ({}, 3, {"rejected": (Rejected(track="a", reason="damaged"),)}),
        ({}, 3, {"origin": "synthetic"}),
        ({}, 0, {"collection": "MUSDB18"}),
    ],
)
def test_a_test_set_that_is_not_the_papers_has_none_of_its_values(
    run: Run, counts: dict[str, int], number: int, changes: dict[str, Any]
) -> None:
    """Nor has `all`; the other test sets keep them."""
    other = with_dataset(of_the_paper(run, **counts), number, **changes)
    kept = set(finished_run.PAPER_TRACKS) - {other.inventories[number].dataset}
    assert {key[0] for key in paper_values(other)} == kept
    everything = kept | {"all", other.inventories[number].dataset}
    assert {key[0] for key in paper_values(of_the_paper(run))} == everything


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("split", {"strategy": "by_artist"}),
        ("signal", {"sample_rate": 16000}),
        ("evaluation", {"filter_length": 256}),
    ],
)
def test_another_split_rate_or_filter_has_no_value_of_the_paper(
    run: Run, section: str, changes: dict[str, Any]
) -> None:
    other = getattr(run.params, section).model_copy(update=changes)
    changed = replace(run, params=run.params.model_copy(update={section: other}))
    assert paper_values(of_the_paper(changed)) == {}


def test_other_sources_and_a_model_of_another_kind_have_no_value_of_the_paper(run: Run) -> None:
    four = run.params.model_copy(update={"sources": ["vocals", "drums", "bass", "other"]})
    assert paper_values(of_the_paper(replace(run, params=four))) == {}
    other = run.params.models | {"V": Model(critics=["accompaniment"], alpha=1, beta=1)}
    named = run.params.model_copy(update={"models": other})
    assert {key[1] for key in paper_values(of_the_paper(replace(run, params=named)))} == {
        "baseline"
    }
    assert {key[1] for key in paper_values(of_the_paper(run))} == {"baseline", "V"}


def test_the_papers_values_are_shown_beside_ours(run: Run) -> None:
    shown = [row.cells for row in tables.mean_rows(of_the_paper(run), "vocals", "SDR")]
    assert [[one.paper for one in cells] for cells in shown] == [
        ["", "6.80", "7.28", ""],
        ["", "3.25", "3.52", ""],
    ]
    assert not any(one.paper for one in tables.mean_rows(run, "vocals", "SDR")[0].cells)


def test_every_track_has_its_row(run: Run) -> None:
    anchors = numbers(run.scores)
    rows = tables.track_rows(run, anchors, {TrackName("CCMixter", "003"): "best"})
    assert [row.number for row in rows] == list(range(1, 13))
    assert [row.heard for row in rows if row.heard] == ["best"]
    scores = run.scores.set_index(["model", "dataset", "track", "source"])["SDR"]
    order = [(s, m) for s in ("accompaniment", "vocals") for m in ("mixture", "baseline", "V")]
    for row in rows:
        for (source, model), shown in zip(order, row.cells, strict=True):
            assert shown.value == scores[model, row.dataset, row.track, source]


def test_points_lead_to_their_rows(run: Run) -> None:
    anchors = numbers(run.scores)
    points = tables.points(run, anchors, "CCMixter", "vocals")
    assert len(points) == 2 * 12
    for point in points:
        track = point.title.split(":")[0]
        assert point.link == f"#track-{anchors[TrackName('CCMixter', track)]}"
    low, high = tables.limits(run, "vocals")
    assert all(low < point.value < high for point in points)


def test_curves_are_those_that_a_model_has(run: Run) -> None:
    assert tables.curve_names(run) == []
    frame = run.split
    some = replace(run, histories={"V": {"training/distance_vocals": frame, "training/L_u": frame,
                                         "validation/L_s": frame}})  # fmt: skip
    assert [name for name, _ in tables.curve_names(some)] == [
        "validation/L_s",
        "training/distance_vocals",
    ]


def test_split_counts(run: Run) -> None:
    counts = finished_run.split_counts(run)
    assert counts.loc["CCMixter"].to_dict() == {
        "supervised": 0, "unlabelled": 1, "validation": 0, "test": 2,
    }  # fmt: skip
    assert list(counts.index) == list(run.params.datasets)
    assert counts.loc["iKala"].sum() == 0


def test_a_critics_row_has_means_and_ranges_over_seeds(run: Run) -> None:
    rows = [
        ("V", seed, "vocals", role, dataset, whose, 9.0, distance, correlation)
        for role, dataset in (("unlabelled", "all"), ("test", "CCMixter"))
        for seed, shift in ((1, 0.0), (2, 1.0))
        for whose, distance, correlation in (("V", 4 + shift, -0.25), ("b", 8 + shift, np.nan))
    ]
    asked = pd.DataFrame(rows, columns=critic_table.COLUMNS)
    known, held_out = tables.critic_rows(replace(run, critics=asked))
    assert known.recordings == "unlabelled, which it learned from"
    assert held_out.recordings == "CCMixter, test"
    for row in (known, held_out):
        assert (row.model, row.source) == ("V", "vocals")
        assert row.distances == ("4.50 (4.00 to 5.00)", "8.50 (8.00 to 9.00)")
        assert row.correlations == ("−0.25 (−0.25 to −0.25)", "–")
    only = asked[(asked["seed"] == 1) & (asked["estimates"] == "V")]
    assert tables.critic_rows(replace(run, critics=only))[0].distances == ("4.00", "–")
    assert tables.critic_rows(run) == []
