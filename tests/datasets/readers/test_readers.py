"""The layouts on disk, small, with everything that real copies have lying about."""

import os
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Literal

import pytest
import yaml

from pipeline.datasets import completeness
from pipeline.datasets.readers import READERS
from pipeline.datasets.readers.base import Listing
from pipeline.errors import UserError
from pipeline.params import DATASETS
from pipeline.tracks import Part, Track


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def read(dataset: str, root: Path) -> Listing:
    return READERS[dataset].list_tracks(root)


def only(dataset: str, root: Path) -> Track:
    (track,) = read(dataset, root).tracks
    assert track.dataset == dataset
    return track


def files(track: Track, source: str) -> list[str]:
    return [part.file for part in track.sources[source]]


def song(folder: str, *stems: str) -> list[str]:
    return [f"{folder}/{stem}.wav" for stem in (stems or ("bass", "drums", "other", "vocals"))]


# A folder of each layout that holds songs, and a song in it: a folder or a file.
PLACES = {
    "DSD100": ("Sources/Dev", "055 - A - B"),
    "DSD100subset": ("Sources/Test", "005 - A - B"),
    "MedleyDB": ("Audio", "AmarLal_Rest"),
    "MedleyDB-sample": ("Audio", "LizNelson_Rainfall"),
    "CCMixter": ("ccmixter_corpus", "a_-_b"),
    "iKala": ("Wavfile", "10161_verse.wav"),
    "MIR-1K": ("Wavfile", "abjones_1_01.wav"),
    "MUSDB18": ("train", "A - B.stem.mp4"),
    "MUSDB18-HQ": ("test", "A - B"),
}


def test_there_is_a_reader_for_every_dataset_of_the_parameters() -> None:
    assert set(READERS) == set(PLACES)
    assert set(DATASETS) <= set(READERS)
    for name, reader in READERS.items():
        assert reader.name == name
        assert {"vocals", "accompaniment"} <= set(reader.sources)


# ------------------------------------------------------------------------------------------ DSD100


def test_dsd100(tmp_path: Path) -> None:
    name = "053 - Actions - Devil's Words, & (More)"
    touch(tmp_path, *song(f"Sources/Dev/{name}"), f"Mixtures/Dev/{name}/mixture.wav")
    touch(tmp_path, *song("Sources/Test/049 - Young Griffo - Facade"))
    first, second = read("DSD100", tmp_path).tracks
    assert (first.id, first.partition) == ("049 - Young Griffo - Facade", "Test")
    assert (second.id, second.artist, second.partition) == (name, "Actions", "Dev")
    assert files(second, "vocals") == [f"Sources/Dev/{name}/vocals.wav"]
    assert files(second, "drums") == [f"Sources/Dev/{name}/drums.wav"]
    assert sorted(files(second, "accompaniment")) == song(
        f"Sources/Dev/{name}", "bass", "drums", "other"
    )
    assert set(second.sources) == set(READERS["DSD100"].sources)


def test_dsd100_guests_make_no_other_artist(tmp_path: Path) -> None:
    touch(tmp_path, *song("Sources/Dev/097 - Triviul feat. The Fiend - Widow"))
    assert only("DSD100", tmp_path).artist == "Triviul"


def test_the_folder_that_an_archive_wraps_around_is_found(tmp_path: Path) -> None:
    touch(tmp_path, *song("DSD100subset/Sources/Dev/055 - A - B"), "._DSD100subset")
    assert files(only("DSD100", tmp_path), "vocals") == [
        "DSD100subset/Sources/Dev/055 - A - B/vocals.wav"
    ]
    touch(tmp_path, *song("copy/Sources/Dev/055 - A - B"))
    with pytest.raises(UserError, match=r"several copies: .*DSD100subset.*copy"):
        read("DSD100", tmp_path)


def test_the_subset_is_a_dataset_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, *song("DSD100subset/Sources/Test/049 - Young Griffo - Facade"))
    track = only("DSD100subset", tmp_path)
    assert (track.id, track.artist) == ("049 - Young Griffo - Facade", "Young Griffo")
    assert track.partition == "Test"
    assert READERS["DSD100subset"].layout == READERS["DSD100"].layout


