"""Scores of one row of the table on every test track, in parallel over tracks."""

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline.comparison.aggregation import tracks_frame
from pipeline.errors import UserError, listing
from pipeline.evaluation.scoring import Score, score_track
from pipeline.features.stft import reconstruct, stft
from pipeline.features.store import FeatureFile
from pipeline.parallel.mapping import DIED, parallel_map
from pipeline.separation.separator import Separator
from pipeline.tracks import Role, mixture_of

FloatArray = NDArray[np.float32]


class Signals(NamedTuple):
    """What is compared for one track: waveforms (sources, samples) at the working rate."""

    references: FloatArray
    estimates: FloatArray
    sources: tuple[str, ...]


def evaluate(
    name: str,
    split: pd.DataFrame,
    features: Path,
    models: Path,
    filter_length: int,
    role: Role = Role.TEST,
    device: str = "cpu",
) -> pd.DataFrame:
    """Score `name` on the tracks of a role.

    name: a model (its folder is models/<name>), or a reference row: "mixture" (every estimate is the
    mixture) or "oracle" (the true magnitudes with the mixture's phase: the best that this
    representation allows). Returns a row per track and source: dataset, track, source, SDR, SIR, SAR
    (dB), note. Raises UserError when a track cannot be scored, or when computing its scores has ended
    two worker processes: all others are scored before it says so.
    """
    work = partial(
        score, name=name, features=features, models=models, filter_length=filter_length,
        device=device, run=uuid4().hex,
    )  # fmt: skip
    tracks = tracks_of(split, role)
    scores: Iterator[list[Score] | None] = parallel_map(
        work, tracks, f"scores {name}", lambda _: None
    )
    done, lost = [], []
    for track, rows in zip(tracks, scores, strict=True):
        if rows is None:
            lost.append("/".join(track))
        else:
            done.append((*track, rows))
    if lost:
        raise UserError(
            f"{name}: no scores, for {len(lost)} of {len(tracks)} tracks are lost: {listing(lost)}:"
            f" {DIED}; give it more memory, or take the tracks out of the dataset"
        )
    return tracks_frame(done)


def tracks_of(split: pd.DataFrame, role: Role) -> list[tuple[str, str]]:
    """(dataset, track) of all tracks of a role, in the order of the split."""
    chosen = split.loc[split["role"] == role, ["dataset", "track"]]
    return [(str(dataset), str(track)) for dataset, track in chosen.itertuples(index=False)]


def score(
    track: tuple[str, str],
    name: str,
    features: Path,
    models: Path,
    filter_length: int,
    device: str = "cpu",
    run: str = "",
) -> list[Score]:
    """The scores of one (dataset, track). run: tells one stage's files from the next one's."""
    return scored(signals(track, name, features, models, device, run), track, name, filter_length)


def signals(
    track: tuple[str, str],
    name: str,
    features: Path,
    models: Path,
    device: str = "cpu",
    run: str = "",
) -> Signals:
    """References and estimates of one (dataset, track). run: as for `score`."""
    dataset, identity = track
    store = _open(features / f"{dataset}.h5", run)
    (row,) = store.rows([identity])
    references = store.waveforms(row)
    mixture = mixture_of(references)
    if name == "mixture":
        estimates = np.repeat(mixture[None], len(references), axis=0)
    elif name == "oracle":
        estimates = oracle(store, row, mixture)
    else:
        estimates = _load(models / name, device, run).estimate(mixture)
    return Signals(references, estimates, store.sources)


def scored(compared: Signals, track: tuple[str, str], name: str, filter_length: int) -> list[Score]:
    """`score_track` of a track's signals. Raises UserError, which names the track, when it cannot."""
    try:
        return score_track(*compared, filter_length)
    except ValueError as error:
        raise UserError(f"{name}: {'/'.join(track)} cannot be scored: {error}") from None


def oracle(store: FeatureFile, row: int, mixture: FloatArray) -> FloatArray:
    """The true magnitudes with the mixture's phase (sources, samples)."""
    magnitudes = torch.from_numpy(store.spectrogram(row, store.sources)).transpose(1, 2)
    spectrum = stft(torch.from_numpy(mixture), store.signal)
    return reconstruct(magnitudes, spectrum, store.signal)[:, : len(mixture)].numpy()


# A worker scores many tracks: it opens each file and loads each model once. A cluster's worker lives
# longer than a stage: the next one may find other files at the same paths, so `run` is in the key.
@lru_cache(maxsize=16)
def _open(path: Path, run: str) -> FeatureFile:
    return FeatureFile.open(path)


@lru_cache(maxsize=1)
def _load(folder: Path, device: str, run: str) -> Separator:
    return Separator.load(folder, device)
