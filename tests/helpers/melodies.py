"""Something like music: notes with overtones, to be told from each other."""

import numpy as np
from numpy.typing import NDArray

RATE = 44_100
"""Hz."""


def melody(seed: int, seconds: float = 12.0) -> NDArray[np.float32]:
    """Three voices of random notes (samples,), each voice at its own pace."""
    random = np.random.default_rng(seed)
    out = np.zeros(int(seconds * RATE))
    for _ in range(3):
        start = 0
        while start < len(out):
            count = int(random.uniform(0.15, 0.5) * RATE)
            time = np.arange(min(count, len(out) - start)) / RATE
            pitch = 110 * 2 ** (random.integers(36) / 12)
            for overtone in range(1, 6):
                wave = np.sin(2 * np.pi * overtone * pitch * time) * np.exp(-4 * time)
                out[start : start + len(time)] += random.uniform(0.3, 1) / overtone * wave
            start += count
    melody: NDArray[np.float32] = (0.2 * out / out.std()).astype(np.float32)
    return melody