# ---------------------------------------------------------------------------------------- CCMixter


@pytest.mark.parametrize("top", ["ccmixter_corpus/", ""])
def test_ccmixter(tmp_path: Path, top: str) -> None:
    name = f"{top}unreal_dm_-_Big_John (with_snowflake)"
    touch(tmp_path, *song(name, "mix", "source-01", "source-02"), f"{name}/._source-01.wav")
    track = only("CCMixter", tmp_path)
    assert track.id == "unreal_dm_-_Big_John (with_snowflake)"
    assert track.artist == "unreal_dm"
    assert track.partition is None
    assert files(track, "accompaniment") == [f"{name}/source-01.wav"]
    assert files(track, "vocals") == [f"{name}/source-02.wav"]


# ------------------------------------------------------------------------------------------- iKala


def test_ikala(tmp_path: Path) -> None:
    touch(
        tmp_path, "Wavfile/10161_verse.wav", "Wavfile/10161_chorus.wav", "Wavfile/10164_verse.WAV"
    )
    touch(tmp_path, "Wavfile/._10161_verse.wav", "Wavfile/readme.txt", "PitchLabel/10161_verse.pv")
    touch(tmp_path, "__MACOSX/Wavfile/10161_verse.wav")
    tracks = read("iKala", tmp_path).tracks
    assert [track.id for track in tracks] == ["10161_chorus", "10161_verse", "10164_verse"]
    assert [track.artist for track in tracks] == ["10161", "10161", "10164"]
    assert tracks[1].sources == {
        "accompaniment": (Part(file="Wavfile/10161_verse.wav", channel=0),),
        "vocals": (Part(file="Wavfile/10161_verse.wav", channel=1),),
    }


# ------------------------------------------------------------------------------------------ MIR-1K


@pytest.mark.parametrize("top", ["MIR-1K/", ""])
def test_mir_1k(tmp_path: Path, top: str) -> None:
    """The singer is the artist; whole songs and lyrics that are read aloud are no clips."""
    touch(tmp_path, f"{top}Wavfile/abjones_1_01.wav", f"{top}Wavfile/Ani_2_03.wav")
    touch(tmp_path, f"{top}UndividedWavfile/abjones_1.wav", f"{top}LyricsWav/abjones_1_01.wav")
    touch(tmp_path, f"{top}PitchLabel/abjones_1_01.pv", f"{top}Lyrics/abjones_1_01.txt")
    tracks = read("MIR-1K", tmp_path).tracks
    assert [track.id for track in tracks] == ["Ani_2_03", "abjones_1_01"]
    assert [track.artist for track in tracks] == ["Ani", "abjones"]
    file = f"{top}Wavfile/abjones_1_01.wav"
    assert tracks[1].sources == {
        "accompaniment": (Part(file=file, channel=0),),
        "vocals": (Part(file=file, channel=1),),
    }
    listing = READERS["MIR-1K"].list_tracks(tmp_path)
    assert completeness.extra(READERS["MIR-1K"], tmp_path, listing) == []


# ---------------------------------------------------------------------------------------- MedleyDB

# Excerpt of a published metadata file (MedleyDB V1), in which raw recordings are labelled too.
NIGHT_OWL = """\
album: Shaking Through Volume 2
artist: A Classic Education
has_bleed: 'no'
instrumental: 'no'
mix_filename: AClassicEducation_NightOwl_MIX.wav
stem_dir: AClassicEducation_NightOwl_STEMS
stems:
  S01:
    component: bass
    filename: AClassicEducation_NightOwl_STEM_01.wav
    instrument: electric bass
    raw:
      R01:
        filename: AClassicEducation_NightOwl_RAW_01_01.wav
        instrument: electric bass
  S08:
    component: melody
    filename: AClassicEducation_NightOwl_STEM_08.wav
    instrument: male singer
    raw:
      R01:
        filename: AClassicEducation_NightOwl_RAW_08_01.wav
        instrument: male singer
      R02:
        filename: AClassicEducation_NightOwl_RAW_08_02.wav
        instrument: male singer
  S10:
    component: ''
    filename: AClassicEducation_NightOwl_STEM_10.wav
    instrument: vocalists
    raw:
      R01:
        filename: AClassicEducation_NightOwl_RAW_10_01.wav
        instrument: female singer
title: Night Owl
version: 1.2
"""
OWL = "AClassicEducation_NightOwl"


