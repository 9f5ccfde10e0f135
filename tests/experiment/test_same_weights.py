"""Does a change of code change what is learned? The script that says so, on the fixture experiment."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.places import TOP


def same_weights(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        ["scripts/same-weights", *arguments],
        cwd=folder, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def with_code(copied_models: Path) -> Path:
    for name in ("pipeline", "stages", "networks", "scripts"):
        shutil.copytree(TOP / name, copied_models / name)
    return copied_models


def test_the_same_code_gives_the_same_weights(with_code: Path) -> None:
    before = {path: path.read_bytes() for path in (with_code / "models").rglob("*.safetensors")}
    status, said = same_weights(with_code, "V", "--seed", "2")
    assert status == 0, said
    assert "V, seed 2: the same weights\n" in said
    assert "To keep all seeds: dvc commit --force train@V\n" in said
    assert {path: path.read_bytes() for path in before} == before
    assert not (with_code / "work/same-weights").exists()


def test_code_that_computes_something_else_is_noticed(with_code: Path) -> None:
    path = with_code / "pipeline/training/step.py"
    text = path.read_text(encoding="utf-8")
    assert 'losses["L"].backward()' in text
    path.write_text(
        text.replace('losses["L"].backward()', '(1.01 * losses["L"]).backward()'), encoding="utf-8"
    )
    status, said = same_weights(with_code, "baseline")
    assert status == 1
    assert "baseline, seed 1: other weights" in said
    assert "error: baseline: other weights; `dvc repro` trains these models again\n" in said


def test_a_seed_that_is_not_there_is_refused(with_code: Path) -> None:
    status, said = same_weights(with_code, "--seed", "9")
    assert status == 1
    assert said == "error: params.yaml: seeds: expected one of 1, 2, found 9\n"
