"""What makes a training run this one: parameters, seed, code, packages, split and features.

Two runs with one fingerprint end with the same weights (on one machine), so a checkpoint or a
finished model that carries it is this run's. Imports no network: `stages.train` asks for it first.
"""

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import files, rooms
from pipeline.network_settings import OwnSettings
from pipeline.networks.own import digest
from pipeline.params import Params

RUN = "pipeline.training.run"
"""The module whose rooms decide what comes out of a run: another code, another run."""
PACKAGES = ("torch", "lightning")
"""The packages whose version decides it too."""
ELSEWHERE = {"seeds", "models", "evaluation", "synthetic", "datasets", "level"}
"""Parameters that decide nothing here, or by way of the split and the features alone."""


def fingerprints(params: Params, name: str, split: pd.DataFrame, features: Path) -> dict[int, str]:
    """The fingerprint of model `name` with each of its seeds, in hexadecimal."""
    start = params.models[name].start_from
    weights = sorted(Path(start).rglob("*.safetensors")) if start else []
    parts: dict[str, Any] = {
        "start": [files.md5(path) for path in weights],
        "params": params.model_dump(exclude=ELSEWHERE),
        "model": params.models[name].model_dump(),
        "split": split.to_csv(index=False),
        "code": rooms.fingerprint(RUN),
        **own_sources(params, name),
        "packages": {package: metadata.version(package) for package in PACKAGES},
        "features": {
            dataset: files.md5(features / f"{dataset}.h5")
            for dataset in sorted(split["dataset"].unique())
        },
    }
    texts = {seed: json.dumps(parts | {"seed": seed}, sort_keys=True) for seed in params.seeds}
    return {seed: hashlib.sha256(text.encode()).hexdigest() for seed, text in texts.items()}


def own_sources(params: Params, name: str) -> dict[str, str]:
    """Digests of the sources of the user's own networks that model `name` has, by their names."""
    critic = params.critic_of(name) if params.models[name].critics else None
    used = (params.separator_of(name), critic)
    return {one.network: digest(one.network) for one in used if isinstance(one, OwnSettings)}
