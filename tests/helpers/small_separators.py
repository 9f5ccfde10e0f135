"""Separators with random weights, and what they are tried on."""

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.params import Signal
from pipeline.separation.separator import Separator

SIGNAL = Signal(sample_rate=8000, fft_size=512, hop_size=256)


def small_separator() -> Separator:
    """Random weights; both sources sound, and differ."""
    torch.manual_seed(1)
    network = SpectrogramUNet(257, filters=2)
    with torch.no_grad():
        network.unet.last.weight += 0.2 * torch.randn_like(network.unet.last.weight)
    return Separator(network.eval(), ("accompaniment", "vocals"), SIGNAL)


def with_bias(separator: Separator, value: float) -> Separator:
    """Add `value` to the log magnitudes that it gives of its first source, for good."""
    assert isinstance(separator.network, SpectrogramUNet)
    bias = separator.network.unet.last.bias
    assert bias is not None
    with torch.no_grad():
        bias[0] = value
    return separator


def noise(samples: int) -> NDArray[np.float32]:
    return np.random.default_rng(2).standard_normal(samples).astype(np.float32)
