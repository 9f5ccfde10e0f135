"""What each critic makes of recordings that it has learned from, and of test tracks.

Two questions. Does it tell real from estimated recordings that it has never heard, or does it know
its own by heart? Its distance, mean score of real less mean score of estimated excerpts (paper, eq. 2),
on both kinds answers that. And does its gradient ask for what an estimate lacks (paper, Figure 3)?
The correlation of both does. Each is asked about the estimates of the critic's own model, which has
learned from it, and of the supervised model, which never has.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.critique.critic_table import ALL, COLUMNS, EXCERPTS
from pipeline.features.store import FeatureFile
from pipeline.networks.gradients import input_gradient
from pipeline.networks.interfaces import CriticNetwork
from pipeline.parallel.mapping import parallel_map
from pipeline.params import Params, of_seed
from pipeline.separation.model_folder import load_critics
from pipeline.separation.separator import Separator
from pipeline.tracks import MIXTURE, Role
from pipeline.training.pool_loading import load_pool
from pipeline.training.pools import Pool
from pipeline.training.run import EXCERPT_FRAMES, random_part

TOGETHER = 32
"""Excerpts in one forward pass."""


@dataclass(frozen=True)
class Asked:
    """Where the critics of an experiment and the recordings for them are."""

    params: Params
    split: pd.DataFrame
    features: Path
    models: Path
    counterparts: Mapping[str, str]
    """Model with critics to the supervised one whose estimates its critics are asked about as well."""


@dataclass(frozen=True)
class Group:
    """Excerpts of some recordings, as training cuts them."""

    role: Role
    dataset: str
    mixtures: Tensor
    """Log magnitudes with the separator's context (n, bins, frames + 2 context)."""
    real: Mapping[str, Tensor]
    """Source to its log magnitudes (m, bins, frames)."""
    paired: bool
    """Whether an excerpt's sources are those of the mixture with its number."""


def opinions(asked: Asked) -> pd.DataFrame:
    """Rows of COLUMNS: for each critic, seed, group of recordings, and whose estimates.

    The groups are the unlabelled recordings that this model with this seed learned from, and the
    tracks of each test set that have vocals. distance: as the critic scores, its unit is its own;
    correlation: of gradient and (real - estimate) in log magnitudes, over all that the critic sees of an
    excerpt, the mean over excerpts; NaN where recordings are not paired. Raises UserError when a model
    or features are missing or damaged.
    """
    models = {name: one for name, one in asked.params.models.items() if one.critics}
    tasks = [(name, seed) for name in models for seed in asked.params.seeds]
    found = parallel_map(partial(_of_model, asked=asked), tasks, "critics", unit="model")
    return pd.DataFrame([row for rows in found for row in rows], columns=COLUMNS)


def _of_model(task: tuple[str, int], asked: Asked) -> list[tuple[object, ...]]:
    name, seed = task
    critics = load_critics(of_seed(asked.models / name, seed))
    judged = dict.fromkeys([name, asked.counterparts.get(name, name)])
    separators = {one: Separator.load(of_seed(asked.models / one, seed)) for one in judged}
    rows: list[tuple[object, ...]] = []
    for group in _groups(asked, name, seed, separators[name]):
        for whose, separator in separators.items():
            estimates = _estimates(separator, group.mixtures)
            for source, critic in critics.items():
                fake = estimates[:, separator.sources.index(source)]
                distance, correlation = opinion(critic, group.real[source], fake, group.paired)
                about = (name, seed, source, group.role.value, group.dataset, whose)
                rows.append((*about, len(fake), distance, correlation))
    return sorted(rows, key=lambda row: list(critics).index(str(row[2])))


def _groups(asked: Asked, name: str, seed: int, separator: Separator) -> Iterator[Group]:
    params, split = asked.params, asked.split
    sources = params.models[name].critics
    length = separator.network.valid_frames(EXCERPT_FRAMES)

    def pool(tracks: pd.DataFrame, role: Role, kinds: Sequence[str]) -> Pool:
        part = random_part(params, name, seed, "unlabelled_minutes")
        return load_pool(
            tracks, role, asked.features, kinds, length, separator.network.context,
            torch.device("cpu"), "disk", part if role == Role.UNLABELLED else None,
        )  # fmt: skip

    def group(tracks: pd.DataFrame, role: Role, dataset: str) -> Group:
        used = tracks.loc[tracks["role"] == role, "dataset"].unique()
        whole = {MIXTURE, *sources}
        files = (FeatureFile.open(asked.features / f"{one}.h5") for one in used)
        paired = all(whole <= set(one.kinds) for one in files)
        if paired:
            together = pool(tracks, role, [MIXTURE, *sources])
            numbers = {kind: (together, number) for number, kind in enumerate([MIXTURE, *sources])}
        else:
            numbers = {kind: (pool(tracks, role, [kind]), 0) for kind in (MIXTURE, *sources)}
        cut = {
            kind: one.gather(_spread(one.tiles()[0]), number, context=kind == MIXTURE)
            for kind, (one, number) in numbers.items()
        }
        return Group(role, dataset, cut.pop(MIXTURE), cut, paired)

    yield group(split, Role.UNLABELLED, ALL)
    heard = split[split["has_vocals"] & (split["role"] == Role.TEST)]
    for dataset, tracks in heard.groupby("dataset", sort=False):
        yield group(tracks, Role.TEST, str(dataset))


def _spread(places: Tensor) -> Tensor:
    """At most EXCERPTS of them, evenly spaced."""
    count = min(EXCERPTS, len(places))
    return places[torch.arange(count) * len(places) // count]


@torch.inference_mode()
def _estimates(separator: Separator, mixtures: Tensor) -> Tensor:
    """(n, sources, bins, frames) of mixtures with context, as training shows them to the critics."""
    return torch.cat([separator.predict(part).clone() for part in mixtures.split(TOGETHER)])


def opinion(
    critic: CriticNetwork, real: Tensor, estimates: Tensor, paired: bool
) -> tuple[float, float]:
    """(distance, correlation) of log magnitudes (m, bins, frames) and (n, bins, frames).

    paired: whether excerpt k of both is of the same recording; without that the correlation is NaN.
    """
    scores, correlations = [], []
    with torch.no_grad():
        of_real = torch.cat([critic(critic.view(part))[:, 0] for part in real.split(TOGETHER)])
        for start in range(0, len(estimates), TOGETHER):
            fake = critic.view(estimates[start : start + TOGETHER])
            scores.append(critic(fake)[:, 0])
            if paired:
                lack = critic.view(real[start : start + TOGETHER]) - fake
                correlations.append(correlation(input_gradient(critic, fake), lack))
    distance = float(of_real.double().mean() - torch.cat(scores).double().mean())
    asked = np.concatenate(correlations) if correlations else np.array([np.nan])
    defined = asked[~np.isnan(asked)]
    return distance, float(defined.mean()) if defined.size else float("nan")


def correlation(a: Tensor, b: Tensor) -> NDArray[np.float64]:
    """Pearson's, of each item (n, ...) over all its values; NaN where one of them is constant."""
    first, second = (one.double().flatten(1).numpy() for one in (a, b))
    first, second = (one - one.mean(axis=1, keepdims=True) for one in (first, second))
    size = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((first * second).sum(axis=1) / size)
