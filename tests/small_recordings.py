"""Small recordings that the audio tests are made of."""

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
