"""Opens any audio file: libsndfile decodes what it knows, FFmpeg's libraries everything else.

libsndfile: WAV, FLAC, AIFF, OGG and the like. libav: MP4, Matroska, WMA, streams of a container, and
MP3, where libsndfile believes a length that is only estimated (a VBR file without Xing header lost
three quarters of its audio). What a file is, its content says, never its name. What is wrong with it
is one line: UserError.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import soundfile

from pipeline.audio.decoder import Decoder, Samples, shown, unusable
from pipeline.audio.headers import after_tag, before_tags, wrong_length
from pipeline.audio.libav import Libav

MAX_CHANNELS = 64
RATES = (1000, 1_000_000)
"""Hz; beyond, a header is damaged, and resampling to a usual rate would fill the memory."""

VERSIONS = (
    f"PyAV {av.__version__} {av.library_versions} libsndfile {soundfile.__libsndfile_version__}"
)
"""Of everything that decodes: with another one, a file may have other samples, or another length."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# What libsndfile reads behind an ID3 tag; it would take everything else there for MP3.
_UNTAGGED = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b".snd", b"caff")
# MP3 is libav's; the others are those of samplers and toys, and no header says how long they are.
_OTHERS = ("MP3", "MPC2K", "SDS", "WVE", "XI")


class _Libsndfile(Decoder):
    samples: int

    def __init__(
        self, name: str, file: BinaryIO, sound: soundfile.SoundFile, salvage: bool
    ) -> None:
        super().__init__(name, file, sound.samplerate, sound.channels, salvage)
        self._sound = sound
        self.samples = sound.frames
        self.seconds = sound.frames / sound.samplerate
        self._floating = sound.subtype != "PCM_16"
        self._packed = sound.format == "FLAC"

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
            self.complain(f"damaged ({error.error_string.rstrip('.')})")
            decoded = np.zeros((self.channels, 0), np.float32)
        if decoded.shape[1] < left:
            found = self.position + decoded.shape[1]
            self.complain(
                f"truncated: its header announces {self.samples} samples, {found} can be decoded"
            )
            self.samples = found
        elif self._packed and self.position + left == self.samples:
            self._check_end()
        return decoded

    def _check_end(self) -> None:
        """libFLAC reads some bytes ahead, but not a file's second recording."""
        self._packed = False
        read = self._file.tell()
        if read < before_tags(self._file, self._file.seek(0, os.SEEK_END)):
            self.complain("holds more than its header announces")
        self._file.seek(read)

    def close(self) -> None:
        self._sound.close()
        super().close()


def open_audio(path: Path, stream: int | None = None, salvage: bool = False) -> Decoder:
    """Open an audio file, or the audio stream `stream` (from 0) of a container.

    stream: None is the one that the file marks as its default, else the first. salvage: what is damaged
    or cut off is silent or missing, and said in `Decoder.losses`, instead of an error. Raises
    DamagedError for a file that is shorter or longer than its header says, and UserError for one that
    is missing, unreadable, no regular file, empty, no audio or of absurd shape.
    """
    name = shown(path, stream)
    file = _open_regular(path, name)
    try:
        decoder = _decoder(file, path, name, stream, salvage)
        _check_shape(decoder)
    except BaseException:
        file.close()
        raise
    return decoder


def _open_regular(path: Path, name: str) -> BinaryIO:
    """Open what is a file: the look comes first, since opening a named pipe waits for a writer."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path.open("rb", buffering=0)  # libsndfile moves in it too
    except FileNotFoundError:
        link = path.is_symlink()
        wrong = "a link to a file that does not exist" if link else "no such file"
        raise unusable(name, wrong) from None
    except OSError as error:
        raise unusable(name, f"cannot be read ({error.strerror})") from None
    except ValueError as error:  # a NUL in the name
        raise unusable(name, f"cannot be read ({error})") from None
    if stat.S_ISDIR(mode):
        raise unusable(name, "cannot be read (Is a directory)")
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    raise unusable(name, f"not a regular file but {kind}")


def _decoder(file: BinaryIO, path: Path, name: str, stream: int | None, salvage: bool) -> Decoder:
    try:
        size = file.seek(0, os.SEEK_END)
        wrong = wrong_length(file, size)
        sound = _libsndfile(file) if stream is None else None
    except OSError as error:
        raise unusable(name, f"cannot be read ({error.strerror})") from None
    if size == 0:
        raise unusable(name, "empty file (0 bytes)")
    decoder: Decoder
    # libsndfile ends where FLAC is damaged, and closes up the holes in Ogg
    packed = sound and (sound.format == "FLAC" or (sound.format == "OGG" and wrong))
    if sound and not (salvage and packed):
        decoder = _Libsndfile(name, file, sound, salvage)
    else:
        decoder = Libav(name, path, file, stream, salvage)
    if wrong:
        decoder.complain(wrong)
    return decoder


def _check_shape(decoder: Decoder) -> None:
    absurd = None
    if not 1 <= decoder.channels <= MAX_CHANNELS:
        absurd = f"{decoder.channels} channels, expected 1 to {MAX_CHANNELS}"
    elif not RATES[0] <= decoder.sample_rate <= RATES[1]:
        absurd = f"{decoder.sample_rate} Hz, expected {RATES[0]} to {RATES[1]}"
    if absurd:
        decoder.close()
        raise unusable(decoder.name, absurd)


def _libsndfile(file: BinaryIO) -> soundfile.SoundFile | None:
    """The file as libsndfile opens it; None if it is libav's."""
    start = after_tag(file)
    file.seek(start)
    head = file.read(28).ljust(28, b"\0")
    # MP3 begins with a tag or a frame; libsndfile would also complain about it on stderr.
    mp3 = len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0
    if mp3 or (start and head[:4] not in _UNTAGGED):
        return None
    if head[:4] == b"OggS" and head[26] == 1:
        file.seek(start + len(head) + head[27] + 5)
        if int.from_bytes(file.read(1), "big") & 2:  # another stream begins on the second page
            return None
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    try:
        # By descriptor: libsndfile believes some suffixes when the content says nothing.
        sound = soundfile.SoundFile(file.fileno(), closefd=False)
    except soundfile.LibsndfileError:
        return None
    # A FLAC header without a length reads as 2^63 - 1 samples, which libsndfile then cannot read; a WAV
    # header that was never finished as none.
    other = sound.format in _OTHERS or sound.subtype.startswith("MPEG")
    if other or not 0 < sound.frames < 2**60:
        sound.close()
        return None
    return sound
