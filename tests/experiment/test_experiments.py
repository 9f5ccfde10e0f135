"""Experiments beside the top's: laid out from its stages, with recordings and features shared."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline import params
from pipeline.datasets import inventory
from pipeline.errors import UserError
from pipeline.features import preprocess as features
from pipeline.features.store import FeatureFile
from pipeline.params import Dataset
from stages import common, preprocess
from tests.helpers.command_line import failing
from tests.helpers.places import TOP, inside

LAID_OUT = sorted(path.parent.name for path in TOP.glob("experiments/*/params.yaml"))


@pytest.fixture
def second(with_features: Path, tmp_path: Path) -> Path:
    """The folder of a second experiment with the inventories of the first, which has features."""
    folder = tmp_path / "experiments/second"
    for top in (tmp_path, folder):
        shutil.copytree(with_features / "data/inventory", top / "data/inventory")
        shutil.copy(with_features / "params.yaml", top)
    shutil.copytree(with_features / "data/features", tmp_path / "data/features")
    (tmp_path / "data/synthetic").symlink_to(with_features / "data/synthetic")
    return folder


@pytest.fixture
def none_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """No recording may be read."""

    def none(function: Any, items: list[Any], *_: Any) -> Iterator[Any]:
        assert not items
        yield from ()

    monkeypatch.setattr(features, "parallel_map", none)


def stages(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe", pure=True).load((folder / "dvc.yaml").read_text())
    return found["stages"]  # type: ignore[no-any-return]


def test_the_experiments_stages_are_the_tops(tmp_path: Path) -> None:
    shutil.copytree(TOP / "scripts", tmp_path / "scripts")
    shutil.copy(TOP / "dvc.yaml", tmp_path)
    for name in LAID_OUT:
        (tmp_path / "experiments" / name).mkdir(parents=True)
        (tmp_path / "experiments" / name / "params.yaml").touch()
    subprocess.run([tmp_path / "scripts/lay-out-experiments"], check=True)
    files = [f"experiments/{name}/dvc.yaml" for name in LAID_OUT]
    (written,) = {(tmp_path / file).read_bytes() for file in files}
    assert [file for file in files if (TOP / file).read_bytes() != written] == []
    laid_out = stages((TOP / files[0]).parent)
    for stage, at_top in stages(TOP).items():
        here = laid_out[stage]
        for there, dep in zip(at_top["deps"], here["deps"], strict=True):
            is_code = (TOP / there).exists() and there.startswith(
                ("pipeline", "stages", "networks")
            )
            assert dep == (f"../../{there}" if is_code else there)
        assert here["cmd"] == f"PYTHONPATH=../.. {at_top['cmd']}"
        assert here["outs"] == at_top["outs"]


@pytest.mark.parametrize("rooted", [None, "songs", "/songs"])
def test_recordings_are_the_tops(
    second: Path, rooted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATA_ROOT", raising=False)
    if rooted:
        monkeypatch.setenv("DATA_ROOT", rooted)
    top = second.parents[1]
    entries = [Dataset(origin="synthetic"), Dataset(origin="local")]
    with inside(top):
        at_top = [Path.cwd() / common.recordings_root("DSD100", one) for one in entries]
    with inside(second):
        here = [(Path.cwd() / common.recordings_root("DSD100", one)).resolve() for one in entries]
    assert [path.resolve() for path in at_top] == here


def test_a_checkout_in_a_folder_named_experiments_is_a_top(tmp_path: Path) -> None:
    (tmp_path / "experiments/checkout").mkdir(parents=True)
    with inside(tmp_path / "experiments/checkout"):
        assert common.top() == Path()


def test_an_error_says_in_which_experiment(
    second: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost() -> None:
        raise UserError("iKala.h5: 3 tracks are lost; run `make look`; the others are kept")

    odd = second.with_name("a b\n")
    odd.mkdir()
    with inside(second.parents[1]):
        at_top = failing(lost, [], capsys)
    assert at_top.endswith("run `make look`; the others are kept")
    for folder, name, shown in ((second, "second", "second"), (odd, r"'a b\n'", r"a b\n")):
        shown = f"run `make look NAME={name}`; the others are kept (in experiments/{shown})"
        with inside(folder):
            assert failing(lost, [], capsys) == at_top.replace(
                "run `make look`; the others are kept", shown
            )


PROGRAM = """#!/bin/sh
echo "$PWD: ${0##*/} $*" >>"$LOG"
"""
"""Stands in for what `make` starts: says where and with which words it was."""


@pytest.fixture
def makeable(tmp_path: Path) -> Path:
    """The Makefile with stand-ins for all that it starts, and an experiment."""
    (tmp_path / "scripts").mkdir()
    for name in ("Makefile", "scripts/experiment-folder"):
        shutil.copy(TOP / name, tmp_path / name)
    for name in ("requirements/bootstrap.txt", "requirements/dev.txt", ".git", ".venv/installed"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".venv/bin").mkdir()
    for name in (".venv/bin/dvc", "scripts/same-numbers", "scripts/train-models"):
        (tmp_path / name).write_text(PROGRAM)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "experiments/second/results").mkdir(parents=True)
    (tmp_path / "experiments/second/params.yaml").touch()
    (tmp_path / "experiments/second/results/table.md").write_text("the table\n")
    return tmp_path


def make(folder: Path, *words: str) -> tuple[str, list[str]]:
    """What it says, and what it has started."""
    environment = {name: text for name, text in os.environ.items() if name != "MAKEFLAGS"}
    done = subprocess.run(
        ["make", "--no-print-directory", *words], cwd=folder, text=True,
        env=environment | {"LOG": str(folder / "log")}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    started = (folder / "log").read_text().splitlines() if (folder / "log").exists() else []
    return done.stdout, started


LOOK = "dvc repro --force --single-item --glob download@*"


@pytest.mark.parametrize(
    ("target", "programs"),
    [
        ("experiment", ["dvc repro", "same-numbers second"]),
        ("look", [LOOK, "dvc repro", "same-numbers second"]),
        ("models", ["train-models "]),
    ],
)
def test_make_works_in_the_experiments_folder(
    makeable: Path, target: str, programs: list[str]
) -> None:
    said, started = make(makeable, target, "NAME=second")
    assert started == [f"{makeable}/experiments/second: {program}" for program in programs]
    assert ("the table" in said) == (target != "models")


@pytest.mark.parametrize("target", ["experiment", "look", "models"])
@pytest.mark.parametrize(
    "name", ["nobody", "../experiments/second", "$(touch x)`touch x`'; touch x"]
)
def test_a_name_that_no_experiment_has_starts_nothing(
    makeable: Path, target: str, name: str
) -> None:
    said, started = make(makeable, target, f"NAME={name}")
    assert said.startswith("error: NAME: expected one of second\n")
    assert started == []
    assert not (makeable / "x").exists()


def test_features_are_computed_once(second: Path, with_features: Path, none_to_read: None) -> None:
    """No recording is read, the bytes are the same, and damaged or foreign files are passed over."""
    for place in ("data/features", "experiments/a/data/features"):
        (second.parents[1] / place).mkdir(parents=True, exist_ok=True)
        (second.parents[1] / place / "AAA.h5").write_bytes(b"\x89HDF\r\n\x1a\n and so on")
        (second.parents[1] / place / "BBB.h5").mkdir()
        (second.parents[1] / place / "CCC.h5").symlink_to("nowhere")
    (second.parents[1] / "experiments/a file").touch()

    with inside(second):
        for dataset in ("DSD100", "iKala"):
            preprocess.preprocess(dataset)
            own = with_features / f"data/features/{dataset}.h5"
            assert common.features_path(dataset).read_bytes() == own.read_bytes()


def test_the_same_clips_by_another_name(
    second: Path, with_features: Path, none_to_read: None
) -> None:
    """Every second track of a dataset, from the features of all; files beside them are of no use."""
    found = inventory.load(second / "data/inventory/DSD100.json")
    named = [
        one.model_copy(update={"track": one.track.model_copy(update={"dataset": "DSD100-some"})})
        for one in found.recordings[::2]
    ]
    some = found.model_copy(update={"dataset": "DSD100-some", "recordings": tuple(named)})
    settings = params.load(second / "params.yaml")
    damaged, sound = second / "damaged.h5", with_features / "data/features/DSD100.h5"
    content = bytearray(sound.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    root, target = with_features / "data/synthetic/DSD100", second / "DSD100-some.h5"
    assert (
        features.write(
            some,
            root,
            settings.sources,
            settings.signal,
            target,
            [second / "none.h5", sound, damaged],
        )
        == 0
    )
    store, whole = (FeatureFile.open(path) for path in (target, sound))
    for row, recording in enumerate(named):
        (there,) = whole.rows([recording.track.id])
        assert store.waveforms(row).tobytes() == whole.waveforms(there).tobytes()
