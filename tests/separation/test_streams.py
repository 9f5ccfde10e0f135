"""Recordings of any rate in a stream: aligned to the sample, and the sources sum to the recording."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.audio.reading import read_mono
from pipeline.audio.resampling import Resampler, resampled_length
from pipeline.networks.representations import LOG_MAGNITUDES, Representation
from pipeline.separation import streams
from pipeline.separation.separator import Separator
from pipeline.separation.streams import InputRate, ModelRate, Shares
from tests.helpers.places import TOP
from tests.helpers.small_recordings import music, noise, one_file, put
from tests.helpers.small_separators import SIGNAL, small_separator

Array = NDArray[np.float32]
MakeStream = Callable[[Separator, int, int], streams.SourceStream]


class Rule:
    """A network without weights: what is below 1750 Hz is the first source's, the rest the second's."""

    context, grid = 0, 1
    representation: Representation = LOG_MAGNITUDES

    def valid_frames(self, at_least: int) -> int:
        return at_least

    def __call__(self, mixture: Tensor, /) -> Tensor:
        low = torch.arange(257)[:, None] < 112
        return torch.stack([mixture * low, mixture * ~low], dim=1)


@pytest.fixture(scope="module")
def rule() -> Separator:
    return Separator(Rule(), ("low", "high"), SIGNAL)


@pytest.fixture(scope="module")
def unet() -> Separator:
    return small_separator()


def streamed(
    make: MakeStream, separator: Separator, recording: Array, rate: int, piece: int
) -> Array:
    stream = make(separator, rate, len(recording))
    found = []
    pieces = [
        (recording[:, first : first + piece], first + piece >= recording.shape[1])
        for first in range(0, recording.shape[1], piece)
    ]
    if stream.comes_twice:
        for samples, last in pieces:
            stream.listen(samples, last)
    for samples, last in pieces:
        found += list(stream.push(samples, last))
    return np.concatenate(found, axis=2)


def level(samples: Array) -> float:
    """Root mean square in dB of full scale."""
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2) + 1e-30))


@pytest.mark.parametrize("rate", [8000, 44_100])
@pytest.mark.parametrize("make", [ModelRate, InputRate])
def test_it_does_not_matter_how_a_recording_comes(
    unet: Separator, make: MakeStream, rate: int
) -> None:
    """To the bit, also where the last piece is empty."""
    recording = noise(2, rate * 36 + 17)
    whole = streamed(make, unet, recording, rate, recording.shape[1])
    for piece in (7919, 441_000):
        np.testing.assert_array_equal(streamed(make, unet, recording, rate, piece), whole)
    stream = make(unet, rate, 2)
    late = [*stream.push(recording), *stream.push(recording[:, :0], last=True)]
    np.testing.assert_array_equal(np.concatenate(late, axis=2), whole)


@pytest.mark.parametrize("channels", [2, 9])
def test_with_a_level_it_does_not_matter_either(unet: Separator, channels: int) -> None:
    """To the bit, and as the arrays' functions give it; samples lie as a decoder gives them."""
    levelled = replace(unet, level=0.1)
    recording = np.asfortranarray(noise(channels, 100_017))
    low = np.stack(list(levelled.separate(recording, 44_100).values()))
    full = np.stack(list(streams.separate(levelled, recording, 44_100).values()))
    for piece in (7919, 70_000):
        found = streamed(ModelRate, levelled, recording, 44_100, piece)
        np.testing.assert_array_equal(found[:, 0], low)
        found = streamed(InputRate, levelled, recording, 44_100, piece)
        np.testing.assert_array_equal(found, full)
    np.testing.assert_allclose(full.sum(axis=0), recording, atol=1e-6)


