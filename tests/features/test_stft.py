"""The STFT against librosa, and back."""

import librosa
import numpy as np
import pytest
import torch

from pipeline.features.stft import frame_count, log_magnitude, reconstruct, stft
from pipeline.params import Signal

SIGNAL = Signal(sample_rate=8000, fft_size=512, hop_size=256)


OTHERS = [
    Signal(sample_rate=8000, fft_size=512, hop_size=128),
    Signal(sample_rate=8000, fft_size=512, hop_size=64, window="hamming"),
    Signal(sample_rate=44_100, fft_size=384, hop_size=128, window="blackman"),
    Signal(sample_rate=8000, fft_size=512, hop_size=256, window="sine"),
]


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(5).standard_normal(shape).astype(np.float32))


def test_equals_librosa() -> None:
    waveform = noise(40 * 256)
    expected = librosa.stft(
        waveform.numpy(), n_fft=512, hop_length=256, center=True, pad_mode="reflect"
    )
    np.testing.assert_allclose(stft(waveform, SIGNAL).numpy(), expected, atol=2e-4)
    np.testing.assert_allclose(
        log_magnitude(stft(waveform, SIGNAL)).numpy(), np.log1p(np.abs(expected)), atol=1e-4
    )


@pytest.mark.parametrize("signal", OTHERS, ids=str)
def test_other_windows_and_overlaps_equal_librosa_and_reconstruct(signal: Signal) -> None:
    waveform = noise(40 * 512)
    size, hop = signal.fft_size, signal.hop_size
    shape = {"sine": np.sin(np.pi * np.arange(size) / size)}.get(signal.window, signal.window)
    # reflected by numpy: librosa 0.11 takes another last sample
    reflected = np.pad(waveform.numpy(), size // 2, mode="reflect")
    expected = librosa.stft(reflected, n_fft=size, hop_length=hop, window=shape, center=False)
    spectrum = stft(waveform, signal)
    np.testing.assert_allclose(spectrum.numpy(), expected, atol=2e-4)
    for samples in (1, hop + 1, size, 8191):
        waveforms = noise(2, samples)
        spectrum = stft(waveforms, signal)
        restored = reconstruct(log_magnitude(spectrum), spectrum, signal)
        torch.testing.assert_close(restored[:, :samples], waveforms, rtol=0, atol=2e-5)


def test_a_sine_is_where_it_belongs() -> None:
    """1000 Hz of 8000 Hz, 512 points: bin 64, magnitude amplitude * window sum / 2."""
    waveform = torch.sin(2 * torch.pi * 1000 * torch.arange(8000) / 8000)
    spectrum = stft(waveform, SIGNAL).abs()[:, 5:-5]
    assert (spectrum.argmax(0) == 64).all()
    torch.testing.assert_close(
        spectrum[64], torch.full_like(spectrum[64], 128.0), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("samples", [1, 2, 255, 256, 257, 511, 512, 513, 8000, 8191])
def test_there_and_back(samples: int) -> None:
    waveforms = noise(2, samples)
    spectrum = stft(waveforms, SIGNAL)
    assert spectrum.shape == (2, 257, frame_count(samples, SIGNAL))
    restored = reconstruct(log_magnitude(spectrum), spectrum, SIGNAL)
    torch.testing.assert_close(restored[:, :samples], waveforms, rtol=0, atol=2e-5)


@pytest.mark.parametrize("samples", [5 * 256 + 1, 5 * 256 + 255])
def test_an_error_in_the_estimate_stays_small_at_the_end(samples: int) -> None:
    """One window's tail alone would divide the error by nearly zero there."""
    waveform = noise(samples)
    spectrum = stft(waveform, SIGNAL)
    estimate = log_magnitude(spectrum) + 0.01 * noise(*spectrum.shape).abs()
    error = reconstruct(estimate, spectrum, SIGNAL)[:samples] - waveform
    assert error[-256:].abs().max() < 5 * error[256:-256].abs().max()


def test_phase_of_silence_is_no_nan() -> None:
    spectrum = torch.zeros(257, 4, dtype=torch.complex64)
    assert (reconstruct(torch.ones(257, 4), spectrum, SIGNAL) == 0).all()
