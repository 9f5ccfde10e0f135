"""What a critic asks of its input: the gradient of its scores (paper, eq. 3 and Figure 3)."""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.networks.interfaces import CriticNetwork, OwnInputGradient


def input_gradient(critic: CriticNetwork | Callable[[Tensor], Tensor], seen: Tensor) -> Tensor:
    """The gradient of a critic's scores at `seen` (n, ...), of the same shape.

    It is a function of the critic's weights, with a gradient of its own where gradients are on: the
    penalty needs that. A critic may offer a faster way (`OwnInputGradient`) with the same result.
    """
    if isinstance(critic, OwnInputGradient):
        return critic.input_gradient(seen)
    differentiable = torch.is_grad_enabled()
    # validation is in inference mode, whose tensors have no gradient
    with torch.inference_mode(False), torch.enable_grad():
        at = seen.detach().clone().requires_grad_()
        scores = critic(at)
        (gradient,) = torch.autograd.grad(
            scores.sum(), at, create_graph=differentiable, materialize_grads=True
        )
    return gradient


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's, of each item of (n, ...) over all its values: float64 (n,); NaN where one is constant.

    Of what a critic asks of an estimate with what that lacks it says whether the critic has learned to
    ask for the latter (paper, Figure 3).
    """
    first, second = (one.double().flatten(1) for one in (a, b))
    first, second = (one - one.mean(dim=1, keepdim=True) for one in (first, second))
    size = (first.square().sum(dim=1) * second.square().sum(dim=1)).sqrt()
    return (first * second).sum(dim=1) / size
