"""Recordings that cannot be used, in a run of all stages."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from pipeline.features.store import FeatureFile
from pipeline.params import table_rows
from stages import compare, download, evaluate, preprocess, split, train
from tests.helpers.command_line import failing
from tests.helpers.experiment import small_params, track_scores, write_params
from tests.helpers.places import fingerprints, inside

RATE = 44_100
SOURCES = ("accompaniment", "vocals")

Harm = Callable[[Path], None]


def change(path: Path, samples: Callable[[Any], Any], rate: int = RATE, **options: Any) -> None:
    data = soundfile.read(path, always_2d=True)[0]
    path.unlink()  # it may be a hard link
    soundfile.write(path, samples(data), rate, **options)


def cut(data: Any, start: int) -> Any:
    return data[start : start + RATE * 3 // 10]


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


def with_a_nan(data: Any) -> Any:
    data[3000, 0] = np.nan
    return data


# What is done to the files of a track that was sound: {name of the track: {file: harm}}, and what
# the stage must say about it.
HARMS: dict[str, tuple[dict[str, Harm], str]] = {
    "Truncated": (
        {"source-01": truncate},
        r"Bad_-_Truncated/source-01\.wav: truncated: .*; copy or download it again",
    ),
    "Not a Number": (
        {"source-02": lambda path: change(path, with_a_nan, subtype="FLOAT")},
        r"Bad_-_Not a Number/source-02\.wav: NaN or infinite samples, the first at 0\.068 s",
    ),
    "Unequal Lengths": (
        {"source-02": lambda path: change(path, lambda data: data[:-10])},
        r"source-02\.wav: \d+ samples, but source-01\.wav has \d+ samples",
    ),
    "Unequal Rates": (
        {"source-02": lambda path: change(path, lambda data: data, rate=48_000)},
        r"source-02\.wav: 48000 Hz, but source-01\.wav has 44100 Hz",
    ),
    "Unequal Channels": (
        {"source-02": lambda path: change(path, lambda data: data[:, 0])},
        r"source-02\.wav: 1 channels, but source-01\.wav has 2 channels",
    ),
    "No Samples": (
        {"source-01": lambda path: change(path, lambda data: data[:0])},
        r"source-01\.wav: holds no samples",
    ),
    "Missing": ({"source-01": Path.unlink}, r"source-01\.wav: no such file"),
    "Silent": (
        {name: lambda path: change(path, np.zeros_like) for name in ("source-01", "source-02")},
        r"silent from beginning to end",
    ),
}

# Sound, but not easy: 0.3 s long; sorted so that each has another role. The last is in another
# Unicode form (decomposed) than the id that it gets.
ODD = {
    "!Björk's_-_“Première” & Größe (feat. Ω), #1 100%": "unlabelled",
    "Am'_-_日本語 のうた": "validation",
    "Édith_-_C'est fini": "test",
}
ODD_SONG = "099 - Motörhead's, (Live) & Ünplugged - Wo bist Du… nicht?"


def lay_out(experiment: Path, recordings: Path) -> None:
    """The fixture's recordings as a user's own, with bad and odd ones among them."""
    shutil.copytree(
        experiment / "data/synthetic", recordings, copy_function=os.link,
        ignore=shutil.ignore_patterns(".rendered.json"),
    )  # fmt: skip
    corpus = recordings / "CCMixter/ccmixter_corpus"
    sound = next(corpus.iterdir())
    for name, (harms, _) in HARMS.items():
        folder = corpus / f"Bad_-_{name}"
        shutil.copytree(sound, folder, copy_function=os.link)
        for stem, harm in harms.items():
            harm(folder / f"{stem}.wav")
    for number, name in enumerate(ODD, start=1):
        shutil.copytree(sound, corpus / name, copy_function=os.link)
        for file in (corpus / name).iterdir():
            # no two alike: the second would be rejected
            change(file, partial(cut, start=number * RATE))
    song = recordings / "DSD100/Sources/Dev" / ODD_SONG
    shutil.copytree(next((recordings / "DSD100/Sources/Dev").iterdir()), song)
    for file in song.iterdir():
        change(file, lambda data: data[RATE : RATE + RATE * 3 // 10])
    clip = next((recordings / "iKala/Wavfile").iterdir())
    shutil.copyfile(clip, clip.with_name("Bad_mono.wav"))
    change(clip.with_name("Bad_mono.wav"), lambda data: data[:, 0])


@pytest.fixture
def odd(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: None
) -> Iterator[Path]:
    """An experiment on a user's own recordings, of which some are bad; nothing has run yet."""
    lay_out(experiment, tmp_path / "my recordings")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "my recordings"))
    data = small_params()
    data["datasets"] = {name: {"origin": "local"} for name in ("DSD100", "CCMixter", "iKala")}
    data["models"], data["seeds"] = {"V": data["models"]["V"]}, [1]
    data["training"] |= {"max_epochs": 1, "steps_per_epoch": 2, "batch_size": 8}
    write_params(data, tmp_path)
    with inside(tmp_path):
        yield tmp_path


