"""Sum, mix down, resample: tracks of audio files, of which `audio.decoding` opens one.

A track's sources are read as a stream of blocks, so memory does not grow with its length. Its files
are read in step: what is of another shape or length than its siblings is a UserError that names it.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.audio.decoder import AGAIN, Decoder, Samples, shown
from pipeline.audio.decoding import open_audio
from pipeline.audio.resampling import Resampler
from pipeline.errors import UserError
from pipeline.tracks import Track

BLOCK = 441_000
"""Samples per block: ten seconds of CD audio, 3.5 MB a stereo file."""

_SIDES = ("left", "right")


class AudioInfo(NamedTuple):
    """What is known of audio before it is decoded."""

    sample_rate: int
    """Hz."""
    channels: int
    samples: int | None
    """Samples per channel; None when only decoding tells."""


class _Input(NamedTuple):
    """What is decoded once, whichever parts of sources it holds."""

    file: str
    stream: int | None


def track_info(track: Track, root: Path, names: Sequence[str]) -> AudioInfo:
    """The common rate, channels and length of the sources `names`, from the files' headers.

    The length is None when one of the files does not announce it. Raises UserError as
    `stream_sources` does, but for what only decoding shows.
    """
    with ExitStack() as stack:
        return _agreed(track, names, _open_all(track, root, names, stack))


def stream_sources(
    track: Track, root: Path, names: Sequence[str], block: int = BLOCK, mono: bool = False
) -> Iterator[Samples]:
    """Yield the sources `names` in blocks `(sources, channels, samples)`, at the track's own rate.

    mono: the channels of every file are averaged, and `channels` is 1. All blocks but the last have
    `block` samples. The parts of a source are summed, a source without parts is zero. Each file or
    stream is read once, whichever sources it belongs to. Raises UserError when a file cannot be used
    (see `open_audio` and `Decoder.read`), differs from the others in rate, length or channels, or lacks
    the channel that a source is on.
    """
    with ExitStack() as stack:
        inputs = _open_all(track, root, names, stack)
        channels = _agreed(track, names, inputs).channels
        for decoded in _in_step(inputs, block):
            count = next(iter(decoded.values())).shape[1]
            sources = np.zeros((len(names), 1 if mono else channels, count), np.float32)
            for index, name in enumerate(names):
                for part in track.sources[name]:
                    found = decoded[_Input(part.file, part.stream)]
                    if part.channel is not None:
                        found = found[part.channel : part.channel + 1]
                    found = _average(found) if mono else found
                    sources[index] += found if part.gain == 1 else found * np.float32(part.gain)
            yield sources


def read_mono(
    track: Track, root: Path, names: Sequence[str], sample_rate: int, block: int = BLOCK
) -> Samples:
    """Load the sources `names` in mono at `sample_rate` Hz: `(sources, samples)`.

    The channels are averaged before resampling (as the paper's authors do). The result has
    `resampled_length` samples and does not depend on `block`, which bounds the memory used beside
    it. Raises UserError as `stream_sources` does.
    """
    rate = track_info(track, root, names).sample_rate
    # one each: with several channels soxr would have to take them apart
    resamplers = [Resampler(rate, sample_rate, 1) for _ in names]
    chunks: deque[Samples] = deque()
    for sources, last in _with_last(stream_sources(track, root, names, block, mono=True)):
        pairs = zip(resamplers, sources, strict=True)
        chunks.append(np.concatenate([one.push(source, last) for one, source in pairs]))
    return _joined(chunks, len(names))


def _with_last(blocks: Iterator[Samples]) -> Iterator[tuple[Samples, bool]]:
    """Each block and whether it is the last, which only the next one tells."""
    held = next(blocks, None)
    while held is not None:
        following = next(blocks, None)
        yield held, following is None
        held = following


def _joined(chunks: deque[Samples], sources: int) -> Samples:
    """Chunks one after the other, taken out of `chunks`: memory holds the whole once."""
    result = np.zeros((sources, sum(chunk.shape[1] for chunk in chunks)), np.float32)
    start = 0
    while chunks:
        chunk = chunks.popleft()
        result[:, start : start + chunk.shape[1]] = chunk
        start += chunk.shape[1]
    return result


def _in_step(inputs: dict[_Input, Decoder], block: int) -> Iterator[dict[_Input, Samples]]:
    """Read all inputs in blocks `(channels, samples)` of the same length until they end together."""
    count = block
    while count == block:
        decoded = {key: decoder.read(block) for key, decoder in inputs.items()}
        count = min(samples.shape[1] for samples in decoded.values())
        if count < block:
            ends = [_end(decoder, block) for decoder in inputs.values()]
            (key, _), *others = inputs.items()
            for (_, other), end in zip(others, ends[1:], strict=True):
                if end != ends[0]:
                    raise _mismatch(other.name, "samples", end, key, ends[0])
        if count:
            yield decoded


def _end(decoder: Decoder, block: int) -> int:
    """All samples of an input, which is read to its end where the header does not say."""
    while decoder.samples is None and decoder.read(block).shape[1]:
        pass
    return decoder.samples or decoder.position


def _mismatch(name: str, unit: str, mine: int, first: _Input, its: int) -> UserError:
    return UserError(
        f"{name}: {mine} {unit}, but {shown(Path(first.file).name, first.stream)} has {its} {unit}:"
        f" the files of a track must match; {AGAIN}"
    )


def _open_all(
    track: Track, root: Path, names: Sequence[str], stack: ExitStack
) -> dict[_Input, Decoder]:
    missing = [name for name in names if name not in track.sources]
    if missing:
        raise UserError(
            f"{track.dataset}, {track.id}: has no source {missing[0]!r};"
            f" it has {', '.join(sorted(track.sources))}"
        )
    keys = dict.fromkeys(
        _Input(part.file, part.stream) for name in names for part in track.sources[name]
    )
    if not keys:
        raise UserError(
            f"{track.dataset}, {track.id}: none of the sources {', '.join(names)} has a file"
        )
    return {key: stack.enter_context(open_audio(root / key.file, key.stream)) for key in keys}


def _agreed(track: Track, names: Sequence[str], inputs: dict[_Input, Decoder]) -> AudioInfo:
    """The shape that all inputs share; each is compared with the first."""
    infos: dict[_Input, AudioInfo] = {}
    for name in names:
        for part in track.sources[name]:
            key = _Input(part.file, part.stream)
            decoder = inputs[key]
            if part.channel is not None:
                _check_channels(track, key, decoder)
            channels = decoder.channels if part.channel is None else 1
            infos[key] = AudioInfo(decoder.sample_rate, channels, decoder.samples)
    (first, expected), *others = infos.items()
    for key, info in others:
        for unit, mine, its in zip(("Hz", "channels", "samples"), info, expected, strict=True):
            if mine is not None and its is not None and mine != its:
                raise _mismatch(inputs[key].name, unit, mine, first, its)
    known = all(info.samples is not None for info in infos.values())
    return expected if known else expected._replace(samples=None)


def _check_channels(track: Track, key: _Input, decoder: Decoder) -> None:
    """A file whose channels are sources has exactly those channels."""
    places = {
        part.channel: source
        for source, parts in sorted(track.sources.items())
        for part in parts
        if (part.file, part.stream) == key and part.channel is not None
    }
    channels, expected = decoder.channels, max(places) + 1
    if channels == expected:
        return
    meaning = ", ".join(
        f"{_SIDES[channel] if expected == 2 else f'channel {channel}'} {places[channel]}"
        for channel in sorted(places)
    )
    raise UserError(
        f"{decoder.name}: {channels} channel{'s' * (channels != 1)}, expected {expected} ({meaning});"
        f" {AGAIN}"
    )


def _average(decoded: Samples) -> Samples:
    """The mean of the channels (1, samples)."""
    if len(decoded) == 1:
        return decoded
    # not mean(): decoded samples lie frame by frame, and it would go through them in pairs
    total: Samples = decoded[0] + decoded[1]
    for channel in decoded[2:]:
        total += channel
    total /= len(decoded)
    averaged: Samples = total[None]
    return averaged
