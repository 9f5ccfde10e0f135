"""The paper's objectives, one function each: L = L_s + alpha L_u + beta L_add (section 3.3).

Spectrograms are log magnitudes, log(1 + |X|), of shape (batch, [sources,] bins, frames).
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor


def supervised_loss(estimates: Tensor, references: Tensor) -> Tensor:
    """L_s (eq. 1): mean square error in the log domain, summed over the sources.

    The paper prints a 2-norm; its authors' program has this. Both (batch, sources, bins, frames).
    """
    return excerpt_losses(estimates, references).mean()


def excerpt_losses(estimates: Tensor, references: Tensor) -> Tensor:
    """What each excerpt adds to L_s (batch,)."""
    return ((estimates - references) ** 2).mean(dim=(2, 3)).sum(dim=1)


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
