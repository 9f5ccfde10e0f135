"""The folder of each song's sources: nobody else's, and never too long a name."""

import os
import unicodedata
from pathlib import Path, PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.separation.song_places import Song, places


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.mp3", "b.mp3"], ["a", "b"]),
        (["a.mp3", "a.wav", "b.wav"], ["a.mp3", "a.wav", "b"]),
        (["x/a.mp3", "a.mp3"], ["x/a", "a"]),
        (["a.mp3", "A.wav"], ["a.mp3", "A.wav"]),
        (["a.mp3", "a.mp3", "a.wav"], ["a.mp3", "a.mp3 (2)", "a.wav"]),
        (["a.mp3", "a/b.mp3"], ["a.mp3", "a/b"]),
        (["a.mp3", "a/vocals.wav.mp3"], ["a.mp3", "a/vocals.wav"]),
        (["a.mp3", "a.mp3/b.mp3", "a/c.mp3"], ["a.mp3 (2)", "a.mp3/b", "a/c"]),
        (["a.partial.mp3", "a.mp3"], ["a.partial.mp3", "a"]),
        (["a", "a.mp3"], ["a", "a.mp3"]),
        (["dots.in.it.mp3"], ["dots.in.it"]),
        (["...wav", ".wav", "x/....wav", " .wav"], ["...wav", ".wav", "x/....wav", " .wav"]),
        (["...Baby.wav", ".38.flac", "a .wav"], ["...Baby", ".38", "a "]),
        (["Jóga.wav", "Jo\u0301ga.mp3"], ["Jóga.wav", "Jo\u0301ga.mp3"]),
        (["a.wav", "a..mp3", "a .ogg"], ["a.wav", "a..mp3", "a .ogg"]),
        (["STRASSE.wav", "straße.mp3"], ["STRASSE.wav", "straße.mp3"]),
        (["Mr. Brightside", "con.wav"], ["Mr. Brightside", "con"]),
    ],
)
def test_every_song_has_a_folder_of_its_own(names: list[str], expected: list[str]) -> None:
    songs = [Song(Path(name), PurePath(name)) for name in names]
    assert places(songs, Path("out")) == [Path("out") / name for name in expected]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.text(
            st.sampled_from("aあé\u0301. 🎵\u200d한\udcff") | st.characters(codec="utf-8"), min_size=1
        ).map(lambda text: (text * (150 // len(text))).replace("/", "_").replace("\0", "_")),
        max_size=4, unique=True,
    )
)  # fmt: skip
def test_no_name_is_too_long_for_the_disk(names: list[str]) -> None:
    """Nor is it any other song's, nor cut within a letter, and it is the same next time."""
    fit = [name for name in names if len(os.fsencode(name)) < 250]
    songs = [Song(Path(name), PurePath(f"{name}.wav")) for name in fit]
    found = places(songs, Path("out"))
    assert len({unicodedata.normalize("NFC", str(path)).casefold() for path in found}) == len(songs)
    for name, path in zip(fit, found, strict=True):
        assert len(os.fsencode(f"{path.name}.old.partial")) <= 255
        assert path.parent == Path("out")
        begins, mark, _ = path.name.rpartition("~")
        if mark and len(os.fsencode(name)) > 200:
            assert name.startswith(begins)
            assert not unicodedata.combining(name[len(begins)]) or not begins
    assert places(songs, Path("out")) == found
