"""A band-split recurrent network on complex spectra, from waveform to waveform.

Luo and Yu: Music Source Separation with Band-Split RNN, IEEE/ACM Transactions on Audio, Speech and
Language Processing 31, 2023, section II: each band of the spectrum becomes a vector, recurrent layers
go in turn along the frames and along the bands, and a mask of complex numbers is made of each band's
vectors. Here one network has all sources, and the bands follow the mel scale, whatever the rate.
"""

import torch
from torch import Tensor, nn

from pipeline.features.stft import inverse, stft_of_padded
from pipeline.networks.representations import Representation, Waveforms
from pipeline.params import Signal

CONTEXT = 32
"""Frames on both sides of its output. Layers along the frames have no end to what they remember; what
lies further away changes an estimate little."""
NARROWEST = 2
"""Bins of a band."""
WIDENING = 4
"""Of the layer that makes masks, relative to a band's vector."""


def build(signal: Signal, sources: int, features: int, layers: int, bands: int) -> "BandSplit":
    """The network of this name (`networks.builders`)."""
    return BandSplit(signal, sources, features, layers, bands)


class BandSplit(nn.Module):
    """Map a stretch of the mixture to a shorter one of each source: a `SeparatorNetwork`."""

    grid = 1
    context = CONTEXT
    unbounded = True

    def __init__(
        self, signal: Signal, sources: int = 2, features: int = 64, layers: int = 6, bands: int = 32
    ) -> None:
        """features: of a band; layers: pairs of recurrent layers. ValueError: more bands than fit."""
        super().__init__()
        self.settings = {
            "network": "band_split", "features": features, "layers": layers, "bands": bands,
        }  # fmt: skip
        self.representation: Representation = Waveforms(signal)
        self.signal, self.sources = signal, sources
        self.widths = band_widths(signal, bands)
        self.split = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, features))
            for width in self.widths
        )
        self.along_frames = nn.ModuleList(Recurrent(features) for _ in range(layers))
        self.along_bands = nn.ModuleList(Recurrent(features) for _ in range(layers))
        self.masks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(features),
                nn.Linear(features, WIDENING * features),
                nn.Tanh(),
                nn.Linear(WIDENING * features, 2 * sources * 2 * width),
                nn.GLU(dim=-1),
            )
            for width in self.widths
        )

    def valid_frames(self, at_least: int) -> int:
        """Any number."""
        return at_least

    def forward(self, mixture: Tensor) -> Tensor:
        """Samples with context (n, signal.samples(frames + 2 * context)) -> (n, sources, samples)."""
        spectrum = stft_of_padded(mixture, self.signal)  # (n, bins, frames)
        x = torch.stack(
            [
                split(torch.view_as_real(band.transpose(1, 2)).flatten(2))
                for split, band in zip(self.split, spectrum.split(self.widths, 1), strict=True)
            ],
            dim=1,
        )  # (n, bands, frames, features)
        for along_frames, along_bands in zip(self.along_frames, self.along_bands, strict=True):
            x = along_frames(x)
            x = along_bands(x.transpose(1, 2)).transpose(1, 2)
        masks = torch.cat(
            [self._mask(number, x[:, number]) for number in range(len(self.masks))], 2
        )
        outputs = inverse(masks * spectrum[:, None], self.signal)
        # from the first frame's centre on, which is half a window before its end
        begin = self.context * self.signal.hop_size
        size = mixture.shape[1] - 2 * begin
        begin -= self.signal.fft_size // 2
        return outputs[..., begin : begin + size]

    def _mask(self, number: int, vectors: Tensor) -> Tensor:
        """Of band `number` (n, frames, features): complex (n, sources, bins, frames)."""
        numbers: Tensor = self.masks[number](vectors)
        shape = (*numbers.shape[:2], self.sources, self.widths[number], 2)
        return torch.view_as_complex(numbers.view(shape)).permute(0, 2, 3, 1)


class Recurrent(nn.Module):
    """A recurrent layer in both directions along the last but one axis, added to its input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.both_ways = nn.LSTM(features, features, batch_first=True, bidirectional=True)
        self.back = nn.Linear(2 * features, features)

    def forward(self, x: Tensor) -> Tensor:
        """(n, m, steps, features) -> the same shape."""
        found, _ = self.both_ways(self.norm(x).flatten(0, 1))
        added: Tensor = x + self.back(found).view(x.shape)
        return added


def band_widths(signal: Signal, bands: int) -> list[int]:
    """The bins of each band, from the lowest on: equally wide by HTK's mel scale, NARROWEST at least.

    Raises ValueError when the spectrum has not so many.
    """
    if bands * NARROWEST > signal.bins:
        raise ValueError(
            f"bands: expected at most {signal.bins // NARROWEST} for {signal.bins} bins, found {bands}"
        )
    highest = torch.log1p(torch.tensor(signal.sample_rate / 2 / 700, dtype=torch.float64))
    mel = torch.linspace(0, 1, bands + 1, dtype=torch.float64) * highest
    edges = (torch.expm1(mel) * 700 * signal.fft_size / signal.sample_rate).round().int().tolist()
    widths, begin = [], 0
    for number, end in enumerate(edges[1:], 1):
        # enough is left for those above
        end = min(max(end, begin + NARROWEST), signal.bins - (bands - number) * NARROWEST)
        widths.append(end - begin)
        begin = end
    widths[-1] += signal.bins - begin
    return widths
