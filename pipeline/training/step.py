"""One update of the critics and one of the separator: all that training computes, on one page.

L = L_s + alpha L_u + beta L_add (section 3.3), minimised by the separator. Each critic maximises the
divergence between real recordings of its source and estimates on unlabelled mixtures, less a
penalty on its slope (section 3.1). Around it: `module` decides when, `batches` draws what.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from pipeline.networks import sight
from pipeline.networks.gradients import input_gradient
from pipeline.networks.interfaces import CriticNetwork, SeparatorNetwork
from pipeline.networks.representations import Representation
from pipeline.networks.slots import SlottedSeparator
from pipeline.params import Training
from pipeline.training.batches import CriticBatch, SeparatorBatch
from pipeline.training.losses import (
    additivity_loss,
    divergence,
    gradient_penalty,
    supervised_loss,
    unsupervised_loss,
)
from pipeline.training.mixit import mixit_loss
from pipeline.ways import Model

ONE_SIDED = {"one_sided": True, "two_sided": False}
"""The penalties on a critic's gradient, and whether slopes below 1 are free."""
SLOWLY = 0.99
"""What a running average of lengths keeps of itself."""

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
    teacher: nn.Module | None = None
    """A running average of the separator."""
    lengths: dict[str, float] = field(default_factory=dict)
    """Running averages of the gradients' lengths at the separator's output, by loss (alpha: auto)."""

    @property
    def seen(self) -> Representation:
        """What the critics see."""
        return sight.seen_by(self.critics.values())

    def named_critics(self) -> dict[str, CriticNetwork]:
        """The critics by source, in the order of the optimisers."""
        return cast(dict[str, CriticNetwork], dict(self.critics.items()))


def critic_step(
    state: State, batch: CriticBatch, model: Model, settings: Training, agree: Agree
) -> Losses:
    """Update every critic once, on the same mixtures and on real recordings of its source.

    Returns `distance_<source>`, the divergence as the critic sees it, and `penalty_<source>` where there
    is a penalty on its gradient.
    """
    losses: Losses = {}
    objectives = []
    network = cast(SeparatorNetwork, state.separator)
    with torch.no_grad():
        # (n, sources, …)
        estimates = sight.of_estimates(
            network(batch.mixtures), batch.phases, network.representation, state.seen
        )
    for source, critic in state.named_critics().items():
        fake = critic.view(estimates[:, state.sources.index(source)])  # (n, ...)
        real = critic.view(batch.real[source])
        scores = critic(torch.cat([real, fake]))  # (2 n, 1)
        distance = divergence(scores[: len(real)], scores[len(real) :], model.divergence)
        losses[f"distance_{source}"] = distance
        objective = -distance
        if model.penalty in ONE_SIDED:
            slope = partial(input_gradient, critic)
            place = batch.epsilon[source].to(fake.device)
            penalty = gradient_penalty(slope, real, fake, place, ONE_SIDED[model.penalty])
            losses[f"penalty_{source}"] = penalty
            objective = settings.penalty_weight * penalty - distance
        objectives.append(objective)
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
    losses = separator_losses(state, batch, model, settings, agree)
    optimiser, *_ = state.optimisers
    optimiser.zero_grad()
    losses["L"].backward()
    losses = agree([state.separator], losses)
    optimiser.step()
    if state.teacher is not None and model.teacher is not None:
        follow(state.teacher, state.separator, model.teacher.decay)
    state.steps += 1
    return losses


def separator_losses(
    state: State, batch: SeparatorBatch, model: Model, settings: Training, agree: Agree
) -> Losses:
    """L_s, and the terms of the ways that the model learns by beside it; their sum L comes last."""
    network = cast(SeparatorNetwork, state.separator)
    given = network.representation
    estimates = network(batch.mixtures)  # (n, sources, …)
    losses = {"L_s": supervised_loss(estimates, batch.sources, given)}
    weights: dict[str, float] = {}
    others = None
    if batch.unlabelled is not None:
        others = network(batch.unlabelled)  # (n, sources, …)
        logs = given.log_magnitudes(others)  # (n, sources, bins, frames)
        mixtures = given.log_magnitudes(given.inside(batch.unlabelled, network.context))
        losses["L_add"] = additivity_loss(logs, mixtures, settings.additivity_domain)
        if state.critics:
            seen = state.seen
            judged = (
                sight.of_estimates(others, batch.phases, given, seen) if seen.waveform else logs
            )
            losses["L_u"] = _unsupervised(state, judged, model)
            weights["L_u"] = (
                balanced(state, losses, {"L_s": estimates, "L_u": others}, model, agree)
                if model.alpha == "auto"
                else model.alpha
            )
        weights["L_add"] = model.beta
    if model.teacher is not None:
        kind = import_module(f"pipeline.training.teachers.{model.teacher.kind}")
        losses["L_teacher"] = kind.loss(state, batch, others)
        weights["L_teacher"] = model.teacher.weight
    if batch.pairs is not None:
        sums, pairs = batch.pairs
        slotted = cast(SlottedSeparator, state.separator)
        losses["L_mixit"] = mixit_loss(slotted.apart(sums), pairs, given)
        weights["L_mixit"] = model.mixit
    total = losses["L_s"]
    for name, weight in weights.items():
        total = total + weight * losses[name]
    if model.alpha == "auto":
        losses["alpha"] = total.new_tensor(weights["L_u"])
    return losses | {"L": total}


def _unsupervised(state: State, estimates: Tensor, model: Model) -> Tensor:
    """L_u of estimates (n, sources, …) as critics see them; these get no gradient."""
    state.critics.requires_grad_(False)
    terms = [
        unsupervised_loss(
            critic(critic.view(estimates[:, state.sources.index(source)])), model.divergence
        )
        for source, critic in state.named_critics().items()
    ]
    state.critics.requires_grad_(True)
    return torch.stack(terms).sum()


def balanced(
    state: State,
    losses: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    model: Model,
    agree: Agree,
) -> float:
    """alpha such that the gradient of alpha L_u at the separator's output is `fraction` of L_s's.

    Of running averages of both lengths: whatever a critic's scale is, what it weighs is the same.
    """
    squares = {
        name: torch.autograd.grad(losses[name], output, retain_graph=True)[0].square().sum()
        for name, output in outputs.items()
    }
    for name, square in agree((), squares).items():
        length = float(square.sqrt())
        before = state.lengths.get(name, length)
        state.lengths[name] = SLOWLY * before + (1 - SLOWLY) * length
    assert model.fraction is not None
    return model.fraction * state.lengths["L_s"] / max(state.lengths["L_u"], sys.float_info.min)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Move the teacher's weights towards the student's: decay of its own, the rest of the student's."""
    for own, other in zip(teacher.parameters(), student.parameters(), strict=True):
        own.lerp_(other, 1 - decay)
