"""Roles on the datasets' whole real lists, on parts of them, and on recordings of one's own."""

from collections import Counter
from collections.abc import Iterable

import pandas as pd
import pytest

from pipeline import roles
from pipeline.datasets import catalogue, split
from pipeline.datasets.inventory import FileEntry, Inventory
from pipeline.datasets.readers import base, ccmixter, dsd100, medleydb
from pipeline.errors import UserError
from pipeline.params import DATASETS
from pipeline.tracks import Part, Recording, Role, Track
from pipeline.ways import Model

ARTIST = {
    "DSD100": dsd100.artist,
    "MedleyDB": medleydb.artist,
    "CCMixter": ccmixter.artist,
    "iKala": base.clip_artist,
}


def recording(
    dataset: str,
    name: str,
    artist: str,
    partition: str | None = None,
    vocals: bool = True,
    silent: tuple[str, ...] = (),
) -> Recording:
    sources: dict[str, tuple[Part, ...]] = {
        "accompaniment": (Part(file="a.wav"),),
        "vocals": (Part(file="v.wav"),) if vocals else (),
    }
    track = Track(dataset=dataset, id=name, artist=artist, sources=sources, partition=partition)
    return Recording(track=track, sample_rate=44_100, channels=2, samples=9, silent=silent)


def inventory(dataset: str, recordings: Iterable[Recording]) -> Inventory:
    ordered = tuple(sorted(recordings, key=lambda item: item.track.id))
    files = {name: FileEntry(bytes=9) for name in ("a.wav", "v.wav")}
    return Inventory(dataset=dataset, origin="local", recordings=ordered, files=files)


def published(dataset: str) -> Inventory:
    """The whole dataset as its makers list it."""
    stems = catalogue.medleydb_stems()
    return inventory(
        dataset,
        (
            recording(
                dataset,
                entry.id,
                ARTIST[dataset](entry.id),
                entry.partition,
                dataset != "MedleyDB"
                or medleydb.is_vocal(stem.instrument for stem in stems[entry.id]),
            )
            for entry in catalogue.tracks(dataset)
        ),
    )


@pytest.fixture(scope="module")
def whole() -> list[Inventory]:
    return [published(dataset) for dataset in DATASETS]


def roles_of(frame: pd.DataFrame, dataset: str) -> dict[str, str]:
    chosen = frame[frame["dataset"] == dataset]
    return dict(zip(chosen["track"], chosen["role"], strict=True))


def counts(frame: pd.DataFrame, dataset: str) -> dict[str, int]:
    return dict(Counter(roles_of(frame, dataset).values()))


# ------------------------------------------------------------------------------------------- paper


def test_paper_gives_the_published_numbers(whole: list[Inventory]) -> None:
    frame = split.assign(whole, "paper", seed=0)
    assert counts(frame, "DSD100") == {"supervised": 50, "validation": 25, "test": 25}
    assert counts(frame, "MedleyDB") == {"unlabelled": 40, "validation": 40, "test": 42}
    assert counts(frame, "CCMixter") == {"unlabelled": 16, "validation": 16, "test": 18}
    assert counts(frame, "iKala") == {"unlabelled": 84, "validation": 84, "test": 84}
    lacking = frame[(frame["dataset"] == "MedleyDB") & ~frame["has_vocals"]]
    assert lacking["role"].value_counts().to_dict() == {
        "unlabelled": 15, "validation": 21, "test": 22,
    }  # fmt: skip
    assert frame["has_vocals"].sum() == 100 + 64 + 50 + 252


