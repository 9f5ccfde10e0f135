"""The file of scores per track: names and numbers come back, damage is named."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.evaluation.track_scores import NO_SEED, load_tracks, save_tracks
from tests.helpers.score_tables import Tracks, frame

HEADER = "seed,dataset,track,source,SDR,SIR,SAR,SI-SDR,SNR,SDR-v4,uSDR,note"


def test_files_keep_scores_and_names(tmp_path: Path) -> None:
    names = ["007", "nan", "NA", "a, b", 'say "é"', " spaced ", "1e5", "漢字"]
    scores = {("iKala", name): ((1.005, np.inf, -0.001), (-2.5, 3.0, 4.0)) for name in names}
    path = tmp_path / "results" / "V.csv"
    save_tracks(frame({**scores, ("iKala", "silent"): None}), path)
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == HEADER
    assert "2,iKala,silent,vocals,,,,,,,,silent reference" in text
    assert "-0.00" not in text
    loaded = load_tracks(path)
    assert list(loaded["track"][::2]) == [*names, "silent"] * 2
    assert list(loaded["seed"].unique()) == [1, 2]
    assert loaded.loc[0, "SIR"] == np.inf
    assert loaded["SDR"].isna().sum() == 4
    save_tracks(loaded, path)
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file; run `dvc repro evaluate@V`"),
        ("", "expected columns"),
        ("dataset,track\na,b\n", "expected columns seed, dataset, track, source, SDR"),
        (f"{HEADER}\n", "holds no track"),
        (
            f"{HEADER}\n1,a,b,vocals,x,1,1,1,1,1,1,\n",
            "b / vocals: expected a score",
        ),
        (
            f"{HEADER},more\n1,a,b,vocals,1,1,1,1,1,1,1,,\n",
            "expected columns",
        ),
        (
            f"{HEADER}\n" + "1,a,b,vocals,1,1,1,1,1,1,1,\n" * 2,
            "1 / a / b / vocals is there twice",
        ),
        (
            f"{HEADER.removeprefix('seed,')}\na,b,vocals,1,1,1,1,1,1,1,\n",
            r"scores from before seeds \(no column seed\); run `dvc repro evaluate@V`",
        ),
        (
            "seed,dataset,track,source,SDR,SIR,SAR,note\n1,a,b,vocals,1,1,1,\n",
            "scores from before the metrics SI-SDR, SNR, SDR-v4, uSDR; run `dvc repro evaluate@V`",
        ),
        (
            "dataset,track,source,SDR,SIR,SAR,note\na,b,vocals,1,1,1,\n",
            r"from before seeds \(no column seed\) and the metrics SI-SDR, SNR, SDR-v4, uSDR; run",
        ),
        (f"{HEADER}\n,a,b,vocals,1,1,1,1,1,1,1,\n", "expected a seed"),
        (f"{HEADER}\n-1,a,b,vocals,1,1,1,1,1,1,1,\n", "expected a seed"),
        ("\x00\xff\n\n1,2,3", "not UTF-8 text"),
        (
            f"{HEADER}\n1,a,b,vocals,,1,1,1,1,1,1,\n",
            "expected a score in dB, found ''",
        ),
        (f"{HEADER}\n1,a,b,vocals,1,1,1,1,1,1,1,x\n", "unknown note 'x'"),
        (
            f"{HEADER}\n1,a,b,vocals,1,,,,,,,too short\n",
            "a track without",
        ),
    ],
)
def test_damaged_files(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "V.csv"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=message) as caught:
        load_tracks(path)
    assert "V.csv: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scores_from_before_seeds_are_those_of_one_unknown_seed(tmp_path: Path) -> None:
    tracks: Tracks = {("iKala", "007"): ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), ("iKala", "nan"): None}
    new, old = tmp_path / "new" / "V.csv", tmp_path / "old" / "V.csv"
    save_tracks(frame(tracks, seeds=(5,)), new)
    old.parent.mkdir()
    lines = [line.partition(",")[2] for line in new.read_text().splitlines()]
    old.write_text("\n".join(lines) + "\n")
    loaded = load_tracks(old, earlier=True)
    assert loaded.equals(load_tracks(new).assign(seed=NO_SEED))
    assert load_tracks(new, earlier=True).equals(load_tracks(new))
    old.write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(UserError, match="is there twice"):
        load_tracks(old, earlier=True)


def test_scores_from_before_a_metric_lack_it(tmp_path: Path) -> None:
    """A pull request that brings a metric is compared with a revision that has not heard of it."""
    new, old = tmp_path / "new/V.csv", tmp_path / "old/V.csv"
    save_tracks(
        frame({("iKala", "007"): ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), ("iKala", "b"): None}), new
    )
    rows = [line.split(",") for line in new.read_text().splitlines()]
    old.parent.mkdir()
    for first in (0, 1):  # from before seeds too
        text = "\n".join(",".join([*row[first:7], row[-1]]) for row in rows[: 5 - 2 * first])
        old.write_text(text + "\n")
        loaded, whole = load_tracks(old, earlier=True), load_tracks(new)
        there = ["dataset", "track", "source", "SDR", "SIR", "SAR", "note"]
        assert loaded[there].equals(whole.loc[: len(loaded) - 1, there])
        assert loaded[["SI-SDR", "SNR", "SDR-v4", "uSDR"]].isna().all(axis=None)
        assert list(loaded.columns) == list(whole.columns)


def test_only_what_is_not_defined_everywhere_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "V.csv"
    path.write_text(f"{HEADER}\n1,a,b,vocals,1,1,1,1,1,,1,\n")
    assert load_tracks(path)["SDR-v4"].isna().all()
    for cells in ("1,1,1,,1,1,1", "1,1,1,1,1,nan,1", "1,1,1,1,1,99999,1"):
        path.write_text(f"{HEADER}\n1,a,b,vocals,{cells},\n")
        with pytest.raises(UserError, match="expected a score in dB, found"):
            load_tracks(path)
