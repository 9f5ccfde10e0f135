"""What a review says of real runs: of the same code again, and of a change that is planted.

The runs are twenty trainings of each model of the embedded experiment, which differ in their seed.
Two disjoint sets of them are two revisions with the same code: whatever a review calls better or
worse there is an error.
"""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pipeline.comparison import aggregation, differences, review
from pipeline.comparison.differences import Results
from pipeline.evaluation.metrics import HEADLINE, MEASURED
from pipeline.tracks import TrackName
from tests.helpers.places import TOP

RUNS = Path(__file__).with_name("runs.csv.gz")
pytestmark = pytest.mark.skipif(not RUNS.exists(), reason=f"{RUNS.name} is not there")
DOCUMENT = TOP / "docs/pull-requests.md"
PAIRS = 200
SEEDS = (4, 6, 8)
"""Of each revision."""
ENOUGH = 8
"""Seeds that show PLANTED nearly always."""
PLANTED = 1.0
"""dB, on every source, track and run of one model."""
CALLED = re.compile(r"\*\*(Better|Worse)\*\*|\*\*[+-]\d")


@cache
def runs() -> pd.DataFrame:
    lacking = dict.fromkeys(MEASURED, np.nan)  # the runs are from before the panel
    frame = pd.read_csv(RUNS, dtype={"track": str, "artist": str}).assign(note="")
    return frame.assign(**{name: one for name, one in lacking.items() if name not in frame})


def results(seeds: NDArray[np.int_], better: str = "") -> Results:
    chosen = runs()[runs()["seed"].isin(seeds)]
    frames = {str(model): rows for model, rows in chosen.groupby("model", sort=False)}
    if better:
        frames[better] = frames[better].assign(**{HEADLINE: frames[better][HEADLINE] + PLANTED})
    sources = list(chosen["source"].unique())
    tracks = map(TrackName, chosen["dataset"], chosen["track"])
    return Results(
        aggregation.means(aggregation.stacked(frames), sources),
        differences.scored_rows(frames),
        dict(zip(tracks, chosen["artist"], strict=True)),
    )


def called_and_found(count: int, pairs: int) -> tuple[float, float]:
    """Of pairs of revisions with `count` runs each: (share of reviews of the same code that call
    anything a change, share of reviews that report the change of one model)."""
    models = list(runs()["model"].unique())
    called = found = 0
    for pair in range(pairs):
        drawn = np.random.default_rng([count, pair]).permutation(runs()["seed"].unique())
        old, new = drawn[:count], drawn[count : 2 * count]
        text = review.as_markdown(results(old), results(new), {}, [], "old → new")
        called += CALLED.search(text) is not None
        model = models[pair % len(models)]
        text = review.as_markdown(results(old), results(new, model), {}, [], "old → new")
        found += re.match(rf"\*\*Better\*\*: ([^.]|\.\d)*`{model}` on", text) is not None
    return called / pairs, found / pairs


def test_a_few_reviews_of_real_runs() -> None:
    called, found = called_and_found(8, pairs=4)
    assert called == 0
    assert found >= 0.5


@pytest.mark.slow
def test_a_review_of_the_same_code_calls_nothing_better_or_worse() -> None:
    """It prints what docs/pull-requests.md says, and checks that it does."""
    table = [
        "| runs of each side | same code, something called a change | 1 dB in one model, reported |"
    ]
    shares = {}
    for count in SEEDS:
        shares[count] = called, found = called_and_found(count, PAIRS)
        table.append(f"| {count} | {called:.1%} | {found:.0%} |")
    print(*table, sep="\n")
    assert all(called <= 0.05 for called, _ in shares.values())
    assert shares[ENOUGH][1] >= 0.9
    document = re.sub(" +", " ", DOCUMENT.read_text(encoding="utf-8"))
    assert [row for row in table if row not in document] == []
