"""What commonly goes wrong with a container: a line each, with what to do."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from container import gpu
from container.command import Command

SHARED = (
    ".dvc", ".dvc/tmp", ".dvc/tmp/lock", ".dvc/tmp/rwlock", ".dvc/cache", "data", "data/synthetic",
)  # fmt: skip
"""What every experiment writes, below the checkout."""
PLACES = (
    "data", "data/inventory", "data/ready", "data/features", "models", "results", "results/tracks",
    "work", "work/checkpoints", "work/inspected", "work/locks", "dvc.lock",
)  # fmt: skip
"""What an experiment writes, below its own folder: the checkout, or one of experiments/."""
MEGABYTE = 2**20
NCCL_MEMORY = 1024
"""Megabytes of /dev/shm that NVIDIA recommends for processes with a GPU each."""


@dataclass(frozen=True)
class Finding:
    """One line for people."""

    level: str
    """error: the command would fail or do something else; warning: it may; note: good to know."""
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {self.text}"


def error(text: str) -> Finding:
    return Finding("error", text)


def look(command: Command, checkout: Path, environ: Mapping[str, str]) -> list[Finding]:
    """All findings for a command.

    Errors are warnings for a command that is not the experiment's, a shell for instance: in there
    one may want to look at what is wrong.
    """
    found = [*temporary_folder(Path(environ.get("TMPDIR") or "/tmp"))]
    if command.dvc or command.stage or command.writes_with_dvc:
        found += folder(checkout, os.geteuid(), command.folders)
        if not command.stage:
            found += history(checkout)
    asked = gpu.asked_for(environ, command.words)
    gpus = gpu.look(environ) if asked else gpu.Gpus()
    found += [device(asked, gpus, gpu.packages_cuda() if asked else "")]
    found += shared_memory(Path("/dev/shm"), len(gpus.names))
    if command.ours:
        return found
    return [Finding("warning", each.text) if each.level == "error" else each for each in found]


def folder(checkout: Path, user: int, experiments: Sequence[str] = ("",)) -> Iterator[Finding]:
    """Whether there is a checkout, and whether this user may write what the experiments write.

    experiments: their folders, as `Command.folders`.
    """
    owner = checkout.stat()
    theirs = f"{owner.st_uid}:{owner.st_gid}"
    if not os.access(checkout, os.X_OK):
        yield error(
            f"{checkout}: belongs to uid {owner.st_uid}, and uid {user} may not look into it: add"
            f" --user {theirs}"
        )
        return
    if not (checkout / "dvc.yaml").exists():
        yield error(
            f'{checkout}: no checkout here (dvc.yaml is missing): add -v "$PWD":{checkout}, called in'
            " the repository's folder"
        )
        return
    if os.statvfs(checkout).f_flag & os.ST_RDONLY:
        yield error(f"{checkout}: mounted read-only: take :ro (or readonly) from the mount")
    elif not os.access(checkout, os.W_OK | os.X_OK):
        yield error(
            f"{checkout}: belongs to uid {owner.st_uid}, and uid {user} may not write there: add"
            f" --user {theirs}"
        )
    elif user == 0 and owner.st_uid != 0:
        yield Finding(
            "warning",
            f"runs as root, and {checkout} belongs to uid {owner.st_uid}: what it writes will be"
            f" root's: add --user {theirs}",
        )
    else:
        own = [str(Path(one, place)) for one in experiments for place in ("", *PLACES)]
        places = dict.fromkeys((*SHARED, *own))
        closed = [place for place in places if not writable(checkout / place)]
        if closed:
            whose = (checkout / closed[0]).stat().st_uid
            yield error(
                f"{', '.join(closed)}: of uid {whose}, left by a run as another user, and uid {user}"
                f" may not write there: on the host, sudo chown -R {theirs} ."
            )


def writable(path: Path) -> bool:
    """Whether a path can be written to, or does not exist."""
    # asked of os: pathlib raises below a folder that this user may not look into
    return not os.access(path, os.F_OK) or os.access(path, os.W_OK)


def history(checkout: Path) -> Iterator[Finding]:
    """Whether DVC finds the git repository that it needs."""
    git = checkout / ".git"
    if not os.access(checkout / "dvc.yaml", os.F_OK):
        return
    if not git.exists():
        yield error(
            f"{git}: missing, and DVC needs it: mount a clone, not an archive or a copy without it;"
            " single stages (python -m stages.train ...) run without"
        )
    elif git.is_file():
        target = Path(git.read_text(encoding="utf-8").removeprefix("gitdir:").strip())
        if not (checkout / target).exists():
            common = target.parent.parent if target.parent.name == "worktrees" else target
            yield error(
                f"{git}: leads to {target} (a worktree or submodule), which is not mounted: add"
                f" -v {common}:{common}"
            )


def temporary_folder(place: Path) -> Iterator[Finding]:
    """Whether temporary files can be written."""
    if not os.access(place, os.W_OK | os.X_OK):
        yield error(f"{place}: not writable, and temporary files go there: add --tmpfs {place}")


def device(asked: str, gpus: gpu.Gpus, needed: str) -> Finding:
    """What will compute; an error if a GPU was asked for and there is none.

    asked: how; gpus: the driver's answer; needed: the CUDA version of the packages.
    """
    if not asked:
        cores = len(os.sched_getaffinity(0))
        return Finding("note", f"no GPU asked for (--gpus all): on the CPU, {cores} cores")
    problem = gpus.problem or gpu.too_old(gpus, needed)
    if not problem and not gpus.names:
        problem = "the driver shows none: look at CUDA_VISIBLE_DEVICES and nvidia-smi on the host"
    if problem:
        return error(f"a GPU was asked for ({asked}), but {problem}")
    kinds = {name: gpus.names.count(name) for name in gpus.names}
    names = ", ".join(f"{count} x {name}" for name, count in kinds.items())
    return Finding(
        "note", f"on the GPU: {names}; the driver supports CUDA {gpu.version(gpus.cuda)}"
    )


def shared_memory(place: Path, gpus: int) -> Iterator[Finding]:
    """Whether processes with a GPU each have room to share memory; nothing else here shares any.

    gpus: how many are visible.
    """
    if gpus < 2:
        return
    total = shutil.disk_usage(place).total if os.access(place, os.W_OK) else 0
    if total < NCCL_MEMORY * MEGABYTE:
        yield Finding(
            "warning",
            f"{place}: {total // MEGABYTE} MB of shared memory, too little for training on"
            f" several GPUs together: add --shm-size 1g",
        )
