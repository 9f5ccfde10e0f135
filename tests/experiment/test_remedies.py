"""The command that an error names is the remedy: each error is provoked, its command is run."""

import ast
import json
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
from safetensors.torch import load_file, save_file

from tests.helpers.damage import instead
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


def other_sums(folder: Path) -> None:
    path = folder / "results/tracks/VA.sha256"
    text = path.read_text()
    path.unlink()
    path.write_text(re.sub("^[0-9a-f]{64}", "0" * 64, text, flags=re.MULTILINE))


def forget_a_track(folder: Path) -> None:
    frame = pd.read_csv(folder / "data/split.csv", dtype=str, keep_default_na=False)
    frame.loc[frame["role"] == "test", "track"] += " (demo)"
    frame.to_csv(folder / "data/split.csv", index=False)


def without_a_seed(folder: Path) -> None:
    path = folder / "results/tracks/VA.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.unlink()
    path.write_text("".join(line for line in lines if not line.startswith("2,")), encoding="utf-8")


def twice(name: str) -> Mistake:
    def mistake(folder: Path) -> None:
        *rows, last = (folder / name).read_text(encoding="utf-8").splitlines()
        (folder / name).write_text("\n".join([*rows, last, last, ""]), encoding="utf-8")

    return mistake


def each(*mistakes: Mistake) -> Mistake:
    def mistake(folder: Path) -> None:
        for one in mistakes:
            one(folder)

    return mistake


def replaced(name: str, put: Callable[[Path], object]) -> Mistake:
    """Something else of the same name."""

    def mistake(folder: Path) -> None:
        remove(name)(folder)
        put(folder / name)

    return mistake


def unread(recording: Callable[[Path], object]) -> Mistake:
    """A mistake with an embedded recording whose features are not there."""

    def mistake(folder: Path) -> None:
        remove("data/features/iKala.h5")(folder)
        recording(sorted((folder / "data/synthetic/iKala/Wavfile").glob("*.wav"))[0])

    return mistake


def longer(path: Path) -> None:
    samples, rate = soundfile.read(path)
    soundfile.write(path, [*samples, *samples], rate)


def tone(level: float) -> Callable[[Path], object]:
    return lambda path: soundfile.write(path, [level] * 22_050, 22_050, "FLOAT")


def own_songs(folder: Path, level: float = 0.1) -> None:
    """A folder of the user's beside the datasets, with an inventory."""
    own = "datasets:\n  mine:\n    origin: folder\n    path: mine\n    holds: mixture\n"
    replace("params.yaml", "datasets:\n", own)(folder)
    (folder / "mine").mkdir()
    tone(0.2)(folder / "mine/a.wav")
    tone(level)(folder / "mine/b.wav")
    status, said = run(folder, "python -m stages.download mine")
    assert status == 0, said


def without(folder: Path, *keys: str) -> None:
    """config.json of VA without these keys, as before there were digests."""
    path = folder / "models/VA/seed-1/config.json"
    config = json.loads(path.read_text())
    for key in (*keys, "config_sha256"):
        del config[key]
    path.unlink()
    path.write_text(json.dumps(config))


def critic_without_settings(folder: Path) -> None:
    without(folder, "critic")


def damaged_critic(folder: Path) -> None:
    without(folder, "sha256")
    damage("models/VA/seed-1/critic-vocals.safetensors")(folder)


def infinite_weights(folder: Path) -> None:
    name = "models/VA/seed-1/model.safetensors"
    weights = load_file(folder / name)
    next(iter(weights.values())).fill_(float("inf"))
    replaced(name, lambda path: save_file(weights, path))(folder)
    without(folder, "sha256")


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
    replace("params.yaml", "confidence: 0.95", "confidence: 0.9")(folder)


def another_model(folder: Path) -> None:
    shutil.rmtree(folder / "models/VA")
    shutil.copytree(folder / "models/V", folder / "models/VA")


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
    before: str = "true"
    """What the user did before in the same shell."""


