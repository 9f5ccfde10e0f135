"""The command that an error names is the remedy: each error is provoked, its command is run."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import soundfile
from dvc.repo import Repo

from tests.helpers.experiment import THREADS
from tests.helpers.places import TOP, inside
from tests.helpers.revision_control import git

Mistake = Callable[[Path], object]


def remove(*names: str) -> Mistake:
    def mistake(folder: Path) -> None:
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return mistake


def damage(name: str) -> Mistake:
    """Cut the file in half; what DVC's cache shares with it stays whole."""

    def mistake(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / name).write_bytes(content[: len(content) // 2])

    return mistake


def replace(name: str, old: str, new: str) -> Mistake:
    def mistake(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).unlink()
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return mistake


def forget_a_track(folder: Path) -> None:
    frame = pd.read_csv(folder / "data/split.csv", dtype=str, keep_default_na=False)
    frame.loc[frame["role"] == "test", "track"] += " (demo)"
    frame.to_csv(folder / "data/split.csv", index=False)


def twice(name: str) -> Mistake:
    def mistake(folder: Path) -> None:
        *rows, last = (folder / name).read_text(encoding="utf-8").splitlines()
        (folder / name).write_text("\n".join([*rows, last, last, ""]), encoding="utf-8")

    return mistake


def longer_recording(folder: Path) -> None:
    """A recording that was replaced after the inventory was taken; its features are not there."""
    path = sorted((folder / "data/synthetic/iKala/Wavfile").glob("*.wav"))[0]
    samples, rate = soundfile.read(path)
    soundfile.write(path, [*samples, *samples], rate)
    (folder / "data/features/iKala.h5").unlink()


def stale_clone(folder: Path) -> None:
    """A clone of `upstream`, which got a branch since."""
    upstream = folder.with_name("upstream")
    folder.rename(upstream)
    git(upstream.parent, "clone", "--quiet", str(upstream), str(folder))
    git(upstream, "branch", "news")


def shallow_clone(folder: Path) -> None:
    upstream = folder.with_name("upstream")
    folder.rename(upstream)
    (upstream / "note").touch()
    git(upstream, "add", "note")
    git(upstream, "commit", "--quiet", "--message", "second")
    git(upstream.parent, "clone", "--quiet", "--depth", "1", f"file://{upstream}", str(folder))


def never_committed_results(folder: Path) -> None:
    git(folder, "rm", "-rq", "--cached", "results")
    git(folder, "commit", "--quiet", "--message", "none")
    shutil.rmtree(folder / "results")


def another_parameter(folder: Path) -> None:
    replace("params.yaml", "bootstrap_samples: 200", "bootstrap_samples: 100")(folder)


class Remedy(NamedTuple):
    """A message that names a command, and how to come by it."""

    file: str
    message: str
    """A literal of the file, {} where it puts something in."""
    mistake: Mistake
    command: str
    """Fails with the message, and succeeds after the command that this names."""
    again: str = ""
    """Instead of `command`, when the remedy gives something of another name."""


SPLIT = "python -m stages.split"
MIXTURE = "python -m stages.evaluate mixture"
COMPARE = "python -m stages.compare"
REPORT = "python -m stages.report"
FEATURES = "python -m stages.preprocess iKala"
REVIEW = "python -m pipeline review HEAD"
EXPORT = "python -m pipeline export models/VA --out {}"
TRACK_SCORES = "pipeline/evaluation/track_scores.py"
RUN = "pipeline/report/finished_run.py"

QUICK = [
    Remedy("pipeline/datasets/inventory.py", "run `python -m stages.download {}`",
           damage("data/inventory/iKala.json"), SPLIT),
]  # fmt: skip
"""In seconds, on two cores."""

REMEDIES = [
    *QUICK,
    Remedy("pipeline/datasets/inventory.py", "run `python -m stages.download {}`",
           remove("data/inventory/iKala.json"), SPLIT),
    Remedy("pipeline/roles.py", "run `python -m stages.split`",
           remove("data/split.csv"), MIXTURE),
    Remedy("pipeline/roles.py", "run `python -m stages.split`",
           replace("data/split.csv", "role", "rule"), MIXTURE),
    Remedy("pipeline/roles.py", "run `python -m stages.split`",
           twice("data/split.csv"), MIXTURE),
    Remedy("pipeline/features/store.py", "{}: no such file; run `dvc repro preprocess`",
           remove("data/features/iKala.h5"), MIXTURE),
    Remedy("pipeline/features/store.py", "run `python -m stages.preprocess {}`, which computes it again",
           damage("data/features/DSD100.h5"), MIXTURE),
    Remedy("pipeline/features/store.py", "{}: no features of {}; run `dvc repro`",
           forget_a_track, MIXTURE),
    Remedy("pipeline/features/extraction.py",
           "or what decodes it, has changed; run `dvc repro -f download@{}`",
           longer_recording, FEATURES),
    Remedy(TRACK_SCORES, "run `dvc repro {}@{}`",
           remove("results/tracks/VA.csv"), COMPARE),
    Remedy(TRACK_SCORES, "run `dvc repro {}@{}`",
           remove("results/tracks/mixture.csv"), COMPARE),
    Remedy(TRACK_SCORES, "run `dvc repro {}@{}`",
           replace("results/tracks/VA.csv", "SDR", "SRD"), COMPARE),
    Remedy(TRACK_SCORES, "run `dvc repro {}@{}`",
           twice("results/tracks/oracle.csv"), COMPARE),
    Remedy("pipeline/comparison/aggregation.py", "is out of date; delete it and run `dvc repro`",
           replace("results/tracks/VA.csv", "\niKala,", "\niKaly,"), COMPARE),
    Remedy("pipeline/comparison/histories.py",
           "delete {} and retrain with `dvc repro train@{}`",
           replace("models/VA/history/validation/L_s.tsv", "step", "stop"), COMPARE),
    Remedy("pipeline/separation/model_folder.py",
           "{}: critic cannot be read ({}); run `dvc repro -f train@{}`",
           damage("models/VA/critic-vocals.safetensors"), REPORT),
    Remedy(RUN, "run `dvc repro compare`", remove("results/metrics.json"), REPORT),
    Remedy("pipeline/separation/model_folder.py", "run `dvc repro train@{}`",
           remove("models/VA"), REPORT),
    Remedy(RUN, "run `dvc repro compare`", damage("results/metrics.json"), REPORT),
    Remedy("pipeline/separation/model_folder.py", "run `dvc repro train@{}`",
           damage("models/VA/config.json"), REPORT),
    Remedy(RUN, "run `dvc repro compare`", remove("results/table.csv"), REPORT),
    Remedy(RUN, "run `dvc repro compare`",
           lambda folder: (folder / "results/table.csv").write_text('a,b\n"'), REPORT),
    Remedy(RUN, "run `dvc repro compare`",
           replace("results/table.csv", "test_set", "tests"), REPORT),
    Remedy("pipeline/report/card.py", "delete it and run `python -m stages.compare`",
           damage("results/metrics.json"), EXPORT.format("new")),
    Remedy("pipeline/separation/onnx_network.py",
           "{}: no such file; `python -m pipeline export {} --out exported` writes exported/{}",
           lambda folder: None,
           "python -m pipeline separate song.wav --model models/VA --out a --onnx VA/model.onnx",
           "python -m pipeline separate song.wav --model models/VA --out a --onnx exported/model.onnx"),
    Remedy("scripts/confirm-scores", "{}: no such file; run `dvc repro` or `dvc pull`",
           remove("results/tracks/oracle.csv"), "scripts/confirm-scores oracle"),
    Remedy("scripts/confirm-scores", "{}: no row to compare; run `dvc repro` or `dvc pull`",
           remove("results/tracks"), "scripts/confirm-scores"),
    Remedy("pipeline/comparison/revisions.py",
           "{}: no such revision; see `git branch --all`, or run `git fetch` first",
           stale_clone, "python -m pipeline review origin/news"),
    Remedy("pipeline/comparison/revisions.py",
           "git fetch --unshallow --tags origin '+refs/heads/*:refs/remotes/origin/*'",
           shallow_clone, "python -m pipeline review HEAD~1"),
    Remedy("pipeline/comparison/differences.py", "run `make repro` and commit results/",
           never_committed_results, REVIEW),
    Remedy("scripts/lock-current", "run make repro and commit what it changes",
           another_parameter, "scripts/lock-current"),
]  # fmt: skip

NOT_TRIED = {
    # Installs packages of the system.
    ("pipeline/evaluation/judge.py", "museval does not load without them; install ffmpeg"),
    ("scripts/install-ffmpeg", "install them (Debian: apt install ffmpeg"),
    ("scripts/install-chromium", "install them (Debian: apt install chromium"),
    # Sets up another environment, over the network.
    ("pipeline/comparison/revisions.py", "dvc: not installed; run `make setup`"),
    # A worker has to die of its memory, and all models be trained again. `make look` is run below.
    ("pipeline/features/preprocess.py", "or take the tracks out of the folder and run `make look`"),
    # Not tried yet.
    ("pipeline/datasets/catalogue/__init__.py", "bring it back with `git checkout -- {}`"),
    ("pipeline/params.py", "bring it back with `git checkout -- {}`"),
    ("pipeline/params.py", "or bring back the committed one with `git checkout -- {}`"),
    ("pipeline/features/extraction.py", "replace it, or take it out of the folder and run"),
    ("pipeline/features/originals.py", "run `python -m stages.download {}`, and then the same"),
    (
        "pipeline/features/store.py",
        "not a file; remove it and run `python -m stages.preprocess {}`",
    ),
    ("pipeline/separation/model_folder.py", "where it was trained, run `dvc repro -f train@{}`"),
    ("scripts/lock-current", "run git init (or clone the repository)"),
    ("stages/preprocess.py", "not of params.yaml's {}; run `python -m stages.download {}`"),
    # The beginning of git's own words, whose command is passed on.
    ("pipeline/comparison/revisions.py", "git config"),
    # Says what failed; the reason is above it.
    ("scripts/train-models", "dvc repro {} failed, so nothing was trained"),
    # Need an engine or a driver: tests/container/engine.
    ("container/checks.py", "single stages (python -m stages.train ...) run without"),
    ("container/checks.py", "look at CUDA_VISIBLE_DEVICES and nvidia-smi on the host"),
    ("container/gpu.py", "look at CUDA_VISIBLE_DEVICES and nvidia-smi on the host"),
    ("container/locks.py", "or run this in it: docker exec {} python -I -m container"),
    # Names what failed.
    ("pipeline/comparison/revisions.py", "git archive --format=tar {}: {}"),
    # No errors: documents that say how they were made, or where more is.
    ("pipeline/comparison/review.py", "Run `make repro` and commit what it changes."),
    ("pipeline/comparison/review.py", "and {} more: `dvc params diff`"),
    ("pipeline/comparison/review.py", "Cut: the rest is in `dvc metrics diff`."),
    ("pipeline/comparison/review.py", "What another seed would give is not in it (`make seeds`)."),
    ("pipeline/comparison/several_seeds.py", "make seeds"),
    ("pipeline/report/card.py", "    python -m pipeline separate SONG --model THIS_FOLDER"),
    ("stages/seeds.py", "make seeds"),
    ("stages/seeds.py", "python -m stages.seeds{}"),
    # Tried in test_same_numbers, and above with another message.
    ("scripts/same-numbers", "`python -m pipeline review HEAD` says what got better and worse."),
    ("scripts/same-numbers", "`git restore results data dvc.lock` brings the committed ones back."),
    # A limit of the shell, not of the experiment.
    ("pipeline/errors.py", "free some, or raise the limit (`ulimit -v`"),
    ("pipeline/errors.py", "raise the limit (`ulimit -u`"),
    ("pipeline/errors.py", "raise the limit of open files (`ulimit -n 1024`)"),
    ("pipeline/errors.py", "raise the limit of a file's size (`ulimit -f unlimited`)"),
    ("pipeline/errors.py", "see to the disk: it fails (`dmesg` says more)"),
}
"""Messages whose command no test runs, by the reason."""


# ----------------------------------------------------------------------------------- all are known

TARGETS = "|".join(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text("utf-8"), re.MULTILINE))
PROGRAM = re.compile(
    rf"\b(?:dvc (?!repository)[a-z]|make (?:{TARGETS})\b|python -[Im]|git (?!repository|has|is|does)[a-z]"
    r"|pip install|docker (?:run|exec)|(?:apt|apt-get|brew) install|nvidia-smi)"
    r"|`(?:dvc|make|python|git|pip|docker|scripts/|ulimit|dmesg)[ \w`]"
)
SAID_IN_SHELL = re.compile(r'^\s*(?:@|test .*\|\| \{ )?echo "(.*)"', re.MULTILINE)


def literals(code: str) -> Iterator[str]:
    """The texts in a Python file but for documentation, {} where an f-string puts something in."""
    tree = ast.parse(code)
    inside_others: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside_others.add(node.value)  # a docstring
        elif isinstance(node, ast.JoinedStr):
            parts = [one.value if isinstance(one, ast.Constant) else "{}" for one in node.values]
            inside_others |= set(node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and node not in inside_others:
            yield str(node.value)


def messages() -> set[tuple[str, str]]:
    """Every text of the program that names a command, by its file."""
    paths = [
        path for name in ("pipeline", "stages", "container") for path in (TOP / name).rglob("*.py")
    ]
    found = set()
    for path in [*paths, *(TOP / "scripts").iterdir()]:
        if not path.is_file():
            continue
        code, name = path.read_text(encoding="utf-8"), path.relative_to(TOP).as_posix()
        python = path.suffix == ".py" or code.startswith("#!/usr/bin/env python")
        texts = literals(code) if python else SAID_IN_SHELL.findall(code)
        found |= {(name, text) for text in texts if PROGRAM.search(text)}
    return found


def test_every_message_that_names_a_command_is_tried_or_listed() -> None:
    known = {(one.file, one.message) for one in REMEDIES} | NOT_TRIED
    found = messages()
    unknown = [
        (file, text)
        for file, text in found
        if not any(file == where and part in text for where, part in known)
    ]
    assert unknown == [], "try them in REMEDIES"
    gone = [
        (file, part)
        for file, part in known
        if not any(file == where and part in text for where, text in found)
    ]
    assert gone == [], "no such message any more"


# ------------------------------------------------------------------------------------ one by one


@pytest.fixture(scope="module")
def finished(experiment: Path, tmp_path_factory: pytest.TempPathFactory, quiet_git: None) -> Path:
    """The fixture experiment as `make repro` would have left it, in a commit."""
    folder = tmp_path_factory.mktemp("remedies") / "experiment"
    shutil.copytree(experiment, folder, ignore=shutil.ignore_patterns("work"))
    for name in ("pipeline", "stages", "scripts", "requirements"):
        shutil.copytree(TOP / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", "Makefile"):
        shutil.copy(TOP / name, folder)
    (folder / ".venv").mkdir()
    (folder / ".venv/installed").touch()  # so that `make` uses the environment of the tests
    git(folder, "init", "--quiet", "--initial-branch", "main")
    Repo.init(str(folder)).close()
    shutil.copy(TOP / ".dvc/config", folder / ".dvc/config")
    with inside(folder), Repo() as repo:
        repo.commit(force=True)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "an experiment")
    soundfile.write(folder / "song.wav", [[0.1, 0.2]] * 44_100, 44_100)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "experiment", symlinks=True))


