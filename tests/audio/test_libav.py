"""Containers and codecs against the truth, to the sample: where audio begins, ends and has holes."""

import errno
import logging
import os
import struct
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from pipeline.audio.decoder import DamagedError
from pipeline.audio.decoding import open_audio
from pipeline.errors import UserError
from tests.helpers.small_recordings import RATE, encode, hiss, noise
from tests.helpers.whole_tracks import whole

Samples = NDArray[np.float32]
COUNT = RATE + 123

# Length and start are known exactly, and what comes out is what went in.
LOSSLESS = {
    "alac in mp4": "-f ipod -c:a alac", "flac in mp4": "-f mp4 -c:a flac -strict -2",
    "flac in matroska": "-f matroska -c:a flac", "flac": "-f flac", "flac in ogg": "-f ogg -c:a flac",
    "wavpack": "-f wv -sample_fmt s16p", "tta": "-f tta", "pcm in mov": "-f mov -c:a pcm_s16be",
    "pcm in avi": "-f avi -c:a pcm_s16le", "alac in caf": "-f caf -c:a alac",
}  # fmt: skip
# Length and start are known exactly: an edit list, LAME's tag, granule positions, Opus' pre-skip.
EXACT = {
    "aac in m4a": "-f ipod", "aac in mp4": "-f mp4 -movflags faststart", "aac in mov": "-f mov -c:a aac",
    "aac in 3gp": "-f 3gp -c:a aac", "mp3": "-f mp3", "mp3 vbr": "-f mp3 -q:a 5",
    "opus in mp4": "-f mp4 -c:a libopus -ar 48000", "opus in webm": "-f webm -c:a libopus -ar 48000",
    "opus in ogg": "-f ogg -c:a libopus -ar 48000", "vorbis in ogg": "-f ogg -c:a libvorbis",
}  # fmt: skip
# The start is known, and the end to a frame.
PADDED = {"mp3 in mp4": "-f mp4 -c:a mp3", "vorbis in matroska": "-f matroska -c:a libvorbis"}
# Nothing says how much the encoder put before and after: its own delay is what is left, and its frame.
UNSAID = {
    "aac in adts": ("-f adts", 1024), "aac in mpegts": ("-f mpegts -c:a aac", 1024),
    "aac in matroska": ("-f matroska -c:a aac", 1024), "aac in flv": ("-f flv -c:a aac", 1024),
    "aac in fragments": (
        "-f mp4 -c:a aac -movflags frag_keyframe+empty_moov -frag_duration 250000", 1024
    ),
    "mp3 no length": ("-f mp3 -write_xing 0", 1105), "mp3 in avi": ("-f avi -c:a mp3", 1105),
    "mp3 in matroska": ("-f matroska -c:a mp3", 1105), "mp3 in flv": ("-f flv -c:a mp3", 1105),
    "mp3 in wav": ("-f wav -c:a mp3", 1105), "ac3": ("-f ac3", 256), "eac3": ("-f eac3", 256),
    "ac3 in matroska": ("-f matroska -c:a ac3", 256), "ac3 in avi": ("-f avi -c:a ac3", 256),
    "ac3 in mpeg": ("-f vob -c:a ac3 -ar 48000", 256), "mp2": ("-f mp2", 481),
    "mp2 in mpegts": ("-f mpegts -c:a mp2", 481), "dts": ("-f dts -c:a dca -strict -2", 512),
    "wma": ("-f asf -c:a wmav2", -2048),
}  # fmt: skip
ALL = {**LOSSLESS, **EXACT, **PADDED, **{name: options for name, (options, _) in UNSAID.items()}}


@cache
def made(options: str, seconds: int = 1) -> bytes:
    """Some seconds and a bit, encoded by the ffmpeg program."""
    with TemporaryDirectory() as folder:
        encode(Path(folder) / "x", [truth(options, seconds)], rate_of(options), options)
        return (Path(folder) / "x").read_bytes()


