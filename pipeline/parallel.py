"""Per-track work on all cores, in order, in bounded memory, with a progress bar."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tqdm import tqdm

from pipeline.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


def processes() -> int:
    """How many worker processes to use: PIPELINE_PROCESSES, else the cores this process may use."""
    wanted = os.environ.get("PIPELINE_PROCESSES") or "0"
    if not wanted.isdecimal():
        raise UserError(f"PIPELINE_PROCESSES: expected a number of processes, found {wanted!r}")
    return int(wanted) or len(os.sched_getaffinity(0))


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    description: str,
    unit: str = "track",
) -> Iterator[Result]:
    """Yield function(item) for every item, in the order of `items`.

    `function` and the items must be picklable (a module-level function or a functools.partial of
    one). At most twice as many items as workers are under way or waiting to be consumed. Each worker
    computes on one thread, so a result does not depend on the number of workers. An exception in
    `function` is raised here, when its item's turn comes.
    """
    workers = min(processes(), len(items))
    progress = tqdm(total=len(items), desc=description, unit=unit, dynamic_ncols=True)
    with progress:
        if not items:
            return
        # spawn: a forked child of a process that runs torch's threads can deadlock.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=_single_thread) as pool:
            pending: deque[Future[Result]] = deque()
            remaining = iter(items)
            try:
                for item in remaining:
                    pending.append(pool.submit(function, item))
                    if len(pending) >= 2 * workers:
                        yield pending.popleft().result()
                        progress.update()
                while pending:
                    yield pending.popleft().result()
                    progress.update()
            except BrokenProcessPool as error:
                raise RuntimeError(
                    f"{description}: a worker process died (out of memory?) after {progress.n} of"
                    f" {len(items)} {unit}s; fewer workers need less memory: PIPELINE_PROCESSES=1"
                ) from error
            finally:
                # Waits for what is under way: workers that are left to end by themselves may meet the
                # end of the interpreter, which prints an error.
                pool.shutdown(cancel_futures=True)


def _single_thread() -> None:
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
