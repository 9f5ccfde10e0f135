"""results/table.csv: cells, differences and what is bold, beside the intervals by themselves."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.comparison import aggregation, intervals, long_table
from pipeline.errors import UserError
from pipeline.evaluation import metrics
from tests.helpers.score_tables import (
    SOURCES,
    cell,
    frame,
    many_tracks,
    markdown,
    seeds_of,
    split_of,
    table_of,
)


def test_a_track_without_a_role_is_named(collected: pd.DataFrame) -> None:
    split = split_of(collected).query("track != 'a'")
    with pytest.raises(
        UserError, match=r"data/split\.csv: lacks iKala / a, which .*; run `dvc repro`"
    ):
        long_table.long_table(collected, SOURCES, split, "baseline", 0.95)


@pytest.fixture(scope="module")
def twelve() -> pd.DataFrame:
    return many_tracks(12, seeds=(3, 1, 2))


def test_cells_are_those_of_the_intervals(twelve: pd.DataFrame) -> None:
    """Of V's vocals, from the rows themselves; two tracks are of one artist in another spelling."""
    split = split_of(twelve)
    split.loc[:1, "artist"] = ["Same ", "sAME"]
    long = long_table.long_table(twelve, SOURCES, split, "baseline", 0.9)
    chosen = twelve[twelve["source"] == "vocals"]
    wide = chosen.pivot(index="track", columns=["model", "seed"], values="SIR")
    new, old = (wide[model].to_numpy().T[:, :, None] for model in ("V", "baseline"))
    artists = [0, 0, *range(1, 11)]
    row = cell(long, "CCMixter", "V", "vocals", "SIR")
    assert (row["seeds"], row["tracks"], row["artists"]) == (3, 12, 11)
    own = intervals.mean_of(new, artists, 0.9)
    found = intervals.difference(new, old, artists, 0.9)
    expected = {
        "mean": own.mean, "low": own.low, "high": own.high, "difference": found.mean,
        "difference_low": found.low, "difference_high": found.high,
    }  # fmt: skip
    for name, value in expected.items():
        assert row[name] == pytest.approx(value[0], abs=0.00501), name
    assert row["p_value"] == pytest.approx(found.p_value[0], rel=5e-3)
    family = long.loc[(long["metric"] == "SIR") & long["p_value"].notna(), "p_value"].unique()
    assert len(family) == 2  # two sources: `all` is CCMixter, whose tests count once
    adjusted = dict(zip(family, intervals.holm(family), strict=True))
    assert row["p_holm"] == pytest.approx(adjusted[row["p_value"]], rel=1e-2)
    assert row["detectable"] > abs(row["difference_high"] - row["difference_low"]) / 2


def test_the_same_tracks_under_two_names_are_one_test(twelve: pd.DataFrame) -> None:
    """`unseen` and its only dataset: corrected for two datasets and `all`, of two sources each."""
    other = twelve.assign(dataset="DSD100", SDR=twelve["SDR"] + 0.1 * (twelve["track"] > "005"))
    both = pd.concat([twelve, other], ignore_index=True)
    long = long_table.long_table(both, SOURCES, split_of(both), "baseline", 0.95)
    rows = long[(long["metric"] == "SDR") & long["p_value"].notna()]
    assert set(rows["test_set"]) == {"all", "unseen", "CCMixter", "DSD100"}
    distinct = rows[rows["test_set"] != "unseen"]
    assert len(distinct) == 3 * 2
    expected = dict(zip(distinct["p_value"], intervals.holm(distinct["p_value"]), strict=True))
    for row in rows.to_dict("records"):
        assert row["p_holm"] == pytest.approx(expected[row["p_value"]], rel=2e-2)
    columns = ["model", "source", "p_value", "p_holm", "detectable"]
    one, same = (rows[rows["test_set"] == name][columns] for name in ("unseen", "CCMixter"))
    assert one.to_numpy().tolist() == same.to_numpy().tolist()


