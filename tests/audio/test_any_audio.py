"""Any bytes: finite samples, or one line that names the file. Never anything else, and soon."""

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.audio import reading, resampling
from pipeline.audio.decoding import open_audio
from pipeline.errors import UserError
from tests.helpers.small_recordings import encode, music, one_file
from tests.helpers.whole_tracks import probe

NAMES = ("accompaniment",)
SECONDS = 20
MEGABYTES = 400

# soundfile's (format, subtype), or ffmpeg's options.
FORMATS: list[tuple[str, str]] = [
    ("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"),
    ("WAV", "IMA_ADPCM"), ("WAV", "ULAW"), ("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"),
    ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "ALAC_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("VOC", "PCM_16"), ("NIST", "PCM_16"), ("MAT5", "DOUBLE"),
    ("ffmpeg", "-f mp3"), ("ffmpeg", "-f mp3 -q:a 5 -write_xing 0"), ("ffmpeg", "-f ipod"),
    ("ffmpeg", "-f mp4 -movflags faststart"), ("ffmpeg", "-f adts"), ("ffmpeg", "-f asf"),
    ("ffmpeg", "-f matroska -c:a libvorbis"), ("ffmpeg", "-f webm -c:a libopus"),
    ("ffmpeg", "-f mpegts"), ("ffmpeg", "-f ipod -c:a alac"), ("ffmpeg", "-f wv"), ("ffmpeg", "-f avi"),
    ("ffmpeg", "-f mov -c:a pcm_s16le"), ("ffmpeg", "-f flv -ar 22050"), ("ffmpeg", "-f wav -c:a mp3"),
]  # fmt: skip
SUFFIXES = (".wav", ".mp3", ".mp4", ".flac", ".raw", ".txt", ".m3u8", "")


class Valid(NamedTuple):
    """What a sound file is made from."""

    format: tuple[str, str]
    rate: int
    channels: int
    samples: int


@cache
def content(valid: Valid) -> bytes:
    data = music(valid.channels, valid.samples, valid.rate)
    container, subtype = valid.format
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        if container == "ffmpeg":
            encode(path, [data], valid.rate, subtype)
        else:
            soundfile.write(str(path), data.T, valid.rate, format=container, subtype=subtype)
        return path.read_bytes()


VALID = st.builds(
    Valid,
    st.sampled_from(FORMATS),
    st.sampled_from([8000, 16_000, 24_000, 48_000]),  # rates that every codec has
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2000, 30_000]),
)

EXTREMES = st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f" + b"\xff" * 7])
# Where: mostly in the header, where most harm is done. A fraction of the file or a byte's number.
PLACES = st.one_of(st.integers(0, 120), st.integers(0, 2000), st.floats(0, 1))
HARMS = st.one_of(
    st.tuples(st.just("truncate"), PLACES, st.just(b"")),
    st.tuples(st.just("replace"), PLACES, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("replace"), PLACES, EXTREMES),
    st.tuples(st.just("insert"), PLACES, st.binary(min_size=1, max_size=3000)),
    st.tuples(st.just("delete"), PLACES, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("zero"), PLACES, st.binary(min_size=1, max_size=500)),
    st.tuples(st.just("swap"), PLACES, st.binary(min_size=4, max_size=4)),
    st.tuples(st.just("prepend"), st.just(0), st.binary(min_size=1, max_size=300)),
    st.tuples(st.just("empty"), st.just(0), st.just(b"")),
)  # fmt: skip
Harm = tuple[str, int | float, bytes]


def harmed(sound: bytes, harm: Harm) -> bytes:
    kind, place, data = harm
    at = min(len(sound), int(place * len(sound)) if isinstance(place, float) else place)
    size = len(data)
    changed = {
        "truncate": b"",
        "replace": data + sound[at + size :],
        "insert": data + sound[at:],
        "delete": sound[at + size :],
        "zero": bytes(size) + sound[at + size :],
        "swap": sound[at + 4 : at + 8] + sound[at : at + 4] + sound[at + 8 :],
        "prepend": data + sound,
    }
    return b"" if kind == "empty" else sound[:at] + changed[kind]


@contextmanager
def soon() -> Iterator[None]:
    def ring(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def peak() -> int:
    """Most memory of this process since it was reset, MB."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) // 1024


def salvaged(path: Path) -> None:
    """Read what is there of a damaged file: finite samples too, and an end."""
    with open_audio(path, salvage=True) as decoder:
        while (block := decoder.read(50_000)).shape[1]:
            assert np.isfinite(block).all()


def check(sound: bytes, suffix: str = "") -> float | None:
    """Seconds that were read of it, None if it was refused."""
    with TemporaryDirectory() as folder, soon():
        path = Path(folder) / f"sound{suffix}"
        path.write_bytes(sound)
        Path("/proc/self/clear_refs").write_text("5")
        before = peak()
        try:
            salvaged(path)
            info = probe(path)
            blocks = list(reading.stream_sources(one_file(path.name), path.parent, NAMES, 50_000))
            mono = reading.read_mono(one_file(path.name), path.parent, NAMES, 8000)
        except UserError as error:
            message = str(error)
            assert re.match(rf"{re.escape(str(path))}( \(stream \d\))?: ", message)
            assert len(message.splitlines()) == 1
            assert message.isprintable()
            assert len(message) < len(str(path)) + 400
            assert "; " in message
            return None
        finally:
            assert peak() - before < MEGABYTES
        assert all(block.shape[:2] == (1, info.channels) for block in blocks)
        assert all(np.isfinite(block).all() for block in blocks)
        samples: int = sum(block.shape[2] for block in blocks)
        assert samples > 0
        assert info.samples in (None, samples)
        assert mono.shape == (1, resampling.resampled_length(samples, info.sample_rate, 8000))
        assert np.isfinite(mono).all()
        return samples / info.sample_rate


def any_audio(valid: Valid, harms: list[Harm], suffix: str) -> None:
    sound = content(valid)
    for harm in harms:
        sound = harmed(sound, harm)
    seconds = check(sound, suffix)
    # WMA gives nothing of a single block.
    if sound == content(valid) and valid.samples > 5000:
        assert seconds is not None
        # One frame of padding at each end, where nothing says how much there is.
        assert abs(seconds - valid.samples / valid.rate) <= 2 * 2304 / 8000


def searching(
    examples: int, derandomize: bool
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        search = settings(
            max_examples=examples, derandomize=derandomize, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        given_any = given(VALID, st.lists(HARMS, max_size=3), st.sampled_from(SUFFIXES))
        return search(given_any(test))

    return decorate


@example(Valid(("ffmpeg", "-f asf"), 24_000, 1, 2000), [], "")  # sound, but ffmpeg decodes nothing
@example(Valid(("CAF", "ALAC_16"), 8000, 1, 2000), [("replace", 12, b"\x7f" + b"\xff" * 7)], "")
@searching(160, derandomize=True)
def test_damaged_audio_is_read_or_refused(valid: Valid, harms: list[Harm], suffix: str) -> None:
    any_audio(valid, harms, suffix)


@pytest.mark.slow
@searching(3000, derandomize=False)
def test_much_damaged_audio_is_read_or_refused(
    valid: Valid, harms: list[Harm], suffix: str
) -> None:
    any_audio(valid, harms, suffix)


@pytest.mark.parametrize("valid", [Valid(kind, 24_000, 1, 30_000) for kind in FORMATS], ids=str)
def test_every_format_of_the_search_is_read(valid: Valid) -> None:
    any_audio(valid, [], "")
