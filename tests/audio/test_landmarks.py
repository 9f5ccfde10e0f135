"""Recordings of the same sound are known, whatever was done to them; others are not taken for it."""

import subprocess
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from pipeline.audio import landmarks
from pipeline.audio.landmarks import Listener
from tests.helpers.melodies import RATE, melody

Audio = NDArray[np.float32]


def heard(samples: Audio, rate: int = RATE, block: int = 100_000) -> landmarks.Hashes:
    listener = Listener(rate)
    for start in range(0, len(samples), block):
        listener.push(samples[start : start + block])
    return landmarks.hashes(listener.fingerprint())


@pytest.fixture(scope="module")
def songs() -> list[Audio]:
    return [melody(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def known(songs: list[Audio]) -> list[landmarks.Hashes]:
    return [heard(song) for song in songs]


def noisy(samples: Audio) -> Audio:
    noise = np.random.default_rng(1).normal(0, 0.1 * samples.std(), len(samples))
    return samples + noise.astype(np.float32)


ALTERED: dict[str, Callable[[Audio], Audio]] = {
    "as it is": lambda one: one,
    "quiet and upside down": lambda one: -0.03 * one,
    "clipped": lambda one: np.clip(2 * one, -0.9, 0.9),
    "77 samples later": lambda one: np.concatenate([np.zeros(77, np.float32), one]),
    "half a frame of the features later": lambda one: one[int(0.016 * RATE) :],
    "half a hop of the fingerprint later": lambda one: one[int(0.008 * RATE) :],
    "with silence before": lambda one: np.concatenate([np.zeros(RATE * 7 // 3, np.float32), one]),
    "its second half": lambda one: one[len(one) // 2 :],
    "with noise": noisy,
    "at 16 bit": lambda one: np.round(one * 32767) / np.float32(32767),
}


@pytest.mark.parametrize("name", ALTERED)
def test_a_copy_is_known(songs: list[Audio], known: list[landmarks.Hashes], name: str) -> None:
    for number, song in enumerate(songs[:3]):
        mine = heard(ALTERED[name](song))
        assert [landmarks.same(mine, one) for one in known] == [n == number for n in range(6)]
        assert landmarks.same(known[number], mine)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 48_000])
def test_at_another_rate(songs: list[Audio], known: list[landmarks.Hashes], rate: int) -> None:
    mine = heard(soxr.resample(songs[0], RATE, rate), rate)
    assert [landmarks.same(mine, one) for one in known] == [True, *[False] * 5]


@pytest.mark.parametrize(
    ("coding", "ending"), [("libmp3lame -b:a 64k", "mp3"), ("aac -b:a 64k", "m4a")]
)
def test_in_another_format(
    songs: list[Audio],
    known: list[landmarks.Hashes],
    tmp_path: Path,
    coding: str,
    ending: str,
) -> None:
    before, coded, after = (tmp_path / name for name in ("a.wav", f"b.{ending}", "c.wav"))
    soundfile.write(before, songs[0], RATE)
    ffmpeg = ["ffmpeg", "-v", "error", "-i"]
    subprocess.run([*ffmpeg, str(before), "-c:a", *coding.split(), str(coded)], check=True)
    subprocess.run([*ffmpeg, str(coded), str(after)], check=True)
    samples, rate = soundfile.read(after, dtype="float32")
    mine = heard(samples, rate)
    assert [landmarks.same(mine, one) for one in known] == [True, *[False] * 5]


def test_a_part_of_a_song_is_known(known: list[landmarks.Hashes]) -> None:
    """An eighth, from anywhere; longer than what is heard at a time."""
    song = melody(9, 96.0)
    whole = heard(song)
    for start in (0.0, 41.234, 84.0):
        part = song[int(start * RATE) : int((start + 12) * RATE)]
        assert landmarks.same(heard(part), whole)
    assert not any(landmarks.same(one, whole) for one in known)


def test_others_are_others(known: list[landmarks.Hashes]) -> None:
    assert not any(landmarks.same(one, other) for one, other in combinations(known, 2))


def test_two_singers_with_one_backing_are_two_recordings(songs: list[Audio]) -> None:
    backing, *voices = songs[:3]
    one, other = (heard(backing + voice) for voice in voices)
    assert not landmarks.same(one, other)


def test_pieces_do_not_matter(songs: list[Audio]) -> None:
    long = np.tile(songs[0], 6)
    assert len(long) / RATE * landmarks.RATE > landmarks.CHUNK
    np.testing.assert_array_equal(heard(long, block=3001), heard(long, block=len(long)))


@pytest.mark.parametrize("samples", [1, 2000, RATE])
def test_where_nothing_is_heard_nothing_is_the_same(samples: int) -> None:
    for quiet in (np.zeros(samples, np.float32), np.full(samples, 0.5, np.float32)):
        mine = heard(quiet)
        assert len(mine) < landmarks.FEWEST
        assert not landmarks.same(mine, mine)


def test_a_fingerprint_is_small_and_ordered(known: list[landmarks.Hashes]) -> None:
    for one in known:
        assert len(one) == landmarks.KEPT
        assert (np.diff(one.astype(np.int64)) > 0).all()


@pytest.mark.parametrize("text", ["?", "AAA", "AAAA", "AAAAAAA="])
def test_another_text_is_no_fingerprint(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        landmarks.hashes(text)
