"""A recording that comes piece by piece, cut into patches of spectrogram with their estimates."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.features.stft import frame_count, log_magnitude, pad, reconstruct, stft_of_padded
from pipeline.networks.interfaces import SeparatorNetwork
from pipeline.params import REACH, Signal

BLOCK_FRAMES = 1024
FloatArray = NDArray[np.float32]


class Predictor(Protocol):
    """What estimates the sources of a patch: a `Separator`."""

    @property
    def network(self) -> SeparatorNetwork: ...

    @property
    def signal(self) -> Signal: ...

    @property
    def device(self) -> torch.device: ...

    def predict(self, mixture: Tensor) -> Tensor:
        """The network's estimates of patches (shapes: `SeparatorNetwork`)."""


class Patch(NamedTuple):
    """A stretch of spectrogram with its estimates; the next patch begins at its last frame."""

    spectrum: Tensor
    """Complex STFT of the recording (channels, bins, frames)."""
    estimates: Tensor
    """Log magnitudes of the sources of the mono mix (sources, bins, frames)."""

    def mono(self, signal: Signal) -> FloatArray:
        """The sources' waveforms (sources, (frames - 1) * hop_size) of a recording of one channel."""
        waveforms: FloatArray = reconstruct(self.estimates, self.spectrum[0], signal).cpu().numpy()
        return waveforms


class Patches:
    """A recording that comes piece by piece, cut into patches of spectrogram with their estimates.

    Every frame is predicted with full context (silence beyond the ends), from a patch that begins at
    a multiple of the network's grid. Patches have the same place and size however the recording comes, so
    the estimates are the same to the bit. Held are the samples of one patch and its context.
    """

    def __init__(self, separator: Predictor, channels: int, frames: int = BLOCK_FRAMES) -> None:
        """channels: of the recording, of which the network sees the mean; frames: of a patch."""
        self._separator = separator
        grid = separator.network.grid
        self._step = max(frames // grid, 1) * grid
        # samples between the centres of two frames need both: one frame more than the step
        self._size = separator.network.valid_frames(self._step + 1)
        self._held = np.zeros((channels, 0), np.float32)
        self._start = 0  # the frame whose centre is the first sample held
        self._first = 0  # the first frame of the next patch

    def push(self, samples: FloatArray, last: bool = False) -> Iterator[Patch]:
        """Append float32 (channels, samples) at the model's rate; yield the patches that are complete.

        The next piece may come when all have been taken. With the last piece come the patches that
        remain; the final one may end after the recording, by less than a hop, or by more if the
        recording is shorter than two.
        """
        signal, context = self._separator.signal, self._separator.network.context
        position = 0
        while True:
            # to the end of the last frame's window, with nothing reflected or padded
            end = self._first + self._size + context
            needed = (end - 1 + REACH - self._start) * signal.hop_size - self._held.shape[1]
            taken = samples[:, position : position + needed]
            position += needed
            self._held = np.concatenate([self._held, taken], axis=1)
            if taken.shape[1] < needed:
                break
            yield self._patch(end)
            self._forget()
        count = self._start + frame_count(self._held.shape[1], signal)
        while last and self._first < count - 1:
            yield self._patch(count)
            self._forget()

    @torch.inference_mode()
    def _patch(self, count: int) -> Patch:
        """The next patch of a recording of which `count` frames are known."""
        separator, first = self._separator, self._first
        signal, context = separator.signal, separator.network.context
        wanted = min(self._step, count - 1 - first) + 1
        begin, end = first - context, first + separator.network.valid_frames(wanted) + context
        padded = pad(torch.from_numpy(self._held), signal)
        from_sample = (max(begin, 0) - self._start) * signal.hop_size
        to_sample = (min(end, count) - 1 - self._start) * signal.hop_size + signal.fft_size
        spectrum = stft_of_padded(padded[:, from_sample:to_sample].to(separator.device), signal)
        mix = spectrum.mean(dim=0) if len(spectrum) > 1 else spectrum[0]
        mixture = torch.nn.functional.pad(log_magnitude(mix), (max(-begin, 0), max(end - count, 0)))
        estimates = separator.predict(mixture[None])[0, :, :, :wanted]
        inner = first - max(begin, 0)
        return Patch(spectrum[:, :, inner : inner + wanted], estimates)

    def _forget(self) -> None:
        """Go on to the next patch and drop the samples that no later one needs."""
        self._first += self._step
        # the first frames held are spoiled by the reflection at their start: they are too early
        start = max(self._first - self._separator.network.context - REACH, 0)
        self._held = self._held[:, (start - self._start) * self._separator.signal.hop_size :]
        self._start = start
