"""Per-track work on a Dask cluster: what comes out is what comes out here, whatever happens there.

The scheduler and the workers are processes of their own, in another folder, and have not been told where
the pipeline is. tests/parallel/test_cluster_machines.py has them on machines of their own.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest

from pipeline import rooms
from pipeline.errors import UserError
from pipeline.parallel import cluster
from pipeline.parallel.mapping import parallel_map
from pipeline.separation.separator import Separator
from stages import evaluate, preprocess
from tests.helpers import clusters, on_workers
from tests.helpers.on_workers import die_on_three, fail_on_three, square_slowly
from tests.helpers.places import inside
from tests.helpers.waiting import has_files, until


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def scheduler(elsewhere: Path) -> Iterator[str]:
    """One that gives a task up at the first death of its worker; Dask's own default is the fourth."""
    with clusters.scheduler(
        elsewhere, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0"
    ) as address:
        yield address


@pytest.fixture(scope="module")
def two_workers(elsewhere: Path, scheduler: str) -> Iterator[str]:
    with clusters.workers(elsewhere, scheduler, "--nthreads", "1", "--nworkers", "2"):
        yield scheduler


@pytest.fixture
def on_cluster(two_workers: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder in which per-track work is done by the cluster."""
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", two_workers)
    with inside(tmp_path):
        yield tmp_path


@pytest.fixture
def impatient() -> Iterator[None]:
    settings = {
        "distributed.comm.timeouts.connect": "1s",
        "distributed.scheduler.no-workers-timeout": "1s",
    }
    with dask.config.set(settings):
        yield


def minus(number: int) -> int:
    return -number


def one_line(function: Any, items: Any) -> str:
    with pytest.raises(UserError) as caught:
        list(parallel_map(function, items, "x"))
    message = str(caught.value)
    assert "\n" not in message
    return message


# ----------------------------------------------------------------------------- nothing to work with


def test_no_scheduler(monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9")
    message = one_line(square_slowly, range(3))
    assert message.startswith("DASK_SCHEDULER_ADDRESS=tcp://127.0.0.1:9: no Dask scheduler can be")
    assert "unset the variable" in message


@pytest.mark.parametrize(
    "address", ["nonsense://x", "tcp://no.such.host.invalid:8786", "tls://127.0.0.1:9"]
)
def test_an_address_that_is_none(
    monkeypatch: pytest.MonkeyPatch, impatient: None, address: str
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
    message = one_line(square_slowly, range(3))
    assert message.startswith(f"DASK_SCHEDULER_ADDRESS={address}: no Dask scheduler can be reached")


def test_a_scheduler_without_workers(
    scheduler: str, monkeypatch: pytest.MonkeyPatch, impatient: None, tmp_path: Path
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", scheduler)
    with inside(tmp_path):
        message = one_line(square_slowly, range(3))
    assert message.startswith(
        f"DASK_SCHEDULER_ADDRESS={scheduler}: the scheduler has had no worker"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_worker_without_the_code_and_one_of_several_threads(
    scheduler: str, monkeypatch: pytest.MonkeyPatch, elsewhere: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", scheduler)
    cluster.identity()
    with clusters.workers(elsewhere, scheduler, "--nthreads", "2", "--no-nanny"), inside(tmp_path):
        with monkeypatch.context() as patch:
            patch.setattr(rooms, "TOP", Path("/nowhere"))
            message = one_line(square_slowly, range(3))
        assert message.startswith("worker tcp://127.0.0.1:")
        assert "cannot import the pipeline from /nowhere" in message
        assert "has 2 threads" in one_line(square_slowly, range(3))


# ------------------------------------------------------------------------------- as on this machine


def test_the_same_results_in_the_same_order(on_cluster: Path) -> None:
    assert list(parallel_map(square_slowly, range(8), "x")) == [n * n for n in range(8)]
    assert list(on_cluster.iterdir()) == []


def test_the_same_bits(on_cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = list(parallel_map(on_workers.product_of_matrices, range(4), "x"))
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS")
    assert list(parallel_map(on_workers.product_of_matrices, range(4), "x")) == there


def test_relative_paths_are_those_of_the_stage(on_cluster: Path) -> None:
    Path("track.wav").write_bytes(b"123")
    assert list(parallel_map(on_workers.size, [Path("track.wav")] * 4, "x")) == [3] * 4


def test_an_error_is_raised_in_its_turn(
    on_cluster: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    computed = parallel_map(fail_on_three, range(6), "x")
    assert [next(computed) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match=r"^three\.wav: truncated$"):
        next(computed)
    assert "distributed" not in capfd.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"three\.wav"):
        list(parallel_map(on_workers.missing_on_three, range(6), "x"))


def test_no_more_is_computed_ahead_than_will_soon_be_taken(on_cluster: Path) -> None:
    marks = on_cluster / "marks"
    marks.mkdir()
    computed = parallel_map(partial(on_workers.leave_a_mark, folder=marks), range(30), "x")
    for ahead in (4, 5, 6):
        next(computed)
        # nothing is handed out until the next one is taken, so these are all that there will be
        until(partial(has_files, marks, ahead))
    assert list(computed) == list(range(3, 30))


def test_who_stops_taking_stops_the_work(on_cluster: Path, two_workers: str) -> None:
    """When the iterator is closed nothing is under way: a stage removes its scratch folder then."""
    marks = on_cluster / "marks"
    marks.mkdir()
    computed = parallel_map(partial(on_workers.leave_a_mark_slowly, folder=marks), range(30), "x")
    assert [next(computed), next(computed)] == [0, 1]
    computed.close()  # the third and fourth are under way, the fifth waits
    assert {path.name for path in marks.iterdir()} == {"0", "1", "2", "3"}
    with distributed.Client(two_workers) as client:
        until(lambda: not any(client.processing().values()))
    assert len(list(marks.iterdir())) == 4
    assert list(on_cluster.iterdir()) == [marks]


# --------------------------------------------------------------------------------- unfit and killed


def test_a_worker_with_other_code(on_cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = cluster.identity() | {"pipeline code": "0123abcd"}
    monkeypatch.setattr(cluster, "identity", lambda: here)
    message = one_line(square_slowly, range(3))
    assert message.startswith("worker tcp://127.0.0.1:")
    assert "the stage 0123abcd; start it again" in message


def test_a_worker_with_other_arithmetic(on_cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = cluster.identity() | {"arithmetic": "portable"}
    monkeypatch.setattr(cluster, "identity", lambda: here)
    message = one_line(square_slowly, range(3))
    assert "has arithmetic native, the stage portable; start it again" in message


def test_a_machine_with_another_version_of_dask(
    on_cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = distributed.Client.get_versions

    def other(client: distributed.Client) -> Any:
        versions = found(client)
        versions["scheduler"]["packages"]["distributed"] = "2020.1"
        return versions

    monkeypatch.setattr(distributed.Client, "get_versions", other)
    message = one_line(square_slowly, range(3))
    assert ": scheduler has distributed 2020.1, this machine 20" in message


def test_a_worker_that_does_not_see_the_folder(
    on_cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = cluster._by_value
    monkeypatch.setattr(
        cluster, "_by_value", lambda code, _, here: shipped(code, "/elsewhere/cluster-1", here)
    )
    assert "does not see the folder /elsewhere; share it" in one_line(square_slowly, range(3))


def test_a_killed_worker_costs_nothing_but_time(on_cluster: Path) -> None:
    marks = on_cluster / "marks"
    marks.mkdir()
    computed = parallel_map(partial(on_workers.say_who, folder=marks), range(12), "x", minus)
    assert next(computed) == 0
    until(lambda: list(marks.iterdir()), pause=0.001)
    (number, process), *_ = [path.name.split("-") for path in marks.iterdir()]
    os.kill(int(process), signal.SIGKILL)
    assert list(computed) == list(range(1, 12))
    assert (marks / f"{number}-{process}").exists()  # it did not come to its end


def test_an_item_that_ends_its_worker_every_time_is_lost_and_no_other(
    on_cluster: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert list(parallel_map(die_on_three, range(8), "x", minus)) == [0, 1, 2, -3, 4, 5, 6, 7]
    assert "distributed" not in capfd.readouterr().err


# --------------------------------------------------------------------------------------- the stages


def test_features_and_scores_are_the_same_to_the_byte(
    experiment: Path, copied: Path, two_workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", two_workers)
    (copied / "data/synthetic").symlink_to(experiment / "data/synthetic")
    features, scores = Path("data/features/iKala.h5"), Path("results/tracks/baseline.csv")
    with inside(copied):
        features.unlink()
        scores.unlink()
        preprocess.preprocess("iKala")
        evaluate.evaluate("baseline", role="test", out=None, device="cpu")
        for path in (features, scores):
            assert path.read_bytes() == (experiment / path).read_bytes()
        # Workers keep models open, and live on: the next stage finds another one at the same path.
        for seed in (1, 2):
            shutil.rmtree(f"models/baseline/seed-{seed}")
            details = {"model": "baseline", "seed": seed}
            other = Separator.load(f"models/V/seed-{seed}")
            other.save(Path(f"models/baseline/seed-{seed}"), details)
        evaluate.evaluate("baseline", role="test", out=None, device="cpu")
        assert scores.read_bytes() == (experiment / "results/tracks/V.csv").read_bytes()
