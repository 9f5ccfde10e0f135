"""What is a test or validation track once more is found in any dataset and folder, and nothing else."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from pipeline.audio.landmarks import Listener
from pipeline.datasets import duplicates, split, survey
from pipeline.datasets.inventory import FileEntry, Inventory, load, save
from pipeline.errors import UserError
from pipeline.roles import COLUMNS
from pipeline.tracks import Part, Recording, Role, Track, TrackName
from tests.helpers.melodies import RATE, melody
from tests.helpers.small_copies import SOURCES, song

Sounds = Mapping[str, Mapping[str, int]]
"""Of each track what is heard: kinds to the numbers of their melodies."""


@pytest.fixture(scope="module")
def heard() -> list[str]:
    """Fingerprints of melodies that differ."""
    found = []
    for seed in range(6):
        listener = Listener(RATE)
        listener.push(melody(seed, 6.0))
        found.append(listener.fingerprint())
    return found


def inventory(
    dataset: str, heard: list[str], sounds: Sounds, md5s: Mapping[str, str] | None = None
) -> Inventory:
    """A folder where a track has one kind, else a dataset; md5s: of files `<track>.<source>`."""
    recordings = []
    for name, kinds in sounds.items():
        sources = [kind for kind in kinds if kind != "mixture"] or ["mixture"]
        parts: dict[str, tuple[Part, ...]] = {
            source: (Part(file=f"{name}.{source}"),) for source in sources
        }
        track = Track(dataset=dataset, id=name, artist=name, sources=parts)
        recordings.append(Recording(track=track, sample_rate=RATE, channels=1, samples=9))
    files = [part.file for one in recordings for ps in one.track.sources.values() for part in ps]
    return Inventory(
        dataset=dataset,
        origin="folder" if len(next(iter(sounds.values()))) == 1 else "local",
        recordings=tuple(recordings),
        files={name: FileEntry(bytes=9, md5=(md5s or {}).get(name)) for name in files},
        fingerprints={
            name: {kind: heard[number] for kind, number in kinds.items() if number >= 0}
            for name, kinds in sounds.items()
        },
    )


def frame(**roles: str) -> pd.DataFrame:
    """A split; `CCMixter_a="test"` gives the track a of CCMixter a role."""
    rows = [(*name.split("_"), "", role, True, 1.0) for name, role in roles.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def found(roles: pd.DataFrame, *inventories: Inventory) -> dict[str, str]:
    once = duplicates.find(roles, inventories)
    rest = duplicates.without(roles, once)
    assert len(rest) == len(roles) - len(once)
    # the results' notes are made from the split that was written
    assert duplicates.find(rest, inventories) == once
    return {str(one.track): f"{one.role} {one.original}" for one in once}


SONG = {"mixture": 0, "vocals": 1, "accompaniment": 2}
OTHER = {"mixture": 3, "vocals": 4, "accompaniment": 5}


def test_in_a_folder_and_in_another_dataset(heard: list[str]) -> None:
    roles = frame(
        CCMixter_a="test", CCMixter_b="unlabelled", radio_x="unlabelled", radio_y="unlabelled",
        DSD100_same="supervised", DAMP_sung="unlabelled", DAMP_mine="unlabelled",
    )  # fmt: skip
    assert found(
        roles,
        inventory("CCMixter", heard, {"a": SONG, "b": OTHER}),
        inventory("DSD100", heard, {"same": SONG | {"vocals": 4}}),
        inventory("radio", heard, {"x": {"mixture": 0}, "y": {"mixture": 3}}),
        inventory("DAMP", heard, {"sung": {"vocals": 1}, "mine": {"vocals": 4}}),
    ) == {
        "DSD100/same": "test CCMixter/a",
        "radio/x": "test CCMixter/a",
        "DAMP/sung": "test CCMixter/a",
    }


def test_a_validation_track_that_is_a_test_track_chooses_nothing(heard: list[str]) -> None:
    roles = frame(
        CCMixter_a="test", iKala_b="validation", MedleyDB_c="unlabelled", iKala_d="validation",
        radio_x="unlabelled",
    )  # fmt: skip
    assert found(
        roles,
        inventory("CCMixter", heard, {"a": SONG}),
        inventory("iKala", heard, {"b": SONG, "d": OTHER}),
        inventory("MedleyDB", heard, {"c": OTHER}),
        inventory("radio", heard, {"x": {"mixture": 0}}),
    ) == {
        "iKala/b": "test CCMixter/a",
        "radio/x": "test CCMixter/a",
        "MedleyDB/c": "validation iKala/d",
    }


def test_test_tracks_stay_and_training_tracks_may_be_the_same(heard: list[str]) -> None:
    roles = frame(CCMixter_a="test", iKala_b="test", MedleyDB_c="unlabelled", radio_x="unlabelled")
    assert not found(
        roles,
        inventory("CCMixter", heard, {"a": SONG}),
        inventory("iKala", heard, {"b": SONG}),
        inventory("MedleyDB", heard, {"c": OTHER}),
        inventory("radio", heard, {"x": {"mixture": 3}}),
    )


def test_a_shared_backing_is_not_the_same_song(heard: list[str]) -> None:
    """Karaoke: only the mixtures of datasets are compared; nor is a mixture somebody's backing."""
    roles = frame(CCMixter_a="test", CCMixter_b="unlabelled", radio_x="unlabelled")
    assert not found(
        roles,
        inventory("CCMixter", heard, {"a": SONG, "b": OTHER | {"accompaniment": 2}}),
        inventory("radio", heard, {"x": {"mixture": 2}}),
    )