SPLIT = "python -m stages.split"
MIXTURE = "python -m stages.evaluate mixture"
COMPARE = "python -m stages.compare"
REPORT = "python -m stages.report"
FEATURES = "python -m stages.preprocess iKala"
REVIEW = "python -m pipeline review HEAD"
OWN_FEATURES = "python -m stages.preprocess mine"
EXPORT = "python -m pipeline export models/VA --out {}"
TRACK_SCORES = "pipeline/evaluation/track_scores.py"
SUMS = "pipeline/evaluation/scored_weights.py"
RUN = "pipeline/report/finished_run.py"
ORIGINALS = "pipeline/features/originals.py"
DOWNLOAD = "run `python -m stages.download {}`, and then the same command again"
MODEL_FOLDER = "pipeline/separation/model_folder.py"
TRAINED = "where it was trained, run `dvc repro -f {}`"
LISTS = "pipeline/datasets/catalogue"

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
    Remedy("pipeline/features/store.py",
           "not a file; remove it and run `python -m stages.preprocess {}`",
           replaced("data/features/iKala.h5", os.mkfifo), MIXTURE),
    Remedy("pipeline/features/store.py",
           "not a file; remove it and run `python -m stages.preprocess {}`",
           replaced("data/features/iKala.h5", Path.mkdir), MIXTURE),
    Remedy("pipeline/features/extraction.py",
           "or what decodes it, has changed; run `dvc repro -f download@{}`",
           each(unread(Path.exists), replace("data/inventory/iKala.json", '"samples": ', '"samples": 1')),
           FEATURES),
    Remedy("pipeline/features/extraction.py", "replace it, or take it out of the folder and run",
           lambda folder: own_songs(folder, 1e38), OWN_FEATURES),
    Remedy(ORIGINALS, DOWNLOAD, unread(longer), FEATURES),
    Remedy(ORIGINALS, DOWNLOAD, unread(Path.unlink), FEATURES),
    Remedy(ORIGINALS, DOWNLOAD, unread(instead("a folder")), FEATURES),
    Remedy(ORIGINALS, DOWNLOAD, unread(instead("a pipe")), FEATURES),
    Remedy(ORIGINALS, DOWNLOAD,
           each(unread(Path.exists), replace("data/inventory/iKala.json", '"seed": ', '"seed": 1')),
           FEATURES),
    Remedy(ORIGINALS, DOWNLOAD,
           each(own_songs, replaced("mine/b.wav", tone(0.3))), OWN_FEATURES),
    Remedy(ORIGINALS, DOWNLOAD, each(own_songs, remove("mine/b.wav")), OWN_FEATURES),
    Remedy(ORIGINALS, DOWNLOAD, each(own_songs, replaced("mine/b.wav", os.mkfifo)), OWN_FEATURES),
    Remedy("stages/preprocess.py", "not of params.yaml's {}; run `python -m stages.download {}`",
           each(own_songs, replace("params.yaml", "holds: mixture", "holds: vocals")), OWN_FEATURES),
    Remedy(f"{LISTS}/__init__.py", "bring it back with `git checkout -- {}`",
           remove(f"{LISTS}/ikala.csv"), SPLIT),
    Remedy(f"{LISTS}/__init__.py", "bring it back with `git checkout -- {}`",
           replace(f"{LISTS}/ikala.csv", "clip", "clap"), SPLIT),
    Remedy("pipeline/params.py", "bring it back with `git checkout -- {}`",
           damage(f"{LISTS}/collections.toml"), SPLIT),
    Remedy("pipeline/params.py", "or bring back the committed one with `git checkout -- {}`",
           replace("params.yaml", "seed: 1", "seed: [1"), SPLIT),
    Remedy("pipeline/errors.py", "raise the limit (`ulimit -v unlimited`",
           remove("data/features/iKala.h5"), FEATURES, before="ulimit -Sv 600000"),
    Remedy("pipeline/errors.py", "raise the limit of a file's size (`ulimit -f unlimited`)",
           remove("data/features/iKala.h5"), FEATURES, before="ulimit -Sf 1"),
    Remedy(TRACK_SCORES, "run `dvc repro {}`",
           remove("results/tracks/VA.csv"), COMPARE),
    Remedy(TRACK_SCORES, "run `dvc repro {}`",
           remove("results/tracks/mixture.csv"), COMPARE),
    Remedy(TRACK_SCORES, "run `dvc repro {}`",
           replace("results/tracks/VA.csv", "SDR", "SRD"), COMPARE),
    Remedy(TRACK_SCORES, "run `dvc repro {}`",
           twice("results/tracks/oracle.csv"), COMPARE),
    Remedy("pipeline/comparison/aggregation.py", "is out of date; delete it and run `dvc repro`",
           replace("results/tracks/VA.csv", "\niKala,", "\niKaly,"), COMPARE),
    Remedy("pipeline/comparison/aggregation.py", "expected {}; run `dvc repro compare`",
           without_a_seed, COMPARE),
    Remedy("pipeline/comparison/long_table.py", "has scores of; run `dvc repro`",
           forget_a_track, COMPARE),
    Remedy("pipeline/comparison/histories.py",
           "delete {} and retrain with `dvc repro train@{}`",
           replace("models/VA/seed-1/history/validation/L_s.tsv", "step", "stop"), COMPARE),
    Remedy(MODEL_FOLDER,
           "{}: critic cannot be read ({}); run `dvc repro -f {}`",
           damaged_critic, REPORT),
    Remedy(MODEL_FOLDER, TRAINED,
           replaced("models/VA/seed-1/model.safetensors", lambda path: path.write_bytes(b"other")),
           "python -m stages.evaluate VA"),
    Remedy(MODEL_FOLDER, "is another; run `dvc repro {}`",
           another_model, "python -m stages.evaluate VA"),
    Remedy(MODEL_FOLDER, TRAINED, infinite_weights, "python -m stages.evaluate VA"),
    Remedy(MODEL_FOLDER, TRAINED, critic_without_settings, REPORT),
    Remedy(RUN, "run `dvc repro critics`", remove("results/critics.csv"), REPORT),
    Remedy(RUN, "run `dvc repro compare`", remove("results/metrics.json"), REPORT),
    Remedy(MODEL_FOLDER, "run `dvc repro {}`",
           remove("models/VA"), REPORT),
    Remedy(RUN, "run `dvc repro compare`", damage("results/metrics.json"), REPORT),
    Remedy(MODEL_FOLDER, "run `dvc repro {}`",
           damage("models/VA/seed-1/config.json"), REPORT),
    Remedy(RUN, "run `dvc repro compare`", remove("results/table.csv"), REPORT),
    Remedy(RUN, "run `dvc repro compare`",
           lambda folder: (folder / "results/table.csv").write_text('a,b\n"'), REPORT),
    Remedy(RUN, "run `dvc repro compare`",
           replace("results/table.csv", "test_set", "tests"), REPORT),
    Remedy(SUMS, "run `dvc repro {}`",
           replace("results/tracks/VA.sha256", "  models", " models"), EXPORT.format("new")),
    Remedy(SUMS, "run `dvc repro {}`", remove("results/tracks/VA.sha256"), REPORT),
    Remedy(SUMS, "not the weights whose scores are in {}; run `dvc repro report`",
           other_sums, REPORT),
    Remedy("pipeline/separation/onnx_network.py",
           "{}: no such file; `python -m pipeline export {} --out exported` writes exported/{}",
           lambda folder: None,
           "python -m pipeline separate song.wav --model models/VA --out a --onnx VA/model.onnx",
           "python -m pipeline separate song.wav --model models/VA --out a --onnx exported/model.onnx"),
    Remedy("scripts/confirm-scores", "{}: no such file; run `dvc repro` or `dvc pull`",
           remove("results/tracks/oracle.csv"), "scripts/confirm-scores oracle"),
    Remedy("scripts/confirm-scores", "{}: no row to compare; run `dvc repro` or `dvc pull`",
           remove("results/tracks"), "scripts/confirm-scores"),
    Remedy("scripts/same-weights", "no such folder to compare with; run `dvc repro` or",
           remove("models/baseline"), "scripts/same-weights baseline"),
    Remedy("pipeline/comparison/revisions.py",
           "{}: no such revision; see `git branch --all`, or run `git fetch` first",
           stale_clone, "python -m pipeline review origin/news"),
    Remedy("pipeline/comparison/revisions.py",
           "git fetch --unshallow --tags origin '+refs/heads/*:refs/remotes/origin/*'",
           shallow_clone, "python -m pipeline review HEAD~1"),
    Remedy("pipeline/comparison/differences.py", "run `{}` and commit what it changes",
           never_committed_results, REVIEW),
    Remedy("scripts/lock-current", "make repro} and commit what it changes",
           another_parameter, "scripts/lock-current"),
    Remedy("scripts/lock-current", "run git init (or clone the repository)",
           remove(".git"), "scripts/lock-current"),
    Remedy("Makefile", "run git init (or clone the repository)", remove(".git"), "make in-git"),
]  # fmt: skip

