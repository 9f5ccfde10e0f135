"""Streams of MP4, Matroska, MP3 and the like, decoded by FFmpeg's libraries through PyAV.

Every packet is looked at: one that a decoder refuses, or that the file marks as corrupt, a hole between
two timestamps, and each line that FFmpeg would print as an error are complaints. Timestamps say where
samples belong.
"""

import errno
import logging
import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

import av
import av.error
import av.logging
import numpy as np
from av.audio.frame import AudioFrame
from av.stream import Disposition

from pipeline.audio.decoder import Decoder, Samples, shown, unusable
from pipeline.audio.frame_headers import FLAC_HEADER, flac_number, mpeg_frame_bytes
from pipeline.audio.headers import compared
from pipeline.errors import UserError, printable

STALL_SECONDS = 60.0
"""A file of which reading gives nothing for as long is given up."""

LATEST = 3600
"""Seconds. A stream that begins later, or lacks more, has a clock that is wrong."""

# Formats that hold their audio themselves. All others are refused before they are opened: playlists
# (concat, hls, dash, imf, sdp) would read other files, devices and text formats are no recordings.
_FORMATS = (
    "aa aac ac3 act adx aea aiff alp amr amrnb amrwb ape asf asf_o ast au avi avr bfstm bit brstm caf"
    " codec2 daud dsf dss dts dtshd dv eac3 epaf flac flv g723_1 gxf hca iff ilbc ircam"
    " kux lvf live_flv loas lxf matroska mlp mmf mov mp3 mpc mpc8 mpeg mpegts msf mtaf mxf nistsphere"
    " nsv nuv ogg oma osq paf pva pvf qcp qoa rka rm rso sbc shn sln sol sox svs tak truehd"
    " tta voc vqf w64 wav wc3movie wsd wtv wv xa xwma"
)
# One thread: tracks are decoded side by side, and the same samples come out.
_OPTIONS = {"format_whitelist": _FORMATS.replace(" ", ","), "threads": "1"}
_STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}

# Their clock begins at 0. That of transport streams begins anywhere, with the first stream; all other
# formats have none, and begin with their first sample.
_FROM_ZERO = frozenset({"asf", "avi", "flv", "matroska", "mov", "mxf"})
_ANYWHERE = frozenset({"mpeg", "mpegts", "wtv", "pva"})
_BARE = frozenset({"aac", "ac3", "dts", "eac3", "flac", "mp3", "tta", "wv"})
# Whose lengths `audio.headers` compares; libav marks the last packet of one that was never finished.
_PLAIN = frozenset({"aiff", "caf", "w64", "wav"})
# A header announces whole frames, or forgets one.
_FRAME = 2304

logging.getLogger("libav").addHandler(logging.NullHandler())  # what is not captured says nothing
av.logging.set_level(av.logging.WARNING)
av.logging.set_skip_repeated(False)  # a second file may say what the first one said


