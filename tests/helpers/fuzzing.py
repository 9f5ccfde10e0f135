"""Damaged files of ours against what reads them: each input ends in something usable or one line.

    python -m tests.helpers.fuzzing FOLDER TARGET SEED COUNT

runs COUNT inputs of a target in FOLDER, a copy of a finished experiment, with little memory and a time
limit for each, and prints a line for each that failed. An input is known by its seed and its number.
"""

import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from tests.helpers.damage import damaged
from tests.helpers.places import inside

SECONDS = 20
"""Of the processor for one input; the slowest takes two."""
MEMORY = 6 * 2**30
"""Of addresses: torch reserves four."""
LONGEST = 1000
"""Characters of an error line."""


@dataclass(frozen=True)
class Target:
    """A file of an experiment and what reads it."""

    file: str
    """From the top of the experiment."""
    kind: str
    """For `damage.damaged`."""
    use: Callable[[], object]
    """Reads the file as its stages do, and does with it what they do next as far as that is quick.
    The working directory is the experiment."""
    forgiving: bool = False
    """Whether the file only saves work: damage is no error then."""


def failure(target: Target, content: bytes) -> str | None:
    """What is wrong with the way that a damaged file is taken; None: nothing.

    The file is as before afterwards, and the working directory must be the experiment.
    """
    path = Path(target.file)
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        with limited(SECONDS):
            target.use()
    except UserError as error:
        said = str(error)
        if target.forgiving:
            return f"what can be made again is refused: {said[:300]}"
        if len(said.splitlines()) != 1 or "\x1b" in said or len(said) >= LONGEST:
            return f"no line of text: {said[:300]!r}"
        if path.name not in said:
            return f"does not name {path.name}: {said}"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]!r} in {place.filename}:{place.lineno}"
    finally:
        path.write_bytes(before)
    return None


def clear(path: Path) -> None:
    """Remove whatever `damage.put_instead` has put there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError when the block computes for longer, or waits for 20 times as long.

    For the main thread of a process.
    """

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    clocks = {signal.ITIMER_PROF: signal.SIGPROF, signal.ITIMER_REAL: signal.SIGALRM}
    before = {number: signal.signal(number, late) for number in clocks.values()}
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 20 * seconds)
    try:
        yield
    finally:
        for clock in clocks:
            signal.setitimer(clock, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def fuzz(name: str, seed: str, count: int) -> Iterator[str]:
    """A line for each of `count` inputs of a target that is taken wrongly."""
    target = targets()[name]
    content = Path(target.file).read_bytes()
    for number in range(count):
        wrong = failure(target, damaged(content, target.kind, f"{name} {seed} {number}"))
        if wrong:
            yield f"{name} {seed} {number}: {wrong}"


def targets() -> dict[str, Target]:
    """All targets by name."""
    from tests.helpers import fuzz_targets

    return fuzz_targets.TARGETS


def main(folder: str, name: str, seed: str, count: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    from tests.helpers.fuzz_targets import prepare

    copy = Path(folder)
    with inside(copy):
        prepare()
        for line in fuzz(name, seed, int(count)):
            print(line, flush=True)
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
