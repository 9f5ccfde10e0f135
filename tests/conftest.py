"""The fixture experiment: the real stages on a small copy of params.yaml, once for all tests."""

import csv
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from filelock import FileLock
from ruamel.yaml import YAML

from pipeline import params
from pipeline.comparison import aggregation
from pipeline.datasets import survey
from pipeline.evaluation import table_row
from pipeline.features import preprocess as preprocessing
from pipeline.params import Params
from stages import common
from tests.helpers import score_tables, small_recordings

TOP = Path(__file__).parents[1]
REAL_SONGS = TOP.parent / "shared" / "real_songs"
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
"""Of PyTorch; threads of several processes that outnumber the cores wait for each other."""
ROWS = ("mixture", "baseline", "V", "VA", "oracle")

SMALL: dict[str, Any] = {
    "synthetic": {"seconds": 5.0},
    "separator": {"filters": 2},
    "critic": {"filters": 2},
    "training": {
        "batch_size": 4, "steps_per_epoch": 6, "max_epochs": 3, "critic_steps": 2,
        "learning_rate": 1e-3,
    },
    "evaluation": {"bootstrap_samples": 200},
}  # fmt: skip
TRACKS = {"DSD100": 8, "MedleyDB": 6, "CCMixter": 3, "iKala": 3}


@contextmanager
def inside(folder: Path) -> Iterator[Path]:
    """Run with `folder` as the working directory."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


def small_params() -> dict[str, Any]:
    """params.yaml as it is, at a hundredth of its size."""
    data = YAML(typ="safe", pure=True).load((TOP / "params.yaml").read_text(encoding="utf-8"))
    for section, values in SMALL.items():
        data[section] |= values
    data["synthetic"]["tracks"] = dict(TRACKS)
    return data  # type: ignore[no-any-return]


def write_params(data: dict[str, Any], folder: Path) -> Params:
    """Write params.yaml into `folder`."""
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(data, file)
    return params.load(folder / "params.yaml")


def run_stages(folder: Path, models: bool = True, pictures: bool = False) -> None:
    """Every stage that dvc.yaml has, in its order, as DVC would run them."""
    from stages import compare, download, evaluate, preprocess, report, split, train

    settings = params.load(folder / "params.yaml")
    with inside(folder):
        for dataset in settings.datasets:
            download.download(dataset)
        split.split()
        for dataset in settings.datasets:
            preprocess.preprocess(dataset)
        if not models:
            return
        for model in settings.models:
            train.train(model, device="cpu", features_in="auto")
        for row in ("mixture", *settings.models, "oracle"):
            evaluate.evaluate(row, role="test", out=None, device="cpu")
        compare.main()
        if pictures:
            report.report(Path("results/report"))


@pytest.fixture(scope="session", autouse=True)
def threads() -> None:
    """The same number for this process and those that it starts: bits depend on it."""
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all stages have run. Read it; copy it to change it.

    Processes that share the tests share it too: the first that needs it makes it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "experiment"
    done = folder / "done"
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            folder.mkdir()
            write_params(small_params(), folder)
            run_stages(folder, pictures=True)
            done.touch()
    return folder


@pytest.fixture
def copied(experiment: Path, tmp_path: Path) -> Path:
    """A copy of the finished experiment, without its recordings, for a test to change."""
    target = tmp_path / "experiment"
    shutil.copytree(experiment, target, ignore=shutil.ignore_patterns("synthetic"))
    return target


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Per-track work in this process: starting others takes seconds; test_parallel.py is about them."""

    def in_turn(function: Any, items: Sequence[Any], *_: Any) -> Iterator[Any]:
        yield from map(function, items)

    for module in (table_row, preprocessing, survey):
        monkeypatch.setattr(module, "parallel_map", in_turn)
    # A worker keeps what it opened until it ends; this process goes on to the next test.
    table_row._open.cache_clear()
    table_row._load.cache_clear()


@pytest.fixture
def real_songs() -> Path:
    """Two real songs in MUSDB's stem format; they are not part of the repository."""
    if not REAL_SONGS.is_dir():
        pytest.skip(
            f"{REAL_SONGS} is absent: the real songs are not in the repository (CC BY-NC-SA)"
        )
    return REAL_SONGS


def fingerprints(folder: Path) -> dict[str, str]:
    """Every file below a folder with a hash of its content."""
    with inside(folder):
        return {
            str(path): hashlib.md5(path.read_bytes()).hexdigest()
            for path in Path().rglob("*")
            if path.is_file()
        }


def failing(
    command: Callable[..., None], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> str:
    """The one line that a stage's command line says when it ends with status 1."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["stage", *arguments])
        with pytest.raises(SystemExit) as ended:
            common.run(command)
    said = capsys.readouterr()
    assert ended.value.code == 1
    lines = said.err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def track_scores(folder: Path, row: str) -> list[dict[str, str]]:
    with (folder / f"results/tracks/{row}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def frames() -> dict[str, pd.DataFrame]:
    """Two datasets with two scored tracks each and one that lacks vocals, in odd order."""

    def scores(level: float) -> score_tables.Tracks:
        return {
            ("iKala", "b"): ((level + 1, 2, 3), (level, 5, 6)),
            ("iKala", "a"): ((level + 3, 4, 5), (level + 0.01, 7, 8)),
            ("DSD100", "007"): ((level, 0, 0), (level + 8, 0, 0)),
            ("DSD100", "no vocals"): None,
            ("DSD100", "nan"): ((level + 1, 0, 0), (level + 9, 1, 0)),
        }

    levels = {"mixture": 0.0, "baseline": 2.0, "V": 3.0, "VA": 2.5, "oracle": 9.0}
    return {model: score_tables.frame(scores(level)) for model, level in levels.items()}


@pytest.fixture
def collected(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return aggregation.combine(frames, score_tables.SOURCES)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """The two files of small_recordings.PAIR."""
    small_recordings.put(tmp_path / "a.wav", small_recordings.noise(2, 3000, 1))
    small_recordings.put(tmp_path / "v.wav", small_recordings.noise(2, 3000, 2))
    return tmp_path


@pytest.fixture(scope="module")
def quiet_git(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No configuration of the user's, nothing sent, nothing kept outside the tests' folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_NO_ANALYTICS", "1")
        patch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path_factory.mktemp("site")))
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "a")
            patch.setenv(f"GIT_{role}_EMAIL", "a@example.org")
        yield
