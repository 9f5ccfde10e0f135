"""How often the intervals err and what they find, in comparisons drawn from real runs.

RUNS has the scores of the embedded baseline, V and VA with twenty seeds each. Comparisons whose truth
is known are drawn from them. `python -m tests.helpers.simulation` prints docs/simulation.md.
"""

import sys
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.comparison.intervals import Estimate, Values, detectable, difference, mean_of
from pipeline.comparison.markdown import grid

RUNS = Path(__file__).parents[1] / "comparison/runs.csv.gz"
Numbers = NDArray[np.int_]

SEEDS = (3, 4, 5, 8, 10)
DESIGNS = {f"{count} tracks": np.arange(count) for count in (2, 3, 4, 5, 8, 12, 18, 29)}
"""The artists of the tracks: each by another one."""
CLUSTERED = {
    "12 tracks by 4": np.repeat(np.arange(4), 3),
    "20 tracks by 10": np.repeat(np.arange(10), 2),
    "CCMixter: 18 tracks by 8": np.repeat(np.arange(8), [8, 3, 2, 1, 1, 1, 1, 1]),
    "MedleyDB: 42 tracks by 15": np.repeat(
        np.arange(15), [10, 6, 5, 4, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1]
    ),
}
"""Half of the variance between tracks is between artists, whose effective numbers are 4 and 8."""
DESIGNS |= CLUSTERED
NULLS = {
    "same model": "A model against itself, two disjoint sets of seeds",
    "other model": "Another model: tracks differ as they do, their mean does not",
    "one cell": "One cell: the interval of a mean leaves the true one out",
}
EFFECTS = (0.3, 0.5, 1.0)


class Pair(NamedTuple):
    """Two models' scores of one source in dB, (seeds, tracks)."""

    new: Values
    old: Values


@cache
def pairs(path: Path = RUNS) -> list[Pair]:
    """Every two models, of each source."""
    frame = pd.read_csv(path)
    found = []
    for _, rows in frame.groupby("source"):
        by_model = [
            own.pivot(index="seed", columns=["dataset", "track"], values="SDR").to_numpy()
            for _, own in rows.groupby("model", sort=False)
        ]
        found += [Pair(one, other) for one, other in combinations(by_model, 2)]
    return found


def compared(
    null: str, seeds: int, artists: Numbers, draws: int, runs: Path = RUNS, effect: float = 0.0
) -> Iterator[Estimate]:
    """Estimates of `draws` comparisons of every pair of models, in which `effect` is the truth."""
    for number, pair in enumerate(pairs(runs)):
        random = np.random.default_rng([number, seeds, *artists])
        if null == "one cell":
            yield mean_of(_one_cell(random, pair.new, seeds, artists, draws), artists, 0.95)
            continue
        sides = _same_model if null == "same model" else _other_model
        new, old = sides(random, pair, seeds, artists, draws)
        yield difference(new + effect, old, artists, 0.95)


def found(
    null: str, seeds: int, artists: Numbers, draws: int, runs: Path = RUNS, effect: float = 0.0
) -> float:
    """Share of the comparisons with p < 0.05, in per cent."""
    estimates = compared(null, seeds, artists, draws, runs, effect)
    return float(100 * np.mean([one.p_value < 0.05 for one in estimates]))


def seen(seeds: int, artists: Numbers, draws: int, runs: Path = RUNS) -> float:
    """What difference is found in 80 % of repetitions, in dB: the mean of what comparisons say."""
    estimates = compared("other model", seeds, artists, draws, runs)
    return float(np.mean([detectable(one.error, one.freedom, 0.05) for one in estimates]))


def _same_model(
    random: np.random.Generator, pair: Pair, seeds: int, artists: Numbers, draws: int
) -> tuple[Values, Values]:
    """Each (seeds, tracks, draws): no seed is on both sides, no track twice."""
    scores = pair.new
    which = _drawn(random, len(scores), 2 * seeds, draws)[:, None]
    both = scores[which, _drawn(random, scores.shape[1], len(artists), draws)]
    return both[:seeds], both[seeds:]


