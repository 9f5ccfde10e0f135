"""Every format, streams, processes: what decoding gives, and what it leaves behind."""

import gc
import os
import struct
import subprocess
import sys
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from pipeline.audio import decoding, reading, resampling
from pipeline.audio.decoder import Decoder
from pipeline.audio.decoding import open_audio
from pipeline.errors import UserError
from pipeline.tracks import Part, Track
from tests.helpers.small_recordings import RATE, encode, music, noise, one_file, put
from tests.helpers.whole_tracks import probe, read_sources, whole

Samples = NDArray[np.float32]

LOSSLESS = [
    ("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_24"),
    ("AU", "PCM_16"), ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"),
]  # fmt: skip


def alike(decoded: Samples, original: Samples) -> float:
    """Correlation without any shift, for all channels at once."""
    assert decoded.shape == original.shape
    energy = (decoded**2).sum() * (original**2).sum()
    return float((decoded * original).sum() / np.sqrt(energy))


@pytest.mark.parametrize(("container", "subtype"), LOSSLESS)
def test_lossless_formats_come_back_exactly(tmp_path: Path, container: str, subtype: str) -> None:
    data = noise(2, 5001)
    soundfile.write(str(tmp_path / "x"), data.T, RATE, subtype=subtype, format=container)
    assert probe(tmp_path / "x") == (RATE, 2, 5001)
    np.testing.assert_allclose(
        whole(tmp_path / "x"), data, atol=1 / 64 if subtype == "PCM_U8" else 1e-7
    )


@pytest.mark.parametrize(("subtype", "rate"), [("VORBIS", RATE), ("OPUS", 48_000)])
def test_ogg_has_its_exact_length(tmp_path: Path, subtype: str, rate: int) -> None:
    data = music(2, 2 * rate, rate)
    soundfile.write(str(tmp_path / "x"), data.T, rate, subtype=subtype, format="OGG")
    assert probe(tmp_path / "x") == (rate, 2, 2 * rate)
    assert alike(whole(tmp_path / "x"), data) > 0.99


def test_a_flac_of_unknown_length(tmp_path: Path) -> None:
    """As an encoder leaves it that writes into a pipe."""
    encode(tmp_path / "x", [noise(2, 5001)], options="-f flac -sample_fmt s16")
    content = bytearray((tmp_path / "x").read_bytes())
    content[21] &= 0xF0  # the number of samples: 36 bits of STREAMINFO
    content[22:26] = bytes(4)
    (tmp_path / "x").write_bytes(content)
    assert probe(tmp_path / "x").samples is None
    np.testing.assert_array_equal(whole(tmp_path / "x", count=1000), noise(2, 5001))
    read = reading.read_mono(one_file("x"), tmp_path, ("accompaniment",), 8000)
    assert read.shape == (1, resampling.resampled_length(5001, RATE, 8000))


def test_mp3_without_a_length_is_whole(tmp_path: Path) -> None:
    """libsndfile takes the first frame's bit rate for the file's and stops long before the end."""
    quiet = np.zeros((2, 3 * RATE), np.float32)
    quiet[:, :10] = 1e-3
    data = np.concatenate([quiet, noise(2, 5 * RATE)], axis=1)
    encode(tmp_path / "x", [data], options="-f mp3 -q:a 2 -write_xing 0 -id3v2_version 0")
    frames = -(-(data.shape[1] + 1105) // 1152)  # LAME's delay
    assert whole(tmp_path / "x").shape[1] - 1152 * frames in (0, 1152)


@pytest.mark.parametrize(
    "layout", ["mono", "quad", "4.0", "3.0", "5.1", "5.1(side)", "7.1(wide)", "10 channels"]
)
def test_channels_keep_their_order_and_are_not_mixed(tmp_path: Path, layout: str) -> None:
    count = {"mono": 1, "quad": 4, "4.0": 4, "3.0": 3, "10 channels": 10}.get(layout)
    data = noise(count or (6 if layout.startswith("5") else 8), 3000)
    data.T.tofile(tmp_path / "raw")
    shape = ["-ar", str(RATE), "-ac", str(len(data))]
    order = [] if "channels" in layout else ["-channel_layout", layout]
    subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-f", "f32le", *shape, *order,
         "-i", tmp_path / "raw", "-c:a", "pcm_f32le", "-f", "mov", tmp_path / "x"],
        check=True,
    )  # fmt: skip
    np.testing.assert_array_equal(whole(tmp_path / "x"), data)


