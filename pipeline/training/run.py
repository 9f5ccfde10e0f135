"""One training run from the feature files to the model folder; a killed run goes on where it was."""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import lightning
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from pipeline import files
from pipeline.errors import Stopped, UserError
from pipeline.features.store import FeatureFile, check_features
from pipeline.network_settings import OwnSettings
from pipeline.networks import sight, trial
from pipeline.networks.builders import build_critic, build_separator
from pipeline.networks.devices import resolve_device
from pipeline.networks.interfaces import SeparatorNetwork
from pipeline.parallel import machine
from pipeline.params import Params
from pipeline.roles import check_roles
from pipeline.separation.level import level_of
from pipeline.separation.model_folder import save_critic
from pipeline.separation.separator import Separator
from pipeline.tracks import MIXTURE, Role
from pipeline.training.batches import Batches, BatchesAhead
from pipeline.training.checkpoints import (
    Checkpoints,
    open_checkpoints,
    remove_checkpoints,
    save_curves,
)
from pipeline.training.fingerprint import fingerprints
from pipeline.training.mixing import HeardMixtures, Mixer, margin
from pipeline.training.module import AdversarialSeparation
from pipeline.training.pool_loading import FramesOnDisk, RandomPart, load_pool
from pipeline.training.progress import Progress
from pipeline.training.replicas import ALONE, ProcessLost, Replica, ReplicasStrategy, together
from pipeline.training.starts import as_they_are, fresh_critic
from pipeline.training.step import ONE_SIDED

PRECISIONS: dict[str, Literal["32-true", "bf16-mixed"]] = {
    "float32": "32-true",
    "bfloat16": "bf16-mixed",
}
"""What Lightning calls `training.precision`."""


def train(
    params: Params,
    name: str,
    seed: int,
    split: pd.DataFrame,
    features: Path,
    target: Path,
    checkpoints: Path,
    device: str = "auto",
    features_in: str = "auto",
    say: Callable[[str], None] = print,
) -> None:
    """Train model `name` with one of its seeds and write its folder `target`.

    features: the folder of the feature files; checkpoints: a folder for this run's state, removed
    when it is done; device: auto, cpu or cuda; features_in: auto, device, memory or disk
    (`pool_loading`);
    say: where one-line messages go.
    Raises UserError when a role has no tracks, a loss is not finite, or an output is dead.
    """
    check_roles(split, needs_unlabelled=params.models[name].needs_unlabelled)
    accelerator = resolve_device(device)
    if device == "auto" and accelerator == "cpu" and torch.cuda.is_available():
        say("on the CPU: arithmetic in params.yaml is portable; native uses the GPU")
    with together(accelerator) as replica:
        local = f"cuda:{replica.local_rank}" if accelerator == "cuda" else "cpu"
        where = torch.device(local)
        try_own_networks(params, name, split, features, where)
        module = prepare(params, name, seed, split, features, where, replica, features_in)
        level = replica.from_first(lambda: level_learned(params, name, seed, split, features))
        run = replica.from_first(lambda: fingerprints(params, name, split, features)[seed])
        resume = replica.from_first(lambda: open_checkpoints(checkpoints, run, say))
        if resume is not None and not resume.exists():
            raise UserError(
                f"{resume}: not on this machine; machines that train together need a shared folder"
            )
        with listening(module):
            steps = params.training.max_epochs * params.training.steps_per_epoch
            progress = Progress(f"{name}, seed {seed}", steps, replica.first)
            kept = Checkpoints(checkpoints, run, replica)
            fit(module, params, accelerator, kept, progress, resume)
        if replica.first:
            finish(module, params, name, seed, run, target, level)
            remove_checkpoints(checkpoints)


def try_own_networks(
    params: Params, name: str, split: pd.DataFrame, features: Path, device: torch.device
) -> None:
    """Raise UserError, in seconds, for what would be found wrong with a user's networks in hours."""
    model, signal, frames = params.models[name], params.signal, params.training.excerpt
    settings = params.separator_of(name).model_dump()
    sources = len(params.sources) * settings.pop("slots")
    build = partial(build_separator, settings, signal, sources)
    if isinstance(params.separator_of(name), OwnSettings):
        longest = longest_track(split, [*model.supervised, Role.UNLABELLED], features)
        trial.try_separator(
            settings["network"], build, signal, sources, frames, longest, device,
            params.training.precision,
        )  # fmt: skip
    if isinstance(params.critic_of(name), OwnSettings) and model.critics:
        frames = cast(SeparatorNetwork, build()).valid_frames(frames)
        critic = params.critic_of(name).model_dump()
        penalised = model.penalty in ONE_SIDED
        trial.try_critic(
            critic["network"], partial(build_critic, critic, signal, frames), signal, frames, device,
            penalised,
        )  # fmt: skip


def longest_track(split: pd.DataFrame, roles: Sequence[str], features: Path) -> int:
    """The frames of the longest track that has one of the roles."""
    chosen = split[split["role"].isin(list(roles))]
    frames = [
        FeatureFile.open(features / f"{name}.h5").index["frames"].reindex(tracks["track"]).max()
        for name, tracks in chosen.groupby("dataset")
    ]
    return int(max(frames, default=0))


