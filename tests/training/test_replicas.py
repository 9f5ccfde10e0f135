"""Several processes train one model as one would; stopped or lost, a run goes on from where it was."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from pipeline.errors import Stopped, UserError
from pipeline.training.module import AdversarialSeparation
from pipeline.training.replicas import ALONE, Replica
from stages import train
from tests.helpers.experiment import small_params, write_params
from tests.helpers.places import TOP, fingerprints
from tests.helpers.training import trained
from tests.helpers.waiting import LONG_ENOUGH

ENVIRONMENT = os.environ | {"PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1"}


def test_the_parts_of_all_processes_are_the_batch() -> None:
    batch = list(range(12))
    for count in (1, 2, 3, 4, 6, 12):
        parts = [batch[Replica(rank, count).part(12)] for rank in range(count)]
        assert [one for part in parts for one in part] == batch
        assert {len(part) for part in parts} == {12 // count}


def test_a_batch_that_cannot_be_shared_out_is_one_line() -> None:
    with pytest.raises(UserError, match=r"batch_size: 12 excerpts .* among 5 processes; start"):
        Replica(0, 5).part(12)


def test_one_process_agrees_with_itself() -> None:
    values = [torch.tensor(1.5), torch.tensor(-2.0)]
    assert ALONE.average([], values, False) == (values, False)
    assert ALONE.average([], values, True) == (values, True)
    assert ALONE.from_first("x") == "x"
    assert ALONE.first


def test_a_stage_can_start_itself_with_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """What DVC runs is the same command on every machine."""
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, words: started.append(words))
    monkeypatch.setattr(sys, "argv", ["stages/train.py", "VA", "--device", "cuda"])
    train.with_torchrun("4")
    assert started[0][1:] == [
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4",
        "-m", "stages.train", "VA", "--device", "cuda",
    ]  # fmt: skip
    for wrong in ("0", "many", "-1"):
        with pytest.raises(UserError, match=f"^TRAINING_PROCESSES: .* found '{wrong}'$"):
            train.with_torchrun(wrong)


@pytest.mark.parametrize("updates", [1, 15, 24])
def test_a_run_that_is_stopped_ends_as_if_it_had_not_been(
    with_models: Path, copied_models: Path, monkeypatch: pytest.MonkeyPatch, updates: int
) -> None:
    """Stopped after any update, in mid-step or mid-epoch: every file is the same to the bit."""
    shutil.rmtree(copied_models / "models/VA")
    settings = write_params(small_params(), copied_models)
    original = AdversarialSeparation.agree
    left = iter(range(updates - 1, -1, -1))

    def counted(self: AdversarialSeparation, *arguments: Any) -> Any:
        if next(left, None) == 0:
            self.stop_signal = signal.SIGTERM
        return original(self, *arguments)

    monkeypatch.setattr(AdversarialSeparation, "agree", counted)
    with pytest.raises(Stopped, match=f"stopped by SIGTERM after {updates // 3} separator steps"):
        trained(copied_models, settings, "VA")
    assert not (copied_models / "models/VA").exists()
    # the checkout is moved, or seen from a container, before the run goes on
    elsewhere = copied_models.with_name("elsewhere")
    copied_models.rename(elsewhere)
    said = trained(elsewhere, settings, "VA")
    assert said == [
        f"resuming from {elsewhere}/work/VA/last.ckpt after {updates // 3} separator steps"
    ]
    assert fingerprints(elsewhere / "models/VA") == fingerprints(with_models / "models/VA")
    assert not (elsewhere / "work/VA").exists()


def test_a_run_that_is_stopped_in_validation_validates_again(
    with_models: Path, copied_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(copied_models / "models/V")
    settings = write_params(small_params(), copied_models)

    def stopping(self: AdversarialSeparation) -> None:
        self.peaks.zero_()
        if self.state.steps == 12:
            self.stop_signal = signal.SIGINT

    with monkeypatch.context() as patch:
        patch.setattr(AdversarialSeparation, "on_validation_epoch_start", stopping)
        with pytest.raises(Stopped, match="stopped by SIGINT after 12 separator steps"):
            trained(copied_models, settings, "V")
    trained(copied_models, settings, "V")
    assert fingerprints(copied_models / "models/V") == fingerprints(with_models / "models/V")


# ----------------------------------------------------------------- real processes, started by torchrun


def in_double(folder: Path, model: str, processes: int) -> subprocess.Popen[bytes]:
    """Start a training in double precision; its output goes to a file beside its checkpoints."""
    module = ["-m", "tests.helpers.train_in_double", model, "--device", "cpu"]
    launcher = [sys.executable]
    if processes > 1:
        torchrun = Path(sys.executable).with_name("torchrun")
        launcher = [str(torchrun), "--standalone", f"--nproc-per-node={processes}"]
    with (folder / "output").open("ab") as output:
        return subprocess.Popen(
            [*launcher, *module], cwd=folder, env=ENVIRONMENT, stdout=output, stderr=output
        )


def curves(folder: Path, model: str) -> dict[str, pd.Series]:
    """Every loss of every step: an epoch of these runs is one step."""
    history = folder / "models" / model / "history"
    return {
        str(path.relative_to(history)): pd.read_csv(path, sep="\t").iloc[:, -1]
        for path in history.rglob("*.tsv")
    }


@pytest.fixture
def twenty_steps(copied_models: Path) -> Path:
    data = small_params()
    data["training"] |= {
        "steps_per_epoch": 1, "max_epochs": 20, "patience": 30, "critic_steps": 3,
        "learning_rate": 2e-3,
    }  # fmt: skip
    write_params(data, copied_models)
    shutil.rmtree(copied_models / "models")
    return copied_models


@pytest.mark.slow
@pytest.mark.parametrize("model", ["baseline", "VA"])
def test_two_processes_take_the_path_of_one(twenty_steps: Path, model: str) -> None:
    """Twenty steps, penalty and all critics included; and only the first process writes."""
    results = []
    for processes in (1, 2):
        assert in_double(twenty_steps, model, processes).wait(300) == 0
        names = set(fingerprints(twenty_steps))
        results.append((curves(twenty_steps, model), names))
        shutil.rmtree(twenty_steps / "models")
    (one, alone), (two, together) = results
    assert together == alone
    assert one.keys() == two.keys()
    if model == "VA":
        assert (one["training/penalty_vocals.tsv"] > 0).sum() > 5
        assert (one["training/penalty_accompaniment.tsv"] > 0).sum() > 5
    for name, losses in one.items():
        assert len(losses) == 20
        torch.testing.assert_close(
            torch.tensor(two[name]), torch.tensor(losses), rtol=1e-5, atol=1e-12, msg=name
        )


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_others_with_a_checkpoint(copied_models: Path, lost: int) -> None:
    """SIGKILL to one of two; one process goes on with the same losses as if nothing had been."""
    data = small_params()
    data["training"] |= {"steps_per_epoch": 20, "max_epochs": 2, "critic_steps": 3}
    write_params(data, copied_models)
    shutil.rmtree(copied_models / "models")
    assert in_double(copied_models, "VA", 1).wait(300) == 0
    whole = curves(copied_models, "VA")
    shutil.rmtree(copied_models / "models")

    output = copied_models / "output"
    before = len(output.read_bytes())
    training_together = in_double(copied_models, "VA", 2)
    victim = process_of_rank(lost, training_together)
    wait_until(lambda: b"step 3\n" in output.read_bytes()[before:], 180)
    os.kill(victim, signal.SIGKILL)
    assert training_together.wait(LONG_ENOUGH) != 0
    last = copied_models / "work/checkpoints/VA/last.ckpt"
    steps = torch.load(last, weights_only=True)["steps"]
    assert 3 <= steps < 20
    assert "does not answer; the same command" in output.read_text()

    assert in_double(copied_models, "VA", 1).wait(300) == 0
    assert f"after {steps} separator steps" in output.read_text()
    for name, losses in curves(copied_models, "VA").items():
        assert losses.tolist() == pytest.approx(whole[name].tolist(), rel=1e-5, abs=1e-12)


def process_of_rank(rank: int, launcher: subprocess.Popen[bytes]) -> int:
    """The process that torchrun has given this rank."""

    def found() -> int | None:
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal():
                continue
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == launcher.pid and f"RANK={rank}".encode() in variables:
                return int(folder.name)
        return None

    return int(wait_until(found, 60))


def wait_until(condition: Any, seconds: float) -> Any:
    """The first value of `condition()` that is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    pytest.fail(f"{condition} did not come true within {seconds} s")
