"""The separator: a U-Net of 'valid' convolutions on log magnitudes (paper, section 4.3.2)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.networks.pool_and_crop import crop, memory_format, pool_and_crop
from pipeline.networks.representations import LOG_MAGNITUDES, Representation
from pipeline.params import Signal

RANDOM_PART = 0.1
"""Of the output layer's weights at the start, beside the mixture's share."""


class UNet(nn.Module):
    """Map a patch of the mixture's spectrogram to a smaller patch of each source's.

    With the paper's 16 filters and 4 levels, (rows x columns x channels):

        350 x 158 x 1                                                 258 x  66 x sources
        348 x 156 x 16   ─────────── cropped ──────────────────▶      258 x  66 x 16 + 1 (the mixture)
          172 x 76 x 32    ───────── cropped ────────────────▶      130 x 34 x 32
            84 x 36 x 64     ─────── cropped ──────────────▶      66 x 18 x 64
              40 x 16 x 128    ───── cropped ────────────▶      34 x 10 x 128
                               18 x 6 x 256

    Down: max-pooling of 2, convolution 3 x 3, twice the filters. Up: transposed convolution 2 x 2,
    joined with the centre of what lies across, convolution 3 x 3. Every convolution is 'valid': an
    output cell has seen a full neighbourhood of real input, never padding, so patches of a long track
    fit together without seams. The output is centred in the input and `2 * context` smaller along
    both axes.
    """

    def __init__(self, sources: int = 2, filters: int = 16, depth: int = 4) -> None:
        super().__init__()
        widths = [filters * 2**level for level in range(depth + 1)]
        self.depth = depth
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
        # Each estimate starts near mixture / sources. From a random start a source's ReLU can be zero
        # for every input, gets no gradient and stays so, while the loss falls all the same. With no
        # random part at all the layers below would have no gradient at first.
        with torch.no_grad():
            self.last.weight.mul_(RANDOM_PART)
            self.last.weight[:, -1] += 1 / self.last.out_channels

    def forward(self, mixture: Tensor) -> Tensor:
        """Estimate the sources.

        mixture: log magnitudes (batch, 1, bins, frames), sizes as `input_size` gives them.
        Returns (batch, sources, bins - 2 * context, frames - 2 * context), before the last ReLU.
        """
        # ReLU commutes with pooling, cropping and joining: it comes after, where there is less to do
        x, skips = self.first(mixture), []
        rows, columns = mixture.shape[-2:]
        for conv, size in zip(self.down, skip_sizes(rows, columns, self.depth), strict=True):
            pooled, skip = pool_and_crop(x, size)
            skips.append(skip)
            x = conv(pooled.relu_())
        x = x.relu_()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = torch.cat([skips.pop(), up(x)], dim=1).relu_()
            x = merge(x).relu_()
        # estimates in bfloat16 would be steps of 1/256 of their size
        with torch.autocast(x.device.type, enabled=False):
            seen = crop(mixture, x.shape[-2:])
            # joined in another layout than x's, all of it would be copied from one to the other
            seen = seen.contiguous(memory_format=memory_format(x))
            joined = torch.cat([x.to(mixture.dtype), seen], dim=1)
            outputs: Tensor = self.last(joined)
        return outputs


def build(
    signal: Signal, sources: int, filters: int, depth: int, output: str = "magnitude"
) -> "SpectrogramUNet":
    """The network of this name (`networks.builders`)."""
    return SpectrogramUNet(signal.bins, sources, filters, depth, output)


class SpectrogramUNet(nn.Module):
    """The U-Net fitted to spectrograms of a given number of bins: a `SeparatorNetwork`.

    output: magnitude: its outputs are log magnitudes (the paper). mask: a softmax of them is each
    source's share of the mixture's magnitudes.
    """

    representation: Representation = LOG_MAGNITUDES

    def __init__(
        self, bins: int, sources: int = 2, filters: int = 16, depth: int = 4,
        output: str = "magnitude",
    ) -> None:  # fmt: skip
        super().__init__()
        self.settings = {"network": "unet", "filters": filters, "depth": depth, "output": output}
        self.masks = output == "mask"
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
        outputs: Tensor = self.unet(x)
        if not self.masks:
            return outputs.relu_()[:, :, : self.bins]
        context = self.context
        magnitudes = torch.expm1(mixture[:, None, :, context : mixture.shape[2] - context])
        return torch.log1p(outputs[:, :, : self.bins].softmax(dim=1) * magnitudes)


def skip_sizes(rows: int, columns: int, depth: int) -> list[tuple[int, int]]:
    """The sizes of what the skip connections hand on for an input of (rows, columns), from the top."""
    return list(zip(*(_skip_sizes(size, depth) for size in (rows, columns)), strict=True))


def _skip_sizes(size: int, depth: int) -> list[int]:
    for _ in range(depth):
        size = (size - 2) // 2
    size -= 2
    sizes = []
    for _ in range(depth):
        sizes.append(2 * size)
        size = 2 * size - 2
    return sizes[::-1]


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
