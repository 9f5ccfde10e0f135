"""One training step of each of the paper's models: excerpts a second, and where the time goes."""

import gc
from collections.abc import Iterator
from contextlib import closing
from typing import cast

import lightning
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from benchmarks import harness, limits, material
from benchmarks.harness import OURS, STRAIGHTFORWARD, Options, Quantity, Result, Side, Times
from benchmarks.reference.training import Experiment, StepBatches
from pipeline.networks.critics.dcgan import DCGANCritic
from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.parallel.allocator import keep_freed_memory
from pipeline.params import Params
from pipeline.tracks import Role
from pipeline.training.module import MONITOR, AdversarialSeparation
from pipeline.training.run import PRECISIONS, loader, quiet

Lengths = dict[Role, list[float]]

MODELS = ("baseline", "V", "VA")
CPU_BATCH = 16
"""Excerpts on a CPU, where the paper's 64 take minutes; the ratios hardly depend on it."""
DRAWING = "batches"
WARM_UP = 1
TRACKS_ON_CPU = 8
"""On a CPU the pools hold every so-manieth of the paper's tracks: enough to miss every cache."""


class Turns(lightning.Callback):
    """Times the steps of a training run as Lightning makes them; between two the others have a turn.

    Ours is all of the loop between two steps' ends, so the trainer's own work is in it.
    """

    def __init__(self, others: dict[str, Side], device: str) -> None:
        self.others, self.device = others, device
        self.times: Times = {name: [] for name in (OURS, *others)}
        self.seen = 0
        self.clock = harness.Clock(device)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
    ) -> None:
        took = self.clock.read()
        for name, side in self.others.items():
            other = harness.seconds(side, self.device)
            if self.seen >= WARM_UP:
                self.times[name].append(other)
        if self.seen >= WARM_UP:
            self.times[OURS].append(took)
        self.seen += 1
        self.clock.start()


def ours(module: AdversarialSeparation, others: dict[str, Side], turns: int, device: str) -> Times:
    """Train for `turns` steps and some to warm up, with the others in between."""
    callback = Turns(others, device)
    fit(module, [callback], turns + WARM_UP, device)
    return callback.times


def fit(
    module: AdversarialSeparation, callbacks: list[lightning.Callback], steps: int, device: str
) -> dict[str, Tensor]:
    """Train an epoch of some steps as `pipeline.training.run` does, without checkpoints and curves.

    Returns the last point of each curve of training. A module that was trained before would skip the
    steps it has done.
    """
    quiet()
    trainer = lightning.Trainer(
        precision=PRECISIONS[module.params.training.precision],
        accelerator="gpu" if device == "cuda" else "cpu", devices=1, max_epochs=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0, num_sanity_val_steps=0, callbacks=callbacks,
    )  # fmt: skip
    trainer.fit(module, loader(range(steps)))
    return {
        curve: torch.tensor(points[-1][1])
        for curve, points in module.history.items()
        if curve != MONITOR
    }


def straightforward(module: AdversarialSeparation) -> Experiment:
    """The reference with the same weights."""
    separator = cast(SpectrogramUNet, module.separator)
    critics = cast(dict[str, DCGANCritic], module.state.named_critics())
    return Experiment.of(module.params, module.model, separator, critics)


def straightforward_step(settings: Params, name: str, lengths: Lengths, device: str) -> Side:
    """The reference's step, on the batches of our first one."""
    module = material.module(settings, name, lengths, device).to(device)
    experiment, batches = straightforward(module), draw(module, 0)

    def step() -> None:
        experiment.step(batches)
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def draw(module: AdversarialSeparation, step: int) -> StepBatches:
    """All batches of one step: those that our step draws."""
    batches, settings = module.batches, module.params.training
    numbers = {source: module.params.sources.index(source) for source in module.model.critics}
    updates = range(step * settings.critic_steps, (step + 1) * settings.critic_steps)
    return StepBatches(
        [batches.for_critics(update, numbers) for update in updates if numbers],
        batches.for_separator(step),
    )


def results(options: Options) -> list[Result]:
    """Every model at the paper's sizes; on a GPU also its memory, with all of the paper's tracks."""
    keep_freed_memory()  # as the stage does
    return [result for name in MODELS for result in steps_of(name, options)]


def steps_of(name: str, options: Options) -> Iterator[Result]:
    """The step of one model in both precisions, each beside the straightforward way in float32."""
    on_gpu = options.device == "cuda"
    settings = material.paper()
    batch = options.batch or (settings.training.batch_size if on_gpu else CPU_BATCH)
    batch = 2 if options.quick else batch
    every = 1 if on_gpu and not options.quick else TRACKS_ON_CPU * (4 if options.quick else 1)
    lengths = {role: seconds[::every] for role, seconds in material.paper_seconds().items()}
    settings = material.with_batch(settings, batch, options.quick)
    needed, plainly = operations(settings, name, lengths, options.device)
    plain = harness.Apart(straightforward_step, settings, name, lengths, options.device)
    with closing(plain):
        for precision in PRECISIONS:
            suffix = "" if precision == "float32" else f", {precision}"
            inside = material.in_precision(settings, precision)
            memory = peak(inside, name, lengths) if on_gpu else []
            times = turns(inside, name, lengths, plain, options)
            yield Result(
                f"training step, {name}{suffix}",
                [*figures(times, needed, options.device), *memory],
                {side: times[side] for side in (OURS, STRAIGHTFORWARD)},
                batch,
                "excerpts a second",
                f"batches of {batch} excerpts, {needed / batch / 1e9:.1f} GFLOP an excerpt"
                f" ({plainly / batch / 1e9:.1f} straightforwardly)",
            )


def operations(settings: Params, name: str, lengths: Lengths, device: str) -> tuple[int, int]:
    """Of one step: ours, and the straightforward one."""
    module = material.module(settings, name, lengths, device)
    return (
        limits.operations(lambda: fit(module, [], 1, device)),
        limits.operations(straightforward_step(settings, name, lengths, device)),
    )


def turns(settings: Params, name: str, lengths: Lengths, plain: Side, options: Options) -> Times:
    """Ours, the straightforward way, drawing batches and products of matrices, in turns."""
    gc.collect()  # trainer and module hold each other, and all their memory
    module = material.module(settings, name, lengths, options.device).to(options.device)
    sides: dict[str, Side] = {
        STRAIGHTFORWARD: plain,
        DRAWING: lambda: draw(module, 1),
        **limits.products(options.device),
    }
    return ours(module, sides, options.turns(20 if options.device == "cuda" else 9), options.device)


def figures(times: Times, needed: int, device: str) -> list[Quantity]:
    """Speed-up, part of the limits, share of the batches."""
    on_gpu = device == "cuda"
    found = [harness.speed_up(times, at_least=5 if on_gpu else 2.5)]
    for side, product in limits.products(device).items():
        goal = 0.5 if not on_gpu and product.precision == "float32" else None
        found.append(harness.of_limit(times, needed / product.operations, goal, side))
    share = 0.02 if on_gpu else None
    return [
        *found,
        harness.ratio("drawing its batches, of a step", times, DRAWING, OURS, at_most=share),
    ]


def peak(settings: Params, name: str, lengths: Lengths) -> list[Quantity]:
    """GPU memory of training and of the pools it draws from."""
    gc.collect()
    module = material.module(settings, name, lengths, "cuda")
    torch.cuda.reset_peak_memory_stats()
    ours(module, {}, 1, "cuda")
    value = torch.cuda.max_memory_allocated() / 1e9
    return [Quantity("peak GPU memory", [value], "GB", at_most=12)]
