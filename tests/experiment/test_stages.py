"""The stages on the fixture experiment: the table and what it is made from."""

import csv
import json
import re
import statistics
from functools import partial
from pathlib import Path

import museval
import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.metrics import REPORTED, named
from pipeline.features.store import FeatureFile
from pipeline.separation.separator import Separator
from stages import compare, evaluate, train
from tests.helpers.experiment import ROWS, small_params, track_scores, write_params
from tests.helpers.places import fingerprints, inside

SETS = ("all", "unseen", "DSD100", "MedleyDB", "CCMixter", "iKala")
SOURCES = ("accompaniment", "vocals")
RATE = 44_100

Cells = dict[str, dict[str, dict[str, float]]]


def belongs(dataset: str, test_set: str) -> bool:
    """DSD100 alone has supervised tracks."""
    return test_set in ("all", dataset) or (test_set == "unseen" and dataset != "DSD100")


# --------------------------------------------------------------------------------------- the table


@pytest.fixture(scope="module")
def metrics(experiment: Path) -> Cells:
    return json.loads((experiment / "results/metrics.json").read_text())  # type: ignore[no-any-return]


def test_metrics_have_exactly_the_promised_keys(metrics: Cells) -> None:
    keys = [f"{metric}_{source}" for metric in ("SDR", "SIR", "SAR", "NSDR") for source in SOURCES]
    assert tuple(metrics) == SETS
    for cells in metrics.values():
        assert tuple(cells) == ROWS
        for values in cells.values():
            assert list(values) == [*keys, "tracks", "seeds"]
            assert all(round(value, 2) == value for value in values.values())


def test_the_reference_rows_frame_the_table(metrics: Cells) -> None:
    for cells in metrics.values():
        for source in SOURCES:
            assert cells["mixture"][f"NSDR_{source}"] == 0
            assert cells["oracle"][f"SDR_{source}"] > cells["mixture"][f"SDR_{source}"] + 3
            for values in cells.values():
                gain = values[f"SDR_{source}"] - cells["mixture"][f"SDR_{source}"]
                assert values[f"NSDR_{source}"] == pytest.approx(gain, abs=0.011)


def test_instrumental_tracks_are_left_out_and_listed(experiment: Path, metrics: Cells) -> None:
    tested = pd.read_csv(experiment / "data/split.csv").query("role == 'test'")
    instrumental = tested[~tested["has_vocals"]]
    assert set(instrumental["dataset"]) == {"MedleyDB"}
    for name in SETS:
        expected = tested[
            tested["has_vocals"] & tested["dataset"].map(partial(belongs, test_set=name))
        ]
        for cells in metrics[name].values():
            assert cells["tracks"] == len(expected) > 0
    table = (experiment / "results/table.md").read_text()
    (line,) = [line for line in table.splitlines() if "silent reference" in line]
    for name in tested["track"]:
        assert (f"`{name}`" in line) == (name in set(instrumental["track"]))


def test_the_long_table_agrees_with_the_scores_per_track(experiment: Path, metrics: Cells) -> None:
    with (experiment / "results/table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "test_set", "model", "source", "metric", "aggregate", "seeds", "tracks", "artists", "best",
        "mean", "low", "high", "difference", "difference_low", "difference_high", "p_value", "p_holm",
        "detectable",
    ]  # fmt: skip
    assert len(rows) == len(SETS) * len(ROWS) * len(SOURCES) * len(REPORTED)
    for row in rows:
        metric, cell = named(row["metric"]), metrics[row["test_set"]][row["model"]]
        if metric.tabled:
            assert float(row["mean"]) == cell[f"{row['metric']}_{row['source']}"]
        compared = row["model"] in ("V", "VA")
        assert bool(row["difference"]) == compared
        if row["metric"] == "NSDR":
            continue
        by_seed: dict[str, list[float]] = {}
        for score in track_scores(experiment, row["model"]):
            meant = score["source"] == row["source"] and belongs(score["dataset"], row["test_set"])
            value = float(score[row["metric"]] or "nan")
            if meant and score["note"] != "silent reference" and np.isfinite(value):
                by_seed.setdefault(score["seed"], []).append(value)
        assert row["aggregate"] == metric.aggregate
        of_tracks = {"mean": statistics.mean, "median": statistics.median}[metric.aggregate]
        assert int(row["tracks"]) == len(next(iter(by_seed.values())))
        expected = statistics.mean(map(of_tracks, by_seed.values()))
        assert float(row["mean"]) == pytest.approx(expected, abs=0.0051)
        if row["low"]:  # a few artists are too few for an interval
            assert float(row["low"]) <= float(row["mean"]) <= float(row["high"])


@pytest.mark.parametrize("model", ["mixture", "V"])
def test_scores_equal_those_computed_by_hand(experiment: Path, model: str) -> None:
    """Separate one track and give the waveforms to museval."""
    tested = [
        row
        for row in track_scores(experiment, model)
        if row["dataset"] == "CCMixter" and row["seed"] in ("", "2")
    ]
    store = FeatureFile.open(experiment / "data/features/CCMixter.h5")
    references = store.waveforms(store.index.index.tolist().index(tested[0]["track"]))
    estimates = np.stack([references.sum(axis=0)] * 2)
    if model != "mixture":
        estimates = Separator.load(experiment / "models" / model / "seed-2").estimate(estimates[0])
    assert estimates.shape == references.shape
    sdr, sir, _, _ = museval.metrics.bss_eval_sources(
        references, estimates, compute_permutation=False
    )
    assert [row["source"] for row in tested] == list(SOURCES)
    for number, row in enumerate(tested):
        assert float(row["SDR"]) == pytest.approx(sdr[number], abs=0.0051)
        assert float(row["SIR"]) == pytest.approx(sir[number], abs=0.0051)


@pytest.mark.usefixtures("one_process")
def test_a_fourth_model_is_a_fourth_row_without_code(copied: Path) -> None:
    data = small_params()
    data["models"]["A"] = {"critics": ["accompaniment"], "alpha": 0.02, "beta": 0.0}
    data["training"] |= {"max_epochs": 1, "steps_per_epoch": 2}
    write_params(data, copied)
    before = json.loads((copied / "results/metrics.json").read_text())
    with inside(copied):
        for seed in data["seeds"]:
            train.train("A", seed, device="cpu", features_in="auto", jobs=0)
        evaluate.evaluate("A", role="test", out=None, device="cpu")
        compare.main()
    config = json.loads((copied / "models/A/seed-1/config.json").read_text())
    assert (config["critics"], config["alpha"], config["beta"]) == (["accompaniment"], 0.02, 0.0)
    assert (copied / "models/A/seed-1/critic-accompaniment.safetensors").exists()
    assert not (copied / "models/A/seed-1/critic-vocals.safetensors").exists()
    after = json.loads((copied / "results/metrics.json").read_text())
    rows = ["mixture", "baseline", "V", "VA", "A", "irm", "magnitude", "oracle"]
    for name in SETS:
        assert list(after[name]) == rows
        fourth = after[name].pop("A")
        assert set(fourth) == set(before[name]["VA"])
    assert after == before
    table = (copied / "results/table.md").read_text()
    assert re.findall(r"^\|[^|]*\| (\w+)", table, re.MULTILINE)[1 : 1 + len(rows)] == rows
    assert "| A " in table[table.index("## Difference in SDR to baseline") :]


def test_what_is_printed_is_the_table(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = fingerprints(copied)
    with inside(copied):
        compare.main()
    assert capsys.readouterr().out == (copied / "results/table.md").read_text() + "\n"
    assert fingerprints(copied) == before  # the same bytes again
