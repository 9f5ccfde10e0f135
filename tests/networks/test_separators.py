"""The separators beside the paper's: sizes, context, closed forms; and masks."""

from typing import Any, cast

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.features.stft import log_magnitude, stft_of_padded
from pipeline.networks.builders import build_separator
from pipeline.networks.interfaces import SeparatorNetwork
from pipeline.networks.separators.band_split import NARROWEST, BandSplit, band_widths
from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.networks.separators.wave_unet import Interpolation, WaveUNet, input_size, output_size
from pipeline.params import Signal
from tests.helpers.small_separators import SIGNAL

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"network": "unet", "filters": 2, "depth": 2},
    "mask": {"network": "unet", "filters": 2, "depth": 2, "output": "mask"},
    "wave_unet": {"network": "wave_unet", "filters": 2, "depth": 4},
    "deep wave_unet": {"network": "wave_unet", "filters": 1, "depth": 10},
    "band_split": {"network": "band_split", "features": 4, "layers": 1, "bands": 6},
}
OFTEN = Signal(sample_rate=8000, fft_size=512, hop_size=128)


def small(name: str, signal: Signal = SIGNAL, sources: int = 2) -> SeparatorNetwork:
    """A network with random weights, the output layer's too, in double precision."""
    torch.manual_seed(3)
    network = build_separator(SMALL[name], signal, sources)
    if isinstance(network, SpectrogramUNet):
        nn.init.normal_(network.unet.last.weight)
    return cast(SeparatorNetwork, network.double())


def mixture_for(network: SeparatorNetwork, frames: int, signal: Signal) -> Tensor:
    """Noise that `network` takes to estimate so many frames."""
    padded = frames + 2 * network.context
    if network.representation.waveform:
        return torch.randn(2, signal.samples(padded), dtype=torch.float64) / 4
    return torch.rand(2, signal.bins, padded, dtype=torch.float64)


@pytest.mark.parametrize("signal", [SIGNAL, OFTEN], ids=["50", "75"])
@pytest.mark.parametrize("name", SMALL)
def test_every_separator_gives_the_shape_that_it_promises(name: str, signal: Signal) -> None:
    for at_least in (1, 20, 66):
        network = small(name, signal, sources=3)
        frames = network.valid_frames(at_least)
        assert frames >= at_least
        estimates = network(mixture_for(network, frames, signal))
        if network.representation.waveform:
            assert estimates.shape == (2, 3, signal.samples(frames))
        logs = network.representation.log_magnitudes(estimates.float())
        assert logs.shape == (2, 3, signal.bins, frames)
        assert bool(estimates.isfinite().all())


@pytest.mark.parametrize("signal", [SIGNAL, OFTEN], ids=["50", "75"])
@pytest.mark.parametrize("name", [name for name in SMALL if name != "band_split"])
def test_estimates_depend_on_the_context_alone(name: str, signal: Signal) -> None:
    """Those of a patch that begins later by the network's grid are the same, where both have them."""
    network = small(name, signal)
    frames, grid = network.valid_frames(20), network.grid
    longer = mixture_for(network, frames + grid, signal)
    waveform = network.representation.waveform
    shift = grid * signal.hop_size if waveform else grid
    length = mixture_for(network, frames, signal).shape[-1]
    with torch.no_grad():
        first, later = network(longer[..., :length]), network(longer[..., shift : shift + length])
    torch.testing.assert_close(first[..., shift:], later[..., :-shift], rtol=0, atol=1e-12)


def test_a_wave_unet_hears_all_of_its_margin_and_nothing_else() -> None:
    network = small("wave_unet")
    assert isinstance(network, WaveUNet)
    mixture = mixture_for(network, 20, SIGNAL).requires_grad_()
    (asked,) = torch.autograd.grad(network(mixture)[:, 0, 0].sum(), mixture)
    begin, heard = network.context * SIGNAL.hop_size, asked.abs().sum(dim=0).nonzero()
    assert int(heard.min()) == begin - network.margin


def test_the_wave_unet_has_the_published_sizes() -> None:
    """Section 4: of 12 levels with context, 147 443 samples of input give 16 389 of output."""
    assert output_size(12, 16_389) == 16_389
    assert input_size(12, 16_389) == 147_443
    # table 1: filters 15 and 5 wide, 24 more on each level, one output for two sources
    network = WaveUNet(SIGNAL)
    down = sum(24 * max(level - 1, 1 / 24) * 24 * level * 15 + 24 * level for level in range(1, 13))
    bottom = 288 * 312 * 15 + 312
    up = sum(
        (24 * level + 24 * (level + 1)) * 24 * level * 5 + 24 * level for level in range(1, 13)
    )
    between = sum(24 * (level + 1) for level in range(1, 13))
    total = sum(weight.numel() for weight in network.parameters())
    assert total == round(down) + bottom + up + between + 25 + 1


