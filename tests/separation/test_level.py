"""A recording's level: closed forms, and the same bits however it comes."""

import numpy as np
import pytest

from pipeline.separation.level import LevelMeter, amplified, level_of
from tests.helpers.small_separators import noise

BLOCK = 3200
"""0.4 s at 8 kHz."""


def test_the_level_of_a_tone_is_its_amplitude_over_the_root_of_two() -> None:
    tone = 0.3 * np.sin(2 * np.pi * 50 * np.arange(8000) / 8000)
    assert level_of(tone.astype(np.float32), 8000) == pytest.approx(0.3 / np.sqrt(2), rel=1e-6)


@pytest.mark.parametrize("samples", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 100_003])
def test_without_silence_it_is_the_root_mean_square(samples: int) -> None:
    """The last block counts by its length."""
    waveform = noise(samples).clip(0.1, 0.5)
    rms = np.sqrt(np.mean(waveform.astype(np.float64) ** 2))
    assert level_of(waveform, 8000) == pytest.approx(rms, rel=1e-9)


@pytest.mark.parametrize("silent", [BLOCK, 20 * BLOCK, 200 * BLOCK])
@pytest.mark.parametrize("hiss", [0.0, 1e-4])
def test_silence_and_what_is_much_quieter_do_not_count(silent: int, hiss: float) -> None:
    loud = noise(20 * BLOCK)
    quiet = np.float32(hiss) * noise(silent)
    assert level_of(np.concatenate([quiet, loud]), 8000) == level_of(loud, 8000)


def test_a_bang_does_not_make_a_song_loud() -> None:
    song = np.float32(0.05) * noise(300 * BLOCK)
    before = level_of(song, 8000)
    song[5 * BLOCK : 5 * BLOCK + 800] = 1
    assert level_of(song, 8000) < 1.3 * before


@pytest.mark.parametrize("samples", [1, 700, 2 * BLOCK, 100_003, 2_200_001])
def test_it_does_not_matter_how_a_recording_comes(samples: int) -> None:
    """To the bit."""
    waveform = noise(samples)
    for piece in (999, 3 * BLOCK, 1_500_000):
        meter = LevelMeter(8000)
        for first in range(0, samples, piece):
            meter.push(waveform[first : first + piece])
        assert meter.level() == level_of(waveform, 8000)


def test_levels_of_any_size() -> None:
    waveform = noise(9000)
    for exponent in (-100, -13, 110):
        scaled = waveform * np.float32(2.0**exponent)
        assert level_of(scaled, 8000) == level_of(waveform, 8000) * 2.0**exponent
    assert level_of(np.zeros(9000, np.float32), 8000) == 0
    for wrong in (np.nan, np.inf):
        waveform[5000] = wrong
        assert not np.isfinite(level_of(waveform, 8000))


def test_a_gain_may_be_beyond_float32() -> None:
    samples = np.array([[1e-44, -1e-44], [0, 1e-40]], np.float32)
    found = amplified(samples, 1e45)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, samples.astype(np.float64) * 1e45)
    assert amplified(samples, 1) is samples
    assert amplified(found, 1e39)[0, 0] == np.inf
