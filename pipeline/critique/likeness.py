"""How like real sources estimates are, whatever their tracks.

Two numbers that no pairing enters. The Fréchet distance between estimated and real excerpts of a source
(Heusel et al., GANs Trained by a Two Time-Scale Update Rule, NeurIPS 2017, eq. 6; of audio: Kilgour et
al., Fréchet Audio Distance, Interspeech 2019, eq. 1) in the features `embedding`. And the leakage: what
is estimated as vocals on tracks without any, the instrumental ones that the table's means leave out.
"""

from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from pipeline.critique.critic_table import LIKENESS
from pipeline.critique.groups import Asked, Group, estimates_of, group, heard
from pipeline.parallel.mapping import parallel_map
from pipeline.params import Signal, of_seed
from pipeline.separation.separator import Separator
from pipeline.tracks import Role

BANDS = 32
VOCALS = "vocals"
"""The source of which some tracks have none (`has_vocals`)."""

Vectors = NDArray[np.float64]


def likeness(asked: Asked) -> pd.DataFrame:
    """Rows of LIKENESS: for each model and seed, test set and source.

    frechet: of the estimates; floor: of one half of the real excerpts and the other, which is what
    chance gives; mixture: of the mixtures as estimates. leakage: in dB, the energy of what is estimated
    as vocals relative to the mixture's, on the test set's tracks without vocals; NaN where it has none.
    """
    tasks = [(name, seed) for name in asked.params.models for seed in asked.params.seeds]
    found = parallel_map(partial(_of_model, asked=asked), tasks, "likeness", unit="model")
    return pd.DataFrame([row for rows in found for row in rows], columns=LIKENESS)


def _of_model(task: tuple[str, int], asked: Asked) -> list[tuple[object, ...]]:
    name, seed = task
    separator = Separator.load(of_seed(asked.models / name, seed))
    sources, tested = separator.sources, asked.split[asked.split["role"] == Role.TEST]
    rows: list[tuple[object, ...]] = []
    for dataset, tracks in tested.groupby("dataset", sort=False):
        ask = partial(group, asked, Role.TEST, dataset=str(dataset), sources=sources,
                      separator=separator, of=task)  # fmt: skip
        instrumental = tracks[~tracks["has_vocals"]]
        leaked = np.nan
        if VOCALS in sources and len(instrumental):
            leaked = leakage(ask(tracks=instrumental), separator)
        sung = tracks[tracks["has_vocals"]]
        if sung.empty:
            continue
        found = ask(tracks=sung)
        estimates = estimates_of(separator, found)
        mixtures = embedding(heard(separator, found.mixtures), separator.signal)
        for number, source in enumerate(sources):
            real = embedding(found.real[source], separator.signal)
            numbers = (
                frechet(embedding(estimates[:, number], separator.signal), real),
                frechet(real[::2], real[1::2]),
                frechet(mixtures, real),
            )
            leak = leaked if source == VOCALS else np.nan
            rows.append((name, seed, str(dataset), source, len(real), *numbers, leak))
    return rows


def embedding(log_magnitudes: Tensor, signal: Signal) -> Vectors:
    """Excerpts (n, bins, frames) as vectors (n, 2 * BANDS): no weights, nothing is learned.

    log(1 + magnitude) in BANDS bands of HTK's mel scale from 0 to half the rate, each a triangle over the
    magnitudes; of every band the mean over the frames and the standard deviation.
    """
    bands = melscale_fbanks(signal.bins, 0.0, signal.sample_rate / 2, BANDS, signal.sample_rate)
    heard = torch.log1p(torch.einsum("nbf,bm->nmf", torch.expm1(log_magnitudes), bands)).double()
    moments = torch.cat([heard.mean(dim=2), heard.std(dim=2, correction=0)], dim=1)
    return moments.numpy()


def frechet(first: Vectors, second: Vectors) -> float:
    """The squared Fréchet distance of two normal distributions with the moments of (n, d) and (m, d).

    |mean - mean'|^2 + tr(C + C' - 2 (C C')^(1/2)). NaN of fewer than two vectors.
    """
    if min(len(first), len(second)) < 2:
        return float("nan")
    a, b = (np.atleast_2d(np.cov(one, rowvar=False)) for one in (first, second))
    # C C' has the eigenvalues of a positive semidefinite matrix, but for rounding
    roots = np.sqrt(np.linalg.eigvals(a @ b).real.clip(0))
    apart = np.square(first.mean(axis=0) - second.mean(axis=0)).sum()
    return float(max(apart + np.trace(a) + np.trace(b) - 2 * roots.sum(), 0.0))


def leakage(found: Group, separator: Separator) -> float:
    """10 log10 of the energy estimated as vocals over the mixture's, of all excerpts together."""
    estimates = estimates_of(separator, found)[:, separator.sources.index(VOCALS)]
    leaked, whole = (
        float(torch.expm1(one.double()).square().sum())
        for one in (estimates, heard(separator, found.mixtures))
    )
    return float(10 * np.log10(leaked / whole)) if leaked and whole else float("-inf")
