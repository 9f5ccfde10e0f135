"""How far a run has come: a bar for whoever watches it, or lines for the process that started it."""

import os
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT
from tqdm import tqdm

from pipeline.training.module import AdversarialSeparation

AS_LINES = "TRAINING_PROGRESS"
"""The environment variable that asks for lines: whoever sets it draws one bar for several runs."""
MARK = "progress"
EVERY = 0.5
"""Seconds between two reports; reading a loss makes a GPU wait."""


def line(steps: int, loss: float) -> str:
    """What a run tells: its updates so far and the running supervised loss L_s."""
    return f"{MARK} {steps} {loss:.6g}"


def parse(text: str) -> tuple[int, float] | None:
    """What `line` was given; None for any other text."""
    mark, _, values = text.strip().partition(" ")
    steps, _, loss = values.partition(" ")
    try:
        return (int(steps), float(loss)) if mark == MARK else None
    except ValueError:
        return None


class Progress(Callback):
    """Reports the updates of a run, at most every `EVERY` seconds."""

    def __init__(self, title: str, total: int, first: bool = True) -> None:
        """total: updates of the whole run; first: whether this process is the one that speaks."""
        self.title, self.total, self.first = title, total, first
        self.bar: tqdm[Any] | None = None
        self.told = 0.0

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        assert isinstance(pl_module, AdversarialSeparation)
        if self.first and AS_LINES not in os.environ:
            done = pl_module.state.steps
            self.bar = tqdm(
                desc=self.title, total=self.total, initial=done, unit="update", mininterval=EVERY
            )

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, AdversarialSeparation)
        steps, now = pl_module.state.steps, time.monotonic()
        if self.first and (now - self.told > EVERY or steps == self.total):
            self.told = now
            self.tell(steps, pl_module.running_loss())

    def tell(self, steps: int, loss: float) -> None:
        """Say how far it is."""
        if self.bar is None:
            print(line(steps, loss), flush=True)
        else:
            self.bar.set_postfix_str(f"L_s {loss:.3f}", refresh=False)
            self.bar.update(steps - self.bar.n)

    def on_train_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        self.close()

    def on_exception(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.close()
