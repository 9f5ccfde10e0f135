"""Several processes train one model as one would; stopped or lost, a run goes on from where it was."""

import os
import shutil
import signal
import subprocess
import sys
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
from tests.helpers.limits import small_files_only
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
    assert ALONE.from_first(lambda: "x") == "x"
    assert ALONE.sum(values) == values
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


def test_a_run_that_is_stopped_ends_as_if_it_had_not_been(
    with_models: Path, copied_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in mid-epoch, with both critics: every file is the same to the bit."""
    shutil.rmtree(copied_models / "models/VA/seed-1")
    settings = write_params(small_params(), copied_models)
    original = AdversarialSeparation.agree
    left = iter(range(14, -1, -1))  # three updates a step

    def counted(self: AdversarialSeparation, *arguments: Any) -> Any:
        if next(left, None) == 0:
            self.stop_signal = signal.SIGTERM
        return original(self, *arguments)

    monkeypatch.setattr(AdversarialSeparation, "agree", counted)
    with pytest.raises(Stopped, match="stopped by SIGTERM after 5 separator steps"):
        trained(copied_models, settings, "VA")
    assert not (copied_models / "models/VA/seed-1").exists()
    # the checkout is moved, or seen from a container, before the run goes on
    elsewhere = copied_models.with_name("elsewhere")
    copied_models.rename(elsewhere)
    said = trained(elsewhere, settings, "VA")
    assert said == [f"resuming from {elsewhere}/work/VA/last.ckpt after 5 separator steps"]
    assert fingerprints(elsewhere / "models/VA/seed-1") == fingerprints(
        with_models / "models/VA/seed-1"
    )
    assert not (elsewhere / "work/VA").exists()


def test_a_run_that_is_stopped_in_validation_validates_again(
    with_models: Path, copied_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(copied_models / "models/V/seed-1")
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
    found, expected = (one / "models/V/seed-1" for one in (copied_models, with_models))
    assert fingerprints(found) == fingerprints(expected)


# ----------------------------------------------------------------- real processes, started by torchrun


def in_double(folder: Path, model: str, processes: int, dies: str = "") -> int:
    """A training in double precision; its exit status. What it says is added to the file `output`."""
    module = ["-m", "tests.helpers.train_in_double", model, "--seed=1", "--device", "cpu"]
    launcher = [sys.executable]
    if processes > 1:
        torchrun = Path(sys.executable).with_name("torchrun")
        launcher = [str(torchrun), "--standalone", f"--nproc-per-node={processes}"]
    with (folder / "output").open("ab") as output:
        return subprocess.run(
            [*launcher, *module], cwd=folder, env=ENVIRONMENT | {"DIES": dies}, stdout=output,
            stderr=output, timeout=LONG_ENOUGH * 5,
        ).returncode  # fmt: skip


def curves(folder: Path, model: str) -> dict[str, pd.Series]:
    """Every loss of every step: an epoch of these runs is one step."""
    history = folder / "models" / model / "seed-1/history"
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
        assert in_double(twenty_steps, model, processes) == 0
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
    assert in_double(copied_models, "VA", 1) == 0
    whole = curves(copied_models, "VA")
    shutil.rmtree(copied_models / "models")

    output = copied_models / "output"
    assert in_double(copied_models, "VA", 2, dies=f"{lost}:3") != 0
    last = copied_models / "work/checkpoints/VA/seed-1/last.ckpt"
    assert torch.load(last, weights_only=True)["steps"] == 3
    assert "does not answer; the same command" in output.read_text()

    assert in_double(copied_models, "VA", 1) == 0
    assert "after 3 separator steps" in output.read_text()
    for name, losses in curves(copied_models, "VA").items():
        assert losses.tolist() == pytest.approx(whole[name].tolist(), rel=1e-5, abs=1e-12)


@pytest.mark.slow
def test_a_full_disk_ends_all_processes_with_one_line(copied_models: Path) -> None:
    """The first process writes; the others do not wait for it. Then the same command goes on."""
    shutil.rmtree(copied_models / "models")
    write_params(small_params(), copied_models)
    output = copied_models / "output"
    with small_files_only(100_000):
        assert in_double(copied_models, "VA", 2) != 0
    said = output.read_text()
    # once from each process, or only from the first if that has ended the other by then
    (line,) = {line for line in said.splitlines() if line.startswith("error: ")}
    assert "VA/seed-1/last.ckpt" in line
    assert "cannot be written: File too large" in line
    assert said.count("Traceback") == 1, "torchrun's own"
    assert in_double(copied_models, "VA", 2) == 0
    assert (copied_models / "models/VA/seed-1/model.safetensors").exists()
