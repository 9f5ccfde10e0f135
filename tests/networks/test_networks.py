"""The separator and the critic: sizes from the paper, context, initialisation."""

import pytest
import torch
from torch import nn

from pipeline.networks.critics.dcgan import DCGANCritic
from pipeline.networks.pool_and_crop import pool_and_crop
from pipeline.networks.separators import unet
from pipeline.networks.separators.unet import SpectrogramUNet, UNet, input_size, output_size
from tests.helpers.autograd import by_autograd


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def randomised(network: SpectrogramUNet) -> SpectrogramUNet:
    """The output layer starts as mixture / sources: give it weights that use every feature."""
    torch.manual_seed(3)
    nn.init.normal_(network.unet.last.weight)
    return network.double()


def test_the_separator_is_the_papers() -> None:
    network = UNet(sources=2)
    assert parameters(network) == 958_596
    assert network(torch.rand(1, 1, 350, 158)).shape == (1, 2, 258, 66)
    assert network.context == 46


def test_the_critic_is_the_papers() -> None:
    critic = DCGANCritic()
    assert parameters(critic) == 1_869_344
    assert critic(torch.rand(3, 1, 256, 64)).shape == (3, 1)


SIZES = {
    (256, 64): ((256, 64), 4, 2, 4 * 4), (256, 66): ((256, 64), 4, 2, 4 * 4),
    (128, 32): ((128, 32), 3, 2, 4 * 4), (256, 130): ((256, 128), 5, 1, 4 * 4),
    (64, 130): ((64, 128), 4, 0, 4 * 8), (288, 43): ((256, 40), 3, 3, 4 * 5),
    (8, 15): ((8, 14), 1, 0, 4 * 7),
}  # fmt: skip
"""Bins and frames of an excerpt: what the critic sees of it, square layers, tall ones, places left."""


@pytest.mark.parametrize("excerpt", SIZES)
def test_the_critics_layers_follow_from_the_excerpt(excerpt: tuple[int, int]) -> None:
    seen, squares, talls, places = SIZES[excerpt]
    critic = DCGANCritic(1, *excerpt)
    assert (critic.bins, critic.frames) == seen
    assert (len(critic.square), len(critic.tall)) == (squares, talls)
    assert critic.hidden.weight.shape == (32, min(2 ** (squares - 1), 8) * places)
    cells = torch.arange(excerpt[0] + 1.0)[:, None] + 1000 * torch.arange(excerpt[1])
    view = critic.view(cells[None])
    assert view.shape == (1, 1, *seen)
    begin = (excerpt[1] - seen[1]) // 2
    assert view[0, 0, 0, 0] == 1 + 1000 * begin
    assert view[0, 0, -1, -1] == seen[0] + 1000 * (begin + seen[1] - 1)
    assert critic(view).shape == (1, 1)


@pytest.mark.parametrize("size", [(256, 64), (128, 32), (288, 43), (32, 70)])
def test_the_critics_gradient_is_autograds(size: tuple[int, int]) -> None:
    """And so is what a loss of it says to every weight, at both corners of the leaky ReLUs."""
    torch.manual_seed(5)
    critic = DCGANCritic(3, *size).double()
    critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    excerpts = torch.randn(4, 1, critic.bins, critic.frames, dtype=torch.float64)
    found, expected = critic.input_gradient(excerpts), by_autograd(critic)(excerpts.clone())
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
    target = torch.randn_like(expected)
    losses = [((gradient - target) ** 2).sum() for gradient in (found, expected)]
    # autograd has zeros for the biases, which move corners and not slopes; ours has nothing
    ours, autograds = (
        torch.autograd.grad(loss, list(critic.parameters()), materialize_grads=True)
        for loss in losses
    )
    for mine, other in zip(ours, autograds, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12 * float(other.abs().max()))
    layers = len(critic.square) + len(critic.tall) + 2
    assert sum(float(one.abs().max()) > 0 for one in autograds) == layers


def test_in_bfloat16_scores_and_their_gradients_are_float32_and_near() -> None:
    torch.manual_seed(0)
    critic = DCGANCritic(8)
    critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    excerpts = torch.rand(4, 1, 256, 64)
    exact = critic(excerpts), critic.input_gradient(excerpts)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        rounded = critic(excerpts), critic.input_gradient(excerpts)
    # the gradient leaps where a leaky ReLU has its corner: there rounding changes sides
    for one, other, near in zip(rounded, exact, (0.03, 0.3), strict=True):
        assert one.dtype == torch.float32
        assert not torch.equal(one, other)
        assert (one - other).norm() < near * other.norm()


def test_feature_maps_have_the_printed_sizes() -> None:
    network, sizes = UNet(), []
    for layer in [network.first, *network.down, *network.merge]:
        layer.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[1:])))
    network(torch.rand(1, 1, 350, 158))
    assert sizes == [
        (16, 348, 156), (32, 172, 76), (64, 84, 36), (128, 40, 16), (256, 18, 6),
        (128, 34, 10), (64, 66, 18), (32, 130, 34), (16, 258, 66),
    ]  # fmt: skip


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("at_least", [1, 30, 66, 67, 257])
def test_sizes_are_what_the_network_does(depth: int, at_least: int) -> None:
    size, given = output_size(depth, at_least), input_size(depth, at_least)
    smallest = input_size(depth)
    estimates = UNet(1, 1, depth)(torch.rand(1, 1, given, smallest))
    assert estimates.shape[2:] == (size, output_size(depth))
    assert at_least <= size < at_least + 2**depth


