"""The summary over seeds against sums done by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import params, roles, rooms
from pipeline.comparison import aggregation, several_seeds
from stages.seeds import SEEDS, command_for, kept_under
from tests.helpers.places import inside

SOURCES = ["accompaniment", "vocals"]


def scores(shift: float) -> pd.DataFrame:
    """Two DSD100 tracks and two of iKala; V is `shift` dB above the baseline in vocals."""
    frames = {}
    for model, level in {"mixture": 0.0, "baseline": 5.0, "V": 5.0 + shift}.items():
        rows = [
            (dataset, f"{dataset}{number}", source, level + number if source == "vocals" else 7.0)
            for dataset in ("DSD100", "iKala")
            for number in (0, 1)
            for source in SOURCES
        ]
        frame = pd.DataFrame(rows, columns=["dataset", "track", "source", "SDR"])
        frames[model] = frame.assign(SIR=frame["SDR"] + 10, SAR=3.0, note="")
    return aggregation.combine(frames, SOURCES)


@pytest.fixture
def table() -> pd.DataFrame:
    return several_seeds.over_seeds(
        {1: scores(1.0), 2: scores(2.0), 3: scores(-0.5)}, ["iKala"], SOURCES, "baseline"
    )


def cell(table: pd.DataFrame, **wanted: str) -> "pd.Series[float]":
    chosen = table[np.logical_and.reduce([table[k] == v for k, v in wanted.items()])]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_difference_and_spread_over_seeds(table: pd.DataFrame) -> None:
    row = cell(table, test_set="unseen", model="V", source="vocals", metric="SDR")
    per_seed = np.array([6.5, 7.5, 5.0])
    assert [row["seed_1"], row["seed_2"], row["seed_3"]] == per_seed.tolist()
    assert row["mean"] == pytest.approx(per_seed.mean(), abs=0.006)
    assert row["std"] == pytest.approx(per_seed.std(ddof=1), abs=0.006)
    assert row["difference"] == pytest.approx(2.5 / 3, abs=0.006)
    assert row["difference_std"] == pytest.approx(np.std([1, 2, -0.5], ddof=1), abs=0.006)
    assert row["seeds_above"] == 2


def test_every_test_set_model_source_and_metric_has_a_row(table: pd.DataFrame) -> None:
    assert len(table) == 4 * 2 * 2 * 3
    assert table["test_set"].unique().tolist() == ["all", "unseen", "DSD100", "iKala"]
    assert set(table["model"]) == {"baseline", "V"}
    assert table.loc[table["model"] == "baseline", "difference"].isna().all()


def test_markdown_shows_the_spread(table: pd.DataFrame) -> None:
    lines = several_seeds.as_markdown(table).splitlines()
    (line,) = [s for s in lines if "| unseen" in s and "| vocals" in s and "| V " in s]
    assert "6.33 ± 1.26" in line
    assert "+0.83 ± 1.26" in line


@pytest.mark.parametrize(
    ("chosen", "precision", "command"),
    [
        (SEEDS, "", "make seeds"),
        (SEEDS, "bfloat16", "python -m stages.seeds --precision bfloat16"),
        ([4, 9], "", "python -m stages.seeds --seed 4 --seed 9"),
        ([4], "bfloat16", "python -m stages.seeds --seed 4 --precision bfloat16"),
    ],
)
def test_the_summary_says_which_command_made_it(
    chosen: list[int], precision: str, command: str
) -> None:
    assert command_for(chosen, precision) == command


def test_kept_scores_belong_to_the_metric_the_code_and_the_run(
    with_features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = params.load(with_features / "params.yaml")
    split = roles.load_split(with_features / "data/split.csv")
    shorter = settings.evaluation.model_copy(update={"filter_length": 256})
    drawn = settings.evaluation.model_copy(update={"bootstrap_samples": 99})
    with inside(with_features):
        mark = kept_under(settings, "V", split)
        assert kept_under(settings.model_copy(update={"evaluation": drawn}), "V", split) == mark
        others = [
            kept_under(settings.model_copy(update={"seed": 2}), "V", split),
            kept_under(settings.model_copy(update={"evaluation": shorter}), "V", split),
            kept_under(settings, "VA", split),
        ]
        monkeypatch.setattr(rooms, "fingerprint", lambda module: f"other code of {module}")
        others.append(kept_under(settings, "V", split))
    assert len({mark, *others}) == 5
