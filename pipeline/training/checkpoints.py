"""The state of a running training on the disk: written after every epoch and when it is stopped."""

import copy
import hashlib
import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from pipeline import files, rooms
from pipeline.errors import Stopped
from pipeline.params import Params
from pipeline.training.module import MONITOR, AdversarialSeparation
from pipeline.training.replicas import ProcessLost

RUN = "pipeline.training.run"
"""The module whose rooms decide what comes out of a run: another code, another run."""
BEST, LAST = "best.ckpt", "last.ckpt"
PROGRESS = (
    "epoch",
    "global_step",
    "loops",
    "callbacks",
    "lr_schedulers",
    "pytorch-lightning_version",
)
"""What Lightning knows of a run, besides weights and optimisers."""


class Checkpoints(ModelCheckpoint):
    """`best.ckpt` and `last.ckpt` after every epoch; `last.ckpt` too when a run is stopped in an epoch.

    For Lightning, a run that was stopped goes on after the last epoch that was complete; the module
    knows which updates of the next one are done.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder, Path(BEST).stem, MONITOR, save_last=True, enable_version_counter=False,
            save_on_train_epoch_end=True,
        )  # fmt: skip
        self.last = folder / LAST
        self.progress: dict[str, Any] = {}

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """From here on, SIGTERM and SIGINT ask for a checkpoint."""
        super().on_train_start(trainer, pl_module)
        if not self.progress:
            # what a run that is stopped in its first epoch needs
            trainer.save_checkpoint(self.last)
        assert isinstance(pl_module, AdversarialSeparation)
        module = pl_module

        def note(number: int, _: FrameType | None) -> None:
            module.stop_signal = signal.Signals(number)

        # Lightning's own handler of SIGTERM, which waits for the other processes, is replaced; after
        # the run it restores what was there before.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, note)

    def on_save_checkpoint(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        self.progress = {key: copy.deepcopy(checkpoint[key]) for key in PROGRESS}

    on_load_checkpoint = on_save_checkpoint

    def on_exception(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        """Keep the state of a run that was stopped or has lost a process: by whoever is left."""
        stopped = isinstance(exception, Stopped | SIGTERMException) and trainer.is_global_zero
        if (stopped or isinstance(exception, ProcessLost)) and self.progress:
            checkpoint = self.progress | {
                "state_dict": pl_module.state_dict(),
                "optimizer_states": [one.state_dict() for one in trainer.optimizers],
            }
            pl_module.on_save_checkpoint(checkpoint)
            partial = self.last.with_name(f"{LAST}.{trainer.global_rank}{files.PARTIAL}")
            torch.save(checkpoint, partial)
            partial.replace(self.last)

    def state_dict(self) -> dict[str, Any]:
        """Names instead of paths: a run may go on where the folder lies elsewhere (in a container)."""
        state = super().state_dict()
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[key] = state[key] and Path(state[key]).name
        best = {Path(path).name: score for path, score in state["best_k_models"].items()}
        return state | {"dirpath": "", "best_k_models": best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = dict(state_dict)
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[key] = state[key] and str(self.last.with_name(state[key]))
        best = {
            str(self.last.with_name(name)): score for name, score in state["best_k_models"].items()
        }
        super().load_state_dict(state | {"dirpath": self.dirpath, "best_k_models": best})


def fingerprint(params: Params, name: str, split: pd.DataFrame, features: Path) -> str:
    """What makes a checkpoint this run's: parameters, code, split and features."""
    parts: dict[str, Any] = {
        "params": params.model_dump(exclude={"models", "evaluation", "synthetic", "datasets"}),
        "model": params.models[name].model_dump(),
        "split": split.to_csv(index=False),
        "code": rooms.fingerprint(RUN),
        "features": {
            dataset: files.md5(features / f"{dataset}.h5")
            for dataset in sorted(split["dataset"].unique())
        },
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def open_checkpoints(folder: Path, expected: str, say: Callable[[str], None]) -> Path | None:
    """The checkpoint to resume from, if `folder` holds this very run's; otherwise an empty folder."""
    marker, last = folder / "fingerprint", folder / LAST
    if last.exists():
        if marker.exists() and marker.read_text() == expected:
            steps = torch.load(last, map_location="cpu", weights_only=True)["steps"]
            say(f"resuming from {last} after {steps} separator steps")
            forget_after(folder / "history", steps)
            return last
        say(f"{folder}: checkpoint of other parameters, code or data; starting afresh")
    files.remove(folder)
    files.write_text(marker, expected)
    return None


def forget_after(history: Path, steps: int) -> None:
    """Drop curve points that the killed run logged after its last checkpoint: they will come again."""
    for path in history.rglob("*.tsv"):
        frame = pd.read_csv(path, sep="\t", dtype=str)
        kept = frame[frame["step"].astype(float) <= steps]
        if len(kept) < len(frame):
            files.write_text(path, kept.to_csv(sep="\t", index=False))
