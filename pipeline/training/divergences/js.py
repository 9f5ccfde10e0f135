"""A lower bound of the Jensen-Shannon divergence, nats: the critic has a penalty on its slope."""

import math

from torch import Tensor
from torch.nn.functional import softplus


def critic(real: Tensor, fake: Tensor) -> Tensor:
    return math.log(2) - (softplus(-real).mean() + softplus(fake).mean()) / 2


def separator(fake: Tensor) -> Tensor:
    return -softplus(fake).mean() / 2