@contextmanager
def listening(module: AdversarialSeparation) -> Iterator[None]:
    """SIGTERM and SIGINT stop the run after the running update."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, module.note_signal) for number in numbers}
    try:
        yield
    except (Stopped, ProcessLost):
        # The checkpoint is written and the process about to end. torchrun sends SIGTERM to those that
        # are left, which must not keep them from saying why.
        before = dict.fromkeys(numbers, signal.SIG_IGN)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def fit(
    module: AdversarialSeparation,
    params: Params,
    accelerator: str,
    checkpoints: Checkpoints,
    progress: Progress,
    resume: Path | None,
) -> None:
    """Train until the validation loss no longer falls."""
    quiet()
    replica = module.replica
    trainer = lightning.Trainer(
        accelerator="gpu" if accelerator == "cuda" else "cpu",
        devices=replica.local_count,
        num_nodes=replica.count // replica.local_count,
        strategy=ReplicasStrategy() if replica.count > 1 else "auto",
        precision=PRECISIONS[params.training.precision],
        max_epochs=params.training.max_epochs,
        # the curves are part of the run's state, which the checkpoint holds as a whole
        logger=False,
        callbacks=[checkpoints, progress],
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    own = [one[replica.rank :: replica.count] for one in module.validation.tiles()]
    batches = (torch.split(one, params.training.batch_size) for one in own)
    trainer.fit(
        module,
        loader(range(params.training.steps_per_epoch)),
        loader(list(zip(*batches, strict=True))),
        ckpt_path=resume,
        weights_only=True,
    )


def loader(items: Sequence[Any]) -> DataLoader[Any]:
    """A loader that hands out `items` as they are: batches are drawn by step, not loaded."""
    return DataLoader(cast(Dataset[Any], items), batch_size=None)


def prepare(
    params: Params,
    name: str,
    seed: int,
    split: pd.DataFrame,
    features: Path,
    device: torch.device,
    replica: Replica = ALONE,
    features_in: str = "auto",
) -> AdversarialSeparation:
    """Load what a model trains on and build it."""
    model, settings = params.models[name], params.training
    check_features(features, split["dataset"].unique(), params.sources, params.signal)
    built = build_separator(
        params.separator_of(name).model_dump(), params.signal, len(params.sources)
    )
    network = cast(SeparatorNetwork, built)
    given = network.representation
    length, context = network.valid_frames(settings.excerpt), network.context
    critics = [fresh_critic(params, name, length)] if model.critics else []
    judged = sight.seen_by(critics)
    part = {
        key: random_part(params, name, seed, key)
        for key in ("supervised_minutes", "unlabelled_minutes")
    }
    load = partial(load_pool, split, folder=features, device=device, place=features_in)
    paired = partial(
        load, [Role(role) for role in model.supervised], part=part["supervised_minutes"]
    )
    unpaired = partial(load, [Role.UNLABELLED], part=part["unlabelled_minutes"])
    view = {"length": length, "context": context}
    seen = {**view, "waveform": given.waveform}
    unlabelled = {**view, "waveform": sight.drawn(given, judged).waveform}
    everything = (MIXTURE, *params.sources)
    alone = {source: params.sources.index(source) for source in model.solo_sources}
    mixer = None
    if model.augmentation or model.solo_mixing:
        speed = model.augmentation.speed if model.augmentation else 0.0
        extra = margin(speed, length + 2 * context)
        blocks = {"length": length, "context": context + extra, "waveform": True}
        solo = model.solo_mixing
        sounds = paired(kinds=params.sources, **blocks)
        if model.augmentation and model.augmentation.mix and len(sounds.lengths) == 1:
            raise UserError(
                f"params.yaml: models.{name}.augmentation.mix: mixes sources of different tracks, and"
                " one track gives pairs; add tracks, or leave mix out (gain and speed work with one)"
            )
        mixer = Mixer(
            params.signal,
            context,
            sounds,
            model.augmentation,
            solo.share if solo else 0.0,
            given,
            {alone[one]: unpaired(kinds=[one], **blocks) for one in (solo.sources if solo else ())},
        )
    heard = partial(unpaired, kinds=[MIXTURE], waveform=True)
    gain = (settings.gain[0], settings.gain[1])
    remixes = sums = None
    if model.teacher and model.teacher.kind == "remix":
        longer = network.valid_frames(length + 2 * context)
        pool = heard(length=longer, context=context)
        remixes = HeardMixtures(params.signal, gain, pool, len(params.sources), given)
    if model.mixit:
        sums = HeardMixtures(params.signal, gain, heard(**view), len(params.sources), given)
    supervised = paired(kinds=everything, **seen)
    mixtures = unpaired(kinds=[MIXTURE], **unlabelled) if model.as_they_are else None
    real = {**view, "waveform": judged.waveform}
    recordings = {alone[one]: unpaired(kinds=[one], **real) for one in model.critics}
    pools = [supervised, mixtures, *recordings.values()]
    on_disk = any(isinstance(one.frames, FramesOnDisk) for one in pools if one is not None)
    batches = (BatchesAhead if on_disk else Batches)(
        seed=seed,
        batch_size=settings.batch_size,
        gain=gain,
        representation=given,
        supervised=supervised,
        mixtures=mixtures,
        recordings=recordings,
        mixer=mixer,
        remixes=remixes,
        sums=sums,
        seen=judged,
        part=replica.part(settings.batch_size),
    )
    validation = load_pool(
        validated(split, settings.validation), [Role.VALIDATION], features, everything,
        length, context, device, features_in, waveform=sight.drawn(given, judged).waveform,
    )  # fmt: skip
    excerpts = len(validation.tiles()[0])
    if excerpts < replica.count:
        raise UserError(
            f"validation has {excerpts} excerpts for {replica.count} processes; start fewer"
        )
    return AdversarialSeparation(params, name, seed, batches, validation, replica)


def random_part(params: Params, name: str, seed: int, key: str) -> RandomPart | None:
    """What model `name` uses of its paired or unlabelled recordings; None for all of them."""
    minutes = getattr(params.models[name], key)
    if minutes is None:
        return None
    frames = 60 * params.signal.sample_rate / params.signal.hop_size
    return RandomPart(minutes, seed, frames, f"models.{name}.{key}")


def level_learned(
    params: Params, name: str, seed: int, split: pd.DataFrame, features: Path
) -> float | None:
    """`Separator.level` of model `name`: None where recordings stay as they are (`params.level`).

    It is the median over the mixtures of the pairs that the model learns from, whole tracks but for
    what `supervised_minutes` leaves out; silent ones do not count. Augmentation is not in it.
    Raises UserError when all are silent.
    """
    if params.level == "recorded":
        return None
    paired = load_pool(
        split, [Role(role) for role in params.models[name].supervised], features,
        (MIXTURE, *params.sources), 1, 0, torch.device("cpu"), "disk",
        random_part(params, name, seed, "supervised_minutes"), waveform=True,
    )  # fmt: skip
    assert isinstance(paired.frames, FramesOnDisk)
    # a track begins after the silence of half a window
    waveforms = (
        paired.frames.read(0, first[None], 0, int(blocks))
        .numpy()
        .reshape(-1)[params.signal.fft_size // 2 :]
        for first, blocks in zip(paired.first, paired.lengths, strict=True)
    )
    levels = [level_of(waveform, params.signal.sample_rate) for waveform in waveforms]
    if not any(levels):
        raise UserError(
            f"{features}: the mixtures that {name} learns from are silent; use other recordings, or set"
            " `level: recorded` in params.yaml"
        )
    # rounded, for people, and for processors that add in another order
    return float(f"{np.median([level for level in levels if level]):.6g}")


def validated(split: pd.DataFrame, which: str) -> pd.DataFrame:
    """The split without the validation tracks that do not choose the epoch (`training.validation`).

    The validation tracks of a corpus without supervised ones are paired recordings of it all the same.
    Raises UserError when none is left.
    """
    if which == "all":
        return split
    supervised = split.loc[split["role"] == Role.SUPERVISED, "dataset"].unique()
    kept = split["dataset"].isin(supervised)
    if not (kept & (split["role"] == Role.VALIDATION)).any():
        raise UserError(
            "params.yaml: training.validation: supervised: no dataset with supervised tracks has"
            " validation tracks; add some, or set it to all"
        )
    return split[kept | (split["role"] != Role.VALIDATION)]


def finish(
    module: AdversarialSeparation, params: Params, name: str, seed: int, run: str, target: Path,
    level: float | None,
) -> None:  # fmt: skip
    """Write the model folder from the best epoch's weights; level: `Separator.level`."""
    best = module.best
    module.load_state_dict(best["state_dict"])
    with files.atomic_path(target) as folder:
        folder.mkdir()
        as_they_are(module.critics)
        for source, critic in module.critics.items():
            save_critic(folder, source, critic)
        precision = params.training.precision
        network = cast(SeparatorNetwork, module.separator)
        sources = tuple(params.sources)
        Separator(network, sources, params.signal, precision, level=level).save(
            folder,
            {
                "model": name,
                **params.models[name].model_dump(exclude={"separator", "critic"}),
                "seed": seed,
                "fingerprint": run,
                "computed_on": computed_on(module.device),
                "critic": params.critic_of(name).model_dump(),
                "excerpt": network.valid_frames(params.training.excerpt),
                "training": params.training.model_dump(),
                "best": {key: best[key] for key in ("epoch", "steps", "loss")},
            },
        )
        save_curves(module.history, folder)


def computed_on(device: torch.device) -> str | None:
    """The processor or GPU that decides the weights' last bits; None where none does."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return None if machine.arithmetic() == "portable" else machine.processor()


def quiet() -> None:
    """Silence the trainer's advertisements and advice on data loaders that load nothing."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*num_workers.*")
    warnings.filterwarnings("ignore", ".*Checkpoint directory.*exists.*")
