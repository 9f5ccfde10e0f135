"""The separator: a U-Net of 'valid' convolutions on log magnitudes (paper, section 4.2)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """Map a patch of the mixture's spectrogram to a smaller patch of each source's.

    Every convolution is 'valid': an output cell has seen a full neighbourhood of real input, never
    padding, so patches of a long track fit together without seams. The output is centred in the
    input and `2 * context` smaller along both axes.
    """

    def __init__(self, sources: int = 2, filters: int = 16, depth: int = 4) -> None:
        super().__init__()
        widths = [filters * 2**level for level in range(depth + 1)]
        self.context = (input_size(depth) - output_size(depth)) // 2
        self.first = nn.Conv2d(1, filters, 3)
        self.down = nn.ModuleList(nn.Conv2d(narrow, wide, 3) for narrow, wide in pairwise(widths))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(wide, narrow, 2, stride=2)
            for narrow, wide in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.merge = nn.ModuleList(
            nn.Conv2d(2 * narrow, narrow, 3) for narrow in reversed(widths[:-1])
        )
        # One 1x1 convolution per source, written as one with a channel per source.
        self.last = nn.Conv2d(filters + 1, sources, 1)
        self._initialise()

    def _initialise(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        # Each estimate starts as mixture / sources. From a random start a source's ReLU can be zero
        # for every input, gets no gradient and stays so, while the loss falls all the same.
        with torch.no_grad():
            self.last.weight.zero_()
            self.last.weight[:, -1] = 1 / self.last.out_channels

    def forward(self, mixture: Tensor) -> Tensor:
        """Estimate the sources.

        mixture: log magnitudes (batch, 1, bins, frames), sizes as `input_size` gives them.
        Returns (batch, sources, bins - 2 * context, frames - 2 * context), >= 0.
        """
        x = functional.relu(self.first(mixture))
        skips = [x]
        for conv in self.down:
            x = functional.relu(conv(functional.max_pool2d(x, 2)))
            skips.append(x)
        skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = functional.relu(up(x))
            x = functional.relu(merge(torch.cat([crop(skips.pop(), x), x], dim=1)))
        estimates: Tensor = functional.relu(self.last(torch.cat([x, crop(mixture, x)], dim=1)))
        return estimates


class SpectrogramUNet(nn.Module):
    """The U-Net fitted to spectrograms of a given number of bins.

    What any separator of this package offers: `context`, the frames of mixture it needs on both
    sides of its output; `grid`, the number of frames by which a patch can be shifted without changing
    its estimates; `valid_frames`; and `forward`.
    """

    def __init__(self, bins: int, sources: int = 2, filters: int = 16, depth: int = 4) -> None:
        super().__init__()
        self.unet = UNet(sources, filters, depth)
        self.bins = bins
        self.depth = depth
        self.context = self.unet.context
        self.grid = 2**depth
        surplus = output_size(depth, bins) - bins
        self.padding = (0, 0, self.context, self.context + surplus)

    def valid_frames(self, at_least: int) -> int:
        """The smallest number of output frames, not below `at_least`, that a patch can have."""
        return output_size(self.depth, at_least)

    def forward(self, mixture: Tensor) -> Tensor:
        """Estimate the sources of patches.

        mixture: log magnitudes (batch, bins, frames + 2 * context), `frames` a valid number.
        Returns log magnitudes (batch, sources, bins, frames).
        """
        # the rows above the last bin and below the first are silence
        x = functional.pad(mixture, self.padding).unsqueeze(1)  # (batch, 1, rows, frames)
        estimates: Tensor = self.unet(x)
        return estimates[:, :, : self.bins]


def crop(x: Tensor, to: Tensor) -> Tensor:
    """Cut the centre of `x` (…, rows, columns) to the size of `to`."""
    top, left = ((a - b) // 2 for a, b in zip(x.shape[-2:], to.shape[-2:], strict=True))
    return x[..., top : top + to.shape[-2], left : left + to.shape[-1]]


def output_size(depth: int, at_least: int = 1) -> int:
    """The smallest size >= at_least that a U-Net of this depth can put out along one axis."""
    bottom = 2
    while (size := _through_up(bottom, depth)) < at_least:
        bottom += 1
    return size


def input_size(depth: int, at_least: int = 1) -> int:
    """The input size that gives `output_size(depth, at_least)`."""
    size, bottom = output_size(depth, at_least), 2
    while _through_up(bottom, depth) != size:
        bottom += 1
    for _ in range(depth):
        bottom = (bottom + 2) * 2
    return bottom + 2


def _through_up(size: int, depth: int) -> int:
    for _ in range(depth):
        size = size * 2 - 2
    return size
