"""The shipped lists against the numbers that the datasets' own pages give."""

from collections import Counter

import pytest

from pipeline.datasets import ccmixter, dsd100, ikala, medleydb
from pipeline.datasets.catalogue import checksums, medleydb_stems, tracks


@pytest.mark.parametrize(
    ("dataset", "count"), [("DSD100", 100), ("MedleyDB", 122), ("CCMixter", 50), ("iKala", 252)]
)
def test_every_track_is_listed_once(dataset: str, count: int) -> None:
    ids = [entry.id for entry in tracks(dataset)]
    assert len(ids) == len(set(ids)) == count


def test_an_unknown_dataset_has_no_list() -> None:
    assert tracks("MyOwn") == ()
    assert checksums("MyOwn") == {}


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
    songs = Counter(ikala.artist(clip) for clip in md5s)
    assert sum(count == 2 for count in songs.values()) == 75
