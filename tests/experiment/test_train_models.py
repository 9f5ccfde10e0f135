"""Models trained at the same time, through DVC: scripts/train-models."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from dvc.repo import Repo

from tests.helpers import programs
from tests.helpers.command_line import failing
from tests.helpers.experiment import small_params, write_params
from tests.helpers.places import TOP, fingerprints, inside
from tests.helpers.waiting import LONG_ENOUGH, until

SCRIPT = TOP / "scripts/train-models"
MODELS = ("baseline", "V", "VA")
PIPELINE = """
stages:
  split:
    cmd: mkdir -p data && echo track > data/split.csv
    outs: [data/split.csv]
  preprocess:
    matrix: {dataset: "${datasets}"}
    cmd: mkdir -p data/features && echo features > data/features/${item.dataset}.h5
    outs: ["data/features/${item.dataset}.h5"]
  train:
    matrix: {model: "${models}"}
    cmd: python training.py ${item.model}
    deps: [data/features, data/split.csv]
    params: ["models.${item.model}"]
    outs: ["models/${item.model}"]
"""
TRAINING = '''
"""Stands in for a training: says what it sees of the machine, and when."""
import json, os, signal, sys, time
from pathlib import Path
from pipeline.parallel import machine

def stop(*_):
    time.sleep(1)  # a checkpoint
    Path("work/checkpoint-" + name).touch()
    sys.exit(143)

name = sys.argv[1]
signal.signal(signal.SIGTERM, stop)
machine.end_with_parent(signal.SIGTERM)  # as every stage that DVC has started
began = time.monotonic()
Path("work/began-" + name).touch()
while len(list(Path("work").glob("began-*"))) < int(os.environ.get("TOGETHER", 0)):
    time.sleep(0.05)
    assert time.monotonic() < began + 100, "the others have not begun"
if name == os.environ.get("FAILS"):
    sys.exit("error: no such luck")
Path("models", name).mkdir(parents=True)
seen = {key: os.environ.get(key) for key in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
Path("models", name, "seen.json").write_text(json.dumps(seen | {"time": [began, time.monotonic()]}))
'''


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return programs.load("train-models")


@pytest.fixture(autouse=True)
def environment(quiet_git: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """This interpreter as `python`, and DVC's own state out of the way."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "DATA_ROOT"):
        monkeypatch.delenv(name, raising=False)


