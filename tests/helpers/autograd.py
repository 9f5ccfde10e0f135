"""Derivatives as PyTorch finds them."""

from collections.abc import Callable

import torch
from torch import Tensor


def by_autograd(critic: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The gradient of any critic's scores at its input."""

    def gradient(x: Tensor) -> Tensor:
        x = x.requires_grad_()
        (found,) = torch.autograd.grad(
            critic(x).sum(), x, create_graph=True, materialize_grads=True
        )
        return found

    return gradient
