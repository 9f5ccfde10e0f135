"""Per-track work on all cores or on a cluster, in order, in bounded memory, with a progress bar."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import NoReturn

from tqdm import tqdm

from pipeline.errors import UserError
from pipeline.parallel.workers import Item, LocalWorkers, Result, Task, WorkerDied, Workers

SCHEDULER = "DASK_SCHEDULER_ADDRESS"
DIED = (
    "its worker process died twice, the second time with no other beside it"
    " (out of memory, or a file that crashes its decoder)"
)
"""Why an item is lost."""


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    description: str,
    lost: Callable[[Item], Result] | None = None,
    unit: str = "track",
) -> Generator[Result, None, None]:
    """Yield function(item) for every item, in the order of `items`.

    The work is done by processes of this machine, or by the workers of the Dask scheduler that
    DASK_SCHEDULER_ADDRESS names (docs/cluster.md); the results are the same. `function` and the items
    must be picklable (a module-level function or a functools.partial of one). At most twice as many
    items as workers are under way or waiting to be consumed. Each worker computes on one thread, so
    a result does not depend on the number of workers. An exception in `function` is raised here,
    when its item's turn comes.

    An item whose worker dies is computed again with nothing beside it. When that worker dies too,
    the item is lost: `lost(item)` stands for its result, and the others are computed all the same.
    Without `lost` the first lost item raises UserError.
    """
    if not items:
        return

    def give_up(_: Item) -> NoReturn:
        which = f"{unit} {progress.n + 1} of {progress.total}"
        raise UserError(f"{description}: {which} is lost: {DIED}")

    with (
        closing(_workers(function, len(items))) as workers,
        tqdm(total=len(items), desc=description, unit=unit, dynamic_ncols=True) as progress,
    ):
        for result in _in_order(workers, items, lost or give_up):
            yield result
            progress.update()


def _workers(function: Callable[[Item], Result], items: int) -> Workers[Item, Result]:
    address = os.environ.get(SCHEDULER)
    if not address:
        return LocalWorkers(function, items)
    from pipeline.parallel.cluster import ClusterWorkers  # Dask takes a second to import

    return ClusterWorkers(function, address)


def _in_order(
    workers: Workers[Item, Result], items: Sequence[Item], lost: Callable[[Item], Result]
) -> Iterator[Result]:
    pending: deque[tuple[Item, Task]] = deque()
    remaining = iter(items)
    while True:
        for item in islice(remaining, max(0, workers.room() - len(pending))):
            pending.append((item, workers.submit(item)))
        if not pending:
            return
        item, task = pending.popleft()
        try:
            result = workers.result(task)
        except WorkerDied:
            # It may have been killed from outside, or memory was short beside the others.
            workers.settle([task for _, task in pending])
            try:
                result = workers.alone(item)
            except WorkerDied:
                result = lost(item)
        yield result