def rate_of(options: str) -> int:
    return 48_000 if "48000" in options else RATE


@cache
def truth(options: str, seconds: int = 1) -> Samples:
    count = seconds * RATE + 123
    return noise(2, count) if options in LOSSLESS.values() else hiss(2, count, rate_of(options))


def put(path: Path, options: str, seconds: int = 1) -> Path:
    path.write_bytes(made(options, seconds))
    return path


def lag(decoded: Samples, original: Samples) -> int:
    """By how many samples `decoded` is later, by the peak of their correlation."""
    size = 2 ** (2 * decoded.shape[1]).bit_length()
    both = np.fft.rfft(decoded[0], size) * np.fft.rfft(original[0], size).conj()
    correlation = np.fft.irfft(both, size)
    peak = int(correlation.argmax())
    energy = (decoded[0] ** 2).sum() * (original[0] ** 2).sum()
    assert correlation[peak] > 0.9 * np.sqrt(energy)
    return peak if peak < size // 2 else peak - size


@pytest.mark.parametrize("options", LOSSLESS.values(), ids=LOSSLESS)
@pytest.mark.parametrize("salvage", [False, True])
def test_lossless_codecs_give_every_sample(tmp_path: Path, options: str, salvage: bool) -> None:
    read = whole(put(tmp_path / "x", options), salvage=salvage)
    np.testing.assert_array_equal(read, truth(options))


