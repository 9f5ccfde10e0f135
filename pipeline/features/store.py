"""The feature store: one HDF5 file a dataset, written by preprocess, read by everyone after it.

    user block    `Seal`, one line of JSON
    attributes    dataset, signals, sounds, sample_rate, fft_size, hop_size, window
    /spectrogram  float32 (kinds, frames, bins)  log magnitudes: the mixture, then each source
    /waveform     float32 (sounds, samples)      at the working rate: each source; their sum: the mixture
    /index/*      a row per track: track, first_frame, frames, first_sample, samples, key; silent
                  (tracks, sounds); spectrogram_crc32 (tracks, kinds), waveform_crc32 (tracks, sounds)

A folder of unpaired recordings has one kind and one sound, the mixture or a source. Tracks lie one
behind the other. The layout is contiguous and written in the order of the inventory, so the same
recordings give the same bytes. `key` stands for everything that a track's rows depend on: rows whose
key is in the file that is replaced are copied from it.

What is stored is what is read. The seal has a digest of everything but the two large arrays, and is
compared before HDF5 sees the file: a damaged structure can crash it. Of the arrays, each track and
signal has a checksum, compared whenever its rows are read as a whole.
"""

import errno
import hashlib
import math
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import UserError, in_one_line
from pipeline.params import Signal

FORMAT = 4
ARRAYS = ("waveform", "spectrogram")
"""In the order in which they lie in the file."""
INDEX = ("first_frame", "frames", "first_sample", "samples")
USER_BLOCK = 512
"""Bytes at the file's start that HDF5 leaves to the user; the fewest that it allows."""
PIECE = 2**20
"""Bytes that are read at a time: they are still in the processor's cache for their checksum."""
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What the machine lacks, whatever the file is."""

FloatArray = NDArray[np.float32]


class Seal(BaseModel):
    """The first line of a feature file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    bytes: int
    """Of the whole file."""
    waveform: tuple[int, int]
    """Where the array begins in the file, and its size; bytes."""
    spectrogram: tuple[int, int]
    md5: str = ""
    """Of this line without it, and of all of the file but its user block and the two arrays."""

    def digest(self, file: BinaryIO) -> str:
        """What `md5` must be; of a damaged seal it is something else, whatever its numbers are."""
        line = self.model_dump_json(exclude={"md5"})
        found = hashlib.md5(line.encode(), usedforsecurity=False)
        position = USER_BLOCK
        for begin, size in (*sorted((self.waveform, self.spectrogram)), (self.bytes, 0)):
            while position < min(begin, self.bytes):
                file.seek(position)
                piece = file.read(min(PIECE, begin - position))
                if not piece:
                    break
                found.update(piece)
                position += len(piece)
            position = max(position, begin + size)
        return found.hexdigest()


def seal(path: Path) -> None:
    """Write the first line of a file that is complete otherwise, and was made with a user block."""
    with h5py.File(path, "r") as file:
        # an array without numbers has no place
        places = {name: (file[name].id.get_offset() or 0, file[name].nbytes) for name in ARRAYS}
    size = path.stat().st_size
    unsigned = Seal.model_validate({"format": FORMAT, "bytes": size, **places})
    with path.open("r+b") as raw:
        signed = unsigned.model_copy(update={"md5": unsigned.digest(raw)})
        raw.seek(0)
        raw.write(f"{signed.model_dump_json()}\n".encode().ljust(USER_BLOCK, b"\0"))


