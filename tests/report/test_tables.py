"""Cells and rows against the tables that they come from."""

import csv
from dataclasses import replace

import numpy as np

from pipeline.report import finished_run, tables
from pipeline.report.excerpts import numbers
from pipeline.report.finished_run import Run, paper_values
from pipeline.tracks import TrackName
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


def test_the_papers_values_stand_beside_its_own_four_datasets_alone(run: Run) -> None:
    with finished_run.PAPER.open(newline="") as file:
        printed = list(csv.DictReader(line for line in file if not line.startswith("#")))
    found = paper_values(run)
    assert len(found) == len(printed) == 5 * 3 * 2 * 3
    for row in printed:
        key = (row["test_set"], row["model"], row["source"], row["metric"])
        assert found[key] == float(row["db"])
    assert found["all", "VA", "vocals", "SDR"] == 7.47
    shown = tables.mean_rows(run, "vocals", "SDR")[0].cells
    assert [c.paper for c in shown] == ["", "6.80", "7.28", ""]
    for update in ({"origin": "synthetic"}, {"absent": "not there"}):
        last = run.inventories[-1].model_copy(update=update)
        other = replace(run, inventories=(*run.inventories[:-1], last))
        assert paper_values(other) == {}
        assert not any(c.paper for c in tables.mean_rows(other, "vocals", "SDR")[0].cells)


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
    some = replace(run, histories={"V": {"training/distance_vocals": frame, "training/L": frame,
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
