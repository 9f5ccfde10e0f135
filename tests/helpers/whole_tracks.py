"""A track's sources as a whole, and a file's header, as tests look at them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.audio.decoding import Samples, open_audio
from pipeline.audio.reading import AudioInfo, stream_sources, track_info
from pipeline.tracks import Track


def probe(path: Path, stream: int | None = None) -> AudioInfo:
    """What a file's header says, or that of one audio stream (from 0) of a container."""
    with open_audio(path, stream) as opened:
        return AudioInfo(opened.sample_rate, opened.channels, opened.samples)


def read_sources(track: Track, root: Path, names: Sequence[str]) -> tuple[Samples, int]:
    """The sources `names` as (sources, channels, samples), with their rate in Hz."""
    rate = track_info(track, root, names).sample_rate
    return np.concatenate([*stream_sources(track, root, names)], axis=2), rate
