"""Formats of libsndfile: cut short, gone on with, never finished."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.audio import headers
from pipeline.audio.decoder import DamagedError
from pipeline.audio.decoding import open_audio
from pipeline.errors import UserError
from tests.helpers.small_recordings import RATE, encode, hiss, noise
from tests.helpers.whole_tracks import whole

# Whose headers say how long they are, with how libsndfile stores 16 bits in them.
SAID = {
    "WAV": "PCM_16", "WAVEX": "PCM_16", "RF64": "PCM_16", "W64": "PCM_16", "AIFF": "PCM_16",
    "AU": "PCM_16", "CAF": "PCM_16", "AVR": "PCM_16", "NIST": "PCM_16", "VOC": "PCM_16",
    "SVX": "PCM_16", "MAT4": "DOUBLE", "MAT5": "DOUBLE", "HTK": "PCM_16", "FLAC": "PCM_16",
}  # fmt: skip
UNSAID = ("IRCAM", "PAF", "PVF")


def sound(path: Path, container: str, count: int = 5000) -> bytes:
    """Mono, which all of them have."""
    subtype = SAID.get(container, "PCM_16")
    soundfile.write(str(path), noise(1, count)[0], RATE, subtype=subtype, format=container)
    return path.read_bytes()


@pytest.mark.parametrize("container", [*SAID, *UNSAID])
def test_a_sound_file_is_whole(tmp_path: Path, container: str) -> None:
    sound(tmp_path / "x", container)
    for salvage in (False, True):
        np.testing.assert_array_equal(whole(tmp_path / "x", salvage=salvage), noise(1, 5000))


@pytest.mark.parametrize("container", SAID)
@pytest.mark.parametrize("left", [-2, 0.6])
def test_a_file_that_was_cut_short(tmp_path: Path, container: str, left: float) -> None:
    content = sound(tmp_path / "x", container)
    (tmp_path / "x").write_bytes(content[: int(left if left < 0 else left * len(content))])
    said = {"HTK": "not an audio file", "FLAC": "damaged"}.get(container, "truncated: its header")
    with pytest.raises(UserError, match=rf"x: {said}.*; copy or download it again$"):
        whole(tmp_path / "x")
    if container not in ("HTK", "FLAC"):
        read = whole(tmp_path / "x", salvage=True)
        np.testing.assert_array_equal(read, noise(1, 5000)[:, : read.shape[1]])
        assert read.shape[1] == 4999 if left == -2 else 2000 < read.shape[1] < 3010


@pytest.mark.parametrize("container", SAID)
def test_a_file_that_goes_on_after_its_end(tmp_path: Path, container: str) -> None:
    content = sound(tmp_path / "x", container, 20_000)
    (tmp_path / "x").write_bytes(content + content)
    said = {"HTK": "not an audio file"}.get(container, r"holds (\d+ bytes )?more than its header")
    with pytest.raises(UserError, match=rf"x: {said}"):
        whole(tmp_path / "x")


@pytest.mark.parametrize("container", ["MPC2K", "SDS", "XI"])
def test_a_samplers_formats_are_not_read(tmp_path: Path, container: str) -> None:
    """None of their headers says how long they are."""
    soundfile.write(str(tmp_path / "x"), noise(1, 5000)[0], RATE, format=container)
    with pytest.raises(UserError, match="x: not an audio file that can be decoded"):
        whole(tmp_path / "x")


def test_other_chunks_may_follow(tmp_path: Path) -> None:
    content = sound(tmp_path / "x", "WAV")
    for tail in (b"LIST\4\0\0\0abcd", b"id3 \3\0\0\0abc\0", bytes(7), b"TAG" + b"x" * 125):
        (tmp_path / "x").write_bytes(content + tail)
        np.testing.assert_array_equal(whole(tmp_path / "x"), noise(1, 5000))


@pytest.mark.parametrize("container", ["WAV", "AIFF", "FLAC", "OGG"])
def test_behind_a_tag(tmp_path: Path, container: str) -> None:
    data = hiss(1, 5000)
    subtype = "VORBIS" if container == "OGG" else "PCM_16"
    soundfile.write(str(tmp_path / "y"), data[0], RATE, subtype=subtype, format=container)
    content = (tmp_path / "y").read_bytes()
    tag = b"ID3\x04\0\0\0\0\x01\x05" + bytes(133)
    (tmp_path / "x").write_bytes(tag + content)
    # what libsndfile does not read there, FFmpeg does
    np.testing.assert_allclose(whole(tmp_path / "x"), whole(tmp_path / "y"), atol=1e-6)
    (tmp_path / "x").write_bytes((tag + content)[:-200])
    with pytest.raises(UserError, match=r"x: (truncated|damaged|not an audio file)"):
        whole(tmp_path / "x")


@pytest.mark.parametrize(
    ("container", "place", "size"),
    [("WAV", b"data", b"\0" * 4), ("WAV", b"data", b"\xff" * 4), ("WAV", b"data", b"\0\xf0\xff\x7f"),
     ("AIFF", b"SSND", b"\0" * 4), ("CAF", b"data", b"\xff" * 8), ("AU", b".snd\0\0\0\x18", b"\xff" * 4)],
)  # fmt: skip
def test_a_header_that_was_never_finished(
    tmp_path: Path, container: str, place: bytes, size: bytes
) -> None:
    content = sound(tmp_path / "x", container)
    at = content.index(place) + len(place)
    (tmp_path / "x").write_bytes(content[:at] + size + content[at + len(size) :])
    np.testing.assert_array_equal(whole(tmp_path / "x"), noise(1, 5000))


@pytest.mark.parametrize("tail", [b"", b"LIST\4\0\0\0abcd"])
def test_a_header_that_truly_announces_nothing(tmp_path: Path, tail: bytes) -> None:
    content = sound(tmp_path / "x", "WAV", 0)
    (tmp_path / "x").write_bytes(content + tail)
    with pytest.raises(UserError, match="x: holds no samples"):
        whole(tmp_path / "x")


def test_a_wav_of_more_than_four_gigabytes(tmp_path: Path) -> None:
    """Its size has wrapped around: what it announces is a small part of what is there."""
    content = sound(tmp_path / "x", "WAV")
    with (tmp_path / "x").open("r+b") as file:
        file.seek(len(content))
        file.write(noise(1, 5000)[0].tobytes())
        file.truncate(2**32 + len(content))
    with pytest.raises(DamagedError, match=r"x: holds 4294967296 bytes more than its header"):
        open_audio(tmp_path / "x")


# ----------------------------------------------------------------------------------------------- Ogg


def pages(content: bytes) -> list[bytes]:
    found, place = [], 0
    while place < len(content):
        head = place + 27 + content[place + 26]
        end = head + sum(content[place + 27 : head])
        found.append(content[place:end])
        place = end
    return found


@pytest.mark.parametrize("codec", ["libvorbis", "libopus -ar 48000", "flac", "libspeex -ar 16000"])
def test_ogg_page_by_page(tmp_path: Path, codec: str) -> None:
    rate = int(codec.split()[-1]) if "-ar" in codec else RATE
    encode(
        tmp_path / "x",
        [hiss(1, 4 * rate, rate)],
        rate,
        f"-f ogg -page_duration 500000 -c:a {codec}",
    )
    whole_file = pages((tmp_path / "x").read_bytes())
    flipped = bytearray(whole_file[4])
    flipped[-9] ^= 1
    for said, harmed in {
        "truncated: its last page is missing": whole_file[:-1],
        "truncated: it ends in the middle of a page": [*whole_file[:-1], whole_file[-1][:-1]],
        "damaged: pages are missing before byte": whole_file[:4] + whole_file[5:],
        "damaged: the page at byte": [*whole_file[:4], bytes(flipped), *whole_file[5:]],
        "holds several recordings, one after the other": whole_file * 2,
        "holds 5 bytes more": [*whole_file, b"other"],
    }.items():
        (tmp_path / "y").write_bytes(b"".join(harmed))
        with pytest.raises(DamagedError, match=f"y: {said}.*; copy or download it again"):
            whole(tmp_path / "y")


def test_two_streams_in_one_ogg(tmp_path: Path) -> None:
    """libsndfile would take the first it knows, and say nothing."""
    encode(tmp_path / "x", [hiss(1, RATE), hiss(1, RATE, seed=1)], options="-f ogg -c:a libvorbis")
    with open_audio(tmp_path / "x") as decoder:
        assert decoder.name.endswith("x (stream 0)")
    first, second = (whole(tmp_path / "x", stream) for stream in (0, 1))
    assert first.shape == second.shape == (1, RATE)
    assert abs((first * hiss(1, RATE)).sum()) > 0.9 * (first**2).sum()
    assert abs((second * hiss(1, RATE)).sum()) < 0.1 * (first**2).sum()


def test_the_checksum_of_a_page() -> None:
    """The first page of RFC 7845's kind, by the polynomial itself, bit by bit."""
    page = b"OggS\0\2" + bytes(8) + b"abcd" + bytes(4) + b"\0\0\0\0\1\x13" + b"OpusHead" + bytes(11)
    register = 0
    for byte in page:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1) ^ (0x104C11DB7 if register >> 31 else 0)
    assert headers._ogg_checksum(page) == register
