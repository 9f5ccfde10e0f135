"""A training step in eager PyTorch: contiguous float32, one batch after the other (section 4.3).

Every pass of the paper is a pass here: the critics see real recordings, estimates and interpolates
each by itself, one critic after the other, on batches that are drawn for this update.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from benchmarks.reference.networks import plain_critic, plain_separator
from pipeline.networks.critics.dcgan import DCGANCritic
from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.params import Params
from pipeline.training.batches import CriticBatch, SeparatorBatch
from pipeline.ways import Model


class StepBatches(NamedTuple):
    """What one training step is made on."""

    critics: list[CriticBatch]
    separator: SeparatorBatch


@dataclass
class Experiment:
    """Networks, their optimisers and the settings."""

    params: Params
    model: Model
    separator: SpectrogramUNet
    critics: dict[str, DCGANCritic]
    separator_optimiser: Optimizer
    critic_optimisers: dict[str, Optimizer]

    @classmethod
    def of(
        cls,
        params: Params,
        model: Model,
        separator: SpectrogramUNet,
        critics: Mapping[str, DCGANCritic],
    ) -> "Experiment":
        """With copies of networks that were initialised."""
        plain = plain_separator(separator)
        judges: dict[str, DCGANCritic] = {name: plain_critic(one) for name, one in critics.items()}
        rate = params.training.learning_rate
        return cls(
            params, model, plain, judges,
            Adam(plain.parameters(), lr=rate),
            {source: Adam(judge.parameters(), lr=rate) for source, judge in judges.items()},
        )  # fmt: skip

    def step(self, batches: StepBatches) -> dict[str, Tensor]:
        """N_disc updates of the critics, then one of the separator; returns the losses."""
        losses: dict[str, Tensor] = {}
        for batch in batches.critics:
            with torch.no_grad():
                estimates = self.separator(batch.mixtures)
            for source in self.critics:
                losses |= self.update_critic(source, batch, estimates)
        return losses | self.update_separator(batches)

    def update_critic(
        self, source: str, batch: CriticBatch, estimates: Tensor
    ) -> dict[str, Tensor]:
        """-(E real - E fake) + 10 penalty, Wasserstein with a one-sided penalty (section 3.1, eq. 4)."""
        critic, optimiser = self.critics[source], self.critic_optimisers[source]
        fake = critic.view(estimates[:, self.params.sources.index(source)])
        real = critic.view(batch.real[source])
        distance = critic(real).mean() - critic(fake).mean()

        epsilon = batch.epsilon[source].to(real.device)[:, None, None, None]
        interpolates = (epsilon * real + (1 - epsilon) * fake).requires_grad_(True)
        scores = critic(interpolates)
        (gradient,) = torch.autograd.grad(
            scores, interpolates, torch.ones_like(scores), create_graph=True
        )
        norm = gradient.flatten(1).norm(dim=1)
        penalty = (torch.clamp(norm - 1, min=0) ** 2).mean()

        optimiser.zero_grad()
        (self.params.training.penalty_weight * penalty - distance).backward()
        optimiser.step()
        return {f"distance_{source}": distance.detach(), f"penalty_{source}": penalty.detach()}

    def update_separator(self, batches: StepBatches) -> dict[str, Tensor]:
        """L = L_s + alpha L_u + beta L_add (section 3.3)."""
        mixture, references, unlabelled, *_ = batches.separator
        errors = (self.separator(mixture) - references) ** 2
        supervised = errors.mean(dim=(0, 2, 3)).sum()
        losses = {"L_s": supervised}
        loss = supervised
        if unlabelled is not None:
            for critic in self.critics.values():
                critic.requires_grad_(False)
            estimates = self.separator(unlabelled)
            unsupervised = supervised.new_zeros(())
            for source, critic in self.critics.items():
                number = self.params.sources.index(source)
                unsupervised = unsupervised - critic(critic.view(estimates[:, number])).mean()
            context = self.separator.context
            magnitudes = torch.expm1(unlabelled[:, :, context:-context])
            additivity = ((torch.expm1(estimates).sum(dim=1) - magnitudes) ** 2).mean()
            losses |= {"L_u": unsupervised, "L_add": additivity}
            loss = (
                supervised + float(self.model.alpha) * unsupervised + self.model.beta * additivity
            )
            for critic in self.critics.values():
                critic.requires_grad_(True)
        self.separator_optimiser.zero_grad()
        loss.backward()
        self.separator_optimiser.step()
        return {name: value.detach() for name, value in losses.items()} | {"L": loss.detach()}