def _other_model(
    random: np.random.Generator, pair: Pair, seeds: int, artists: Numbers, draws: int
) -> tuple[Values, Values]:
    """Each (seeds, tracks, draws). Deviations have random signs, so that their mean is zero whatever
    is drawn; without the signs a draw of nearly all tracks or seeds would be too exact."""
    gap = pair.new.mean(axis=0) - pair.old.mean(axis=0)
    there = _drawn(random, len(gap), len(artists), draws)
    by_track = _of_tracks(random, gap - gap.mean(), there, artists)
    new = _of_runs(random, pair.new, seeds, there) + by_track
    return new, _of_runs(random, pair.old, seeds, there)


def _one_cell(
    random: np.random.Generator, scores: Values, seeds: int, artists: Numbers, draws: int
) -> Values:
    """(seeds, tracks, draws): a model's scores about a true mean of zero."""
    level = scores.mean(axis=0)
    there = _drawn(random, len(level), len(artists), draws)
    by_track = _of_tracks(random, level - level.mean(), there, artists)
    return _of_runs(random, scores, seeds, there) + by_track


def _of_runs(random: np.random.Generator, scores: Values, seeds: int, there: Numbers) -> Values:
    """(seeds, tracks, draws): what runs add to the means of the tracks `there`."""
    left = scores - scores.mean(axis=0)
    draws = there.shape[1]
    which = _drawn(random, len(scores), seeds, draws)[:, None]
    return left[which, there] * random.choice([-1.0, 1.0], (seeds, 1, draws))


def _of_tracks(
    random: np.random.Generator, deviations: Values, there: Numbers, artists: Numbers
) -> Values:
    """(tracks, draws): deviations of either sign; half of the variance is that of artists, if any."""
    own = deviations[there] * random.choice([-1.0, 1.0], there.shape)
    if (count := artists.max() + 1) == len(artists):
        return own
    which = _drawn(random, len(deviations), count, there.shape[1])
    common = deviations[which] * random.choice([-1.0, 1.0], which.shape)
    mixed: Values = np.sqrt(0.5) * (own + common[artists])
    return mixed


def _drawn(random: np.random.Generator, size: int, count: int, draws: int) -> Numbers:
    """(count, draws): indices without replacement, from all again when they are used up."""
    rounds = [random.random((size, draws)).argsort(axis=0) for _ in range(-(-count // size))]
    return np.concatenate(rounds)[:count]


def as_markdown(draws: int = 1000, runs: Path = RUNS) -> str:
    """docs/simulation.md."""
    header = ["", *(f"{seeds} seeds" for seeds in SEEDS)]
    lines = [
        "# The intervals, simulated",
        "",
        "What [statistics.md](statistics.md) says is computed, tried on comparisons drawn from"
        f" 20 real runs of each embedded model: {draws * len(pairs(runs)):,} a cell, of SDR. Made by"
        " `python -m tests.helpers.simulation`; `tests/comparison/test_simulation.py` repeats it.",
    ]
    for null, title in NULLS.items():
        rows = [
            [name, *(_percent(found(null, seeds, artists, draws, runs)) for seeds in SEEDS)]
            for name, artists in DESIGNS.items()
        ]
        lines += [
            "",
            f"## {title}",
            "",
            "Per cent at nominal 5 %; – for no interval.",
            "",
        ]
        lines += grid(header, rows, text_columns=1)
    artists = DESIGNS["29 tracks"]
    seen_by = [seen(seeds, artists, draws, runs) for seeds in SEEDS]
    power = [
        [
            f"{effect:g} dB",
            *(_percent(found("other model", s, artists, draws, runs, effect)) for s in SEEDS),
        ]
        for effect in EFFECTS
    ]
    at_seen = [
        _percent(found("other model", s, artists, draws, runs, effect))
        for s, effect in zip(SEEDS, seen_by, strict=True)
    ]
    power += [["found in 80 %, says `detectable`: dB", *(f"{one:.2f}" for one in seen_by)]]
    power += [["found of that", *at_seen]]
    lines += ["", "## Power", "", "Per cent found of a true difference, 29 tracks.", ""]
    return "\n".join([*lines, *grid(header, power, text_columns=1), ""])


def _percent(value: float) -> str:
    return f"{value:.1f}" if value else "–"


if __name__ == "__main__":
    print(as_markdown(runs=Path(sys.argv[1]) if sys.argv[1:] else RUNS), end="")
