"""One training run from the feature files to the model folder; a killed run goes on where it was."""

import hashlib
import inspect
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import lightning
import pandas as pd
import torch
from dvclive.lightning import DVCLiveLogger
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset

from pipeline import files, models, objectives, sampling, spectrogram, training
from pipeline.models import critic, unet
from pipeline.params import MIXTURE, Params
from pipeline.sampling import Batches, load_pool
from pipeline.separation import Separator, build
from pipeline.separation import resolve_device as resolve_device
from pipeline.split import check_roles
from pipeline.tracks import Role
from pipeline.training import MONITOR, AdversarialSeparation

EXCERPT_FRAMES = 66
"""Output frames of an excerpt (paper, section 4.2); the U-Net takes the next size it can."""

CODE = (models, critic, unet, objectives, sampling, spectrogram, training)
"""The modules whose change makes a checkpoint another run's."""


def train(
    params: Params,
    name: str,
    split: pd.DataFrame,
    features: Path,
    target: Path,
    checkpoints: Path,
    device: str = "auto",
    say: Callable[[str], None] = print,
) -> None:
    """Train model `name` and write its folder `target`.

    features: the folder of the feature files; checkpoints: a folder for this run's state, removed
    when it is done; device: auto, cpu or cuda; say: where one-line messages go.
    Raises UserError when a role has no tracks, a loss is not finite, or an output is dead.
    """
    model = params.models[name]
    check_roles(split, needs_unlabelled=model.unlabelled)
    accelerator = resolve_device(device)
    module = prepare(params, name, split, features, torch.device(accelerator))
    resume = open_checkpoints(checkpoints, fingerprint(params, name, split, features), say)
    quiet()
    best = ModelCheckpoint(
        checkpoints, "best", MONITOR, save_last=True, enable_version_counter=False,
        save_on_train_epoch_end=True,
    )  # fmt: skip
    trainer = lightning.Trainer(
        accelerator="gpu" if accelerator == "cuda" else "cpu",
        devices=1,
        max_epochs=params.training.max_epochs,
        logger=DVCLiveLogger(
            dir=str(checkpoints / "history"), resume=True, dvcyaml=None, save_dvc_exp=False
        ),
        callbacks=[
            EarlyStopping(
                MONITOR,
                patience=params.training.patience,
                check_finite=False,
                check_on_train_epoch_end=True,
            ),
            best,
            Progress(),
        ],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_model_summary=False,
    )
    trainer.fit(
        module,
        loader(range(params.training.steps_per_epoch)),
        loader(torch.split(module.validation.tiles(), params.training.batch_size)),
        ckpt_path=resume,
        weights_only=True,
    )
    finish(module, params, name, Path(best.best_model_path), target)
    files.remove(checkpoints)


class Progress(TQDMProgressBar):
    """Lightning's progress bar without the logger's version, which says nothing here."""

    def get_metrics(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


def loader(items: Sequence[Any]) -> DataLoader[Any]:
    """A loader that hands out `items` as they are: batches are drawn by step, not loaded."""
    return DataLoader(cast(Dataset[Any], items), batch_size=None)


def prepare(
    params: Params, name: str, split: pd.DataFrame, features: Path, device: torch.device
) -> AdversarialSeparation:
    """Load what a model trains on and build it."""
    model, settings = params.models[name], params.training
    network = build(params)
    pool = partial(
        load_pool, split, folder=features, length=network.valid_frames(EXCERPT_FRAMES),
        context=network.context, device=device,
    )  # fmt: skip
    everything = (MIXTURE, *params.sources)
    numbers = [params.sources.index(source) for source in model.critics]
    batches = Batches(
        seed=params.seed,
        batch_size=settings.batch_size,
        gain=(settings.gain[0], settings.gain[1]),
        supervised=pool(Role.SUPERVISED, signals=everything),
        mixtures=pool(Role.UNLABELLED, signals=[MIXTURE]) if model.unlabelled else None,
        recordings={
            number: pool(Role.UNLABELLED, signals=[params.sources[number]]) for number in numbers
        },
    )
    validation = pool(Role.VALIDATION, signals=everything)
    return AdversarialSeparation(params, model, batches, validation)


def finish(
    module: AdversarialSeparation, params: Params, name: str, best: Path, target: Path
) -> None:
    """Write the model folder from the best epoch's checkpoint."""
    checkpoint = torch.load(best, map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
    history = best.parent / "history"
    with files.atomic_path(target) as folder:
        Separator(module.separator, tuple(params.sources), params.signal).save(
            folder,
            {
                "model": name,
                **params.models[name].model_dump(),
                "seed": params.seed,
                "critic": params.critic.model_dump(),
                "training": params.training.model_dump(),
                "best": {"epoch": checkpoint["epoch"], "steps": checkpoint["steps"]},
            },
        )
        for source, network in module.critics.items():
            # contiguous: safetensors stores no channels_last strides
            weights = {key: value.contiguous() for key, value in network.state_dict().items()}
            save_file(weights, folder / f"critic-{source}.safetensors")
        for metric in sorted((history / "plots" / "metrics").rglob("*.tsv")):
            place = folder / "history" / metric.relative_to(history / "plots" / "metrics")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(metric.read_bytes())


def fingerprint(params: Params, name: str, split: pd.DataFrame, features: Path) -> str:
    """What makes a checkpoint this run's: parameters, code, split and features."""

    def source(module: ModuleType) -> str:
        return inspect.getsource(module)

    parts: dict[str, Any] = {
        "params": params.model_dump(exclude={"models", "evaluation", "synthetic", "datasets"}),
        "model": params.models[name].model_dump(),
        "split": split.to_csv(index=False),
        "code": [source(module) for module in CODE],
        "features": {
            dataset: files.md5(features / f"{dataset}.h5")
            for dataset in sorted(split["dataset"].unique())
        },
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def open_checkpoints(folder: Path, expected: str, say: Callable[[str], None]) -> Path | None:
    """The checkpoint to resume from, if `folder` holds this very run's; otherwise an empty folder."""
    marker, last = folder / "fingerprint", folder / "last.ckpt"
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


def quiet() -> None:
    """Silence the trainer's advertisements and advice on data loaders that load nothing."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*num_workers.*")
    warnings.filterwarnings("ignore", ".*Checkpoint directory.*exists.*")
