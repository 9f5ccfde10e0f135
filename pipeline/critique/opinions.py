"""What each critic makes of recordings that it has learned from, and of test tracks.

Two questions. Does it tell real from estimated recordings that it has never heard, or does it know
its own by heart? Its distance, mean score of real less mean score of estimated excerpts (paper, eq. 2),
on both kinds answers that. And does its gradient ask for what an estimate lacks (paper, Figure 3)?
The correlation of both does. Each is asked about the estimates of the critic's own model, which has
learned from it, and of the supervised model, which never has.
"""

from collections.abc import Iterator
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from pipeline.critique.critic_table import ALL, COLUMNS
from pipeline.critique.groups import TOGETHER, Asked, Group, estimates_of, group
from pipeline.networks import sight
from pipeline.networks.gradients import correlation, input_gradient
from pipeline.networks.interfaces import CriticNetwork
from pipeline.networks.representations import Representation
from pipeline.parallel.mapping import parallel_map
from pipeline.params import of_seed
from pipeline.separation.model_folder import load_critics
from pipeline.separation.separator import Separator
from pipeline.tracks import Role


def opinions(asked: Asked) -> pd.DataFrame:
    """Rows of COLUMNS: for each critic, seed, group of recordings, and whose estimates.

    The groups are the unlabelled recordings that this model with this seed learned from, and the
    tracks of each test set that have vocals. distance: as the critic scores, its unit is its own;
    correlation: of gradient and (real - estimate), log magnitudes or samples, over all that the critic
    sees of an excerpt, the mean over excerpts; NaN where recordings are not paired. Raises UserError when
    a model or features are missing or damaged.
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
    seen = sight.seen_by(critics.values())
    for found in _groups(asked, name, seed, separators[name], seen):
        for whose, separator in separators.items():
            estimates = estimates_of(separator, found, seen)
            for source, critic in critics.items():
                fake = estimates[:, separator.sources.index(source)]
                distance, correlation = opinion(critic, found.real[source], fake, found.paired)
                about = (name, seed, source, found.role.value, found.dataset, whose)
                rows.append((*about, len(fake), distance, correlation))
    return sorted(rows, key=lambda row: list(critics).index(str(row[2])))


def _groups(
    asked: Asked, name: str, seed: int, separator: Separator, seen: Representation
) -> Iterator[Group]:
    sources, split, of = asked.params.models[name].critics, asked.split, (name, seed)
    yield group(asked, Role.UNLABELLED, split, ALL, sources, separator, of, seen)
    heard = split[split["has_vocals"] & (split["role"] == Role.TEST)]
    for dataset, tracks in heard.groupby("dataset", sort=False):
        yield group(asked, Role.TEST, tracks, str(dataset), sources, separator, of, seen)


def opinion(
    critic: CriticNetwork, real: Tensor, estimates: Tensor, paired: bool
) -> tuple[float, float]:
    """(distance, correlation) of real (m, …) and estimated excerpts (n, …), as the critic sees them.

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
    return distance, float(torch.cat(correlations).nanmean()) if paired else float("nan")