NOT_TRIED = {
    # Installs packages of the system.
    ("pipeline/evaluation/judge.py", "museval does not load without them; install ffmpeg"),
    ("scripts/install-ffmpeg", "install them (Debian: apt install ffmpeg"),
    ("scripts/install-chromium", "install them (Debian: apt install chromium"),
    # Sets up another environment, over the network.
    ("pipeline/comparison/revisions.py", "dvc: not installed; run `make setup`"),
    # A user's own network: tried in test_own_experiment.
    (
        "pipeline/separation/model_folder.py",
        "; or, where it was trained, train again: `dvc repro {}`",
    ),
    # A worker has to die of its memory, and all models be trained again. `make look` is run below, and
    # in an experiment, where the message names it, in test_experiments.
    ("pipeline/features/preprocess.py", "or take the tracks out of the folder and run `make look`"),
    ("stages/common.py", "`make look`"),
    ("stages/common.py", "`make look NAME={}`"),
    # The command is put in: one that is tried above, and one of git's own words, tried in test_revisions.
    ("pipeline/comparison/revisions.py", "in this shallow clone; run `{}`"),
    ("pipeline/comparison/revisions.py", "if you trust it, run `{}`"),
    ("pipeline/comparison/revisions.py", "git config"),
    # Says what failed; the reason is above it.
    ("scripts/train-models", "dvc repro {} failed, so nothing was trained"),
    # Need an engine or a driver: tests/container/engine.
    ("container/checks.py", "single stages (python -m stages.train ...) run without"),
    ("container/checks.py", "look at CUDA_VISIBLE_DEVICES and nvidia-smi on the host"),
    ("container/gpu.py", "look at CUDA_VISIBLE_DEVICES and nvidia-smi on the host"),
    ("container/checks.py", "on the host, sudo chown -R {} ."),
    ("container/locks.py", "or run this in it: docker exec {} python -I -m container"),
    # Names what failed.
    ("pipeline/comparison/revisions.py", "git archive --format=tar {}: {}"),
    ("pipeline/comparison/revisions.py", "dvc params diff: {}"),
    # No errors: documents that say how they were made, or where more is.
    ("pipeline/comparison/differences.py", "make repro"),
    ("pipeline/comparison/review.py", "make repro"),
    ("pipeline/comparison/review.py", "make experiment NAME={}"),
    ("pipeline/comparison/review.py", "and {} more: `dvc params diff`"),
    ("pipeline/comparison/review.py", "Cut: the rest is in `dvc metrics diff`."),
    ("pipeline/report/card.py", "    python -m pipeline separate SONG --model THIS_FOLDER"),
    # Tried in test_same_numbers, and above with another message.
    ("scripts/same-numbers", "`python -m pipeline review HEAD` says what got better and worse."),
    ("scripts/same-numbers", "make repro"),
    ("scripts/same-numbers", "make experiment NAME={}"),
    ("scripts/same-numbers", "`git restore {restored}` brings the committed ones back."),
    # Tried in test_same_weights.
    ("scripts/same-weights", "other weights; `dvc repro` trains these models again"),
    ("scripts/same-weights", "To keep all seeds: dvc commit --force {}"),
    # The one does not hold for root, the other takes a root that may more than a container's.
    ("pipeline/errors.py", "raise the limit (`ulimit -u unlimited`"),
    ("pipeline/errors.py", "raise the limit of open files (`ulimit -n 65536` as root"),
    # A disk has to fail.
    ("pipeline/errors.py", "see to the disk: it fails (`dmesg` says more)"),
}
"""Messages whose command no test runs, by the reason."""


