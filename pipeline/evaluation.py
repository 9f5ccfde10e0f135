"""Scores of one row of the table on every test track, in parallel over tracks."""

from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline.comparison import tracks_frame
from pipeline.errors import UserError
from pipeline.features import FeatureFile
from pipeline.parallel import parallel_map
from pipeline.scoring import Score, score_track
from pipeline.separation import Separator
from pipeline.spectrogram import reconstruct, stft
from pipeline.tracks import Role

FloatArray = NDArray[np.float32]


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
    (dB), note.
    """
    chosen = split.loc[split["role"] == role, ["dataset", "track"]]
    work = partial(
        score, name=name, features=features, models=models, filter_length=filter_length,
        device=device,
    )  # fmt: skip
    tracks = [(str(dataset), str(track)) for dataset, track in chosen.itertuples(index=False)]
    scores = parallel_map(work, tracks, f"scores {name}")
    return tracks_frame((*track, rows) for track, rows in zip(tracks, scores, strict=True))


def score(
    track: tuple[str, str],
    name: str,
    features: Path,
    models: Path,
    filter_length: int,
    device: str = "cpu",
) -> list[Score]:
    """The scores of one (dataset, track)."""
    dataset, identity = track
    store = _open(features / f"{dataset}.h5")
    (row,) = store.rows([identity])
    references = store.waveforms(row)
    mixture = references.sum(axis=0)
    if name == "mixture":
        estimates = np.repeat(mixture[None], len(references), axis=0)
    elif name == "oracle":
        estimates = oracle(store, row, mixture)
    else:
        estimates = _load(models / name, device).estimate(mixture)
    try:
        return score_track(references, estimates, store.sources, filter_length)
    except ValueError as error:
        raise UserError(f"{name}: {dataset}/{identity} cannot be scored: {error}") from None


def oracle(store: FeatureFile, row: int, mixture: FloatArray) -> FloatArray:
    """The true magnitudes with the mixture's phase (sources, samples)."""
    magnitudes = torch.from_numpy(store.spectrogram(row, store.sources)).transpose(1, 2)
    spectrum = stft(torch.from_numpy(mixture), store.signal)
    return reconstruct(magnitudes, spectrum, store.signal)[:, : len(mixture)].numpy()


# A worker scores many tracks: it opens each file and loads each model once.
_open = lru_cache(maxsize=None)(FeatureFile.open)
_load = lru_cache(maxsize=1)(Separator.load)
