"""How soon a stage's command line answers: seconds of `--help`."""

import subprocess
import sys
from functools import partial

from benchmarks import harness, material
from benchmarks.harness import OURS, Options, Quantity, Result

NO_STAGES = ("__init__", "common")


def stages() -> list[str]:
    """The names of all stages."""
    found = (path.stem for path in (material.TOP / "stages").glob("*.py"))
    return sorted(name for name in found if name not in NO_STAGES)


def ours(stage: str) -> None:
    """`python -m stages.<stage> --help`."""
    _python("-m", f"stages.{stage}", "--help")


def limit() -> None:
    """Python itself."""
    _python("-c", "pass")


def _python(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, *arguments], cwd=material.TOP, check=True, stdout=subprocess.DEVNULL
    )


def results(options: Options) -> list[Result]:
    """Every stage beside the start of Python itself."""
    names = stages()[:2] if options.quick else stages()
    sides: dict[str, harness.Side] = {name: partial(ours, name) for name in names}
    times = harness.measure({**sides, "python": limit}, options.turns(7))
    quantities = [Quantity(f"{name} --help", times[name], "s", at_most=1) for name in names]
    start = Quantity("python, doing nothing", times["python"], "s")
    # which of them is ours is in the quantities: as rates these seconds say nothing
    slowest = max(quantities, key=lambda one: one.median)
    return [Result("start of a stage", [*quantities, start], {OURS: slowest.values})]