@pytest.mark.parametrize("make", [ModelRate, InputRate])
def test_a_level_is_measured_before_anything_is_separated(
    unet: Separator, make: MakeStream
) -> None:
    stream, recording = make(replace(unet, level=0.1), 44_100, 2), noise(2, 9000)
    assert stream.comes_twice
    for _ in range(2):
        with pytest.raises(RuntimeError, match="`listen` has not heard"):
            list(stream.push(recording, last=True))
        stream.listen(recording)
    assert not make(unet, 44_100, 2).comes_twice


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("samples", [1, 5000, 123_456])
def test_sources_at_the_models_rate_are_those_of_the_separator(
    unet: Separator, rate: int, samples: int
) -> None:
    recording = noise(2, samples)
    found = streamed(ModelRate, unet, recording, rate, 10_000)
    assert found.shape == (2, 1, resampled_length(samples, rate, 8000))
    expected = unet.separate(recording, rate)
    np.testing.assert_array_equal(found[:, 0], np.stack(list(expected.values())))


@pytest.mark.parametrize("rate", [4000, 8000, 11_025, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("samples", [1, 2, 300, 100_003])
def test_sources_sum_to_the_recording(unet: Separator, rate: int, samples: int) -> None:
    recording = noise(3, samples)
    found = streamed(InputRate, unet, recording, rate, 30_000)
    assert found.shape == (2, 3, samples)
    np.testing.assert_allclose(found.sum(axis=0), recording, atol=1e-6)


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("place", [20_000, 50_001])
def test_an_impulse_stays_where_it_is(rule: Separator, rate: int, place: int) -> None:
    """Its low band is symmetric about it; a delay of a tenth of a sample would not be."""
    recording = np.zeros((1, 100_000), np.float32)
    recording[0, place] = 1
    low, high = streamed(InputRate, rule, recording, rate, 9999)[:, 0]
    assert int(low.argmax()) == place
    assert int(high.argmax()) == place
    around = low[place - 100 : place + 101]
    assert level(around) > -40
    assert level(around - around[::-1]) < level(around) - 35


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_a_sweep_is_low_before_it_is_high(rule: Separator, rate: int) -> None:
    """What is left of low notes in the high band is what alignment and resampling lose."""
    seconds = np.arange(rate * 20) / rate
    octaves = np.log2(20_000 / 50)
    phase = 2 * np.pi * 50 * 20 / octaves / np.log(2) * (2 ** (octaves * seconds / 20) - 1)
    sweep = (0.5 * np.sin(phase)).astype(np.float32)[None]
    low, high = streamed(InputRate, rule, sweep, rate, 44_100)[:, 0]
    pitch = 50 * 2 ** (octaves * seconds / 20)
    below, above = (pitch > 100) & (pitch < 1500), (pitch > 2100) & (pitch < 3900)
    assert level(low[below] - sweep[0, below]) < -60
    assert level(high[below]) < -60
    assert level(low[above]) < -60
    assert level(high[above] - sweep[0, above]) < -60


def test_channels_keep_their_place(rule: Separator) -> None:
    """A low tone on the left and a high one on the right come back there, and only there."""
    seconds = np.arange(44_100 * 5) / 44_100
    tones = np.stack([np.sin(2 * np.pi * f * seconds) for f in (500, 9000)]).astype(np.float32)
    # the high band follows the top octave, where there has to be something
    tones += np.float32(0.01) * np.sin(2 * np.pi * 3000 * seconds).astype(np.float32)
    found = streams.separate(rule, tones, 44_100)
    inner = slice(4410, -4410)
    assert level(found["low"][0, inner] - np.sin(2 * np.pi * 500 * seconds)[inner]) < -60
    assert level(found["low"][1, inner]) < -60
    assert level(found["high"][1, inner] - tones[1, inner]) < -60
    assert level(found["high"][0, inner]) == pytest.approx(-43, abs=0.5)  # 3000 Hz alone


def test_silence_is_shared_alike_and_stays_silence(unet: Separator) -> None:
    found = streams.separate(unet, np.zeros(50_000, np.float32), 44_100)
    assert [np.abs(estimate).max() for estimate in found.values()] == [0, 0]


@pytest.mark.parametrize("factor", [1e18, 1e25, 1e33])
def test_far_beyond_full_scale_sources_still_sum_to_the_recording(
    rule: Separator, factor: float
) -> None:
    """Files of floating point may be scaled to anything; its square is not in single precision."""
    recording = noise(2, 20_000)
    large = recording * np.float32(factor)
    found = streamed(InputRate, rule, large, 22_050, 7919)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=0) / factor, recording, atol=1e-5)


