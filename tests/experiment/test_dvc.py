"""What DVC reruns, and what not: dvc.yaml on the finished fixture experiment."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from pipeline import params
from tests.helpers.experiment import small_params, start_repository, write_params
from tests.helpers.places import TOP, inside

MODELS = ("baseline", "V", "VA")
DATASETS = ("DSD100", "MedleyDB", "CCMixter", "iKala")
DOWNLOADED = {f"download@{name}" for name in DATASETS}
PREPROCESSED = {f"preprocess@{name}" for name in DATASETS}
TRAINED = {f"train@{name}" for name in MODELS}
REFERENCES = {f"reference@{row}" for row in params.REFERENCE_ROWS}
SCORED = {f"evaluate@{name}" for name in MODELS} | REFERENCES


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """This interpreter as `python`, and DVC's own state out of the way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        patch.setenv("DVC_NO_ANALYTICS", "1")
        patch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path_factory.mktemp("dvc-site")))
        patch.delenv("DATA_ROOT", raising=False)
        yield


@pytest.fixture(scope="module")
def finished(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture experiment as `dvc repro` would have left it, without running anything again."""
    folder = tmp_path_factory.mktemp("dvc") / "experiment"
    shutil.copytree(experiment, folder, ignore=shutil.ignore_patterns("synthetic", "work"))
    start_repository(folder)
    with inside(folder), Repo() as repo:
        repo.commit(force=True)
    return folder


@pytest.fixture
def clone(finished: Path, tmp_path: Path) -> Path:
    """What git has of it: neither recordings nor features, models or DVC's cache."""
    folder = tmp_path / "clone"

    def not_in_git(where: str, _: list[str]) -> set[str]:
        return {
            str(finished): {"models"},
            str(finished / "data"): {"features", "ready"},
            str(finished / "results"): {"report"},
            str(finished / ".dvc"): {"cache", "tmp"},
        }.get(where, set())

    shutil.copytree(finished, folder, ignore=not_in_git)
    return folder


def changed(folder: Path) -> set[str]:
    """The stages whose code, parameters, inputs or outputs differ from dvc.lock."""
    with inside(folder), Repo() as repo:
        return set(repo.status())


def edit(folder: Path, sections: dict[str, Any]) -> None:
    data = small_params()
    for section, values in sections.items():
        data[section] = data[section] | values if isinstance(values, dict) else values
    write_params(data, folder)


def run(folder: Path, *command: str) -> tuple[int, str]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


# ---------------------------------------------------------------------------------------- one by one


def test_nothing_is_to_do_after_a_run(finished: Path) -> None:
    assert changed(finished) == set()


@pytest.mark.parametrize(
    ("sections", "stale"),
    [
        (
            {
                "models": small_params()["models"]
                | {"VA": {"critics": [], "alpha": 0.0, "beta": 1.0}}
            },
            {"train@VA", "compare", "critics", "report"},
        ),
        ({"split": {"strategy": "by_artist", "seed": 3}}, {"split", "compare"}),
        ({"evaluation": {"confidence": 0.9}}, {"compare"}),
        ({"evaluation": {"filter_length": 256}}, SCORED | {"compare"}),
        ({"training": {"patience": 9}}, TRAINED),
        ({"seeds": [2, 1, 3]}, TRAINED | (SCORED - REFERENCES) | {"compare", "critics", "report"}),
        ({"synthetic": {"seed": 8}}, DOWNLOADED),
    ],
)
def test_a_parameter_touches_its_own_stages_alone(
    finished: Path, sections: dict[str, Any], stale: set[str]
) -> None:
    edit(finished, sections)
    found = changed(finished)
    edit(finished, {})
    assert found == stale


@pytest.mark.parametrize(
    ("file", "stale"),
    [
        ("pipeline/errors.py",
         DOWNLOADED | PREPROCESSED | TRAINED | SCORED | {"split", "compare", "critics", "report"}),
        ("pipeline/roles.py", TRAINED | SCORED | {"split", "compare", "critics", "report"}),
        ("pipeline/parallel/workers.py",
         DOWNLOADED | PREPROCESSED | TRAINED | SCORED | {"critics", "report"}),
        ("pipeline/audio/resampling.py",
         DOWNLOADED | PREPROCESSED | TRAINED | SCORED | {"split", "compare", "critics", "report"}),
        ("pipeline/datasets/catalogue/ikala.csv",
         DOWNLOADED | PREPROCESSED | {"split", "compare", "critics", "report"}),
        ("pipeline/features/stft.py", PREPROCESSED | TRAINED | SCORED | {"critics", "report"}),
        ("pipeline/networks/critics/dcgan.py", TRAINED | SCORED | {"critics", "report"}),
        ("networks/example.py", TRAINED),
        ("pipeline/separation/separator.py", TRAINED | SCORED | {"critics", "report"}),
        ("pipeline/training/divergences/js.py", TRAINED | {"critics"}),
        ("pipeline/evaluation/bss_eval.py", SCORED | {"compare", "critics", "report"}),
        ("pipeline/comparison/table.py", {"compare", "critics", "report"}),
        ("pipeline/report/templates/style.css", {"report"}),
        ("pipeline/__main__.py", set()),
        ("stages/evaluate.py", SCORED),
        ("stages/common.py", set()),
    ],
)  # fmt: skip
def test_a_change_of_code_reaches_all_that_it_decides(
    finished: Path, file: str, stale: set[str]
) -> None:
    before = (finished / file).read_bytes()
    (finished / file).write_bytes(before + b"\n")
    found = changed(finished)
    (finished / file).write_bytes(before)
    assert found == stale


def test_a_fresh_clone_is_known_to_be_current_until_a_parameter_changes(clone: Path) -> None:
    assert not (clone / "models").exists()
    status, said = run(clone, "scripts/lock-current")
    assert (status, said.splitlines()[0]) == (0, "dvc.lock is current")
    edit(clone, {"critic": {"filters": 3}})
    status, said = run(clone, "scripts/lock-current")
    assert status == 1
    assert "Stage 'preprocess@iKala' didn't change" in said
    assert said.endswith(
        "dvc.lock is behind the code or the parameters: run make repro and commit what it changes\n"
    )


def test_a_stage_that_dvc_lock_does_not_have_is_noticed(clone: Path) -> None:
    data = small_params()
    data["models"]["fourth"] = {"critics": ["vocals"], "alpha": 0.1, "beta": 0.0}
    write_params(data, clone)
    status, said = run(clone, "scripts/lock-current")
    assert status == 1
    assert "fourth" in said


def test_a_stage_that_fails_loses_nothing(finished: Path, tmp_path: Path) -> None:
    """DVC deletes outputs before it runs their stage, unless told to leave them."""
    folder = tmp_path / "failing"
    shutil.copytree(finished, folder)
    inventory = (folder / "data/inventory/DSD100.json").read_bytes()
    edit(folder, {"datasets": {"DSD100": {"origin": "local", "path": "no/where"}}})
    status, said = run(folder, "dvc", "repro", "download@DSD100")
    assert status != 0
    assert "error: no/where: no such folder" in said
    assert (folder / "data/inventory/DSD100.json").read_bytes() == inventory
    assert "download@DSD100" in changed(folder)


HOSTILE = ["x;touch pwned;", "y$(touch pwned)", "z'`touch pwned`", "--help", "x'\ntouch pwned\n'"]


@pytest.mark.parametrize(("section", "group"), [("models", "train"), ("datasets", "download")])
def test_no_name_in_the_parameters_reaches_a_shell(
    finished: Path, tmp_path: Path, section: str, group: str
) -> None:
    """As `dvc repro` on a stranger's branch: the stage refuses the name, and nothing else happens."""
    folder = tmp_path / "stranger"
    shutil.copytree(finished, folder)
    data = small_params()
    data[section] |= dict.fromkeys(HOSTILE, next(iter(data[section].values())))
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(data, file)
    status, said = run(folder, "dvc", "repro", "--single-item", "--keep-going", group)
    assert status != 0
    # DVC gives a shell line by line: the first line of a name of several is an open quote
    assert said.count(f"error: params.yaml: {section}.") == len(HOSTILE) - 1
    assert not list(folder.rglob("*pwned"))


def test_an_output_whose_path_holds_a_name_is_never_deleted_by_dvc() -> None:
    """The name may lead elsewhere: only the stage, which refuses such a name, replaces outputs."""
    stages = YAML(typ="safe", pure=True).load((TOP / "dvc.yaml").read_text("utf-8"))["stages"]
    named = {
        path: options
        for stage in stages.values()
        for entry in (*stage.get("outs", ()), *stage.get("metrics", ()))
        for path, options in (entry if isinstance(entry, dict) else {entry: {}}).items()
        if "${" in path
    }
    assert len(named) == 7
    assert all(options.get("persist") for options in named.values()), named


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "group", "name"),
    [
        ("models", "train", "../notes"),
        ("models", "train", "x/../../notes"),
        ("datasets", "download", "../../notes"),
    ],
)
def test_a_name_that_leads_to_another_folder_deletes_nothing(
    finished: Path, tmp_path: Path, section: str, group: str, name: str
) -> None:
    folder = tmp_path / "stranger"
    shutil.copytree(finished, folder)
    (folder / "notes").mkdir()
    (folder / "notes/mine.txt").write_text("mine")
    data = small_params()
    data[section] |= {name: next(iter(data[section].values()))}
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(data, file)
    status, said = run(folder, "dvc", "repro", "--single-item", "--keep-going", group)
    assert status != 0
    assert f"failed to reproduce '{group}@{name}'" in said
    assert (folder / "notes/mine.txt").read_text() == "mine"


