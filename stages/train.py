"""Train one model of params.yaml with each of its seeds; a killed or stopped run goes on.

The seeds run side by side where one leaves the machine idle: a process each. With TRAINING_PROCESSES
set, one run takes that many processes, with torchrun (docs/several-gpus.md).
"""

import os
import sys
from typing import TYPE_CHECKING

import typer

from pipeline.errors import UserError
from stages import common

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.params import Params


def train(
    model: str = typer.Argument(help="a name under models: in params.yaml"),
    seed: int | None = typer.Option(
        None,
        help="one of seeds: in params.yaml, trained even if it is there [default: all that are not]",
    ),
    device: str = typer.Option("auto", help="auto, cpu or cuda"),
    features_in: str = typer.Option(
        "auto", help="where training reads from: device, memory or disk; auto: where there is room"
    ),
    jobs: int = typer.Option(
        0,
        min=0,
        help="seeds at a time on each GPU [default: 1], or on the CPU [default: a core each]",
    ),
) -> None:
    """Features and split -> models/<model>/seed-<n>/. What is trained already is not trained again."""
    from pipeline import params, roles

    settings = params.load(common.PARAMS)
    common.known_model(settings, model)
    frame = roles.load_split(common.SPLIT)
    if seed is None and "TORCHELASTIC_RUN_ID" in os.environ:
        raise UserError("torchrun: its processes train one seed together; name it with --seed")
    if seed is None:
        all_seeds(settings, model, frame, device, features_in, jobs)
    elif seed not in settings.seeds:
        known = ", ".join(map(str, settings.seeds))
        raise UserError(f"{common.PARAMS}: seeds: expected one of {known}, found {seed}")
    else:
        one_seed(settings, model, seed, frame, device, features_in)


def all_seeds(
    settings: "Params", model: str, frame: "pd.DataFrame", device: str, features_in: str, jobs: int
) -> None:
    """Train the seeds that are not there yet, and leave nothing but the seeds in the model's folder."""
    from pipeline import files
    from pipeline.features.store import check_features
    from pipeline.params import of_seed
    from pipeline.roles import check_roles
    from pipeline.separation.model_folder import finished, read_config, save_level
    from pipeline.training.fingerprint import fingerprints
    from pipeline.training.side_by_side import SeedRuns, places

    check_roles(frame, needs_unlabelled=settings.models[model].needs_unlabelled)
    check_features(common.FEATURES, frame["dataset"].unique(), settings.sources, settings.signal)
    # one run that takes several processes has the machine to itself
    alone = "TRAINING_PROCESSES" in os.environ
    room = [None] if alone else places(device, jobs, len(settings.seeds))
    target = common.MODELS / model
    with common.claim(target):
        runs = fingerprints(settings, model, frame, common.FEATURES)
        missing = [seed for seed, run in runs.items() if not finished(of_seed(target, seed), run)]
        if kept := [seed for seed in settings.seeds if seed not in missing]:
            typer.echo(f"{model}: trained already with seed {', '.join(map(str, kept))}")
        for seed in kept:
            folder = of_seed(target, seed)
            if read_config(folder).applied_at != settings.level:
                from pipeline.training.run import level_learned

                save_level(folder, level_learned(settings, model, seed, frame, common.FEATURES))
        if missing:
            steps = settings.training.max_epochs * settings.training.steps_per_epoch
            command = [sys.executable, "-m", "stages.train"]
            options = [f"--device={device}", f"--features-in={features_in}", "--", model]
            SeedRuns(model, steps, room[: len(missing)]).seeds(
                {seed: [*command, f"--seed={seed}", *options] for seed in missing}
            )
        own = [of_seed(target, seed).name for seed in settings.seeds]
        for path in target.iterdir():
            if path.name not in own:
                files.remove(path)


def one_seed(
    settings: "Params", model: str, seed: int, frame: "pd.DataFrame", device: str, features_in: str
) -> None:
    """Train a model with one seed, in this process or in those of torchrun."""
    from pipeline.params import of_seed

    target = of_seed(common.MODELS / model, seed)
    processes = os.environ.get("TRAINING_PROCESSES")
    if processes and "TORCHELASTIC_RUN_ID" not in os.environ:
        with common.claim(target):
            pass  # where another is at work on it, torchrun would say so in pages
        with_torchrun(processes)
    from pipeline.parallel.allocator import keep_freed_memory

    keep_freed_memory()
    from pipeline.training.run import train as train_model

    with common.claim(target):
        train_model(
            settings,
            model,
            seed,
            frame,
            common.FEATURES,
            target,
            common.CHECKPOINTS / model / target.name,
            device,
            features_in,
            say=typer.echo,
        )


def with_torchrun(processes: str) -> None:
    """Become torchrun with this very command, in as many processes, or one for each GPU."""
    if processes != "gpu" and not (processes.isdecimal() and int(processes)):
        raise UserError(
            f"TRAINING_PROCESSES: expected a number of processes or gpu, found {processes!r}"
        )
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    os.execv(sys.executable, [sys.executable, "-m", *launcher, "-m", "stages.train", *sys.argv[1:]])


if __name__ == "__main__":
    common.run(train)