def test_byte_for_byte_without_fingerprints(heard: list[str]) -> None:
    """All of a track's files are the other's: two songs may share a stem that is silent."""
    silence, md5s = "0" * 32, {name: f"{number:032x}" for number, name in enumerate("abcd", 1)}
    nothing = {"mixture": -1, "vocals": -1, "accompaniment": -1}
    roles = frame(
        MedleyDB_a="test", MedleyDB_b="unlabelled", DSD100_c="supervised", DAMP_d="unlabelled"
    )
    assert found(
        roles,
        inventory(
            "MedleyDB", heard, {"a": nothing, "b": nothing},
            {"a.vocals": silence, "a.accompaniment": md5s["a"], "b.vocals": silence,
             "b.accompaniment": md5s["b"]},
        ),
        inventory(
            "DSD100", heard, {"c": nothing}, {"c.vocals": silence, "c.accompaniment": md5s["a"]}
        ),
        inventory("DAMP", heard, {"d": {"vocals": -1}}, {"d.vocals": md5s["a"]}),
    ) == {"DSD100/c": "test MedleyDB/a", "DAMP/d": "test MedleyDB/a"}  # fmt: skip
    unknown = inventory("MedleyDB", heard, {"a": nothing, "b": nothing})
    assert not found(frame(MedleyDB_a="test", MedleyDB_b="unlabelled"), unknown)


def test_from_recordings_to_duplicates(tmp_path: Path, one_process: None) -> None:
    """A song's mixture, which is no file of its dataset, as 16 bit in a folder; and its vocals."""
    backing, vocals = (np.stack([melody(seed, 5.0)] * 2) for seed in (1, 2))
    song(tmp_path / "raw", "a_-_b", vocals, backing)
    for name, sound in (("radio/x.wav", 0.5 * (backing + vocals)), ("DAMP/y.wav", vocals[:1])):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, sound.T, RATE, subtype="PCM_16")
    memory = tmp_path / "inspected.txt"
    for again in (False, True):
        taken = [
            survey.take("CCMixter", "local", tmp_path / "raw", SOURCES, memory=memory),
            survey.take_folder("radio", tmp_path / "radio", "mixture"),
            survey.take_folder("DAMP", tmp_path / "DAMP", "vocals"),
        ]
        once = duplicates.find(frame(CCMixter_a="test").assign(track="a_-_b"), taken)
        assert [str(one.track) for one in once] == ["radio/x.wav", "DAMP/y.wav"], again
        assert {str(one.original) for one in once} == {"CCMixter/a_-_b"}
    assert set(taken[0].fingerprints["a_-_b"]) == {"mixture", *SOURCES}
    path = tmp_path / "CCMixter.json"
    save(taken[0], path)
    assert load(path) == taken[0]
    path.write_text(path.read_text("utf-8").replace('"mixture": "', '"mixture": "?'), "utf-8")
    with pytest.raises(
        UserError, match=r"CCMixter\.json: fingerprints\.a_-_b\.mixture.* delete it and"
    ):
        load(path)


def test_it_is_told_by_name(heard: list[str]) -> None:
    inventories = [
        inventory("CCMixter", heard, {"a": SONG}),
        inventory("radio", heard, {"x": {"mixture": 0}}),
    ]
    roles = frame(CCMixter_a="test")
    assert split.notices(roles, inventories, "paper", lambda name: f"<{name}>") == [
        "<radio>: <x> is the test track <CCMixter/a> once more; left out."
    ]
    (one,) = duplicates.find(roles, inventories)
    assert one == (TrackName("radio", "x"), TrackName("CCMixter", "a"), Role.TEST)


def test_only_tracks_that_would_have_a_role_are_said_to_be_left_out(heard: list[str]) -> None:
    songs = inventory("CCMixter", heard, {"a": SONG, "b": SONG, "c": SONG})
    assigned = frame(CCMixter_a="test", CCMixter_b="unlabelled")  # c has no role anyway
    kept = duplicates.without(assigned, duplicates.find(assigned, [songs]))
    said = split.notices(kept, [songs], "paper", assigned=assigned)
    assert [line for line in said if "once more" in line] == [
        "CCMixter: b is the test track CCMixter/a once more; left out."
    ]
