"""The seeds of a model: which are trained, side by side, and what happens to the others."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import params
from pipeline.errors import Stopped, UserError
from pipeline.parallel import machine
from pipeline.separation import model_folder
from pipeline.training import progress, side_by_side
from stages import train
from tests.helpers.experiment import THREADS, small_params, write_params
from tests.helpers.places import TOP, fingerprints, inside
from tests.helpers.waiting import until

RUN = """
import os, signal, sys
seed, kind = int(sys.argv[1]), sys.argv[2]
def told(number, frame):
    print("checkpoint written", file=sys.stderr, flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, told)
print(f"resuming with {os.environ.get('OMP_NUM_THREADS')} threads", flush=True)
print("progress 3 0.5", flush=True)
if kind == "waits":
    print("waiting", file=sys.stderr, flush=True)
    signal.pause()
if kind == "fails":
    sys.exit("error: no such luck")
if kind == "crashes":
    raise RuntimeError("a defect")
if kind == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
print("progress 10 0.25", flush=True)
"""


def commands(*kinds: str) -> dict[int, list[str]]:
    return {n: [sys.executable, "-c", RUN, str(n), kind] for n, kind in enumerate(kinds, 1)}


def run(places: int = 2) -> side_by_side.SeedRuns:
    return side_by_side.SeedRuns("VA", 10, [None] * places)


@pytest.fixture(autouse=True)
def no_threads_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_runs_share_the_cores_and_one_bar(capfd: pytest.CaptureFixture[str]) -> None:
    whole = run()
    whole.seeds(commands("trains", "trains", "trains"))
    said = capfd.readouterr().err
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    for seed in (1, 2, 3):
        assert f"VA, seed {seed}: resuming with {threads} threads" in said
    assert (whole.bar.n, whole.bar.total) == (30, 30)
    assert re.search(r"VA: 100%\|.*30/30", said)
    assert "progress" not in said


def test_a_run_that_ends_early_shortens_the_bar() -> None:
    whole = side_by_side.SeedRuns("VA", 40, [None])
    whole.seeds(commands("trains"))
    assert (whole.bar.n, whole.bar.total) == (10, 10)


def test_a_run_that_fails_is_named_with_its_reason_and_stops_no_other(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UserError) as caught:
        run().seeds(commands("fails", "trains", "dies", "crashes"))
    assert str(caught.value) == (
        "VA: seed 1: no such luck; seed 3: ended by SIGKILL; the same command goes on where it was;"
        " seed 4: ended with status 1; the reason is above; 1 of 4 runs are done and kept"
    ).replace("; seed", ", seed")
    assert "VA, seed 4: RuntimeError: a defect" in capfd.readouterr().err


def test_what_is_wrong_with_all_of_them_is_said_once() -> None:
    with pytest.raises(UserError) as caught:
        run().seeds(commands("fails", "fails", "trains"))
    assert str(caught.value) == "VA: seed 1, 2: no such luck; 1 of 3 runs are done and kept"


@pytest.mark.slow
def test_a_signal_reaches_every_run(capfd: pytest.CaptureFixture[str]) -> None:
    """They are given the time to write their checkpoints, and no other run begins."""
    program = (
        "import sys; from tests.training import test_side_by_side as t;"
        "from pipeline.errors import Stopped\n"
        "try: t.run().seeds(t.commands('waits', 'waits', 'trains'))\n"
        "except Stopped as stopped: print(stopped, stopped.number); sys.exit(9)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stderr is not None
    waiting = 0
    for line in process.stderr:
        waiting += line.count("waiting")
        if waiting == 2:
            break
    process.terminate()
    out, rest = process.communicate(timeout=100)
    assert process.returncode == 9, rest
    assert "the same command goes on where it was 15" in out
    assert rest.count("checkpoint written") == 2
    assert "seed 3" not in rest


def alive(number: int) -> bool:
    status = Path(f"/proc/{number}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_runs_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """Also by SIGKILL, and with a checkpoint: SIGTERM comes to them."""
    program = (
        "from tests.training import test_side_by_side as t; t.run(1).seeds(t.commands('waits'))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=TOP, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert any("waiting" in line for line in process.stderr)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.kill()
    process.wait()
    process.stderr.close()
    until(lambda: not any(alive(int(child)) for child in children))


def test_places_are_cores_or_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    cores = len(os.sched_getaffinity(0))
    assert side_by_side.places("cpu", 0, 100) == [None] * cores
    assert side_by_side.places("cpu", 3, 2) == [None] * 2
    monkeypatch.setenv(machine.SIDE_BY_SIDE, str(2 * cores))
    assert side_by_side.places("cpu", 0, 100) == [None]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert side_by_side.places("auto", 0, 5) == ["0", "1"]
    assert side_by_side.places("cuda", 2, 3) == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c")
    assert side_by_side.places("cuda", 0, 5) == ["GPU-a", "GPU-b"]


@pytest.mark.parametrize("text", ["", "progress", "progress 3", "progress a b", "resuming 3 0.5"])
def test_what_is_no_progress_is_said(text: str) -> None:
    assert progress.parse(text) is None


def test_progress_is_read_as_it_was_told() -> None:
    assert progress.parse(progress.line(250, 0.03125)) == (250, 0.03125)


# --------------------------------------------------------------------------- the stage with real runs


def trains(folder: Path, *options: str, **settings: Any) -> str:
    """Run the stage for V in a process of its own; returns what it says."""
    write_params(small_params() | settings, folder)
    environment = os.environ | {"PYTHONPATH": str(TOP), "OMP_NUM_THREADS": str(THREADS)}
    done = subprocess.run(
        [sys.executable, "-m", "stages.train", "V", "--device=cpu", *options], cwd=folder,
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
def test_a_new_seed_is_trained_alone_and_a_removed_one_goes(
    copied_models: Path, with_models: Path
) -> None:
    said = trains(copied_models, seeds=[2, 3])
    assert "V: trained already with seed 2\n" in said
    models = copied_models / "models/V"
    assert sorted(path.name for path in models.iterdir()) == ["seed-2", "seed-3"]
    assert fingerprints(models / "seed-2") == fingerprints(with_models / "models/V/seed-2")
    new, old = (json.loads((models / f"seed-{n}/config.json").read_text()) for n in (3, 2))
    assert (new["seed"], old["seed"]) == (3, 2)
    assert new["fingerprint"] != old["fingerprint"]
    assert not (copied_models / "work/checkpoints/V/seed-3").exists()


def test_a_seed_side_by_side_is_the_one_trained_alone(
    copied_models: Path, with_models: Path
) -> None:
    """What is damaged, or a model from before there were seeds, is trained again."""
    models = copied_models / "models/V"
    weights = models / "seed-1/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    shutil.copy(models / "seed-2/config.json", models)
    said = trains(copied_models)
    assert "V: trained already with seed 2\n" in said
    assert fingerprints(models) == fingerprints(with_models / "models/V")


def test_another_level_trains_nothing(copied_models: Path, with_models: Path) -> None:
    """The folders say how they are applied; back and forth they are the same bytes."""
    data, models = small_params(), copied_models / "models/V"
    for level, in_folder in (("recorded", False), ("training", True)):
        write_params(data | {"level": level}, copied_models)
        with inside(copied_models):
            train.train("V", None, device="cpu", features_in="auto", jobs=0)
            settings = params.load(copied_models / "params.yaml")
            found = [model_folder.read_trained(models, seed, settings) for seed in (1, 2)]
        assert [one.level is not None for one in found] == [in_folder] * 2
        assert (fingerprints(models) == fingerprints(with_models / "models/V")) == in_folder
        other = params.parse(
            data | {"level": "training" if level == "recorded" else "recorded"}, "x"
        )
        with pytest.raises(
            UserError, match=r"another model than V of params\.yaml: its level is an"
        ):
            model_folder.read_trained(models, 1, other)


@pytest.mark.slow
def test_another_parameter_trains_every_seed(copied_models: Path) -> None:
    settings = small_params()
    settings["models"]["V"]["alpha"] = 0.5
    said = trains(copied_models, models=settings["models"])
    assert "trained already" not in said
    for seed in (1, 2):
        found = model_folder.read_config(copied_models / f"models/V/seed-{seed}")
        assert found.seed == seed


def test_a_seed_that_is_not_in_the_parameters_is_refused(with_models: Path) -> None:
    with (
        inside(with_models),
        pytest.raises(UserError, match="seeds: expected one of 1, 2, found 7"),
    ):
        train.train("V", 7, device="cpu", features_in="auto", jobs=0)


def test_the_seed_of_the_lowest_validation_loss_is_chosen(copied_models: Path) -> None:
    model = copied_models / "models/VA"
    found = {path: model_folder.read_config(path).best for path in model.iterdir()}
    losses = {path: best.loss for path, best in found.items() if best and best.loss is not None}
    assert len(losses) == 2
    assert model_folder.chosen(model) == min(losses, key=lambda path: losses[path])
    assert model_folder.chosen(model / "seed-2") == model / "seed-2"


def test_stopping_raises_for_whoever_calls() -> None:
    whole = run()
    whole.ended_by = signal.SIGTERM
    with pytest.raises(Stopped):
        whole.seeds(commands("trains"))


def test_seeds_are_no_pairs_of_equals() -> None:
    with pytest.raises(UserError, match=r"seeds: 2 is there twice; leave one of them out"):
        params.parse(small_params() | {"seeds": [1, 2, 3, 2]}, "params.yaml")


def without(*keys: str) -> Callable[[Path], None]:
    def mistake(folder: Path) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({key: config[key] for key in config if key not in keys}))

    return mistake


def edited(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))


def shortened(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-20])


def test_a_seed_is_trained_already_only_if_every_file_is_as_it_was_written(
    copied_models: Path, tmp_path: Path
) -> None:
    """Whatever is missing, damaged, edited or from before there were digests is trained again."""
    whole = copied_models / "models/VA/seed-1"
    run = model_folder.read_config(whole).fingerprint
    assert run is not None
    assert model_folder.finished(whole, run)
    assert not model_folder.finished(whole, "0" * 64)
    assert not model_folder.finished(tmp_path / "absent", run)
    mistakes: list[Callable[[Path], object]] = [
        edited, without("sha256", "config_sha256"), without("config_sha256"),
        without("fingerprint", "config_sha256"), without("critic", "config_sha256"),
        shortened("model.safetensors"), shortened("critic-vocals.safetensors"),
        shortened("config.json"), lambda folder: (folder / "critic-vocals.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").unlink(),
    ]  # fmt: skip
    for number, mistake in enumerate(mistakes):
        folder = tmp_path / f"{number}"
        shutil.copytree(whole, folder)
        mistake(folder)
        assert not model_folder.finished(folder, run), number