def test_paper_follows_the_authors_order_not_the_alphabet(whole: list[Inventory]) -> None:
    frame = split.assign(whole, "paper", seed=0)
    # Read off the authors' lists: the 75th and 76th of DSD100, the 16th, 32nd and 33rd of CCMixter.
    found = roles_of(frame, "DSD100")
    assert found["032 - Raft Monk - Tiring"] == "validation"
    assert found["033 - Sambasevam Shanmugam - Kaathaadi"] == "test"
    assert found["012 - Dark Ride - Burning Bridges"] == "validation"
    assert found["030 - Patrick Talbot - A Reason To Leave"] == "test"
    found = roles_of(frame, "CCMixter")
    assert found["stellarartwars_-_Go_Time_(scratched_perversion_mix)_inc_stems"] == "unlabelled"
    assert found["unreal_dm_-_Big_John (with_snowflake)"] == "validation"
    assert found["unreal_dm_-_Californian_Winter"] == "test"
    assert found["AlexBeroza_-_To_Be_Sensitive_(with_mindmapthat)"] == "unlabelled"


def test_rows_are_by_dataset_as_given_then_by_track(whole: list[Inventory]) -> None:
    frame = split.assign(whole[::-1], "paper", seed=0)
    assert list(frame.columns) == roles.COLUMNS
    assert list(dict.fromkeys(frame["dataset"])) == list(DATASETS[::-1])
    for _, rows in frame.groupby("dataset"):
        assert list(rows["track"]) == sorted(rows["track"])


def test_paper_roles_do_not_move_when_tracks_are_missing(whole: list[Inventory]) -> None:
    everything = split.assign(whole, "paper", seed=0)
    few = [inventory(item.dataset, item.recordings[::7]) for item in whole]
    some = split.assign(few, "paper", seed=3)
    assert len(some) < len(everything) / 6
    merged = some.merge(everything, on=["dataset", "track"], suffixes=("", "_whole"))
    assert len(merged) == len(some)
    assert (merged["role"] == merged["role_whole"]).all()


def test_unknown_tracks_are_cut_by_the_same_rule_beside_the_known() -> None:
    own = [recording("CCMixter", f"own_{i}", "me") for i in range(7)]
    known = recording("CCMixter", "unreal_dm_-_Jerusalem", "unreal_dm")
    frame = split.assign([inventory("CCMixter", [*own, known])], "paper", seed=0)
    assert list(frame["role"]) == ["unlabelled"] * 2 + ["validation"] * 2 + ["test"] * 3 + ["test"]

    own = [recording("DSD100", f"{i}", "me", "Dev" if i < 3 else "Test") for i in range(8)]
    frame = split.assign([inventory("DSD100", own)], "paper", seed=0)
    assert list(frame["role"]) == ["supervised"] * 3 + ["validation"] * 2 + ["test"] * 3


def test_has_vocals_needs_a_vocal_file_that_sounds() -> None:
    recordings = [
        recording("MedleyDB", "a", "x"),
        recording("MedleyDB", "b", "x", vocals=False),
        recording("MedleyDB", "c", "x", silent=("vocals",)),
        recording("MedleyDB", "d", "x", silent=("accompaniment",)),
    ]
    frame = split.assign([inventory("MedleyDB", recordings)], "paper", seed=0)
    assert list(frame["has_vocals"]) == [True, False, False, True]


# --------------------------------------------------------------------------------------- by_artist

SHARES = {
    "DSD100": {"supervised": 50, "validation": 25, "test": 25},
    "MedleyDB": {"unlabelled": 40, "validation": 40, "test": 42},
    "CCMixter": {"unlabelled": 16, "validation": 16, "test": 18},
    "iKala": {"unlabelled": 84, "validation": 84, "test": 84},
}
SEEDS = [-1, 0, 1, 2**40, *range(2, 12)]


@pytest.fixture(scope="module")
def by_artist(whole: list[Inventory]) -> list[pd.DataFrame]:
    """The split of each of SEEDS; iKala's 177 artists, of two tracks at most, are the slow part."""
    return [split.assign(whole if seed < 2 else whole[1:3], "by_artist", seed) for seed in SEEDS]


