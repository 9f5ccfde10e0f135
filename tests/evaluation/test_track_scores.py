"""The file of scores per track: names and numbers come back, damage is named."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.evaluation.track_scores import load_tracks, save_tracks
from tests.helpers.score_tables import frame


def test_files_keep_scores_and_names(tmp_path: Path) -> None:
    names = ["007", "nan", "NA", "a, b", 'say "é"', " spaced ", "1e5", "漢字"]
    scores = {("iKala", name): ((1.005, np.inf, -0.001), (-2.5, 3.0, 4.0)) for name in names}
    path = tmp_path / "results" / "V.csv"
    save_tracks(frame({**scores, ("iKala", "silent"): None}), path)
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == "dataset,track,source,SDR,SIR,SAR,note"
    assert "iKala,silent,vocals,,,,silent reference" in text
    assert "-0.00" not in text
    loaded = load_tracks(path)
    assert list(loaded["track"][::2]) == [*names, "silent"]
    assert loaded.loc[0, "SIR"] == np.inf
    assert loaded["SDR"].isna().sum() == 2
    save_tracks(loaded, path)
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file; run `dvc repro evaluate@V`"),
        ("", "expected columns"),
        ("dataset,track\na,b\n", "expected columns dataset, track, source, SDR"),
        ("dataset,track,source,SDR,SIR,SAR,note\n", "holds no track"),
        (
            "dataset,track,source,SDR,SIR,SAR,note\na,b,vocals,x,1,1,\n",
            "b / vocals: expected a score",
        ),
        ("dataset,track,source,SDR,SIR,SAR,note,more\na,b,vocals,1,1,1,,\n", "expected columns"),
        (
            "dataset,track,source,SDR,SIR,SAR,note\na,b,vocals,1,1,1,\na,b,vocals,1,1,1,\n",
            "a / b / vocals is there twice",
        ),
        ("\x00\xff\n\n1,2,3", "not UTF-8 text"),
        (
            "dataset,track,source,SDR,SIR,SAR,note\na,b,vocals,,1,1,\n",
            "expected a score in dB, found ''",
        ),
        ("dataset,track,source,SDR,SIR,SAR,note\na,b,vocals,1,1,1,x\n", "unknown note 'x'"),
        ("dataset,track,source,SDR,SIR,SAR,note\na,b,vocals,1,,,too short\n", "a track without"),
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