class Libav(Decoder):
    """An audio stream of a file as FFmpeg's libraries decode it."""

    def __init__(
        self, name: str, path: Path, file: BinaryIO, stream: int | None, salvage: bool
    ) -> None:
        """stream: among the audio streams, from 0; None: the default one, else the first.

        Raises UserError for a file that is none of FFmpeg's formats, or has no such stream.
        """
        self._source = _Source(file)
        try:
            with av.logging.Capture() as logs:
                self._container = av.open(
                    self._source, "r", options=_OPTIONS, metadata_errors="replace", buffer_size=2**16,
                    io_open=_refuse,
                )  # fmt: skip
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = self._source.wrong or _reason(logs, error)
            raise unusable(name, f"not an audio file that can be decoded ({reason})") from None
        streams = self._container.streams.audio
        if not streams:
            raise unusable(name, "not an audio file: it has no audio stream")
        if stream is None:
            defaults = (one for one in streams if one.disposition & Disposition.default)
            stream = streams.index(next(defaults, streams[0]))
            name = shown(path, stream) if len(streams) > 1 else name
        if not 0 <= stream < len(streams):
            raise unusable(name, f"it has {len(streams)} audio streams, counted from 0")
        self._stream = streams[stream]
        codec = self._stream.codec_context
        if codec is None:
            raise unusable(name, "its codec cannot be decoded")
        self._codec = codec.name.removesuffix("float")
        codec.thread_count = 1
        codec.options = _STRICT
        super().__init__(name, file, codec.sample_rate or 0, codec.channels, salvage)
        self._formats = set(self._container.format.name.split(","))
        self._clock = float(self._stream.time_base or 1)
        anywhere = self._formats & _ANYWHERE
        self._zero = (self._container.start_time or 0) / 1e6 if anywhere else 0.0
        """Seconds on the container's clock where its timeline begins."""
        guessed = any("Estimating duration from bitrate" in message for *_, message in logs)
        self.seconds = None if guessed else self._announced()
        self._resampler = av.AudioResampler("flt")
        self._last: Any = None
        self._first: float | None = None
        self._block = 0
        self._early = 0  # samples before the beginning of the timeline, still to come
        frames = self._frames()
        first = next(frames, None)
        if first:  # HE-AAC's header may know half of its rate and of its channels
            self.sample_rate, self.channels = first[0].sample_rate, first[0].layout.nb_channels
        self._placed = self._place(chain([first] if first else [], frames))
        self._left = np.zeros((self.channels, 0), np.float32)

    def close(self) -> None:
        """As `Decoder.close`."""
        self._placed = iter(())
        self._left = self._left[:, :0]
        self._container.close()
        super().close()

    def _read(self, count: int) -> Samples:
        blocks, known = [self._left], self._left.shape[1]
        while known < count:
            self._source.begin()
            block = next(self._placed, None)
            if block is None:
                break
            cut = min(self._early, block.shape[1])
            self._early -= cut
            blocks.append(block[:, cut:])
            known += blocks[-1].shape[1]
        joined = np.concatenate(blocks, axis=1) if len(blocks) > 1 else self._left
        # a copy: what is given must not hold what is kept
        self._left = joined[:, count:].copy()
        return joined[:, :count]

    def _place(self, frames: Iterable[tuple[AudioFrame, bool]]) -> Iterator[Samples]:
        """Blocks of samples from the beginning of the timeline, none missing."""
        rate, tick = self.sample_rate, self._clock * self.sample_rate
        given = decoded = 0  # samples: with silence, without
        held: Samples | None = None
        expected: float | None = None  # the clock's, in samples, where the held frame ends
        for frame, intact in frames:
            block = self._samples(frame)
            if block is None or not block.shape[1]:
                continue
            count = block.shape[1]
            at = None if frame.pts is None else frame.pts * self._clock * rate
            if held is None:
                packet = None if self._first is None else self._first * rate
                start = self._start(packet if self._by_packet(intact, tick) else at, tick)
                expected = at if intact else packet
                self._early, given = max(-start, 0), start
                yield from _silence(self.channels, start)
            else:
                yield held
                given += held.shape[1]
            if at is not None and expected is not None:
                missing = self._missing(at - expected, count, tick, given)
                yield from _silence(self.channels, missing)
                given += max(missing, 0)
                block = block[:, max(-missing, 0) :]
            held, decoded = block, decoded + count
            begin = at if at is not None else expected
            expected = None if begin is None else begin + count
        if held is not None:
            last = self._surplus(expected, tick, held.shape[1], given)
            yield held[:, : held.shape[1] - last]
            self._check_length(decoded - last)
            self._check_end()

    def _frames(self) -> Iterator[tuple[AudioFrame, bool]]:
        """Each frame, and whether everything so far was decoded."""
        intact = True
        packets = self._container.demux(self._stream)
        while True:
            with av.logging.Capture() as logs:
                try:
                    packet = next(packets, None)
                except av.error.FFmpegError as error:
                    packet = None
                    self._complain_at(None, _reason(logs, error))
                if self._source.wrong:
                    raise unusable(self.name, self._source.wrong)
                if packet is None:
                    self._check_logs(logs)
                    return
                if self._codec == "flac" and "flac" in self._formats:
                    self._number(packet)
                if packet.size and self._last is None:
                    self._first = self._packet_start(packet)
                frames: list[AudioFrame] = []
                wrong = self._wrong_packet(packet, logs)
                try:
                    if not wrong:
                        frames = packet.decode()
                except av.error.EOFError:
                    pass
                except (av.error.FFmpegError, ValueError) as error:
                    wrong = _reason(logs, error)
            if packet.size:
                self._last = packet
            if wrong:
                intact = False
                self._complain_at(packet.pts, wrong)
            elif self._check_logs(logs) and len(frames) > 1:
                frames = []  # which of them is whole, nobody knows
            for frame in frames:
                yield frame, intact

    def _wrong_packet(self, packet: Any, logs: list[Any]) -> str:
        said = f"Packet corrupt (stream = {self._stream.index},"
        if self._codec.startswith("pcm_") and self._formats & _PLAIN:
            return ""
        if packet.is_corrupt or any(said in message for *_, message in logs):
            return "marked as corrupt"
        # libav decodes the first part of a frame as if it were all
        if self._codec in ("mp1", "mp2", "mp3") and packet.size < mpeg_frame_bytes(
            bytes(packet)[:4]
        ):
            return "incomplete frame" if packet.size else ""
        return ""

    def _number(self, packet: Any) -> None:
        """Give a FLAC frame the time that its header says: libav counts those that it finds."""
        header = bytes(packet)[:FLAC_HEADER]
        if len(header) < FLAC_HEADER:
            return
        number, counts_frames = flac_number(header)
        if counts_frames:
            self._block = self._block or packet.duration or 0
            number *= self._block
        packet.pts = number

    def _packet_start(self, packet: Any) -> float | None:
        """Where the samples of the first packet begin on the clock, in seconds."""
        if packet.pts is None:
            return None
        skipped = 0
        itunes = packet.pts == 0 and self._metadata("iTunSMPB")  # whose timeline begins after them
        if packet.has_sidedata("skip_samples") and not itunes:
            skipped = int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little")
        return float(packet.pts * self._clock + skipped / self.sample_rate)

    def _by_packet(self, intact: bool, tick: float) -> bool:
        """Whether the first packet says where the audio begins, and not the first frame.

        It does when a frame is lost, or when its decoder (Vorbis, WMA) keeps the first ones back; in
        Vorbis they belong to the timeline, if there are other streams to be in time with.
        """
        if self._first is None:
            return False
        alone = len(self._container.streams) == 1 and 0 <= self._first * self.sample_rate <= tick
        return alone or not intact or self._codec.startswith("wma")

    def _start(self, at: float | None, tick: float) -> int:
        """Where the first sample belongs: what lies before 0 is cut off, a gap after it is silent."""
        if at is None:
            return 0
        start = at
        if self._formats & _ANYWHERE:
            start -= self._zero * self.sample_rate
        elif not self._formats & _FROM_ZERO:
            start = min(start, 0)
        if abs(start) <= tick + 1e-6 and tick > 1:
            return 0
        if start > LATEST * self.sample_rate:
            self.complain(f"its audio begins {start / self.sample_rate:.0f} s after its beginning")
            return 0
        return round(start)

    def _missing(self, step: float, count: int, tick: float, given: int) -> int:
        """Samples between two frames; negative: how many the second repeats."""
        # a page of Ogg has one timestamp: those in between, and before its last, are reckoned
        reckoned = _FRAME / 2 if "ogg" in self._formats else 0
        if abs(step) < count / 2 or abs(step) <= max(min(tick + 1, 0.75 * count), reckoned):
            return 0
        frames = round(step / count)
        missing = frames * count if abs(step - frames * count) <= 1.5 * tick else round(step)
        seconds = abs(missing) / self.sample_rate
        place = f"at {given / self.sample_rate:.3f} s"
        if missing < 0 or self.lost + seconds > LATEST:
            self.complain(f"its clock jumps by {seconds:.3f} s {place}")
            # another clock from here on
            return missing if -count < missing < 0 else 0
        self.complain(f"{seconds:.3f} s are missing {place}", seconds)
        return missing

    def _surplus(self, expected: float | None, tick: float, count: int, given: int) -> int:
        """Samples of the last frame that the encoder added, where the file says so."""
        surplus, last = 0, self._last
        if expected is not None and last.pts is not None and last.duration and tick <= 2:
            end = (last.pts + last.duration) * self._clock * self.sample_rate
            surplus = max(round(expected - end), 0)
        if "ogg" in self._formats and self.seconds:  # the last page's granule position
            surplus = max(round(given + count - self.seconds * self.sample_rate), surplus)
        # iTunes' own way: encoder delay, padding, and the number of samples, in hexadecimal
        said = re.match(r"(?: [0-9A-F]{8}){3} ([0-9A-F]{16})", self._metadata("iTunSMPB"))
        if said and int(said[1], 16):
            surplus = max(given + count - int(said[1], 16), surplus)
        return surplus if surplus < count else 0

    def _samples(self, frame: AudioFrame) -> Samples | None:
        """(channels, samples) of a frame; None for one that does not fit."""
        shape = (frame.sample_rate, frame.layout.nb_channels)
        if shape != (self.sample_rate, self.channels):
            self._complain_at(frame.pts, f"goes on with {shape[1]} channels at {shape[0]} Hz")
            return None
        # most codecs' own format; PyAV looks for planes up to a zero, which eight would not leave
        if frame.format.name == "fltp" and self.channels < 8:
            return np.asarray(frame.to_ndarray(), np.float32)
        try:
            parts = self._resampler.resample(frame)
        except ValueError:  # it has learned another order of the channels, or format of samples
            self._resampler = av.AudioResampler("flt")
            parts = self._resampler.resample(frame)
        packed = [part.to_ndarray().reshape(-1, self.channels) for part in parts]
        return np.concatenate(packed, dtype=np.float32).T if packed else None

    def _check_logs(self, logs: list[Any]) -> bool:
        wrong = any(level <= av.logging.ERROR for level, *_ in logs)
        if wrong:
            self._complain_at(None, _reason(logs, None))
        return wrong

    def _complain_at(self, pts: int | None, wrong: str) -> None:
        place = "" if pts is None else f" at {max(pts * self._clock - self._zero, 0):.3f} s"
        self.complain(f"damaged{place} ({wrong})")

    def _check_length(self, decoded: int) -> None:
        """Compare with what the header announces, rounded and with what decoders drop at both ends."""
        if self.seconds is None:
            return
        lost = self.seconds - decoded / self.sample_rate - self.lost
        slack = 2 * (_FRAME / self.sample_rate + self._clock)
        if self._formats & {"flac", "tta", "wv"}:
            slack = 1 / self.sample_rate
        elif "mp3" in self._formats and self._first:  # by LAME, which counts them all
            slack = 575 / self.sample_rate  # less than the smallest frame
        found = decoded / self.sample_rate
        said = f"its header announces {self.seconds:.3f} s, {found:.3f} s can be decoded"
        if lost > slack:
            self.complain(f"truncated: {said}", lost)
        if -lost > slack and not self._formats & (_ANYWHERE | _FROM_ZERO):
            self.complain(f"holds more than that: {said}")

    def _check_end(self) -> None:
        """Behind the last frame of a format without a container there is nothing."""
        if self._formats & _BARE and self._last.pos:
            size = self._file.seek(0, os.SEEK_END)
            if wrong := compared(self._file, self._last.pos + self._last.size, size):
                self.complain(wrong)

    def _announced(self) -> float | None:
        """Seconds that the container gives for the stream, or for itself if it has no other."""
        if self._formats & _ANYWHERE:
            return None  # counted to the last timestamp that is there
        start = max(0.0, (self._stream.start_time or 0) * self._clock)
        if self._stream.duration is not None:
            seconds = self._stream.duration * self._clock
            return seconds - start if "asf" in self._formats else seconds
        # Matroska counts to the stream's end, whenever it begins.
        said = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", self._metadata("DURATION"))
        if said:
            return 3600 * int(said[1]) + 60 * int(said[2]) + float(said[3]) - start
        if len(self._container.streams) == 1 and self._container.duration is not None:
            return self._container.duration / 1e6 - start
        return None

    def _metadata(self, name: str) -> str:
        return self._stream.metadata.get(name) or self._container.metadata.get(name) or ""


