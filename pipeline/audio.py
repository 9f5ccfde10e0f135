"""Decode, mix down, resample, write: everything that touches samples in audio files.

A track's sources are read as a stream of blocks, so memory does not grow with its length. Every
file is checked while it is read: what is truncated, not finite or of another shape than its
siblings is a UserError that names the file.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.files import atomic_path
from pipeline.tracks import Part, Track

Samples = NDArray[np.float32]

BLOCK = 441_000
"""Samples per block: ten seconds of CD audio, 3.5 MB a stereo file."""

# soxr's highest quality computes in double precision: the float32 result hardly depends on the CPU.
_QUALITY = "VHQ"
_AGAIN = "copy or download it again"
# A WAV writer that does not know the length in advance (a pipe) leaves one of these as the size.
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
_SIDES = ("left", "right")


class AudioInfo(NamedTuple):
    """What is known of audio before it is decoded."""

    sample_rate: int
    """Hz."""
    channels: int
    samples: int
    """Samples per channel."""


def probe(path: Path) -> AudioInfo:
    """Read a file's header.

    Raises UserError for a file that is missing, unreadable, empty, no audio, truncated (shorter
    than its header says) or without a single sample.
    """
    with _open(path) as file:
        return AudioInfo(file.samplerate, file.channels, file.frames)


def track_info(track: Track, root: Path, names: Sequence[str]) -> AudioInfo:
    """The common rate, channels and length of the sources `names`, from the files' headers.

    Raises UserError as `stream_sources` does, but for what only decoding shows.
    """
    with ExitStack() as stack:
        return _agreed(track, root, names, _open_all(track, root, names, stack))


def stream_sources(
    track: Track, root: Path, names: Sequence[str], block: int = BLOCK
) -> Iterator[Samples]:
    """Yield the sources `names` in blocks `(sources, channels, samples)`, at the track's own rate.

    All blocks but the last have `block` samples. The parts of a source are summed, a source
    without parts is zero. Each file is read once, whichever sources it belongs to. Raises UserError
    when a file cannot be used (see `probe`), differs from the others in rate, length or channels,
    lacks the channel that a source is on, ends early or holds NaN or infinite samples.
    """
    with ExitStack() as stack:
        files = _open_all(track, root, names, stack)
        info = _agreed(track, root, names, files)
        for start in range(0, info.samples, block):
            count = min(block, info.samples - start)
            decoded = {
                name: _decode(root / name, file, start, count) for name, file in files.items()
            }
            sources = np.zeros((len(names), info.channels, count), np.float32)
            for index, name in enumerate(names):
                for part in track.sources[name]:
                    sources[index] += _select(part, decoded[part.file])
            yield sources


def read_sources(track: Track, root: Path, names: Sequence[str]) -> tuple[Samples, int]:
    """Load the sources `names` as `(sources, channels, samples)` with their rate in Hz.

    The whole track is in memory: 42 MB a source for four minutes of CD audio. Raises UserError as
    `stream_sources` does.
    """
    info = track_info(track, root, names)
    sources = np.empty((len(names), info.channels, info.samples), np.float32)
    start = 0
    for block in stream_sources(track, root, names):
        sources[:, :, start : start + block.shape[2]] = block
        start += block.shape[2]
    return sources, info.sample_rate


def read_mono(
    track: Track, root: Path, names: Sequence[str], sample_rate: int, block: int = BLOCK
) -> Samples:
    """Load the sources `names` in mono at `sample_rate` Hz: `(sources, samples)`.

    The channels are averaged before resampling (as the paper's authors do). The result has
    `resampled_length` samples and does not depend on `block`, which bounds the memory used beside
    it. Raises UserError as `stream_sources` does.
    """
    info = track_info(track, root, names)
    blocks = (
        mixed.mean(axis=1, dtype=np.float32) for mixed in stream_sources(track, root, names, block)
    )
    length = resampled_length(info.samples, info.sample_rate, sample_rate)
    result = np.zeros((len(names), length), np.float32)
    start = 0
    for chunk in _resample(blocks, info, len(names), sample_rate):
        # The resampler may return one sample more than the rounded length; fewer stay zero.
        used = min(chunk.shape[1], length - start)
        result[:, start : start + used] = chunk[:, :used]
        start += used
    return result


def resampled_length(samples: int, rate: int, target: int) -> int:
    """How many of `samples` at `rate` Hz there are at `target` Hz, at least one."""
    return max(1, round(samples * target / rate))


def write_wav(path: Path, samples: NDArray[Any], sample_rate: int) -> None:
    """Write `samples` `(channels, samples)` as a 32-bit float WAV file: no rounding, no clipping.

    The file appears whole or not at all. Raises UserError when it cannot be written.
    """
    data = np.ascontiguousarray(samples.T, np.float32)
    # A plain WAV header counts bytes in 32 bits.
    container = "WAV" if data.nbytes < 2**32 - 2**16 else "RF64"
    with atomic_path(path) as partial:
        try:
            soundfile.write(str(partial), data, sample_rate, subtype="FLOAT", format=container)
        # soundfile asserts that every sample was written; on a full disk not every one is.
        except (soundfile.LibsndfileError, AssertionError) as error:
            reason = str(error) or "not all samples were written, is the disk full?"
            raise UserError(f"{path}: cannot be written: {reason}") from error


def _resample(
    blocks: Iterator[Samples], info: AudioInfo, sources: int, sample_rate: int
) -> Iterator[Samples]:
    if info.sample_rate == sample_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(
        info.sample_rate, sample_rate, sources, dtype="float32", quality=_QUALITY
    )
    remaining = info.samples
    for block in blocks:
        remaining -= block.shape[1]
        # soxr wants (samples, channels).
        yield stream.resample_chunk(np.ascontiguousarray(block.T), last=remaining == 0).T


def _open_all(
    track: Track, root: Path, names: Sequence[str], stack: ExitStack
) -> dict[str, soundfile.SoundFile]:
    missing = [name for name in names if name not in track.sources]
    if missing:
        raise UserError(
            f"{track.dataset}, {track.id}: has no source {missing[0]!r};"
            f" it has {', '.join(sorted(track.sources))}"
        )
    files = dict.fromkeys(part.file for name in names for part in track.sources[name])
    if not files:
        raise UserError(
            f"{track.dataset}, {track.id}: none of the sources {', '.join(names)} has a file"
        )
    return {name: stack.enter_context(_open(root / name)) for name in files}


def _open(path: Path) -> soundfile.SoundFile:
    try:
        with path.open("rb") as raw:
            size = raw.seek(0, 2)
            announced, present = _wav_data_bytes(raw, size)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {_AGAIN}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {_AGAIN}") from None
    if size == 0:
        raise UserError(f"{path}: empty file (0 bytes); {_AGAIN}")
    # libsndfile silently shortens the header of a truncated WAV file to what is there.
    if announced > present:
        raise UserError(
            f"{path}: truncated: its header announces {announced} bytes of audio,"
            f" {present} are there; {_AGAIN}"
        )
    try:
        file = soundfile.SoundFile(str(path))
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"{path}: not an audio file that can be decoded ({error.error_string}); {_AGAIN}"
        ) from None
    if file.frames < 1:
        file.close()
        raise UserError(f"{path}: holds no samples; {_AGAIN}")
    return file


def _wav_data_bytes(file: BinaryIO, size: int) -> tuple[int, int]:
    """Bytes of audio that a WAV header announces, and that follow it; (0, 0) if unknown.

    RIFF and RF64 (EBU Tech 3306) are chunks of a four-letter name, a 32-bit size, and the content
    padded to an even number of bytes.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
        return 0, 0
    large = 0
    while len(chunk := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        if name == b"ds64":
            content = file.read(length)
            large = struct.unpack_from("<Q", content, 8)[0] if len(content) >= 16 else 0
            file.seek(length % 2, 1)
            continue
        if name == b"data":
            announced = large if head[:4] == b"RF64" and length == 0xFFFFFFFF else length
            return (0 if announced in _UNKNOWN_SIZES else announced), size - file.tell()
        file.seek(length + length % 2, 1)
    return 0, 0


def _agreed(
    track: Track, root: Path, names: Sequence[str], files: dict[str, soundfile.SoundFile]
) -> AudioInfo:
    """The shape that all files share; each is compared with the first."""
    infos: dict[str, AudioInfo] = {}
    for name in names:
        for part in track.sources[name]:
            file = files[part.file]
            channels = file.channels
            if part.channel is not None:
                _check_channels(track, root / part.file, part.file, channels)
                channels = 1
            infos[part.file] = AudioInfo(file.samplerate, channels, file.frames)
    (first, expected), *others = infos.items()
    for name, info in others:
        for unit, mine, its in (
            ("Hz", info.sample_rate, expected.sample_rate),
            ("channels", info.channels, expected.channels),
            ("samples", info.samples, expected.samples),
        ):
            if mine != its:
                raise UserError(
                    f"{root / name}: {mine} {unit}, but {Path(first).name} has {its} {unit}: the"
                    f" files of a track must match; {_AGAIN}"
                )
    return expected


def _check_channels(track: Track, path: Path, file: str, channels: int) -> None:
    """A file whose channels are sources has exactly those channels."""
    places = {
        part.channel: source
        for source, parts in sorted(track.sources.items())
        for part in parts
        if part.file == file and part.channel is not None
    }
    expected = max(places) + 1
    if channels == expected:
        return
    meaning = ", ".join(
        f"{_SIDES[channel] if expected == 2 else f'channel {channel}'} {places[channel]}"
        for channel in sorted(places)
    )
    raise UserError(
        f"{path}: {channels} channel{'s' * (channels != 1)}, expected {expected} ({meaning});"
        f" {_AGAIN}"
    )


def _decode(path: Path, file: soundfile.SoundFile, start: int, count: int) -> Samples:
    """The next `count` samples of a file as `(channels, samples)`."""
    try:
        decoded: Samples = file.read(count, dtype="float32", always_2d=True).T
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path}: damaged ({error.error_string}); {_AGAIN}") from None
    if decoded.shape[1] < count:
        raise UserError(
            f"{path}: truncated: its header announces {file.frames} samples,"
            f" {start + decoded.shape[1]} can be decoded; {_AGAIN}"
        )
    if not np.isfinite(decoded).all():
        finite = np.isfinite(decoded).all(axis=0)
        seconds = (start + int(finite.argmin())) / file.samplerate
        raise UserError(f"{path}: NaN or infinite samples, the first at {seconds:.3f} s; {_AGAIN}")
    return decoded


def _select(part: Part, decoded: Samples) -> Samples:
    return decoded if part.channel is None else decoded[part.channel : part.channel + 1]
