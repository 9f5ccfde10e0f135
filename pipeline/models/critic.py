"""The critic: a DCGAN-like convolutional network without normalisation (paper, section 4.2)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2


class Critic(nn.Module):
    """Score excerpts of one source: high for real recordings, low for the separator's estimates.

    No normalisation layers: the gradient penalty is defined per excerpt.
    """

    def __init__(self, filters: int = 32, bins: int = 256, frames: int = 64) -> None:
        super().__init__()
        widths = [1, filters, 2 * filters, 4 * filters, 8 * filters]
        square = [
            nn.Conv2d(narrow, wide, 4, stride=2, padding=1) for narrow, wide in pairwise(widths)
        ]
        tall = [nn.Conv2d(widths[-1], widths[-1], (4, 2), stride=(2, 1)) for _ in range(2)]
        self.bins, self.frames = bins, frames
        self.square, self.tall = nn.ModuleList(square), nn.ModuleList(tall)
        self.hidden = nn.Linear(widths[-1] * (bins // 64) * (frames // 16), 32)
        self.score = nn.Linear(32, 1, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, excerpts: Tensor) -> Tensor:
        """excerpts: log magnitudes (n, 1, bins, frames) as `view` cuts them. Returns (n, 1)."""
        x = excerpts
        for conv in self.square:
            x = functional.leaky_relu_(conv(x), SLOPE)
        for conv in self.tall:
            # TensorFlow's 'same' padding of a kernel of width 2: one frame, after the end
            x = functional.leaky_relu_(conv(functional.pad(x, (0, 1, 1, 1))), SLOPE)
        x = functional.leaky_relu_(self.hidden(torch.flatten(x, 1)), SLOPE)
        scores: Tensor = self.score(x)
        return scores

    def view(self, excerpts: Tensor) -> Tensor:
        """What the critic sees of (n, bins + 1, >= frames): no DC bin, the central frames.

        Returns (n, 1, bins, frames).
        """
        start = (excerpts.shape[-1] - self.frames) // 2
        return excerpts[:, 1 : self.bins + 1, start : start + self.frames].unsqueeze(1)
