"""Small copies of the real layouts, to take inventories of."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipeline.datasets.inventory import Inventory

RATE = 44_100
SOURCES = ("accompaniment", "vocals")


def noise(channels: int = 2, samples: int = 2000, seed: int = 0) -> NDArray[np.float32]:
    return (
        np.random.default_rng((samples, seed))
        .uniform(-0.3, 0.3, (channels, samples))
        .astype(np.float32)
    )


def put(path: Path, data: NDArray[np.float32], rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), data.T, rate, subtype="FLOAT")
    return path


def song(
    root: Path,
    name: str,
    vocals: NDArray[np.float32] | None = None,
    accompaniment: NDArray[np.float32] | None = None,
    rate: int = RATE,
) -> Path:
    folder = root / "ccmixter_corpus" / name
    put(folder / "source-01.wav", noise() if accompaniment is None else accompaniment)
    put(folder / "source-02.wav", noise() if vocals is None else vocals, rate)
    return folder


def reasons(found: Inventory) -> dict[str, str]:
    return {entry.track: entry.reason for entry in found.rejected}