def test_by_artist_leaks_no_artist_and_keeps_the_proportions(by_artist: list[pd.DataFrame]) -> None:
    for frame in by_artist:
        # Not the artists' names as given, but what stands before the first separator of the track's.
        first = frame["track"].str.replace(r"^\d{3} - ", "", regex=True).str.lower()
        first = first.str.split(r" - | feat\. |_", regex=True).str[0]
        assert frame.groupby(["dataset", first])["role"].nunique().max() == 1
        for dataset in dict.fromkeys(frame["dataset"]):
            found = counts(frame, dataset)
            assert set(found) == set(SHARES[dataset])
            if dataset != "CCMixter":  # 24 of its 50 songs are by one artist
                for role, share in SHARES[dataset].items():
                    assert abs(found[role] - share) <= 1
            else:
                assert sorted(found.values()) in ([12, 14, 24], [13, 13, 24])
    assert len(by_artist[0]) == 100 + 122 + 50 + 252


def test_by_artist_spreads_tracks_without_vocals_too(by_artist: list[pd.DataFrame]) -> None:
    """MedleyDB: 58 of 122, 35 tracks are by one artist."""
    for frame in by_artist:
        lacking = frame[(frame["dataset"] == "MedleyDB") & ~frame["has_vocals"]]
        found = lacking["role"].value_counts()
        for role, share in SHARES["MedleyDB"].items():
            assert abs(found[role] - share * 58 / 122) <= 3


def test_by_artist_puts_the_largest_artist_anywhere(by_artist: list[pd.DataFrame]) -> None:
    """With every seed it was the unlabelled role, which then had no other artist."""
    for dataset, artist in (("CCMixter", "stellarartwars"), ("MedleyDB", "Music Delta")):
        held = [
            frame.loc[(frame["dataset"] == dataset) & (frame["artist"] == artist), "role"].iloc[0]
            for frame in by_artist
        ]
        assert set(held) == set(SHARES[dataset])
        assert max(Counter(held).values()) <= len(SEEDS) * 2 / 3


def test_each_artist_gets_each_role_in_turn() -> None:
    """Like MIR-1K: 1000 clips by 19 singers, who have 26 to 94 clips each."""
    sizes = [26 + round(68 * n / 18) for n in range(19)]
    clips = [
        recording("iKala", f"{singer}_{n}", f"{singer}")
        for singer, size in enumerate(sizes) for n in range(size)
    ]  # fmt: skip
    held: dict[str, list[str]] = {}
    for seed in range(24):
        frame = split.assign([inventory("iKala", clips)], "by_artist", seed)
        for count in counts(frame, "iKala").values():
            assert abs(count - len(clips) / 3) <= 0.04 * len(clips)
        for singer, role in frame.groupby("artist")["role"].first().items():
            held.setdefault(str(singer), []).append(role)
    assert all(set(roles) == {"unlabelled", "validation", "test"} for roles in held.values())
    assert all(max(Counter(roles).values()) <= 17 for roles in held.values())


@pytest.mark.parametrize("sizes", [[24, 1, 1], [5, 5, 1], [9, 2, 1, 1], [2, 2, 2], [40, 30, 1]])
def test_no_role_is_empty_when_there_are_artists_for_all(sizes: list[int]) -> None:
    songs = [
        recording("CCMixter", f"{artist}_-_{n}", f"{artist}")
        for artist, size in enumerate(sizes) for n in range(size)
    ]  # fmt: skip
    for seed in range(8):
        frame = split.assign([inventory("CCMixter", songs)], "by_artist", seed)
        assert set(frame["role"]) == {"unlabelled", "validation", "test"}