def test_estimates_start_as_equal_shares_of_the_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for a random part, which gives every layer a gradient from the first step on."""
    learning = SpectrogramUNet(257, sources=3)
    learning(torch.rand(2, 257, 66 + 2 * learning.context)).sum().backward()
    for name, weights in learning.named_parameters():
        assert weights.grad is not None, name
        assert weights.grad.abs().sum() > 0, name
    monkeypatch.setattr(unet, "RANDOM_PART", 0.0)
    network = SpectrogramUNet(257, sources=3)
    mixture = torch.rand(2, 257, 66 + 2 * network.context)
    middle = mixture[:, :, network.context : -network.context]
    torch.testing.assert_close(network(mixture), middle[:, None].expand(-1, 3, -1, -1) / 3)


def test_bins_keep_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unet, "RANDOM_PART", 0.0)
    network = SpectrogramUNet(257, sources=1, filters=2)
    mixture = torch.zeros(1, 257, 66 + 2 * network.context)
    mixture[0, 40, network.context + 7] = 2.0
    assert network(mixture).nonzero().tolist() == [[0, 0, 40, 7]]


def test_estimates_depend_on_the_context_and_on_nothing_beyond() -> None:
    network = randomised(SpectrogramUNet(257, filters=2))
    mixture = torch.rand(1, 257, 66 + 2 * network.context + network.grid).double()
    first = network(mixture[:, :, : -network.grid])
    shifted = network(mixture[:, :, network.grid :])
    torch.testing.assert_close(
        first[..., network.grid :], shifted[..., : -network.grid], rtol=0, atol=1e-12
    )
    mixture.requires_grad_()
    network(mixture[:, :, : -network.grid])[..., 0].sum().backward()
    assert mixture.grad is not None
    seen = mixture.grad.abs().sum((0, 1)).nonzero()
    assert seen.min() < network.context < seen.max() <= 2 * network.context + network.grid


def test_the_critic_sees_no_dc_bin_and_the_middle_frames() -> None:
    critic = DCGANCritic(filters=1)
    excerpts = torch.arange(257 * 66.0).reshape(1, 257, 66)
    torch.testing.assert_close(critic.view(excerpts)[0, 0], excerpts[0, 1:, 1:-1])


def test_same_padding_adds_the_frame_at_the_end() -> None:
    """TensorFlow's 'same' for a kernel of width 2: the last column sees the padding, the first not."""
    critic = DCGANCritic(filters=1)
    conv = critic.tall[0]
    maps: list[torch.Tensor] = []
    conv.register_forward_hook(lambda _, given, __: maps.append(given[0]))
    critic(torch.ones(1, 1, 256, 64))
    assert maps[0].shape[2:] == (18, 5)
    assert (maps[0][..., -1] == 0).all()
    assert (maps[0][..., 1:-1, 0] != 0).any()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(8, 6), (5, 3), (2, 2)])
def test_pooling_and_cropping_have_pytorchs_values_and_gradients(
    layout: torch.memory_format, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 8, 6).double().to(memory_format=layout).requires_grad_()
    top, left = (8 - size[0]) // 2, (6 - size[1]) // 2
    plain = (
        nn.functional.max_pool2d(x, 2),
        x[..., top : top + size[0], left : left + size[1]],
    )
    ours = pool_and_crop(x, size)
    weights = [torch.rand_like(one) for one in plain]
    for one, other in zip(ours, plain, strict=True):
        assert torch.equal(one, other)
    gradients = [
        torch.autograd.grad((weights[0] * way[0]).sum() + (weights[1] * way[1]).sum(), x)[0]
        for way in (ours, plain)
    ]
    assert torch.equal(*gradients)
    with torch.no_grad():
        for one, other in zip(pool_and_crop(x, size), plain, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_layout_is_kept_to_the_end(precision: torch.dtype) -> None:
    """Else PyTorch copies what a convolution gets from one layout to the other, at every step."""
    network = SpectrogramUNet(257, filters=2)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kept = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(
                lambda _, given, __: kept.append(
                    given[0].is_contiguous(memory_format=torch.channels_last)
                )
            )
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        network(torch.rand(2, 257, 66 + 2 * network.context))
    assert len(kept) == 14
    assert all(kept)


def test_in_bfloat16_estimates_are_float32_and_near() -> None:
    torch.manual_seed(0)
    network = SpectrogramUNet(257, filters=2)
    nn.init.normal_(network.unet.last.weight)
    mixture = torch.rand(2, 257, 66 + 2 * network.context)
    exact = network(mixture)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(mixture)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    # seven bits of mantissa, through a dozen layers
    assert (rounded - exact).abs().max() < 0.03 * exact.abs().max()
