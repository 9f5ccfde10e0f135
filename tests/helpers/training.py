"""One training run in this process."""

import signal
from pathlib import Path
from typing import Any

from pipeline import roles
from pipeline.params import Params
from pipeline.training import run


def trained(folder: Path, settings: Params, model: str, **options: Any) -> list[str]:
    """Train a model of the experiment in `folder`; returns what was said."""
    said: list[str] = []
    target, work = folder / "models" / model / "seed-1", folder / "work" / model
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        run.train(
            settings, model, 1, roles.load_split(folder / "data/split.csv"), folder / "data/features",
            target, work, "cpu", say=said.append, **options,
        )  # fmt: skip
    finally:  # a run that was stopped leaves signals ignored, for its process ends
        for number, handler in before.items():
            signal.signal(number, handler)
    return said
