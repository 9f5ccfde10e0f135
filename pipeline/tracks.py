"""The vocabulary that every stage shares: a track, the parts of its sources, its role, its mixture."""

from enum import StrEnum
from typing import Annotated, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MIXTURE = "mixture"
"""The name of the sum of all sources, beside theirs."""

Sample = TypeVar("Sample", np.float32, np.float64)


def mixture_of(sources: NDArray[Sample]) -> NDArray[Sample]:
    """The mixture of sources (sources, ...): their sum, everywhere and by definition.

    A dataset's own mixture file is not read: MedleyDB's weighs the stems, and CCMixter does not say.
    """
    mixture: NDArray[Sample] = sources.sum(axis=0)
    return mixture


class Role(StrEnum):
    """What a track is used for (paper, section 4.2).

    SUPERVISED: paired excerpts for L_s. UNLABELLED: its mixture feeds L_u and L_add, its sources are
    the critics' real recordings, drawn independently (unpaired). VALIDATION: early stopping.
    TEST: the table.
    """

    SUPERVISED = "supervised"
    UNLABELLED = "unlabelled"
    VALIDATION = "validation"
    TEST = "test"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _below(file: str) -> str:
    names = file.split("/")
    if "\0" in file or "" in names or ".." in names:
        raise ValueError("no path below the dataset's folder")
    return file


class Part(_Record):
    """One file, or one channel or stream of it, that is summed into a source."""

    file: Annotated[str, AfterValidator(_below)]
    """Path relative to the dataset's folder, with forward slashes."""
    channel: Annotated[int, Field(ge=0)] | None = None
    """The channel to take, counted from 0; None takes all of them."""
    stream: Annotated[int, Field(ge=0)] | None = None
    """The audio stream to take of a container that may hold several, counted from 0; None takes the
    first."""
    gain: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """What its samples are multiplied by."""


class Track(_Record):
    """One piece of music as a dataset lays it out; knows where its audio is, holds none."""

    dataset: str
    id: str
    """Unique in its dataset, stable across machines: the folder or file name that the dataset uses."""
    artist: str
    sources: dict[str, tuple[Part, ...]]
    """Source name to the parts that sum to it; an empty tuple is a source known to be silent."""
    partition: str | None = None
    """The dataset's own partition (DSD100: Dev, Test), None where it has none."""


class Recording(_Record):
    """A track whose files were opened and found sound."""

    track: Track
    sample_rate: Annotated[int, Field(gt=0, lt=2**31)]
    """Hz."""
    channels: Annotated[int, Field(gt=0, lt=2**16)]
    samples: Annotated[int, Field(gt=0, lt=2**38)]
    """Samples per channel at `sample_rate`; more than two months are no music."""
    silent: tuple[str, ...] = ()
    """Sources that are zero from beginning to end."""


class TrackName(NamedTuple):
    """What tells a track from all others, in every file and table."""

    dataset: str
    track: str
    """`Track.id`"""

    def __str__(self) -> str:
        return f"{self.dataset}/{self.track}"
