"""The parts of the pipeline that are measured, in the order of the table.

Each has what it measures as functions, `ours`, `straightforward` and `limit` as far as they apply,
and `results`, which measures them in turns.
"""

from collections.abc import Callable
from importlib import import_module

from benchmarks.harness import Options, Result

USUAL = (
    "preprocess", "batches", "training", "separation", "evaluation", "validation", "startup", "repro",
)  # fmt: skip
"""What `make bench` measures."""
ON_A_GPU = ("batches", "training", "separation", "evaluation", "validation")
"""What `make bench-gpu` measures, and projects the whole paper from."""
ALL = (*USUAL, "memory")
"""memory takes a quarter of an hour: it is measured when named."""


def find(name: str) -> Callable[[Options], list[Result]]:
    """The function that measures a part; imported late, since parts import much."""
    measure: Callable[[Options], list[Result]] = import_module(f"benchmarks.parts.{name}").results
    return measure
