"""One update of the critics and one of the separator: all that training computes, on one page.

L = L_s + alpha L_u + beta L_add (section 3.3), minimised by the separator. Each critic maximises the
divergence between real recordings of its source and estimates on unlabelled mixtures, less a
penalty on its slope (section 3.1). Around it: `module` decides when, `batches` draws what.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from pipeline.networks.gradients import input_gradient
from pipeline.networks.interfaces import CriticNetwork, SeparatorNetwork
from pipeline.params import Model, Training
from pipeline.training.batches import CriticBatch, SeparatorBatch
from pipeline.training.losses import (
    additivity_loss,
    divergence,
    gradient_penalty,
    supervised_loss,
    unsupervised_loss,
)

Losses = dict[str, Tensor]
Agree = Callable[[Iterable[nn.Module], Mapping[str, Tensor]], Losses]
"""What happens between gradients and update: called with the networks and the losses, returns these.
Several processes average both here, and a loss that is not finite ends the run."""


class Optimiser(Protocol):
    """What is asked of an optimiser: torch's own, or Lightning's around it."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self) -> None: ...

    def step(self) -> object: ...


@dataclass
class State:
    """Everything that training changes; a checkpoint holds all of it."""

    separator: nn.Module
    critics: nn.ModuleDict
    """Source name to its critic."""
    sources: Sequence[str]
    """In the order of the separator's outputs."""
    optimisers: Sequence[Optimiser] = ()
    """The separator's, then the critics' in their order."""
    steps: int = 0
    """Updates of the separator done; batches are drawn by it."""
    critic_updates: int = 0
    """Updates of each critic done."""

    def named_critics(self) -> dict[str, CriticNetwork]:
        """The critics by source, in the order of the optimisers."""
        return cast(dict[str, CriticNetwork], dict(self.critics.items()))


def critic_step(state: State, batch: CriticBatch, settings: Training, agree: Agree) -> Losses:
    """Update every critic once, on the same mixtures and on real recordings of its source.

    Returns `distance_<source>`, the divergence as the critic sees it, and `penalty_<source>`.
    """
    losses: Losses = {}
    objectives = []
    with torch.no_grad():
        estimates = state.separator(batch.mixtures)  # (n, sources, bins, frames)
    for source, critic in state.named_critics().items():
        fake = critic.view(estimates[:, state.sources.index(source)])  # (n, ...)
        real = critic.view(batch.real[source])
        scores = critic(torch.cat([real, fake]))  # (2 n, 1)
        distance = divergence(scores[: len(real)], scores[len(real) :], settings.divergence)
        slope = partial(input_gradient, critic)
        penalty = gradient_penalty(slope, real, fake, batch.epsilon[source].to(fake.device))
        losses |= {f"distance_{source}": distance, f"penalty_{source}": penalty}
        objectives.append(settings.penalty_weight * penalty - distance)
    optimisers = state.optimisers[1:]
    for optimiser in optimisers:
        optimiser.zero_grad()
    # no critic's loss depends on another's weights
    torch.stack(objectives).sum().backward()
    losses = agree(state.critics.values(), losses)
    for optimiser in optimisers:
        optimiser.step()
    state.critic_updates += 1
    return losses


def separator_step(
    state: State, batch: SeparatorBatch, model: Model, settings: Training, agree: Agree
) -> Losses:
    """Update the separator once. Returns the terms that the model has, and their sum L."""
    losses = separator_losses(state, batch, model, settings)
    optimiser, *_ = state.optimisers
    optimiser.zero_grad()
    losses["L"].backward()
    losses = agree([state.separator], losses)
    optimiser.step()
    state.steps += 1
    return losses


def separator_losses(
    state: State, batch: SeparatorBatch, model: Model, settings: Training
) -> Losses:
    """L_s and, for a model that learns from unlabelled mixtures, L_add and L_u; L comes last."""
    losses = {"L_s": supervised_loss(state.separator(batch.mixtures), batch.sources)}
    if batch.unlabelled is None:
        return losses | {"L": losses["L_s"]}
    estimates = state.separator(batch.unlabelled)  # (n, sources, bins, frames)
    context = cast(SeparatorNetwork, state.separator).context
    mixtures = batch.unlabelled[:, :, context:-context]  # (n, bins, frames)
    losses["L_add"] = additivity_loss(estimates, mixtures, settings.additivity_domain)
    state.critics.requires_grad_(False)
    terms = [
        unsupervised_loss(
            critic(critic.view(estimates[:, state.sources.index(source)])), settings.divergence
        )
        for source, critic in state.named_critics().items()
    ]
    state.critics.requires_grad_(True)
    losses["L_u"] = torch.stack(terms).sum() if terms else losses["L_s"].new_zeros(())
    total = losses["L_s"] + model.alpha * losses["L_u"] + model.beta * losses["L_add"]
    return losses | {"L": total}
