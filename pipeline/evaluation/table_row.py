"""Scores of one row of the table on every test track, in parallel over tracks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from uuid import uuid4

import pandas as pd

from pipeline.errors import UserError, listing
from pipeline.evaluation.metrics import Compared
from pipeline.evaluation.reference_rows import reference_estimates
from pipeline.evaluation.scoring import Score, score_track
from pipeline.evaluation.track_scores import NO_SEED, tracks_frame
from pipeline.features.store import FeatureFile
from pipeline.parallel.mapping import DIED, parallel_map
from pipeline.params import REFERENCE_ROWS, of_seed
from pipeline.separation.separator import NonFiniteError, Separator
from pipeline.tracks import Role, TrackName, mixture_of


@dataclass(frozen=True)
class TableRow:
    """A row of the table: what makes its estimates, and where the files for that are."""

    name: str
    """A model, or one of `params.REFERENCE_ROWS`."""
    features: Path
    models: Path
    """The folder of a model with one seed is `models`/<name>/seed-<n>."""
    filter_length: int
    seeds: tuple[int, ...] = (NO_SEED,)
    """Those that a model was trained with."""
    device: str = "cpu"
    run: str = field(default_factory=lambda: uuid4().hex)
    """Unique id of this stage, part of the cache key, so a long-lived worker never reuses older
    files."""


def score_row(row: TableRow, split: pd.DataFrame, role: Role = Role.TEST) -> pd.DataFrame:
    """A row per track of a role and source (`track_scores.COLUMNS`).

    Raises UserError when a track cannot be scored, or when computing its scores has ended two
    worker processes: all others are scored before it says so.
    """
    # track by track: what BSS Eval needs of the references serves all seeds
    name, wanted = row.name, tracks_of(split, role)
    scores: Iterator[list[list[Score]] | None] = parallel_map(
        partial(_score, row=row), wanted, f"scores {name}", lambda _: None
    )
    found = dict(zip(wanted, scores, strict=True))
    if lost := [str(track) for track, own in found.items() if own is None]:
        raise UserError(
            f"{name}: no scores, for {len(lost)} of {len(wanted)} tracks are lost:"
            f" {listing(lost)}: {DIED}; give it more memory, or take the tracks out of the dataset"
        )
    return tracks_frame(
        (seed, track, own[place])
        for place, seed in enumerate(row.seeds)
        for track, own in found.items()
        if own
    )


def tracks_of(split: pd.DataFrame, role: Role) -> list[TrackName]:
    """All tracks of a role, in the order of the split."""
    chosen = split.loc[split["role"] == role, ["dataset", "track"]]
    return [TrackName(str(name), str(track)) for name, track in chosen.itertuples(index=False)]


def _score(track: TrackName, row: TableRow) -> list[list[Score]]:
    """Of every seed."""
    return [score(track, row, seed) for seed in row.seeds]


def score(track: TrackName, row: TableRow, seed: int = NO_SEED) -> list[Score]:
    """The scores of one track, of a model with one of its seeds."""
    try:
        compared = compared_waveforms(track, row, seed)
    except NonFiniteError as error:
        raise UserError(f"{track}: {error}") from None
    return scored(compared, track, row)


def compared_waveforms(track: TrackName, row: TableRow, seed: int = NO_SEED) -> Compared:
    """References and estimates of one track, of a model with one of its seeds."""
    store = _open(row.features / f"{track.dataset}.h5", row.run)
    (place,) = store.rows([track.track])
    references = store.waveforms(place)
    if row.name in REFERENCE_ROWS:
        estimates = reference_estimates(row.name, references, store.signal)
    else:
        separator = _load(of_seed(row.models / row.name, seed), row.device, row.run)
        estimates = separator.estimate(mixture_of(references))
    rate = store.signal.sample_rate
    return Compared(references, estimates, store.sounds, row.filter_length, rate)


def scored(compared: Compared, track: TrackName, row: TableRow) -> list[Score]:
    """`score_track`. Raises UserError, which names the track, when it cannot be scored."""
    try:
        return score_track(compared)
    except ValueError as error:
        raise UserError(f"{row.name}: {track} cannot be scored: {error}") from None


# A worker scores many tracks: it opens each file, and loads the model of each seed, once. A
# cluster's worker outlives a stage: the next one may find other files at the same paths, so `run`
# is in the key.
@lru_cache(maxsize=16)
def _open(path: Path, run: str) -> FeatureFile:
    return FeatureFile.open(path)


@lru_cache(maxsize=16)
def _load(folder: Path, device: str, run: str) -> Separator:
    return Separator.load(folder, device)
