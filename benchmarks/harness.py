"""Measure sides of the same work in turns; report ratios with their quartiles, never single times.

The sides take turns (ours, straightforward, limit, ours, ...), so that a machine that grows slower
does so for all of them, and every ratio is one of neighbours in time.
"""

import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

OURS, STRAIGHTFORWARD, LIMIT = "ours", "straightforward", "limit"

MEMORY_SETTINGS = ("THP_MEM_ALLOC_ENABLE",)
"""What `pipeline.parallel.allocator` leaves in the environment."""

Side = Callable[[], object]
Times = dict[str, list[float]]
"""Seconds of every turn, by side."""


@dataclass(frozen=True)
class Options:
    """What a run of the benchmarks was asked for."""

    device: str = "cpu"
    runs: int | None = None
    """Turns of each side; None: what the part thinks right."""
    quick: bool = False
    """Small sizes and few turns: to see that it works, not to measure."""
    batch: int | None = None
    """Excerpts of a training batch; None: the paper's on a GPU, fewer on a CPU."""

    def turns(self, usual: int) -> int:
        """How many turns, where the part would take `usual`."""
        return self.runs or (2 if self.quick else usual)


@dataclass(frozen=True)
class Quantity:
    """A figure with its target: the value of every turn."""

    name: str
    values: list[float]
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        return float(np.median(self.values))

    @property
    def reached(self) -> bool | None:
        """Whether the median is within the target; None where there is none."""
        if self.at_least is not None:
            return self.median >= self.at_least
        return self.median <= self.at_most if self.at_most is not None else None

    def as_json(self) -> dict[str, Any]:
        low, high = np.percentile(self.values, [25, 75])
        summary = {"median": self.median, "quartiles": [float(low), float(high)]}
        return asdict(self) | summary | {"reached": self.reached}


@dataclass(frozen=True)
class Result:
    """What one measurement found."""

    what: str
    quantities: list[Quantity]
    times: Times = field(default_factory=dict)
    work: float = 1.0
    """How much of `unit` a turn does: the rate of a side is work / seconds."""
    unit: str = ""
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        rates = {
            side: self.work / float(np.median(times)) for side, times in self.times.items() if times
        }
        return {
            "what": self.what, "note": self.note, "unit": self.unit, "rates": rates,
            "times": self.times, "quantities": [one.as_json() for one in self.quantities],
        }  # fmt: skip


def measure(sides: Mapping[str, Side], turns: int, device: str = "cpu", warm_up: int = 1) -> Times:
    """Seconds of every side in `turns` turns, after `warm_up` that do not count."""
    times: Times = {name: [] for name in sides}
    for turn in range(-warm_up, turns):
        gc.collect()  # now, and not while one of the sides is measured
        for name, side in sides.items():
            took = seconds(side, device)
            if turn >= 0:
                times[name].append(took)
    return times


def seconds(side: Side, device: str = "cpu") -> float:
    """Seconds of one call, on the GPU to the end of what it started there."""
    clock = Clock(device)
    side()
    return clock.read()


class Clock:
    """Seconds since it was started, with the GPU's work done at both ends."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.start()

    def start(self) -> None:
        self._wait()
        self.began = time.perf_counter()

    def read(self) -> float:
        self._wait()
        return time.perf_counter() - self.began

    def _wait(self) -> None:
        # calls return before the GPU has done what they ask
        if self.device == "cuda":
            torch.cuda.synchronize()


class Apart:
    """A side in a process of its own, for one whose process is set up in another way than ours.

    Ours keeps freed memory (`parallel.allocator`); the straightforward way has the system's
    defaults. Calling it runs the side there and waits for its end.
    """

    def __init__(self, build: Callable[..., Side], *arguments: Any) -> None:
        """build: a module-level function that makes the side, there, of what can be pickled."""
        # a forked child of a process that runs torch's threads can deadlock
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, build, arguments))
        with without_memory_settings():
            self._process.start()
        theirs.close()
        self._wait()  # built

    def __call__(self) -> None:
        """Raises RuntimeError when the process has ended."""
        self._ours.send(None)
        self._wait()

    def _wait(self) -> None:
        try:
            self._ours.recv()
        except EOFError:
            raise RuntimeError("the process of the straightforward way has ended") from None

    def close(self) -> None:
        """End the process: it waits for a call, and sees that none can come."""
        self._ours.close()
        self._process.join()


def _serve(pipe: Connection, build: Callable[..., Side], arguments: tuple[Any, ...]) -> None:
    side = build(*arguments)
    with suppress(EOFError):
        while True:
            pipe.send(None)
            pipe.recv()
            side()


@contextmanager
def without_memory_settings() -> Iterator[None]:
    """A process that is started meanwhile inherits nothing of what `parallel.allocator` has set."""
    kept = {name: os.environ.pop(name) for name in MEMORY_SETTINGS if name in os.environ}
    try:
        yield
    finally:
        os.environ |= kept


def ratio(
    name: str,
    times: Times,
    over: str,
    under: str,
    factor: float = 1.0,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Quantity:
    """factor * times[over] / times[under], turn by turn."""
    values = [
        factor * above / below for above, below in zip(times[over], times[under], strict=True)
    ]
    return Quantity(name, values, "", at_least, at_most)


def speed_up(times: Times, at_least: float | None = None) -> Quantity:
    """How many times faster than the straightforward way."""
    return ratio("speed-up", times, STRAIGHTFORWARD, OURS, at_least=at_least)


def of_limit(
    times: Times, factor: float = 1.0, at_least: float | None = None, side: str = LIMIT
) -> Quantity:
    """Which part of the machine's limit is reached, where the limit's work is done `factor` times."""
    return ratio(f"of the {side}", times, side, OURS, factor, at_least)


def per(
    name: str, times: Times, amount: float, unit: str, at_most: float | None = None
) -> Quantity:
    """Our seconds divided by an amount."""
    return Quantity(name, [took / amount for took in times[OURS]], unit, at_most=at_most)
