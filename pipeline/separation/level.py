"""How loud a recording is, by one number that does not depend on the pieces that it comes in.

Networks see mixtures at the levels that they were trained on. A `Separator` that knows its level brings
a recording there, and its estimates back; what multiplies both is in double precision, so that no
recording is too quiet or too loud for it.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

BLOCK_SECONDS = 0.4
GATE = 0.1
"""Blocks with less than this part of the mean power (-10 dB) do not count: a song that is half silence
is as loud as its music. Lengths of blocks and gate are those of ITU-R BS.1770-4."""
SILENCE = 1e-10
"""-200 dB of full scale: what is quieter is rounding, and counts as that much."""
PIECE = 2**20


class LevelMeter:
    """The level of a mono recording that comes piece by piece.

    It is the root mean square, full scale 1, of the blocks of BLOCK_SECONDS whose power is at least GATE
    times the mean power of all; the last one may be shorter. 8 bytes a block are kept.
    """

    def __init__(self, sample_rate: int) -> None:
        """sample_rate: of the recording, Hz."""
        self._block = round(BLOCK_SECONDS * sample_rate)
        self._rest = np.zeros(0, np.float32)  # less than a block
        self._energies: list[NDArray[np.float64]] = [np.zeros(0)]

    def push(self, samples: FloatArray) -> None:
        """Append float32 (samples,)."""
        for start in range(0, len(samples), PIECE):
            joined = np.concatenate([self._rest, samples[start : start + PIECE]])
            whole = len(joined) // self._block * self._block
            self._energies.append(_energies(joined[:whole].reshape(-1, self._block)))
            self._rest = joined[whole:]

    def level(self) -> float:
        """Of all that has come: 0 for silence, not finite where a sample is not."""
        rest = self._rest[None, :] if len(self._rest) else np.zeros((0, 1), np.float32)
        energies = np.concatenate([*self._energies, _energies(rest)])
        samples = np.full(len(energies), float(self._block))
        samples[len(energies) - len(rest) :] = rest.shape[1]
        # what is no number is not below the gate
        quiet = energies < GATE * energies.sum() / samples.sum() * samples
        return float(np.sqrt(energies[~quiet].sum() / samples[~quiet].sum()))


def level_of(waveform: FloatArray, sample_rate: int) -> float:
    """The level of a mono recording (samples,), as `LevelMeter` has it."""
    meter = LevelMeter(sample_rate)
    meter.push(waveform)
    return meter.level()


def amplified(samples: FloatArray, gain: float) -> FloatArray:
    """Samples times `gain`, which may be beyond what float32 holds; infinite where the product is."""
    if gain == 1:
        return samples
    product = np.empty_like(samples)
    with np.errstate(over="ignore"):
        np.multiply(samples, np.float64(gain), out=product, casting="same_kind")
    return product


def _energies(blocks: FloatArray) -> NDArray[np.float64]:
    """Sums of squares of blocks (blocks, samples); no float32 has an infinite one."""
    energies: NDArray[np.float64] = np.square(blocks, dtype=np.float64).sum(axis=1)
    return energies
