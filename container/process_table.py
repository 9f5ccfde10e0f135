"""The processes that run in the container, and which of them has to be told to stop."""

import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from container.command import is_dvc, is_shell, waits_for_children


@dataclass(frozen=True)
class Process:
    """One process of /proc."""

    pid: int
    parent: int
    started: int
    """In ticks since the machine started: with the pid it names a process for good."""
    words: tuple[str, ...]

    @property
    def title(self) -> str:
        """Its command line, short and without the path of the program."""
        first, *rest = self.words or ("?",)
        return " ".join([Path(first).name, *rest])[:80]


def living(proc: Path = Path("/proc")) -> dict[int, Process]:
    """All processes that are visible but zombies, which only wait to be buried."""
    found = {}
    for folder in proc.iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            # the name in parentheses may hold anything
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except OSError:
            continue  # it has just ended
        if fields[0] not in "ZX":
            pid = int(folder.name)
            found[pid] = Process(pid, int(fields[1]), int(fields[19]), tuple(words))
    return found


def in_care(processes: Mapping[int, Process], keeper: int) -> dict[int, Process]:
    """The processes that end with `keeper`: its descendants, and all others if it is process 1.

    Process 1 of a container takes with it also those that `docker exec` started, which are no
    descendants. Elsewhere (`docker run --pid host`, a test) others are none of its business.
    """
    return {
        pid: process
        for pid, process in processes.items()
        if pid != keeper and (keeper == 1 or _descends(process, processes, keeper))
    }


def _descends(process: Process, processes: Mapping[int, Process], keeper: int) -> bool:
    seen = set()
    while process.pid not in seen:
        if process.parent == keeper:
            return True
        seen.add(process.pid)
        if process.parent not in processes:
            return False
        process = processes[process.parent]
    return False


class Stopping:
    """Tells processes to end, each once and in an order that lets every one finish its work.

    DVC dies of SIGTERM at once, while its stage goes on. So the stage is told first, and DVC, which
    then sees it fail, reports that and gives its locks back. The same for shells. One that still
    lives `patience` seconds after its last child is told itself, in the way it understands.
    """

    def __init__(self, patience: float = 1.0) -> None:
        self.patience = patience
        self._told: set[tuple[int, int]] = set()
        self._childless: dict[tuple[int, int], float] = {}

    def tell(self, processes: Mapping[int, Process], now: float) -> None:
        """Signal whoever is due; `now`: seconds of a clock that only runs forward."""
        parents = {process.parent for process in processes.values()}
        for process in processes.values():
            key = process.pid, process.started
            if not waits_for_children(process.words):
                if key not in self._told:
                    self._told.add(key)
                    send(process.pid, signal.SIGTERM)
            elif process.pid in parents:
                self._childless.pop(key, None)
            elif now - self._childless.setdefault(key, now) >= self.patience:
                # again after a while: DVC ignores it as long as it thinks that a stage runs
                del self._childless[key]
                send(process.pid, last_word(process))


def last_word(process: Process) -> signal.Signals:
    """What ends one that waits: DVC cleans up after SIGINT alone, a shell at a prompt ignores SIGTERM."""
    if is_dvc(process.words):
        return signal.SIGINT
    return signal.SIGHUP if is_shell(process.words) else signal.SIGTERM


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process, if it is still there and ours to signal."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def titles(processes: Iterable[Process]) -> str:
    """Command lines of those that do the work, for people."""
    names = [process.title for process in processes if not waits_for_children(process.words)]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
