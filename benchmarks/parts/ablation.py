"""What each optimisation of the training step gives: all of them, all but one, and one more."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam

from benchmarks import harness, material
from benchmarks.harness import OURS, Options, Result, Times
from benchmarks.parts import training
from pipeline.networks.pool_and_crop import crop
from pipeline.networks.separators import unet
from pipeline.parallel.allocator import keep_freed_memory
from pipeline.params import Params
from pipeline.training.module import AdversarialSeparation

MODELS = ("baseline", "VA")
EVERYTHING, MEMORY, BFLOAT16 = "everything", "freed memory is kept", "bfloat16"
CRITICS = "the critics' gradient as a network"
TOGETHER = "the critics' mixtures in one forward pass"


def pool_then_crop(x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """As PyTorch does it, with a gradient each."""
    return functional.max_pool2d(x, 2), crop(x, size)


def plain_pooling(module: AdversarialSeparation) -> None:
    """Take away `PoolAndCrop`."""
    vars(unet)["pool_and_crop"] = pool_then_crop


def penalty_by_autograd(module: AdversarialSeparation) -> None:
    """Take away `DCGANCritic.input_gradient`."""
    for critic in module.critics.values():
        vars(critic)["input_gradient"] = partial(input_gradient, critic)


def input_gradient(critic: nn.Module, excerpts: Tensor) -> Tensor:
    """As PyTorch finds it, with a backward of a backward to come."""
    excerpts = excerpts.requires_grad_()
    (gradient,) = torch.autograd.grad(critic(excerpts).sum(), excerpts, create_graph=True)
    return gradient


def contiguous(module: AdversarialSeparation) -> None:
    """Take away channels_last."""
    module.to(memory_format=torch.contiguous_format)


def plain_adam(module: AdversarialSeparation) -> None:
    """Take away fused Adam."""
    networks = [module.separator, *module.critics.values()]
    rate = module.params.training.learning_rate
    optimisers = [Adam(network.parameters(), lr=rate) for network in networks]
    module.configure_optimizers = lambda: optimisers  # type: ignore[method-assign]


REMOVALS: dict[str, Callable[[AdversarialSeparation], None]] = {
    "pooling and cropping as one operation": plain_pooling,
    CRITICS: penalty_by_autograd,
    "channels_last": contiguous,
    "fused Adam": plain_adam,
}


def compiled(module: AdversarialSeparation) -> None:
    """torch.compile for whatever it can take: the networks, and the critics' gradient."""
    module.separator.compile()
    for critic in module.critics.values():
        critic.compile()
        vars(critic)["input_gradient"] = torch.compile(vars(type(critic))["input_gradient"])


def mixtures_together(module: AdversarialSeparation) -> None:
    """Separate the mixtures of all N_disc updates of the critics at once."""
    separate: Callable[[Tensor], Tensor] = module.separator.forward
    count = module.params.training.critic_steps
    waiting: list[Tensor] = []

    def forward(mixture: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return separate(mixture)
        if not waiting:
            first = module.state.critic_updates
            drawn = [module.batches.mixture("critics", first + number) for number in range(count)]
            waiting.extend(separate(torch.cat(drawn)).chunk(count))
        return waiting.pop(0)

    vars(module.separator)["forward"] = forward


ADDITIONS: dict[str, Callable[[AdversarialSeparation], None]] = {
    "torch.compile": compiled,
    TOGETHER: mixtures_together,
}
VARIANTS = (EVERYTHING, MEMORY, *REMOVALS, BFLOAT16, *ADDITIONS)
WITH_CRITICS = (CRITICS, TOGETHER)
"""Variants that are none without critics."""


def step(
    settings: Params, name: str, lengths: training.Lengths, variant: str, device: str
) -> float:
    """Median seconds of a step in this process, which is set up for one variant."""
    if variant != MEMORY:
        keep_freed_memory()
    if variant == BFLOAT16:
        settings = material.in_precision(settings, BFLOAT16)
    module = material.module(settings, name, lengths, device)
    change = {**REMOVALS, **ADDITIONS}.get(variant)
    if change:
        change(module)
    steps = 20 if device == "cuda" else 6 if name == "baseline" else 2
    return float(np.median(training.ours(module, {}, steps, device)[OURS]))


def apart(work: Callable[[], float]) -> float:
    """Call it in a process of its own, which begins with the system's settings."""
    spawn = multiprocessing.get_context("spawn")
    with harness.without_memory_settings(), ProcessPoolExecutor(1, spawn) as alone:
        return alone.submit(work).result()


def results(options: Options) -> list[Result]:
    """With the batch of the training step on this device."""
    return [of_model(name, options) for name in MODELS]


def of_model(name: str, options: Options) -> Result:
    """Every variant in turns, each time in a new process."""
    settings = material.paper()
    usual = settings.training.batch_size if options.device == "cuda" else training.CPU_BATCH
    batch = options.batch or (2 if options.quick else usual)
    settings = material.with_batch(settings, batch, options.quick)
    every = training.TRACKS_ON_CPU * (4 if options.quick else 1)
    lengths = {role: seconds[::every] for role, seconds in material.paper_seconds().items()}
    critics = bool(settings.models[name].critics)
    variants = [variant for variant in VARIANTS if critics or variant not in WITH_CRITICS]
    times: Times = {variant: [] for variant in variants}
    for _ in range(options.turns(3)):
        for variant in variants:
            work = partial(step, settings, name, lengths, variant, options.device)
            times[variant].append(apart(work))
    figures = []
    for variant in variants[1:]:
        word = "with" if variant == BFLOAT16 or variant in ADDITIONS else "without"
        figures.append(harness.ratio(f"{word}: {variant}", times, variant, EVERYTHING))
    return Result(
        f"seconds of a training step beside the whole, {name}",
        figures,
        note=f"batches of {batch} excerpts; every step time is a median of one process's steps",
    )
