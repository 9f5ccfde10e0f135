"""The Wasserstein-1 distance, over critics that are 1-Lipschitz (paper, section 3.1)."""

from torch import Tensor


def critic(real: Tensor, fake: Tensor) -> Tensor:
    return real.mean() - fake.mean()


def separator(fake: Tensor) -> Tensor:
    return -fake.mean()