class _Source:
    """A file as PyAV reads it: an error is its end, kept for later, and so is taking too long."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell = file.tell
        self.wrong = ""
        file.seek(0)
        self.begin()

    def begin(self) -> None:
        self._deadline = monotonic() + STALL_SECONDS

    def read(self, count: int) -> bytes:
        try:
            if monotonic() <= self._deadline:
                return self._file.read(count)
            self.wrong = f"it gave no audio for {STALL_SECONDS:g} s"
        except OSError as error:
            self.wrong = f"cannot be read: {error.strerror}"
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, OverflowError):  # where a damaged header points
            return -errno.EINVAL


def _refuse(url: str, *_: Any) -> Any:
    raise UserError(f"refers to another file ({url!r})")


def _silence(channels: int, count: int) -> Iterator[Samples]:
    while count > 0:
        yield np.zeros((channels, min(count, 2**16)), np.float32)
        count -= 2**16


def _reason(logs: list[Any], error: Exception | None) -> str:
    """The last line that says something about the file, without FFmpeg's own names for things."""
    for _, name, message in logs:
        if "Format not on whitelist" in message:
            return f"{name} is no format of recordings"
    said = [message for level, _, message in logs if level <= av.logging.ERROR]
    if isinstance(error, av.error.FFmpegError):
        said.insert(0, error.strerror)
    elif error is not None:
        said.append(str(error))
    return printable(said[-1].strip(" .:\n") if said else "cannot be decoded")[:200]