def metadata(name: str, instruments: list[object]) -> str:
    stems = {
        f"S{index:02}": {"filename": f"{name}_STEM_{index:02}.wav", "instrument": instrument}
        for index, instrument in enumerate(instruments, 1)
    }
    return yaml.safe_dump({"artist": "Someone", "stems": stems})


@pytest.mark.parametrize("place", [f"Audio/{OWL}", "Metadata", "Audio/Metadata"])
def test_medleydb_metadata_file_wins_wherever_it_is(tmp_path: Path, place: str) -> None:
    touch(tmp_path, f"Audio/{OWL}/{OWL}_MIX.wav", f"Audio/{OWL}/{OWL}_STEMS/{OWL}_STEM_01.wav")
    touch(tmp_path, f"{place}/{OWL}_METADATA.yaml")
    (tmp_path / place / f"{OWL}_METADATA.yaml").write_text(NIGHT_OWL)
    track = only("MedleyDB", tmp_path)
    assert track.id == OWL
    assert track.artist == "A Classic Education"
    stems = f"Audio/{OWL}/{OWL}_STEMS/{OWL}_STEM"
    # The catalogue knows more stems of this track than the file.
    assert files(track, "vocals") == [f"{stems}_08.wav", f"{stems}_10.wav"]
    assert files(track, "accompaniment") == [f"{stems}_01.wav"]


def test_medleydb_without_metadata_uses_the_catalogue_and_counts_each_stem_once(
    tmp_path: Path,
) -> None:
    (tmp_path / "Audio/LizNelson_Rainfall").mkdir(parents=True)
    track = only("MedleyDB", tmp_path)
    stems = "Audio/LizNelson_Rainfall/LizNelson_Rainfall_STEMS/LizNelson_Rainfall_STEM"
    assert files(track, "vocals") == [f"{stems}_0{number}.wav" for number in (1, 2, 3)]
    assert files(track, "accompaniment") == [f"{stems}_0{number}.wav" for number in (4, 5)]


def test_medleydb_sample(tmp_path: Path) -> None:
    for name in ("LizNelson_Rainfall", "Phoenix_ScotchMorris"):
        (tmp_path / "MedleyDB_sample/Audio" / name).mkdir(parents=True)
    rainfall, morris = read("MedleyDB-sample", tmp_path).tracks
    assert rainfall.dataset == morris.dataset == "MedleyDB-sample"
    assert rainfall.artist == "Liz Nelson"
    assert len(rainfall.sources["vocals"]) == 3
    assert morris.sources["vocals"] == ()


