"""A separator with several outputs for each source, which are summed to the source's estimate.

Mixture invariant training (`training.mixit`) takes them: a sum of two mixtures has two voices, and one
output cannot say which of them is whose.
"""

from typing import cast

from torch import Tensor, nn

from pipeline.networks.interfaces import SeparatorNetwork


class SlottedSeparator(nn.Module):
    """A `SeparatorNetwork` around one with `slots` times as many outputs."""

    def __init__(self, network: nn.Module, sources: int, slots: int) -> None:
        """network: one of sources * slots outputs, those of a source side by side."""
        super().__init__()
        self.network, self.sources, self.slots = network, sources, slots
        inner = cast(SeparatorNetwork, network)
        self.context, self.grid, self.valid_frames = inner.context, inner.grid, inner.valid_frames
        self.representation = inner.representation
        self.settings = {**network.settings, "slots": slots}  # type: ignore[dict-item]

    def forward(self, mixture: Tensor) -> Tensor:
        """As `SeparatorNetwork`."""
        seen = self.representation
        return seen.of_linear(seen.linear(self.apart(mixture)).sum(dim=2))

    def apart(self, mixture: Tensor) -> Tensor:
        """The outputs by themselves (n, sources, slots, …)."""
        outputs: Tensor = self.network(mixture)
        return outputs.view(len(outputs), self.sources, self.slots, *outputs.shape[2:])
