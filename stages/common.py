"""What all stages share: where files lie, and how a user's error is shown."""

import errno
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import wraps
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, NoReturn, ParamSpec

import typer

from pipeline.errors import Stopped, UserError, printable, shortages_named
from pipeline.files import claimed, write_text
from pipeline.parallel import machine

if TYPE_CHECKING:
    from pipeline.params import Dataset, Params

PARAMS = Path("params.yaml")
EXPERIMENTS = "experiments"
"""The folder at the top of the repository that holds an experiment in each of its folders."""
INVENTORY = Path("data/inventory")
READY = Path("data/ready")
SPLIT = Path("data/split.csv")
FEATURES = Path("data/features")
MODELS = Path("models")
WORK = Path("work")
INSPECTED = WORK / "inspected"
TIMINGS = WORK / "timings.json"
CHECKPOINTS = WORK / "checkpoints"
LOCKS = WORK / "locks"
TRACK_SCORES = Path("results/tracks")
RESULTS = Path("results")

P = ParamSpec("P")


def top() -> Path:
    """The top of the repository, whose recordings all experiments share; "." unless in one's folder.

    An experiment's stages run in experiments/<name>/, and all but recordings is its own.
    """
    above = Path("../..")
    within = Path.cwd().parent.name == EXPERIMENTS and (above / PARAMS).is_file()
    return above if within else Path()


def recordings_root(dataset: str, entry: "Dataset") -> Path:
    """The folder of a dataset's recordings.

    Embedded recordings have a place of their own, so that nobody takes them for the real ones; a
    user's copy is at the path in params.yaml or $DATA_ROOT/<collection>, by default
    data/raw/<collection>. All experiments share them: a relative DATA_ROOT and the default are the
    top's; a relative path is the experiment's, as params.yaml is.
    """
    if entry.origin == "synthetic":
        return top() / "data/synthetic" / dataset
    if entry.path:
        try:
            return Path(entry.path).expanduser()
        except RuntimeError:
            key = f"{PARAMS}: datasets.{dataset}.path"
            raise UserError(f"{key}: {entry.path}: no such user here; write the path out") from None
    return top() / (os.environ.get("DATA_ROOT") or "data/raw") / (entry.collection or dataset)


def inventory_path(dataset: str) -> Path:
    return INVENTORY / f"{dataset}.json"


def features_path(dataset: str) -> Path:
    return FEATURES / f"{dataset}.h5"


def features_elsewhere() -> list[Path]:
    """The feature files of the other experiments, the top's first."""
    folders = [top(), *sorted((top() / EXPERIMENTS).glob("*"))]
    here = os.path.realpath(Path())
    return [
        path
        for folder in folders
        if os.path.realpath(folder) != here
        for path in sorted((folder / FEATURES).glob("*.h5"))
    ]


def dataset_entry(params: "Params", dataset: str) -> "Dataset":
    """What params.yaml says about a dataset; UserError when it does not name it."""
    if dataset not in params.datasets:
        raise UserError(
            f"{PARAMS}: datasets: expected one of {', '.join(params.datasets)}, found {dataset!r}"
        )
    return params.datasets[dataset]


def known_model(params: "Params", name: str) -> None:
    """UserError when params.yaml has no such model."""
    if name not in params.models:
        raise UserError(
            f"{PARAMS}: models: expected one of {', '.join(params.models)}, found {name!r}"
        )


def claim(target: Path) -> AbstractContextManager[None]:
    """A block in which nobody else makes `target`; UserError, which says who, if somebody does.

    The first of several processes that train together claims it for all.
    """
    if os.environ.get("RANK", "0") != "0":
        return nullcontext()
    # the same in a container, where the checkout lies elsewhere
    place = os.path.relpath(os.path.realpath(target))
    digest = hashlib.md5(os.fsencode(place), usedforsecurity=False).hexdigest()[:8]
    lock = LOCKS / f"{target.name[:40]}-{digest}.lock"
    return claimed(target, lambda line: typer.secho(line, fg=typer.colors.YELLOW, err=True), lock)


def run(command: Callable[P, None]) -> NoReturn:
    """Run a stage's command line, in the arithmetic that params.yaml asks for.

    A UserError ends it with one line and status 1, and so does what the machine does not give:
    memory, room, files, threads.
    """
    sys.argv[1:] = plain(sys.argv[1:])
    machine.open_standard_streams()
    if "DVC_STAGE" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ:
        # DVC or torchrun has started this and would have to end it, if it still lived.
        machine.end_with_parent(signal.SIGTERM)

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        began = time.monotonic()
        try:
            with shortages_named():
                _obey_arithmetic()
                machine.require_resources()
                try:
                    command(*args, **kwargs)
                except OSError:
                    _flush()  # was it the output? What it did not take is still to be written
                    raise
            _note_time(command.__module__, sys.argv[1:], time.monotonic() - began)
            _flush()
        except UserError as error:
            typer.secho(f"error: {_said_here(error)}", fg=typer.colors.RED, err=True)
            raise typer.Exit(1) from None
        except Stopped as stopped:
            typer.secho(f"{stopped}", err=True)
            raise typer.Exit(128 + stopped.number) from None

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(guarded)
    sys.exit(app())


def _said_here(error: UserError) -> str:
    """The error's line, which says in which experiment's folder its files and commands are meant.

    But for `make`, which works at the top, where NAME names the experiment.
    """
    if top() == Path():
        return f"{error}"
    name = Path.cwd().name
    line = str(error).replace("`make look`", f"`make look NAME={quote(name)}`")
    return printable(f"{line} (in {EXPERIMENTS}/{name})")


def _obey_arithmetic() -> None:
    """Compute as `arithmetic` in params.yaml says; `params.load`, which needs NumPy, is too late."""
    from pipeline.text_files import read_yaml

    with suppress(UserError):  # the command says what is wrong with the file, if it needs it
        asked = read_yaml(PARAMS, "")
        if not isinstance(asked, dict) or asked.get("arithmetic") != "portable":
            return
        if not machine.compute_portably() and os.environ.get("RANK", "0") == "0":
            typer.secho(
                f"{PARAMS}: arithmetic: portable takes an x86-64 processor with AVX2 and FMA; the last"
                " digits of this one's results, and after training more, are its own",
                fg=typer.colors.YELLOW,
                err=True,
            )


def _flush() -> None:
    """Write out what was said, here rather than when Python ends, which would add a traceback."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:  # a reader may leave early
            raise UserError(f"standard output cannot be written: {error.strerror}") from error


def plain(arguments: list[str]) -> list[str]:
    """What a person would have typed: VA for `--model VA`, as dvc.yaml's `${item}` gives it."""
    if len(arguments) == 2 and arguments[0] in ("--dataset", "--model", "--row"):
        name = arguments[1]
        return ["--", name] if name.startswith("-") else [name]
    return arguments


def _note_time(module: str, arguments: list[str], seconds: float) -> None:
    """Keep how long a stage took last, for the report; of no consequence if it cannot be kept."""
    if os.environ.get("RANK", "0") != "0" or "TRAINING_PROGRESS" in os.environ:
        return  # one of several processes that train; one speaks for them
    if module == "__main__":
        module = Path(sys.argv[0]).stem
    name = " ".join([module.rpartition(".")[2], *arguments])
    from pipeline.text_files import remembered

    with suppress(OSError, UserError):
        known = remembered(TIMINGS, dict[str, float]) or {}
        write_text(TIMINGS, json.dumps(known | {name: round(seconds, 1)}, indent=1) + "\n")