@pytest.mark.parametrize("name", ["x.wav", "x.mp4", "x.txt", "x.raw", "x.vox", "x"])
def test_the_name_says_nothing_about_the_format(tmp_path: Path, name: str) -> None:
    data = noise(2, 3000)
    put(tmp_path / name, data)
    np.testing.assert_array_equal(whole(tmp_path / name), data)
    encode(tmp_path / name, [music(2, RATE)], options="-f mp3")
    assert alike(whole(tmp_path / name), music(2, RATE)) > 0.99


@pytest.mark.parametrize(
    "name",
    [b"-i.m4a", b"a:b.m4a", b"file:x", b"http:__x", b"100%d.m4a", b"a 'b' \"c\".m4a", b"a\nb.m4a",
     b"\xff\xfe.m4a", b"concat:a|b", b"`touch x`;$(touch y).m4a", b"x" * 250],
)  # fmt: skip
def test_any_name(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    encode(tmp_path / "x", [noise(2, 3000)], options="-f ipod -c:a alac")
    (tmp_path / "x").rename(path)
    np.testing.assert_array_equal(whole(path), noise(2, 3000))
    path.write_bytes(b"text")
    with pytest.raises(UserError) as error:
        open_audio(path)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    message.encode("utf-8")


def test_symbolic_links_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "x.wav", noise(1, 100))
    (tmp_path / "y").symlink_to("x.wav")
    np.testing.assert_array_equal(whole(tmp_path / "y"), noise(1, 100))


# --------------------------------------------------------------------------------------- streams

SEVERAL = {
    "mp4": "-f mp4",
    "m4a": "-f ipod",
    "mkv": "-f matroska -c:a flac",
    "mov": "-f mov -c:a aac",
}


@pytest.mark.parametrize("options", SEVERAL.values(), ids=SEVERAL)
def test_streams_are_told_apart(tmp_path: Path, options: str) -> None:
    streams = [music(2, 2 * RATE, seed=seed) for seed in range(3)]
    encode(tmp_path / "x", streams, options=options)
    for index, data in enumerate(streams):
        decoded = whole(tmp_path / "x", index)
        likeness = [alike(decoded, other) for other in streams]
        assert likeness[index] > 0.99
        assert sorted(likeness)[-2] < 0.5
        assert data.shape[0] == decoded.shape[0]
    np.testing.assert_array_equal(whole(tmp_path / "x"), whole(tmp_path / "x", 0))
    for wrong in (3, 99, -1):
        with pytest.raises(UserError, match=rf"x \(stream {wrong}\): it has 3 audio streams"):
            open_audio(tmp_path / "x", wrong)


def stems(streams: dict[str, tuple[Part, ...]]) -> Track:
    return Track(dataset="Test", id="song", artist="x", sources=streams)


def test_a_stream_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [noise(2, 9000, seed) for seed in range(3)]
    encode(tmp_path / "x", streams, options="-f mov -c:a pcm_s16le")
    opened: list[int | None] = []

    def opening(path: Path, stream: int | None = None) -> Decoder:
        opened.append(stream)
        return open_audio(path, stream)

    monkeypatch.setattr(reading, "open_audio", opening)
    part = [Part(file="x", stream=index) for index in range(3)]
    song = stems({"a": (part[1], part[2]), "v": (part[2],)})
    read = np.concatenate([*reading.stream_sources(song, tmp_path, ("a", "v"))], axis=2)
    np.testing.assert_array_equal(read, [streams[1] + streams[2], streams[2]])
    assert opened == [1, 2]


