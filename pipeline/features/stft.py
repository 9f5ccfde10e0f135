"""STFT of mono signals, the log magnitudes that the networks see, and the way back.

Centred frames, reflection at the ends (paper, section 4.3.1: Hann windows, 50 % overlap). The signal is
zero-padded to whole hops first: otherwise the last samples are covered by the tail of one window
alone, and the inverse of an estimate divides its error by nearly zero.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import inverse_spectrogram, spectrogram

from pipeline.params import Signal

WINDOWS: dict[str, Callable[..., Tensor]] = {
    "hann": torch.hann_window,
    "hamming": torch.hamming_window,
    "blackman": torch.blackman_window,
    "sine": lambda size, device: torch.hann_window(size, device=device).sqrt(),
}
"""By name. Of at least two that cover each sample the squares never sum to zero: all reconstruct."""


def window_of(signal: Signal, device: torch.device) -> Tensor:
    """The window (fft_size,)."""
    return WINDOWS[signal.window](signal.fft_size, device=device)


def frame_count(samples: int, signal: Signal) -> int:
    """Frames of a signal of `samples` samples (at least 1)."""
    # the reflection of half a window must not reach the other end
    return 1 + max(-(-samples // signal.hop_size), signal.reach + 1)


def pad(waveform: Tensor, signal: Signal) -> Tensor:
    """Zero-pad (…, samples) to whole hops and reflect half a window at both ends.

    Frame f of the result starts at its sample f * hop_size.
    """
    hops = frame_count(waveform.shape[-1], signal) - 1
    waveform = functional.pad(waveform, (0, hops * signal.hop_size - waveform.shape[-1]))
    flat = waveform.reshape(1, -1, waveform.shape[-1])
    half = signal.fft_size // 2
    return functional.pad(flat, (half, half), mode="reflect").reshape(*waveform.shape[:-1], -1)


def stft_of_padded(padded: Tensor, signal: Signal) -> Tensor:
    """Complex STFT (…, bins, frames) of a stretch of what `pad` returned."""
    window = window_of(signal, padded.device)
    spectrum: Tensor = spectrogram(
        padded, 0, window, signal.fft_size, signal.hop_size, signal.fft_size,
        power=None, normalized=False, center=False,
    )  # fmt: skip
    return spectrum


def stft(waveform: Tensor, signal: Signal) -> Tensor:
    """Complex STFT (…, bins, frames) of float32 waveforms (…, samples), samples >= 1."""
    return stft_of_padded(pad(waveform, signal), signal)


def log_magnitude(spectrum: Tensor) -> Tensor:
    """x -> log(1 + |x|): what features hold and the networks see."""
    return torch.log1p(spectrum.abs())


def reconstruct(log_magnitudes: Tensor, spectrum: Tensor, signal: Signal) -> Tensor:
    """Waveforms of estimates with the mixture's phase (paper, section 4.3.1).

    log_magnitudes (…, bins, frames) >= 0; spectrum: the mixture's complex STFT, broadcastable to it.
    Returns (…, (frames - 1) * hop_size): the stretch from the first frame's centre to the last's.
    """
    # not angle() and polar(): the phase of a zero stays zero, and this is several times faster
    phase = spectrum / spectrum.abs().clamp_min(torch.finfo(torch.float32).tiny)
    return inverse(torch.expm1(log_magnitudes) * phase, signal)


def inverse(spectrum: Tensor, signal: Signal) -> Tensor:
    """Waveforms of complex spectra (…, bins, frames), shaped as those of `reconstruct`."""
    waveforms: Tensor = inverse_spectrogram(
        spectrum, None, 0, window_of(signal, spectrum.device),
        signal.fft_size, signal.hop_size, signal.fft_size, normalized=False,
    )  # fmt: skip
    return waveforms
