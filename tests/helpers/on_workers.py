"""Functions for worker processes: of this machine or of a cluster, imported there by name."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import UserError
from tests.helpers.waiting import until

if TYPE_CHECKING:
    from pipeline.features.extraction import Extracted
    from pipeline.features.preprocess import Work


def square_slowly(number: int) -> int:
    time.sleep(0.2 if number == 0 else 0.0)  # the first is done last
    return number * number


def fail_on_three(number: int) -> int:
    if number == 3:
        raise UserError("three.wav: truncated")
    return number


def missing_on_three(number: int) -> int:
    if number == 3:
        raise FileNotFoundError(2, "No such file or directory", "three.wav")
    return number


def die_on_three(number: int) -> int:
    if number == 3:
        os._exit(9)
    return number


def die_once_on_three(number: int, folder: Path) -> int:
    """As after a kill from outside."""
    if number == 3:
        mark = folder / "three"
        if not mark.exists():
            mark.touch()
            os._exit(9)
    return number


def stop_once_on_three(number: int, folder: Path) -> int:
    """As after `kill -STOP`, or when a shared folder does not answer."""
    if number == 3 and not (folder / "three").exists():
        (folder / "three").touch()
        os.kill(os.getpid(), signal.SIGSTOP)
    return number


def die_beside_others(number: int, folder: Path) -> int:
    """As when there is memory for one: 3 dies when it has company, and only then."""
    here = folder / str(number)
    here.touch()
    if number == 3 and not (folder / "died").exists():
        until(lambda: len(list(folder.iterdir())) > 1)
        (folder / "died").touch()
        here.unlink()
        os._exit(9)
    if number == 3:
        assert sorted(path.name for path in folder.iterdir()) == ["3", "died"]
    elif number > 3:
        until((folder / "died").exists)
    here.unlink()
    return number


def leave_a_mark(number: int, folder: Path) -> int:
    (folder / str(number)).touch()
    return number


def leave_a_mark_slowly(number: int, folder: Path) -> int:
    time.sleep(0.5)
    return leave_a_mark(number, folder)


def stay(mark: Path) -> None:
    """Be at work for longer than anybody waits."""
    mark.touch()
    time.sleep(600)


def say_who(number: int, folder: Path) -> int:
    """Leave the process id while at work."""
    mark = folder / f"{number}-{os.getpid()}"
    mark.touch()
    time.sleep(0.3)
    mark.unlink()
    return number


def product_of_matrices(seed: int) -> bytes:
    """The last bits of a matrix product depend on the number of threads."""
    random = np.random.default_rng(seed)
    return (random.standard_normal((300, 700)) @ random.standard_normal((700, 300))).tobytes()


def threads_of_torch(_: int) -> int:
    import torch

    return torch.get_num_threads()


def size(path: Path) -> int:
    """Of a file by its relative path."""
    return path.stat().st_size


def extract_but_one(work: "Work", **arguments: Any) -> "Extracted | UserError":
    """As preprocess, but the track that the file `poison` names ends its process every time."""
    from pipeline.features.preprocess import extract_original  # with torch, which takes seconds

    if work[0].track.id == Path("poison").read_text():
        os.kill(os.getpid(), signal.SIGKILL)
    return extract_original(work, **arguments)


def imported(module: str) -> bool:
    """Whether the worker has this module before anything asked for it."""
    return module in sys.modules


def variable(name: str) -> str | None:
    """An environment variable as the worker sees it."""
    return os.environ.get(name)
