"""What tells that two recordings sound the same: a few numbers, whatever their format and level.

The landmarks of A. Wang ("An industrial-strength audio search algorithm", ISMIR 2003) are pairs of peaks
of the spectrogram that follow each other closely. A recording's fingerprint is the smallest hashes of its
landmarks (A. Broder, "On the resemblance and containment of documents", 1997): two recordings that
share most landmarks share most of them, and part of a recording has part of them.
"""

import base64

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.resampling import Resampler

Hashes = NDArray[np.uint32]

RATE = 8000
"""Hz."""
WINDOW, HOP = 1024, 128
"""Samples: 7.8 Hz between bins, 16 ms between frames, so that a copy may begin between two."""
BINS = slice(13, 480)
"""100 to 3750 Hz: what the narrowest formats keep."""
PEAK = (41, 25)
"""Frames and bins around a peak, of which it is the highest."""
FLOOR = 1e-6
"""Of the highest power nearby, what a peak has at least."""
FOLLOWING, REACH, STEP = 5, 80, 4
"""A peak's landmarks are with so many next peaks, within so many frames, counted in steps of so many."""
CHUNK = 2**19
"""Samples whose landmarks are found at a time; those across its ends are not."""
KEPT = 128
"""Hashes of a fingerprint: half a kilobyte."""
FEWEST = 8
"""Hashes that two recordings have in common at least, to sound the same."""
SHARE = 0.3
"""Of the hashes that they could have in common, how many these are at least. Measured: a copy of 7 s as
MP3 or AAC of 64 kbit/s has 0.43 and more, two singers with one backing 0.39 and less, others 0.19."""


class Listener:
    """Hears a recording piece by piece."""

    def __init__(self, rate: float) -> None:
        """rate: of what is heard, in Hz."""
        self._resampler = Resampler(rate, RATE, 1)
        self._waiting = np.zeros(0, np.float32)
        self._kept: Hashes = np.zeros(0, np.uint32)

    def push(self, samples: NDArray[np.float32], last: bool = False) -> None:
        """The next samples (samples,), of one channel."""
        new = self._resampler.push(samples[None], last)[0]
        self._waiting = np.concatenate([self._waiting, new])
        while len(self._waiting) >= CHUNK or (last and len(self._waiting)):
            found = landmarks(self._waiting[:CHUNK])
            self._kept = np.union1d(self._kept, found)[:KEPT]
            self._waiting = self._waiting[CHUNK:]

    def fingerprint(self) -> str:
        """Of all that was heard; empty where there were no peaks. Nothing can be heard after this."""
        self.push(np.zeros(0, np.float32), last=True)
        return base64.b64encode(self._kept.astype("<u4").tobytes()).decode()


def landmarks(samples: NDArray[np.float32]) -> Hashes:
    """The hashes of the landmarks in samples (samples,) at RATE, in ascending order, each once."""
    # not before: whoever only compares does without
    from scipy.ndimage import maximum_filter

    padded = np.pad(samples, (0, max(WINDOW - len(samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    spectrum = np.fft.rfft(frames * np.hanning(WINDOW))
    power = spectrum.real**2 + spectrum.imag**2
    floor = FLOOR * power.max()
    power = power[:, BINS]
    highest = maximum_filter(power, PEAK, mode="constant")
    times, bins = np.nonzero((power == highest) & (power > floor))
    found = []
    for next_one in range(1, FOLLOWING + 1):
        apart = times[next_one:] - times[:-next_one]
        near = (apart > 0) & (apart <= REACH)
        pairs = bins[:-next_one] << 20 | bins[next_one:] << 8 | apart // STEP
        found.append(pairs[near])
    return np.unique(_mixed(np.concatenate(found).astype(np.uint32)))


def hashes(fingerprint: str) -> Hashes:
    """What a fingerprint holds, in ascending order; raises ValueError when it is none."""
    return np.frombuffer(base64.b64decode(fingerprint, validate=True), "<u4").astype(np.uint32)


def same(one: Hashes, other: Hashes) -> bool:
    """Whether two recordings, or one and a good part of the other, sound the same."""
    ends = [found[-1] for found in (one, other) if len(found) == KEPT]
    # beyond this one of them is cut off
    end = min(ends, default=np.uint32(2**32 - 1))
    common = len(np.intersect1d(one, other, assume_unique=True))
    possible = min(int((found <= end).sum()) for found in (one, other))
    return common >= FEWEST and common >= SHARE * possible


def _mixed(values: NDArray[np.uint32]) -> Hashes:
    """A permutation of the 32-bit numbers that leaves no order (MurmurHash3's last step)."""
    values = values.copy()
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        values ^= values >> np.uint32(shift)
        values *= np.uint32(factor)
    return values
