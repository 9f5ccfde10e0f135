"""Every way in which an audio file can be bad: one line with its name and a remedy."""

import errno
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.audio import libav, reading
from pipeline.errors import UserError
from tests.helpers.damage import instead
from tests.helpers.places import inside
from tests.helpers.small_recordings import (
    PAIR,
    RATE,
    SOURCES,
    encode,
    noise,
    put,
    track,
    two_channels,
)
from tests.helpers.whole_tracks import probe, read_sources


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
@pytest.mark.parametrize("read", [read_sources, reading.read_mono])
def test_a_bad_file_is_one_line_with_its_name_and_a_remedy(
    pair: Path, damage: Callable[[Path], None], said: str, read: Callable[..., object]
) -> None:
    damage(pair / "v.wav")
    rate = (8000,) if read is reading.read_mono else ()
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
        read_sources(track(["a.wav"], []), tmp_path, SOURCES)


def test_a_stream_of_unknown_length_is_not_taken_for_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    put(path, noise(2, 700))
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert probe(path) == (RATE, 2, 700)


@pytest.mark.parametrize("channels", [1, 3])
def test_wrong_channel_count_says_what_the_channels_are(tmp_path: Path, channels: int) -> None:
    put(tmp_path / "clip.wav", noise(channels, 100))
    clip = two_channels("clip.wav")
    expected = r"clip\.wav: \d channels?, expected 2 \(left accompaniment, right vocals\)"
    with pytest.raises(UserError, match=expected):
        reading.read_mono(clip, tmp_path, ("vocals",), 8000)


def test_sources_without_any_file_and_unknown_sources_are_errors(pair: Path) -> None:
    with pytest.raises(UserError, match="none of the sources vocals has a file"):
        read_sources(track(["a.wav"], []), pair, ("vocals",))
    with pytest.raises(UserError, match="no source 'drums'"):
        read_sources(PAIR, pair, ("drums",))


# -------------------------------------------------------------------------- what is no sound file


def bound_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server, inside(path.parent):
        server.bind(path.name)  # a whole path may be too long


def image(path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "color=d=1", "-frames:v", "1", "-f", "image2", path)


def video(path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "color=d=1", "-c:v", "mpeg4", "-f", "mp4", path)


def too_many_channels(path: Path) -> None:
    put(path, noise(65, 3000))


def too_slow(path: Path) -> None:
    put(path, noise(2, 3000), 999)


def too_fast(path: Path) -> None:
    put(path, noise(2, 3000), 1_000_001)


def not_a_number_in_a_container(path: Path) -> None:
    data = noise(2, 3000)
    data[1, 2205] = np.nan
    put(path, data, subtype="FLOAT")
    run_ffmpeg("-i", path, "-c:a", "copy", "-f", "mov", path.with_name("x"))
    path.with_name("x").rename(path)


def no_sample_in_a_container(path: Path) -> None:
    put(path, noise(2, 3000))
    run_ffmpeg(
        "-i", path, "-af", "atrim=end_sample=0", "-c:a", "aac", "-f", "ipod", path.with_name("x")
    )
    path.with_name("x").rename(path)


def run_ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-y", "-v", "error", *arguments], check=True)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (instead("a pipe"), "not a regular file but a named pipe"),
        (bound_socket, "not a regular file but a socket"),
        (instead("an endless file"), "not a regular file but a device"),
        (instead("a link to nothing"), "a link to a file that does not exist"),
        (instead("a link to itself"), "cannot be read (Too many levels of symbolic links)"),
        (image, "not an audio file"),
        (video, "has no audio stream"),
        (too_many_channels, "65 channels, expected 1 to 64"),
        (too_slow, "999 Hz, expected 1000 to 1000000"),
        (too_fast, "1000001 Hz, expected 1000 to 1000000"),
        (not_a_number_in_a_container, "NaN or infinite samples, the first at 0.050 s"),
        (no_sample_in_a_container, ""),
    ],
)
def test_what_is_no_sound_file(pair: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(pair / "v.wav")
    with pytest.raises(UserError) as error:
        reading.read_mono(PAIR, pair, SOURCES, 8000)
    message = str(error.value)
    assert message.startswith(f"{pair / 'v.wav'}: ")
    assert said in message
    assert message.endswith("copy or download it again")
    assert "\n" not in message


def test_a_file_without_permission(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    with pytest.raises(UserError, match=r"a\.wav: cannot be read \(Permission denied\); copy"):
        probe(pair / "a.wav")


# --------------------------------------------------------------------------------------- cut short


@pytest.mark.parametrize("container", ["AIFF", "AU", "W64", "CAF", "RF64", "WAVEX"])
@pytest.mark.parametrize("left", [0.999, 0.5])
def test_a_header_that_announces_more_bytes(tmp_path: Path, container: str, left: float) -> None:
    path = tmp_path / "a"
    soundfile.write(str(path), noise(2, 5000).T, RATE, format=container, subtype="PCM_16")
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content))])
    with pytest.raises(UserError, match=r"a: truncated: its header announces \d+ bytes"):
        probe(path)


