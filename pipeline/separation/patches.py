"""A recording that comes piece by piece, cut into patches of spectrogram with their estimates."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.features.stft import frame_count, log_magnitude, pad, reconstruct, stft_of_padded
from pipeline.networks.interfaces import SeparatorNetwork
from pipeline.params import Signal

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
    """A stretch of spectrogram with its estimates; the next patch begins at its last frame.

    Where more than two windows cover a sample, there are frames before and after the stretch: those
    that reach into it.
    """

    spectrum: Tensor
    """Complex STFT of the recording (channels, bins, frames)."""
    estimates: Tensor
    """Log magnitudes of the sources of the mono mix (sources, bins, frames)."""
    stretch: slice
    """Its own frames among these."""
    waveforms: Tensor | None = None
    """The sources of the mono mix (sources, samples), where the network gives waveforms: from the
    centre of the stretch's first frame to that of its last."""

    def mono(self, signal: Signal) -> FloatArray:
        """The sources' waveforms of a recording of one channel (sources, (frames - 1) * hop_size).

        From the centre of the stretch's first frame to that of its last.
        """
        waveforms = self.waveforms
        if waveforms is None:
            waveforms = self.reconstructed(self.estimates, self.spectrum[0], signal)
        found: FloatArray = waveforms.cpu().numpy()
        return found

    def reconstructed(self, log_magnitudes: Tensor, spectrum: Tensor, signal: Signal) -> Tensor:
        """`features.stft.reconstruct`, of all frames, and of that the stretch."""
        first, last = self.stretch.start, self.stretch.stop - 1
        waveforms = reconstruct(log_magnitudes, spectrum, signal)
        return waveforms[..., first * signal.hop_size : last * signal.hop_size]


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
        # samples between the centres of two frames need both, and those that reach between them
        self._more = separator.signal.reach - 1
        self._size = separator.network.valid_frames(self._step + 1 + self._more)
        self._before: tuple[Tensor, Tensor] | None = None
        """Spectrum and estimates of the last frames before the next patch."""
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
            windows_end = (end - 1) * signal.hop_size + signal.fft_size // 2
            needed = windows_end - self._start * signal.hop_size - self._held.shape[1]
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
        separator, network, first = self._separator, self._separator.network, self._first
        signal, seen = separator.signal, network.representation
        own = min(self._step, count - 1 - first) + 1
        wanted = min(own + self._more, count - first)
        begin = first - network.context
        end = first + network.valid_frames(wanted) + network.context
        known = max(begin, 0), min(end, count)
        if seen.waveform:
            known = first, first + wanted
        padded = pad(torch.from_numpy(self._held), signal)
        from_sample = (known[0] - self._start) * signal.hop_size
        to_sample = (known[1] - 1 - self._start) * signal.hop_size + signal.fft_size
        spectrum = stft_of_padded(padded[:, from_sample:to_sample].to(separator.device), signal)
        waveforms = None
        if seen.waveform:
            outputs = separator.predict(self._samples(begin, end).to(separator.device)[None])[0]
            estimates = seen.log_magnitudes(outputs)
            centre = signal.fft_size // 2
            waveforms = outputs[:, centre : centre + (own - 1) * signal.hop_size]
        else:
            mix = spectrum.mean(dim=0) if len(spectrum) > 1 else spectrum[0]
            silence = max(-begin, 0), max(end - count, 0)
            mixture = torch.nn.functional.pad(log_magnitude(mix), silence)
            estimates = separator.predict(mixture[None])[0]
            spectrum = spectrum[:, :, first - known[0] :]
        spectrum, estimates = spectrum[:, :, :wanted], estimates[:, :, :wanted]
        return self._joined(Patch(spectrum, estimates, slice(0, own), waveforms))

    def _joined(self, patch: Patch) -> Patch:
        """A patch with the frames before it that reach into it; those of the next one are kept."""
        if not self._more:
            return patch
        spectrum, estimates, own = patch.spectrum, patch.estimates, patch.stretch.stop
        before = 0
        if self._before is not None:
            before = self._before[1].shape[2]
            spectrum = torch.cat([self._before[0], spectrum], dim=2)
            estimates = torch.cat([self._before[1], estimates], dim=2)
        # the next patch begins at this one's last frame
        last = slice(max(before + own - 1 - self._more, 0), before + own - 1)
        self._before = spectrum[:, :, last].clone(), estimates[:, :, last].clone()
        return Patch(spectrum, estimates, slice(before, before + own), patch.waveforms)

    def _samples(self, begin: int, end: int) -> Tensor:
        """The mono mix (samples,) that the windows of these frames cover, with silence around it."""
        signal = self._separator.signal
        first = (begin - self._start) * signal.hop_size - signal.fft_size // 2
        last = first + signal.samples(end - begin)
        held = self._held[:, max(first, 0) : max(last, 0)].mean(axis=0, dtype=np.float32)
        silence = max(-first, 0), last - max(first, 0) - len(held)
        return torch.nn.functional.pad(torch.from_numpy(held), silence)

    def _forget(self) -> None:
        """Go on to the next patch and drop the samples that no later one needs."""
        self._first += self._step
        # the first frames held are spoiled by the reflection at their start: they are too early
        signal = self._separator.signal
        start = max(self._first - self._separator.network.context - signal.reach, 0)
        self._held = self._held[:, (start - self._start) * signal.hop_size :]
        self._start = start
