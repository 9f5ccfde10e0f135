"""The state of a running training on the disk: written after every epoch and when it is stopped.

One file holds all of it: networks, optimisers, the best epoch's weights, the curves. So whichever
checkpoint is whole, the run goes on from it to the same end.
"""

import copy
import hashlib
import io
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from pipeline import files
from pipeline.errors import Stopped, UserError
from pipeline.training.module import AdversarialSeparation, Curves
from pipeline.training.replicas import ALONE, ProcessLost, Replica

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
UNUSABLE = ".unusable"
"""The suffix of a checkpoint that was set aside."""
SEAL = hashlib.sha256().digest_size
"""Bytes of a run's fingerprint and of the checksum, which follow what torch has written."""
PROGRESS = (
    "epoch",
    "global_step",
    "pytorch-lightning_version",
    "loops",
    "callbacks",
    "lr_schedulers",
)
"""What Lightning asks of a checkpoint, besides weights and optimisers."""


class Unusable(Exception):
    """A checkpoint from which a run cannot go on, and why."""


class Checkpoints(Checkpoint):
    """Writes `last.ckpt` at the start, after every epoch, and when a run is stopped in an epoch.

    For Lightning, a run that was stopped goes on after the last epoch that was complete; the module
    knows which updates of the next one are done.
    """

    def __init__(self, folder: Path, run: str, replica: Replica = ALONE) -> None:
        """run: the fingerprint of this run."""
        self.folder, self.run, self.replica = folder, run, replica
        self.last = folder / LAST
        self.progress: dict[str, Any] = {}

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        assert isinstance(pl_module, AdversarialSeparation)
        # Lightning's own handler of SIGTERM, which waits for the other processes, is replaced; after
        # the run it restores what was there before.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, pl_module.note_signal)
        if not self.progress:
            # what a run that is stopped in its first epoch needs
            self.on_train_epoch_end(trainer, pl_module)
        pl_module.stop_if_asked()

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Raises UserError, in every process, when the first cannot write the checkpoint."""
        self.progress = {
            "epoch": trainer.current_epoch,
            "global_step": trainer.global_step,
            "pytorch-lightning_version": lightning.__version__,
            "loops": {"fit_loop": copy.deepcopy(trainer.fit_loop.state_dict())},
            "callbacks": {},
            "lr_schedulers": [],
        }
        self.replica.from_first(lambda: self.write(trainer, pl_module))
        if self.replica.first:
            assert isinstance(pl_module, AdversarialSeparation)
            # for whoever watches: the checkpoint has them
            save_curves(pl_module.history, self.folder)

    def on_load_checkpoint(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        self.progress = {key: copy.deepcopy(checkpoint[key]) for key in PROGRESS}

    def on_exception(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        """Keep the state of a run that was stopped or has lost a process: by whoever is left."""
        stopped = isinstance(exception, Stopped | SIGTERMException) and self.replica.first
        if (stopped or isinstance(exception, ProcessLost)) and self.progress:
            self.write(trainer, pl_module)

    def write(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Write the state as it is now. Raises UserError when the disk is full or not writable."""
        checkpoint = self.progress | {
            "state_dict": module.state_dict(),
            "optimizer_states": [one.state_dict() for one in trainer.optimizers],
        }
        module.on_save_checkpoint(checkpoint)
        write(checkpoint, self.folder, self.run, self.replica.rank)


def save_curves(history: Curves, folder: Path) -> None:
    """Write each curve to `folder`/history/<curve>.tsv: step and value, a line an epoch."""
    for curve, points in history.items():
        place = folder / "history" / f"{curve}.tsv"
        lines = [f"step\t{place.stem}", *(f"{step}\t{value}" for step, value in points)]
        files.write_text(place, "\n".join(lines) + "\n")


def write(checkpoint: dict[str, Any], folder: Path, run: str, rank: int = 0) -> None:
    """Make `checkpoint` the last one of run `run`; the one that was the last is the one before.

    rank: of the process; those that are left when one is lost write at the same time. Raises
    UserError when the disk is full or not writable, or a weight is not finite.
    """
    for key in ("state_dict", "optimizer_states"):
        if not finite(checkpoint[key]):
            raise UserError(
                f"{folder / LAST}: not written: {key} would hold values that are not finite; the one"
                " before stays; a lower training.learning_rate or alpha usually mends it"
            )
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    buffer.write(bytes.fromhex(run))
    seal = hashlib.sha256(buffer.getbuffer()).digest()
    complete = folder / f"{LAST}.{rank}"
    with files.atomic_path(complete) as partial, partial.open("wb") as file:
        file.write(buffer.getbuffer())
        file.write(seal)
        file.flush()
        os.fsync(file.fileno())
    try:
        files.remove(folder / PREVIOUS)
        with suppress(FileNotFoundError):
            (folder / LAST).replace(folder / PREVIOUS)
        complete.replace(folder / LAST)
    except OSError as error:
        raise UserError(f"{folder / LAST}: cannot be written: {error.strerror}") from error


def finite(state: Any) -> bool:
    """Whether all tensors in nested dictionaries and lists are finite."""
    if isinstance(state, Tensor):
        return bool(torch.isfinite(state).all())
    if isinstance(state, dict | list):
        return all(map(finite, state.values() if isinstance(state, dict) else state))
    return True


def read(path: Path, run: str) -> dict[str, Any]:
    """A checkpoint of run `run`.

    Raises Unusable when it is damaged or another run's, before anything in it is unpickled,
    FileNotFoundError when there is none, and UserError when it is not allowed to be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise Unusable("not a file")
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except PermissionError:
        raise UserError(f"{path}: not allowed to be read; change its permissions") from None
    except OSError as error:  # a defect of the disk
        raise Unusable(f"cannot be read ({error.strerror})") from None
    sealed, seal = memoryview(content)[:-SEAL], content[-SEAL:]
    if hashlib.sha256(sealed).digest() != seal:
        raise Unusable("damaged")
    if sealed[-SEAL:] != bytes.fromhex(run):
        raise Unusable("checkpoint of other parameters, code or data")
    found: dict[str, Any] = torch.load(
        io.BytesIO(sealed[:-SEAL]), map_location="cpu", weights_only=True
    )
    return found


def open_checkpoints(folder: Path, run: str, say: Callable[[str], None]) -> Path | None:
    """The checkpoint from which run `run` goes on: the last one in `folder` that is whole and its own.

    What is damaged or another run's is set aside, with a word, and is gone when the run is done.
    Raises UserError when the folder cannot be used.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: not a folder, expected the one for checkpoints; remove it")
    said = []
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            steps = read(path, run)["steps"]
        except FileNotFoundError:
            continue
        except Unusable as reason:
            aside = path.with_name(path.name + UNUSABLE)
            set_aside(path, aside)
            said.append(f"{path}: {reason}; set aside as {aside.name}")
        else:
            say("; ".join([*said, f"resuming from {path} after {steps} separator steps"]))
            return path
    if said:
        say("; ".join([*said, "starting afresh"]))
    return None


def set_aside(path: Path, aside: Path) -> None:
    """Rename `path`, over what was set aside before. Raises UserError when that is impossible."""
    try:
        files.remove(aside)
        path.replace(aside)
    except OSError as error:
        raise UserError(f"{path}: cannot be renamed: {error.strerror}; remove it") from error


def remove_checkpoints(folder: Path) -> None:
    """Remove what a run that is done has left in its folder; a link to a folder stays."""
    for path in folder.iterdir():
        files.remove(path)
    if not folder.is_symlink():
        folder.rmdir()