def test_a_stream_is_named_in_errors(tmp_path: Path) -> None:
    encode(tmp_path / "x", [noise(2, 9000), noise(1, 9000)], options="-f mov -c:a pcm_s16le")
    song = stems({"a": (Part(file="x", stream=0),), "v": (Part(file="x", stream=1),)})
    said = r"x \(stream 1\): 1 channels, but x \(stream 0\) has 2 channels"
    with pytest.raises(UserError, match=said):
        reading.track_info(song, tmp_path, ("a", "v"))


@pytest.mark.parametrize("block", [1000, 9000, 5000])
@pytest.mark.parametrize("longer", [0, 1])
def test_streams_of_one_track_end_together(tmp_path: Path, longer: int, block: int) -> None:
    def song(excess: int) -> Track:
        samples = [9000, 9000]
        samples[longer] += excess
        data = [noise(2, count) for count in samples]
        encode(tmp_path / f"{excess}", data, options="-f mov -c:a pcm_s16le")
        parts = [Part(file=f"{excess}", stream=index) for index in range(2)]
        return stems({"a": (parts[0],), "v": (parts[1],)})

    track = song(0)
    assert reading.track_info(track, tmp_path, ("a", "v")).samples is None
    blocks = list(reading.stream_sources(track, tmp_path, ("a", "v"), block))
    assert sum(part.shape[2] for part in blocks) == 9000
    assert reading.read_mono(track, tmp_path, ("a", "v"), 8000, block).shape == (2, 1633)
    counts = ("9000", "9001")
    said = rf"\(stream 1\): {counts[longer]} samples, but .* has {counts[1 - longer]} samples"
    with pytest.raises(UserError, match=said):
        list(reading.stream_sources(song(1), tmp_path, ("a", "v"), block))


@pytest.mark.parametrize("block", [1, 441, 7777, 30_000])
def test_read_mono_of_unknown_length_does_not_depend_on_the_block(
    tmp_path: Path, block: int
) -> None:
    data = noise(2, 20_011)
    put(tmp_path / "known", data)
    encode(tmp_path / "unknown", [data], options="-f mov -c:a pcm_s16le")
    names = ("accompaniment",)
    expected = reading.read_mono(one_file("known"), tmp_path, names, 8000)
    read = reading.read_mono(one_file("unknown"), tmp_path, names, 8000, block)
    np.testing.assert_array_equal(read, expected)


def test_the_mixture_of_real_songs_is_the_sum_of_their_streams(real_songs: Path) -> None:
    limits = {"Music Delta - 80s Rock": -30, "The Easton Ellises - Falcon 69": -20}
    for name, limit in limits.items():
        song = real_songs / f"{name}.stem.mp4"
        names = tuple("mdbov")
        parts: dict[str, tuple[Part, ...]] = {
            stem: (Part(file=song.name, stream=index),) for index, stem in enumerate(names)
        }
        read, rate = read_sources(stems(parts), real_songs, names)
        assert rate == RATE
        # Each stream was encoded on its own; the second song's sum reaches 3.7 and was clipped before.
        rest = read[0] - read[1:].sum(axis=0).clip(-1, 1)
        level = 10 * np.log10((rest**2).sum() / (read[0] ** 2).sum())
        assert level < limit, (name, level)


# ------------------------------------------------------------------------------------- descriptors


def open_descriptors() -> list[str]:
    return sorted(
        str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.exists()
    )