@pytest.mark.parametrize("options", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize("salvage", [False, True])
def test_start_and_end_are_exact_where_the_file_says_them(
    tmp_path: Path, options: str, salvage: bool
) -> None:
    read = whole(put(tmp_path / "x", options), salvage=salvage)
    assert read.shape == truth(options).shape
    assert lag(read, truth(options)) == 0


@pytest.mark.parametrize("options", PADDED.values(), ids=PADDED)
def test_the_start_is_exact_where_the_end_is_padded(tmp_path: Path, options: str) -> None:
    read = whole(put(tmp_path / "x", options))
    assert 0 <= read.shape[1] - COUNT < 1152
    assert lag(read, truth(options)) == 0


@pytest.mark.parametrize(("options", "delay"), UNSAID.values(), ids=UNSAID)
def test_an_unsaid_delay_is_the_encoders(tmp_path: Path, options: str, delay: int) -> None:
    read = whole(put(tmp_path / "x", options))
    assert lag(read, truth(options)) == delay
    assert -2048 <= read.shape[1] - COUNT <= delay + 1536


def test_lame_as_libsndfile_writes_it(tmp_path: Path) -> None:
    soundfile.write(str(tmp_path / "x"), hiss(2, COUNT).T, RATE, format="MP3")
    read = whole(tmp_path / "x")
    assert read.shape == (2, COUNT)
    assert lag(read, hiss(2, COUNT)) == 0


def test_itunes_says_delay_and_length_in_a_tag(tmp_path: Path) -> None:
    """In place of an edit list: delay, padding and samples in hexadecimal, in a box of Apple's own."""
    said = f" 00000000 00000400 00000341 {COUNT:016X}".encode()
    options = f"-f ipod -use_editlist 0 -metadata comment={'~' * (48 + len(said))}"
    encode(tmp_path / "x", [hiss(2, COUNT)], options=options)
    parts = ((b"mean", b"\0" * 4 + b"com.apple.iTunes"), (b"name", b"\0" * 4 + b"iTunSMPB"),
             (b"data", b"\0\0\0\1" + b"\0" * 4 + said))  # fmt: skip
    box = b"".join(struct.pack(">I", 8 + len(data)) + name + data for name, data in parts)
    content = (tmp_path / "x").read_bytes()
    place = content.index(b"\xa9cmt")
    (tmp_path / "x").write_bytes(content[:place] + b"----" + box + content[place + 4 + len(box) :])
    read = whole(tmp_path / "x")
    assert read.shape[1] == COUNT
    assert lag(read, hiss(2, COUNT)) == 0


# ------------------------------------------------------------------------------------ in their place


@pytest.mark.parametrize(
    "options",
    ["-f mp4 -c:a aac -movie_timescale 44100", "-f mov -c:a pcm_s16le", "-f matroska -c:a flac",
     "-f mp4 -c:a alac"],
)  # fmt: skip
def test_audio_that_begins_late_is_silent_before(tmp_path: Path, options: str) -> None:
    read = late(tmp_path / "x", "1.5", options)
    assert lag(read, hiss(2, COUNT)) == 66_150
    assert not read[:, : 66_150 - 1024].any()
    assert read.shape[1] == 66_150 + COUNT


def late(path: Path, seconds: str, options: str) -> Samples:
    soundfile.write(str(path) + ".wav", hiss(2, COUNT).T, RATE, subtype="FLOAT")
    subprocess.run(
        ["ffmpeg", "-nostdin", "-y", "-v", "error", "-itsoffset", seconds, "-i", f"{path}.wav",
         *options.split(), path], check=True,
    )  # fmt: skip
    return whole(path)


@pytest.mark.parametrize(
    ("options", "delay", "tick"),
    [("-f mp4 -c:a aac", 0, 44), ("-f matroska -c:a flac", 0, 44), ("-f mpegts -c:a mp2", 481, 1),
     ("-f mov -c:a pcm_s16le", 0, 44)],
)  # fmt: skip
def test_streams_of_one_file_keep_their_distance(
    tmp_path: Path, options: str, delay: int, tick: int
) -> None:
    soundfile.write(str(tmp_path / "a.wav"), hiss(2, COUNT).T, RATE, subtype="FLOAT")
    subprocess.run(
        ["ffmpeg", "-nostdin", "-y", "-v", "error", "-i", "a.wav", "-itsoffset", "0.7", "-i", "a.wav",
         "-map", "0:a", "-map", "1:a", *options.split(), "x"], check=True, cwd=tmp_path,
    )  # fmt: skip
    first, second = (lag(whole(tmp_path / "x", stream), hiss(2, COUNT)) for stream in (0, 1))
    assert first == delay
    assert abs(second - delay - 30_870) <= tick


def test_a_picture_keeps_its_sound(tmp_path: Path) -> None:
    """The timeline of a transport stream begins with its first stream, at any hour."""
    soundfile.write(str(tmp_path / "a.wav"), hiss(2, COUNT).T, RATE, subtype="FLOAT")
    subprocess.run(
        ["ffmpeg", "-nostdin", "-y", "-v", "error", "-f", "lavfi", "-i", "color=d=3:s=64x64",
         "-itsoffset", "1.5", "-i", "a.wav", "-c:v", "mpeg4", "-c:a", "mp2", "-f", "mpegts", "x"],
        check=True, cwd=tmp_path,
    )  # fmt: skip
    assert abs(lag(whole(tmp_path / "x"), hiss(2, COUNT)) - 66_150) <= 1


def test_the_default_stream_is_taken(tmp_path: Path) -> None:
    streams = [hiss(2, COUNT, seed=seed) for seed in range(3)]
    marks = " ".join(f"-disposition:a:{n} {'default' if n == 1 else 0}" for n in range(3))
    encode(tmp_path / "x", streams, options=f"-f matroska -c:a flac {marks}")
    with open_audio(tmp_path / "x") as decoder:
        assert decoder.name == f"{tmp_path / 'x'} (stream 1)"
    np.testing.assert_array_equal(whole(tmp_path / "x"), whole(tmp_path / "x", 1))
    assert lag(whole(tmp_path / "x"), streams[1]) == 0


# ------------------------------------------------------------------------------------------- damaged


CUTS = [
    (options, left)
    for options in ALL.values()
    for left in (0.61, -100)
    # the end of a program stream is padding
    if (options, left) != (ALL["ac3 in mpeg"], -100)
]


@pytest.mark.parametrize(("options", "left"), CUTS)
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, options: str, left: float) -> None:
    content = made(options)
    (tmp_path / "x").write_bytes(content[: int(left if left < 0 else left * len(content))])
    with pytest.raises(UserError, match=r"x: .*; copy or download it again$"):
        whole(tmp_path / "x")


