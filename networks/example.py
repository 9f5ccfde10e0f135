"""A separator of one's own: three convolutions make a mask for each source."""

import torch
from torch import Tensor, nn

from pipeline.networks.representations import LOG_MAGNITUDES
from pipeline.params import Signal


def build(signal: Signal, sources: int, width: int = 32) -> nn.Module:
    """The program gives signal and sources; `width` is a key of params.yaml."""
    return Masks(signal.bins, sources, width)


class Masks(nn.Module):
    """Shares of the mixture's magnitudes."""

    representation = LOG_MAGNITUDES  # sees and gives log(1 + magnitude); or Waveforms(signal)
    context = 4  # frames of mixture that it sees before and after those that it estimates
    grid = 1  # it can be shifted by any number of frames

    def __init__(self, bins: int, sources: int, width: int) -> None:
        super().__init__()
        self.sources = sources
        # without padding: 1, 2 and 1 frames are lost on both sides, the context
        self.layers = nn.Sequential(
            nn.Conv1d(bins, width, 3), nn.ReLU(), nn.Conv1d(width, width, 5), nn.ReLU(),
            nn.Conv1d(width, sources * bins, 3),
        )  # fmt: skip

    def valid_frames(self, at_least: int) -> int:
        """It can give any number of frames."""
        return at_least

    def forward(self, mixture: Tensor) -> Tensor:
        """(n, bins, frames + 2 * context) -> (n, sources, bins, frames)."""
        shares = self.layers(mixture).unflatten(1, (self.sources, -1)).softmax(dim=1)
        middle = mixture[:, None, :, self.context : -self.context]
        return torch.log1p(shares * torch.expm1(middle))
