"""One open audio file: decoded in blocks, by libsndfile or ffmpeg, with everything checked.

libsndfile decodes what it knows, in this process: WAV, FLAC, AIFF, OGG and the like. ffmpeg decodes
everything else: MP4, Matroska, WMA, streams of a container, and MP3, where libsndfile believes a
length that is only estimated (a VBR file without Xing header lost three quarters of its audio).
What a file is, its content says, never its name. What is wrong with it is one line: UserError.
"""

import os
import re
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipeline.audio import ffmpeg
from pipeline.audio.headers import audio_bytes
from pipeline.errors import UserError

Samples = NDArray[np.float32]

AGAIN = "copy or download it again"
MAX_CHANNELS = 64
RATES = (1000, 1_000_000)
"""Hz; beyond, a header is damaged, and resampling to a usual rate would fill the memory."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Decoder(ABC):
    """An open audio file or one audio stream of it. Close it, or use it in a `with` block."""

    def __init__(self, name: str, file: BinaryIO, sample_rate: int, channels: int) -> None:
        self.name = name
        """For error messages: path and stream."""
        self.sample_rate = sample_rate
        """Hz."""
        self.channels = channels
        self.samples: int | None = None
        """Samples per channel, exact; None when only decoding tells."""
        self.position = 0
        """Samples per channel read so far."""
        self._file = file
        self._floating = True
        """Whether it can hold NaN and infinities."""

    def read(self, count: int) -> Samples:
        """The next samples `(channels, count)`; fewer only at the end, then none.

        Raises UserError for what decoding shows: damaged, truncated, not a single sample, NaN or
        infinite samples, ffmpeg missing or stalled.
        """
        decoded = self._read(count)
        # The extremes are finite only if everything is, and need no array of their own.
        extremes = [decoded.min(), decoded.max()] if self._floating and decoded.size else []
        if not np.isfinite(extremes).all():
            first = int(np.isfinite(decoded).all(axis=0).argmin())
            seconds = (self.position + first) / self.sample_rate
            raise _error(self.name, f"NaN or infinite samples, the first at {seconds:.3f} s")
        self.position += decoded.shape[1]
        if decoded.shape[1] < count and self.position == 0:
            raise _error(self.name, "holds no samples")
        return decoded

    def close(self) -> None:
        """Release the file and whatever decodes it; may be called twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _read(self, count: int) -> Samples: ...


class _Libsndfile(Decoder):
    samples: int

    def __init__(self, name: str, file: BinaryIO, sound: soundfile.SoundFile) -> None:
        super().__init__(name, file, sound.samplerate, sound.channels)
        self._sound = sound
        self.samples = sound.frames
        self._floating = sound.subtype != "PCM_16"

    def _read(self, count: int) -> Samples:
        left = min(count, self.samples - self.position)
        try:
            if not self._floating:
                # the same numbers as libsndfile's float32, several times as fast as it makes them
                read = self._sound.read(left, dtype="int16", always_2d=True)
                decoded: Samples = read.T.astype(np.float32)
                decoded *= np.float32(2**-15)
            else:
                decoded = self._sound.read(left, dtype="float32", always_2d=True).T
        except soundfile.LibsndfileError as error:
            raise _error(self.name, f"damaged ({error.error_string.rstrip('.')})") from None
        if decoded.shape[1] < left:
            raise _error(
                self.name,
                f"truncated: its header announces {self.samples} samples,"
                f" {self.position + decoded.shape[1]} can be decoded",
            )
        return decoded

    def close(self) -> None:
        self._sound.close()
        super().close()


