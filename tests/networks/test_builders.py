"""Networks are found by their names, and a critic without a gradient of its own has autograd's."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.networks.builders import build_critic, build_separator
from pipeline.networks.critics.dcgan import DCGANCritic
from pipeline.networks.gradients import input_gradient
from pipeline.networks.separators.unet import SpectrogramUNet
from tests.helpers.small_separators import SIGNAL


class WithoutItsOwn(nn.Module):
    """A critic that offers no `input_gradient`."""

    def __init__(self, critic: DCGANCritic) -> None:
        super().__init__()
        self.critic, self.frames, self.view = critic, critic.frames, critic.view

    def forward(self, seen: Tensor) -> Tensor:
        scores: Tensor = self.critic(seen)
        return scores


def test_a_name_finds_its_network() -> None:
    separator = build_separator({"network": "unet", "filters": 2, "depth": 3}, SIGNAL, 3)
    assert isinstance(separator, SpectrogramUNet)
    assert (separator.depth, separator.unet.last.out_channels) == (3, 3)
    critic = build_critic({"network": "dcgan", "filters": 2}, SIGNAL, 66)
    assert isinstance(critic, DCGANCritic)
    assert critic.bins == 256


def test_a_network_knows_the_settings_that_build_it_again() -> None:
    """Those of model folders from before there was a choice name no network."""
    separator = build_separator({"filters": 2, "depth": 2}, SIGNAL, 2)
    assert separator.settings == {
        "network": "unet",
        "filters": 2,
        "depth": 2,
        "output": "magnitude",
    }
    critic = build_critic({"filters": 3}, SIGNAL, 66)
    assert critic.settings == {"network": "dcgan", "filters": 3}


@pytest.mark.parametrize("name", ["transformer", "os", "unet.build", ""])
def test_an_unknown_name_is_said(name: str) -> None:
    with pytest.raises(ValueError, match=f"no network {name!r} among the separators"):
        build_separator({"network": name, "filters": 2, "depth": 2}, SIGNAL, 2)


def test_settings_that_a_network_does_not_take_are_said() -> None:
    with pytest.raises(TypeError, match="heads"):
        build_critic({"network": "dcgan", "filters": 2, "heads": 8}, SIGNAL, 66)


def test_autograd_serves_a_critic_that_offers_no_gradient() -> None:
    """The same gradient, and the same gradient of its penalty by the weights."""
    torch.manual_seed(0)
    own = DCGANCritic(filters=2).double()
    plain = WithoutItsOwn(own)
    seen = torch.rand(3, 1, 256, 64, dtype=torch.float64).mul(3)
    with torch.no_grad():
        torch.testing.assert_close(input_gradient(plain, seen), input_gradient(own, seen))
    by_weights = []
    for critic in (own, plain):
        # as the penalty asks for it: the slope's own gradient
        loss = input_gradient(critic, seen).square().sum()
        weights = list(own.parameters())
        found = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        by_weights.append(torch.cat([one.flatten() for one in found]))
    assert by_weights[0].abs().max() > 0
    torch.testing.assert_close(by_weights[0], by_weights[1])