def test_an_artist_too_large_for_its_role_is_told(whole: list[Inventory]) -> None:
    for seed in (1, 2):
        frame = split.assign(whole[2:3], "by_artist", seed)
        large = frame[frame["artist"] == "stellarartwars"]
        (line,) = split.notices(frame, whole[2:3], "by_artist")
        role = large["role"].iloc[0]
        found = counts(frame, "CCMixter")
        assert line == (
            f"CCMixter: 24 of 50 tracks are by stellarartwars, and all of them {role}: the roles have"
            f" {found['unlabelled']} unlabelled, {found['validation']} validation, {found['test']} test"
            " tracks instead of 16 unlabelled, 16 validation, 18 test."
        )
    others = [whole[0], whole[1], whole[3]]
    assert split.notices(split.assign(others, "by_artist", 1), others, "by_artist") == []


def test_paper_says_which_tracks_share_an_artist(whole: list[Inventory]) -> None:
    """Counted from the authors' lists; the names are of no matter here, but how many there are."""
    lines = split.notices(
        split.assign(whole, "paper", 1), whole, "paper",
        lambda name: name if name in DATASETS else "_", limit=1,
    )  # fmt: skip
    shares = "tracks share an artist with"
    assert lines == [
        f"DSD100: 12 of 25 test {shares} supervised tracks (_ and 11 more); 8 of 25 validation"
        f" {shares} supervised tracks (_ and 7 more).",
        f"MedleyDB: 3 of 42 test {shares} unlabelled tracks (_ and 2 more); 16 of 42 test {shares}"
        f" validation tracks (_ and 15 more); 2 of 40 validation {shares} unlabelled tracks (_ and 1"
        " more).",
        f"CCMixter: 8 of 18 test {shares} unlabelled tracks (_ and 7 more); 11 of 18 test {shares}"
        f" validation tracks (_ and 10 more); 13 of 16 validation {shares} unlabelled tracks (_ and 12"
        " more).",
    ]
    (named,) = split.notices(split.assign(whole[:1], "paper", 1), whole[:1], "paper", limit=99)
    assert "(014 - Fergessen - Back From The Start, 015 - Fergessen - The Wind, " in named


def test_an_artist_is_known_across_datasets_and_spellings() -> None:
    one = inventory("CCMixter", [recording("CCMixter", f"{n}", f"artist {n}") for n in range(3)])
    other = inventory("DSD100", [recording("DSD100", "x", " ARTIST 2 ", "Dev")])
    frame = split.assign([other, one], "paper", 1)
    (line,) = split.notices(frame, [other, one], "paper", lambda name: f"<{name}>")
    assert line == "<CCMixter>: 1 of 1 test tracks share an artist with supervised tracks (<2>)."
    nameless = [recording("CCMixter", f"{n}", " ") for n in range(3)]
    found = [inventory("CCMixter", nameless)]
    assert split.notices(split.assign(found, "paper", 1), found, "paper") == []


def test_by_artist_depends_on_the_seed_alone(whole: list[Inventory]) -> None:
    first = split.assign(whole, "by_artist", 1)
    pd.testing.assert_frame_equal(first, split.assign(whole, "by_artist", 1))
    backwards = [
        item.model_copy(update={"recordings": item.recordings[::-1]}) for item in whole[::-1]
    ]
    again = split.assign(backwards, "by_artist", 1)
    other = split.assign(whole, "by_artist", 2)
    for dataset in DATASETS:
        assert roles_of(again, dataset) == roles_of(first, dataset)
        assert roles_of(other, dataset) != roles_of(first, dataset)


def test_spelling_of_an_artist_makes_no_other_artist() -> None:
    names = ["The Band", " the band ", "THE BAND", "x", "y", "z"]
    recordings = [recording("iKala", f"{i}", name) for i, name in enumerate(names)]
    frame = split.assign([inventory("iKala", recordings)], "by_artist", 0)
    assert frame["role"][:3].nunique() == 1
    assert set(frame["role"]) == {"unlabelled", "validation", "test"}


