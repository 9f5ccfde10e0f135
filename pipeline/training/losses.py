"""The paper's objectives, one function each: L = L_s + alpha L_u + beta L_add (section 3.3).

Spectrograms are log magnitudes, log(1 + |X|), of shape (batch, [sources,] bins, frames). Where a
separator gives waveforms, they are those of its estimates.
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from pipeline.networks.representations import LOG_MAGNITUDES, Representation


def supervised_loss(
    estimates: Tensor, references: Tensor, given: Representation = LOG_MAGNITUDES
) -> Tensor:
    """L_s (eq. 1): mean square error in the log domain, summed over the sources.

    The paper prints a 2-norm; its authors' program has this. Both (batch, sources, …) as `given`. Of
    waveforms it is that of their log magnitudes and, for what these do not say, the mean absolute
    error of the samples.
    """
    return excerpt_losses(estimates, references, given).mean()


def excerpt_losses(
    estimates: Tensor, references: Tensor, given: Representation = LOG_MAGNITUDES
) -> Tensor:
    """What each excerpt adds to L_s (batch,)."""
    logs, expected = given.log_magnitudes(estimates), given.log_magnitudes(references)
    losses = ((logs - expected) ** 2).mean(dim=(2, 3)).sum(dim=1)
    if given.waveform:
        losses = losses + (estimates - references).abs().mean(dim=2).sum(dim=1)
    return losses


def additivity_loss(estimates: Tensor, mixture: Tensor, domain: str = "linear") -> Tensor:
    """L_add (eq. 5): mean square difference between the sum of the estimates and the mixture.

    estimates (batch, sources, bins, frames), mixture (batch, bins, frames), both log magnitudes;
    `domain` is where they are compared: "linear" (the authors' program) or "log" magnitudes.
    """
    total = torch.expm1(estimates).sum(dim=1)
    if domain == "linear":
        return ((total - torch.expm1(mixture)) ** 2).mean()
    return ((torch.log1p(total) - mixture) ** 2).mean()


def divergence(real: Tensor, fake: Tensor, kind: str) -> Tensor:
    """The divergence between real and estimated sources as the critic sees it; it maximises this.

    real, fake: scores (n, 1). kind: the name of a file in `training.divergences`.
    """
    measured: Tensor = _named(kind).critic(real, fake)
    return measured


def unsupervised_loss(fake: Tensor, kind: str) -> Tensor:
    """One source's term of L_u (eq. 3): the part of `divergence` that the separator can lower.

    fake: the critic's scores of the estimates (n, 1).
    """
    term: Tensor = _named(kind).separator(fake)
    return term


def _named(kind: str) -> ModuleType:
    return import_module(f"pipeline.training.divergences.{kind}")


def gradient_penalty(
    input_gradient: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    epsilon: Tensor,
    one_sided: bool = True,
) -> Tensor:
    """Gradient penalty: mean over the batch of max(|grad| - 1, 0)^2 (section 3.1, eq. 4).

    Two-sided: of (|grad| - 1)^2 (Gulrajani et al., Improved Training of Wasserstein GANs, NeurIPS 2017,
    eq. 3).

    input_gradient: the gradient of a critic's scores at excerpts (n, ...), itself differentiable
    (`networks.gradients`). real, fake (n, ...); epsilon (n,) in [0, 1] places each interpolate
    between them. The norm is taken over all axes but the batch's.
    """
    epsilon = epsilon.view(-1, *[1] * (real.dim() - 1))
    gradient = input_gradient((epsilon * real + (1 - epsilon) * fake).detach())
    squares = gradient.flatten(1).pow(2).sum(dim=1)
    # Below 1 the one-sided penalty is zero anyway; both clamps keep the root away from its infinite slope
    # at 0.
    lowest = 1.0 if one_sided else torch.finfo(squares.dtype).eps
    return (squares.clamp_min(lowest).sqrt() - 1).pow(2).mean()
