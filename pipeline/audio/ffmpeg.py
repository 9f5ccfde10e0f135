"""Ask ffprobe what an open file holds, and read one of its audio streams from ffmpeg.

A file is handed over as an open descriptor, not by its name: no name can be taken for an option, a
URL or a hint at the format, and what was checked is what is decoded. Knows nothing of paths: what
goes wrong is a `FfmpegError` with the reason in a few words, and `audio.decoding` says for which
file.
"""

import json
import os
import re
import selectors
import subprocess
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple

STALL_SECONDS = 60.0
"""A program that gives nothing for as long is ended."""

# Formats that hold their audio themselves. All others are refused before they are opened: playlists
# (concat, hls, dash, imf, sdp) would read other files, devices and text formats are no recordings.
_FORMATS = (
    "aa aac ac3 act adx aea aiff alp amr amrnb amrwb ape asf asf_o ast au avi avr bfstm bit brstm caf"
    " codec2 daud dsf dss dts dtshd dv eac3 epaf flac flv g723_1 gxf hca iff ilbc ircam"
    " kux lvf live_flv loas lxf matroska mlp mmf mov mp3 mpc mpc8 mpeg mpegts msf mtaf mxf nistsphere"
    " nsv nut nuv ogg oma osq paf pva pvf qcp qoa rka rm rso sbc sds shn sln sol sox svs tak truehd"
    " tta voc vqf w64 wav wc3movie wsd wtv wv wve xa xwma"
)
# A damaged size in a header must not fill the memory.
_LIMITS = ["-protocol_whitelist", "file", "-format_whitelist", _FORMATS.replace(" ", ",")]
_MEMORY = ["-max_alloc", str(2**29)]
_ENTRIES = (
    "format=duration,nb_streams"
    ":stream=sample_rate,channels,channel_layout,duration,start_time:stream_tags=DURATION"
)
_KEPT_OF_STDERR = 4096
_ESTIMATED = "Estimating duration from bitrate"


class FfmpegError(Exception):
    """What is wrong, in a few words of one line."""


class NotInstalledError(FfmpegError):
    """ffmpeg or ffprobe cannot be started."""


class AudioStream(NamedTuple):
    """An audio stream as its container announces it."""

    sample_rate: int
    """Hz; 0 if unknown."""
    channels: int
    layout: str | None
    """ffmpeg's name for the order of the channels, None if unknown."""
    seconds: float | None
    """Announced duration; None if unknown or only estimated."""


def streams(descriptor: int) -> tuple[AudioStream, ...]:
    """The audio streams of an open file, in the container's order. Raises FfmpegError."""
    command = ["ffprobe", "-v", "level+warning", *_MEMORY, *_LIMITS, "-select_streams", "a",
               "-show_entries", _ENTRIES, "-of", "json", _url(descriptor)]  # fmt: skip
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, pass_fds=[descriptor],
            timeout=STALL_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise FfmpegError(f"ffprobe did not end within {STALL_SECONDS:g} s") from None
    except OSError as error:
        raise _not_started("ffprobe", error) from None
    said = done.stderr.decode(errors="replace")
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = {}
    if done.returncode:
        raise FfmpegError(_reason(said, "ffprobe", done.returncode))
    return tuple(
        _stream(entry, found.get("format", {}), _ESTIMATED in said)
        for entry in found.get("streams", [])
    )


