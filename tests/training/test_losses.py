"""The objectives against closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import jensenshannon
from torch import Tensor, nn

from pipeline.training.losses import (
    additivity_loss,
    divergence,
    gradient_penalty,
    supervised_loss,
    unsupervised_loss,
)
from tests.helpers.autograd import by_autograd

KINDS = ("wasserstein", "js", "kl")


def test_supervised_loss_sums_the_sources_means() -> None:
    references = torch.zeros(3, 2, 5, 7)
    estimates = torch.stack([torch.full((3, 5, 7), 2.0), torch.full((3, 5, 7), 3.0)], dim=1)
    assert supervised_loss(estimates, references).item() == pytest.approx(4 + 9)


@pytest.mark.parametrize("domain", ["linear", "log"])
def test_additivity_is_zero_for_a_perfect_sum(domain: str) -> None:
    magnitudes = torch.rand(2, 3, 5, 7) * 4
    mixture = torch.log1p(magnitudes.sum(1))
    assert additivity_loss(torch.log1p(magnitudes), mixture, domain).item() < 1e-10


def test_additivity_domains() -> None:
    estimates = torch.log1p(torch.full((1, 2, 4, 4), 3.0))
    mixture = torch.log1p(torch.full((1, 4, 4), 1.0))
    assert additivity_loss(estimates, mixture, "linear").item() == pytest.approx((6 - 1) ** 2)
    assert additivity_loss(estimates, mixture, "log").item() == pytest.approx(
        math.log(7 / 2) ** 2, rel=1e-5
    )


@pytest.mark.parametrize("weight", [0.5, 1.0, 3.0])
def test_penalty_of_a_linear_critic(weight: float) -> None:
    """Its gradient is its weights everywhere: the penalty is max(|w| - 1, 0)^2."""
    direction = nn.functional.normalize(torch.randn(4 * 6), dim=0) * weight

    def critic(x: Tensor) -> Tensor:
        return x.flatten(1) @ direction[:, None]

    real, fake = torch.randn(8, 1, 4, 6), torch.randn(8, 1, 4, 6)
    value = gradient_penalty(by_autograd(critic), real, fake, torch.rand(8)).item()
    assert value == pytest.approx(max(weight - 1, 0) ** 2, abs=1e-5)


def test_penalty_is_taken_between_real_and_fake() -> None:
    """The critic |x|^2 / 2 has the gradient x: the penalty tells where it was taken."""

    def critic(x: Tensor) -> Tensor:
        return x.flatten(1).pow(2).sum(1, keepdim=True) / 2

    real, fake = torch.full((2, 1, 1, 1), 9.0), torch.full((2, 1, 1, 1), 3.0)
    epsilon = torch.tensor([0.25, 1.0])
    expected = ((0.25 * 9 + 0.75 * 3 - 1) ** 2 + (9 - 1) ** 2) / 2
    assert gradient_penalty(by_autograd(critic), real, fake, epsilon).item() == pytest.approx(
        expected
    )


def test_penalty_is_safe_where_the_gradient_vanishes() -> None:
    last = nn.Linear(6, 1)
    nn.init.zeros_(last.weight)
    critic = nn.Sequential(nn.Flatten(), last)
    penalty = gradient_penalty(
        by_autograd(critic), torch.randn(4, 6), torch.randn(4, 6), torch.rand(4)
    )
    penalty.backward()
    assert penalty.item() == 0
    assert all(torch.isfinite(p.grad).all() for p in critic.parameters() if p.grad is not None)


def test_penalty_reaches_the_critics_weights() -> None:
    """d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|."""
    critic = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([[0.0, 3.0, 4.0]]))
    gradient_penalty(
        by_autograd(critic), torch.randn(5, 3), torch.randn(5, 3), torch.rand(5)
    ).backward()
    assert critic.weight.grad is not None
    torch.testing.assert_close(critic.weight.grad, 2 * 4 * critic.weight.detach() / 5)


@pytest.mark.parametrize("kind", ["js", "kl"])
def test_the_best_critic_gives_the_divergence(kind: str) -> None:
    """Two distributions over five outcomes; the critic is a free score for each."""
    p, q = np.array([0.1, 0.2, 0.3, 0.25, 0.15]), np.array([0.3, 0.1, 0.1, 0.1, 0.4])
    expected = {"js": jensenshannon(p, q) ** 2, "kl": stats.entropy(p, q)}[kind]
    scores = torch.zeros(5, requires_grad=True)
    counts_p, counts_q = (torch.tensor((r * 20).round(), dtype=torch.long) for r in (p, q))
    outcomes = torch.arange(5)
    real, fake = outcomes.repeat_interleave(counts_p), outcomes.repeat_interleave(counts_q)
    optimiser = torch.optim.LBFGS([scores], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        loss = -divergence(scores[real][:, None], scores[fake][:, None], kind)
        loss.backward()
        return loss.item()

    optimiser.step(closure)
    value = divergence(scores[real][:, None], scores[fake][:, None], kind).item()
    assert value == pytest.approx(expected, abs=1e-4)


def test_the_wasserstein_critic_finds_the_shift_of_two_gaussians() -> None:
    """The distance d is the shift's length. With a penalty of weight 10 the best critic's slope g

    maximises d g - 10 (g - 1)^2: g = 1 + d / 20, and the critic measures d g.
    """
    torch.manual_seed(0)
    shift = torch.tensor([1.5, -2.0])  # length 2.5
    critic = nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    optimiser = torch.optim.Adam(critic.parameters(), lr=5e-3)
    distances = []
    for _ in range(400):
        real, fake = torch.randn(256, 2) + shift, torch.randn(256, 2)
        distance = divergence(critic(real), critic(fake), "wasserstein")
        penalty = gradient_penalty(by_autograd(critic), real, fake, torch.rand(256))
        optimiser.zero_grad()
        (10 * penalty - distance).backward()
        optimiser.step()
        distances.append(distance.item())
    assert np.mean(distances[-100:]) == pytest.approx(2.5 * (1 + 2.5 / 20), rel=0.04)


@pytest.mark.parametrize("kind", KINDS)
def test_the_separator_lowers_what_the_critic_measures(kind: str) -> None:
    """L_u differs from the divergence by what does not depend on the estimates."""
    real = torch.randn(6, 1)
    fake = torch.randn(6, 1, requires_grad=True)
    (expected,) = torch.autograd.grad(divergence(real, fake, kind), fake)
    (found,) = torch.autograd.grad(unsupervised_loss(fake, kind), fake)
    torch.testing.assert_close(found, expected)
    assert (found < 0).all()  # a better score lowers the loss
