"""A track's sources as a whole, and a file's header, as tests look at them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.audio.decoder import Samples
from pipeline.audio.decoding import open_audio
from pipeline.audio.reading import AudioInfo, stream_sources, track_info
from pipeline.tracks import Track


def probe(path: Path, stream: int | None = None) -> AudioInfo:
    """What a file's header says, or that of one audio stream (from 0) of a container."""
    with open_audio(path, stream) as opened:
        return AudioInfo(opened.sample_rate, opened.channels, opened.samples)


def whole(
    path: Path, stream: int | None = None, count: int = 1 << 20, salvage: bool = False
) -> Samples:
    """All samples (channels, samples) of a file, read in blocks of `count`."""
    with open_audio(path, stream, salvage) as decoder:
        blocks = [decoder.read(count)]
        while blocks[-1].shape[1]:
            blocks.append(decoder.read(count))
        read = np.concatenate(blocks, axis=1)
        assert read.dtype == np.float32
        assert decoder.position == read.shape[1]
        assert decoder.samples in (None, read.shape[1])
        return read


def read_sources(track: Track, root: Path, names: Sequence[str]) -> tuple[Samples, int]:
    """The sources `names` as (sources, channels, samples), with their rate in Hz."""
    rate = track_info(track, root, names).sample_rate
    return np.concatenate([*stream_sources(track, root, names)], axis=2), rate
