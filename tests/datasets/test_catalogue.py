"""The shipped lists against the numbers that the datasets' own pages give."""

import re
from collections import Counter

import pytest

from pipeline.datasets.catalogue import (
    Facts,
    checksums,
    collection,
    collections,
    facts,
    medleydb_stems,
    tracks,
)
from pipeline.datasets.catalogue import musdb18 as songs
from pipeline.datasets.readers import READERS, base, ccmixter, dsd100, medleydb, musdb18
from pipeline.errors import UserError


@pytest.mark.parametrize(
    ("dataset", "count"), [("DSD100", 100), ("MedleyDB", 122), ("CCMixter", 50), ("iKala", 252)]
)
def test_every_track_is_listed_once(dataset: str, count: int) -> None:
    ids = [entry.id for entry in tracks(dataset)]
    assert len(ids) == len(set(ids)) == count


def test_an_unknown_dataset_has_no_list() -> None:
    assert tracks("MyOwn") == ()
    assert checksums("MyOwn") == {}
    assert facts("MyOwn") == {}


def test_dsd100_partitions_follow_the_numbers() -> None:
    entries = tracks("DSD100")
    for entry in entries:
        assert entry.partition == ("Test" if int(entry.id[:3]) <= 50 else "Dev")
    assert [entry.id[:3] for entry in entries[7:9]] == ["058", "094"]  # not alphabetical
    artists = {
        partition: {dsd100.artist(e.id).lower() for e in entries if e.partition == partition}
        for partition in dsd100.PARTITIONS
    }
    assert len(artists["Dev"] & artists["Test"]) == 16


def test_ccmixter_artists() -> None:
    count = Counter(ccmixter.artist(entry.id) for entry in tracks("CCMixter"))
    assert count["stellarartwars"] == 24
    assert tracks("CCMixter")[0].id == "AlexBeroza_-_To_Be_Sensitive_(with_mindmapthat)"


def test_medleydb_stems_and_vocals() -> None:
    stems = medleydb_stems()
    assert set(stems) == {entry.id for entry in tracks("MedleyDB")}
    assert sum(map(len, stems.values())) == 856
    sung = {
        track for track, found in stems.items() if medleydb.is_vocal(s.instrument for s in found)
    }
    assert len(sung) == 64
    assert "LizNelson_Rainfall" in sung
    assert "AmarLal_Rest" not in sung
    lacking = [entry.id not in sung for entry in tracks("MedleyDB")]
    assert [sum(lacking[:40]), sum(lacking[40:80]), sum(lacking[80:])] == [15, 21, 22]


def test_medleydb_artists_are_one_per_prefix() -> None:
    """Names in the metadata differ: 'Music Delta Multitracks', 'Liz Nelson & Jennifer Davies'."""
    assert medleydb.artist("MusicDelta_80sRock") == "Music Delta"
    assert medleydb.artist("LizNelson_Rainfall") == medleydb.artist("LizNelson_Coldwar")
    assert medleydb.artist("Mozart_DiesBildnis") == medleydb.artist("Wolf_DieBekherte") == "NYU"
    assert medleydb.artist("Somebody_New") == "Somebody"


def test_ikala_clips_and_checksums() -> None:
    md5s = checksums("iKala")
    assert [entry.id for entry in tracks("iKala")] == sorted(md5s)
    assert len(set(md5s.values())) == 252
    assert all(len(md5) == 32 and int(md5, 16) >= 0 for md5 in md5s.values())
    songs = Counter(base.clip_artist(clip) for clip in md5s)
    assert sum(count == 2 for count in songs.values()) == 75


# ----------------------------------------------------------------------------------- lengths, forms


@pytest.mark.parametrize(
    ("dataset", "hours"), [("DSD100", 7.0), ("MedleyDB", 7.3), ("CCMixter", 3.2), ("iKala", 2.1)]
)
def test_lengths_sum_to_what_is_known(dataset: str, hours: float) -> None:
    known = facts(dataset)
    assert list(known) == [entry.id for entry in tracks(dataset)]
    seconds = [entry.seconds for entry in known.values() if entry.seconds]
    assert len(seconds) == len(known)
    assert round(sum(seconds) / 3600, 1) == hours
    assert 10 < min(seconds) <= max(seconds) < 1200
    assert {entry.sample_rate for entry in known.values()} == {44100}