def unusable(path: Path, wrong: str) -> UserError:
    """The error for a feature file that cannot be read; rows that are sound are not computed again."""
    remedy = f"run `python -m stages.preprocess {path.stem}`, which computes it again"
    return UserError(f"{path}: {wrong}; {remedy}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What the system says of a file that is read in the block is a UserError."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run `dvc repro preprocess`") from None
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        # HDF5's own words are of many lines
        reason = os.strerror(error.errno) if error.errno else in_one_line(error)
        raise unusable(path, f"cannot be read ({reason})") from None


class Rows(NamedTuple):
    """The numbers of one track and signal: where they lie, and what they must be."""

    path: Path
    track: str
    signal: str
    offset: int
    """Bytes from the start of the file."""
    shape: tuple[int, ...]
    """(frames, bins) or (samples,)."""
    checksum: int
    """CRC-32 of their bytes."""

    def read(self, handle: int, target: FloatArray, begin: int) -> None:
        """Fill `target` with the rows from number `begin` (a frame or sample) on, as they are.

        handle: a descriptor of the file. Raises UserError when they cannot be read.
        """
        with reading(self.path):
            offset = self.offset + 4 * math.prod(self.shape[1:]) * begin
            if os.preadv(handle, [target.data], offset) != target.nbytes:
                raise unusable(self.path, "ends too early")

    def pieces(self, handle: int) -> Iterator[tuple[int, FloatArray]]:
        """All rows in pieces, each with the number of its first; a piece is valid until the next.

        Raises UserError behind the last piece unless all of them are what was stored.
        """
        size = max(PIECE // (4 * math.prod(self.shape[1:])), 1)
        buffer = np.empty((min(size, self.shape[0]), *self.shape[1:]), np.float32)
        checksum = 0
        for begin in range(0, self.shape[0], size):
            piece = buffer[: self.shape[0] - begin]
            self.read(handle, piece, begin)
            checksum = zlib.crc32(piece.data, checksum)
            yield begin, piece
        if checksum != self.checksum:
            what = f"{self.track}, {self.signal}: damaged (its checksum is another)"
            raise unusable(self.path, what)


@dataclass(frozen=True)
class FeatureFile:
    """What a feature file holds, and where in it; the file is opened whenever rows are read."""

    path: Path
    kinds: tuple[str, ...]
    """Of which there are log magnitudes."""
    sounds: tuple[str, ...]
    """Of which there are waveforms: the sources, or the only kind of a folder."""
    signal: Signal
    index: pd.DataFrame
    """Per track (its id is the index): first_frame, frames, first_sample, samples."""
    silent: NDArray[np.bool_]
    """(tracks, sounds)."""
    keys: tuple[bytes, ...]
    """What each track's rows depend on (`Layout.keys`); empty where they were not computed."""
    checksums: dict[str, NDArray[np.uint32]]
    """Of each array's rows (tracks, signals)."""
    places: Seal

    @classmethod
    def open(cls, path: Path) -> "FeatureFile":
        """Raises UserError when the file is missing, damaged or of another format."""
        with reading(path):
            if not stat.S_ISREG(path.stat().st_mode):
                raise UserError(
                    f"{path}: not a file; remove it and run `python -m stages.preprocess {path.stem}`"
                )
            with path.open("rb") as raw:
                places = _checked(path, raw)
            with h5py.File(path, "r") as file:
                attributes = dict(file.attrs)
                kinds, sounds = (
                    tuple(map(str, attributes[name])) for name in ("signals", "sounds")
                )
                signal = _signal(attributes)
                columns = {name: file[f"index/{name}"][()] for name in INDEX}
                names = file["index/track"].asstr()[()]
                silent = file["index/silent"][()]
                keys = tuple(bytes(key) for key in file["index/key"][()])
                checksums = {name: file[f"index/{name}_crc32"][()] for name in ARRAYS}
        index = pd.DataFrame(columns, index=pd.Index(names, name="track"))
        return cls(path, kinds, sounds, signal, index, silent, keys, checksums, places)

    def rows(self, tracks: Sequence[str]) -> list[int]:
        """Positions of tracks in the index. Raises UserError when one is not in the file."""
        positions = self.index.index.get_indexer(pd.Index(tracks))
        if (positions < 0).any():
            unknown = [track for track, row in zip(tracks, positions, strict=True) if row < 0]
            raise UserError(f"{self.path}: no features of {unknown[0]!r}; run `dvc repro`")
        return [int(row) for row in positions]

    def frames_of(self, row: int, kind: str) -> Rows:
        """Where the log magnitudes (frames, bins) of a track are."""
        total = self.places.spectrogram[1] // (4 * len(self.kinds) * self.signal.bins)
        return self._rows("spectrogram", row, kind, self.kinds.index(kind), total)

    def samples_of(self, row: int, sound: str) -> Rows:
        """Where the waveform (samples,) of a track's source is, or of what stands alone."""
        total = self.places.waveform[1] // (4 * len(self.sounds))
        return self._rows("waveform", row, sound, self.sounds.index(sound), total)

    def _rows(self, array: str, row: int, signal: str, number: int, total: int) -> Rows:
        """total: rows that each signal has in the array."""
        unit, width = ("frame", (self.signal.bins,)) if array == "spectrogram" else ("sample", ())
        first, count = (
            int(self.index[name].to_numpy()[row]) for name in (f"first_{unit}", f"{unit}s")
        )
        (begin, _), track = getattr(self.places, array), str(self.index.index[row])
        offset = begin + 4 * math.prod(width) * (number * total + first)
        checksum = int(self.checksums[array][row, number])
        return Rows(self.path, track, signal, offset, (count, *width), checksum)

    def spectrogram(self, row: int, kinds: Sequence[str]) -> FloatArray:
        """Log magnitudes (kinds, frames, bins) of a track, by the kinds' names.

        Raises UserError, here and in `waveforms`, when they are not what was stored.
        """
        shape = (int(self.index["frames"].to_numpy()[row]), self.signal.bins)
        return self._read([self.frames_of(row, kind) for kind in kinds], shape)

    def waveforms(self, row: int) -> FloatArray:
        """Waveforms of a track's sources (sources, samples), or of what stands alone (1, samples)."""
        shape = (int(self.index["samples"].to_numpy()[row]),)
        return self._read([self.samples_of(row, sound) for sound in self.sounds], shape)

    def _read(self, wanted: Sequence[Rows], shape: tuple[int, ...]) -> FloatArray:
        found = np.empty((len(wanted), *shape), np.float32)
        with reading(self.path), self.path.open("rb") as file:
            for target, rows in zip(found, wanted, strict=True):
                for begin, piece in rows.pieces(file.fileno()):
                    target[begin : begin + len(piece)] = piece
        return found


def check_features(
    folder: Path, datasets: Iterable[str], sources: Sequence[str], signal: Signal
) -> None:
    """Raise UserError unless the feature files of `datasets` are there, whole, and of these parameters.

    Otherwise a run would learn or score what params.yaml does not say: DVC computes them again, a
    stage that is run by hand does not.
    """
    for name in datasets:
        found = FeatureFile.open(folder / f"{name}.h5")
        alone = found.kinds == found.sounds
        if found.signal != signal or not (alone or found.sounds == tuple(sources)):
            raise unusable(
                found.path, "computed with other `signal` or `sources` than params.yaml has"
            )


def _signal(attributes: Mapping[str, Any]) -> Signal:
    """A file from before windows had a choice says nothing of them."""
    fields = {name: attributes[name] for name in Signal.model_fields if name in attributes}
    return Signal.model_validate(
        {name: one if isinstance(one, str) else int(one) for name, one in fields.items()}
    )


def _checked(path: Path, file: BinaryIO) -> Seal:
    """The seal of an open file. Raises UserError unless it fits the file."""
    start = file.read(USER_BLOCK)
    try:
        found = Seal.model_validate_json(start.rstrip(b"\0"))
    except ValidationError:
        # before format 3 there was no user block
        earlier = start.startswith(b"\x89HDF\r\n\x1a\n")
        raise unusable(path, "of an earlier version" if earlier else "damaged") from None
    if found.format != FORMAT:
        raise unusable(path, f"feature format {found.format}, expected {FORMAT}")
    size = os.fstat(file.fileno()).st_size
    if found.bytes != size:
        raise unusable(path, f"damaged ({found.bytes} bytes were written, {size} are there)")
    if found.md5 != found.digest(file):
        raise unusable(path, "damaged (its index is not what was written)")
    return found
