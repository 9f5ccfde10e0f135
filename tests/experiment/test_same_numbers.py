"""The last lines of `make repro`: whether these are the committed numbers, and if not, why."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from pipeline import files
from pipeline.comparison import aggregation
from pipeline.evaluation.track_scores import load_tracks, save_tracks
from pipeline.roles import save_split
from tests.helpers import programs, score_tables
from tests.helpers.places import TOP, inside
from tests.helpers.revision_control import git

LOCK = """\
schema: '2.0'
stages:
  train@VA:
    cmd: python -m stages.train --model VA
    deps:
    - {path: data/features, md5: 1, size: 1}
    - {path: pipeline/networks, md5: 2.dir, size: 1}
    params: {params.yaml: {seeds: [1]}}
    outs:
    - {path: models/VA, md5: 3.dir, size: 1}
"""
SAME = "These are the committed numbers."
OTHER = "These are not the committed numbers."
WITHIN = (
    "These are not the committed numbers to the digit, but there is no change beyond a rerun's."
)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return programs.load("same-numbers")


@pytest.fixture
def clone(
    frames: dict[str, pd.DataFrame], collected: pd.DataFrame, tmp_path: Path, quiet_git: None
) -> Path:
    """Results in a commit."""
    folder = tmp_path / "clone"
    (folder / "results/tracks").mkdir(parents=True)
    means = aggregation.means(collected, score_tables.SOURCES)
    (folder / "data").mkdir()
    save_split(score_tables.split_of(collected), folder / "data/split.csv")
    aggregation.save_means(means, folder / "results/metrics.json")
    for row, frame in frames.items():
        save_tracks(frame, folder / f"results/tracks/{row}.csv")
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").touch()
    (folder / "dvc.lock").write_text(LOCK)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "results")
    return folder


def another_processor(folder: Path) -> None:
    """Numbers as a run elsewhere would leave them: VA on iKala's vocals, a little apart."""
    means = json.loads((folder / "results/metrics.json").read_text())
    means["iKala"]["VA"]["SDR_vocals"] += 0.25
    means["iKala"]["VA"]["SIR_vocals"] -= 0.5
    (folder / "results/metrics.json").write_text(json.dumps(means))
    path = folder / "results/tracks/VA.csv"
    scores = load_tracks(path)
    chosen = scores.index[scores["SDR"].notna() & (scores["source"] == "vocals")][0]
    scores.loc[chosen, "SDR"] += 1.5
    save_tracks(scores, path)


def every_run_better(folder: Path) -> None:
    """Of VA, by as much on every track."""
    path = folder / "results/tracks/VA.csv"
    scores = load_tracks(path)
    scores.loc[scores["source"] == "vocals", "SDR"] += 3
    save_tracks(scores, path)
    means = json.loads((folder / "results/metrics.json").read_text())
    for cells in means.values():
        cells["VA"]["SDR_vocals"] = round(cells["VA"]["SDR_vocals"] + 3, 2)
    (folder / "results/metrics.json").write_text(json.dumps(means))


def one_run(folder: Path) -> None:
    """Here and in the commit."""
    for path in (folder / "results/tracks").iterdir():
        scores = load_tracks(path)
        save_tracks(scores[scores["seed"] <= 1], path)
    git(folder, "commit", "--quiet", "--all", "--message", "one run")
    another_processor(folder)