@pytest.mark.parametrize(
    ("instrument", "source"),
    [
        ("Female Singer ", "vocals"),
        ("male rapper", "vocals"),
        ("choir", "vocals"),
        ("beatboxing", "vocals"),
        (["piano", "male singer"], "vocals"),
        ("crowd", "accompaniment"),
        ("vocoder", "accompaniment"),
        ("Main System", "accompaniment"),
    ],
)
def test_medleydb_labels(tmp_path: Path, instrument: object, source: str) -> None:
    touch(tmp_path, "Audio/New_Song/New_Song_METADATA.yaml")
    (tmp_path / "Audio/New_Song/New_Song_METADATA.yaml").write_text(
        metadata("New_Song", [instrument])
    )
    track = only("MedleyDB", tmp_path)
    assert files(track, source) == ["Audio/New_Song/New_Song_STEMS/New_Song_STEM_01.wav"]
    assert track.artist == "New"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "nothing says which stems are vocals"),
        ("stems: [", "not valid YAML"),
        ("title: x", "expected stems"),
        ("- a list", "expected stems"),
        ("", "expected stems"),
        (metadata("New_Song", [""]), "expected stems"),
        (metadata("New_Song", [None]), "expected stems"),
    ],
)
def test_medleydb_rejects_one_track_and_lists_the_others(
    tmp_path: Path, content: str | None, said: str
) -> None:
    for name in ("New_Song", "AmarLal_Rest", "Metadata"):
        (tmp_path / "Audio" / name).mkdir(parents=True)
    if content is not None:
        (tmp_path / "Audio/New_Song/New_Song_METADATA.yaml").write_text(content)
    tracks, (rejected,), _ = read("MedleyDB", tmp_path)
    assert [track.id for track in tracks] == ["AmarLal_Rest"]
    assert tracks[0].sources["vocals"] == ()
    assert rejected.track == "New_Song"
    assert "New_Song_METADATA.yaml: " in rejected.reason
    assert said in rejected.reason
    assert "\n" not in rejected.reason


# ------------------------------------------------------------------------------------ all of them


@pytest.mark.parametrize("dataset", PLACES)
def test_a_missing_folder_says_where_and_what_is_expected(tmp_path: Path, dataset: str) -> None:
    root = tmp_path / dataset
    with pytest.raises(UserError) as error:
        read(dataset, root)
    assert str(error.value).startswith(f"{root}: no such folder")
    assert READERS[dataset].layout in str(error.value)
    assert "DATA_ROOT" in str(error.value)


@pytest.mark.parametrize("dataset", PLACES)
@pytest.mark.parametrize("content", [(), (".DS_Store", "._x.wav", "readme.txt")])
def test_an_empty_folder_says_what_is_expected(
    tmp_path: Path, dataset: str, content: tuple[str, ...]
) -> None:
    folder = tmp_path / PLACES[dataset][0]
    folder.mkdir(parents=True)
    touch(folder, *content)
    with pytest.raises(UserError, match="no tracks in this folder") as error:
        read(dataset, tmp_path)
    assert READERS[dataset].layout in str(error.value)
    assert "DATA_ROOT" in str(error.value)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_id_does_not_depend_on_how_the_file_system_spells_it(
    tmp_path: Path, form: Literal["NFC", "NFD"]
) -> None:
    name = unicodedata.normalize(form, "Björk_-_Jóga")
    touch(tmp_path, *song(f"ccmixter_corpus/{name}", "source-01", "source-02"))
    track = only("CCMixter", tmp_path)
    assert track.id == unicodedata.normalize("NFC", name)
    assert (tmp_path / track.sources["vocals"][0].file).is_file()


@pytest.mark.parametrize("dataset", PLACES)
def test_a_name_in_another_encoding_is_left_out_and_the_others_are_listed(
    tmp_path: Path, dataset: str
) -> None:
    place, name = PLACES[dataset]
    folder = tmp_path / place
    (folder / name).mkdir(parents=True)
    bad = os.fsdecode(b"Bj\xf6rk_" + os.fsencode(name))
    try:
        (folder / bad).mkdir()
        if name.endswith((".wav", ".mp4")):
            for path in (folder / name, folder / bad):
                path.rmdir()
                path.touch()
    except OSError:
        pytest.skip("this file system refuses such names")
    (track,), (rejected,), _ = read(dataset, tmp_path)
    assert track.id == name.removesuffix(".wav").removesuffix(".stem.mp4")
    assert rejected.track == rf"Bj\xf6rk_{name}"
    said = f"{folder}/{rejected.track}: the name is not valid UTF-8; rename it"
    assert rejected.reason == said
    (folder / name).rename(tmp_path / "elsewhere")
    assert read(dataset, tmp_path)[:2] == ([], [rejected])


