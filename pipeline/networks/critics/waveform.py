"""A critic on samples (Donahue, McAuley, Puckette: Adversarial Audio Synthesis, ICLR 2019, appendix D).

WaveGAN's without its phase shuffle: what a network says of an excerpt would be another thing each time,
and a run that is resumed would not be the same.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.network_settings import SHORTEST_WAVEFORM
from pipeline.networks.representations import Representation, Waveforms
from pipeline.params import Signal

SLOPE = 0.2
KERNEL, STRIDE = 25, 4
SMALLEST = 16
"""Steps that are left of an excerpt."""
WIDEST = 16
"""The most filters of a layer, relative to those of the first."""


def build(signal: Signal, frames: int, filters: int) -> "WaveformCritic":
    """The network of this name (`networks.builders`)."""
    return WaveformCritic(signal, frames, filters)


class WaveformCritic(nn.Module):
    """Score waveforms: a `CriticNetwork`.

    As many layers as leave SMALLEST steps or more, each of a quarter of the steps and with twice the
    filters; it sees as many samples as they can quarter, the central ones. Of the paper's excerpts of
    16,640 samples these are 16,384 and five layers, as published.
    """

    def __init__(self, signal: Signal, frames: int, filters: int) -> None:
        """Raises ValueError when an excerpt is too short to be quartered."""
        super().__init__()
        self.settings = {"network": "waveform", "filters": filters}
        self.representation: Representation = Waveforms(signal)
        heard = signal.covered(frames)
        if heard < SHORTEST_WAVEFORM:
            raise ValueError(
                f"waveform: expected excerpts of {SHORTEST_WAVEFORM} samples or more, found {heard}"
            )
        depth = ((heard // SMALLEST).bit_length() - 1) // 2
        steps = heard // STRIDE**depth
        self.frames, self.samples = frames, steps * STRIDE**depth
        widths = [1, *(filters * min(2**level, WIDEST) for level in range(depth))]
        # a padding with which a layer has a quarter of its input's steps
        self.convs = nn.ModuleList(
            nn.Conv1d(narrow, wide, KERNEL, stride=STRIDE, padding=(KERNEL - 3) // 2)
            for narrow, wide in pairwise(widths)
        )
        self.score = nn.Linear(widths[-1] * steps, 1, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, excerpts: Tensor) -> Tensor:
        """excerpts: samples (n, samples) as `view` cuts them. Returns (n, 1)."""
        x = excerpts.unsqueeze(1)
        for conv in self.convs:
            x = functional.leaky_relu(conv(x), SLOPE)
        # a score in bfloat16 would be a step of 1/256 of its size
        with torch.autocast(excerpts.device.type, enabled=False):
            scores: Tensor = self.score(x.flatten(1).to(excerpts.dtype))
        return scores

    def view(self, excerpts: Tensor) -> Tensor:
        """What it sees of (n, >= samples): the central samples (n, samples)."""
        start = (excerpts.shape[-1] - self.samples) // 2
        return excerpts[..., start : start + self.samples]
