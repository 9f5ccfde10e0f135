"""The aggregation against the paper's printed table and small cases worked out by hand."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from pipeline import roles
from pipeline.comparison import aggregation
from pipeline.datasets import inventory
from pipeline.datasets.inventory import Inventory
from pipeline.errors import UserError
from pipeline.evaluation.metrics import TABLED
from pipeline.evaluation.scoring import SILENT_ESTIMATE, SILENT_REFERENCE
from pipeline.evaluation.track_scores import NO_SEED, save_tracks
from pipeline.params import DATASETS
from tests.helpers.experiment import write_params
from tests.helpers.score_tables import (
    SEEDS,
    SOURCES,
    Tracks,
    cell,
    frame,
    markdown,
    split_of,
    table_of,
)

ROOT = Path(__file__).parents[2]


# ------------------------------------------------------------------------------- the printed table


def test_the_papers_aggregation() -> None:
    """Per-set means as printed give the printed "Test set" cells: 17 of 18 to 0.01 dB."""
    printed = pd.read_csv(ROOT / "tests/data/paper_table.csv")
    cells = printed.set_index(["test_set", "model", "source", "metric"])["db"]
    tracks = {"DSD100": 25, "MedleyDB": 20, "CCMixter": 18, "iKala": 84}

    def scores(model: str) -> pd.DataFrame:
        rows: Tracks = {("MedleyDB", f"instrumental {k}"): None for k in range(22)}
        for name, count in tracks.items():
            # A spread about the printed mean that cancels: pairs of +d and -d.
            spread = [d * sign for d in range(1, count // 2 + 1) for sign in (1, -1)]
            for k, offset in enumerate(spread + [0] * (count % 2)):
                rows[name, str(k)] = tuple(
                    tuple(cells[name, model, source, m] + offset for m in TABLED[:3])
                    for source in SOURCES
                )
        return frame(rows)

    frames = {model: scores(model) for model in ("baseline", "V", "VA")}
    frames = {"mixture": frames["baseline"], **frames}
    means = aggregation.means(aggregation.combine(frames, SOURCES), SOURCES)

    for name, count in tracks.items():
        assert means[name]["V"]["tracks"] == count
        assert means[name]["V"]["SIR_vocals"] == cells[name, "V", "vocals", "SIR"]
    assert means["all"]["VA"]["tracks"] == 147
    errors = {
        key: abs(means["all"][key[0]][f"{key[2]}_{key[1]}"] - value)
        for key, value in cells["all"].items()
    }
    assert len(errors) == 18
    assert {key for key, error in errors.items() if error > 0.01 + 1e-9} == {("V", "vocals", "SAR")}
    assert max(errors.values()) < 0.02 + 1e-9


# ------------------------------------------------------------------------------------------- rows


def test_combine_orders_rows_and_adds_nsdr(frames: dict[str, pd.DataFrame]) -> None:
    collected = aggregation.combine(frames, SOURCES)
    rows = collected[collected["model"] == "V"]
    assert list(rows["dataset"].unique()) == ["DSD100", "iKala"]
    assert list(rows["track"].unique()) == ["007", "nan", "no vocals", "a", "b"]
    assert list(rows["source"][:2]) == SOURCES
    assert set(rows["NSDR"].dropna()) == {3.0}
    shuffled = {model: rows.sample(frac=1, random_state=1) for model, rows in frames.items()}
    pd.testing.assert_frame_equal(aggregation.combine(shuffled, SOURCES), collected)


def test_combine_names_the_file_that_is_out_of_date(frames: dict[str, pd.DataFrame]) -> None:
    for model in frames:
        stale = {**frames, model: frames[model][frames[model]["track"] != "a"]}
        with pytest.raises(UserError, match=rf"tracks/{model}\.csv: is out of date.*iKala / a$"):
            aggregation.combine(stale, SOURCES)
    # Other references: the same tracks, but another one is silent.
    silent = frames["V"].assign(note=SILENT_REFERENCE)
    with pytest.raises(
        UserError, match=r"tracks/V\.csv: is out of date; delete it and run `dvc repro`"
    ):
        aggregation.combine({**frames, "V": silent}, SOURCES)
    with pytest.raises(UserError, match="expected the sources vocals, drums"):
        aggregation.combine(frames, ["vocals", "drums"])


# -------------------------------------------------------------------------------------------- means


def test_means_by_hand(collected: pd.DataFrame) -> None:
    means = aggregation.means(collected, SOURCES)
    assert list(means) == ["all", "DSD100", "iKala"]
    assert means["all"]["oracle"]["seeds"] == 0
    assert list(means["all"]) == ["mixture", "baseline", "V", "VA", "oracle"]
    assert means["iKala"]["V"] == {
        "SDR_accompaniment": 5.0,
        "SDR_vocals": 3.0,  # 3.005, to the even neighbour
        "SIR_accompaniment": 3.0,
        "SIR_vocals": 6.0,
        "SAR_accompaniment": 4.0,
        "SAR_vocals": 7.0,
        "NSDR_accompaniment": 3.0,
        "NSDR_vocals": 3.0,
        "tracks": 2,
        "seeds": 2,
    }
    assert means["DSD100"]["baseline"]["tracks"] == 2
    assert means["all"]["baseline"]["tracks"] == 4
    # Over tracks, not over the datasets' means; silent estimates stay in.
    assert means["all"]["mixture"]["SDR_accompaniment"] == 1.25


def test_the_mean_is_over_tracks_not_over_datasets() -> None:
    scores: Tracks = {("DSD100", "a"): ((9, 9, 9), (9, 9, 9))}
    scores |= {("iKala", str(k)): ((0, 0, 0), (0, 0, 0)) for k in range(2)}
    means = aggregation.means(aggregation.combine({"mixture": frame(scores)}, SOURCES), SOURCES)
    assert means["all"]["mixture"]["SDR_vocals"] == 3.0


def test_silent_estimates_count_infinite_ratios_do_not(tmp_path: Path) -> None:
    noted = frame(
        {
            ("iKala", "a"): ((-30, np.inf, -30), (-30, np.inf, 0)),
            ("iKala", "b"): ((10, np.inf, 10), (10, 10, 10)),
        },
        {("iKala", "a"): SILENT_ESTIMATE},
    )
    means = aggregation.means(aggregation.combine({"mixture": noted}, SOURCES), SOURCES)
    cells = means["iKala"]["mixture"]
    assert (cells["SDR_vocals"], cells["SIR_vocals"], cells["tracks"]) == (-10.0, 10.0, 2)
    assert "SIR_accompaniment" not in cells
    aggregation.save_means(means, tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text()) == means


def test_a_test_set_without_any_score() -> None:
    scores: Tracks = {("MedleyDB", "a"): None, ("iKala", "b"): ((1, 1, 1), (1, 1, 1))}
    models = ("mixture", "baseline", "V", "oracle")
    collected = aggregation.combine({model: frame(scores) for model in models}, SOURCES)
    means = aggregation.means(collected, SOURCES)
    assert means["MedleyDB"]["V"] == {"tracks": 0, "seeds": 2}
    long = table_of(collected)
    assert cell(long, "MedleyDB", "V", "vocals", "SDR")["tracks"] == 0
    assert long.loc[long["test_set"] == "MedleyDB", "mean"].isna().all()
    assert "–" in markdown(collected)


def test_a_mean_is_over_seeds_and_over_tracks_with_all_of_them() -> None:
    scores: Tracks = {
        ("iKala", name): ((1, 1, 1), (level, 1, 1)) for name, level in (("a", 1), ("b", 3))
    }
    lower: Tracks = {
        ("iKala", "a"): ((1, 1, 1), (0, 1, 1)),
        ("iKala", "b"): ((1, 1, 1), (np.inf, 1, 1)),
    }
    frames = {
        "mixture": frame(scores, seeds=(NO_SEED,)),
        "V": pd.concat([frame(scores, seeds=(7,)), frame(lower, seeds=(3,))]),
    }
    collected = aggregation.combine(frames, SOURCES, [3, 7])
    means = aggregation.means(collected, SOURCES)["iKala"]
    assert means["mixture"]["SDR_vocals"] == 2
    assert means["V"]["SDR_vocals"] == 0.5
    assert (means["V"]["tracks"], means["V"]["seeds"]) == (2, 2)
    assert cell(table_of(collected, None), "iKala", "V", "vocals", "SDR")["tracks"] == 1
    tracks = aggregation.over_seeds(collected).set_index(["model", "track", "source"])["SDR"]
    assert tracks["V", "a", "vocals"] == 0.5
    assert not np.isfinite(tracks["V", "b", "vocals"])


def test_unseen_are_the_datasets_without_supervised_tracks(collected: pd.DataFrame) -> None:
    split = split_of(collected)
    assert aggregation.unseen_datasets(split) == ["iKala"]
    means = aggregation.means(collected, SOURCES, ["iKala", "CCMixter"])
    assert list(means) == ["all", "unseen", "DSD100", "iKala"]
    assert means["unseen"] == means["iKala"] != means["all"]
    assert "unseen" not in aggregation.means(collected, SOURCES, ["iKala", "DSD100"])
    assert "unseen" not in aggregation.means(collected, SOURCES, ["CCMixter"])
    assert list(table_of(collected)["test_set"].unique()) == ["all", "unseen", "DSD100", "iKala"]


def test_seeds_are_those_of_the_parameters(frames: dict[str, pd.DataFrame]) -> None:
    """One is missing, one is left over, one model has others than the rest, one seed has fewer tracks."""
    named = r"results/tracks/{}\.csv: scores of {}, expected {}; run `dvc repro compare`$"
    for seeds, expected in (([1, 2, 3], "seeds 1, 2 and 3"), ([2], "seed 2")):
        message = named.format("baseline", "seeds 1 and 2", expected)
        with pytest.raises(UserError, match=message.replace(" and ", "(, | and )")):
            aggregation.combine(frames, SOURCES, seeds)
    one = {**frames, "V": frames["V"][frames["V"]["seed"] == 2]}
    message = named.format("V", "seed 2", "seeds 1(, | and )2")
    for given in (None, [2, 1]):
        with pytest.raises(UserError, match=message):
            aggregation.combine(one, SOURCES, given)
    lacks = frames["V"].query("not (seed == 2 and track == 'a')")
    with pytest.raises(UserError, match=r"tracks/V\.csv: is out of date.*iKala / a$"):
        aggregation.combine({**frames, "V": lacks}, SOURCES)


# -------------------------------------------------------------------------------------------- stage


def compare(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-m", "stages.compare", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_stage(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> None:
    text = (ROOT / "params.yaml").read_text()
    numbers = str(list(SEEDS))
    text = re.sub(r"(?m)^seeds: \[.*?\]", f"seeds: {numbers}", text)
    data = YAML(typ="safe", pure=True).load(text)
    data["models"] = {name: data["models"][name] for name in ("baseline", "V", "VA")}
    write_params(data, tmp_path)
    roles.save_split(split_of(frames["V"]), tmp_path / "data/split.csv")
    others = dict.fromkeys(("irm", "magnitude"), frames["oracle"]) | {"old": frames["V"]}
    for model, scores in (frames | others).items():
        save_tracks(scores, tmp_path / f"results/tracks/{model}.csv")
    for name in DATASETS:
        found = Inventory(dataset=name, origin="synthetic")
        inventory.save(found, tmp_path / f"data/inventory/{name}.json")
    done = compare(tmp_path)
    assert done.returncode == 0, done.stderr
    strangers, curves = done.stderr.splitlines()
    assert "results/tracks/old.csv: params.yaml has no model of that name" in strangers
    assert "results/curves.csv: left as it is: models lacks the history" in curves
    results = {path.name: path.read_text() for path in (tmp_path / "results").glob("*.*")}
    assert set(results) == {"metrics.json", "minutes.csv", "table.csv", "table.md"}
    assert results["table.md"] in done.stdout
    assert json.loads(results["metrics.json"])["iKala"]["V"]["NSDR_vocals"] == 3.0
    assert len(results["table.csv"].splitlines()) == 1 + 4 * 7 * 2 * 8

    (tmp_path / "results/tracks/V.csv").unlink()
    failed = compare(tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("error: results/tracks/V.csv: no such file")
    assert "Traceback" not in failed.stderr


def test_help() -> None:
    assert "results/metrics.json" in compare(ROOT, "--help").stdout.replace("\n", " ")
