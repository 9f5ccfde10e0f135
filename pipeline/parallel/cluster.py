"""The workers of a Dask cluster: per-track work on other machines that share this one's folder.

Only descriptions of tracks and small results pass the scheduler; recordings and features stay in the
shared folder. docs/cluster.md says how to start one.
"""

import fcntl
import logging
import os
import pickle
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import NamedTemporaryFile, _TemporaryFileWrapper
from typing import Any, Generic, NoReturn

import dask
import distributed
from dask.utils import parse_timedelta
from distributed.client import ClosedClientError
from distributed.scheduler import KilledWorker, NoValidWorkerError
from distributed.versions import VersionMismatchWarning

from pipeline import rooms
from pipeline.errors import UserError
from pipeline.files import PARTIAL
from pipeline.parallel import machine
from pipeline.parallel.workers import Item, Result, Task, WorkerDied, single_thread

PACKAGES = (
    "av", "dask", "distributed", "h5py", "numpy", "scipy", "soundfile", "soxr", "torch",
)  # fmt: skip
"""Those that results, or their way here, depend on."""
PATIENCE = 60.0
"""Seconds without any worker after which a stage gives up, unless Dask's no-workers-timeout is set."""
LOOK = 1.0
"""Seconds between looks at whether there are workers."""
RESULT = 10.0
"""Seconds within which a small result has come from the worker that has it."""
TOKEN = "cluster-"
"""Begins the name of the file by which workers know the stage's folder."""


class ClusterWorkers(Generic[Item, Result]):
    """`Workers` of the scheduler at `address`.

    Raises UserError when the scheduler or its workers cannot be reached any more, or when a worker
    cannot give the same results as this machine (`run`).
    """

    def __init__(self, function: Callable[[Item], Result], address: str) -> None:
        self.function, self.address = function, address
        self.client = _connect(address)
        # Other machines find this very file if they share the folder. Without it they begin nothing.
        self.token = _token(Path.cwd())
        self.compute = _by_value(str(rooms.TOP), self.token.name, identity())
        self.under_way: list[Task] = []

    def room(self) -> int:
        return 2 * max(1, self._count())

    def submit(self, item: Item) -> Task:
        work = pickle.dumps((self.function, item))
        with self._connected():
            task = self.client.submit(self.compute, work, pure=False)
        self.under_way = [one for one in self.under_way if not one.done()] + [task]
        return task

    def result(self, task: Task) -> Result:
        while True:
            self.settle([task])
            if task.status == "error":
                return self._failed(task)
            # The result is still on its worker: if that is dead by now, the task is done again.
            with self._connected(), suppress(TimeoutError):
                unfit, result = task.result(timeout=RESULT)
                break
        if unfit:
            raise UserError(unfit)
        return result  # type: ignore[no-any-return]

    def settle(self, tasks: Sequence[Task]) -> None:
        seen = time.monotonic()
        while not all(task.done() for task in tasks):
            with self._connected(), suppress(TimeoutError):
                distributed.wait(list(tasks), timeout=LOOK)
            if self._count():
                seen = time.monotonic()
            elif time.monotonic() - seen > _patience():
                raise self._no_workers()

    def alone(self, item: Item) -> Result:
        return self.result(self.submit(item))

    def close(self) -> None:
        with suppress(FileNotFoundError):
            self.token.close()
        with suppress(UserError):
            self.settle(self.under_way)
        self.client.close()

    def _failed(self, task: Task) -> NoReturn:
        try:
            task.result()
        except KilledWorker:
            raise WorkerDied from None
        except NoValidWorkerError:
            raise self._no_workers() from None
        raise AssertionError(task)

    def _count(self) -> int:
        with self._connected():
            return len(self.client.nthreads())

    def _no_workers(self) -> UserError:
        return UserError(
            f"{_variable(self.address)}: the scheduler has had no worker for {_patience():.0f} s;"
            " start some (docs/cluster.md), or unset the variable to work on this machine alone"
        )

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """One line when the scheduler does not answer any more."""
        try:
            yield
        except (OSError, CancelledError, ClosedClientError) as error:
            raise UserError(
                f"{_variable(self.address)}: the connection to the scheduler is lost;"
                " when it runs again, start the stage again"
            ) from error


