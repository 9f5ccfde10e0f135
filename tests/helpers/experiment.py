"""The fixture experiment: the real stages on a small copy of params.yaml."""

import csv
import os
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from filelock import FileLock
from ruamel.yaml import YAML

from pipeline import params
from pipeline.params import Params
from stages import compare, critics, download, evaluate, preprocess, report, split, train
from tests.helpers.places import TOP, inside

THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
"""Of PyTorch; threads of several processes that outnumber the cores wait for each other."""
TRAINED = ("baseline", "V", "VA")
"""The models; the ways to learn have tests of their own."""
ROWS = tuple(params.table_rows(TRAINED))
"""Of the table."""

SMALL: dict[str, Any] = {
    "synthetic": {"seconds": 5.0},
    "separator": {"filters": 2},
    "critic": {"filters": 2},
    "training": {
        "batch_size": 4, "steps_per_epoch": 6, "max_epochs": 3, "critic_steps": 2,
        "learning_rate": 1e-3,
    },
}  # fmt: skip
TRACKS = {"DSD100": 8, "MedleyDB": 6, "CCMixter": 3, "iKala": 3}


def small_params() -> dict[str, Any]:
    """params.yaml as it is, at a hundredth of its size."""
    data = YAML(typ="safe", pure=True).load((TOP / "params.yaml").read_text(encoding="utf-8"))
    for section, values in SMALL.items():
        data[section] |= values
    data["synthetic"]["tracks"] = dict(TRACKS)
    data["models"] = {name: data["models"][name] for name in TRAINED}
    # stages run in the tests' own process too, and give the same bytes
    data["arithmetic"] = "native"
    data["seeds"] = [1, 2]
    return data  # type: ignore[no-any-return]


def write_params(data: dict[str, Any], folder: Path) -> Params:
    """Write params.yaml into `folder`."""
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(data, file)
    return params.load(folder / "params.yaml")


def start_repository(folder: Path) -> None:
    """Code, dvc.yaml and an empty DVC in `folder`; no git."""
    for name in ("pipeline", "stages", "networks", "scripts"):
        shutil.copytree(TOP / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(TOP / name, folder)
    Repo.init(str(folder), no_scm=True).close()
    config = (TOP / ".dvc/config").read_text()
    (folder / ".dvc/config").write_text(config.replace("[core]\n", "[core]\n    no_scm = true\n"))


def _recordings(settings: Params) -> None:
    for dataset in settings.datasets:
        download.download(dataset)
    split.split()


def _features(settings: Params) -> None:
    for dataset in settings.datasets:
        preprocess.preprocess(dataset)


def _models(settings: Params) -> None:
    for model, seed in product(settings.models, settings.seeds):
        train.train(model, seed, device="cpu", features_in="auto", jobs=0)


def _scores(settings: Params) -> None:
    for row in params.table_rows(settings.models):
        evaluate.evaluate(row, role="test", out=None, device="cpu")


def _table(_: Params) -> None:
    compare.main()


def _critics(_: Params) -> None:
    critics.critics()


def _page(_: Params) -> None:
    report.report(Path("results/report"))


PARTS: dict[str, Callable[[Params], None]] = {
    "recordings": _recordings,
    "features": _features,
    "models": _models,
    "scores": _scores,
    "table": _table,
    "critics": _critics,
    "report": _page,
}
"""The stages of dvc.yaml in its order, as DVC would run them."""


def run_stages(folder: Path, last: str = "table") -> None:
    """Run the stages in `folder` up to and with the part `last`."""
    settings = params.load(folder / "params.yaml")
    with inside(folder):
        for name in _upto(last):
            PARTS[name](settings)


def shared(folder: Path, last: str) -> Path:
    """`folder` with the fixture experiment in it, as far as `last`; what is done is not done again.

    Processes that share the tests share it: the first that needs a part makes it. When a part
    fails, so do the tests that need it, and those that need less do not.
    """
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            folder.mkdir()
            write_params(small_params(), folder)
        settings = params.load(folder / "params.yaml")
        with inside(folder):
            for name in _upto(last):
                done = folder.with_name(f"{folder.name}.{name}")
                if not done.exists():
                    PARTS[name](settings)
                    done.touch()
    return folder


def _upto(last: str) -> list[str]:
    names = list(PARTS)
    return names[: names.index(last) + 1]


def track_scores(folder: Path, row: str) -> list[dict[str, str]]:
    with (folder / f"results/tracks/{row}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