def test_no_output_of_a_path_or_a_machine_is_in_the_lock(finished: Path) -> None:
    lock = (finished / "dvc.lock").read_text()
    assert str(finished.parent) not in lock
    assert str(TOP) not in lock
    assert "DATA_ROOT" not in lock


def test_metrics_are_the_only_ones_and_dvc_reads_them(finished: Path, experiment: Path) -> None:
    with inside(finished), Repo() as repo:
        shown = repo.metrics.show()
    expected = json.loads((experiment / "results/metrics.json").read_text())
    assert shown[""]["data"] == {"results/metrics.json": {"data": expected}}


def test_raw_recordings_never_enter_the_cache(finished: Path) -> None:
    """What is stored as a DVC output: features and models, neither recordings nor results."""
    lock = (finished / "dvc.lock").read_text()
    assert "data/features" in lock
    assert "data/raw" not in lock
    assert "data/synthetic" not in lock


# ------------------------------------------------------------------------------------------- for real


def repro(folder: Path, *options: str) -> list[str]:
    status, said = run(folder, "dvc", "repro", *options)
    assert status == 0, said
    return re.findall(r"Running stage '(.*)'", said)


@pytest.mark.slow
def test_dvc_repro(tmp_path: Path) -> None:
    """From nothing to the table, again, with one model's alpha, with another split."""
    small: dict[str, dict[str, Any]] = {
        "synthetic": {"seconds": 3.0},
        "training": {"max_epochs": 1, "steps_per_epoch": 2},
    }
    edit(tmp_path, small)
    start_repository(tmp_path)
    stages = repro(tmp_path)
    assert len(stages) == len(set(stages)) == 4 + 1 + 4 + 3 + 3 + 2 + 1 + 1
    assert (tmp_path / "results/table.md").read_text().startswith("# Comparison of the models")
    assert repro(tmp_path) == []

    models = small_params()["models"]
    models["VA"]["alpha"] = 0.5
    edit(tmp_path, small | {"models": models})
    assert repro(tmp_path) == ["train@VA", "evaluate@VA", "compare", "report"]

    again = {"split": {"strategy": "by_artist", "seed": 5}}
    edit(tmp_path, small | {"models": models} | again)
    ran = repro(tmp_path)
    assert ran[0] == "split"
    assert set(ran) == {"split", *TRAINED, *SCORED, "compare", "report"}
    assert repro(tmp_path) == []

    # A clone has no recordings and no cache: they are rendered again, to the same features.
    for name in ("data/ready", "data/synthetic", "data/features", "models", ".dvc/cache"):
        shutil.rmtree(tmp_path / name)
    assert run(tmp_path, "scripts/lock-current")[0] == 0
    before = (tmp_path / "dvc.lock").read_text()
    repro(tmp_path)
    assert (tmp_path / "dvc.lock").read_text() == before
