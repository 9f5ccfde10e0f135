"""`dvc repro` with nothing to do, beside DVC's own time for a pipeline of one stage."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from dvc.repo import Repo

from benchmarks import harness, material
from benchmarks.harness import LIMIT, OURS, Options, Result

EMPTY = """stages:
  nothing:
    cmd: touch done
    outs: [done]
"""
FILES_OF_A_MODEL = 20
"""About as many files as a model folder has."""


def ours(checkout: Path) -> None:
    """The whole experiment's `dvc repro`."""
    repro(checkout)


def limit(empty: Path) -> None:
    """DVC's start and one stage."""
    repro(empty)


def repro(folder: Path) -> None:
    """Raises RuntimeError when DVC ran a stage: that would be another measurement."""
    said = dvc(folder, "repro")
    if "Running stage" in said:
        raise RuntimeError(f"{folder}: `dvc repro` had something to do: {said[-500:]}")


def dvc(folder: Path, *arguments: str) -> str:
    """What a DVC command prints, which keeps its state beside the folder.

    A process of its own: DVC looks at the working directory, and its start counts.
    """
    environment = os.environ | {
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder.with_name("site")),
    }
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=folder, env=environment, check=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ).stdout  # fmt: skip


def checkout(folder: Path) -> Path:
    """A copy of this repository's files in which everything is up to date.

    Outputs that git does not keep are stand-ins, small but as many: DVC knows unchanged files by their
    times, whatever their size.
    """
    listed = git(material.TOP, "ls-files", "-co", "--exclude-standard", "-z")
    for name in filter(None, listed.split("\0")):
        if (source := material.TOP / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    start(folder)
    with Repo(str(folder)) as repo:
        outputs = [Path(out.fs_path) for out in repo.index.outs]
    for place in outputs:
        if not place.exists():
            stand_in(place)
    dvc(folder, "commit", "--force")
    return folder


def stand_in(place: Path) -> None:
    """A file, or a model's folder of files, for an output."""
    if place.parent.name != "models":
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{place.name}\n")
        return
    place.mkdir(parents=True)
    for number in range(FILES_OF_A_MODEL):
        (place / f"{number}.tsv").write_text(f"{place.name} {number}\n")


def empty(folder: Path) -> Path:
    """A repository with one stage that has run."""
    folder.mkdir()
    (folder / "dvc.yaml").write_text(EMPTY)
    start(folder)
    dvc(folder, "init")
    (folder / "done").touch()
    dvc(folder, "commit", "--force")
    return folder


def start(folder: Path) -> None:
    """Put what is in a folder under git."""
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=benchmark", "-c", "user.email=none", "commit", "-qm", "files")


def git(folder: Path, *arguments: str) -> str:
    """What git prints."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def results(options: Options) -> list[Result]:
    """Copies in a temporary folder: this checkout need not be up to date, and stays as it is."""
    with TemporaryDirectory() as place:
        whole, one = checkout(Path(place) / "whole"), empty(Path(place) / "empty")
        times = harness.measure(
            {OURS: lambda: ours(whole), LIMIT: lambda: limit(one)}, options.turns(7)
        )
    return [
        Result(
            "`dvc repro` with nothing to do",
            [
                harness.ratio("times DVC's own", times, OURS, LIMIT, at_most=1.5),
                harness.per("`dvc repro`", times, 1, "s"),
            ],
            note="limit: the same command in a repository with one stage",
        )
    ]
