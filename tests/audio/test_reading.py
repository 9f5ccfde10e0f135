"""Decoding, mixing down, resampling and writing."""

import struct
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile
import soxr

from pipeline.audio import reading, resampling
from tests.helpers.small_recordings import PAIR, RATE, SOURCES, noise, put, track, two_channels
from tests.helpers.whole_tracks import probe, read_sources


def test_probe_reads_the_header(tmp_path: Path) -> None:
    put(tmp_path / "x.wav", noise(2, 123), 48_000)
    assert probe(tmp_path / "x.wav") == (48_000, 2, 123)


def test_parts_are_summed_and_a_source_without_parts_is_zero(tmp_path: Path) -> None:
    parts = [noise(2, 2500, seed) for seed in range(3)]
    for index, part in enumerate(parts):
        put(tmp_path / f"{index}.wav", part)
    sources, rate = read_sources(
        track(["0.wav", "1.wav", "2.wav"], []), tmp_path, ("vocals", "accompaniment")
    )
    assert rate == RATE
    assert sources.dtype == np.float32
    assert sources.shape == (2, 2, 2500)
    assert not sources[0].any()
    np.testing.assert_array_equal(sources[1], parts[0] + parts[1] + parts[2])


def test_a_part_may_be_one_channel(tmp_path: Path) -> None:
    data = noise(2, 1000)
    put(tmp_path / "clip.wav", data)
    clip = two_channels("clip.wav")
    read, _ = read_sources(clip, tmp_path, SOURCES)
    np.testing.assert_array_equal(read, data[:, None])
    # The mixture is the sum of the channels, not their mean.
    mono = reading.read_mono(clip, tmp_path, SOURCES, RATE)
    np.testing.assert_array_equal(mono.sum(axis=0), data[0] + data[1])


@pytest.mark.parametrize("block", [1, 999, 3000, 10_000])
def test_blocks_make_up_the_track(pair: Path, block: int) -> None:
    whole, _ = read_sources(PAIR, pair, SOURCES)
    blocks = list(reading.stream_sources(PAIR, pair, SOURCES, block))
    assert {part.shape[2] for part in blocks[:-1]} <= {block}
    np.testing.assert_array_equal(np.concatenate(blocks, axis=2), whole)


@pytest.mark.parametrize("rate", [44_100, 48_000, 22_050, 96_000])
def test_read_mono_equals_the_channel_mean_resampled_at_once(tmp_path: Path, rate: int) -> None:
    data = {"a.wav": noise(2, 100_001, 1), "v.wav": noise(2, 100_001, 2)}
    for name, samples in data.items():
        put(tmp_path / name, samples, rate)
    read = reading.read_mono(PAIR, tmp_path, SOURCES, 8000)
    assert read.dtype == np.float32
    assert read.shape == (2, round(100_001 * 8000 / rate))
    for source, samples in zip(read, data.values(), strict=True):
        mono = samples.astype(np.float64).mean(axis=0)
        expected = soxr.resample(mono, rate, 8000, quality="VHQ")
        np.testing.assert_allclose(source, expected[: len(source)], atol=1e-5)


def test_resampling_keeps_time_and_level_and_removes_what_would_alias(tmp_path: Path) -> None:
    seconds = np.arange(RATE) / RATE
    sine = np.sin(2 * np.pi * 1000 * seconds) / 2
    put(tmp_path / "a.wav", np.stack([sine, sine]).astype(np.float32), subtype="FLOAT")
    above = np.sin(2 * np.pi * 5000 * seconds)
    put(tmp_path / "v.wav", np.stack([above, above]).astype(np.float32), subtype="FLOAT")
    read = reading.read_mono(PAIR, tmp_path, SOURCES, 8000)
    expected = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000) / 2
    np.testing.assert_allclose(read[0, 500:-500], expected[500:-500], atol=1e-4)
    assert np.abs(read[1, 500:-500]).max() < 1e-4


