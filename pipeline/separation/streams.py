"""A recording of any rate, as a stream, into its sources: in mono at the model's rate, or as it is.

The model hears a mono mix at a low rate. For sources with the rate and channels of the recording, each
channel is taken as two bands:

- the low band, which is the channel resampled to the model's rate and back. A source's part of it is
  the mask of the model (its magnitudes over the sum of all sources', per bin and frame, from the mono
  mix) on the channel's own spectrum;
- the high band, which is all the rest and nothing the model ever saw. A source's part of it is one share
  a frame: its mask in the top octave of the low band, averaged with the mix's energy as weights over
  the octave and five frames. A share goes from frame to frame in a straight line.

Masks and shares sum to 1, so the sources sum to the recording.

A model that knows its level hears the recording brought there. A stream cannot know its own level before
its end: it comes twice.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.audio.resampling import Resampler
from pipeline.params import Signal
from pipeline.separation.level import LevelMeter, amplified
from pipeline.separation.patches import FloatArray, Patch, Patches
from pipeline.separation.separator import Separator, as_channels, mono_of, put_back
from pipeline.tracks import mixture_of

SMOOTHING = np.array([1, 2, 3, 2, 1], np.float64)
"""Weights of a frame's share: two frames before and after it, 0.16 s at the paper's hop."""

# Where five frames have less energy than this (full scale: some 1e4), all sources share alike.
_SILENCE = 1e-12


class SourceStream(ABC):
    """A recording (channels, samples) that comes piece by piece, into its sources."""

    sample_rate: int
    """Of the sources, Hz."""
    channels: int
    """Of each source."""

    def __init__(self, separator: Separator, sample_rate: int) -> None:
        """sample_rate: of the recording."""
        self.comes_twice = separator.level is not None
        """Whether `listen` is to hear the recording to its end before the first `push`."""
        self._separator = separator
        self._gain: float | None = None if self.comes_twice else 1.0
        self._ear = Resampler(sample_rate, separator.signal.sample_rate, 1)
        self._meter = LevelMeter(separator.signal.sample_rate)

    def listen(self, samples: FloatArray, last: bool = False) -> None:
        """Measure the recording, whose pieces come as `push` gets them: its level is known at the end."""
        self._meter.push(self._ear.push(mono_of(samples), last)[0])
        if last:
            self._gain = self._separator.gain(self._meter.level())

    @property
    def gain(self) -> float:
        """What the recording is multiplied by before the network sees it."""
        if self._gain is None:
            raise RuntimeError("`listen` has not heard the recording to its end")
        return self._gain

    @abstractmethod
    def push(self, samples: FloatArray, last: bool = False) -> Iterator[FloatArray]:
        """Yield the sources (sources, channels, samples), piece by piece, as far as they are known.

        samples: float32 (channels, samples) of the recording; with the last piece comes all that is
        left. To be taken to the end before the next piece comes. Raises NonFiniteError as
        `Separator.estimate`.
        """


class ModelRate(SourceStream):
    """Sources in mono at the model's rate: those of `Separator.separate`, to the bit."""

    channels = 1

    def __init__(self, separator: Separator, sample_rate: int, channels: int) -> None:
        """sample_rate, channels: of the recording."""
        super().__init__(separator, sample_rate)
        self.sample_rate = separator.signal.sample_rate
        self._signal = separator.signal
        self._resampler = Resampler(sample_rate, self.sample_rate, 1)
        self._patches = Patches(separator, 1)
        self._taken = self._given = 0

    def push(self, samples: FloatArray, last: bool = False) -> Iterator[FloatArray]:
        """As `SourceStream.push`."""
        gain = self.gain
        low = self._resampler.push(mono_of(samples), last)
        self._taken += low.shape[1]
        for patch in self._patches.push(amplified(low, gain), last):
            estimates = put_back(patch.mono(self._signal), gain)
            estimates = estimates[:, : self._taken - self._given]
            self._given += estimates.shape[1]
            yield estimates[:, None]


