"""The table against the paper's printed one, scipy, and small cases worked out by hand."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import comparison, statistics, table
from pipeline.errors import UserError
from pipeline.scoring import SILENT_ESTIMATE, SILENT_REFERENCE, Score

ROOT = Path(__file__).parents[1]
SOURCES = ["accompaniment", "vocals"]
NONE = float("nan")

# SDR, SIR, SAR of (accompaniment, vocals); None: no score because a reference is silent.
Tracks = dict[tuple[str, str], tuple[tuple[float, ...], ...] | None]


def frame(tracks: Tracks, notes: dict[tuple[str, str], str] | None = None) -> pd.DataFrame:
    scored = []
    for name, values in tracks.items():
        if values is None:
            scores = [Score(source, NONE, NONE, NONE, SILENT_REFERENCE) for source in SOURCES]
        else:
            note = (notes or {}).get(name, "")
            scores = [
                Score(s, v[0], v[1], v[2], note) for s, v in zip(SOURCES, values, strict=True)
            ]
        scored.append((*name, scores))
    return comparison.tracks_frame(scored)


@pytest.fixture
def frames() -> dict[str, pd.DataFrame]:
    """Two datasets with two scored tracks each and one that lacks vocals, in odd order."""

    def scores(level: float) -> Tracks:
        return {
            ("iKala", "b"): ((level + 1, 2, 3), (level, 5, 6)),
            ("iKala", "a"): ((level + 3, 4, 5), (level + 0.01, 7, 8)),
            ("DSD100", "007"): ((level, 0, 0), (level + 8, 0, 0)),
            ("DSD100", "no vocals"): None,
            ("DSD100", "nan"): ((level + 1, 0, 0), (level + 9, 1, 0)),
        }

    levels = {"mixture": 0.0, "baseline": 2.0, "V": 3.0, "VA": 2.5, "oracle": 9.0}
    return {model: frame(scores(level)) for model, level in levels.items()}


@pytest.fixture
def collected(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return comparison.collect(frames, SOURCES)


def many_tracks(count: int, seed: int = 0) -> pd.DataFrame:
    """Collected scores of `count` tracks, models a little apart."""
    rng = np.random.default_rng(seed)
    base = rng.normal(5, 3, (count, 2, 3))
    frames = {}
    for k, model in enumerate(["mixture", "baseline", "V", "oracle"]):
        values = (base + 0.3 * k + rng.normal(0, 1, base.shape)).round(2)
        frames[model] = frame(
            {("CCMixter", f"{t:03}"): tuple(map(tuple, values[t])) for t in range(count)}
        )
    return comparison.collect(frames, SOURCES)


def table_of(collected: pd.DataFrame, baseline: str | None = "baseline") -> pd.DataFrame:
    return comparison.statistics(collected, SOURCES, baseline, 2000, 0.95, seed=3)


def cell(long: pd.DataFrame, *where: str) -> pd.Series:
    """The one row of (test_set, model, source, metric)."""
    chosen = long.set_index(["test_set", "model", "source", "metric"])
    return chosen.loc[where]  # type: ignore[index]


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
                    tuple(cells[name, model, source, m] + offset for m in comparison.MEASURED)
                    for source in SOURCES
                )
        return frame(rows)

    frames = {model: scores(model) for model in ("baseline", "V", "VA")}
    frames = {"mixture": frames["baseline"], **frames}
    means = comparison.metrics(comparison.collect(frames, SOURCES), SOURCES)

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


# ----------------------------------------------------------------------------------- files and rows


def test_files_keep_scores_and_names(tmp_path: Path) -> None:
    names = ["007", "nan", "NA", "a, b", 'say "é"', " spaced ", "1e5", "漢字"]
    scores = {("iKala", name): ((1.005, np.inf, -0.001), (-2.5, 3.0, 4.0)) for name in names}
    path = tmp_path / "results" / "V.csv"
    comparison.save_tracks(frame({**scores, ("iKala", "silent"): None}), path)
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == "dataset,track,source,SDR,SIR,SAR,note"
    assert "iKala,silent,vocals,,,,silent reference" in text
    assert "-0.00" not in text
    loaded = comparison.load_tracks(path)
    assert list(loaded["track"][::2]) == [*names, "silent"]
    assert loaded.loc[0, "SIR"] == np.inf
    assert loaded["SDR"].isna().sum() == 2
    comparison.save_tracks(loaded, path)
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file; run `dvc repro evaluate@V`"),
        ("", "not a table"),
        ("dataset,track\na,b\n", "not a table"),
        ("dataset,track,source,SDR,SIR,SAR,note\n", "holds no track"),
        ("dataset,track,source,SDR,SIR,SAR,note\na,b,vocals,x,1,1,\n", "not a table"),
        ("dataset,track,source,SDR,SIR,SAR,note,more\na,b,vocals,1,1,1,,\n", "expected the col"),
        (
            "dataset,track,source,SDR,SIR,SAR,note\na,b,vocals,1,1,1,\na,b,vocals,1,1,1,\n",
            "a / b / vocals is there twice",
        ),
        ("\x00\xff\n\n1,2,3", "not a table"),
    ],
)
def test_damaged_files(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "V.csv"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=message) as caught:
        comparison.load_tracks(path)
    assert "V.csv: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_collect_orders_rows_and_adds_nsdr(frames: dict[str, pd.DataFrame]) -> None:
    collected = comparison.collect(frames, SOURCES)
    rows = collected[collected["model"] == "V"]
    assert list(rows["dataset"].unique()) == ["DSD100", "iKala"]
    assert list(rows["track"].unique()) == ["007", "nan", "no vocals", "a", "b"]
    assert list(rows["source"][:2]) == SOURCES
    assert set(rows["NSDR"].dropna()) == {3.0}
    shuffled = {model: rows.sample(frac=1, random_state=1) for model, rows in frames.items()}
    pd.testing.assert_frame_equal(comparison.collect(shuffled, SOURCES), collected)


def test_collect_names_the_file_that_is_out_of_date(frames: dict[str, pd.DataFrame]) -> None:
    for model in frames:
        stale = {**frames, model: frames[model][frames[model]["track"] != "a"]}
        with pytest.raises(UserError, match=rf"tracks/{model}\.csv: is out of date.*iKala / a$"):
            comparison.collect(stale, SOURCES)
    # Other references: the same tracks, but another one is silent.
    silent = frames["V"].assign(note=SILENT_REFERENCE)
    with pytest.raises(
        UserError, match=r"tracks/V\.csv: is out of date; delete it and run `dvc repro`"
    ):
        comparison.collect({**frames, "V": silent}, SOURCES)
    with pytest.raises(UserError, match="expected the sources vocals, drums"):
        comparison.collect(frames, ["vocals", "drums"])


# -------------------------------------------------------------------------------------------- means


def test_metrics_by_hand(collected: pd.DataFrame) -> None:
    means = comparison.metrics(collected, SOURCES)
    assert list(means) == ["all", "DSD100", "iKala"]
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
    }
    assert means["DSD100"]["baseline"]["tracks"] == 2
    assert means["all"]["baseline"]["tracks"] == 4
    # Over tracks, not over the datasets' means; silent estimates stay in.
    assert means["all"]["mixture"]["SDR_accompaniment"] == 1.25


def test_the_mean_is_over_tracks_not_over_datasets() -> None:
    scores: Tracks = {("DSD100", "a"): ((9, 9, 9), (9, 9, 9))}
    scores |= {("iKala", str(k)): ((0, 0, 0), (0, 0, 0)) for k in range(2)}
    means = comparison.metrics(comparison.collect({"mixture": frame(scores)}, SOURCES), SOURCES)
    assert means["all"]["mixture"]["SDR_vocals"] == 3.0


def test_silent_estimates_count_infinite_ratios_do_not(tmp_path: Path) -> None:
    noted = frame(
        {
            ("iKala", "a"): ((-30, np.inf, -30), (-30, np.inf, 0)),
            ("iKala", "b"): ((10, np.inf, 10), (10, 10, 10)),
        },
        {("iKala", "a"): SILENT_ESTIMATE},
    )
    means = comparison.metrics(comparison.collect({"mixture": noted}, SOURCES), SOURCES)
    cells = means["iKala"]["mixture"]
    assert (cells["SDR_vocals"], cells["SIR_vocals"], cells["tracks"]) == (-10.0, 10.0, 2)
    assert "SIR_accompaniment" not in cells
    comparison.save_metrics(means, tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text()) == means


def test_a_test_set_without_any_score() -> None:
    scores: Tracks = {("MedleyDB", "a"): None, ("iKala", "b"): ((1, 1, 1), (1, 1, 1))}
    models = ("mixture", "baseline", "V", "oracle")
    collected = comparison.collect({model: frame(scores) for model in models}, SOURCES)
    means = comparison.metrics(collected, SOURCES)
    assert means["MedleyDB"]["V"] == {"tracks": 0}
    long = table_of(collected)
    assert cell(long, "MedleyDB", "V", "vocals", "SDR")["tracks"] == 0
    assert long.loc[long["test_set"] == "MedleyDB", "mean"].isna().all()
    assert "–" in markdown(collected)


# --------------------------------------------------------------------------------------- statistics


def test_statistics_agree_with_pandas_and_the_metrics() -> None:
    collected = many_tracks(15)
    long = table_of(collected)
    means = comparison.metrics(collected, SOURCES)
    for row in long.to_dict("records"):
        rows = collected[
            (collected["model"] == row["model"]) & (collected["source"] == row["source"])
        ]
        values = rows[row["metric"]]
        assert row["tracks"] == 15
        assert (
            row["mean"] == means[row["test_set"]][row["model"]][f"{row['metric']}_{row['source']}"]
        )
        assert row["mean"] == pytest.approx(values.mean(), abs=0.00501)
        assert row["median"] == pytest.approx(values.median(), abs=0.00501)
        assert row["std"] == pytest.approx(values.std(), abs=0.00501)
        assert row["low"] <= row["mean"] <= row["high"]
        compared = row["model"] == "V"
        assert pd.notna(row["difference"]) == pd.notna(row["p_value"]) == compared


def test_differences_agree_with_scipy() -> None:
    from scipy.stats import wilcoxon

    collected = many_tracks(20)
    wide = collected[collected["source"] == "vocals"].pivot(
        index="track", columns="model", values="SIR"
    )
    row = cell(table_of(collected), "CCMixter", "V", "vocals", "SIR")
    difference = (wide["V"] - wide["baseline"]).round(2)
    assert row["difference"] == pytest.approx(difference.mean(), abs=0.00501)
    assert row["p_value"] == pytest.approx(wilcoxon(difference).pvalue, rel=5e-3)
    assert row["difference_low"] <= row["difference"] <= row["difference_high"]


def test_bootstrap_agrees_with_scipy_and_the_normal_law() -> None:
    from scipy.stats import bootstrap, norm

    values = np.random.default_rng(5).normal(3, 2, (200, 1))
    low, high = statistics.bootstrap_interval(values, 20_000, 0.95, [1])
    theirs = bootstrap(
        (values[:, 0],), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    np.testing.assert_allclose([low[0], high[0]], [theirs.low, theirs.high], atol=0.02)
    error = norm.ppf(0.975) * values.std() / np.sqrt(200)
    np.testing.assert_allclose(
        [low[0], high[0]], values.mean() + error * np.array([-1, 1]), atol=0.02
    )


def test_bootstrap_keeps_columns_paired_and_skips_gaps() -> None:
    values = np.random.default_rng(5).normal(size=(30, 1)) * 10
    gaps = np.where(np.arange(30)[:, None] < 25, values, np.nan)
    one = np.where(np.arange(30)[:, None] < 1, values, np.nan)
    empty = np.full_like(values, np.nan)
    columns = np.hstack([values, values + 1, gaps, one, empty])
    low, high = statistics.bootstrap_interval(columns, 3000, 0.9, [1, 2])
    np.testing.assert_allclose([low[1], high[1]], [low[0] + 1, high[0] + 1])
    assert low[2] < np.nanmean(gaps) < high[2]
    assert np.isnan([low[3:], high[3:]]).all()
    again = statistics.bootstrap_interval(columns, 3000, 0.9, [1, 2])
    np.testing.assert_array_equal(again, (low, high))
    other = statistics.bootstrap_interval(columns, 3000, 0.9, [1, 3])
    assert other[0][0] != low[0]
    nothing = statistics.bootstrap_interval(np.empty((0, 3)), 10, 0.9, [1])
    assert np.isnan(nothing).all()


@settings(max_examples=20, deadline=None)
@given(
    values=st.lists(st.integers(-3000, 3000), min_size=2, max_size=40),
    shift=st.integers(-1000, 1000),
)
def test_bootstrap_moves_with_the_values(values: list[int], shift: int) -> None:
    column = np.array(values, dtype=float)[:, None]
    low, high = statistics.bootstrap_interval(column, 300, 0.95, [7])
    moved = statistics.bootstrap_interval(column + shift, 300, 0.95, [7])
    np.testing.assert_allclose(np.ravel(moved), np.ravel([low, high]) + shift, atol=1e-6)
    assert column.min() <= low[0] <= high[0] <= column.max()


def test_signed_rank() -> None:
    assert statistics.signed_rank(np.arange(1.0, 7.0)) == pytest.approx(2 / 2**6)
    assert statistics.signed_rank(-np.arange(1.0, 9.0)) == pytest.approx(2 / 2**8)
    assert np.isnan(statistics.signed_rank(np.arange(1.0, 6.0)))
    assert np.isnan(statistics.signed_rank(np.zeros(50)))
    gaps = np.array([1, 2, 3, 4, 5, 6, 0, 0, np.nan])
    assert statistics.signed_rank(gaps) == pytest.approx(2 / 2**6)


def test_intervals_do_not_depend_on_other_models_or_test_sets() -> None:
    collected = many_tracks(12)
    fewer = collected[collected["model"] != "oracle"]
    full, part = table_of(collected), table_of(fewer)
    pd.testing.assert_frame_equal(
        full[full["model"] != "oracle"].reset_index(drop=True), part.reset_index(drop=True)
    )


def test_without_a_baseline(collected: pd.DataFrame) -> None:
    long = table_of(collected, baseline=None)
    assert long["difference"].isna().all()
    assert long["mean"].notna().all()
    assert "Difference" not in markdown(collected, baseline=None)


# ----------------------------------------------------------------------------------------- markdown


def markdown(collected: pd.DataFrame, baseline: str | None = "baseline") -> str:
    return table.markdown(
        collected,
        comparison.metrics(collected, SOURCES),
        table_of(collected, baseline),
        SOURCES,
        baseline=baseline,
        confidence=0.95,
        filter_length=512,
        sample_rate=8000,
        notes=["a note"],
    )


def cells_of(text: str, heading: str) -> list[list[str]]:
    lines = text.split(f"## {heading}\n\n")[1].split("\n\n")[0].splitlines()
    assert len({len(line) for line in lines}) == 1, "columns are aligned"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_markdown(collected: pd.DataFrame) -> None:
    text = markdown(collected)
    header, _, *rows = cells_of(text, "vocals")
    assert header == ["test set", "metric", "tracks", *collected["model"].unique()]
    assert [row[0] for row in rows[::4]] == ["all", "DSD100", "iKala"]
    assert [row[1] for row in rows[:4]] == comparison.METRICS
    assert rows[0] == ["all", "SDR", "4", "4.25", "6.25", "**7.25**", "6.75", "13.25"]
    # Equals are all in bold; the oracle, better, never is.
    assert rows[1][3:] == ["3.25", "**3.25**", "**3.25**", "**3.25**", "3.25"]
    first = cells_of(text, "Difference in SDR to baseline")[2]
    assert first[:5] == ["all", "accompaniment", "V", "4", "+1.00"]
    assert first[6] == "–"
    assert "silent reference): 1 of DSD100: `no vocals`." in text
    assert "No estimate was silent." in text
    assert text.endswith("- a note\n")


def test_markdown_counts_silent_estimates(frames: dict[str, pd.DataFrame]) -> None:
    dead = frames["VA"].copy()
    dead.loc[(dead["source"] == "vocals") & (dead["note"] == ""), "note"] = SILENT_ESTIMATE
    text = markdown(comparison.collect({**frames, "VA": dead}, SOURCES))
    assert "Silent estimates, scored as noise and part of the means (tracks): VA vocals: 4." in text


def test_one_model_is_not_the_best_of_anything(frames: dict[str, pd.DataFrame]) -> None:
    few = {model: frames[model] for model in ("mixture", "baseline", "oracle")}
    text = markdown(comparison.collect(few, SOURCES))
    assert "**" not in text
    assert "Difference" not in text


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
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for model, scores in {**frames, "old": frames["V"]}.items():
        comparison.save_tracks(scores, tmp_path / f"results/tracks/{model}.csv")
    done = compare(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "results/tracks/old.csv: params.yaml has no model of that name" in done.stderr
    results = {path.name: path.read_text() for path in (tmp_path / "results").glob("*.*")}
    assert set(results) == {"metrics.json", "table.csv", "table.md"}
    assert results["table.md"] in done.stdout
    assert json.loads(results["metrics.json"])["iKala"]["V"]["NSDR_vocals"] == 3.0
    assert len(results["table.csv"].splitlines()) == 1 + 3 * 5 * 2 * 4

    (tmp_path / "results/tracks/V.csv").unlink()
    failed = compare(tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("error: results/tracks/V.csv: no such file")
    assert "Traceback" not in failed.stderr


def test_help() -> None:
    assert "results/metrics.json" in compare(ROOT, "--help").stdout.replace("\n", " ")
