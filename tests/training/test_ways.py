"""Every way to learn: its loss against a small case worked by hand, and a run that moves the weights."""

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from pipeline import params, roles
from pipeline.features.stft import log_magnitude, stft
from pipeline.params import Params
from pipeline.training.losses import gradient_penalty
from pipeline.training.mixit import mixit_loss
from pipeline.training.run import prepare
from pipeline.training.teachers.average import confidence
from pipeline.training.teachers.remix import remixed
from pipeline.ways import Model

CRITIC: dict[str, Any] = {"critics": ["vocals"], "alpha": 0.01}
WAYS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "L_add": {"beta": 0.01},
    "V": CRITIC | {"beta": 0.01},
    "auto": CRITIC | {"alpha": "auto", "fraction": 0.5},
    "two-sided": CRITIC | {"penalty": "two_sided"},
    "spectral": CRITIC | {"penalty": "spectral", "divergence": "js_non_saturating"},
    "GAN": CRITIC | {"penalty": "none", "divergence": "js"},
    "mixing": {"augmentation": {"mix": 1.0, "gain": [0.5, 1.5]}},
    "speed": {"augmentation": {"speed": 0.1}},
    "solo": {"solo_mixing": {"sources": ["vocals"], "share": 0.5}},
    "teacher": {"teacher": {"kind": "average", "weight": 1.0, "decay": 0.9}},
    "RemixIT": {"teacher": {"kind": "remix", "weight": 1.0, "decay": 0.9}},
    "MixIT": {"mixit": 1.0},
    "ceiling": {"supervised": ["supervised", "unlabelled"]},
    "everything": CRITIC
    | {
        "beta": 0.01,
        "augmentation": {"mix": 0.5, "gain": [0.5, 1.5], "speed": 0.1},
        "solo_mixing": {"sources": ["vocals", "accompaniment"], "share": 0.5},
        "teacher": {"kind": "remix", "weight": 1.0, "decay": 0.9},
        "mixit": 0.5,
    },
}


def with_models(folder: Path, models: dict[str, Model]) -> Params:
    return params.load(folder / "params.yaml").model_copy(update={"models": models})


def steps(folder: Path, name: str, own: dict[str, Any], count: int = 2) -> tuple[Any, dict[str, float]]:
    """A module after some updates, and the last losses."""
    from lightning import Trainer

    settings = with_models(folder, {name: Model(**own)})
    split = roles.load_split(folder / "data/split.csv")
    module = prepare(settings, name, 1, split, folder / "data/features", torch.device("cpu"))
    optimisers = module.configure_optimizers()
    module.optimizers = lambda: optimisers  # type: ignore[method-assign,assignment]
    losses: dict[str, float] = {}
    for number in range(count):
        module.totals = {}
        module.training_step(number, number)
        losses = {key: float(value) for key, value in module.totals.items()}
    assert Trainer
    return module, losses


@pytest.mark.parametrize("name", WAYS)
def test_every_way_trains(with_features: Path, name: str) -> None:
    module, losses = steps(with_features, name, WAYS[name])
    assert all(math.isfinite(value) for value in losses.values())
    assert list(losses)[-1] == "L" or "distance_vocals" in losses
    fresh, _ = steps(with_features, name, WAYS[name], 0)
    moved = [
        not torch.equal(a, b)
        for a, b in zip(module.separator.parameters(), fresh.separator.parameters(), strict=True)
    ]
    assert any(moved)
