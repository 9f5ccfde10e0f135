"""The intervals hold their level and find what they say, in comparisons drawn from real runs."""

import re
from pathlib import Path

import pytest

from tests.helpers import simulation
from tests.helpers.simulation import DESIGNS, NULLS, RUNS, found, seen

pytestmark = pytest.mark.skipif(not RUNS.exists(), reason=f"{RUNS.name} is not there")
SIMULATED = Path(__file__).parents[2] / "docs/simulation.md"


@pytest.mark.parametrize("null", NULLS)
def test_the_level_is_held_for_the_embedded_table(null: str) -> None:
    for design in ("5 tracks", "29 tracks", "CCMixter: 18 tracks by 8"):
        assert 2 <= found(null, 4, DESIGNS[design], draws=150) <= 8, design


def test_what_is_said_to_be_found_is_found() -> None:
    tracks = DESIGNS["29 tracks"]
    assert 70 <= found("other model", 4, tracks, 100, effect=seen(4, tracks, 100)) <= 90


@pytest.mark.slow
def test_the_whole_simulation() -> None:
    text = simulation.as_markdown()
    assert text == SIMULATED.read_text(encoding="utf-8")
    levels = [float(cell) for cell in re.findall(r" (\d+\.\d) ", text.split("## Power")[0])]
    without = ("2 tracks", "3 tracks")
    assert len(levels) == (len(DESIGNS) - len(without)) * len(NULLS) * len(simulation.SEEDS)
    assert min(levels) >= 2.5
    assert max(levels) <= 8
