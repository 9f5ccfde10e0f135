"""A critic on spectrograms of several resolutions, as vocoders have it.

Jang, Lim, Yoon, Kim, Kim: UnivNet, a Neural Vocoder with Multi-Resolution Spectrogram Discriminators,
Interspeech 2021, section 2.2 (the resolutions: Yamamoto, Song, Kim: Parallel WaveGAN, ICASSP 2020). What
one window smears along time another shows. Here magnitudes are log(1 + |X|), as everywhere; both axes are
halved, as often as the excerpt allows; and no weights are normalised: the penalty sees to that.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.functional import spectrogram

from pipeline.features.stft import log_magnitude
from pipeline.network_settings import samples_for
from pipeline.networks.representations import Representation, Waveforms
from pipeline.params import Signal

SLOPE = 0.2
SMALLEST = 4
"""Rows or columns that are left of a spectrogram."""


def build(
    signal: Signal, frames: int, filters: int, resolutions: Sequence[Sequence[int]]
) -> "MultiResolutionCritic":
    """The network of this name (`networks.builders`)."""
    return MultiResolutionCritic(signal, frames, filters, resolutions)


class MultiResolutionCritic(nn.Module):
    """Score waveforms: the mean of what a small network says of each spectrogram, a `CriticNetwork`.

    It sees magnitudes alone: a waveform and its negative have the same score.
    """

    def __init__(
        self, signal: Signal, frames: int, filters: int, resolutions: Sequence[Sequence[int]]
    ) -> None:
        """resolutions: (window, hop) of each, in samples. ValueError: longer than the excerpt."""
        super().__init__()
        self.settings = {
            "network": "multi_resolution", "filters": filters,
            "resolutions": [list(one) for one in resolutions],
        }  # fmt: skip
        self.representation: Representation = Waveforms(signal)
        self.frames, self.samples = frames, signal.covered(frames)
        if self.samples < samples_for(resolutions):
            raise ValueError(
                f"resolutions: expected excerpts of {samples_for(resolutions)} samples or more, found"
                f" {self.samples}"
            )
        self.networks = nn.ModuleList(
            Resolution(self.samples, filters, window, hop) for window, hop in resolutions
        )

    def forward(self, excerpts: Tensor) -> Tensor:
        """excerpts: samples (n, samples) as `view` cuts them. Returns (n, 1)."""
        scores = [network(excerpts) for network in self.networks]
        return torch.stack(scores).mean(dim=0)

    def view(self, excerpts: Tensor) -> Tensor:
        """What it sees of (n, >= samples): the central samples (n, samples)."""
        start = (excerpts.shape[-1] - self.samples) // 2
        return excerpts[..., start : start + self.samples]


class Resolution(nn.Module):
    """The mean score of all places of one spectrogram."""

    window: Tensor

    def __init__(self, samples: int, filters: int, window: int, hop: int) -> None:
        super().__init__()
        shorter = min(window // 2 + 1, (samples - window) // hop + 1)
        halvings = (shorter // SMALLEST).bit_length() - 1
        self.hop = hop
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        widths = [1, *[filters] * halvings]
        self.convs = nn.ModuleList(
            nn.Conv2d(narrow, wide, 4, stride=2, padding=1) for narrow, wide in pairwise(widths)
        )
        self.score = nn.Conv2d(filters, 1, 3, padding=1, bias=False)
        for conv in (*self.convs, self.score):
            nn.init.xavier_uniform_(conv.weight)
            if isinstance(conv.bias, Tensor):
                nn.init.zeros_(conv.bias)

    def forward(self, excerpts: Tensor) -> Tensor:
        """Samples (n, samples) -> (n, 1)."""
        size = len(self.window)
        spectra = spectrogram(
            excerpts, 0, self.window, size, self.hop, size,
            power=None, normalized=False, center=False,
        )  # fmt: skip
        x = log_magnitude(spectra).unsqueeze(1)  # (n, 1, bins, frames)
        for conv in self.convs:
            x = functional.leaky_relu(conv(x), SLOPE)
        # a score in bfloat16 would be a step of 1/256 of its size
        with torch.autocast(excerpts.device.type, enabled=False):
            scores: Tensor = self.score(x.to(excerpts.dtype))
        return scores.mean(dim=(2, 3))
