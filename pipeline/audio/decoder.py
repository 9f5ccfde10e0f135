"""What an open audio file gives, whichever library decodes it, and how it says what is wrong."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError, printable

Samples = NDArray[np.float32]

AGAIN = "copy or download it again"


class DamagedError(UserError):
    """A part of a file is lost; `open_audio(..., salvage=True)` takes the rest."""


class Decoder(ABC):
    """An open audio file or one audio stream of it. Close it, or use it in a `with` block.

    Sample 0 is where the timeline of the file begins: a stream that begins later is silent before, and
    what encoders put before and after the sound is not given. Every sample is given or refused, unless
    `salvage`: then what is lost is silent, in its place, and said in `losses`.
    """

    def __init__(
        self, name: str, file: BinaryIO, sample_rate: int, channels: int, salvage: bool
    ) -> None:
        self.name = name
        """For error messages: path and stream."""
        self.sample_rate = sample_rate
        """Hz."""
        self.channels = channels
        self.samples: int | None = None
        """Samples per channel, exact; None when only decoding tells."""
        self.seconds: float | None = None
        """What the header announces; None if it does not, or only guesses."""
        self.position = 0
        """Samples per channel read so far."""
        self.losses: list[str] = []
        """What was wrong so far, a few words each."""
        self.lost = 0.0
        """Seconds of them that are silent, or missing at the end, as far as is known."""
        self._file = file
        self._salvage = salvage
        self._floating = True
        """Whether it can hold NaN and infinities."""

    def read(self, count: int) -> Samples:
        """The next samples `(channels, count)`; fewer only at the end, then none.

        Raises DamagedError for what is damaged, cut short, more than announced, NaN or infinite, and
        UserError for a file without a single sample, or one that cannot be read.
        """
        decoded = self._read(count)
        # The extremes are finite only if everything is, and need no array of their own.
        extremes = [decoded.min(), decoded.max()] if self._floating and decoded.size else []
        if not np.isfinite(extremes).all():
            first = int(np.isfinite(decoded).all(axis=0).argmin())
            seconds = (self.position + first) / self.sample_rate
            self.complain(f"NaN or infinite samples, the first at {seconds:.3f} s")
            decoded = np.where(np.isfinite(decoded), decoded, np.float32(0))
        self.position += decoded.shape[1]
        if decoded.shape[1] < count and self.position == 0:
            raise unusable(self.name, "holds no samples")
        return decoded

    def complain(self, wrong: str, lost: float = 0.0) -> None:
        """Raise DamagedError; where the rest is to be saved, note what is wrong and the seconds lost."""
        if not self._salvage:
            raise DamagedError(f"{self.name}: {wrong}; {AGAIN}")
        self.losses.append(wrong)
        self.lost += lost

    def close(self) -> None:
        """Release the file and whatever decodes it; may be called twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _read(self, count: int) -> Samples: ...


def unusable(name: str, wrong: str) -> UserError:
    """The error for a file of which nothing can be used."""
    return UserError(f"{name}: {wrong}; {AGAIN}")


def shown(path: Path | str, stream: int | None = None) -> str:
    """A path as it may stand in a line of text, with the stream that is meant."""
    text = printable(path)
    return text if stream is None else f"{text} (stream {stream})"
