"""Fixtures that several rooms' tests share."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import settings

from pipeline import network_settings
from pipeline.comparison import aggregation
from pipeline.datasets import survey
from pipeline.evaluation import table_row
from pipeline.features import preprocess
from pipeline.networks import own
from tests.helpers import score_tables, small_recordings
from tests.helpers.experiment import THREADS, shared
from tests.helpers.places import REAL_SONGS, TOP

# The same examples in every run, however busy the machine: a change is judged by what it changes.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def threads() -> None:
    """The same number for this process and those that it starts: bits depend on it."""
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="session")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "experiment"


@pytest.fixture(scope="session")
def with_features(_folder: Path) -> Path:
    """The fixture experiment with recordings, split and features. Read it, do not change it."""
    return shared(_folder, "features")


@pytest.fixture(scope="session")
def with_models(with_features: Path) -> Path:
    """The same with trained models."""
    return shared(with_features, "models")


@pytest.fixture(scope="session")
def with_scores(with_models: Path) -> Path:
    """The same with scores per track."""
    return shared(with_models, "scores")


@pytest.fixture(scope="session")
def experiment(with_scores: Path) -> Path:
    """The whole fixture experiment: all stages have run."""
    return shared(with_scores, "report")


@pytest.fixture
def copied(experiment: Path, tmp_path: Path) -> Path:
    """A copy of the finished experiment, without its recordings, for a test to change."""
    return _copy(experiment, tmp_path, "synthetic")


@pytest.fixture
def copied_models(with_models: Path, tmp_path: Path) -> Path:
    """A copy of the experiment as far as its models, for a test to change."""
    return _copy(with_models, tmp_path, "synthetic", "results")


def _copy(folder: Path, tmp_path: Path, *without: str) -> Path:
    target = tmp_path / "experiment"
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns(*without))
    return target


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Per-track work in this process: starting others takes seconds; test_parallel.py is about them."""

    def in_turn(function: Any, items: Sequence[Any], *_: Any) -> Iterator[Any]:
        yield from map(function, items)

    for module in (table_row, preprocess, survey):
        monkeypatch.setattr(module, "parallel_map", in_turn)
    # A worker keeps what it opened until it ends; this process goes on to the next test.
    table_row._open.cache_clear()
    table_row._load.cache_clear()


@pytest.fixture
def own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkout's folder for users' own networks, with the two examples; a test may write there."""
    folder = tmp_path / "checkout/networks"
    shutil.copytree(TOP / "networks", folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(network_settings, "OWN_NETWORKS", folder)
    monkeypatch.setattr(own, "_imported", {})
    return folder


@pytest.fixture
def real_songs() -> Path:
    """Two real songs in MUSDB's stem format; they are not part of the repository."""
    if not REAL_SONGS.is_dir():
        pytest.skip(
            f"{REAL_SONGS} is absent: the real songs are not in the repository (CC BY-NC-SA)"
        )
    return REAL_SONGS


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
    return {
        model: score_tables.frame(scores(level), seeds=score_tables.seeds_of(model))
        for model, level in levels.items()
    }


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
