"""Train one model of params.yaml; a killed or stopped run continues from its last checkpoint.

With TRAINING_PROCESSES set, it starts itself that many times with torchrun (docs/several-gpus.md).
"""

import os
import sys

import typer

from stages import common


def train(
    model: str = typer.Argument(help="a name under models: in params.yaml"),
    device: str = typer.Option("auto", help="auto, cpu or cuda"),
    features_in: str = typer.Option(
        "auto", help="where training reads from: device, memory or disk; auto: where there is room"
    ),
) -> None:
    """Features and split -> models/<model>/."""
    from pipeline.parallel.allocator import keep_freed_memory

    keep_freed_memory()
    processes = os.environ.get("TRAINING_PROCESSES")
    if processes and "TORCHELASTIC_RUN_ID" not in os.environ:
        with common.claim(common.MODELS / model):
            pass  # where another is at work on it, torchrun would say so in pages
        with_torchrun(processes)
    from pipeline import params, roles
    from pipeline.training.run import train as train_model

    settings = params.load(common.PARAMS)
    common.known_model(settings, model)
    target = common.MODELS / model
    with common.claim(target):
        train_model(
            settings,
            model,
            roles.load_split(common.SPLIT),
            common.FEATURES,
            target,
            common.CHECKPOINTS / model,
            device,
            features_in,
            say=typer.echo,
        )


def with_torchrun(processes: str) -> None:
    """Become torchrun with this very command, in as many processes, or one for each GPU."""
    from pipeline.errors import UserError

    if processes != "gpu" and not (processes.isdecimal() and int(processes)):
        raise UserError(
            f"TRAINING_PROCESSES: expected a number of processes or gpu, found {processes!r}"
        )
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    os.execv(sys.executable, [sys.executable, "-m", *launcher, "-m", "stages.train", *sys.argv[1:]])


if __name__ == "__main__":
    common.run(train)
