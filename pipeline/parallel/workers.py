"""Worker processes of this machine: one item at a time each, and a death that concerns one item."""

import atexit
import errno
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, util
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from tqdm import tqdm

from pipeline.errors import UserError
from pipeline.parallel.allocator import keep_freed_memory

START: Final = "forkserver"
"""Not fork: a forked child of a process that runs torch's threads can deadlock."""
SOCKETS = "PIPELINE_SOCKETS"
"""Tells the fork server who started it, and the folder of its socket, which that one would delete."""
PATIENCE = 60.0
"""Seconds without an answer after which is looked at whether the workers compute at all."""
IDLE = 0.1
"""Seconds of computing in that time below which a worker has done nothing but wait."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)
Task = Any
"""A task of `LocalWorkers`, or a future of Dask."""


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

    Items and results are small: they go through a pipe to each worker and back. Nothing here needs
    a thread or shared memory, and a worker's end is the end of its pipe, so nobody waits for a dead
    one.
    """

    def __init__(self, function: Callable[[Item], Result], items: int) -> None:
        """items: how many there will be; more processes than that are of no use."""
        self.function = function
        self.slots: list[_Slot[Item, Result]] = [
            _Slot(function) for _ in range(min(worker_count(), items))
        ]

    def room(self) -> int:
        return 2 * len(self.slots)

    def submit(self, item: Item) -> "_Task[Item, Result]":
        _receive(self.slots, 0)
        return min(self.slots, key=lambda slot: len(slot.tasks)).submit(item)

    def result(self, task: "_Task[Item, Result]") -> Result:
        self.settle([task])
        return task.result()

    def settle(self, tasks: "Sequence[_Task[Item, Result]]") -> None:
        while not all(task.done for task in tasks):
            _receive(self.slots)

    def alone(self, item: Item) -> Result:
        with closing(_Slot(self.function)) as slot:
            task = slot.submit(item)
            while not task.done:
                _receive([slot])
            return task.result()

    def close(self) -> None:
        for slot in self.slots:
            slot.close()


@dataclass
class _Task(Generic[Item, Result]):
    """An item and, once it is done, what came out."""

    item: Item
    done: bool = False
    value: Result | None = None
    error: BaseException | None = None

    def result(self) -> Result:
        if self.error is not None:
            raise self.error
        return cast(Result, self.value)


class _Slot(Generic[Item, Result]):
    """One worker process, started when it is first needed and again after its death."""

    def __init__(self, function: Callable[[Item], Result]) -> None:
        self.function = function
        self.tasks: deque[_Task[Item, Result]] = deque()
        """What the worker has been given: the first is under way, the others wait in the pipe."""
        self.process: ForkServerProcess | None = None
        self.pipe: Connection | None = None
        self.computed = 0.0
        """Seconds that the process had computed when it was last looked at."""
        self.idle = ""
        """The state in which it was said to do nothing."""

    def submit(self, item: Item) -> _Task[Item, Result]:
        task = _Task[Item, Result](item)
        self.tasks.append(task)
        self._send(item)
        return task

    def receive(self) -> None:
        """Take the answer to the first task, which has come; none comes from a dead worker."""
        assert self.pipe
        try:
            computed, answer = self.pipe.recv()
        except (EOFError, OSError):
            self.close()
            task = self.tasks.popleft()
            task.error, task.done = WorkerDied(), True
            for waiting in self.tasks:
                self._send(waiting.item)
            return
        task = self.tasks.popleft()
        task.value, task.error = (answer, None) if computed else (None, answer)
        task.done = True

    def _send(self, item: Item) -> None:
        if self.pipe is None:
            self.process, self.pipe = _start(self.function)
            self.computed, self.idle = 0.0, ""
        with suppress(ConnectionError):  # it is dead: `receive` will find that out
            self.pipe.send(item)

    def look(self) -> None:
        """Say so when the process has not computed since the last look; it may still go on.

        A signal may have stopped it, or it waits for a disk or a shared folder.
        """
        import psutil

        assert self.process
        with suppress(psutil.Error):  # it has just ended
            process = psutil.Process(self.process.pid)
            before, self.computed = self.computed, sum(process.cpu_times()[:2])
            state = process.status() if self.computed - before < IDLE else ""
            if state and state != self.idle:
                tqdm.write(
                    f"warning: worker process {process.pid} has not computed for {PATIENCE:.0f} s"
                    f" (its state: {state}); `kill -CONT {process.pid}` lets a stopped one go on,"
                    f" after `kill -KILL {process.pid}` another does its work",
                    file=sys.stderr,
                )
            self.idle = state

    def close(self) -> None:
        """End the process at once, whatever it does: nothing that it would still give is wanted."""
        if self.process and self.pipe:
            self.pipe.close()
            self.process.kill()
            self.process.join()
            self.process.close()
        self.process = self.pipe = None