def test_one_song_is_mono() -> None:
    mono = [name for name, entry in facts("CCMixter").items() if entry.channels == 1]
    assert len(mono) == 1
    assert "The_Scuffle" in mono[0].replace(" ", "_")
    for dataset in ("DSD100", "MedleyDB", "iKala"):
        assert {entry.channels for entry in facts(dataset).values()} == {2}


def test_facts_of_single_tracks() -> None:
    assert facts("DSD100")["051 - AM Contra - Heart Peripheral"] == Facts(210.106, 2, 44100)
    assert facts("MedleyDB")["AClassicEducation_NightOwl"] == Facts(171.44, 2, 44100)
    assert facts("iKala")["10161_chorus"] == Facts(30.0, 2, 44100)
    assert facts("DSD100subset") == {}  # excerpts of unpublished length


# ------------------------------------------------------------------------------------------ MUSDB18


def letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def test_musdb18_numbers() -> None:
    names = [song.track for song in songs()]
    assert len(names) == len(set(names)) == 150
    assert Counter(song.partition for song in songs()) == {"train": 100, "test": 50}
    assert Counter(song.dataset for song in songs()) == {"DSD100": 100, "MedleyDB": 46, "": 4}
    assert {song.partition for song in songs()} == set(musdb18.PARTITIONS)


def test_musdb18_of_neither_dataset() -> None:
    others = [song for song in songs() if not song.dataset]
    assert {musdb18.artist(song.track) for song in others} == {
        "PR",
        "The Easton Ellises",
        "The Easton Ellises (Baumi)",
    }
    assert {(song.partition, song.original) for song in others} == {("test", "")}


@pytest.mark.parametrize(("dataset", "number"), [("DSD100", 100), ("MedleyDB", 46)])
def test_musdb18_originals_exist_and_are_meant_once(dataset: str, number: int) -> None:
    originals = [song.original for song in songs() if song.dataset == dataset]
    assert len(originals) == len(set(originals)) == number
    assert set(originals) <= {entry.id for entry in tracks(dataset)}


def test_musdb18_has_the_originals_names() -> None:
    """But for case, punctuation and DSD100's numbers."""
    differing = [
        song
        for song in songs()
        if song.dataset and letters(song.track) != re.sub(r"^\d{3}", "", letters(song.original))
    ]
    assert [(song.track, song.original) for song in differing] == [
        ("Patrick Talbot - Set Free Me", "081 - Patrick Talbot - Set Me Free")
    ]


def test_musdb18_partition_is_not_dsd100s() -> None:
    partitions = {song.track: song.partition for song in songs()}
    assert partitions["ANiMAL - Rockshow"] == partitions["Actions - One Minute Smile"] == "train"
    assert partitions["AM Contra - Heart Peripheral"] == partitions["Zeno - Signs"] == "test"
    dev = {entry.id for entry in tracks("DSD100") if entry.partition == "Dev"}
    assert {song.partition for song in songs() if song.original in dev} == {"train", "test"}


# ------------------------------------------------------------------------------------- collections


def test_every_collection_can_be_read() -> None:
    assert set(collections()) == set(READERS)


@pytest.mark.parametrize("name", collections())
def test_a_collection_is_complete(name: str) -> None:
    it = collection(name)
    assert it.name == name
    assert it.page.startswith("http")
    for text in (it.title, it.licence, it.citation):
        assert text.strip() == text != ""
    assert bool(it.urls) == bool(it.file) != bool(it.apply)
    assert all(url.rpartition("/")[2] == it.file for url in it.urls)
    assert "\n" not in it.apply
    if it.checksum:
        assert re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", it.checksum)
    if it.bytes and it.unpacked_bytes:
        assert it.bytes <= it.unpacked_bytes


def test_only_two_collections_must_be_asked_for() -> None:
    assert [name for name in collections() if collection(name).apply] == ["MedleyDB", "iKala"]


@pytest.mark.parametrize(("name", "files"), [("DSD100", 5), ("CCMixter", 3)])
def test_the_unpacked_size_is_that_of_the_recordings(name: str, files: int) -> None:
    seconds = sum(entry.seconds or 0 for entry in facts(name).values())
    size = collection(name).unpacked_bytes
    assert size is not None
    assert 1 <= size / (seconds * 44100 * 2 * 2 * files) < 1.03


def test_an_unknown_collection_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^MyOwn: not a known collection; known are DSD100, "):
        collection("MyOwn")
