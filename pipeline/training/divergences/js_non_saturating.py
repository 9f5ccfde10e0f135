"""Jensen-Shannon, whose separator's term does not vanish where the critic is sure of the estimates.

Goodfellow et al., Generative Adversarial Nets, NeurIPS 2014, section 3: instead of log(1 - D) the
separator minimises -log D. It is no divergence then; for the critic it is that of `js`.
"""

import math

from torch import Tensor
from torch.nn.functional import softplus


def critic(real: Tensor, fake: Tensor) -> Tensor:
    return math.log(2) - (softplus(-real).mean() + softplus(fake).mean()) / 2


def separator(fake: Tensor) -> Tensor:
    return softplus(-fake).mean() / 2
