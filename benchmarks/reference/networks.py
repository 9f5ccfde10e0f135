"""The networks' forward passes, one operation after the other as the paper describes them."""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.networks.critics.dcgan import SLOPE, DCGANCritic
from pipeline.networks.separators.unet import SpectrogramUNet


class PlainSeparator(SpectrogramUNet):
    """The U-Net, with a ReLU after every convolution and crops of the activations that were kept."""

    def forward(self, mixture: Tensor) -> Tensor:
        """Log magnitudes (batch, bins, frames) to (batch, sources, bins, fewer frames)."""
        unet = self.unet
        mixture = functional.pad(mixture, self.padding).unsqueeze(1)
        x = functional.relu(unet.first(mixture))
        skips = []
        for conv in unet.down:
            skips.append(x)
            x = functional.relu(conv(functional.max_pool2d(x, 2)))
        for up, merge in zip(unet.up, unet.merge, strict=True):
            x = functional.relu(up(x))
            x = functional.relu(merge(torch.cat([centre(skips.pop(), x), x], dim=1)))
        estimates = functional.relu(unet.last(torch.cat([x, centre(mixture, x)], dim=1)))
        return estimates[:, :, : self.bins]


class PlainCritic(DCGANCritic):
    """The critic, with a leaky ReLU after every layer but the last."""

    def forward(self, excerpts: Tensor) -> Tensor:
        """Log magnitudes (n, 1, bins, frames) to scores (n, 1)."""
        x = excerpts
        for conv in self.square:
            x = functional.leaky_relu(conv(x), SLOPE)
        for conv in self.tall:
            x = functional.leaky_relu(conv(functional.pad(x, (0, 1, 1, 1))), SLOPE)
        scores: Tensor = self.score(functional.leaky_relu(self.hidden(x.flatten(1)), SLOPE))
        return scores


Network = TypeVar("Network", bound=nn.Module)


def plain_separator(network: SpectrogramUNet) -> PlainSeparator:
    """The same weights, contiguous."""
    unet = network.unet
    sources, filters = unet.last.out_channels, unet.first.out_channels
    return _with_weights(PlainSeparator(network.bins, sources, filters, network.depth), network)


def plain_critic(network: DCGANCritic) -> PlainCritic:
    """The same weights, contiguous."""
    filters = network.square[0].out_channels
    assert isinstance(filters, int)
    return _with_weights(PlainCritic(filters, network.bins, network.frames), network)


def _with_weights(plain: Network, network: nn.Module) -> Network:
    weights = next(network.parameters())
    plain.to(weights.device, weights.dtype)
    plain.load_state_dict(network.state_dict())
    return plain


def centre(x: Tensor, to: Tensor) -> Tensor:
    """Cut the centre of `x` (…, rows, columns) to the size of `to`."""
    top, left = ((a - b) // 2 for a, b in zip(x.shape[-2:], to.shape[-2:], strict=True))
    return x[..., top : top + to.shape[-2], left : left + to.shape[-1]]
