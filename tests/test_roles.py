"""data/split.csv: read as it was written, or refused in one line."""

import math
from pathlib import Path

import pandas as pd
import pytest

from pipeline import roles
from pipeline.errors import UserError


def test_saved_and_loaded(tmp_path: Path) -> None:
    rows = [
        ("DSD100", 'NA, or "null"', "a", "supervised", True, math.nan),
        ("DSD100", "NA", "b", "validation", True, math.nan),
        ("MedleyDB", "c", "Ça va, ''Møller''", "unlabelled", False, 0.1),
        ("iKala", "10161_chorus", "10161", "test", True, math.nan),
    ]
    frame = pd.DataFrame(rows, columns=roles.COLUMNS)
    path = tmp_path / "data/split.csv"
    roles.save_split(frame, path)
    loaded = roles.load_split(path)
    pd.testing.assert_frame_equal(loaded, frame, check_dtype=False)
    assert loaded["has_vocals"].dtype == bool
    assert loaded.loc[loaded["dataset"] == "iKala", "artist"].iloc[0] == "10161"
    assert b"\r" not in path.read_bytes()


HEADER = "dataset,track,artist,role,has_vocals,weight\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected columns dataset, track, artist, role, has_vocals, weight, found none"),
        ("dataset,track\niKala,1\n", "expected columns dataset, track, artist, role, has_vocals"),
        (
            HEADER + "iKala,a,b,test,True,\niKala,c,b,train,True,\n",
            "line 3: role: expected supervised",
        ),
        (HEADER + "iKala,a,b,test,maybe,\n", "line 2: has_vocals: expected True or False"),
        (HEADER + "iKala,a,b,test,True,0\n", "line 2: weight: expected a positive number"),
        (HEADER + "iKala,a,b,test,True,inf\n", "line 2: weight: expected a positive number"),
        (HEADER + "iKala,a,b,test,True,much\n", "line 2: weight: expected a positive number"),
        (HEADER + "iKala,a,b,test,True,\niKala,a,b,test,True,\n", "line 3: a is in it twice"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        roles.load_split(path)
    assert str(error.value).startswith(str(path))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_names_the_stage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run `python -m stages\.split` first"):
        roles.load_split(tmp_path / "split.csv")