class _Ffmpeg(Decoder):
    def __init__(self, name: str, file: BinaryIO, index: int, stream: ffmpeg.AudioStream) -> None:
        super().__init__(name, file, stream.sample_rate, stream.channels)
        self._stream = stream
        self._index = index
        # Started by the first read: for the header alone it is not needed.
        self._output: ffmpeg.Output | None = None
        self._ended = False

    def _read(self, count: int) -> Samples:
        size = 4 * self.channels
        if self._ended:
            return np.zeros((self.channels, 0), np.float32)
        try:
            if self._output is None:
                self._output = ffmpeg.Output(self._file.fileno(), self._index, self._stream)
            data = self._output.read(count * size)
        except ffmpeg.FfmpegError as error:
            raise _failed(self.name, error, "cannot be decoded") from None
        decoded = np.frombuffer(data, "<f4", len(data) // size * self.channels)
        decoded = decoded.astype(np.float32, copy=False).reshape(-1, self.channels).T
        if decoded.shape[1] < count:
            self._ended = True
            self._check_duration((self.position + decoded.shape[1]) / self.sample_rate)
        return decoded

    def _check_duration(self, seconds: float) -> None:
        """Announced durations are rounded and count what decoders drop at both ends."""
        announced = self._stream.seconds
        if announced is not None and announced - seconds > max(1.0, 0.01 * announced):
            raise _error(
                self.name,
                f"truncated: its header announces {announced:.1f} s, {seconds:.1f} s can be decoded",
            )

    def close(self) -> None:
        if self._output is not None:
            self._output.close()
            self._output = None
        self._ended = True
        super().close()


def open_audio(path: Path, stream: int | None = None) -> Decoder:
    """Open an audio file, or the audio stream `stream` (from 0) of a container; None: the first.

    Raises UserError for a file that is missing, unreadable, no regular file, empty, no audio,
    shorter than its header says, of absurd shape, or in need of ffmpeg where there is none.
    """
    name = shown(path, stream)
    file = _open_regular(path, name)
    try:
        decoder = _decoder(file, name, stream)
        _check_shape(decoder)
    except BaseException:
        file.close()
        raise
    return decoder


def shown(path: Path | str, stream: int | None = None) -> str:
    """A path as it may stand in a line of text, with the stream that is meant."""
    unprintable = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
    text = re.sub(unprintable, lambda match: ascii(match[0])[1:-1], str(path))
    return text if stream is None else f"{text} (stream {stream})"


def _error(name: str, wrong: str, remedy: str = AGAIN) -> UserError:
    return UserError(f"{name}: {wrong}; {remedy}")


def _failed(name: str, error: ffmpeg.FfmpegError, what: str) -> UserError:
    if isinstance(error, ffmpeg.NotInstalledError):
        return _error(name, str(error), "install ffmpeg (`make ffmpeg`, or your package manager)")
    return _error(name, f"{what} ({error})")


def _open_regular(path: Path, name: str) -> BinaryIO:
    """Open what is a file: the look comes first, since opening a named pipe waits for a writer."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path.open("rb")
    except FileNotFoundError:
        link = path.is_symlink()
        wrong = "a link to a file that does not exist" if link else "no such file"
        raise _error(name, wrong) from None
    except OSError as error:
        raise _error(name, f"cannot be read ({error.strerror})") from None
    except ValueError as error:  # a NUL in the name
        raise _error(name, f"cannot be read ({error})") from None
    if stat.S_ISDIR(mode):
        raise _error(name, "cannot be read (Is a directory)")
    raise _error(name, f"not a regular file but {_KINDS.get(stat.S_IFMT(mode), 'something else')}")


def _decoder(file: BinaryIO, name: str, stream: int | None) -> Decoder:
    try:
        size = file.seek(0, os.SEEK_END)
        announced, present = audio_bytes(file, size)
        file.seek(0)
        start = file.read(3)
    except OSError as error:
        raise _error(name, f"cannot be read ({error.strerror})") from None
    if size == 0:
        raise _error(name, "empty file (0 bytes)")
    # libsndfile silently shortens the header of a truncated file to what is there.
    if announced > present:
        raise _error(
            name, f"truncated: its header announces {announced} bytes of audio, {present} are there"
        )
    # MP3 begins with a tag or a frame; libsndfile would also complain about it on stderr.
    mp3 = start == b"ID3" or (len(start) > 1 and start[0] == 0xFF and start[1] >= 0xE0)
    if stream is None and not mp3 and (sound := _libsndfile(file)):
        if sound.frames < 1:
            sound.close()
            raise _error(name, "holds no samples")
        return _Libsndfile(name, file, sound)
    try:
        streams = _streams(file)
    except ffmpeg.FfmpegError as error:
        raise _failed(name, error, "not an audio file that can be decoded") from None
    index = stream or 0
    if not streams:
        raise _error(name, "not an audio file: it has no audio stream")
    if not 0 <= index < len(streams):
        raise _error(name, f"it has {len(streams)} audio streams, counted from 0")
    return _Ffmpeg(name, file, index, streams[index])


def _check_shape(decoder: Decoder) -> None:
    absurd = None
    if not 1 <= decoder.channels <= MAX_CHANNELS:
        absurd = f"{decoder.channels} channels, expected 1 to {MAX_CHANNELS}"
    elif not RATES[0] <= decoder.sample_rate <= RATES[1]:
        absurd = f"{decoder.sample_rate} Hz, expected {RATES[0]} to {RATES[1]}"
    if absurd:
        decoder.close()
        raise _error(decoder.name, absurd)


def _libsndfile(file: BinaryIO) -> soundfile.SoundFile | None:
    """The file as libsndfile opens it; None if it is ffmpeg's."""
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    try:
        # By descriptor: libsndfile believes some suffixes when the content says nothing.
        sound = soundfile.SoundFile(file.fileno(), closefd=False)
    except soundfile.LibsndfileError:
        return None
    # A FLAC header without a length reads as 2^63 - 1 samples, which libsndfile then cannot read.
    if sound.format == "MP3" or sound.subtype.startswith("MPEG") or sound.frames > 2**60:
        sound.close()
        return None
    return sound


_probed: dict[tuple[int, ...], tuple[ffmpeg.AudioStream, ...]] = {}


def _streams(file: BinaryIO) -> tuple[ffmpeg.AudioStream, ...]:
    """One ffprobe for all streams of a file, as long as the file is the same."""
    seen = os.fstat(file.fileno())
    key = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
    if key not in _probed:
        if len(_probed) >= 256:
            _probed.clear()
        _probed[key] = ffmpeg.streams(file.fileno())
    return _probed[key]