def test_bad_recordings_are_listed_and_the_others_go_all_the_way(
    odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download.download("CCMixter")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("CCMixter: 6 tracks can be used")
    assert printed[1] == "CCMixter: 50 published tracks are not there:"
    assert f"CCMixter: {len(HARMS)} tracks cannot be used:" in printed
    download.download("CCMixter")
    listed = capsys.readouterr().out.splitlines()[-len(HARMS) :]
    for name, (_, said) in HARMS.items():
        (line,) = [line for line in listed if line.startswith(f"  Bad_-_{name}: ")]
        assert re.search(said, line), line
    download.download("iKala")
    assert capsys.readouterr().out.splitlines()[-1] == (
        "  Bad_mono: Wavfile/Bad_mono.wav: 1 channel, expected 2 (left accompaniment, right"
        " vocals); copy or download it again"
    )
    download.download("DSD100")

    split.split()
    roles = pd.read_csv("data/split.csv").set_index("track")
    assert not [name for name in roles.index if "Bad" in name]
    for name, role in ODD.items():
        assert roles.loc[name, "role"] == role
    assert roles.loc[ODD_SONG, "role"] == "supervised"
    assert roles.loc[ODD_SONG, "artist"] == "Motörhead's, (Live) & Ünplugged"

    for dataset in ("DSD100", "CCMixter", "iKala"):
        preprocess.preprocess(dataset)
    store = FeatureFile.open(odd / "data/features/CCMixter.h5")
    assert store.index.loc[list(ODD), "samples"].tolist() == [2400] * 3

    train.train("V", 1, device="cpu", features_in="auto", jobs=0)
    for row in table_rows(["V"]):
        evaluate.evaluate(row, role="test", out=None, device="cpu")
    compare.main()
    for row in table_rows(["V"]):
        scores = [row for row in track_scores(odd, row) if row["track"] == "Édith_-_C'est fini"]
        assert len(scores) == 2
        assert all(np.isfinite(float(score["SDR"])) for score in scores)
    assert json.loads(Path("results/metrics.json").read_text())["CCMixter"]["V"]["tracks"] == 2


def test_a_recording_that_breaks_later_stops_preprocess(
    odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download.download("iKala")
    before = fingerprints(odd)
    clip = next(Path("my recordings/iKala/Wavfile").glob("9*.wav"))
    truncate(clip)
    said = failing(preprocess.preprocess, ["iKala"], capsys)
    assert f"{clip.name}: not the recording that data/inventory describes" in said
    after = fingerprints(odd)
    assert before.pop(str(clip)) != after.pop(str(clip))
    after.pop("data/features/iKala.h5.kept.partial")  # what was computed, for the next run
    assert after == before


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (
            "iKala/Wavfile",
            r"recordings/iKala: no tracks in this folder; expected Wavfile/.*DATA_ROOT",
        ),
        ("iKala/Wavfile/a_verse.wav", r"recordings/iKala: .*a_verse\.wav"),
    ],
)
@pytest.mark.usefixtures("one_process")
def test_data_root_without_the_dataset(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    said: str,
) -> None:
    """An empty folder in it, nothing but a file of no bytes: somebody meant to put it there."""
    data = small_params()
    data["datasets"] = {"iKala": {"origin": "local"}}
    write_params(data, tmp_path)
    root = tmp_path / "recordings"
    if place.endswith(".wav"):
        (root / place).parent.mkdir(parents=True)
        (root / place).touch()
    else:
        (root / place).mkdir(parents=True)
    monkeypatch.setenv("DATA_ROOT", str(root))
    with inside(tmp_path):
        before = fingerprints(tmp_path)
        assert re.search(said, failing(download.download, ["iKala"], capsys))
        assert fingerprints(tmp_path) == before


@pytest.mark.usefixtures("one_process")
def test_without_data_root_recordings_are_expected_below_data_raw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small_params()
    data["datasets"] = {"iKala": {"origin": "local"}}
    write_params(data, tmp_path)
    monkeypatch.delenv("DATA_ROOT", raising=False)
    clip = tmp_path / "data/raw/iKala/Wavfile/a_verse.wav"
    clip.parent.mkdir(parents=True)
    clip.touch()
    with inside(tmp_path):
        said = failing(download.download, ["iKala"], capsys)
    assert said.startswith("error: data/raw/iKala: none of the 1 tracks can be used")
