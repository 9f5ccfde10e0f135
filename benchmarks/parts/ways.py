"""One update of every row of the embedded experiment beside one of its baseline: what a way costs."""

from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks import harness
from benchmarks.harness import OURS, Options, Result, Side
from pipeline import params, roles
from pipeline.errors import UserError
from pipeline.training.run import prepare

TOP = Path(__file__).parents[2]
BASELINE = "baseline"


def results(options: Options) -> list[Result]:
    """Of the checkout's features, with one thread, as its `arithmetic: portable` computes."""
    torch.set_num_threads(1)
    return list(rows(TOP, options))


def rows(folder: Path, options: Options) -> Iterator[Result]:
    """All rows take turns, an update each. Raises UserError where `folder` has no features."""
    settings = params.load(folder / "params.yaml")
    sides = {name: update(folder, name) for name in settings.models}
    times = harness.measure(sides, options.turns(25), warm_up=2)
    for name, model in settings.models.items():
        own = {OURS: times[name], BASELINE: times[BASELINE]}
        yield Result(
            f"update, {name}",
            [harness.ratio("time, of the baseline's", own, OURS, BASELINE)],
            own,
            settings.training.batch_size,
            "supervised excerpts a second",
            model.way,
        )


def update(folder: Path, name: str) -> Side:
    """The critics' and the separator's update, as training makes them one after the other."""
    settings, features = params.load(folder / "params.yaml"), folder / "data/features"
    if not features.exists():
        raise UserError(f"{features}: no such folder; run `make repro`, which makes it")
    split = roles.load_split(folder / "data/split.csv")
    module = prepare(settings, name, settings.seeds[0], split, features, torch.device("cpu"))
    optimisers = module.configure_optimizers()
    module.optimizers = lambda: optimisers  # type: ignore[method-assign,assignment]

    def step() -> None:
        module.training_step(module.state.steps, 0)

    return step