@pytest.mark.parametrize("container", ["CAF", "W64"])
@pytest.mark.parametrize("size", [2**63 - 1, 2**64 - 1, 2**63 + 7])
def test_a_chunk_of_an_absurd_size(tmp_path: Path, container: str, size: int) -> None:
    path = tmp_path / "a"
    soundfile.write(str(path), noise(2, 5000).T, RATE, format=container, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    place, order = (12, ">Q") if container == "CAF" else (56, "<Q")
    content[place : place + 8] = struct.pack(order, size)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a: (not an audio file|truncated)"):
        probe(path)


def test_a_header_of_endless_empty_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libav, "STALL_SECONDS", 1)  # ffprobe reads them all
    with (tmp_path / "a").open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\xffWAVE")
        file.truncate(2**33)  # zeros that take no room on the disk
    with pytest.raises(UserError, match="a: not an audio file"):
        probe(tmp_path / "a")


ANNOUNCING = {
    "mp3": "-f mp3", "mp4": "-f mp4 -movflags faststart", "mkv": "-f matroska -c:a libvorbis",
    "wma": "-f asf", "wavpack": "-f wv", "pcm in mov": "-f mov -c:a pcm_s16le -movflags faststart",
    "mp3 in wav": "-f wav -c:a mp3",
}  # fmt: skip


@pytest.mark.parametrize("options", ANNOUNCING.values(), ids=ANNOUNCING)
def test_a_header_that_announces_more_seconds(tmp_path: Path, options: str) -> None:
    encode(tmp_path / "a", [noise(2, 4 * RATE)], options=options)
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content[: len(content) // 2])
    said = r"a: (truncated: its header announces|damaged|not an audio file that can be decoded)"
    with pytest.raises(UserError, match=said):
        reading.read_mono(track(["a"], []), tmp_path, ("accompaniment",), 8000)


def test_an_mp4_without_its_index(tmp_path: Path) -> None:
    """The index comes last where nobody asked for another place."""
    encode(tmp_path / "a", [noise(2, RATE)], options="-f mp4")
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="a: not an audio file that can be decoded") as error:
        probe(tmp_path / "a")
    assert "/dev/fd" not in str(error.value)
    assert "0x" not in str(error.value)


def test_a_video_longer_than_its_audio_is_not_truncated(tmp_path: Path) -> None:
    put(tmp_path / "x.wav", noise(2, RATE))
    for container in ("matroska", "mp4"):
        run_ffmpeg(
            "-f", "lavfi", "-i", "color=d=4", "-i", tmp_path / "x.wav", "-c:v", "mpeg4", "-c:a", "aac",
            "-f", container, tmp_path / "a",
        )  # fmt: skip
        read = reading.read_mono(track(["a"], []), tmp_path, ("accompaniment",), 8000)
        assert abs(read.shape[1] - 8000) < 800


def test_audio_that_begins_late_is_not_truncated(tmp_path: Path) -> None:
    put(tmp_path / "x.wav", noise(2, RATE))
    for container in ("matroska", "mp4", "mpegts"):
        run_ffmpeg(
            "-itsoffset",
            "5",
            "-i",
            tmp_path / "x.wav",
            "-c:a",
            "aac",
            "-f",
            container,
            tmp_path / "a",
        )
        read = reading.read_mono(track(["a"], []), tmp_path, ("accompaniment",), 8000)
        begin = (
            0 if container == "mpegts" else 5 * 8000
        )  # its timeline begins with its first stream
        assert abs(read.shape[1] - begin - 8000) < 800
