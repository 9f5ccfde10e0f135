"""The separator learns the estimates that an average of its weights has of the same mixtures.

Tarvainen and Valpola: Mean teachers are better role models, NeurIPS 2017, section 3 (the average, and
a mean square between both). What the teacher is sure of counts: its estimates of an excerpt at two
levels should differ by the level alone.
"""

from typing import cast

import torch
from torch import Tensor

from pipeline.networks.interfaces import SeparatorNetwork
from pipeline.training.batches import SeparatorBatch
from pipeline.training.losses import excerpt_losses
from pipeline.training.step import State

OTHER_LEVEL = 0.5
"""Of the second hearing."""


def loss(state: State, batch: SeparatorBatch, estimates: Tensor | None) -> Tensor:
    assert state.teacher is not None
    assert batch.unlabelled is not None
    assert estimates is not None
    given = cast(SeparatorNetwork, state.separator).representation
    with torch.no_grad():
        labels = state.teacher(batch.unlabelled)
        level = torch.full((len(labels),), OTHER_LEVEL, device=labels.device)
        again = given.amplified(state.teacher(given.amplified(batch.unlabelled, level)), 1 / level)
        weights = confidence(given.log_magnitudes(labels), given.log_magnitudes(again))
    return (weights * excerpt_losses(estimates, labels, given)).mean()


def confidence(first: Tensor, second: Tensor) -> Tensor:
    """How sure estimates (n, sources, bins, frames) are, heard twice: (n,) from 0 to 1.

    1 - |first - second|^2 / |first - mean over sources|^2, at least 0: nothing where they differ by as
    much as separates the sources at all.
    """
    differing = (first - second).square().sum(dim=(1, 2, 3))
    separating = (first - first.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2, 3))
    tiny = torch.finfo(first.dtype).tiny
    return (1 - differing / separating.clamp_min(tiny)).clamp(0, 1)