def _receive(slots: "Sequence[_Slot[Item, Result]]", timeout: float | None = None) -> None:
    """Take the answers that have come; without a timeout (s), wait for the first."""
    busy = {slot.pipe: slot for slot in slots if slot.pipe and slot.tasks}
    while not (ready := wait(list(busy), PATIENCE if timeout is None else timeout)):
        if timeout is not None:
            return
        for slot in busy.values():
            slot.look()
    for pipe in ready:
        busy[cast(Connection, pipe)].receive()


def import_ahead(module: str) -> None:
    """Start to import `module` for the workers to come, in the background.

    Workers are forked from one process that has no threads and does nothing but import (multiprocessing's
    fork server), so they have what it has. Without this call each imports for itself.
    """
    # Threads would not survive the fork, and workers compute on one.
    before = dict(os.environ)
    os.environ.update(
        dict.fromkeys(THREADS, "1") | {SOCKETS: f"{os.getpid()} {util.get_temp_dir()}"}
    )
    try:
        multiprocessing.get_context(START).set_forkserver_preload([__name__, module])
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _start(function: Callable[[Any], Any]) -> "tuple[ForkServerProcess, Connection]":
    """A new worker process and the pipe to it."""
    context = multiprocessing.get_context(START)
    ours, theirs = context.Pipe()
    with theirs:
        arguments = (theirs, function, dict(os.environ), util.get_temp_dir())
        process = context.Process(target=_serve, args=arguments, daemon=True)
        try:
            process.start()
        except EOFError:  # the fork server has ended instead
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
    return process, ours


def _serve(
    pipe: Connection, function: Callable[[Any], Any], environment: dict[str, str], sockets: str
) -> None:
    """What a worker does: one item after the other, until it is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; who started this one ends it
    ready = False
    with suppress(EOFError, ConnectionError):  # nobody waits for an answer any more
        while True:
            item = pipe.recv()
            try:
                if not ready:
                    threading.Thread(target=_end_with_parent, args=[sockets], daemon=True).start()
                    _set_up(environment)
                    ready = True
                pipe.send((True, function(item)))
            except Exception as error:
                pipe.send((False, _portable(error)))
    _tidy_up_after_parent(sockets)


def _portable(error: Exception) -> Exception:
    """An exception as another process can have it, with the traceback of this one as its note."""
    if isinstance(error, UserError):
        return error
    text = "".join(traceback.format_exception(error))
    error.add_note(text)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}\n{text}")
    return error


def _end_with_parent(sockets: str) -> None:
    """End this process as soon as the one that it works for has ended, also by SIGKILL."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    _tidy_up_after_parent(sockets)
    os._exit(1)


def _tidy_up_after_parent(sockets: str) -> None:
    """Delete the folder in which a killed process had the socket of its fork server."""
    parent = multiprocessing.parent_process()
    if parent and not parent.is_alive():
        shutil.rmtree(sockets, ignore_errors=True)


def _end_server(parent: int, sockets: str) -> None:
    """The same at the end of a fork server, whose parent may have been killed before any worker began."""
    if os.getppid() != parent:
        shutil.rmtree(sockets, ignore_errors=True)


if SOCKETS in os.environ:  # this is the fork server, which imports this module first
    _parent, _sockets = os.environ.pop(SOCKETS).split(" ", 1)
    atexit.register(_end_server, int(_parent), _sockets)


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