def test_a_consumer_that_stops_early_leaves_nothing(tmp_path: Path) -> None:
    encode(tmp_path / "x", [noise(2, 20 * RATE)] * 2, options="-f mov -c:a pcm_s16le")
    song = stems({"a": (Part(file="x", stream=0),), "v": (Part(file="x", stream=1),)})
    gc.collect()
    before = open_descriptors()
    blocks = reading.stream_sources(song, tmp_path, ("a", "v"), 1000)
    assert isinstance(blocks, Generator)
    next(blocks)
    assert len(open_descriptors()) == len(before) + 2
    blocks.close()
    assert open_descriptors() == before
    for block in reading.stream_sources(song, tmp_path, ("a", "v"), 1000):
        del block
        break
    gc.collect()
    assert open_descriptors() == before
    whole(tmp_path / "x", 1)
    with pytest.raises(UserError):
        open_audio(tmp_path / "x", 7)
    gc.collect()
    assert open_descriptors() == before


# ------------------------------------------------------------------------------------ other files


def playlists(sound: Path) -> dict[str, bytes]:
    inner = str(sound).encode()
    return {
        "ffconcat": b"ffconcat version 1.0\nfile '" + inner + b"'\n",
        "m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n" + inner + b"\n#EXT-X-ENDLIST\n",
        "m3u8 map": b'#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MAP:URI="' + inner
        + b'"\n#EXTINF:1,\n' + inner + b"\n#EXT-X-ENDLIST\n",
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        b'<AdaptationSet mimeType="audio/mp4"><Representation id="0"><BaseURL>' + inner
        + b"</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "pls": b"[playlist]\nFile1=" + inner + b"\n",
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(playlists(Path())))
def test_a_playlist_opens_no_other_file(tmp_path: Path, kind: str) -> None:
    sound = tmp_path / "sound.ts"
    encode(sound, [music(2, RATE)], options="-f mpegts")
    trap = tmp_path / "trap.ts"
    os.mkfifo(trap)  # who opens it waits, and the test with them
    for inner in (sound, trap):
        path = tmp_path / "list.mp3"
        path.write_bytes(playlists(inner)[kind])
        with pytest.raises(UserError, match=r"list\.mp3: not an audio file") as error:
            open_audio(path)
        assert len(str(error.value).splitlines()) == 1


def test_a_header_that_announces_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    """In a process of its own, whose memory can be measured."""
    put(tmp_path / "x.wav", noise(2, 1000))
    content = bytearray((tmp_path / "x.wav").read_bytes())
    content[40:44] = struct.pack("<I", 2**32 - 8)
    (tmp_path / "wav").write_bytes(content)
    ds64 = b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack(
        "<IQQQI", 0xFFFFFFF0, 2**40, 2**40, 2**38, 0
    )
    (tmp_path / "rf64").write_bytes(ds64 + bytes(content[12:]))
    soundfile.write(str(tmp_path / "flac"), noise(2, 1000).T, RATE, format="FLAC")
    content = bytearray((tmp_path / "flac").read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    (tmp_path / "flac").write_bytes(content)
    program = """
import re, sys
from pathlib import Path
from pipeline.audio import reading
from pipeline.errors import UserError
from tests.helpers.small_recordings import one_file
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))
before = peak()
for name in ("wav", "rf64", "flac"):
    try:
        reading.read_mono(one_file(name), Path(sys.argv[1]), ("accompaniment",), 8000)
    except UserError as error:
        print(error)
assert peak() - before < 100_000, peak() - before
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=Path(__file__).parents[2],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) >= 2, done.stdout


def test_sizes_grow_with_no_block(tmp_path: Path) -> None:
    """Blocks are full up to the last, at every size."""
    encode(tmp_path / "x", [noise(3, 4000)], options="-f mov -c:a pcm_s16le")
    for count in (1, 7, 1000, 4000, 4001):
        with decoding.open_audio(tmp_path / "x") as decoder:
            sizes: list[int] = []
            while not sizes or sizes[-1] == count:
                sizes.append(decoder.read(count).shape[1])
            assert sum(sizes) == 4000
            assert decoder.read(count).shape == (3, 0)
        assert all(one == count for one, _ in pairwise(sizes))
