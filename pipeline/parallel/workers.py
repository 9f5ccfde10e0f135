"""Worker processes of this machine: one item at a time each, and a death that concerns one item."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import forkserver
from typing import Any, Generic, Protocol, TypeVar

from pipeline.errors import UserError
from pipeline.parallel.allocator import keep_freed_memory

START = "forkserver"
"""Not fork: a forked child of a process that runs torch's threads can deadlock."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)
Task = Any
"""A future, of `concurrent.futures` or of Dask."""


class WorkerDied(Exception):
    """The process that was to compute an item ended before the item was done."""


class Workers(Protocol[Item_contra, Result_co]):
    """Processes that apply one function to items: those of this machine, or of a cluster."""

    def room(self) -> int:
        """How many items may be under way or wait to be taken, now."""

    def submit(self, item: Item_contra) -> Task:
        """Have an item computed."""

    def result(self, task: Task) -> Result_co:
        """Wait for a task. Raises what the function raised, or WorkerDied."""

    def settle(self, tasks: Sequence[Task]) -> None:
        """Wait until none of the tasks is under way, whatever came out."""

    def alone(self, item: Item_contra) -> Result_co:
        """Compute an item while nothing else is under way. Raises as `result`."""

    def close(self) -> None:
        """Begin nothing more; return when nothing is under way."""


def worker_count() -> int:
    """How many worker processes to use: PIPELINE_PROCESSES, else the cores this process may use."""
    wanted = os.environ.get("PIPELINE_PROCESSES") or "0"
    if not wanted.isdecimal():
        raise UserError(f"PIPELINE_PROCESSES: expected a number of processes, found {wanted!r}")
    return int(wanted) or len(os.sched_getaffinity(0))


class LocalWorkers(Generic[Item, Result]):
    """`Workers` of this machine.

    Every process is a pool of its own: when one dies, a pool fails all that was handed to it, and
    here that is one item under way and one that waits behind it.
    """

    def __init__(self, function: Callable[[Item], Result], items: int) -> None:
        """items: how many there will be; more processes than that are of no use."""
        self.function = function
        self.slots = [_Slot(function) for _ in range(min(worker_count(), items))]

    def room(self) -> int:
        return 2 * len(self.slots)

    def submit(self, item: Item) -> "Future[Result]":
        return min(self.slots, key=_Slot.load).submit(item)

    def result(self, task: "Future[Result]") -> Result:
        try:
            return task.result()
        except BrokenProcessPool:
            raise WorkerDied from None

    def settle(self, tasks: "Sequence[Future[Result]]") -> None:
        wait(tasks)

    def alone(self, item: Item) -> Result:
        with closing(_Slot(self.function)) as slot:
            return self.result(slot.submit(item))

    def close(self) -> None:
        # Waits for what is under way: workers that are left to end by themselves may meet the
        # end of the interpreter, which prints an error.
        for slot in self.slots:
            slot.close()


class _Slot(Generic[Item, Result]):
    """One worker process, replaced after its death."""

    def __init__(self, function: Callable[[Item], Result]) -> None:
        self.function = function
        self.pool = _one_process()
        self.tasks: list[Future[Result]] = []

    def load(self) -> int:
        """Tasks that are not done."""
        self.tasks = [task for task in self.tasks if not task.done()]
        return len(self.tasks)

    def submit(self, item: Item) -> "Future[Result]":
        try:
            task = self.pool.submit(self.function, item)
        except BrokenProcessPool:
            self.pool.shutdown()
            self.pool = _one_process()
            task = self.pool.submit(self.function, item)
        self.tasks.append(task)
        return task

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)


def import_ahead(module: str) -> None:
    """Start to import `module` for the workers to come, in the background.

    Workers are forked from one process that has no threads and does nothing but import (multiprocessing's
    fork server), so they have what it has. Without this call each imports for itself.
    """
    # Threads would not survive the fork, and workers compute on one.
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        multiprocessing.get_context(START).set_forkserver_preload([module])
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _one_process() -> ProcessPoolExecutor:
    context = multiprocessing.get_context(START)
    return ProcessPoolExecutor(1, context, initializer=_set_up, initargs=(dict(os.environ),))


def _set_up(environment: dict[str, str]) -> None:
    """The fork server has the environment of its own start: take that of the process which asks."""
    os.environ.clear()
    os.environ.update(environment)
    keep_freed_memory()
    single_thread()


def single_thread() -> None:
    """Compute on one thread from now on: the last bits of a result depend on their number."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    os.environ.update(dict.fromkeys(THREADS, "1"))
