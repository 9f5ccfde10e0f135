"""The parts of the pipeline that are measured, in the order of the table.

Each has what it measures as functions, `ours`, `straightforward` and `limit` as far as they apply,
and `results`, which measures them in turns.
"""

import multiprocessing
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module

from benchmarks.harness import Options, Result

USUAL = (
    "preprocess", "batches", "training", "separation", "evaluation", "clips", "validation", "startup",
    "repro", "integrity",
)  # fmt: skip
"""What `make bench` measures."""
ON_A_GPU = ("batches", "training", "separation", "evaluation", "validation")
"""What `make bench-gpu` measures, and projects the whole paper from."""
ALL = (*USUAL, "ways", "networks", "ablation", "memory")
"""The last four are measured when named: two need the features that a run of the experiment leaves, and
two take some ten minutes each."""


def find(name: str) -> Callable[[Options], list[Result]]:
    """The function that measures a part; imported late, since parts import much."""
    measure: Callable[[Options], list[Result]] = import_module(f"benchmarks.parts.{name}").results
    return measure


def measure(name: str, options: Options) -> list[Result]:
    """Measure a part in a process of its own: set up as its stage, and touched by no other part."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as alone:
        return alone.submit(_results, name, options).result()


def _results(name: str, options: Options) -> list[Result]:
    # of its own versions and of loaders that are not needed here
    warnings.filterwarnings("ignore", module="lightning")
    return find(name)(options)
