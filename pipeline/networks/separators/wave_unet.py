"""The Wave-U-Net: a U-Net on waveforms (Stoller, Ewert, Dixon: Wave-U-Net, ISMIR 2018)."""

from itertools import pairwise
from math import ceil, gcd

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.networks.representations import Representation, Waveforms
from pipeline.params import Signal

DOWN, UP = 15, 5
"""Sizes of the filters on the way down and on the way up (section 3, table 1)."""
SLOPE = 0.2


def build(signal: Signal, sources: int, filters: int, depth: int) -> "WaveUNet":
    """The network of this name (`networks.builders`)."""
    return WaveUNet(signal, sources, filters, depth)


class Interpolation(nn.Module):
    """A learned value between each two neighbours (section 3.2.3): (n, channels, t) -> 2 t - 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        share = torch.sigmoid(self.weight)[:, None]
        between = share * x[..., :-1] + (1 - share) * x[..., 1:]
        pairs = torch.stack([x[..., :-1], between], dim=-1).flatten(2)
        return torch.cat([pairs, x[..., -1:]], dim=2)


class WaveUNet(nn.Module):
    """Map a stretch of the mixture to a shorter one of each source: a `SeparatorNetwork`.

    On every level down: a convolution, then each second sample is dropped. On every level up: learned
    interpolation, joined with what lies across, a convolution. All convolutions are 'valid' (section
    3.2.1), so that stretches fit together without seams. All sources but the last are outputs; the
    last is what is left of the mixture (section 3.2.2).
    """

    def __init__(
        self, signal: Signal, sources: int = 2, filters: int = 24, depth: int = 12
    ) -> None:
        """filters: of the first level; each level below has so many more."""
        super().__init__()
        self.settings = {"network": "wave_unet", "filters": filters, "depth": depth}
        self.representation: Representation = Waveforms(signal)
        self.signal, self.depth = signal, depth
        widths = [filters * level for level in range(1, depth + 1)]
        self.down = nn.ModuleList(
            nn.Conv1d(narrow, wide, DOWN) for narrow, wide in pairwise([1, *widths])
        )
        self.bottom = nn.Conv1d(widths[-1], filters * (depth + 1), DOWN)
        below = [*widths[1:], filters * (depth + 1)]
        self.between = nn.ModuleList(Interpolation(wide) for wide in reversed(below))
        self.up = nn.ModuleList(
            nn.Conv1d(wide + width, width, UP)
            for wide, width in zip(reversed(below), reversed(widths), strict=True)
        )
        self.last = nn.Conv1d(filters + 1, sources - 1, 1)
        self.margin = (input_size(depth, 1) - output_size(depth, 1)) // 2
        """Samples that are lost on both sides."""
        step = 2**depth
        self.context = ceil((self.margin + step) / signal.hop_size)
        self.grid = step // gcd(step, signal.hop_size)
        for layer in self.modules():
            if isinstance(layer, nn.Conv1d):
                nn.init.xavier_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def valid_frames(self, at_least: int) -> int:
        """Any number: what a stretch has more than the levels can halve is cut."""
        return at_least

    def forward(self, mixture: Tensor) -> Tensor:
        """Samples with context (n, signal.samples(frames + 2 * context)) -> (n, sources, samples)."""
        begin = self.context * self.signal.hop_size
        size = mixture.shape[1] - 2 * begin
        # from the same place before the output, however long it is: halving hits the same samples
        first = begin - self.margin
        x = mixture[:, None, first : first + input_size(self.depth, size)]
        across = []
        for conv in self.down:
            x = functional.leaky_relu(conv(x), SLOPE)
            across.append(x)
            x = x[..., ::2]
        x = functional.leaky_relu(self.bottom(x), SLOPE)
        for interpolation, conv in zip(self.between, self.up, strict=True):
            x = interpolation(x)
            x = torch.cat([_centre(across.pop(), x.shape[2]), x], dim=1)
            x = functional.leaky_relu(conv(x), SLOPE)
        heard = mixture[:, None, begin : begin + size]
        x = torch.cat([x[..., :size], heard], dim=1)
        outputs = torch.tanh(self.last(x))
        return torch.cat([outputs, heard - outputs.sum(dim=1, keepdim=True)], dim=1)


def _centre(x: Tensor, size: int) -> Tensor:
    first = (x.shape[2] - size) // 2
    return x[..., first : first + size]


# The exporter to ONNX traces sizes: it follows sums, products, and quotients of positive numbers.


def output_size(depth: int, at_least: int) -> int:
    """The smallest number of samples, not below `at_least`, that the levels can put out."""
    return _up(_bottom(depth, at_least), depth)


def input_size(depth: int, at_least: int) -> int:
    """The number of samples that they take for it."""
    size = _bottom(depth, at_least) + DOWN - 1
    for _ in range(depth):
        size = 2 * size - 1 + DOWN - 1
    return size


def _bottom(depth: int, at_least: int) -> int:
    """The samples that the lowest level puts out: one more there is 2**depth more at the top."""
    step: int = 2**depth
    return (at_least - _up(0, depth) + step - 1) // step


def _up(size: int, depth: int) -> int:
    for _ in range(depth):
        size = 2 * size - 1 - (UP - 1)
    return size
