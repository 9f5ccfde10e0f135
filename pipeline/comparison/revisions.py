"""Two states of the repository: what git has of them, and what DVC says of their difference."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from pipeline.errors import UserError

ABSENT = ("deleted", "not in cache")
"""What `dvc status` says of a file that a clone does not have: no sign of a change."""

DECIDING = ("pipeline", "stages", "params.yaml", "dvc.yaml")
"""The files that decide results, from the top of the repository; results are new in every run."""


NAME_OF_EXPERIMENT = "[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
OF_EXPERIMENT = ("params.yaml", "dvc.lock", "data/split.csv", "results/*.*", "results/tracks/*.csv")

SAFE = "safe.directory"
FOREIGN = "git does not read this checkout, which belongs to another user"
DEEPEN = "git fetch --unshallow --tags origin '+refs/heads/*:refs/remotes/origin/*'"
"""Brings all branches: a shallow clone was made with one of them."""


class Change(NamedTuple):
    """A value in the old and in the new revision; None where it is not there."""

    old: Any
    new: Any


def top() -> Path:
    """The repository around the working directory. UserError when there is none or no DVC in it."""
    folder = Path.cwd()
    try:
        found = _run(["git", "rev-parse", "--show-toplevel"], folder)
    except FileNotFoundError:
        raise UserError("git: no such command; install git") from None
    if trust := _trust(found):
        raise UserError(f"{folder}: {FOREIGN}; if you trust it, run `{trust}`")
    if found.returncode:
        raise UserError(
            f"{folder}: {_last_line(found)}; run this in a clone of the repository: a downloaded"
            " archive has no revisions"
        )
    repository = Path(os.fsdecode(found.stdout).removesuffix("\n"))
    if not (repository / ".dvc").is_dir():
        raise UserError(
            f"{repository}: no .dvc, not a DVC repository; run this in a clone of the repository"
        )
    return repository


def commit(repository: Path, name: str) -> str:
    """The commit that a branch, tag or hash stands for. UserError when there is none."""
    asked = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
    found = _run(asked, repository)
    if found.returncode == 0:
        return found.stdout.decode().strip()
    remote = f"refs/remotes/origin/{name}"
    if _run(["git", "show-ref", "--verify", "--quiet", "--", remote], repository).returncode == 0:
        raise UserError(f"{name}: no branch of that name here; is origin/{name} meant?")
    shallow = _run(["git", "rev-parse", "--is-shallow-repository"], repository)
    if shallow.stdout.strip() == b"true":
        raise UserError(
            f"{name}: no such revision in this shallow clone; run `{DEEPEN}`, in a workflow set"
            " `fetch-depth: 0`"
        )
    raise UserError(f"{name}: no such revision; see `git branch --all`, or run `git fetch` first")


def checked_out(folder: Path) -> str:
    """The commit in whose working tree `folder` lies, or "unknown (why)".

    ", with uncommitted changes" follows it when files that decide results (DECIDING) differ.
    """
    git, paths = ["git", "--no-optional-locks"], [f":(top){name}" for name in DECIDING]
    try:
        ours = _run([*git, "ls-files", "--", *paths], folder)
        found = _run([*git, "rev-parse", "--verify", "HEAD"], folder)
        status = _run([*git, "status", "--porcelain", "--", *paths], folder)
    except OSError:
        return "unknown (git is not installed)"
    if _trust(ours):
        return f"unknown ({FOREIGN})"
    # Of an archive that was unpacked in some other repository, that one's commit says nothing.
    if ours.returncode or not ours.stdout:
        return "unknown (no git repository here)"
    if found.returncode:
        return "unknown (no commit yet)"
    if status.returncode:
        return f"unknown ({_last_line(status)})"
    changed = ", with uncommitted changes" if status.stdout.strip() else ""
    return found.stdout.decode().strip() + changed


@contextmanager
def files_of(repository: Path, revision: str | None) -> Iterator[Path]:
    """A folder with the files of a commit: a copy elsewhere; for None the working tree itself."""
    if revision is None:
        yield repository
        return
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        # The bytes that are committed: DVC compares them, and `git archive` would change line ends.
        as_is = ["-c", "core.autocrlf=false", "-c", "core.eol=lf"]
        packed = _run(["git", *as_is, "archive", "--format=tar", revision], repository)
        if packed.returncode:
            raise UserError(f"git archive --format=tar {revision}: {_last_line(packed)}")
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
        # No git here: DVC has to be told so.
        config = folder / ".dvc/config.local"
        config.parent.mkdir(exist_ok=True)
        config.write_text("[core]\n    no_scm = true\n", encoding="utf-8")
        yield folder


def parameter_changes(repository: Path, old: str, new: str | None) -> dict[str, dict[str, Change]]:
    """The parameters that differ, by file and dotted name; `dvc params diff`."""
    done = _dvc(["params", "diff", "--json", old, *([new] if new else [])], repository)
    if done.returncode:
        raise UserError(f"dvc params diff: {_last_line(done)}")
    return {
        file: {name: Change(pair.get("old"), pair.get("new")) for name, pair in values.items()}
        for file, values in json.loads(done.stdout).items()
    }


def behind(folder: Path) -> list[str]:
    """Why dvc.lock does not belong to code and parameters in `folder`; empty when it does.

    A line per stage and reason. The question is that of scripts/lock-current: would `dvc repro` run
    anything, if features and models that no clone has were there? It needs no data.
    """
    with TemporaryDirectory() as state:  # DVC keeps a database per folder; this one is soon gone
        dry = _dvc(["repro", "--dry", "--allow-missing"], folder, state)
        if dry.returncode == 0 and b"Running stage" not in dry.stdout:
            return []
        status = _dvc(["status", "--json", "dvc.yaml"], folder, state)
    try:
        reasons = _reasons(json.loads(status.stdout))
    except ValueError:
        reasons = []
    return reasons or [_last_line(dry)]


def touched_experiments(old: Path, new: Path) -> list[str]:
    """The folders below experiments/ whose parameters, split, lock or results differ, by name.

    old, new: the tops of two revisions. A file or folder that is named as no experiment can be is none.
    """
    found = {path.name for top in (old, new) for path in top.glob("experiments/*") if path.is_dir()}
    names = sorted(name for name in found if re.fullmatch(NAME_OF_EXPERIMENT, name))
    return [
        name
        for name in names
        if _content(old / "experiments" / name) != _content(new / "experiments" / name)
    ]


def _content(experiment: Path) -> dict[str, bytes]:
    """The committed files of an experiment that say what it is and what came out."""
    paths = (path for pattern in OF_EXPERIMENT for path in experiment.glob(pattern))
    return {
        str(path.relative_to(experiment)): path.read_bytes() for path in paths if path.is_file()
    }


def _reasons(status: Mapping[str, Sequence[Any]]) -> list[str]:
    lines = []
    for stage, entries in status.items():
        changed: list[str] = []
        for entry in entries:
            if isinstance(entry, str):  # "changed command"
                changed.append(entry)
                continue
            for of_kind in entry.values():
                for path, what in of_kind.items():
                    # Of a parameter file the keys: {"params.yaml": {"models.V": "modified"}}
                    named = what if isinstance(what, dict) else {path: what}
                    changed += [name for name, how in named.items() if how not in ABSENT]
        if changed:
            lines.append(f"{stage}: {', '.join(changed)}")
    return lines


def _dvc(
    arguments: list[str], folder: Path, state: str | None = None
) -> subprocess.CompletedProcess[bytes]:
    quiet = {"DVC_NO_ANALYTICS": "1"} | ({"DVC_SITE_CACHE_DIR": state} if state else {})
    done = _run([sys.executable, "-m", "dvc", *arguments], folder, quiet)
    if b"No module named dvc" in done.stderr:
        raise UserError("dvc: not installed; run `make setup` and use .venv/bin/python")
    return done


def _run(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    # git and DVC say in English what is looked for in their words
    english = {"LC_ALL": "C.UTF-8", "LANGUAGE": ""}
    return subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,  # a question would be waited on for ever
        capture_output=True,
        env={**os.environ, **english, **(environment or {})},
    )


def _trust(done: subprocess.CompletedProcess[bytes]) -> str:
    """The command that git names when it refuses a checkout of another owner; empty when it does not."""
    lines = map(str.strip, os.fsdecode(done.stderr).splitlines()) if done.returncode else ()
    return next((line for line in lines if line.startswith("git config") and SAFE in line), "")


def _last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    errors = [line for line in said if line.startswith(("ERROR", "fatal"))] or said
    return errors[-1].removeprefix("ERROR: ").removeprefix("fatal: ") if errors else "failed"
