"""What the rest of the program knows of a network."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from pipeline.networks.representations import Representation


class SeparatorNetwork(Protocol):
    """A separator: f in the paper.

    One that can be trained and saved is a `torch.nn.Module`, whose `settings` are its section of
    params.yaml: `network`, the name that finds it, and its own keys.
    """

    representation: Representation
    """What it sees and gives: log magnitudes with the mixture's phase, or waveforms."""
    context: int
    """Frames of mixture that it needs on both sides of its output."""
    grid: int
    """Frames by which a patch can be shifted without changing its estimates.

    One whose layers have no end to what they see (recurrent, attention) says `unbounded = True`: what
    lies beyond its context changes its estimates, a little as a rule, and `trial` does not ask for more.
    """

    def valid_frames(self, at_least: int) -> int:
        """The smallest number of output frames, not below `at_least`, that a patch can have."""
        ...

    def __call__(self, mixture: Tensor, /) -> Tensor:
        """Mixtures with context (batch, …) -> sources (batch, sources, …).

        Log magnitudes (bins, frames + 2 * context) -> (bins, frames), or samples: as many as the windows
        of so many frames cover (`Signal.samples`).
        """
        ...


class CriticNetwork(Protocol):
    """A critic of one source: D in the paper. It is a `torch.nn.Module` too.

    It sees log magnitudes, or what its attribute `representation` says (`sight.seen_by`): of waveforms
    it is given the samples of its excerpt that all their windows cover (`Waveforms.covered`).
    """

    frames: int
    """Frames that it looks at."""

    def view(self, excerpts: Tensor) -> Tensor:
        """What it sees of log magnitudes (n, bins, >= frames) or samples: (n, ...), differentiably."""
        ...

    def __call__(self, seen: Tensor, /) -> Tensor:
        """Scores (n, 1) of what `view` gave: high for real recordings, low for estimates."""
        ...


@runtime_checkable
class OwnInputGradient(Protocol):
    """A critic that knows a faster way to its `gradients.input_gradient`."""

    def input_gradient(self, seen: Tensor) -> Tensor:
        """The gradient of the scores at `seen`, of the same shape, itself differentiable."""
        ...