@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_what_follows_the_end_is_refused_or_read(tmp_path: Path, options: str) -> None:
    """Two recordings one after the other: both, or none."""
    (tmp_path / "x").write_bytes(made(options) * 2)
    try:
        read = whole(tmp_path / "x")
    except DamagedError:
        return
    assert read.shape[1] == 2 * whole(put(tmp_path / "y", options)).shape[1]


# Damage in the middle is seen, and the clock puts what follows in its place.
CLOCKED = (
    "aac in mp4", "aac in mpegts", "aac in flv", "aac in fragments", "flac in mp4", "flac", "flac in ogg",
    "vorbis in ogg", "opus in ogg", "wavpack", "tta", "mp2 in mpegts", "mp3 in mp4",
)  # fmt: skip


@pytest.mark.parametrize("name", CLOCKED)
def test_damage_is_refused_or_silent_in_its_place(tmp_path: Path, name: str) -> None:
    seconds = 4 if "ogg" in name or name in ("flac", "tta", "wavpack") else 2  # with long packets
    content, sound = made(ALL[name], seconds), whole(put(tmp_path / "sound", ALL[name], seconds))
    middle = len(content) * 4 // 10
    garbage = np.random.default_rng(3).bytes(400)
    (tmp_path / "x").write_bytes(content[:middle] + garbage + content[middle + 400 :])
    with pytest.raises(DamagedError, match=r"x: .*; copy or download it again$"):
        whole(tmp_path / "x")
    with open_audio(tmp_path / "x", salvage=True) as decoder:
        read = decoder.read(10 * RATE)
        assert decoder.losses
        assert 0 < decoder.lost < 2
    assert read.shape == sound.shape
    tail = slice(-RATE // 2, None)
    assert lag(read[:, tail], sound[:, tail]) == 0
    silent, before = ((one == 0).all(axis=0).sum() for one in (read, sound))
    assert silent - before == pytest.approx(RATE * decoder.lost, rel=0.1, abs=100)


def test_lost_packets_leave_a_gap(tmp_path: Path) -> None:
    """In the middle of an MP4: its index says when each packet sounds."""
    sound = whole(put(tmp_path / "sound", EXACT["aac in mp4"]))
    for name, container in (("x", "mp4"), ("y", "matroska"), ("z", "mpegts")):
        with av.open(str(tmp_path / "sound")) as old, av.open(
            str(tmp_path / name), "w", format=container
        ) as new:  # fmt: skip
            stream = new.add_stream_from_template(old.streams.audio[0])
            packets = [packet for packet in old.demux(old.streams.audio[0]) if packet.size]
            for number, packet in enumerate(packets):
                if number not in (20, 21):
                    packet.stream = stream
                    new.mux(packet)
        with pytest.raises(DamagedError, match=r"0\.046 s are missing at 0\.\d+ s"):
            whole(tmp_path / name)
        read = whole(tmp_path / name, salvage=True)
        begin = lag(read, sound)  # the containers keep the encoder's delay or not
        assert begin in (0, 1024)
        gap = slice(19 * 1024 + begin, 21 * 1024 + begin)
        assert not read[:, gap].any()
        after = slice(24 * 1024, sound.shape[1] - 1024)
        assert lag(read[:, after], sound[:, after]) == begin


@pytest.mark.parametrize("options", ["-f mp3", "-f mp3 -q:a 5", "-f wv -sample_fmt s16p"])
def test_a_frame_that_was_taken_out(tmp_path: Path, options: str) -> None:
    """Nothing is damaged and there is no clock: but the header counts."""
    content = made(options, 4)
    put(tmp_path / "x", options, 4)
    with av.open(str(tmp_path / "x")) as file:
        packets = [packet for packet in file.demux(file.streams.audio[0]) if packet.size]
        packet = packets[len(packets) // 2]
        assert packet.pos is not None
        gone = slice(packet.pos, packet.pos + packet.size)
    (tmp_path / "x").write_bytes(content[: gone.start] + content[gone.stop :])
    with pytest.raises(DamagedError, match=r"x: (truncated: its header|damaged|.* missing)"):
        whole(tmp_path / "x")


def test_a_shorter_packet_in_place_of_another(tmp_path: Path) -> None:
    """Half of an Opus frame: the first byte says how long it is."""
    sound = whole(put(tmp_path / "sound", "-f mp4 -c:a libopus"))
    content = bytearray((tmp_path / "sound").read_bytes())
    with av.open(str(tmp_path / "sound")) as file:
        packets = [packet for packet in file.demux(file.streams.audio[0]) if packet.size]
    position = packets[20].pos
    assert position is not None
    assert content[position] >> 3 == 31  # CELT, full band, 20 ms
    content[position] -= 8  # 10 ms
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DamagedError, match=r"0\.010 s are missing at 0\.\d+ s"):
        whole(tmp_path / "x")
    read = whole(tmp_path / "x", salvage=True)
    assert read.shape == sound.shape
    assert lag(read[:, -RATE // 2 :], sound[:, -RATE // 2 :]) == 0


@pytest.mark.parametrize("options", ["", "-mpegts_m2ts_mode 1"])
def test_a_transport_stream_that_ends_in_a_packet(tmp_path: Path, options: str) -> None:
    content = made(f"-f mpegts -c:a mp2 {options}")
    for left in (1, 60):
        (tmp_path / "x").write_bytes(content[:-left])
        with pytest.raises(DamagedError, match="x: truncated: it ends in the middle of a packet; "):
            whole(tmp_path / "x")
    (tmp_path / "x").write_bytes(content + bytes(60))
    np.testing.assert_array_equal(
        whole(tmp_path / "x"), whole(put(tmp_path / "y", f"-f mpegts -c:a mp2 {options}"))
    )


def test_a_clock_that_jumps(tmp_path: Path) -> None:
    """Two recordings in one transport stream, as a receiver writes them."""
    options = "-f mpegts -c:a mp2"
    (tmp_path / "x").write_bytes(made(options) * 2)
    with pytest.raises(DamagedError, match=r"its clock jumps by 1\.\d+ s at 1\.\d+ s"):
        whole(tmp_path / "x")


def test_tags_at_the_end_are_no_audio(tmp_path: Path) -> None:
    frame = b"APETAGEX" + struct.pack("<III", 2000, 32 + 50, 0)
    header, footer = (frame + struct.pack("<I8x", flags) for flags in (0xA0000000, 0x80000000))
    ape = header + bytes(range(1, 51)) + footer
    id3 = b"TAG" + b"Song".ljust(125, b"x")
    for options in ("-f mp3", "-f flac", "-f adts"):
        expected = whole(put(tmp_path / "y", options))
        for tags in (id3, ape, ape + id3):
            (tmp_path / "x").write_bytes(made(options) + tags)
            np.testing.assert_array_equal(whole(tmp_path / "x"), expected)


def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def read(self, _: int) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with open_audio(put(tmp_path / "x", "-f adts")) as decoder:
        monkeypatch.setattr(decoder._source, "_file", Failing())  # type: ignore[attr-defined]
        with pytest.raises(UserError, match="x: cannot be read: Input/output error; copy"):
            decoder.read(2 * COUNT)


def test_ffmpeg_says_nothing_by_itself(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x").write_bytes(made("-f mp3")[:-100])
    with caplog.at_level(logging.DEBUG), pytest.raises(DamagedError):
        whole(tmp_path / "x")
    assert capfd.readouterr() == ("", "")
