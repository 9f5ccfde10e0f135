"""A table's rows compared with another row than the baseline, on the fixture experiment."""

import math
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.places import TOP


def compare_with(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        ["scripts/compare-with", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


@pytest.fixture
def with_code(copied: Path) -> Path:
    for name in ("pipeline", "stages", "networks", "scripts"):
        shutil.copytree(TOP / name, copied / name)
    return copied


def test_the_other_side_of_a_difference_is_its_negative(with_code: Path) -> None:
    before = {path: path.read_bytes() for path in (with_code / "results").rglob("*.csv")}
    table = pd.read_csv(with_code / "results/table.csv").query("metric == 'SDR' and model == 'V'")
    expected = {}
    for own in table.to_dict("records"):
        other = (-own[key] + 0.0 for key in ("difference", "difference_high", "difference_low"))
        shown = "{:+.2f} ({:.2f} to {:.2f}), p {:.3f}".format(*other, own["p_value"])
        without = f"{-own['difference'] + 0.0:+.2f}"
        name = f"{own['test_set']}, {own['source']}, baseline"
        expected[name] = without if math.isnan(own["p_value"]) else shown
    status, lines = compare_with(with_code, "V", "baseline")
    assert status == 0
    assert dict(line.split(": ") for line in lines) == expected
    assert {path: path.read_bytes() for path in before} == before


def test_all_other_rows_are_compared_by_default(with_code: Path) -> None:
    status, lines = compare_with(with_code, "VA")
    assert status == 0
    assert {line.split(": ")[0].split(", ")[2] for line in lines} == {"baseline", "V"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["W"], "error: params.yaml: models: expected one of baseline, V, VA, found 'W'"),
        (["V", "V"], "error: V: no other row to compare it with"),
    ],
)
def test_a_row_that_is_not_there_is_refused(
    with_code: Path, arguments: list[str], said: str
) -> None:
    assert compare_with(with_code, *arguments) == (1, [said])
