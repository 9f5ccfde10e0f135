"""What changed between the results of two revisions, and whether it is more than noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.comparison.aggregation import ALL, Means, load_means, stacked
from pipeline.comparison.intervals import bootstrap_interval
from pipeline.comparison.revisions import Change
from pipeline.errors import UserError
from pipeline.evaluation.metrics import REPORTED, named
from pipeline.evaluation.scoring import UNSCORED
from pipeline.evaluation.track_scores import KEY, load_tracks
from pipeline.tracks import TrackName

METRICS_FILE = Path("results/metrics.json")
TRACK_SCORES = Path("results/tracks")

SAMPLES = 10_000
CONFIDENCE = 0.95
"""Of the noise; fixed, for the two revisions may have other parameters."""


@dataclass(frozen=True)
class Results:
    """The results of one revision."""

    means: Means
    """results/metrics.json"""
    scores: pd.DataFrame
    """results/tracks/*.csv below each other: the scored rows of `aggregation.stacked`"""

    def tracks(self, test_set: str) -> set[TrackName]:
        """What was scored."""
        found = set(map(TrackName, self.scores["dataset"], self.scores["track"]))
        return {name for name in found if test_set in (ALL, name.dataset)}


@dataclass(frozen=True)
class Difference:
    """One score of the table in both revisions, in dB; None where a revision does not have it."""

    test_set: str
    model: str
    source: str
    metric: str
    old: float | None
    new: float | None
    by: float | None
    """New less old; over the tracks that both have when their tracks are not the same."""
    low: float
    high: float
    """Interval of the mean paired difference; NaN when there are fewer than two pairs."""
    pairs: int
    """Tracks that both have."""
    moved: bool
    """Whether the mean or any track's score is another one."""

    @property
    def outside(self) -> bool:
        """Whether the difference is outside the noise: its interval does not contain 0."""
        return self.low > 0 or self.high < 0

    @property
    def better(self) -> bool:
        """Whether a difference outside the noise is one for the better."""
        return (self.low > 0) == named(self.metric).higher_is_better


def load(folder: Path, name: str) -> Results:
    """The results under `folder`. UserError (which calls the folder `name`) when there are none."""
    remedy = "run `make repro` and commit results/"
    if not (folder / METRICS_FILE).exists():
        raise UserError(f"{METRICS_FILE}: not in {name}: no results to compare; {remedy}")
    try:
        means = load_means(folder / METRICS_FILE, remedy)
        frames = {
            model: load_tracks(folder / TRACK_SCORES / f"{model}.csv") for model in means[ALL]
        }
    except UserError as error:
        raise UserError(f"{name}: {str(error).replace(f'{folder}/', '')}") from None
    return Results(means, scored_rows(frames))


def scored_rows(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """`aggregation.stacked` scores without the tracks that have none."""
    scores = stacked(frames)
    return scores[~scores["note"].isin(UNSCORED)]


def between(old: Results, new: Results, values: Mapping[str, Change]) -> list[Difference]:
    """Every score of both revisions, in the order of the new one; what it lacks comes last.

    `values` are the means: {"<test_set>.<model>.<metric>_<source>": Change}, from DVC.
    """
    found = []
    for test_set in ordered(new.means, old.means):
        paired = _paired(old, new, test_set)
        same_tracks = old.tracks(test_set) == new.tracks(test_set)
        before, after = (side.means.get(test_set, {}) for side in (old, new))
        for model in ordered(after, before):
            keys = ordered(after.get(model, {}), before.get(model, {}))
            for metric, key in product(REPORTED, keys):
                if not key.startswith(f"{metric}_"):
                    continue
                cell = (test_set, model, key.removeprefix(f"{metric}_"), metric)
                change = values.get(f"{test_set}.{model}.{key}", Change(None, None))
                noise = paired.get(cell[1:], NO_PAIRS)
                found.append(_as_difference(cell, change, noise, same_tracks))
    return found


def ordered(new: Mapping[str, object], old: Mapping[str, object]) -> list[str]:
    """The names of both, those of the new one first."""
    return list(dict.fromkeys([*new, *old]))


Noise = tuple[float, float, float, int, bool]
"""(mean, low, high, pairs, whether any pair differs) of paired differences in dB."""
NO_PAIRS: Noise = (np.nan, np.nan, np.nan, 0, False)


def _as_difference(
    cell: tuple[str, str, str, str], change: Change, noise: Noise, same_tracks: bool
) -> Difference:
    (old, new), (mean, low, high, pairs, moved) = change, noise
    by: float | None = None
    if old is not None and new is not None:
        by = round(new - old if same_tracks else mean, 2)
        by = by if np.isfinite(by) else None
    return Difference(*cell, old, new, by, low, high, pairs, moved or old != new)


def _paired(old: Results, new: Results, test_set: str) -> dict[tuple[str, str, str], Noise]:
    """By (model, source, metric): what the tracks that both revisions have say."""
    both = old.scores.merge(new.scores, on=["model", *KEY], suffixes=(" old", " new"))
    if test_set != ALL:
        both = both[both["dataset"] == test_set]
    if both.empty:
        return {}
    for metric in REPORTED:
        with np.errstate(invalid="ignore"):
            # Whole hundredths are added exactly in any order: the same text on every machine.
            both[metric] = (100 * (both[f"{metric} new"] - both[f"{metric} old"])).round()
    wide = both.pivot(index=["dataset", "track"], columns=["model", "source"], values=REPORTED)
    values = wide.to_numpy(dtype=np.float64)
    changes = np.where(np.isfinite(values), values, np.nan)
    low, high = bootstrap_interval(changes, SAMPLES, CONFIDENCE, [0, *test_set.encode()])
    found: dict[tuple[str, str, str], Noise] = {}
    for k, (metric, model, source) in enumerate(wide.columns.to_frame().itertuples(index=False)):
        here = changes[np.isfinite(changes[:, k]), k]
        mean = here.mean() / 100 if len(here) else np.nan
        noise = (mean, low[k] / 100, high[k] / 100, len(here), bool(here.any()))
        found[model, source, metric] = noise
    return found
