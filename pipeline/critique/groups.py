"""Excerpts of the recordings that models are asked about, as training cuts them, and the estimates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from pipeline.critique.critic_table import EXCERPTS
from pipeline.features.store import FeatureFile
from pipeline.networks import sight
from pipeline.networks.representations import LOG_MAGNITUDES, Representation
from pipeline.params import Params
from pipeline.separation.separator import Separator
from pipeline.tracks import MIXTURE, Role
from pipeline.training.pool_loading import load_pool
from pipeline.training.run import random_part

TOGETHER = 32
"""Excerpts in one forward pass."""


@dataclass(frozen=True)
class Asked:
    """Where the models of an experiment and the recordings for them are."""

    params: Params
    split: pd.DataFrame
    features: Path
    models: Path
    counterparts: Mapping[str, str]
    """Model to the supervised one that learned from the same pairs."""


@dataclass(frozen=True)
class Group:
    """Excerpts of some recordings."""

    role: Role
    dataset: str
    mixtures: Tensor
    """With the separator's context, as it sees them (n, …)."""
    real: Mapping[str, Tensor]
    """Source to its log magnitudes (m, bins, frames), or samples (m, samples), as asked for."""
    paired: bool
    """Whether an excerpt's sources are those of the mixture with its number."""
    phases: Tensor | None = None
    """Of the mixtures, without context, where samples are asked for and log magnitudes estimated."""


def group(
    asked: Asked,
    role: Role,
    tracks: pd.DataFrame,
    dataset: str,
    sources: Sequence[str],
    separator: Separator,
    of: tuple[str, int],
    seen: Representation = LOG_MAGNITUDES,
) -> Group:
    """The tracks that have the role: EXCERPTS excerpts at most, evenly spaced.

    tracks: of the split; dataset: what the group is called; of: the model and seed whose minutes of
    unlabelled recordings are meant; seen: as what sources are asked for (`networks.sight`). Raises
    UserError when there are none, or features are damaged.
    """
    used = tracks.loc[tracks["role"] == role, "dataset"].unique()
    files = (FeatureFile.open(asked.features / f"{one}.h5") for one in used)
    everything = [MIXTURE, *sources]
    paired = all(set(everything) <= set(one.kinds) for one in files)
    part = random_part(asked.params, *of, "unlabelled_minutes")
    network, given = separator.network, separator.network.representation
    length = network.valid_frames(asked.params.training.excerpt)

    def cut(kinds: Sequence[str], number: int = 0) -> Tensor:
        mixture = kinds[number] == MIXTURE
        pool = load_pool(
            tracks, [role], asked.features, kinds, length, network.context, torch.device("cpu"),
            "disk", part if role == Role.UNLABELLED else None,
            (sight.drawn(given, seen) if mixture else seen).waveform,
        )  # fmt: skip
        return pool.gather(spread(pool.tiles()[0]), number, context=mixture)

    found = {
        kind: cut(everything, number) if paired else cut([kind])
        for number, kind in enumerate(everything)
    }
    mixtures, phases = sight.of_mixtures(found.pop(MIXTURE), network.context, given, seen)
    real = {source: sight.of_real(one, seen) for source, one in found.items()}
    return Group(role, dataset, mixtures, real, paired, phases)


def spread(places: Tensor) -> Tensor:
    """At most EXCERPTS of them, evenly spaced."""
    count = min(EXCERPTS, len(places))
    return places[torch.arange(count) * len(places) // count]


@torch.inference_mode()
def estimates_of(
    separator: Separator, found: Group, seen: Representation = LOG_MAGNITUDES
) -> Tensor:
    """Estimates (n, sources, …) of a group's mixtures, as training shows them to critics.

    seen: log magnitudes (bins, frames), or samples, for which the group was asked too.
    """
    given, estimates = separator.network.representation, []
    for start in range(0, len(found.mixtures), TOGETHER):
        part = slice(start, start + TOGETHER)
        phases = None if found.phases is None else found.phases[part]
        outputs = separator.predict(found.mixtures[part])
        estimates.append(sight.of_estimates(outputs, phases, given, seen).clone())
    return torch.cat(estimates)


def heard(separator: Separator, mixtures: Tensor) -> Tensor:
    """Log magnitudes (n, bins, frames) of mixtures without their context."""
    network = separator.network
    return network.representation.log_magnitudes(
        network.representation.inside(mixtures, network.context)
    )
