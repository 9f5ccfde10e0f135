"""What bfloat16 does to the gradients that training follows, beside what the draw of a batch does.

    python -m benchmarks.rounding VA

For a model that was trained here (`dvc repro`), with fresh and with trained weights: the gradient of
every network at the batches of some steps, in float32 and in bfloat16. Prints a Markdown table.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import typer
from safetensors.torch import load_model
from torch import Tensor, nn

from pipeline import params, roles
from pipeline.errors import UserError
from pipeline.separation.model_folder import WEIGHTS
from pipeline.training import run
from pipeline.training.module import AdversarialSeparation
from pipeline.training.step import critic_step, separator_losses
from stages import common


class Found(NamedTuple):
    """Of one network's gradient, relative to its length."""

    rounding: float
    """The difference between the precisions on the same batch."""
    together: float
    """The same of the mean over all batches: what does not cancel from batch to batch."""
    batch: float
    """The standard deviation over batches, in float32."""


def compare(exact: Tensor, rounded: Tensor) -> Found:
    """exact, rounded: the gradients of batches (batches, weights)."""
    lengths, mean = exact.norm(dim=1), exact.mean(dim=0)
    spread = (exact - mean).square().sum().div(len(exact) - 1).sqrt()
    return Found(
        float(((rounded - exact).norm(dim=1) / lengths).mean()),
        float((rounded.mean(dim=0) - mean).norm() / mean.norm()),
        float(spread / lengths.mean()),
    )


def gradients(module: AdversarialSeparation, step: int, precision: str) -> dict[str, Tensor]:
    """The gradient that each network is updated by at a step; no weight changes."""
    reduced = precision == "bfloat16"
    # as Lightning does it: a kept copy of a rounded weight would have no gradient
    with torch.autocast(module.device.type, torch.bfloat16, enabled=reduced, cache_enabled=False):
        state, settings = module.state, module.params.training
        numbers = {source: module.params.sources.index(source) for source in module.critics}
        drawn = module.batches.for_critics(step, numbers)
        critic_step(state, drawn, module.model, settings, module.agree)
        batch = module.batches.for_separator(step)
        loss = separator_losses(state, batch, module.model, settings, module.agree)["L"]
    found = {f"critic of {name}": gradient(one) for name, one in module.critics.items()}
    module.zero_grad()
    loss.backward()
    found["separator"] = gradient(module.separator)
    module.zero_grad()
    return found


def gradient(network: nn.Module) -> Tensor:
    """All of a network's gradient as one vector; what has none is left out."""
    return torch.cat([one.grad.flatten() for one in network.parameters() if one.grad is not None])


def table(module: AdversarialSeparation, state: str, batches: int) -> Iterator[str]:
    """A row for each network."""
    exact, rounded = (
        [gradients(module, step, precision) for step in range(batches)]
        for precision in run.PRECISIONS
    )
    for network in exact[0]:
        sides = [torch.stack([one[network] for one in many]) for many in (exact, rounded)]
        found = compare(*sides)
        yield f"| {state} | {network} | " + " | ".join(f"{value:.3f}" for value in found) + " |"


def main(
    model: str = typer.Argument(help="a model with critics that has been trained here"),
    batches: int = typer.Option(8, min=2, help="how many batches"),
) -> None:
    """Print the table."""
    settings = params.load(common.PARAMS)
    common.known_model(settings, model)
    seed = settings.seeds[0]
    split, cpu = roles.load_split(common.SPLIT), torch.device("cpu")
    module = run.prepare(settings, model, seed, split, common.FEATURES, cpu)
    typer.echo("| weights | network | rounding | of the mean | batch |\n|---|---|---:|---:|---:|")
    for row in table(module, "fresh", batches):
        typer.echo(row)
    folder = params.of_seed(common.MODELS / model, seed)
    load_model(module.separator, str(folder / WEIGHTS))
    for source, critic in module.critics.items():
        load_model(critic, str(folder / f"critic-{source}.safetensors"))
    for row in table(module, "trained", batches):
        typer.echo(row)


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
