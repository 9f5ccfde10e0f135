"""Excerpts of the recordings that models are asked about, as training cuts them, and the estimates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from pipeline.critique.critic_table import EXCERPTS
from pipeline.features.store import FeatureFile
from pipeline.params import Params
from pipeline.separation.separator import Separator
from pipeline.tracks import MIXTURE, Role
from pipeline.training.pool_loading import load_pool
from pipeline.training.pools import Pool
from pipeline.training.run import EXCERPT_FRAMES, random_part

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
    """Log magnitudes with the separator's context (n, bins, frames + 2 context)."""
    real: Mapping[str, Tensor]
    """Source to its log magnitudes (m, bins, frames)."""
    paired: bool
    """Whether an excerpt's sources are those of the mixture with its number."""


def group(
    asked: Asked,
    role: Role,
    tracks: pd.DataFrame,
    dataset: str,
    sources: Sequence[str],
    separator: Separator,
    of: tuple[str, int],
) -> Group:
    """The tracks that have the role: EXCERPTS excerpts at most, evenly spaced.

    tracks: of the split; dataset: what the group is called; of: the model and seed whose minutes of
    unlabelled recordings are meant. Raises UserError when there are none, or features are damaged.
    """
    used = tracks.loc[tracks["role"] == role, "dataset"].unique()
    files = (FeatureFile.open(asked.features / f"{one}.h5") for one in used)
    everything = [MIXTURE, *sources]
    paired = all(set(everything) <= set(one.kinds) for one in files)
    part = random_part(asked.params, *of, "unlabelled_minutes")
    network = separator.network
    length = network.valid_frames(EXCERPT_FRAMES)

    def pool(kinds: Sequence[str]) -> Pool:
        return load_pool(
            tracks, [role], asked.features, kinds, length, network.context, torch.device("cpu"),
            "disk", part if role == Role.UNLABELLED else None,
        )  # fmt: skip

    if paired:
        together = pool(everything)
        places = {kind: (together, number) for number, kind in enumerate(everything)}
    else:
        places = {kind: (pool([kind]), 0) for kind in everything}
    cut = {
        kind: one.gather(spread(one.tiles()[0]), number, context=kind == MIXTURE)
        for kind, (one, number) in places.items()
    }
    return Group(role, dataset, cut.pop(MIXTURE), cut, paired)


def spread(places: Tensor) -> Tensor:
    """At most EXCERPTS of them, evenly spaced."""
    count = min(EXCERPTS, len(places))
    return places[torch.arange(count) * len(places) // count]


@torch.inference_mode()
def estimates_of(separator: Separator, mixtures: Tensor) -> Tensor:
    """(n, sources, bins, frames) of mixtures with context, as training shows them to the critics."""
    return torch.cat([separator.predict(part).clone() for part in mixtures.split(TOGETHER)])
