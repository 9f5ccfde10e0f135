"""Stages that are stopped at random moments, and then run to their end like one that never was.

What a stage leaves must be what an uninterrupted run leaves, file by file, with nothing beside it,
and no process of a stopped run may live on. Files that differ between two uninterrupted runs (wall
times) are not compared, and are named.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.experiment import start_repository
from tests.helpers.places import TOP, fingerprints
from tests.helpers.waiting import until

MARK = "CAMPAIGN_RUN"
"""In the environment of everything that a run starts, by which its orphans are found."""
MOST_STOPS = 3
PATIENCE = 600.0
"""Seconds after which a stage that was run again is taken to hang."""


WALL_TIMES = "work/timings.json"
REPRO = "dvc repro"


@dataclass(frozen=True)
class Stage:
    """One command of dvc.yaml, or all of them, and what has to be gone for it to do all its work."""

    name: str
    arguments: tuple[str, ...]
    makes: tuple[str, ...]

    @property
    def title(self) -> str:
        return " ".join((self.name, *self.arguments))

    @property
    def command(self) -> list[str]:
        if self.name == REPRO:
            return [sys.executable, "-m", "dvc", "repro"]
        return [sys.executable, "-m", f"stages.{self.name}", *self.arguments]


def stages() -> tuple[Stage, ...]:
    """Every stage, `train` and `evaluate` without and with critics."""
    trained = [
        Stage("train", (name,), (f"models/{name}", f"work/checkpoints/{name}"))
        for name in ("baseline", "VA")
    ]
    scored = [
        Stage("evaluate", (name,), (f"results/tracks/{name}.csv", *sums, "work"))
        for name, sums in (("mixture", ()), ("VA", ("results/tracks/VA.sha256",)))
    ]
    inventory = ("data/inventory/DSD100.json", "data/ready/DSD100", "data/synthetic/DSD100")
    table = [f"results/{name}" for name in ("table.md", "table.csv", "metrics.json", "curves.csv")]
    return (
        Stage("download", ("DSD100",), (*inventory, "work")),
        Stage("split", (), ("data/split.csv",)),
        Stage("preprocess", ("DSD100",), ("data/features/DSD100.h5",)),
        *trained,
        *scored,
        Stage("compare", (), tuple(table)),
        Stage("report", (), ("results/report",)),
        Stage(REPRO, (), ("data", "models", "results", "work")),
    )


@dataclass
class Tally:
    """What became of the runs of one stage, or of the inputs of one reader."""

    title: str
    runs: int = 0
    stops: int = 0
    """Signals that found the run still going."""
    failures: list[str] = field(default_factory=list)


class Campaign:
    """Stops of the stages of a finished experiment, in copies of it."""

    def __init__(
        self, experiment: Path, scratch: Path, seed: int, say: Callable[[str], None]
    ) -> None:
        self.experiment, self.scratch, self.seed, self.say = experiment, scratch, seed, say
        self._expected: dict[str, tuple[dict[str, str], float]] = {}

    def stop(self, stage: Stage, number: int, tally: Tally) -> None:
        """Stop a run of `stage` up to three times, run it to its end, compare."""
        expected, seconds = self._uninterrupted(stage)
        chance = random.Random(f"{self.seed} {stage.title} {number}")
        folder = self._fresh(stage, f"{stage.name}-{number}")
        tally.runs += 1
        story = []
        for _ in range(chance.randint(1, MOST_STOPS)):
            moment = chance.uniform(0, seconds)
            number_of, whole = chance.choice(
                [(signal.SIGKILL, True), (signal.SIGKILL, False), (signal.SIGTERM, False),
                 (signal.SIGINT, False)]
            )  # fmt: skip
            who = "its group" if whole else "it alone"
            story.append(f"{number_of.name} to {who} after {moment:.2f} s")
            with _started(stage, folder) as run:
                time.sleep(moment)
                if run.poll() is None:
                    tally.stops += 1
                    (os.killpg if whole else os.kill)(run.pid, number_of)
                run.wait(PATIENCE)
                try:
                    until(lambda: not list(processes_of(folder)))
                except AssertionError:
                    story.append(f"still running: {list(processes_of(folder))}")
                    break
        if (wrong := self._finish(stage, folder, expected)) or "still" in story[-1]:
            tally.failures.append(f"{stage.title}, run {number} ({'; '.join(story)}): {wrong}")
            self.say(f"FAILED, kept in {folder}: {tally.failures[-1]}")
        else:
            shutil.rmtree(folder)

    def _finish(self, stage: Stage, folder: Path, expected: dict[str, str]) -> str:
        """Run to the end; what is wrong then, if anything."""
        with _started(stage, folder) as run:
            said = run.communicate(timeout=PATIENCE)[0]
        if run.returncode:
            return f"status {run.returncode}: {said.strip()[-300:]}"
        return difference(expected, left_in(folder))

    def _uninterrupted(self, stage: Stage) -> tuple[dict[str, str], float]:
        """What two uninterrupted runs both leave, and the seconds of the faster one."""
        if stage.title not in self._expected:
            found, times = [], []
            for turn in range(2):
                folder = self._fresh(stage, f"{stage.name}-whole-{turn}")
                began = time.monotonic()
                with _started(stage, folder) as run:
                    said = run.communicate()[0]
                times.append(time.monotonic() - began)
                if run.returncode:
                    raise RuntimeError(f"{stage.title} does not run at all: {said}")
                found.append(left_in(folder))
                shutil.rmtree(folder)
            first, second = found
            differing = {name for name in first if second.get(name) != first[name]} | {WALL_TIMES}
            if named := sorted(differing - {WALL_TIMES}):
                self.say(f"{stage.title}: two uninterrupted runs differ in {', '.join(named)}")
            self._expected[stage.title] = (
                {name: "" if name in differing else hashed for name, hashed in first.items()},
                min(times),
            )
        return self._expected[stage.title]

    def _fresh(self, stage: Stage, name: str) -> Path:
        """A copy of the experiment as it is before the stage has run."""
        folder = self.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.experiment, folder)
        if stage.name == REPRO:
            start_repository(folder)
        for made in stage.makes:
            path = folder / made
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return folder


def _started(stage: Stage, folder: Path) -> "subprocess.Popen[str]":
    """The stage in a group of its own."""
    return subprocess.Popen(
        stage.command,
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": str(TOP), MARK: str(folder), "OMP_NUM_THREADS": "1"}
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder.parent / "dvc-site")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(folder: Path) -> Iterator[int]:
    """Processes that were started for a folder, whoever their parent is now."""
    mark = f"{MARK}={folder}".encode()
    for place in Path("/proc").iterdir():
        try:
            if place.name.isdecimal() and mark in (place / "environ").read_bytes().split(b"\0"):
                yield int(place.name)
        except OSError:
            continue


def left_in(folder: Path) -> dict[str, str]:
    """What a run leaves, without DVC's own notes and compiled Python."""
    found = fingerprints(folder)
    return {
        name: hashed
        for name, hashed in found.items()
        if not name.startswith(".dvc/") and "__pycache__" not in name
    }


def difference(expected: dict[str, str], found: dict[str, str]) -> str:
    """How what was left differs from what was expected; an empty hash stands for any content."""
    missing = sorted(expected.keys() - found.keys())
    more = sorted(found.keys() - expected.keys())
    other = sorted(
        name for name, hashed in found.items() if expected.get(name) not in ("", None, hashed)
    )
    parts = [("missing", missing), ("left over", more), ("other content", other)]
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in parts if names)