@pytest.mark.parametrize("strategy", split.STRATEGIES)
@pytest.mark.parametrize("tracks", [1, 2, 3])
def test_a_handful_of_tracks(strategy: str, tracks: int) -> None:
    recordings = [recording("iKala", f"{i}", f"{i}") for i in range(tracks)]
    frame = split.assign([inventory("iKala", recordings)], strategy, 0)
    assert (
        sorted(frame["role"])
        == [["test"], ["test"] * 2, ["test", "unlabelled", "validation"]][tracks - 1]
    )


def test_check_roles(whole: list[Inventory]) -> None:
    everything = split.assign(whole, "paper", 0)
    roles.check_roles(everything, needs_unlabelled=True)
    dsd100_alone = split.assign(whole[:1], "paper", 0)
    roles.check_roles(dsd100_alone, needs_unlabelled=False)
    with pytest.raises(UserError, match="no track is unlabelled in DSD100"):
        roles.check_roles(dsd100_alone, needs_unlabelled=True)
    with pytest.raises(UserError, match="no track is supervised in MedleyDB, CCMixter, iKala"):
        roles.check_roles(split.assign(whole[1:], "paper", 0), needs_unlabelled=True)
    for role in (Role.VALIDATION, Role.TEST):
        with pytest.raises(UserError, match=f"no track is {role} in"):
            roles.check_roles(everything[everything["role"] != role], needs_unlabelled=True)
    with pytest.raises(UserError, match="in no dataset"):
        roles.check_roles(split.assign([], "paper", 0), needs_unlabelled=False)


# ------------------------------------------------------------------ unpaired, open, parts of datasets


def unpaired(name: str, holds: str, count: int) -> Inventory:
    recordings = [
        Recording(
            track=Track(
                dataset=name, id=f"{n}.mp3", artist="?", sources={holds: (Part(file=f"{n}.mp3"),)}
            ),
            sample_rate=44_100, channels=1, samples=9,
        )
        for n in range(count)
    ]  # fmt: skip
    files = {f"{n}.mp3": FileEntry(bytes=9) for n in range(count)}
    return Inventory(dataset=name, origin="folder", recordings=tuple(recordings), files=files)


@pytest.mark.parametrize("strategy", split.STRATEGIES)
def test_folders_are_unlabelled_and_move_nothing_else(
    whole: list[Inventory], strategy: str
) -> None:
    folders = [unpaired("radio", "mixture", 7), unpaired("DAMP", "vocals", 5)]
    frame = split.assign([*whole, *folders], strategy, 1)
    assert counts(frame, "radio") == {"unlabelled": 7}
    assert counts(frame, "DAMP") == {"unlabelled": 5}
    assert frame.loc[frame["dataset"] == "DAMP", "has_vocals"].all()
    assert not frame.loc[frame["dataset"] == "radio", "has_vocals"].any()
    before = split.assign(whole, strategy, 1)
    pd.testing.assert_frame_equal(frame.iloc[: len(before)], before)


def test_a_folders_weight_is_that_of_its_rows(whole: list[Inventory]) -> None:
    folders = [unpaired("radio", "mixture", 7), unpaired("DAMP", "vocals", 5)]
    frame = split.assign([whole[2], *folders], "paper", 1, weights={"radio": 0.25})
    assert set(frame.loc[frame["dataset"] == "radio", "weight"]) == {0.25}
    assert frame.loc[frame["dataset"] != "radio", "weight"].isna().all()
    line = "radio: weight 0.25: its recordings are drawn, all together, 0.25 times as often as all"
    assert split.notices(frame, folders, "paper") == [f"{line} tracks without a weight."]


def test_a_datasets_third_can_be_left_out(whole: list[Inventory]) -> None:
    """Then folders give the unlabelled recordings instead of it."""
    kept = {"CCMixter": ["validation", "test"], "iKala": ["test"]}
    frame = split.assign(whole, "paper", 1, kept)
    assert counts(frame, "CCMixter") == {"validation": 16, "test": 18}
    assert counts(frame, "iKala") == {"test": 84}
    everything = split.assign(whole, "paper", 1)
    same = everything.merge(frame, how="inner")
    pd.testing.assert_frame_equal(same, frame)


