"""One update of small networks, worked by hand."""

import math
from collections.abc import Iterable, Mapping

import pytest
import torch
from torch import Tensor, nn

from pipeline import params
from pipeline.networks.representations import LOG_MAGNITUDES, Representation
from pipeline.params import Training
from pipeline.training.batches import CriticBatch, SeparatorBatch
from pipeline.training.step import Losses, State, critic_step, separator_step
from pipeline.ways import Model
from tests.helpers.experiment import small_params

SOURCES = ["accompaniment", "vocals"]
LEARNING_RATE = 0.01


class Halves(nn.Module):
    """Each source is a weight times the mixture; both weights begin at a half."""

    context, grid = 1, 1
    representation: Representation = LOG_MAGNITUDES

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((2,), 0.5))

    def forward(self, mixture: Tensor) -> Tensor:
        return self.weights[:, None, None] * mixture[:, None, :, 1:-1]


class Slope(nn.Module):
    """The score is a weight times the only cell; it begins at 4."""

    frames = 1

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(4.0))

    def view(self, excerpts: Tensor) -> Tensor:
        return excerpts

    def forward(self, seen: Tensor) -> Tensor:
        return self.weight * seen.flatten(1)


@pytest.fixture
def settings() -> Training:
    return params.parse(small_params(), "test").training


@pytest.fixture
def state() -> State:
    separator, critics = Halves(), nn.ModuleDict({"vocals": Slope()})
    networks = (separator, *critics.values())
    return State(
        separator, critics, SOURCES,
        [torch.optim.SGD(network.parameters(), LEARNING_RATE) for network in networks],
    )  # fmt: skip


def as_they_are(_: Iterable[nn.Module], losses: Mapping[str, Tensor]) -> Losses:
    return dict(losses)


def mixture(level: float) -> Tensor:
    """One excerpt of one bin and one frame, with a frame of context to either side."""
    return torch.tensor([[[0.0, level, 0.0]]])


def test_a_critic_climbs_the_distance_less_ten_times_the_penalty(
    state: State, settings: Training
) -> None:
    # fake: half of log 3; real: 1. The slope is the weight, 4, so the penalty is (4 - 1)^2.
    batch = CriticBatch(
        mixture(math.log(3)), {"vocals": torch.ones(1, 1, 1)}, {"vocals": torch.tensor([0.3])}
    )
    losses = critic_step(state, batch, Model(critics=["vocals"]), settings, as_they_are)
    assert losses["distance_vocals"].item() == pytest.approx(4 * (1 - 0.549306), abs=1e-5)
    assert losses["penalty_vocals"].item() == pytest.approx(9)
    # d/dw of 10 (w - 1)^2 - w (1 - 0.549306) at 4: 60 - 0.450694
    critic, separator = state.critics["vocals"], state.separator
    assert isinstance(critic, Slope)
    assert isinstance(separator, Halves)
    assert critic.weight.item() == pytest.approx(4 - LEARNING_RATE * 59.549306)
    assert separator.weights.tolist() == [0.5, 0.5]
    assert (state.critic_updates, state.steps) == (1, 0)


def test_the_separator_descends_the_sum_of_the_three_terms(
    state: State, settings: Training
) -> None:
    batch = SeparatorBatch(mixture(2.0), torch.tensor([[[[1.0]], [[3.0]]]]), mixture(math.log(3)))
    model = Model(critics=["vocals"], alpha=0.1, beta=0.01)
    losses = separator_step(state, batch, model, settings, as_they_are)
    # estimates 1 and 1; magnitudes sqrt(3) - 1 twice, of a mixture of 2; a score of 4 * 0.549306
    assert losses["L_s"].item() == pytest.approx(4.0)
    assert losses["L_add"].item() == pytest.approx(0.287187, abs=1e-5)
    assert losses["L_u"].item() == pytest.approx(-2.197225, abs=1e-5)
    assert losses["L"].item() == pytest.approx(3.783149, abs=1e-5)
    # of L_s 0 and 2 (1 - 3) 2 = -8; of L_add -2.039443 each, 0.01 of it; of L_u -4 log 3, 0.1 of it
    expected = [0.5 + LEARNING_RATE * 0.020394, 0.5 + LEARNING_RATE * (8 + 0.020394 + 0.439445)]
    critic, separator = state.critics["vocals"], state.separator
    assert isinstance(critic, Slope)
    assert isinstance(separator, Halves)
    assert separator.weights.tolist() == pytest.approx(expected, abs=1e-6)
    assert critic.weight.item() == 4.0
    assert critic.weight.grad is None
    assert (state.critic_updates, state.steps) == (0, 1)


def test_a_purely_supervised_model_has_one_term(state: State, settings: Training) -> None:
    batch = SeparatorBatch(mixture(2.0), torch.tensor([[[[1.0]], [[3.0]]]]), None)
    model = Model(critics=[], alpha=0.0, beta=0.0)
    losses = separator_step(state, batch, model, settings, as_they_are)
    assert {name: value.item() for name, value in losses.items()} == {"L_s": 4.0, "L": 4.0}
