"""One training run in this process."""

from pathlib import Path
from typing import Any

from pipeline import roles
from pipeline.params import Params
from pipeline.training import run


def trained(folder: Path, settings: Params, model: str, **options: Any) -> list[str]:
    """Train a model of the experiment in `folder`; returns what was said."""
    said: list[str] = []
    run.train(
        settings, model, roles.load_split(folder / "data/split.csv"), folder / "data/features",
        folder / "models" / model, folder / "work" / model, "cpu", say=said.append, **options,
    )  # fmt: skip
    return said
