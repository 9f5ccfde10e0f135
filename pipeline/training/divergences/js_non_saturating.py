"""Jensen-Shannon, whose separator's term does not vanish where the critic is sure of the estimates.

Goodfellow et al., Generative Adversarial Nets, NeurIPS 2014, section 3: instead of log(1 - D) the
separator minimises -log D. It is no divergence then.
"""

from torch import Tensor
from torch.nn.functional import softplus

from pipeline.training.divergences import js

critic = js.critic


def separator(fake: Tensor) -> Tensor:
    return softplus(-fake).mean() / 2
