"""The validation pass: excerpts a second, beside the forward pass of a training step."""

import lightning
import torch
from torch import Tensor

from benchmarks import harness, material
from benchmarks.harness import OURS, STRAIGHTFORWARD, Options, Result
from benchmarks.parts.training import CPU_BATCH
from pipeline.parallel.allocator import keep_freed_memory
from pipeline.tracks import Role
from pipeline.training.module import AdversarialSeparation
from pipeline.training.run import loader, quiet

NAME = "validation pass"


def ours(
    trainer: lightning.Trainer, module: AdversarialSeparation, batches: list[tuple[Tensor, ...]]
) -> None:
    """The trainer's pass over these excerpts, given by their first frames and weights."""
    trainer.validate(module, loader(batches), verbose=False)


def straightforward(module: AdversarialSeparation, mixture: Tensor, number: int) -> None:
    """The separator's part of `number` training steps: the mixture forward, nothing else."""
    for _ in range(number):
        module.separator(mixture)


def results(options: Options) -> list[Result]:
    """Batches of the training step's size."""
    keep_freed_memory()  # as the training stage does
    on_gpu = options.device == "cuda"
    settings = material.paper()
    batch = options.batch or (settings.training.batch_size if on_gpu else CPU_BATCH)
    # the paper's pass has thousands of excerpts: the trainer's own beginning and end hardly count
    number = 2 if options.quick else 100 if on_gpu else 48
    excerpt = settings.training.excerpt * settings.signal.hop_size / settings.signal.sample_rate
    lengths = {role: [60.0] for role in Role}
    lengths[Role.VALIDATION] = [number * batch * excerpt]
    module = material.module(
        material.with_batch(settings, batch, options.quick), "baseline", lengths, options.device
    )
    quiet()
    trainer = lightning.Trainer(
        accelerator="gpu" if on_gpu else "cpu", devices=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    own = (one[: number * batch] for one in module.validation.tiles())
    excerpts = list(zip(*(torch.split(one, batch) for one in own), strict=True))
    mixture, _ = module.batches.paired(0)

    def forward() -> None:
        module.to(options.device)  # the trainer leaves it on the CPU
        module.train()
        straightforward(module, mixture, number)

    times = harness.measure(
        {OURS: lambda: ours(trainer, module, excerpts), STRAIGHTFORWARD: forward},
        options.turns(7),
        options.device,
    )
    return [
        Result(
            NAME,
            [
                harness.ratio(
                    "speed beside a step's forward", times, STRAIGHTFORWARD, OURS, at_least=1
                )
            ],
            times,
            number * batch,
            "excerpts a second",
            f"{number} batches of {batch} excerpts; straightforward is the separator's forward pass in"
            " training, with what backward needs, on a batch that is there",
        )
    ]
