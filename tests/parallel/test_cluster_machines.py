"""The stages on a cluster of several machines, one of which is lost in the middle.

Machines are network namespaces with addresses of their own, joined by a bridge; they share the disk,
as a cluster's machines share a folder. Needs root and `ip`.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers import clusters
from tests.helpers.places import TOP
from tests.helpers.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"
    ),
]
POISONED = """
import pipeline.features.preprocess
from stages import common, preprocess
from tests.helpers.on_workers import extract_but_one
if __name__ == "__main__":
    pipeline.features.preprocess.extract_original = extract_but_one
    common.run(preprocess.preprocess)
"""


class Machine:
    """A network namespace."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self.prefix = ("ip", "netns", "exec", name)
        self.cable = f"{name}-c"

    def processes(self) -> list[int]:
        return [int(pid) for pid in ip("netns", "pids", self.name).split()]

    def reads(self, ending: str) -> bool:
        """Whether one of its processes has a file open whose name ends so."""
        for pid in self.processes():
            for entry in Path(f"/proc/{pid}/fd").glob("*"):
                with suppress(OSError):
                    if str(entry.readlink()).endswith(ending):
                        return True
        return False

    def crash(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def machines() -> Iterator[list[Machine]]:
    """The scheduler's, two for workers, and the one that the stage is started on."""
    prefix = f"t{os.getpid() % 100_000}"
    switch, *others = [Machine(f"{prefix}{n}", f"10.77.0.{n}") for n in range(1, 5)]
    with ExitStack() as stack:
        for machine in (switch, *others):
            ip("netns", "add", machine.name)
            stack.callback(ip, "netns", "delete", machine.name)
            ip("-n", machine.name, "link", "set", "lo", "up")
        ip("-n", switch.name, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch.name, "address", "add", f"{switch.address}/24", "dev", "bridge")
        ip("-n", switch.name, "link", "set", "bridge", "up")
        for machine in others:
            ip("link", "add", "wire", "netns", machine.name, "type", "veth",
               "peer", "name", machine.cable, "netns", switch.name)  # fmt: skip
            ip("-n", switch.name, "link", "set", machine.cable, "master", "bridge", "up")
            ip("-n", machine.name, "address", "add", f"{machine.address}/24", "dev", "wire")
            ip("-n", machine.name, "link", "set", "wire", "up")
        yield [switch, *others]


@pytest.fixture
def address(machines: list[Machine], tmp_path: Path) -> Iterator[str]:
    """Of a scheduler with Dask's own patience for tasks, but little for machines that are silent."""
    with clusters.scheduler(
        tmp_path, machines[0].prefix, machines[0].address,
        DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="8s",
    ) as found:  # fmt: skip
        yield found


@pytest.fixture
def unfinished(experiment: Path, copied: Path) -> Path:
    """The experiment without the files that the tests compute."""
    (copied / "data/synthetic").symlink_to(experiment / "data/synthetic")
    (copied / "data/features/DSD100.h5").unlink()
    (copied / "results/tracks/V.csv").unlink()
    return copied


def stage(
    command: Sequence[str], folder: Path, machine: Machine, address: str
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*machine.prefix, sys.executable, *command],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=clusters.clean_environment(PYTHONPATH=str(TOP), DASK_SCHEDULER_ADDRESS=address),
    )  # fmt: skip


def crash(machine: Machine, _: Machine) -> None:
    machine.crash()


def cut_off(machine: Machine, switch: Machine) -> None:
    """Nothing says that it is gone; later it is there again, but its worker has given up."""
    ip("-n", switch.name, "link", "set", machine.cable, "down")


@pytest.mark.parametrize("lose", [crash, cut_off])
def test_a_machine_is_lost_in_the_middle(
    machines: list[Machine],
    address: str,
    unfinished: Path,
    experiment: Path,
    tmp_path: Path,
    lose: Callable[[Machine, Machine], None],
) -> None:
    switch, first, second, here = machines
    for arguments, ending, result in (
        (["-m", "stages.preprocess", "DSD100"], ".wav", "data/features/DSD100.h5"),
        (["-m", "stages.evaluate", "V"], ".h5", "results/tracks/V.csv"),
    ):
        ip("-n", switch.name, "link", "set", second.cable, "up")
        with ExitStack() as stack:
            for machine in (first, second):
                options = ("--nthreads", "1", "--host", machine.address)
                there = clusters.workers(tmp_path, address, *options, prefix=machine.prefix)
                stack.enter_context(there)
            until(lambda: len(second.processes()) > 1)
            running = stage(arguments, unfinished, here, address)
            until(partial(second.reads, ending), running, pause=0)
            lose(second, switch)
            said = running.communicate(timeout=120)
            assert running.returncode == 0, said
            assert "distributed" not in said[1]
            second.crash()
        assert (unfinished / result).read_bytes() == (experiment / result).read_bytes()


@pytest.mark.parametrize("where", ["here", "cluster"])
def test_a_track_that_ends_its_worker_every_time(
    machines: list[Machine],
    address: str,
    unfinished: Path,
    experiment: Path,
    tmp_path: Path,
    where: str,
) -> None:
    _, first, second, here = machines
    program = tmp_path / "poisoned.py"
    program.write_text(POISONED)
    poison = (
        pd.read_csv(unfinished / "data/split.csv").query("dataset == 'DSD100'")["track"].iloc[2]
    )
    (unfinished / "poison").write_text(poison)
    features = unfinished / "data/features/DSD100.h5"
    with ExitStack() as stack:
        for machine in (first, second) if where == "cluster" else ():
            options = ("--nthreads", "1", "--host", machine.address)
            stack.enter_context(
                clusters.workers(tmp_path, address, *options, prefix=machine.prefix)
            )
        scheduler = address if where == "cluster" else ""
        running = stage([str(program), "DSD100"], unfinished, here, scheduler)
        _, said = running.communicate(timeout=120)
        assert running.returncode == 1
        line = said.splitlines()[-1]
        assert f"1 of 8 tracks are lost: {poison}: its worker process died twice" in line
        assert "distributed" not in said
        assert not features.exists()
        again = stage(["-m", "stages.preprocess", "DSD100"], unfinished, here, scheduler)
        said, _ = again.communicate(timeout=120)
    assert said == "DSD100: 1 recordings read, the features of 7 others kept\n"
    assert features.read_bytes() == (experiment / "data/features/DSD100.h5").read_bytes()