def test_what_the_critics_need_must_be_there(whole: list[Inventory]) -> None:
    def check(inventories: list[Inventory], models: dict[str, Model], **kept: list[str]) -> None:
        frame = split.assign(inventories, "paper", 1, kept)
        split.check_unlabelled(frame, inventories, models)

    baseline = Model(critics=[], alpha=0.0, beta=0.0)
    vocals = Model(critics=["vocals"], alpha=0.1, beta=0.1)
    both = Model(critics=["vocals", "accompaniment"], alpha=0.1, beta=0.1)
    add = Model(critics=[], alpha=0.0, beta=0.1)
    check(whole[:1], {"baseline": baseline})
    check(whole[:2], {"V": vocals, "VA": both, "add": add})
    mixtures, solos = unpaired("radio", "mixture", 3), unpaired("DAMP", "vocals", 3)
    check([whole[0], mixtures, solos], {"V": vocals, "add": add})
    with pytest.raises(UserError, match=r"models\.VA: no unlabelled track has a recording of acc"):
        check([whole[0], mixtures, solos], {"V": vocals, "VA": both})
    with pytest.raises(UserError, match=r"models\.V: .* recording of mixture; .* holds mixture"):
        check([whole[0], solos], {"V": vocals})
    with pytest.raises(UserError, match=r"models\.V: no unlabelled track has a recording of voc"):
        check([whole[0], whole[2], mixtures], {"V": vocals}, CCMixter=["test"])
    solo = Model.model_validate({"solo_mixing": {"sources": ["vocals"], "share": 0.5}})
    teacher = Model.model_validate({"teacher": {"kind": "remix", "weight": 1, "decay": 0.9}})
    check([whole[0], solos], {"solo": solo})
    check([whole[0], mixtures], {"teacher": teacher, "MixIT": Model(mixit=0.1)})
    with pytest.raises(
        UserError, match=r"models\.solo: no unlabelled track has a recording of voc"
    ):
        check([whole[0], mixtures], {"solo": solo})
    for name, model in {"teacher": teacher, "MixIT": Model(mixit=0.1)}.items():
        with pytest.raises(UserError, match=rf"models\.{name}: .* recording of mixture"):
            check([whole[0], solos], {name: model})


def test_musdb18_alone_gives_no_unlabelled_track() -> None:
    """Its own partition: the training songs are paired, as DSD100's."""
    songs = catalogue.musdb18()
    found = inventory("MUSDB18", (recording("MUSDB18", s.track, "?", s.partition) for s in songs))
    by_role: dict[str, set[str]] = {}
    for track, role in roles_of(split.assign([found], "paper", 1), "MUSDB18").items():
        by_role.setdefault(role, set()).add(track)
    assert {role: len(tracks) for role, tracks in by_role.items()} == {
        "supervised": 86, "validation": 14, "test": 50,
    }  # fmt: skip
    assert by_role["test"] == {song.track for song in songs if song.partition == "test"}
    assert "Actions - One Minute Smile" in by_role["validation"]


def test_songs_from_musdb18_have_the_roles_of_the_paper(whole: list[Inventory]) -> None:
    """Whether DSD100 is read from its own archive or from MUSDB18, a song has one role."""
    names = {song.original for song in catalogue.musdb18()}
    part = [
        found.model_copy(
            update={"recordings": tuple(r for r in found.recordings if r.track.id in names)}
        )
        for found in whole[:2]
    ]
    frame, everything = split.assign(part, "paper", 1), split.assign(whole, "paper", 1)
    assert counts(frame, "DSD100") == {"supervised": 50, "validation": 25, "test": 25}
    assert counts(frame, "MedleyDB") == {"unlabelled": 16, "validation": 14, "test": 16}
    assert roles_of(frame, "MedleyDB").items() <= roles_of(everything, "MedleyDB").items()