class InputRate(SourceStream):
    """Sources with the recording's rate and channels, which sum to it (see above)."""

    def __init__(self, separator: Separator, sample_rate: int, channels: int) -> None:
        """sample_rate, channels: of the recording."""
        super().__init__(separator, sample_rate)
        self.sample_rate, self.channels = sample_rate, channels
        self._signal = separator.signal
        self._sources = len(separator.sources)
        model_rate = self._signal.sample_rate
        self._down = Resampler(sample_rate, model_rate, channels)
        self._up = Resampler(model_rate, sample_rate, self._sources * channels)
        self._patches = Patches(separator, channels)
        self._shares = Shares(self._sources)
        self._frame = self._signal.hop_size * sample_rate / model_rate  # in samples
        # what has come of the recording and of its sources' low bands, and is not given yet
        self._recording = np.zeros((channels, 0), np.float32)
        self._low = np.zeros((self._sources, channels, 0), np.float32)
        self._given = 0

    def push(self, samples: FloatArray, last: bool = False) -> Iterator[FloatArray]:
        """As `SourceStream.push`."""
        gain = self.gain
        self._recording = np.concatenate([self._recording, samples], axis=1)
        heard = amplified(self._down.push(samples, last), gain)
        for patch in self._patches.push(heard, last):
            low, energies = masked(patch, self._signal)
            # the next patch brings its first frame, which is this one's last
            self._shares.push(energies[:, :-1])
            at_end = energies[:, -1:]
            self._raise(put_back(low, gain))
            yield self._known(self._shares.known * self._frame)
        if last:
            self._shares.push(np.pad(at_end, ((0, 0), (0, len(SMOOTHING) // 2))))
            # of rounded lengths, the low band's may end first: soxr goes on into the silence after it
            self._raise(np.zeros((self._sources, self.channels, 4), np.float32), last=True)
            yield self._known(np.inf)

    def _raise(self, low: FloatArray, last: bool = False) -> None:
        """Resample the sources' low bands (sources, channels, samples) to the recording's rate."""
        raised = self._up.push(low.reshape(-1, low.shape[2]), last)
        raised = raised.reshape(self._sources, self.channels, -1)
        self._low = np.concatenate([self._low, raised], axis=2)

    def _known(self, end: float) -> FloatArray:
        """Take the sources as far as recording, low bands and shares (to sample `end`) are known."""
        count = min(self._low.shape[2], self._recording.shape[1])
        count = int(max(min(count, end - self._given), 0))
        low, self._low = np.split(self._low, [count], axis=2)
        recording, self._recording = np.split(self._recording, [count], axis=1)
        shares = self._shares.at(np.arange(self._given, self._given + count) / self._frame)
        self._given += count
        sources: FloatArray = low + shares[:, None] * (recording - mixture_of(low))
        return sources


class Shares:
    """Each source's share of the high band: smoothed over frames, in a straight line between them."""

    def __init__(self, sources: int) -> None:
        # the last ones; before all, silence
        self._energies = np.zeros((sources, len(SMOOTHING) - 1))
        self._shares = np.zeros((sources, 0))
        self._first = -(len(SMOOTHING) // 2)  # the frame that `_shares` begins with

    @property
    def known(self) -> int:
        """The last frame whose share is known: those after it are needed to smooth it."""
        return self._first + self._shares.shape[1] - 1

    def push(self, energies: NDArray[np.float64]) -> None:
        """Append the sources' energies in the top octave (sources, frames)."""
        joined = np.concatenate([self._energies, energies], axis=1)
        self._energies = joined[:, energies.shape[1] :]
        windows = np.lib.stride_tricks.sliding_window_view(joined, len(SMOOTHING), axis=1)
        smooth = (windows * SMOOTHING).sum(axis=2) + _SILENCE / len(joined)
        self._shares = np.concatenate([self._shares, smooth / smooth.sum(axis=0)], axis=1)

    def at(self, frames: NDArray[np.float64]) -> FloatArray:
        """Shares float32 (sources, positions) at rising positions in frames; what is before is forgotten.

        Beyond the last known frame it is that frame's.
        """
        numbers = np.arange(self._first, self._first + self._shares.shape[1])
        shares = [np.interp(frames, numbers, share) for share in self._shares]
        passed = max(int(frames[0]) - self._first, 0) if len(frames) else 0
        self._first += passed
        self._shares = self._shares[:, passed:]
        return np.stack(shares).astype(np.float32)


@torch.inference_mode()
def masked(patch: Patch, signal: Signal) -> tuple[FloatArray, NDArray[np.float64]]:
    """The sources of each channel at the model's rate, and their energies in the top octave.

    Returns float32 (sources, channels, samples) and (sources, frames) of the mono mix.
    """
    magnitudes = torch.expm1(patch.estimates)
    total = magnitudes.sum(dim=0)
    # where no source has anything, all share alike
    masks = torch.where(total > 0, magnitudes / total, 1 / len(magnitudes))
    mix = patch.spectrum.mean(dim=0)[signal.fft_size // 4 :]
    # in double precision: the square of what is far beyond full scale is not infinite
    energies = (masks[:, signal.fft_size // 4 :] * mix.abs().double() ** 2).sum(dim=1)
    logs = torch.log1p(masks[:, None] * patch.spectrum.abs())
    low = patch.reconstructed(logs, patch.spectrum, signal)
    return low.cpu().numpy(), energies[:, patch.stretch].cpu().numpy()


def separate(
    separator: Separator, waveform: NDArray[Any], sample_rate: int
) -> dict[str, FloatArray]:
    """Estimate the sources of a recording with its rate and channels; they sum to it.

    waveform: floating point, (samples,) or (channels, samples); it and its sources are in memory.
    Returns source -> float32 (channels, samples). Raises UserError as `Separator.separate`.
    """
    channels = as_channels(waveform, sample_rate)
    stream = InputRate(separator, sample_rate, len(channels))
    if stream.comes_twice:
        stream.listen(channels, last=True)
    estimates = np.concatenate(list(stream.push(channels, last=True)), axis=2)
    return dict(zip(separator.sources, estimates, strict=True))