def in_lock(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        another_processor(folder)
        assert old in LOCK
        (folder / "dvc.lock").write_text(LOCK.replace(old, new))

    return change


def no_lock(folder: Path) -> None:
    another_processor(folder)
    (folder / "dvc.lock").unlink()


def no_git(folder: Path) -> None:
    shutil.rmtree(folder / ".git")


def no_commit(folder: Path) -> None:
    no_git(folder)
    git(folder, "init", "--quiet")


def no_committed_results(folder: Path) -> None:
    git(folder, "rm", "-rq", "--cached", "results")
    git(folder, "commit", "--quiet", "--message", "none")


def by_hand(folder: Path) -> None:
    """dvc.lock knows what the last run has written."""
    path = folder / "results/metrics.json"
    written = f"    - {{path: results/metrics.json, md5: {files.md5(path)}, size: 1}}\n"
    (folder / "dvc.lock").write_text(LOCK + written)
    another_processor(folder)


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "nothing": (lambda folder: None, [SAME]),
    "a picture": (lambda folder: (folder / "results/report").mkdir(exist_ok=True), [SAME]),
    "a processor": (another_processor, [
        WITHIN, "by at most 0.50 dB (SIR of vocals, VA, iKala), a score of a track by 1.50 dB",
        "this is expected: another processor", "nothing to commit"]),
    "something else": (every_run_better, [
        "These are not the committed numbers, and the change is beyond a rerun's.",
        "Better: `VA` on vocals by 3.00 dB.", "at most one rerun in twenty", "review HEAD"]),
    "one run": (one_run, [OTHER, "this is expected: another processor"]),
    "a hand": (by_hand, [
        OTHER, "not what the last run has written (results/metrics.json)", "make repro"]),
    "features": (in_lock("md5: 1,", "md5: 9,"), [WITHIN, "this is expected: another processor"]),
    "weights": (in_lock("3.dir", "9.dir"), [WITHIN, "this is expected: another processor"]),
    "code": (in_lock("2.dir", "9.dir"), [OTHER, "other code or parameters (train@VA)", "review HEAD"]),
    "a parameter": (in_lock("seeds: [1]", "seeds: [2]"), [OTHER, "other code or parameters (train@VA)"]),
    "a model": (in_lock("VA", "V2"), [OTHER, "other code or parameters (train@V2, train@VA)"]),
    "no lock": (no_lock, [OTHER, "other code or parameters"]),
    "no git": (no_git, ["is not known: ", "not a git repo"]),
    "no commit": (no_commit, ["is not known: HEAD: no such revision"]),
    "no results": (lambda folder: shutil.rmtree(folder / "results"), ["is not known: ", "not in this"]),
    "no committed results": (no_committed_results, ["is not known: ", "not in the last commit"]),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_the_last_lines_of_a_run(clone: Path, script: ModuleType, what: str) -> None:
    change, expected = CHANGES[what]
    change(clone)
    with inside(clone):
        said = script.same_numbers().replace("\n", " ")
    for words in expected:
        assert words in said


# --------------------------------------------------------------------- the two commands in one clone

DVC = """\
#!{python}
import hashlib, re, sys
from pathlib import Path
sys.path.insert(0, {top!r})
from tests.experiment.test_same_numbers import another_processor
another_processor(Path.cwd())
for path in (Path("results/table.md"), Path("results/table.csv")):
    path.write_text(path.read_text().replace("1", "2"))
lock = Path("dvc.lock")
stored = lock.read_text()
found = {{"data/features/DSD100.h5": "0123456789abcdef" * 2}}
found |= {{str(p): hashlib.md5(p.read_bytes()).hexdigest() for p in Path("results").rglob("*.*")}}
for path, md5 in found.items():
    place = rf"(path: {{re.escape(path)}}\\n +hash: md5\\n +md5: )[0-9a-f]{{{{32}}}}"
    stored = re.sub(place, rf"\\g<1>{{md5}}", stored)
lock.write_text(stored)
for leftover in ("data/ready/DSD100", "models/VA/config.json", "work/timings.json"):
    Path(leftover).parent.mkdir(parents=True, exist_ok=True)
    Path(leftover).write_text("left by a run")
"""


@pytest.mark.slow
def test_make_test_passes_after_make_repro_on_another_processor(
    tmp_path: Path, quiet_git: None
) -> None:
    """`make repro` with a stand-in for DVC that leaves other numbers, then the tests, in one clone."""
    clone = copy_of_the_working_tree(tmp_path / "clone")
    programs_first = tmp_path / "bin"
    programs_first.mkdir()
    (programs_first / "dvc").write_text(DVC.format(python=sys.executable, top=str(TOP)))
    (programs_first / "dvc").chmod(0o755)
    path = f"{programs_first}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {
        "PATH": path,
        "PYTHONPATH": str(clone),
        "PYTEST_ADDOPTS": "-p no:cacheprovider",
    }
    environment.pop("PYTEST_XDIST_WORKER", None)

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    said = run("make", "--no-print-directory", "--assume-old", "setup", "repro")
    assert OTHER.removesuffix(".") in said
    assert "this is expected: another processor" in said.splitlines()[-3]
    changed = git(clone, "status", "--porcelain").splitlines()
    assert {line.split()[-1].split("/")[0] for line in changed} <= {"results", "dvc.lock"}
    assert re.search(r"\d+ passed", run(sys.executable, "-m", "pytest", "-q", "-m", "not slow",
                                        "tests/repository", "tests/test_params.py",
                                        "tests/benchmarks/test_harness.py"))  # fmt: skip
    (remedy,) = re.findall("`(git .+?)`", said)
    run(*remedy.split())
    assert git(clone, "status", "--porcelain") == ""
    shutil.rmtree(clone / ".git")
    said = run(sys.executable, "-m", "pytest", "-q", "tests/repository/test_documents.py")
    assert "nobody knows which results are the committed ones" in said


def copy_of_the_working_tree(folder: Path) -> Path:
    """What git would have of the checkout, in a commit of its own."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listed, cwd=TOP, capture_output=True)
    if found.returncode:
        pytest.skip("no git repository here")
    for name in found.stdout.decode().split("\0"):
        if name and (TOP / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    return folder
