"""Small recordings that the audio tests are made of."""

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipeline.tracks import Part, Track

RATE = 44_100
SOURCES = ("accompaniment", "vocals")


def noise(channels: int, samples: int, seed: int = 0) -> NDArray[np.float32]:
    """Samples that 16-bit PCM represents exactly."""
    integers = np.random.default_rng(seed).integers(-8000, 8000, (channels, samples))
    return (integers / 32768).astype(np.float32)


def put(path: Path, data: NDArray[np.float32], rate: int = RATE, subtype: str = "PCM_16") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), data.T, rate, subtype=subtype, format="WAV")


def music(channels: int, samples: int, rate: int = RATE, seed: int = 0) -> NDArray[np.float32]:
    """Tones that come and go, another for each channel: lossy codecs keep them."""
    seconds = np.arange(samples) / rate
    tones = np.zeros((channels, samples))
    for index, channel in enumerate(tones):
        for harmonic in (1, 2, 3):
            pitch = 2 * np.pi * (170 + 90 * seed + 37 * index) * harmonic
            channel += np.sin(pitch * seconds + seed) / harmonic
        channel *= 0.15 * (1 + np.sin(2 * np.pi * (0.7 + 0.4 * index) * seconds + seed))
    return tones.astype(np.float32)


@cache
def hiss(channels: int, samples: int, rate: int = RATE, seed: int = 0) -> NDArray[np.float32]:
    """Noise from 200 to 6000 Hz: lossy codecs keep it, and it correlates with itself at one lag only."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=(channels, samples)))
    frequencies = np.fft.rfftfreq(samples, 1 / rate)
    spectrum[:, (frequencies < 200) | (frequencies > 6000)] = 0
    found: NDArray[np.float64] = np.fft.irfft(spectrum, samples)
    found *= 0.15 / found.std()
    return found.astype(np.float32)


def encode(
    path: Path, streams: Sequence[NDArray[np.float32]], rate: int = RATE, options: str = ""
) -> None:
    """Write audio streams `(channels, samples)` with ffmpeg; `options` choose codecs and format."""
    inputs, maps = [], []
    for index, data in enumerate(streams):
        plain = path.with_name(f"{path.name}.{index}.plain")
        soundfile.write(str(plain), data.T, rate, subtype="FLOAT", format="WAV")
        inputs += ["-i", str(plain)]
        maps += ["-map", f"{index}:a"]
    command = ["ffmpeg", "-nostdin", "-y", "-v", "error", *inputs, *maps, *options.split()]
    subprocess.run([*command, f"file:{path}"], check=True)
    for written in inputs[1::2]:
        Path(written).unlink()


def one_file(file: str, stream: int | None = None) -> Track:
    sources: dict[str, tuple[Part, ...]] = {SOURCES[0]: (Part(file=file, stream=stream),)}
    return Track(dataset="Test", id="song", artist="someone", sources=sources)


def track(accompaniment: list[str], vocals: list[str]) -> Track:
    sources = {
        name: tuple(Part(file=file) for file in files)
        for name, files in zip(SOURCES, (accompaniment, vocals), strict=True)
    }
    return Track(dataset="Test", id="song", artist="someone", sources=sources)


def two_channels(file: str) -> Track:
    sources: dict[str, tuple[Part, ...]] = {
        name: (Part(file=file, channel=index),) for index, name in enumerate(SOURCES)
    }
    return Track(dataset="iKala", id="clip", artist="1", sources=sources)


PAIR = track(["a.wav"], ["v.wav"])
