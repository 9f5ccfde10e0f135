"""MIR-1K: the list, the roles, bad copies of a clip, and what a selection leaves of it."""

import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.datasets import catalogue, survey
from pipeline.datasets.inventory import Inventory
from pipeline.errors import UserError
from tests.helpers.small_copies import SOURCES, reasons
from tests.helpers.small_recordings import noise, put

CLIPS = {"abjones_1_01": "m", "amy_1_01": "f"}


def sound(clip: str) -> NDArray[np.float32]:
    samples = int(catalogue.columns("MIR-1K")[clip]["samples"])
    return noise(2, samples, sorted(CLIPS).index(clip))


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: None) -> Path:
    """Clips of the published lengths, with MD5s that are published for the time of a test."""
    md5s = {}
    for clip in CLIPS:
        path = tmp_path / f"Wavfile/{clip}.wav"
        put(path, sound(clip), 16_000)
        md5s[clip] = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(catalogue, "checksums", lambda dataset: md5s)
    return tmp_path


def take(root: Path, **options: object) -> Inventory:
    if "select" not in options:
        return survey.take("MIR-1K", "local", root, SOURCES)
    return survey.take("part", "local", root, SOURCES, collection="MIR-1K", **options)  # type: ignore[arg-type]


def test_the_list_is_that_of_its_makers() -> None:
    """1000 clips, 133 minutes, 110 songs, 8 female and 11 male singers (the dataset's page)."""
    rows = catalogue.columns("MIR-1K")
    assert len(rows) == len({row["md5"] for row in rows.values()}) == 1000
    sexes = {row["singer"]: row["sex"] for row in rows.values()}
    assert sorted(sexes.values()) == ["f"] * 8 + ["m"] * 11
    assert sum(int(row["samples"]) for row in rows.values()) / 16_000 / 60 == pytest.approx(
        133, abs=1
    )
    roles = defaultdict(set)
    for clip, role in catalogue.roles("MIR-1K").items():
        assert clip.startswith(rows[clip]["singer"] + "_")
        roles[rows[clip]["singer"]].add(role)
    assert all(len(found) == 1 for found in roles.values())
    assert set.union(*roles.values()) == {"unlabelled", "validation", "test"}


def test_sound_clips_and_what_lies_beside_them(copy: Path) -> None:
    put(copy / "UndividedWavfile/abjones_1.wav", noise(2, 99), 16_000)
    put(copy / "LyricsWav/abjones_1_01.wav", noise(1, 99), 16_000)
    found = take(copy)
    assert [one.track.id for one in found.recordings] == sorted(CLIPS)
    assert [one.track.artist for one in found.recordings] == ["abjones", "amy"]
    assert (found.rejected, found.extra, len(found.missing)) == ((), (), 998)


@pytest.mark.parametrize(
    ("data", "rate", "wrong"),
    [
        (lambda clip: clip[::-1], 16_000, "its channels are swapped: the voice is on the left; replace"),
        (lambda clip: clip / 2, 16_000, "its MD5 differs from the published one: a damaged or altered"),
        (lambda clip: clip[:1], 16_000, "1 channel, expected 2 (left accompaniment, right vocals)"),
        (lambda clip: clip, 44_100, "44100 Hz, the published track has 16000 Hz"),
    ],
)  # fmt: skip
def test_bad_copies_of_a_clip(copy: Path, data: object, rate: int, wrong: str) -> None:
    put(copy / "Wavfile/amy_1_01.wav", data(sound("amy_1_01")), rate)  # type: ignore[operator]
    found = take(copy)
    assert [one.track.id for one in found.recordings] == ["abjones_1_01"]
    assert reasons(found)["amy_1_01"].startswith(f"Wavfile/amy_1_01.wav: {wrong}")


def test_a_selection_misses_only_its_own(copy: Path) -> None:
    found = take(copy, select={"sex": ["m"]})
    assert [(one.track.dataset, one.track.id) for one in found.recordings] == [
        ("part", "abjones_1_01")
    ]
    rows = catalogue.columns("MIR-1K")
    males = {clip for clip, row in rows.items() if row["sex"] == "m"}
    assert set(found.missing) == males - set(CLIPS)


def test_a_selection_of_which_nothing_is_there(copy: Path) -> None:
    left_out = take(copy, select={"singer": ["Ani"]})
    assert left_out.absent == "none of the tracks that datasets.part.select names is there"
    with pytest.raises(UserError, match=r"none of the tracks that datasets\.part\.select names"):
        survey.take(
            "part", "download", copy, SOURCES, collection="MIR-1K", select={"singer": ["Ani"]}
        )


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ({"voice": ["m"]}, "datasets.part.select: expected one of artist, track, "),
        ({"sex": ["male"]}, "datasets.part.select.sex: no track has male; there are f, m"),
        ({"song": [""]}, "datasets.part.select.song: no track has ''"),
    ],
)
def test_a_slip_of_the_pen(copy: Path, select: dict[str, list[str]], said: str) -> None:
    with pytest.raises(UserError) as error:
        take(copy, select=select)
    assert said in str(error.value)


def test_an_archive_that_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "MIR-1K.rar").write_bytes(b"Rar!")
    with pytest.raises(
        UserError, match=r"holds MIR-1K\.rar, not unpacked; unpack it there: Wavfile/"
    ):
        take(tmp_path)