def _token(folder: Path) -> "_TemporaryFileWrapper[bytes]":
    """A new file, gone when it is closed; those that killed stages left go now."""
    for left in folder.glob(f"{TOKEN}*{PARTIAL}"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a living stage holds it
            if time.time() - left.stat().st_mtime > LOOK:  # one that begins just now will soon
                left.unlink()
    token = NamedTemporaryFile(dir=folder, prefix=TOKEN, suffix=PARTIAL)  # noqa: SIM115
    with suppress(OSError):  # a shared folder without locks: then nobody can take it for left
        fcntl.flock(token, fcntl.LOCK_EX)
    return token


def _connect(address: str) -> distributed.Client:
    """Raises UserError when there is no scheduler, or one that is not of this version."""
    # What matters of it comes as an error of one line; the scheduler and the workers keep their logs.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=VersionMismatchWarning)
    try:
        client = distributed.Client(address)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{_variable(address)}: no Dask scheduler can be reached there"
            f" ({str(error).splitlines()[0]}); start one (docs/cluster.md), or unset the variable to"
            " work on this machine alone"
        ) from None
    versions = client.get_versions()
    ours = versions["client"]["packages"]
    others = {"scheduler": versions["scheduler"], **versions["workers"]}
    for node, found in others.items():
        theirs = found["packages"]
        for name in ("python", "distributed"):
            if theirs[name] != ours[name]:
                client.close()
                raise UserError(
                    f"{_variable(address)}: {node} has {name} {theirs[name]}, this machine"
                    f" {ours[name]}; start it again from the same environment"
                )
    return client


def _variable(address: str) -> str:
    return f"DASK_SCHEDULER_ADDRESS={address}"


def _patience() -> float:
    wanted = dask.config.get("distributed.scheduler.no-workers-timeout", None)
    return float(parse_timedelta(wanted)) if wanted else PATIENCE


# ------------------------------------------------------------------------------------ on a worker


def _by_value(code: str, token: str, here: dict[str, str]) -> Callable[[bytes], tuple[str, Any]]:
    """`run` as a function that Dask sends with its code, since it cannot be imported by name.

    So neither the scheduler nor a worker needs to know where the pipeline is before it has work.
    """

    def compute(work: bytes) -> tuple[str, Any]:
        import sys

        if code not in sys.path:
            sys.path.insert(0, code)
        try:
            from pipeline.parallel import cluster
        except ImportError as error:
            from distributed import get_worker

            worker = get_worker().address
            return f"worker {worker}: cannot import the pipeline from {code} ({error})", None
        return cluster.run(work, token, here)

    return compute


def run(work: bytes, token: str, here: dict[str, str]) -> tuple[str, Any]:
    """Compute one item on a worker as the stage's machine would: (reason why not, result).

    work: pickled function and item; token: a file in the stage's folder; here: the stage's `identity`.
    """
    unfit = _unfit(Path(token), here)
    if unfit:
        return f"worker {distributed.get_worker().address}: {unfit}", None
    os.chdir(Path(token).parent)  # paths of the stage are relative
    single_thread()
    function, item = pickle.loads(work)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    return "", function(item)


def _unfit(token: Path, here: dict[str, str]) -> str:
    """Why this worker's results could be others, or none."""
    threads = distributed.get_worker().state.nthreads
    if threads > 1:
        return f"has {threads} threads, and features and models are open in one; start --nthreads 1"
    if not token.exists():
        return f"does not see the folder {token.parent}; share it under the same path (docs/cluster.md)"
    there = identity()
    for name, ours in here.items():
        if there[name] != ours:
            return f"has {name} {there[name]}, the stage {ours}; start it again with the same"
    return ""


@cache
def identity() -> dict[str, str]:
    """What decides the bits of a result beside its item: code, as it was imported, and libraries."""
    return {
        "pipeline code": rooms.digest(rooms.PACKAGE.rglob("*.py"))[:8],
        "arithmetic": machine.arithmetic(),
        "Python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
