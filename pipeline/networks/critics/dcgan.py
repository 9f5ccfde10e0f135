"""The critic: a DCGAN-like convolutional network without normalisation (paper, section 4.3.3)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.networks.representations import LOG_MAGNITUDES, Representation
from pipeline.params import Signal

SLOPE = 0.2
SMALLEST = 4
"""Rows and columns that are left of an excerpt, or a few more."""
WIDEST = 8
"""The most filters of a layer, relative to those of the first."""


def build(signal: Signal, frames: int, filters: int) -> "DCGANCritic":
    """The network of this name (`networks.builders`)."""
    return DCGANCritic(filters, signal.bins - 1, frames)


class DCGANCritic(nn.Module):
    """Score excerpts of one source: high for real recordings, low for the separator's estimates.

    Square layers halve both axes until SMALLEST rows or columns are left of the shorter one, and tall
    layers then the rows: for the paper's 256 bins and 64 frames four and two. It sees as many bins and
    frames as they can halve, the lowest and the central ones. No normalisation layers: the gradient
    penalty is defined per excerpt.
    """

    representation: Representation = LOG_MAGNITUDES

    def __init__(self, filters: int = 32, bins: int = 256, frames: int = 64) -> None:
        """bins, frames: of an excerpt. Raises ValueError when they cannot be halved."""
        super().__init__()
        self.settings = {"network": "dcgan", "filters": filters}
        squares = _halvings(min(bins, frames))
        if squares < 1:
            raise ValueError(
                f"dcgan: expected excerpts of {2 * SMALLEST} bins and frames or more, found {bins} and"
                f" {frames}"
            )
        talls = max(_halvings(bins >> squares), 0)
        self.bins = bins - bins % 2 ** (squares + talls)
        self.frames = frames - frames % 2**squares
        widths = [1, *(filters * min(2**level, WIDEST) for level in range(squares))]
        square = [
            nn.Conv2d(narrow, wide, 4, stride=2, padding=1) for narrow, wide in pairwise(widths)
        ]
        tall = [nn.Conv2d(widths[-1], widths[-1], (4, 2), stride=(2, 1)) for _ in range(talls)]
        self.square, self.tall = nn.ModuleList(square), nn.ModuleList(tall)
        places = (self.bins >> (squares + talls)) * (self.frames >> squares)
        self.hidden = nn.Linear(widths[-1] * places, 32)
        self.score = nn.Linear(32, 1, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, excerpts: Tensor) -> Tensor:
        """excerpts: log magnitudes (n, 1, bins, frames) as `view` cuts them. Returns (n, 1)."""
        hidden = self._activations(excerpts)[-1]
        with _whole(excerpts):
            scores: Tensor = self.score(hidden)
        return scores

    def input_gradient(self, excerpts: Tensor) -> Tensor:
        """The gradient of the scores at excerpts (n, 1, bins, frames), of the same shape.

        As a function of the weights, with a gradient of its own. Between the corners of its leaky ReLUs
        the critic is linear, so this is a network too: the same weights, transposed, from the
        score down. PyTorch's backward of a backward has the same result for half as many operations
        again: it takes the second derivative of a leaky ReLU, zero, through all layers below.
        """
        with torch.no_grad():
            *convolved, hidden = self._activations(excerpts)
        with _whole(excerpts):
            x = self.score.weight.expand(len(excerpts), -1)
            x = (_before(x, hidden) @ self.hidden.weight).view_as(convolved[-1])
        for conv in reversed(self.tall):
            x = _transposed(conv, _before(x, convolved.pop()))[:, :, 1:-1, :-1]
        for conv in reversed(self.square):
            x = _transposed(conv, _before(x, convolved.pop()))
        return x.to(excerpts.dtype)

    def _activations(self, excerpts: Tensor) -> list[Tensor]:
        """What every layer but the last gives."""
        layers = [excerpts]
        for conv in self.square:
            layers.append(functional.leaky_relu_(conv(layers[-1]), SLOPE))
        for conv in self.tall:
            # TensorFlow's 'same' padding of a kernel of width 2: one frame, after the end
            padded = functional.pad(layers[-1], (0, 1, 1, 1))
            layers.append(functional.leaky_relu_(conv(padded), SLOPE))
        flat = torch.flatten(layers[-1], 1).to(excerpts.dtype)
        with _whole(excerpts):
            layers.append(functional.leaky_relu_(self.hidden(flat), SLOPE))
        return layers[1:]

    def view(self, excerpts: Tensor) -> Tensor:
        """What the critic sees of (n, > bins, >= frames): no DC bin, the central frames.

        Returns (n, 1, bins, frames).
        """
        start = (excerpts.shape[-1] - self.frames) // 2
        return excerpts[:, 1 : self.bins + 1, start : start + self.frames].unsqueeze(1)


def _halvings(size: int) -> int:
    """How often a size can be halved until SMALLEST is left of it; -1 of a smaller one."""
    return (size // SMALLEST).bit_length() - 1


def _whole(excerpts: Tensor) -> torch.autocast:
    """No autocast, for the dense layers: in bfloat16 a score would be a step of 1/256 of its size."""
    return torch.autocast(excerpts.device.type, enabled=False)


def _before(gradient: Tensor, activation: Tensor) -> Tensor:
    """The gradient before a leaky ReLU, from the one behind it and what it gave."""
    before: Tensor = torch.ops.aten.leaky_relu_backward(
        gradient.to(activation.dtype), activation, SLOPE, True
    )
    return before


def _transposed(conv: nn.Module, gradient: Tensor) -> Tensor:
    """The gradient at a convolution's input, from the one at its output."""
    assert isinstance(conv, nn.Conv2d)
    return functional.conv_transpose2d(
        gradient,
        conv.weight,
        stride=conv.stride,
        padding=conv.padding,  # type: ignore[arg-type]
    )