@pytest.mark.parametrize("block", [1, 441, 7777, 30_000])
def test_read_mono_does_not_depend_on_the_block_size(tmp_path: Path, block: int) -> None:
    put(tmp_path / "a.wav", noise(2, 20_011, 1))
    put(tmp_path / "v.wav", noise(2, 20_011, 2))
    expected = reading.read_mono(PAIR, tmp_path, SOURCES, 8000)
    assert expected.any()
    np.testing.assert_array_equal(reading.read_mono(PAIR, tmp_path, SOURCES, 8000, block), expected)


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 6, 100])
def test_tracks_of_a_few_samples_work(tmp_path: Path, samples: int) -> None:
    put(tmp_path / "a.wav", noise(2, samples))
    put(tmp_path / "v.wav", noise(2, samples))
    read = reading.read_mono(PAIR, tmp_path, SOURCES, 8000)
    assert read.shape == (2, max(1, round(samples * 8000 / RATE)))
    assert read.shape[1] == resampling.resampled_length(samples, RATE, 8000)
    assert np.isfinite(read).all()


def test_mono_files_at_the_working_rate_come_back_exactly(tmp_path: Path) -> None:
    data = noise(1, 500)
    put(tmp_path / "a.wav", data, 8000)
    put(tmp_path / "v.wav", data, 8000)
    np.testing.assert_array_equal(reading.read_mono(PAIR, tmp_path, SOURCES, 8000)[1], data[0])


ENCODINGS = [
    (container, subtype)
    for container in ("WAV", "WAVEX", "RF64", "FLAC")
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
    if soundfile.check_format(container, subtype)
]


@pytest.mark.parametrize(("container", "subtype"), ENCODINGS)
def test_encodings(tmp_path: Path, container: str, subtype: str) -> None:
    data = noise(2, 4001)
    soundfile.write(str(tmp_path / "a.wav"), data.T, RATE, subtype=subtype, format=container)
    read, _ = read_sources(track(["a.wav"], []), tmp_path, ("accompaniment",))
    np.testing.assert_allclose(read[0], data, atol=1 / 64 if subtype == "PCM_U8" else 1e-7)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_with_spaces_apostrophes_and_accents(
    tmp_path: Path, form: Literal["NFC", "NFD"]
) -> None:
    name = unicodedata.normalize(form, "01 - Sigur Rós, Don't & (Ænd) - 夜/ça va.wav")
    put(tmp_path / name, noise(2, 50))
    read, _ = read_sources(track([name], []), tmp_path, SOURCES)
    np.testing.assert_array_equal(read[0], noise(2, 50))


# ---------------------------------------------------------------------------------------- memory

MEASURE = r"""
import re, sys
from pathlib import Path
from pipeline.audio import reading
from pipeline.tracks import Part, Track
sources = {name: (Part(file=f"{name}.wav"),) for name in ("accompaniment", "vocals")}
track = Track(dataset="x", id="x", artist="x", sources=sources)
read = reading.read_mono(track, Path(sys.argv[1]), ("accompaniment", "vocals"), 8000)
assert read.shape == (2, 20 * 60 * 8000), read.shape
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1))
"""


def test_twenty_minutes_of_stereo_need_little_memory(tmp_path: Path) -> None:
    size = 20 * 60 * RATE * 4
    header = struct.pack(
        "<4sI8sIHHIIHH4sI",
        b"RIFF",
        36 + size,
        b"WAVEfmt ",
        16,
        1,
        2,
        RATE,
        RATE * 4,
        4,
        16,
        b"data",
        size,
    )
    for name in SOURCES:
        with (tmp_path / f"{name}.wav").open("wb") as file:
            file.write(header)
            file.truncate(len(header) + size)  # zeros that take no room on the disk
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    # Decoded at once it is 847 MB; the result alone is 77 MB. VmHWM counts this
    # process alone, ru_maxrss its parent too.
    assert int(result.stdout) < 350 * 1024