def run(folder: Path, command: str) -> tuple[int, str]:
    """A command as a user would type it."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["OMP_NUM_THREADS"] = str(THREADS)
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


def the_remedy_works(folder: Path, case: Remedy) -> None:
    case.mistake(folder)
    status, said = run(folder, case.command)
    assert status != 0, said
    pattern = re.escape(case.message).replace(r"\{\}", ".*")
    lines = [line for line in said.splitlines() if re.search(pattern, line)]
    assert len(lines) == 1, said
    (line,) = lines
    line = re.sub("\x1b.*?m", "", line).removeprefix("error: ")
    for what in re.findall(r"delete (\S+) and", line):
        path = folder / (line.partition(": ")[0] if what == "it" else what)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for remedy in commands_of(line):
        status, said = run(folder, remedy)
        assert status == 0, f"{remedy}: {said}"
    status, said = run(folder, case.again or case.command)
    assert status == 0, said


def commands_of(line: str) -> list[str]:
    """What a message tells to run: the command in backticks, and to commit what came of it."""
    found = [one for one in re.findall("`(.+?)`", line) if PROGRAM.search(f"`{one} ")]
    found = found or re.findall(rf"make (?:{TARGETS})\b", line)
    if "see `" in line:  # the one to look with is not the one that mends
        found = found[1:]
    commit = ["git add --all && git commit --quiet --message results"] if "commit" in line else []
    return [*found[:1], *commit]  # "or" names another way


def name_of(case: Remedy) -> str:
    return f"{Path(case.file).stem}: {case.message[-40:]}"


@pytest.mark.parametrize("case", QUICK, ids=name_of)
def test_a_quick_remedy_works(folder: Path, case: Remedy) -> None:
    the_remedy_works(folder, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", REMEDIES[len(QUICK) :], ids=name_of)
def test_the_remedy_works(folder: Path, case: Remedy) -> None:
    the_remedy_works(folder, case)


@pytest.mark.slow
def test_make_look_looks_at_the_recordings_again(folder: Path) -> None:
    """As the message about lost tracks tells: here the embedded recordings come back."""
    lost = sorted((folder / "data/synthetic/iKala/Wavfile").glob("*.wav"))[0]
    lost.unlink()
    status, said = run(folder, "make look")
    assert status == 0, said
    assert lost.exists()
