"""The features of one recording: waveforms at the working rate and their log magnitudes."""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.audio import reading, resampling
from pipeline.errors import UserError
from pipeline.features.stft import frame_count, log_magnitude, pad, stft_of_padded
from pipeline.params import Signal
from pipeline.tracks import MIXTURE, Recording, mixture_of

BLOCK_FRAMES = 2048
"""Frames that are transformed at a time: a long track's complex spectrum is several times its size."""

FloatArray = NDArray[np.float32]


class Extracted(NamedTuple):
    """What `extract` computed."""

    path: Path
    """The waveforms, then the log magnitudes of each kind; `load_extracted` reads it."""
    waveforms: tuple[int, ...]
    """CRC-32 of each waveform."""
    spectrograms: tuple[int, ...]
    """CRC-32 of the log magnitudes of each kind."""


def working_length(recording: Recording, sample_rate: int) -> int:
    """Samples of a recording at the working rate, at least 1."""
    return resampling.resampled_length(recording.samples, recording.sample_rate, sample_rate)


def extract(
    recording: Recording, root: Path, kinds: Sequence[str], signal: Signal, folder: Path
) -> Extracted:
    """Compute the waveforms and log magnitudes of one recording into a new file in `folder`.

    A file and no arrays: a worker hands its results over through a pipe, which would need several
    times their size in memory, here and where they wait. Waveforms are those of the sources behind a
    mixture, or what stands alone. Raises UserError when the recording cannot be read, has
    another length than it says, or samples so large that a magnitude is infinite.
    """
    track, paired = recording.track, kinds[0] == MIXTURE and len(kinds) > 1
    sources = kinds[1:] if paired else kinds
    waveforms = reading.read_mono(track, root, sources, signal.sample_rate)
    expected = working_length(recording, signal.sample_rate)
    if waveforms.shape[1] != expected:
        raise UserError(
            f"{root}: {track.id} has another length than data/inventory says: the file, or what decodes"
            f" it, has changed; run `dvc repro -f download@{track.dataset}`"
        )
    with NamedTemporaryFile(dir=folder, delete=False) as file:
        for waveform in waveforms:
            file.write(waveform.data)
        shown = (mixture_of(waveforms), *waveforms) if paired else waveforms
        checksums = []
        for kind, waveform in zip(kinds, shown, strict=True):
            checksum = 0
            for block in _log_magnitudes(waveform, signal):
                if not np.isfinite(block).all():
                    raise _too_loud(recording, root, kind)
                checksum = zlib.crc32(block.data, checksum)
                file.write(block.data)
            checksums.append(checksum)
    return Extracted(
        Path(file.name),
        tuple(zlib.crc32(waveform.data) for waveform in waveforms),
        tuple(checksums),
    )


def _too_loud(recording: Recording, root: Path, kind: str) -> UserError:
    track = recording.track
    name = next(part.file for parts in track.sources.values() for part in parts)
    return UserError(
        f"{root / name}: {track.id}: its {kind} has infinite magnitudes: samples far beyond full"
        f" scale (1.0); replace it, or take it out of the folder and run"
        f" `python -m stages.download {track.dataset}`"
    )


def load_extracted(
    path: Path, samples: int, sounds: int, signal: Signal
) -> tuple[FloatArray, FloatArray]:
    """Waveforms (sounds, samples) and log magnitudes (kinds, frames, bins) from `extract`."""
    data = np.memmap(path, np.float32, "r")
    waveforms, spectrograms = np.split(data, [sounds * samples])
    frames = frame_count(samples, signal)
    return waveforms.reshape(sounds, samples), spectrograms.reshape(-1, frames, signal.bins)


def _log_magnitudes(waveform: FloatArray, signal: Signal) -> Iterator[FloatArray]:
    """Log magnitudes (frames, bins) of a waveform (samples,), up to BLOCK_FRAMES at a time."""
    padded = pad(torch.from_numpy(waveform), signal)
    frames = frame_count(len(waveform), signal)
    for first in range(0, frames, BLOCK_FRAMES):
        count = min(BLOCK_FRAMES, frames - first)
        start = first * signal.hop_size
        stretch = padded[start : start + signal.samples(count)]
        yield log_magnitude(stft_of_padded(stretch, signal)).T.contiguous().numpy()