def start_repository(folder: Path, pipeline: str) -> Path:
    """The package, a pipeline and an empty DVC in `folder`; no git."""
    for name in ("pipeline", "stages", "networks", "scripts"):
        shutil.copytree(TOP / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "dvc.yaml").write_text(pipeline)
    (folder / "work").mkdir(exist_ok=True)
    Repo.init(str(folder), no_scm=True).close()
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Real parameters and DVC, and a training that takes no time; the current folder."""
    write_params(small_params(), tmp_path)
    (tmp_path / "training.py").write_text(TRAINING)
    with inside(start_repository(tmp_path, PIPELINE)):
        yield tmp_path


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=500
    )


def reproduced() -> list[str]:
    """What `dvc repro` still had to run."""
    done = run("dvc", "repro")
    assert done.returncode == 0, done.stdout
    return re.findall(r"Running stage '(.*)'", done.stdout)


def seen(model: str) -> dict[str, str | None]:
    text = Path(f"models/{model}/seen.json").read_text()
    return dict(json.loads(text), time=None)


def times() -> list[tuple[float, float]]:
    """When trainings began and ended, in the order in which they began."""
    return sorted(
        json.loads(path.read_text())["time"] for path in Path().glob("models/*/seen.json")
    )


def test_models_train_at_the_same_time_each_on_its_gpu(
    folder: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.bring_up_to_date(allow_missing=False)
    monkeypatch.setenv("TOGETHER", "3")
    assert asyncio.run(script.Run(["0", "2", "5"]).models(list(MODELS))) == []
    share = str(max(1, len(os.sched_getaffinity(0)) // 3))
    for model, gpu in zip(MODELS, ("0", "2", "5"), strict=True):
        expected = {"CUDA_VISIBLE_DEVICES": gpu, "OMP_NUM_THREADS": share, "time": None}
        assert seen(model) == expected
    began, ended = zip(*times(), strict=True)
    assert max(began) < min(ended)
    assert reproduced() == []


def test_models_wait_for_a_place_and_leave_it(folder: Path, script: ModuleType) -> None:
    script.bring_up_to_date(allow_missing=False)
    assert asyncio.run(script.Run([None]).models(["V", "VA"])) == []
    (_, first_ended), (second_began, _) = times()
    assert first_ended < second_began
    assert seen("V") == {"CUDA_VISIBLE_DEVICES": None, "OMP_NUM_THREADS": None, "time": None}
    assert reproduced() == ["train@baseline"]


def test_a_failure_is_named_and_stops_no_other(
    folder: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("FAILS", "V")
    said = failing(script.train_models, ["--jobs", "3"], capsys)
    assert said == "error: V: training failed; the reason is in work/logs/V.log"
    assert "error: no such luck" in Path("work/logs/V.log").read_text()
    monkeypatch.delenv("FAILS")
    assert reproduced() == ["train@V"]


def test_a_signal_ends_all_with_their_checkpoints(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOGETHER", "9")
    command = [sys.executable, "scripts/train-models", "--jobs", "2"]
    with Path("said").open("w") as said:
        started = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        wait_for("work/began-baseline", "work/began-V")
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=LONG_ENOUGH) == 128 + signal.SIGTERM, Path("said").read_text()
    finally:
        started.kill()
    assert Path("work/checkpoint-baseline").exists()
    assert Path("work/checkpoint-V").exists()
    assert not Path("work/began-VA").exists()
    assert json.loads(Path(".dvc/tmp/rwlock").read_text()) == {}
    last = Path("said").read_text().splitlines()[-1]
    assert last == "stopped; the same command goes on where it was"
    monkeypatch.delenv("TOGETHER")
    assert sorted(reproduced()) == ["train@V", "train@VA", "train@baseline"]


@pytest.mark.slow
def test_a_kill_of_the_program_stops_its_trainings_with_their_checkpoints(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOGETHER", "9")
    command = [sys.executable, "scripts/train-models", "--jobs", "2"]
    with Path("said").open("w") as said, subprocess.Popen(command, stdout=said) as started:
        wait_for("work/began-baseline", "work/began-V")
        started.kill()
    wait_for("work/checkpoint-baseline", "work/checkpoint-V")
    assert not Path("work/began-VA").exists()
    monkeypatch.delenv("TOGETHER")
    assert sorted(reproduced()) == ["train@V", "train@VA", "train@baseline"]


def wait_for(*files: str) -> None:
    until(lambda: all(Path(file).exists() for file in files))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["V3"], "error: params.yaml: models: expected one of baseline, V, VA, found 'V3'"),
        (["--gpus", "0,64"], "error: --gpus: no GPU '64'; PyTorch sees 0, 1"),
    ],
)
def test_mistakes_are_named_before_anything_runs(
    arguments: list[str], expected: str, folder: Path, script: ModuleType,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert failing(script.train_models, arguments, capsys) == expected
    assert not Path("dvc.lock").exists()


def test_gpus_keep_the_names_that_the_user_gave_them(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert script.chosen_gpus("") == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert script.chosen_gpus("") == ["3", "5"]
    assert script.chosen_gpus("5, 5") == ["5", "5"]


@pytest.mark.slow
def test_results_are_those_of_dvc_repro(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes, when all trainings have the same number of threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = small_params()
    data["seeds"] = [5]
    folders = [tmp_path / name for name in ("parallel", "sequential")]
    for folder in folders:
        shutil.copytree(experiment, folder, ignore=shutil.ignore_patterns("work"))
        start_repository(folder, (TOP / "dvc.yaml").read_text())
        shutil.copy(TOP / ".dvcignore", folder)
        with inside(folder), Repo() as repo:
            repo.commit(force=True)
        write_params(data, folder)
    with inside(folders[0]):
        done = run("scripts/train-models", "--jobs", "3")
        assert done.returncode == 0, done.stdout
        assert all(f"{model}: trained" in done.stdout for model in MODELS)
        assert not any(stage.startswith("train") for stage in reproduced())
    with inside(folders[1]):
        assert {f"train@{model}" for model in MODELS} <= set(reproduced())
    for name in ("models", "results/tracks"):
        assert fingerprints(folders[0] / name) == fingerprints(folders[1] / name)
    assert (folders[0] / "dvc.lock").read_text() == (folders[1] / "dvc.lock").read_text()