def test_a_median_over_tracks_has_no_interval_and_tells_nothing(twelve: pd.DataFrame) -> None:
    """Of SDR-v4: by hand, each seed's median over tracks, then the mean over seeds."""
    uneven = twelve.assign(**{"SDR-v4": twelve["SDR"] ** 2})
    lacking = (uneven["model"] == "V") & (uneven["seed"] == 1) & (uneven["track"] == "003")
    uneven.loc[lacking, "SDR-v4"] = np.nan  # all frames of that track were silent
    long = table_of(uneven)
    assert set(long.loc[long["aggregate"] == "median", "metric"]) == {"SDR-v4"}
    chosen = uneven[uneven["source"] == "vocals"]
    wide = chosen.pivot(index="track", columns=["model", "seed"], values="SDR-v4")
    of_model = {model: wide[model].round(2) for model in ("V", "baseline")}
    row = cell(long, "all", "V", "vocals", "SDR-v4")
    kept = {model: own.drop(index="003") for model, own in of_model.items()}
    assert row["tracks"] == 11
    new, old = (np.median(kept[model].to_numpy(), axis=0).mean() for model in ("V", "baseline"))
    assert row["mean"] == pytest.approx(new, abs=0.00501)
    assert row["difference"] == pytest.approx(new - old, abs=0.00501)
    nothing = [
        "low",
        "high",
        "difference_low",
        "difference_high",
        "p_value",
        "p_holm",
        "detectable",
    ]
    rows = long[long["metric"] == "SDR-v4"]
    assert rows[nothing].isna().all(axis=None)
    assert (rows["best"] == 0).all()
    # the other columns are what they are without it
    others = long[long["metric"] != "SDR-v4"].reset_index(drop=True)
    same = table_of(twelve)
    assert others.equals(same[same["metric"] != "SDR-v4"].reset_index(drop=True))


def test_reference_rows_have_intervals_over_artists_and_no_seeds(twelve: pd.DataFrame) -> None:
    from scipy import stats

    row = cell(table_of(twelve), "all", "oracle", "vocals", "SDR")
    values = twelve.query("model == 'oracle' and source == 'vocals'")["SDR"]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert row["seeds"] == 0
    assert [row["low"], row["high"]] == pytest.approx([low, high], abs=0.00501)
    assert row["best"] == 0
    assert pd.isna(row["difference"])


def test_one_seed_has_intervals_over_artists_and_nothing_is_told() -> None:
    long = table_of(many_tracks(12, seeds=(5,)))
    assert (long["seeds"].isin([0, 1])).all()
    assert long["mean"].notna().all()
    assert long.loc[long["aggregate"] == "mean", ["low", "high"]].notna().all(axis=None)
    assert (long["best"] == 0).all()
    of_v = long[long["model"] == "V"]
    assert of_v["difference"].notna().all()
    assert of_v[["difference_low", "p_value", "p_holm", "detectable"]].isna().all(axis=None)


def levels(*by_model: float, seeds: int = 4, tracks: int = 9) -> pd.DataFrame:
    """Models a, b, ... at these levels, seeds half a dB apart."""
    random = np.random.default_rng(1)
    frames = {}
    for model, level in zip(["mixture", *"abcd"], (0.0, *by_model), strict=False):
        runs = []
        for seed in seeds_of(model, range(seeds)):
            values = level + 0.5 * random.normal() + 0.3 * random.normal(size=(tracks, 2, 3))
            values = values.round(2)
            runs.append(
                frame(
                    {("iKala", str(k)): tuple(map(tuple, one)) for k, one in enumerate(values)},
                    seeds=(seed,),
                )
            )
        frames[model] = pd.concat(runs)
    return aggregation.combine(frames, SOURCES)


@pytest.mark.parametrize(
    ("by_model", "higher", "expected"),
    [
        ((3.0, 3.1, 9.0), True, "c"),
        ((3.0, 9.0, 9.1), True, "bc"),
        ((3.0, 9.0, 9.1), False, "a"),
        ((5.0, 5.1, 5.2), True, "abc"),
        ((5.0,), True, ""),
    ],
)
def test_bold_is_what_cannot_be_told_from_the_best(
    monkeypatch: pytest.MonkeyPatch, by_model: tuple[float, ...], higher: bool, expected: str
) -> None:
    entries = tuple(replace(one, higher_is_better=higher) for one in metrics.METRICS)
    monkeypatch.setattr(metrics, "METRICS", entries)
    long = table_of(levels(*by_model), baseline=None)
    chosen = long[
        (long["test_set"] == "all") & (long["metric"] == "SDR") & (long["source"] == "vocals")
    ]
    assert "".join(chosen.loc[chosen["best"] == 1, "model"]) == expected


def test_intervals_do_not_depend_on_other_models(twelve: pd.DataFrame) -> None:
    full, part = table_of(twelve), table_of(twelve[twelve["model"] != "oracle"])
    pd.testing.assert_frame_equal(
        full[full["model"] != "oracle"].reset_index(drop=True), part.reset_index(drop=True)
    )


def test_without_a_baseline(collected: pd.DataFrame) -> None:
    long = table_of(collected, baseline=None)
    assert long["difference"].isna().all()
    assert long["mean"].notna().all()
    assert "Difference" not in markdown(collected, baseline=None)