def test_shares_are_energies_smoothed_by_hand() -> None:
    energies = np.random.default_rng(3).random((2, 30))
    shares = Shares(2)
    for first in range(0, 30, 7):
        shares.push(energies[:, first : first + 7])
    shares.push(np.zeros((2, 2)))
    assert shares.known == 29
    smooth = np.stack([np.convolve(e, [1, 2, 3, 2, 1], "same") for e in energies])
    expected = smooth / smooth.sum(axis=0)
    np.testing.assert_allclose(shares.at(np.arange(10.0)), expected[:, :10], atol=1e-6)
    between = (expected[:, 10] + expected[:, 11]) / 2
    np.testing.assert_allclose(shares.at(np.array([10.5]))[:, 0], between, atol=1e-6)
    np.testing.assert_allclose(shares.at(np.array([29.0, 40.0]))[:, 1], expected[:, 29], atol=1e-6)


def test_the_high_band_follows_the_loudest_of_the_top_octave(rule: Separator) -> None:
    """Without anything in 2 to 4 kHz both sources get half of the high band."""
    seconds = np.arange(44_100 * 3) / 44_100
    tone = (0.5 * np.sin(2 * np.pi * 9000 * seconds) * (seconds > 0)).astype(np.float32)[None]
    tone[:, 66_150:] += (0.1 * np.sin(2 * np.pi * 3000 * seconds[66_150:])).astype(np.float32)
    found = streams.separate(rule, tone, 44_100)
    late = slice(80_000, 125_000)
    assert level(found["high"][0, late] - tone[0, late]) < -60
    assert level(found["low"][0, late]) < -60


def test_resampling_in_pieces_is_what_the_features_are_made_of(tmp_path) -> None:  # type: ignore[no-untyped-def]
    recording = music(1, 100_001)
    put(tmp_path / "a.wav", recording, subtype="FLOAT")
    expected = read_mono(one_file("a.wav"), tmp_path, ["accompaniment"], 8000)
    resampler = Resampler(44_100, 8000, 1)
    found = [resampler.push(recording[:, k : k + 999]) for k in range(0, 100_001, 999)]
    found.append(resampler.push(recording[:, :0], last=True))
    np.testing.assert_array_equal(np.concatenate(found, axis=1), expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ModelRate", "InputRate"])
def test_an_hour_needs_no_more_memory_than_three_minutes(kind: str) -> None:
    script = (
        "import sys, numpy as np\n"
        "from pipeline.separation import streams as bands; from pipeline.separation import Separator\n"
        "from tests.helpers.small_separators import SIGNAL\n"
        "from pipeline.networks.separators.unet import SpectrogramUNet\n"
        "s = Separator(SpectrogramUNet(257, filters=1).eval(), ('a', 'b'), SIGNAL)\n"
        f"stream = bands.{kind}(s, 44100, 2); n = 6 * int(sys.argv[1])\n"
        "x = np.random.default_rng(0).standard_normal((2, 441000), np.float32)\n"
        "for k in range(n):\n"
        "    for block in stream.push(x, k == n - 1): pass\n"
        "print(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])\n"
    )
    # without it glibc raises this threshold as it likes, and holds 100 MB more in one run than in another
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
    used = []
    for minutes in ("3", "60"):
        command = [sys.executable, "-c", script, minutes]
        done = subprocess.run(
            command, cwd=TOP, env=environment, capture_output=True, text=True, check=True
        )
        used.append(int(done.stdout))
    assert used[1] < used[0] + 50_000  # kB; what is kept of the 57 minutes would be 220 MB and more
