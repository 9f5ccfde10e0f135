"""A copy against what is published."""

import re
from pathlib import Path

import pytest

from pipeline.datasets import catalogue, inventory, survey
from pipeline.datasets.catalogue import Facts
from tests.helpers.small_copies import RATE, SOURCES, noise, put, reasons, song


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_PROCESSES", "1")


def test_the_published_shape_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rate, channels and length to a second; lengths of real tracks are in the catalogue."""
    second = noise(2, RATE)
    facts = {name: Facts(1.5, 2, RATE) for name in ("a_-_short", "b_-_rate", "c_-_mono")}
    facts |= {"d_-_sound": Facts(1.9, 2, RATE), "e_-_long": Facts(2.1, 2, RATE)}
    monkeypatch.setattr(catalogue, "facts", lambda dataset: facts)
    song(tmp_path, "a_-_short", noise(2, RATE // 4), noise(2, RATE // 4))
    folder = song(tmp_path, "b_-_rate")
    for file in folder.iterdir():
        put(file, second, 48_000)
    song(tmp_path, "c_-_mono", noise(1, RATE), noise(1, RATE, 1))
    song(tmp_path, "d_-_sound", second, noise(2, RATE, 1))
    song(tmp_path, "e_-_long", second, noise(2, RATE, 2))
    song(tmp_path, "f_-_not published")
    found = survey.take("CCMixter", "local", tmp_path, SOURCES)
    assert [one.track.id for one in found.recordings] == ["d_-_sound", "f_-_not published"]
    said = reasons(found)
    for track, wrong in {
        "a_-_short": r"0\.2 s, the published track has 1\.5 s",
        "b_-_rate": r"48000 Hz, the published track has 44100 Hz",
        "c_-_mono": r"1 channels, the published track has 2 channels",
        "e_-_long": r"1\.0 s, the published track has 2\.1 s",
    }.items():
        assert re.fullmatch(
            rf"ccmixter_corpus/{track}/source-01\.wav: {wrong}: a damaged or altered copy; replace it",
            said[track],
        )


def test_what_is_missing_and_what_does_not_belong(tmp_path: Path) -> None:
    """CCMixter has 50 published songs; mix.wav is part of it though nobody reads it."""
    here = [entry.id for entry in catalogue.tracks("CCMixter")][:3]
    for number, name in enumerate([*here, "somebody_-_else"]):
        folder = song(tmp_path, name, noise(2, 2000, number))
        put(folder / "mix.wav", noise())
    put(tmp_path / "ccmixter_corpus" / here[0] / "vocals take 2.WAV", noise())
    put(tmp_path / "bonus/song.wav", noise())
    put(tmp_path / "bonus/._x.wav", noise())
    (tmp_path / "readme.txt").write_text("no audio")
    found = survey.take("CCMixter", "synthetic", tmp_path, SOURCES)
    assert (found.missing, found.extra) == (
        (),
        (),
    )  # embedded recordings are not the published ones
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(catalogue, "facts", lambda dataset: {})
        found = survey.take("CCMixter", "local", tmp_path, SOURCES)
    assert len(found.recordings) == 4
    assert len(found.missing) == 47
    assert set(found.missing) | set(here) == {e.id for e in catalogue.tracks("CCMixter")}
    assert found.extra == (
        "bonus/song.wav",
        f"ccmixter_corpus/{here[0]}/vocals take 2.WAV",
        "ccmixter_corpus/somebody_-_else/source-01.wav",
        "ccmixter_corpus/somebody_-_else/source-02.wav",
    )
    inventory.save(found, tmp_path / f"{found.dataset}.json")
    assert inventory.load(tmp_path / f"{found.dataset}.json") == found


def test_the_same_recording_twice_is_used_once(tmp_path: Path) -> None:
    """Twice in the split it would weigh double, or be trained and tested on."""
    song(tmp_path, "a_-_b", noise(2, 500, 1), noise(2, 500, 2))
    song(tmp_path, "c_-_d", noise(2, 500, 1), noise(2, 500, 2))
    song(tmp_path, "e_-_remix", noise(2, 500, 1), noise(2, 500, 3))
    song(tmp_path, "f_-_swapped", noise(2, 500, 2), noise(2, 500, 1))
    found = survey.take("CCMixter", "local", tmp_path, SOURCES)
    assert [one.track.id for one in found.recordings] == ["a_-_b", "e_-_remix", "f_-_swapped"]
    assert reasons(found) == {
        "c_-_d": "byte for byte the same recording as a_-_b, which is used; remove one of them"
    }
    assert len(found.files) == 6
