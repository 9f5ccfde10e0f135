"""Datasets by selection, roles by name, and the voice's level, on clips in the layout of MIR-1K."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio import reading
from pipeline.datasets import catalogue, selection, split, survey
from pipeline.datasets.inventory import FileEntry, Inventory
from pipeline.errors import UserError
from pipeline.tracks import Part, Recording, Track
from tests.helpers import small_mir_1k
from tests.helpers.small_mir_1k import CLIPS

SOURCES = ["accompaniment", "vocals"]


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: None) -> Path:
    """Four short clips under published names; the catalogue has their lengths and MD5s instead."""
    root = tmp_path / "MIR-1K"
    small_mir_1k.publish(monkeypatch, small_mir_1k.put_clips(root / "Wavfile"))
    return root


def take(root: Path, select: dict[str, list[str]] | None, voice_level: float = 0.0) -> Inventory:
    return survey.take(
        "some", "local", root, SOURCES, collection="MIR-1K", select=select, voice_level=voice_level
    )


# --------------------------------------------------------------------------------------- catalogue


def test_mir_1k_has_what_its_page_says() -> None:
    """1000 clips, 133 minutes, 19 singers, 11 of them men; the lengths are those of the MD5s' files."""
    rows = catalogue.columns("MIR-1K")
    assert len(rows) == len(set(catalogue.checksums("MIR-1K").values())) == 1000
    assert sum(facts.seconds or 0 for facts in catalogue.facts("MIR-1K").values()) == pytest.approx(
        133 * 60, abs=60
    )
    singers = {row["singer"]: row["sex"] for row in rows.values()}
    assert Counter(singers.values()) == {"m": 11, "f": 8}
    assert all(row["song"].startswith(f"{row['singer']}_") for row in rows.values())
    assert all(name.startswith(f"{row['song']}_") for name, row in rows.items())


def test_no_singer_of_mir_1k_has_two_roles() -> None:
    roles = {
        (catalogue.columns("MIR-1K")[name]["singer"], role)
        for name, role in catalogue.roles("MIR-1K").items()
    }
    assert len(roles) == 19
    assert Counter(role for _, role in roles) == {"unlabelled": 4, "validation": 6, "test": 9}


# -------------------------------------------------------------------------------------- selections


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ({"sex": ["f"]}, ["Ani_1_01", "amy_1_01"]),
        ({"singer": ["bug", "amy"]}, ["amy_1_01", "bug_1_07"]),
        ({"sex": ["m"], "singer": ["bug", "amy"]}, ["bug_1_07"]),
        ({"artist": ["khair"]}, ["khair_1_01"]),
        ({"track": ["khair_1_01", "khair_1_02"]}, ["khair_1_01"]),
    ],
)
def test_a_selection_takes_what_has_a_value_in_every_column(
    clips: Path, select: dict[str, list[str]], expected: list[str]
) -> None:
    found = take(clips, select)
    assert [one.track.id for one in found.recordings] == expected
    assert {one.track.dataset for one in found.recordings} == {"some"}
    assert (found.dataset, found.collection) == ("some", "MIR-1K")


def test_only_what_is_selected_can_be_missing(clips: Path) -> None:
    found = take(clips, {"song": ["Ani_1", "Ani_2"]})
    with Path(catalogue.__file__).with_name("mir_1k.csv").open() as file:
        names = [row["clip"] for row in csv.DictReader(file) if row["song"] in ("Ani_1", "Ani_2")]
    assert list(found.missing) == sorted(set(names) - {"Ani_1_01"})


@pytest.mark.parametrize(
    ("select", "said"),
    [
        (
            {"voice": ["f"]},
            r"select: expected one of artist, track, clip, singer, sex.*, found voice",
        ),
        ({"singer": ["any"]}, r"select\.singer: no track has any; there are Ani, Kenshin, .*"),
        ({"sex": ["male"]}, r"select\.sex: no track has male; there are f, m$"),
    ],
)
def test_a_slip_in_a_selection_is_one_line(
    clips: Path, select: dict[str, list[str]], said: str
) -> None:
    with pytest.raises(UserError, match=rf"^params\.yaml: datasets\.some\.{said}"):
        take(clips, select)


def test_tracks_without_a_published_list_are_known_by_artist_and_name() -> None:
    tracks = [
        Track(dataset="x", id=name, artist=artist, sources={})
        for name, artist in (("a", "A"), ("b", "B"))
    ]
    assert selection.chosen(tracks, "DSD100subset", {"artist": ["B"]}, "x") == tracks[1:]


# ------------------------------------------------------------------------------------------- roles


def inventory(*names: str) -> Inventory:
    recordings = tuple(
        Recording(
            track=Track(
                dataset="some",
                id=name,
                artist=name.split("_")[0],
                sources={
                    source: (Part(file="a.wav", channel=n),) for n, source in enumerate(SOURCES)
                },
            ),
            sample_rate=16_000,
            channels=2,
            samples=9,
        )
        for name in sorted(names)
    )
    files = {"a.wav": FileEntry(bytes=9)}
    return Inventory(
        dataset="some", origin="local", collection="MIR-1K", recordings=recordings, files=files
    )


@pytest.mark.parametrize("strategy", ["paper", "by_artist"])
def test_tracks_have_the_roles_that_the_parameters_name(strategy: str) -> None:
    frame = split.assign(
        [inventory(*CLIPS)],
        strategy,
        1,
        {"some": {"test": {"sex": ["f"]}, "supervised": {"song": ["khair_1"]}}},
    )
    assert dict(zip(frame["track"], frame["role"], strict=True)) == {
        "Ani_1_01": "test", "amy_1_01": "test", "khair_1_01": "supervised",
    }  # fmt: skip


def test_a_track_has_one_role() -> None:
    with pytest.raises(
        UserError,
        match=r"datasets\.some\.roles\.supervised: Ani_1_01 is test already; a track has one role",
    ):
        split.assign(
            [inventory(*CLIPS)],
            "paper",
            1,
            {"some": {"test": {"sex": ["f"]}, "supervised": {"singer": ["Ani"]}}},
        )


def test_without_names_a_collections_singers_have_its_roles() -> None:
    frame = split.assign([inventory(*CLIPS)], "paper", 1)
    assert dict(zip(frame["track"], frame["role"], strict=True)) == {
        "Ani_1_01": "validation", "amy_1_01": "unlabelled", "bug_1_07": "test", "khair_1_01": "test",
    }  # fmt: skip


# ------------------------------------------------------------------------------------------- level


@pytest.mark.parametrize("level", [-5.0, 5.0])
def test_the_voice_is_louder_by_so_many_decibels(clips: Path, level: float) -> None:
    plain, found = take(clips, {"singer": ["bug"]}), take(clips, {"singer": ["bug"]}, level)
    before, after = (
        np.concatenate(
            list(reading.stream_sources(one.recordings[0].track, clips, SOURCES)), axis=2
        )
        for one in (plain, found)
    )
    np.testing.assert_array_equal(after[0], before[0])
    np.testing.assert_allclose(after[1], before[1] * 10 ** (level / 20), rtol=1e-6)
    assert plain.recordings != found.recordings