class Output:
    """The samples of one stream as ffmpeg decodes them: 32-bit floats, channels interleaved."""

    def __init__(self, descriptor: int, index: int, stream: AudioStream) -> None:
        """Start ffmpeg on audio stream `index` (from 0) of an open file. Raises FfmpegError."""
        command = ["ffmpeg", "-nostdin", "-v", "level+error", *_MEMORY, "-threads", "1", *_LIMITS,
                   "-i", _url(descriptor), "-map", f"0:a:{index}", *_shape(stream),
                   "-f", "f32le", "pipe:1"]  # fmt: skip
        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            self._process = subprocess.Popen(
                command, bufsize=0, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, pass_fds=[descriptor],
            )  # fmt: skip
        except OSError as error:
            raise _not_started("ffmpeg", error) from None
        assert self._process.stdout
        assert self._process.stderr
        self._stdout = self._process.stdout.fileno()
        self._said = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._selector.register(self._process.stderr, selectors.EVENT_READ)

    def read(self, size: int) -> bytearray:
        """The next `size` bytes, fewer only at the end.

        Raises FfmpegError when ffmpeg gives nothing for STALL_SECONDS or ends with an error.
        """
        data = bytearray()
        while len(data) < size and self._selector.get_map():
            self._receive(data, size)
        if len(data) < size:
            self._check_end()
        return data

    def close(self) -> None:
        """End ffmpeg, whatever it is doing; nothing of it stays."""
        self._selector.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()
        self._process.wait()

    def _receive(self, data: bytearray, size: int) -> None:
        """Wait for sound and append it; what ffmpeg says in between is kept for the error."""
        deadline = monotonic() + STALL_SECONDS
        while True:
            ready = self._selector.select(max(0.0, deadline - monotonic()))
            if not ready:
                raise FfmpegError(f"ffmpeg gave no audio for {STALL_SECONDS:g} s")
            for key, _ in ready:
                sound = key.fd == self._stdout
                chunk = os.read(key.fd, min(size - len(data), 2**20) if sound else 2**16)
                if not chunk:
                    self._selector.unregister(key.fileobj)
                elif sound:
                    data += chunk
                    return
                else:
                    self._said = (self._said + chunk)[-_KEPT_OF_STDERR:]
            if not self._selector.get_map():
                return

    def _check_end(self) -> None:
        try:
            status = self._process.wait(STALL_SECONDS)
        except subprocess.TimeoutExpired:
            raise FfmpegError(f"ffmpeg did not end within {STALL_SECONDS:g} s") from None
        if status:
            raise FfmpegError(_reason(self._said.decode(errors="replace"), "ffmpeg", status))


def _url(descriptor: int) -> str:
    return f"file:/dev/fd/{descriptor}"


def _shape(stream: AudioStream) -> list[str]:
    """Options that keep rate and channels as announced, should they change in mid-stream.

    `-ac 4` is right for unknown layouts only: it would turn quadraphony into ffmpeg's usual layout
    of four channels by mixing them.
    """
    if stream.layout is None:
        return ["-ar", str(stream.sample_rate), "-ac", str(stream.channels)]
    return ["-af", f"aformat=sample_rates={stream.sample_rate}:channel_layouts={stream.layout}"]


def _stream(entry: dict[str, Any], container: dict[str, Any], estimated: bool) -> AudioStream:
    layout = entry.get("channel_layout", "")
    # Newer versions describe an order without a name: "3 channels (FL+FR+LFE)".
    if described := re.fullmatch(r"\d+ channels \((.*)\)", layout):
        layout = described[1]
    known = re.fullmatch(r"[\w.+() ]+", layout) and layout != "unknown"
    seconds = None if estimated else _announced(entry, container)
    return AudioStream(
        int(entry.get("sample_rate", 0)), int(entry.get("channels", 0)),
        layout if known else None, seconds,
    )  # fmt: skip


def _announced(entry: dict[str, Any], container: dict[str, Any]) -> float | None:
    """The duration that the container gives for the stream, or for itself if it has no other."""
    with suppress(KeyError, ValueError):
        return float(entry["duration"])
    start = 0.0
    with suppress(KeyError, ValueError):
        start = max(0.0, float(entry["start_time"]))
    # Matroska counts to the stream's end, whenever it begins.
    with suppress(KeyError, ValueError):
        hours, minutes, seconds = entry["tags"]["DURATION"].split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds) - start
    with suppress(KeyError, ValueError):
        if container["nb_streams"] == 1:
            return float(container["duration"]) - start
    return None


def _reason(said: str, program: str, status: int) -> str:
    """The last line that says something about the file, without ffmpeg's own names for things."""
    if refused := re.search(r"\[(\w+)[^\]]*\] .*Format not on whitelist", said):
        return f"{refused[1]} is no format that holds audio itself"
    for line in reversed(said.splitlines()):
        words = re.sub(r"^(\[[^\]]*\] ?)+", "", line.strip())
        words = re.sub(r"(file:)?/dev/fd/\d+:? ?|pipe:\d?:? ?", "", words).strip(" .:")
        if words and not re.match(r"Conversion failed|Last message|Error opening", words):
            # A file's own words may be in it.
            return "".join(letter if letter.isprintable() else "?" for letter in words)[:200]
    if status < 0:
        return f"{program} was ended by signal {-status}"
    return f"{program} ended with status {status}"


def _not_started(program: str, error: OSError) -> FfmpegError:
    if isinstance(error, FileNotFoundError | PermissionError):
        return NotInstalledError(f"needs {program}, which cannot be started")
    return FfmpegError(f"{program} cannot be started: {error.strerror}")
