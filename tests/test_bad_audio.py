"""Every way in which an audio file can be bad: one line with its name and a remedy."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline import audio
from pipeline.errors import UserError
from tests.small_recordings import PAIR, RATE, SOURCES, noise, put, track, two_channels


def missing(path: Path) -> None:
    path.unlink()


def zero_bytes(path: Path) -> None:
    path.write_bytes(b"")


def no_audio(path: Path) -> None:
    path.write_bytes(b"<html>404 not found</html>" * 50)


def header_only(path: Path) -> None:
    put(path, np.zeros((2, 0), np.float32))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-6001])


def cut_to_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:44])


def cut_after_another_chunk(path: Path) -> None:
    """An odd-sized chunk before the data, as broadcast WAVs have."""
    content = path.read_bytes()
    extra = b"bext" + struct.pack("<I", 7) + b"1234567\0"
    path.write_bytes((content[:36] + extra + content[36:])[:-400])


def cut_flac(path: Path) -> None:
    soundfile.write(str(path), noise(2, 60_000).T, RATE, format="FLAC")
    path.write_bytes(path.read_bytes()[:-50_000])


def cut_rf64(path: Path) -> None:
    soundfile.write(str(path), noise(2, 3000).T, RATE, format="RF64")
    path.write_bytes(path.read_bytes()[:-100])


def not_a_number(path: Path) -> None:
    data = noise(2, 3000)
    data[1, 2205] = np.nan
    put(path, data, subtype="FLOAT")


def infinite(path: Path) -> None:
    data = noise(2, 3000)
    data[0, 2205] = -np.inf
    put(path, data, subtype="FLOAT")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def shorter(path: Path) -> None:
    put(path, noise(2, 2990))


def slower(path: Path) -> None:
    put(path, noise(2, 3000), 22_050)


def mono(path: Path) -> None:
    put(path, noise(1, 3000))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (missing, "no such file"),
        (folder, "cannot be read"),
        (zero_bytes, "empty file"),
        (no_audio, "not an audio file"),
        (header_only, "holds no samples"),
        (cut, "truncated"),
        (cut_to_header, "truncated"),
        (cut_after_another_chunk, "truncated"),
        (cut_rf64, "truncated"),
        (not_a_number, "NaN or infinite samples, the first at 0.050 s"),
        (infinite, "NaN or infinite samples, the first at 0.050 s"),
        (shorter, "2990 samples, but a.wav has 3000 samples"),
        (slower, "22050 Hz, but a.wav has 44100 Hz"),
        (mono, "1 channels, but a.wav has 2 channels"),
    ],
)
@pytest.mark.parametrize("read", [audio.read_sources, audio.read_mono])
def test_a_bad_file_is_one_line_with_its_name_and_a_remedy(
    pair: Path, damage: Callable[[Path], None], said: str, read: Callable[..., object]
) -> None:
    damage(pair / "v.wav")
    rate = (8000,) if read is audio.read_mono else ()
    with pytest.raises(UserError) as error:
        read(PAIR, pair, SOURCES, *rate)
    message = str(error.value)
    assert message.startswith(f"{pair / 'v.wav'}: ")
    assert said in message
    assert message.endswith("copy or download it again")
    assert "\n" not in message


def test_a_truncated_flac_is_noticed(tmp_path: Path) -> None:
    cut_flac(tmp_path / "a.wav")
    with pytest.raises(UserError, match=r"a\.wav: (damaged|truncated|not an audio file)"):
        audio.read_sources(track(["a.wav"], []), tmp_path, SOURCES)


def test_a_stream_of_unknown_length_is_not_taken_for_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    put(path, noise(2, 700))
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert audio.probe(path) == (RATE, 2, 700)


@pytest.mark.parametrize("channels", [1, 3])
def test_wrong_channel_count_says_what_the_channels_are(tmp_path: Path, channels: int) -> None:
    put(tmp_path / "clip.wav", noise(channels, 100))
    clip = two_channels("clip.wav")
    expected = r"clip\.wav: \d channels?, expected 2 \(left accompaniment, right vocals\)"
    with pytest.raises(UserError, match=expected):
        audio.read_mono(clip, tmp_path, ("vocals",), 8000)


def test_sources_without_any_file_and_unknown_sources_are_errors(pair: Path) -> None:
    with pytest.raises(UserError, match="none of the sources vocals has a file"):
        audio.read_sources(track(["a.wav"], []), pair, ("vocals",))
    with pytest.raises(UserError, match="no source 'drums'"):
        audio.read_sources(PAIR, pair, ("drums",))
