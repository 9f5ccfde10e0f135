"""MUSDB18 in both forms, and its songs as those of DSD100 and MedleyDB; no file is opened."""

import importlib.util
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.datasets import catalogue
from pipeline.datasets.readers import READERS, dsd100, medleydb, musdb18
from pipeline.datasets.readers.base import Listing, Rejected
from pipeline.errors import UserError
from pipeline.tracks import Part

FORMS = ("MUSDB18", "MUSDB18-HQ")
SOURCES = ("bass", "drums", "other", "vocals")


def lay_out(root: Path, form: str, *songs: str) -> None:
    """Empty files of songs named `<partition>/<track>`."""
    for song in songs:
        if form == "MUSDB18":
            files = [root / f"{song}.stem.mp4"]
        else:
            files = [root / song / f"{name}.wav" for name in (*SOURCES, "mixture")]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()


def read(form: str, root: Path) -> Listing:
    return READERS[form].list_tracks(root)


@pytest.fixture(scope="module", params=FORMS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Listing:
    """The listing of a whole copy."""
    root = tmp_path_factory.mktemp(request.param)
    lay_out(
        root, request.param, *(f"{song.partition}/{song.track}" for song in catalogue.musdb18())
    )
    return read(request.param, root)


# -------------------------------------------------------------------------------------- the readers


def test_streams_of_the_compressed_form(tmp_path: Path) -> None:
    lay_out(tmp_path, "MUSDB18", "train/Actions - One Minute Smile")
    (track,), rejected, _ = read("MUSDB18", tmp_path)
    assert rejected == []
    assert (track.dataset, track.id) == ("MUSDB18", "Actions - One Minute Smile")
    assert (track.artist, track.partition) == ("Actions", "train")
    file = "train/Actions - One Minute Smile.stem.mp4"
    assert track.sources == {
        "vocals": (Part(file=file, stream=4),),
        "drums": (Part(file=file, stream=1),),
        "bass": (Part(file=file, stream=2),),
        "other": (Part(file=file, stream=3),),
        "accompaniment": tuple(Part(file=file, stream=stream) for stream in (2, 1, 3)),
    }
    assert set(track.sources) == set(READERS["MUSDB18"].sources)


def test_files_of_the_uncompressed_form(tmp_path: Path) -> None:
    lay_out(tmp_path, "MUSDB18-HQ", "test/Zeno - Signs")
    (track,), rejected, _ = read("MUSDB18-HQ", tmp_path)
    assert rejected == []
    assert (track.dataset, track.id) == ("MUSDB18-HQ", "Zeno - Signs")
    assert (track.artist, track.partition) == ("Zeno", "test")
    parts = {name: Part(file=f"test/Zeno - Signs/{name}.wav") for name in SOURCES}
    backing = (parts["bass"], parts["drums"], parts["other"])
    assert track.sources == {name: (part,) for name, part in parts.items()} | {
        "accompaniment": backing
    }
    assert set(track.sources) == set(READERS["MUSDB18-HQ"].sources)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("top", ["", "musdb18/"])
def test_wrapped_or_not_whole_or_not(tmp_path: Path, form: str, top: str) -> None:
    lay_out(tmp_path, form, f"{top}test/Zeno - Signs")
    assert [track.partition for track in read(form, tmp_path).tracks] == ["test"]
    lay_out(tmp_path, form, f"{top}train/ANiMAL - Clinic A", "__MACOSX/train/ANiMAL - Clinic A")
    tracks = read(form, tmp_path).tracks
    assert [(track.id, track.partition) for track in tracks] == [
        ("ANiMAL - Clinic A", "train"),
        ("Zeno - Signs", "test"),
    ]
    for track in tracks:
        assert all((tmp_path / part.file).is_file() for part in track.sources["accompaniment"])
    lay_out(tmp_path, form, "second/train/ANiMAL - Clinic A", "third/train/ANiMAL - Clinic A")
    if top:
        with pytest.raises(UserError, match="several copies"):
            read(form, tmp_path)


def test_litter_and_endings(tmp_path: Path) -> None:
    lay_out(tmp_path, "MUSDB18", "train/._A - B", "train/A - B")
    for name in ("A - B.mp4", "A - B.wav", "README.md", "C - D.STEM.MP4"):
        (tmp_path / "train" / name).touch()
    assert [track.id for track in read("MUSDB18", tmp_path).tracks] == ["A - B", "C - D"]


def test_guests_make_no_other_artist() -> None:
    assert musdb18.artist("Triviul feat. The Fiend - Widow") == "Triviul"
    assert musdb18.artist("Cnoc An Tursa - Bannockburn") == "Cnoc An Tursa"


def musdb_package() -> dict[str, Any]:
    """What the dataset's own package knows about it, read without running it."""
    spec = importlib.util.find_spec("musdb")
    if spec is None or spec.origin is None:
        pytest.skip("the musdb package is not installed")
    path = Path(spec.origin).parent / "configs/mus.yaml"
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_the_stream_numbers_are_those_of_the_datasets_own_package() -> None:
    assert musdb_package()["stem_ids"] == musdb18.STREAMS | {"mixture": 0}


def test_validation_songs_of_the_datasets_own_package_are_training_songs() -> None:
    validation = musdb_package()["validation_tracks"]
    partitions = {song.track: song.partition for song in catalogue.musdb18()}
    assert len(validation) == 14
    assert {partitions[name] for name in validation} == {"train"}


def test_the_stream_numbers_are_those_of_a_real_song(real_songs: Path) -> None:
    """Stem files name their streams in a JSON text, but for the first, which is the mixture."""
    content = (real_songs / "The Easton Ellises - Falcon 69.stem.mp4").read_bytes()
    text = re.search(rb'"stems": (\[.*?\])', content, re.DOTALL)
    assert text is not None
    names = [stem["name"].lower() for stem in json.loads(text[1])]
    assert {"vocals" if name == "vox" else name: names.index(name) + 1 for name in names} == (
        musdb18.STREAMS
    )


# ------------------------------------------------------------------------------------- a whole copy


def test_a_whole_copy(whole: Listing) -> None:
    assert whole.rejected == []
    songs = {song.track: song.partition for song in catalogue.musdb18()}
    assert {track.id: track.partition for track in whole.tracks} == songs
    assert [track.id for track in whole.tracks] == sorted(songs)


def test_it_stands_in_for_dsd100(whole: Listing) -> None:
    tracks, rejected, _ = musdb18.stand_in(whole, "DSD100")
    published = {entry.id: entry.partition for entry in catalogue.tracks("DSD100")}
    assert rejected == []
    assert {track.id: track.partition for track in tracks} == published
    assert [track.id for track in tracks] == sorted(published)
    assert {track.dataset for track in tracks} == {"DSD100"}
    assert all(track.artist == dsd100.artist(track.id) for track in tracks)


def test_it_stands_in_for_some_of_medleydb(whole: Listing) -> None:
    tracks, rejected, _ = musdb18.stand_in(whole, "MedleyDB")
    ids = [track.id for track in tracks]
    assert rejected == []
    assert len(ids) == 46
    assert ids == sorted(ids)
    assert set(ids) < {entry.id for entry in catalogue.tracks("MedleyDB")}
    assert {(track.dataset, track.partition) for track in tracks} == {("MedleyDB", None)}
    assert all(track.artist == medleydb.artist(track.id) for track in tracks)
    assert "MusicDelta_80sRock" in ids


@pytest.mark.parametrize("dataset", ["DSD100", "MedleyDB"])
def test_files_stay_those_of_the_song(whole: Listing, dataset: str) -> None:
    sources = {track.id: track.sources for track in whole.tracks}
    songs = {song.original: song.track for song in catalogue.musdb18()}
    for track in musdb18.stand_in(whole, dataset).tracks:
        assert track.sources == sources[songs[track.id]]


def test_no_song_stands_in_twice(whole: Listing) -> None:
    used = [
        part.file
        for dataset in ("DSD100", "MedleyDB")
        for track in musdb18.stand_in(whole, dataset).tracks
        for part in track.sources["vocals"]
    ]
    assert len(used) == len(set(used)) == 146


def test_the_song_of_another_name(whole: Listing) -> None:
    track = next(track for track in whole.tracks if track.id == "Patrick Talbot - Set Free Me")
    (original,) = musdb18.stand_in(Listing([track], [], Counter()), "DSD100").tracks
    assert original.id == "081 - Patrick Talbot - Set Me Free"
    assert (original.artist, original.partition) == ("Patrick Talbot", "Dev")


def test_rejected_songs_come_along_where_they_belong() -> None:
    rejected = [
        Rejected(track="Zeno - Signs", reason="damaged"),
        Rejected(track="Music Delta - Disco", reason="damaged too"),
        Rejected(track="PR - Oh No", reason="of neither"),
        Rejected(track="Unknown - Song", reason="unknown"),
    ]
    assert musdb18.stand_in(Listing([], rejected, Counter()), "DSD100").rejected == [
        Rejected(track="050 - Zeno - Signs", reason="damaged")
    ]
    assert musdb18.stand_in(Listing([], rejected, Counter()), "MedleyDB").rejected == [
        Rejected(track="MusicDelta_Disco", reason="damaged too")
    ]


def test_it_cannot_stand_in_for_others(whole: Listing) -> None:
    with pytest.raises(UserError, match=r"^CCMixter: MUSDB18 has no songs of it; it has those of"):
        musdb18.stand_in(whole, "CCMixter")
