"""The file of scores per track: names and numbers come back, damage is named."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.evaluation.track_scores import NO_SEED, load_tracks, save_tracks
from tests.helpers.score_tables import Tracks, frame


def test_files_keep_scores_and_names(tmp_path: Path) -> None:
    names = ["007", "nan", "NA", "a, b", 'say "é"', " spaced ", "1e5", "漢字"]
    scores = {("iKala", name): ((1.005, np.inf, -0.001), (-2.5, 3.0, 4.0)) for name in names}
    path = tmp_path / "results" / "V.csv"
    save_tracks(frame({**scores, ("iKala", "silent"): None}), path)
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == "seed,dataset,track,source,SDR,SIR,SAR,note"
    assert "2,iKala,silent,vocals,,,,silent reference" in text
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
        ("seed,dataset,track,source,SDR,SIR,SAR,note\n", "holds no track"),
        (
            "seed,dataset,track,source,SDR,SIR,SAR,note\n1,a,b,vocals,x,1,1,\n",
            "b / vocals: expected a score",
        ),
        (
            "seed,dataset,track,source,SDR,SIR,SAR,note,more\n1,a,b,vocals,1,1,1,,\n",
            "expected columns",
        ),
        (
            "seed,dataset,track,source,SDR,SIR,SAR,note\n1,a,b,vocals,1,1,1,\n1,a,b,vocals,1,1,1,\n",
            "1 / a / b / vocals is there twice",
        ),
        (
            "dataset,track,source,SDR,SIR,SAR,note\na,b,vocals,1,1,1,\n",
            r"scores from before seeds \(no column seed\); run `dvc repro evaluate@V`",
        ),
        ("seed,dataset,track,source,SDR,SIR,SAR,note\n,a,b,vocals,1,1,1,\n", "expected a seed"),
        ("seed,dataset,track,source,SDR,SIR,SAR,note\n-1,a,b,vocals,1,1,1,\n", "expected a seed"),
        ("\x00\xff\n\n1,2,3", "not UTF-8 text"),
        (
            "seed,dataset,track,source,SDR,SIR,SAR,note\n1,a,b,vocals,,1,1,\n",
            "expected a score in dB, found ''",
        ),
        ("seed,dataset,track,source,SDR,SIR,SAR,note\n1,a,b,vocals,1,1,1,x\n", "unknown note 'x'"),
        (
            "seed,dataset,track,source,SDR,SIR,SAR,note\n1,a,b,vocals,1,,,too short\n",
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
    loaded = load_tracks(old, before_seeds=True)
    assert loaded.equals(load_tracks(new).assign(seed=NO_SEED))
    assert load_tracks(new, before_seeds=True).equals(load_tracks(new))
    old.write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(UserError, match="is there twice"):
        load_tracks(old, before_seeds=True)