def test_files_of_another_kind_may_have_any_name(tmp_path: Path) -> None:
    touch(tmp_path, "Wavfile/10161_verse.wav")
    try:
        (tmp_path / "Wavfile" / os.fsdecode(b"les\xe9.txt")).touch()
    except OSError:
        pytest.skip("this file system refuses such names")
    assert read("iKala", tmp_path).rejected == []


def test_a_folder_that_cannot_be_listed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Sources/Dev").mkdir(parents=True)

    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(UserError, match=r"Dev: cannot be listed: Permission denied; make it"):
        read("DSD100", tmp_path)


@pytest.mark.parametrize("dataset", PLACES)
def test_a_leading_dot_is_no_reason_to_leave_a_song_out(tmp_path: Path, dataset: str) -> None:
    place, name = PLACES[dataset]
    names = [f".{name}", f"...{name}", f" {name}", f"a\n\u202e{name}", f".. {name}"]
    for one in (*names, f"._{name}", ".DS_Store"):
        if name.endswith((".wav", ".mp4")):
            touch(tmp_path, f"{place}/{one}")
        else:
            (tmp_path / place / one).mkdir(parents=True)
    (tmp_path / place / f"gone {name}").symlink_to("nowhere")
    touch(tmp_path, f"{place}/notes.txt", f"{place}/README")
    tracks, rejected, skipped = read(dataset, tmp_path)
    found = [track.id for track in tracks] + [entry.track for entry in rejected]
    bare = [one.removesuffix(".wav").removesuffix(".stem.mp4") for one in names]
    bare[3] = bare[3].replace("\n\u202e", r"\n\u202e")
    assert sorted(found) == sorted([*bare, f"gone {name}"])  # a link keeps its ending
    (gone,) = [entry for entry in rejected if entry.track.startswith("gone ")]
    assert gone.reason.endswith(
        f"{place}/gone {name}: a link that leads nowhere; mend or remove it"
    )
    assert skipped == {"._*": 1, ".DS_Store": 1, "*.txt": 1, "without a suffix": 1}


@pytest.mark.parametrize(("dataset", "name"), [("iKala", ".wav"), ("MUSDB18", ".STEM.mp4")])
def test_a_song_without_a_name_is_rejected(tmp_path: Path, dataset: str, name: str) -> None:
    touch(tmp_path, f"{PLACES[dataset][0]}/{name}")
    tracks, (rejected,), _ = read(dataset, tmp_path)
    assert (tracks, rejected.track) == ([], name)
    assert rejected.reason.endswith(
        f"/{name}: nothing stands before {name.lower()}; give it a name"
    )


@pytest.mark.parametrize(
    ("dataset", "file"),
    [
        ("DSD100", "Mixtures/Dev/055 - A - B/mixture.wav"),
        ("DSD100subset", "DSD100subset/Mixtures/Test/005 - A - B/mixture.wav"),
        ("MedleyDB", f"Audio/{OWL}/{OWL}_MIX.wav"),
        ("MedleyDB", f"Audio/{OWL}/{OWL}_RAW/{OWL}_RAW_01_01.wav"),
        ("MedleyDB-sample", "MedleyDB_sample/Audio/A_B/A_B_MIX.wav"),
        ("CCMixter", "ccmixter_corpus/a_-_b/mix.wav"),
        ("MUSDB18-HQ", "train/A - B/mixture.wav"),
    ],
)
def test_files_that_are_known_but_not_used(dataset: str, file: str) -> None:
    assert any(PurePosixPath(file).match(pattern) for pattern in READERS[dataset].unused)


@pytest.mark.parametrize("dataset", PLACES)
def test_files_that_are_used_are_not_called_unused(tmp_path: Path, dataset: str) -> None:
    place, name = PLACES[dataset]
    if name.endswith((".wav", ".mp4")):
        touch(tmp_path, f"{place}/{name}")
    else:
        (tmp_path / place / name).mkdir(parents=True)
    for parts in only(dataset, tmp_path).sources.values():
        for part in parts:
            file = PurePosixPath(part.file)
            assert not any(file.match(pattern) for pattern in READERS[dataset].unused)
