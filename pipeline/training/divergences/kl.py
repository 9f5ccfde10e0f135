"""A lower bound of the Kullback-Leibler divergence of the real from the estimated sources, nats: the
critic has a penalty on its slope."""

import torch
from torch import Tensor


def critic(real: Tensor, fake: Tensor) -> Tensor:
    return real.mean() - torch.exp(fake - 1).mean()


def separator(fake: Tensor) -> Tensor:
    return -torch.exp(fake - 1).mean()
