"""What changed between the results of two revisions, and whether a rerun could have done it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtr

from pipeline.comparison.aggregation import (
    ALL,
    UNSEEN,
    Means,
    load_means,
    stacked,
    unseen_datasets,
)
from pipeline.comparison.intervals import Values, detectable, difference, holm
from pipeline.comparison.score_arrays import hundredths, score_columns
from pipeline.errors import UserError
from pipeline.evaluation.metrics import HEADLINE, MEASURED, TABLED, named
from pipeline.evaluation.scoring import UNSCORED
from pipeline.evaluation.track_scores import KEY, load_tracks
from pipeline.params import REFERENCE_ROWS
from pipeline.text_files import read_text
from pipeline.tracks import TrackName

DECIBELS = ("mean", "error", "low", "high")

METRICS_FILE = Path("results/metrics.json")
TRACK_SCORES = Path("results/tracks")
SPLIT = Path("data/split.csv")

CONFIDENCE = 0.95
"""Of an interval, and that a rerun is called neither better nor worse; fixed, for the two revisions
may have other parameters."""
POWER = 0.8
MAIN_SHARE = 0.8
"""Of the 5 % that all tests of a review may err together: that of HEADLINE over all tracks."""


@dataclass(frozen=True)
class Results:
    """The results of one revision."""

    means: Means
    """results/metrics.json"""
    scores: pd.DataFrame
    """results/tracks/*.csv below each other: the scored rows of `aggregation.stacked`"""
    artists: Mapping[TrackName, str]
    """data/split.csv"""
    unseen: Collection[str] = ()
    """The datasets of the test set UNSEEN"""

    def tracks(self, test_set: str) -> set[TrackName]:
        """What was scored."""
        datasets = self.unseen if test_set == UNSEEN else [test_set]
        found = set(map(TrackName, self.scores["dataset"], self.scores["track"]))
        return {name for name in found if test_set == ALL or name.dataset in datasets}

    def seeds(self, model: str) -> list[int]:
        """Those that the model was trained with."""
        return sorted(set(self.scores.loc[self.scores["model"] == model, "seed"]))

    def artist(self, track: TrackName) -> str:
        return self.artists.get(track, " / ".join(track))


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
    moved: bool
    """Whether the mean or the score of any seed and track is another one."""
    rescored: bool = False
    """Whether it is the score of a seed and a track that both have."""
    mean: float = np.nan
    error: float = np.nan
    freedom: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p_value: float = np.nan
    """Of `intervals.difference`, over seeds and artists of the tracks that both have; NaN for the
    reference rows, which have no seeds, and where there are too few."""
    corrected: float = np.nan
    """The p-value corrected for all tests of the review; NaN for what is not tested: metrics that
    are derived from others, what has no p-value, and scores that are what they were."""
    visible: float = np.nan
    """The true difference that the test finds with POWER."""

    @property
    def cell(self) -> tuple[str, str, str, str]:
        return self.test_set, self.model, self.source, self.metric

    @property
    def main(self) -> bool:
        """Whether it is HEADLINE over all tracks, what a review is about first."""
        return (self.test_set, self.metric) == (ALL, HEADLINE)

    @property
    def tested(self) -> bool:
        return bool(np.isfinite(self.corrected))

    @property
    def beyond(self) -> bool:
        """Whether the difference is beyond what a rerun does."""
        return self.corrected <= 1 - CONFIDENCE

    @property
    def better(self) -> bool:
        """Whether a difference is one for the better."""
        return (self.mean > 0) == named(self.metric).higher_is_better


def load(folder: Path, name: str, again: str = "make repro") -> Results:
    """The results under `folder`. UserError (which calls the folder `name`) when there are none.

    again: the command that makes them.
    """
    remedy = f"run `{again}` and commit what it changes"
    if not (folder / METRICS_FILE).exists():
        raise UserError(f"{METRICS_FILE}: not in {name}: no results to compare; {remedy}")
    try:
        means = load_means(folder / METRICS_FILE, remedy)
        frames = {
            model: load_tracks(folder / TRACK_SCORES / f"{model}.csv", earlier=True)
            for model in means[ALL]
        }
        split = _split(folder / SPLIT, remedy)
    except UserError as error:
        raise UserError(f"{name}: {str(error).replace(f'{folder}/', '')}") from None
    tracks = map(TrackName, split["dataset"], split["track"])
    artists = dict(zip(tracks, split["artist"].str.strip().str.casefold(), strict=True))
    return Results(means, scored_rows(frames), artists, unseen_datasets(split))


def _split(path: Path, again: str) -> pd.DataFrame:
    """What is needed of data/split.csv, whatever columns it had at the time of a revision."""
    columns = ["dataset", "track", "artist", "role"]
    text = read_text(path, again, again)
    try:
        return pd.read_csv(StringIO(text), usecols=columns, dtype=str, keep_default_na=False)
    except ValueError:
        raise UserError(f"{path}: no table with columns {', '.join(columns)}; {again}") from None


def scored_rows(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """`aggregation.stacked` scores without the tracks that have none."""
    scores = stacked(frames)
    return scores[~scores["note"].isin(UNSCORED)]


def between(old: Results, new: Results) -> list[Difference]:
    """Every score of both revisions, in the order of the new one; what it lacks comes last."""
    found: list[Difference] = []
    pairs: dict[str, _Pairs] = {}
    for test_set in ordered(new.means, old.means):
        tracks = old.tracks(test_set), new.tracks(test_set)
        before, after = (side.means.get(test_set, {}) for side in (old, new))
        for model in ordered(after, before):
            cells = _cells(test_set, model, before.get(model, {}), after.get(model, {}))
            if model in before and model in after:
                if model not in pairs:
                    pairs[model] = _paired(old, new, model)
                cells = _compared(cells, pairs[model], *tracks)
            found += cells
    return _corrected(found)


def ordered(new: Mapping[str, object], old: Mapping[str, object]) -> list[str]:
    """The names of both, those of the new one first."""
    return list(dict.fromkeys([*new, *old]))


def _cells(
    test_set: str, model: str, old: Mapping[str, float], new: Mapping[str, float]
) -> list[Difference]:
    """What the means alone say."""
    found = []
    for metric, key in product(TABLED, ordered(new, old)):
        if key.startswith(f"{metric}_"):
            source, a, b = key.removeprefix(f"{metric}_"), old.get(key), new.get(key)
            by = None if a is None or b is None else round(b - a, 2)
            found.append(Difference(test_set, model, source, metric, a, b, by, a != b))
    return found


@dataclass(frozen=True)
class _Pairs:
    """A row of the table in both revisions, on the tracks that both have."""

    old: Values
    """(seeds, tracks, cells), of `score_arrays`"""
    new: Values
    tracks: list[TrackName]
    artists: list[str]
    """(tracks,)"""
    cells: dict[tuple[str, str], int]
    """(source, metric) of each"""


def _paired(old: Results, new: Results, model: str) -> _Pairs:
    sides = [side.scores[side.scores["model"] == model] for side in (old, new)]
    both = sorted(old.tracks(ALL) & new.tracks(ALL))
    tracks = pd.MultiIndex.from_tuples(both, names=KEY[1:3])
    sources = sorted(set(sides[0]["source"]) & set(sides[1]["source"]))
    a, b = (hundredths(scores, tracks, sources) for scores in sides)
    return _Pairs(
        a,
        b,
        both,
        list(map(new.artist, both)),
        {cell: k for k, cell in enumerate(score_columns(sources))},
    )


def _compared(
    cells: Sequence[Difference], pairs: _Pairs, before: set[TrackName], after: set[TrackName]
) -> list[Difference]:
    """With what the scores of each seed and track say: `before` and `after` are the test set's."""
    here = [k for k, name in enumerate(pairs.tracks) if name in before & after]
    if not here:
        return [replace(cell, by=None) for cell in cells]
    old, new = pairs.old[:, here], pairs.new[:, here]
    _, artists = np.unique([pairs.artists[k] for k in here], return_inverse=True)
    estimate = difference(new, old, artists, CONFIDENCE)
    found = []
    for cell in cells:
        if (k := pairs.cells.get((cell.source, cell.metric))) is not None:
            changed = not np.array_equal(old[..., k], new[..., k], equal_nan=True)
            cell = replace(cell, moved=cell.moved or changed, rescored=changed)
            if before != after:
                by = round(estimate.mean[k] / 100, 2)
                cell = replace(cell, by=by if np.isfinite(by) else None)
            if cell.model not in REFERENCE_ROWS:
                decibels = {name: getattr(estimate, name)[k] / 100 for name in DECIBELS}
                of_test = estimate.freedom[k], estimate.p_value[k]
                cell = replace(cell, **decibels, freedom=of_test[0], p_value=of_test[1])
        found.append(cell)
    return found


def _corrected(found: Sequence[Difference]) -> list[Difference]:
    """With p-values that hold for all tests together: Holm's in two families with a share each."""
    known = [d for d in found if d.metric in MEASURED and np.isfinite(d.p_value)]
    main, rest = ([d for d in known if d.main == is_main] for is_main in (True, False))
    tested = {}
    for family, share in ((_steadied(main), MAIN_SHARE), (rest, 1 - MAIN_SHARE)):
        tests = [d for d in family if d.rescored]
        level = (1 - CONFIDENCE) * share / max(len(tests), 1)
        for d, p_value in zip(tests, holm([d.p_value for d in tests]), strict=True):
            seen = float(detectable(np.array(d.error), np.array(d.freedom), level, POWER))
            tested[d.cell] = min(float(p_value) / share, 1.0), seen
    return [
        replace(d, corrected=tested[d.cell][0], visible=tested[d.cell][1])
        if d.cell in tested
        else d
        for d in found
    ]


def _steadied(family: Sequence[Difference]) -> list[Difference]:
    """With errors halfway between each one's own and the family's, and the test that follows.

    A variance of a few seeds is hardly known, and a test at a fraction of 5 % pays for that with most of
    its power. So the models lend each other theirs, as in Smyth (2004), Linear models and empirical
    Bayes methods, Stat. Appl. Genet. Mol. Biol. 3, but with a fixed weight: whoever varies more than
    the others still counts half of its own variance. Degrees of freedom: Satterthwaite's.
    """
    if not family:
        return []
    mean, error, own = np.array([(d.mean, d.error, d.freedom) for d in family]).T
    parts = (np.eye(len(family)) + 1 / len(family)) / 2 * error**2
    error = np.sqrt(parts.sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):  # no variance at all
        freedom = np.where(error > 0, error**4 / (parts**2 / own).sum(axis=1), own)
        p_values = np.where(mean == 0, 1, 2 * stdtr(freedom, -np.abs(mean) / error))
    return [
        replace(d, error=e, freedom=f, p_value=p)
        for d, e, f, p in zip(family, error, freedom, p_values, strict=True)
    ]
