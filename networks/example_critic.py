"""A critic of one's own, as small as can be: two convolutions along the frames and their mean."""

from torch import Tensor, nn
from torch.nn import functional

from pipeline.networks.representations import LOG_MAGNITUDES
from pipeline.params import Signal


def build(signal: Signal, frames: int, width: int = 32) -> nn.Module:
    """The program gives signal and the excerpts' frames; `width` is a key of params.yaml."""
    return Means(signal.bins, frames, width)


class Means(nn.Module):
    """No normalisation over a batch: the penalty is defined for each excerpt."""

    representation = LOG_MAGNITUDES  # what it sees: log(1 + magnitude); or Waveforms(signal)

    def __init__(self, bins: int, frames: int, width: int) -> None:
        super().__init__()
        self.frames = frames  # that it looks at
        self.first, self.second = nn.Conv1d(bins, width, 5), nn.Conv1d(width, width, 5)
        self.score = nn.Linear(width, 1)

    def view(self, excerpts: Tensor) -> Tensor:
        """What it sees of log magnitudes (n, bins, frames or more), with a gradient."""
        return excerpts[..., : self.frames]

    def forward(self, seen: Tensor) -> Tensor:
        """What `view` gave -> scores (n, 1), high for real recordings."""
        x = functional.leaky_relu(self.first(seen), 0.2)
        return self.score(functional.leaky_relu(self.second(x), 0.2).mean(dim=2))
