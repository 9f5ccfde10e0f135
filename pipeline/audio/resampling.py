"""Another sample rate: one quality, one length, for features and for songs alike."""

import numpy as np
import soxr
from numpy.typing import NDArray

QUALITY = "VHQ"
"""soxr's highest: it computes in double precision, so the float32 result hardly depends on the CPU."""

FloatArray = NDArray[np.float32]


def resampled_length(samples: int, rate: float, target: float) -> int:
    """How many of `samples` at `rate` Hz there are at `target` Hz, at least one."""
    return max(1, round(samples * target / rate))


class Resampler:
    """Resample (channels, samples) that come piece by piece, without delay.

    All pieces together are as long as `resampled_length` says. Where both rates are the same, samples
    pass as they are.
    """

    def __init__(self, rate: float, target: float, channels: int) -> None:
        self._rates = rate, target
        self._taken = self._given = 0
        self._stream = None
        if rate != target:
            self._stream = soxr.ResampleStream(rate, target, channels, "float32", QUALITY)

    def push(self, samples: FloatArray, last: bool = False) -> FloatArray:
        """The next samples, as far as they are known; with the last piece, all that is left."""
        self._taken += samples.shape[1]
        if self._stream:
            # soxr wants (samples, channels), and lends a part of a larger array
            samples = self._stream.resample_chunk(np.ascontiguousarray(samples.T), last=last)
            samples = samples.T.copy()
        if last:
            left = resampled_length(self._taken, *self._rates) - self._given
            samples = np.pad(samples[:, :left], ((0, 0), (0, max(left - samples.shape[1], 0))))
        self._given += samples.shape[1]
        return samples
