"""`select`, `roles` and `voice_level` of a stranger: a line that names the key, or a line that warns."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.roles import load_split
from stages import download, split
from tests.helpers import small_mir_1k
from tests.helpers.command_line import failing
from tests.helpers.experiment import small_params, write_params
from tests.helpers.places import fingerprints, inside
from tests.helpers.small_mir_1k import CLIPS

ROLES = {
    "supervised": {"singer": ["khair"]}, "unlabelled": {"singer": ["amy"]},
    "validation": {"song": ["bug_1"]}, "test": {"singer": ["Ani"]},
}  # fmt: skip
"""All roles by the singers of CLIPS."""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with MIR-1K: CLIPS and another song of one of their singers."""
    root = tmp_path_factory.mktemp("recordings")
    clips = small_mir_1k.put_clips(root / "MIR-1K/Wavfile", (*CLIPS, "bug_2_01"))
    with pytest.MonkeyPatch.context() as patch:
        small_mir_1k.publish(patch, clips)
        yield root


@pytest.fixture
def folder(
    tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch, one_process: None
) -> Iterator[Path]:
    """The working directory."""
    monkeypatch.setenv("DATA_ROOT", str(recordings))
    with inside(tmp_path):
        yield tmp_path


def ask_for(**datasets: dict[str, Any]) -> None:
    """params.yaml with datasets of MIR-1K."""
    data = small_params()
    entry = {"origin": "local", "collection": "MIR-1K"}
    data["datasets"] = {name: entry | keys for name, keys in datasets.items()}
    write_params(data, Path())


def roles(**datasets: dict[str, Any]) -> dict[tuple[str, str], str]:
    """The role of each dataset's tracks, by the stages."""
    ask_for(**datasets)
    for name in datasets:
        download.download(name)
    split.split()
    frame = load_split(Path("data/split.csv"))
    tracks = zip(frame["dataset"], frame["track"], strict=True)
    return dict(zip(tracks, frame["role"], strict=True))


HOSTILE = "\x1b[2J\n\u202e"
MISTAKES: list[tuple[Callable[..., None], dict[str, Any], str]] = [
    (download.download, {"select": {"singer": ["nobody"]}},
     r"select\.singer: no track has nobody; there are Ani, Kenshin, abjones, .*, yifen"),
    (download.download, {"select": {"singer": ["bug", "Bug"]}}, r"select\.singer: no track has Bug; "),
    (download.download, {"select": {"voice": ["m"]}},
     "select: expected one of artist, track, clip, singer, sex and .*, found voice"),
    (download.download, {"select": {HOSTILE: ["m"]}}, r"select: .*, found \\x1b\[2J\\n\\u202e"),
    (download.download, {"select": {"singer": [HOSTILE]}},
     r"select\.singer: no track has \\x1b\[2J\\n\\u202e; "),
    (download.download, {"select": {"singer": ["a" * 100_000]}},
     r"select\.singer: no track has a+\.\.\.; there are "),
    (split.split, {"roles": ROLES | {"test": {"singer": ["nobody"]}}},
     r"roles\.test\.singer: no track has nobody; there are Ani, "),
    (split.split, {"roles": ROLES | {"test": {"voice": ["m"]}}},
     "roles.test: expected one of artist, track, .*, found voice"),
    (split.split, {"roles": ROLES | {"test": {"singer": [HOSTILE]}}},
     r"roles\.test\.singer: no track has \\x1b\[2J\\n\\u202e; "),
    (split.split, {"roles": ROLES | {"supervised": {"song": ["khair_1", "bug_1"]}}},
     r"roles\.validation: bug_1_07 is supervised already; a track has one role"),
    (split.split, {"roles": ROLES | {"test": {"singer": ["Ani", "bug"]}}},
     r"roles\.test: bug_1_07 is validation already; a track has one role"),
    (download.download, {"select": {"sex": ["f"], "singer": ["bug"]}},
     r"select: no track has one of the values in every column \(sex, singer\); leave out one"),
    (split.split, {"roles": ROLES | {"test": {"sex": ["m"], "singer": ["Ani"]}}},
     r"roles\.test: no track has one of the values in every column \(sex, singer\); leave out one"),
    (split.split, {"select": {"sex": ["m"]}, "roles": {"test": {"singer": ["bug", "Ani"]}}},
     r"roles\.test\.singer: no track has Ani; there are Kenshin, abjones, "),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "keys", "said"), MISTAKES)
def test_a_slip_is_one_line_that_names_the_key(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    stage: Callable[..., None],
    keys: dict[str, Any],
    said: str,
) -> None:
    ask_for(part=keys)
    if stage is split.split:
        download.download("part")
    before = fingerprints(folder)
    line = failing(stage, ["part"] if stage is download.download else [], capsys)
    assert re.match(rf"error: params\.yaml: datasets\.part\.{said}", line), line
    assert len(line) < 500
    assert fingerprints(folder) == before


@pytest.mark.parametrize("origin", ["local", "download"])
def test_a_selection_that_leaves_nothing_names_its_key(
    folder: Path, capsys: pytest.CaptureFixture[str], origin: str
) -> None:
    """A published singer who is not in this copy."""
    none = "none of the tracks that datasets.part.select names is there"
    ask_for(part={"origin": origin, "select": {"singer": ["annar"]}})
    if origin == "download":
        assert none in failing(download.download, ["part"], capsys)
        assert not Path("data").exists()
    else:
        download.download("part")
        assert f"part: LEFT OUT: {none}" in capsys.readouterr().out


def test_a_singer_in_two_roles_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = roles(part={"roles": ROLES | {"supervised": {"song": ["bug_2"]}}})
    assert found["part", "bug_2_01"] == "supervised"
    assert (
        "part: 1 of 1 validation tracks share an artist with supervised tracks (bug_1_07)."
        in capsys.readouterr().out
    )


def test_a_track_of_two_datasets_is_not_learned_from_and_tested_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever level its voice has in the one and in the other."""
    found = roles(
        quiet={"select": {"singer": ["Ani", "bug"]}, "voice_level": -5,
               "roles": {"test": {"singer": ["Ani"]}, "validation": {"singer": ["bug"]}}},
        loud={"select": {"singer": ["Ani", "amy", "bug", "khair"]}, "voice_level": 5,
              "roles": {"supervised": {"singer": ["Ani", "bug", "khair"]},
                        "unlabelled": {"singer": ["amy"]}}},
    )  # fmt: skip
    assert {track: role for (name, track), role in found.items() if name == "loud"} == {
        "amy_1_01": "unlabelled", "khair_1_01": "supervised",
    }  # fmt: skip
    said = capsys.readouterr().out
    for track, role in (
        ("Ani_1_01", "test"),
        ("bug_1_07", "validation"),
        ("bug_2_01", "validation"),
    ):
        assert f"loud: {track} is the {role} track quiet/{track} once more; left out." in said


def test_a_copy_that_lacks_the_selection_is_named_with_a_remedy_that_works(
    folder: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask_for(part={"origin": "download", "select": {"singer": ["annar"]}})
    line = failing(download.download, ["part"], capsys)
    assert line.startswith(
        f"error: {recordings}/MIR-1K: none of the tracks that datasets.part.select"
    )
    assert line.endswith("; add them, or move this copy away to have all of MIR-1K downloaded")