def test_interpolation_starts_as_the_mean_of_neighbours() -> None:
    ramp = torch.arange(5.0)[None, None].expand(1, 2, -1)
    torch.testing.assert_close(Interpolation(2)(ramp)[0, 0], torch.arange(9.0) / 2)
    learned = Interpolation(1)
    nn.init.constant_(learned.weight, 30.0)  # all of the left one
    assert learned(torch.tensor([[[1.0, 5.0]]])).tolist() == [[[1.0, 1.0, 5.0]]]


def test_the_last_source_of_a_wave_unet_is_what_is_left() -> None:
    network = small("wave_unet", sources=3)
    mixture = mixture_for(network, 20, SIGNAL)
    inside = network.representation.inside(mixture, network.context)
    estimates = network(mixture)
    torch.testing.assert_close(estimates.sum(dim=1), inside, rtol=0, atol=1e-12)
    assert not torch.allclose(estimates[:, 2], inside)


def test_masks_share_the_mixture_out() -> None:
    network = small("mask", sources=3)
    mixture = mixture_for(network, network.valid_frames(20), SIGNAL)
    heard = network.representation.inside(mixture, network.context)
    shares = torch.expm1(network(mixture)) / torch.expm1(heard)[:, None]
    torch.testing.assert_close(shares.sum(dim=1), torch.ones_like(heard))
    assert bool(((shares > 0) & (shares < 1)).all())
    # outputs that are zero everywhere, as those of a ReLU may be, share alike and have a gradient
    assert isinstance(network, SpectrogramUNet)
    assert network.unet.last.bias is not None
    nn.init.zeros_(network.unet.last.weight)
    nn.init.constant_(network.unet.last.bias, -1.0)
    equal = torch.log1p(torch.expm1(heard) / 3)
    torch.testing.assert_close(network(mixture), equal[:, None].expand(-1, 3, -1, -1))


def test_bands_follow_the_mel_scale() -> None:
    """librosa's HTK scale has the same edges, where a band is wide enough."""
    widths = band_widths(SIGNAL, 20)
    assert sum(widths) == SIGNAL.bins
    edges = librosa.mel_frequencies(21, fmin=0, fmax=4000, htk=True) * 512 / 8000
    np.testing.assert_allclose(np.cumsum(widths)[:-1], edges[1:-1], atol=0.5)
    assert min(band_widths(SIGNAL, 60)) == NARROWEST
    full = Signal(sample_rate=44_100, fft_size=2048, hop_size=512)
    for bands in (2, 20, 64, 128):
        assert sum(band_widths(full, bands)) == 1025
        assert min(band_widths(full, bands)) >= NARROWEST
    assert band_widths(SIGNAL, 128)[:-1] == [2] * 127
    with pytest.raises(ValueError, match="bands: expected at most 128 for 257 bins, found 129"):
        band_widths(SIGNAL, 129)


@pytest.mark.parametrize("signal", [SIGNAL, OFTEN], ids=["50", "75"])
def test_a_band_split_network_with_constant_masks_scales_the_mixture(signal: Signal) -> None:
    """A closed form of the way there and back: every cell times one half, turned by a quarter."""
    network = small("band_split", signal)
    assert isinstance(network, BandSplit)
    for mask in network.masks:
        last = mask[3]  # type: ignore[index]
        nn.init.zeros_(last.weight)
        halves = last.bias.detach().view(2, 2, -1, 2)  # values and gates, sources, bins, re and im
        halves[1] = 40.0  # gates that are open
        halves[0] = torch.tensor([0.5, 0.0])
        last.bias.data = halves.flatten()
    mixture = mixture_for(network, 20, signal)
    inside = network.representation.inside(mixture, network.context)
    estimates = network(mixture)
    torch.testing.assert_close(estimates, (inside / 2)[:, None].expand_as(estimates))


def test_log_magnitudes_of_waveforms_are_those_of_their_stft() -> None:
    """And a loss of them reaches every weight."""
    network = small("band_split")
    mixture = mixture_for(network, 20, SIGNAL)
    estimates = network(mixture)
    logs = network.representation.log_magnitudes(estimates.float())
    torch.testing.assert_close(logs, log_magnitude(stft_of_padded(estimates.float(), SIGNAL)))
    logs.sum().backward()
    for name, weight in cast(nn.Module, network).named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name