# ----------------------------------------------------------------------------------- all are known

TARGETS = "|".join(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text("utf-8"), re.MULTILINE))
PROGRAM = re.compile(
    rf"\b(?:dvc (?!repository)[a-z]|make (?:{TARGETS})\b|python -[Im]|git (?!repository|has|is|does)[a-z]"
    r"|pip install|docker (?:run|exec)|(?:apt|apt-get|brew) install|nvidia-smi|sudo |ulimit -)"
    r"|`(?:dvc|make|python|git|pip|docker|scripts/|dmesg)[ \w`]|run `\{\}`"
)
SAID_IN_SHELL = re.compile(r'\becho "(.*?)"')


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
    for path in [*paths, *(TOP / "scripts").iterdir(), TOP / "Makefile"]:
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
    for name in ("pipeline", "stages", "networks", "scripts", "requirements"):
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
    status, said = run(folder, f"{case.before}; {case.command}")
    assert status != 0, said
    pattern = re.escape(case.message).replace(r"\{\}", ".*")
    lines = [line for line in said.splitlines() if re.search(pattern, line)]
    assert len(lines) == 1, said
    (line,) = lines
    line = re.sub("\x1b.*?m", "", line).removeprefix("error: ")
    for what in re.findall(r"(?:delete|remove|take) (\S+) (?:and|out)", line):
        path = folder / (re.split(": |, line ", line)[0] if what == "it" else what)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    remedies = commands_of(line)
    assert remedies, line
    again = case.again or case.command
    status, said = run(folder, "\n".join(["set -ex", case.before, *remedies, again]))
    assert status == 0, said


def commands_of(line: str) -> list[str]:
    """What a message tells to run: the command in backticks, and to commit what came of it."""
    found = [one for one in re.findall("`(.+?)`", line) if PROGRAM.search(f"`{one} ")]
    found = found or re.findall(rf"make (?:{TARGETS})\b|git init", line)
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
