"""Work on several processes: the same results in the same order, and errors that say what happened."""

import multiprocessing
import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.parallel import parallel_map, processes


def square_slowly(number: int) -> int:
    time.sleep(0.2 if number == 0 else 0.0)  # the first is done last
    return number * number


def fail_on_three(number: int) -> int:
    if number == 3:
        raise UserError("three.wav: truncated")
    return number


def die_on_three(number: int) -> int:
    if number == 3:
        os._exit(9)
    return number


def leave_a_mark(number: int, folder: Path) -> int:
    (folder / str(number)).touch()
    return number


def product_of_matrices(seed: int) -> bytes:
    """The last bits of a matrix product depend on the number of threads."""
    random = np.random.default_rng(seed)
    return (random.standard_normal((300, 700)) @ random.standard_normal((700, 300))).tobytes()


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_PROCESSES", "2")


def test_results_come_in_the_order_of_the_items(two: None) -> None:
    assert list(parallel_map(square_slowly, range(8), "x")) == [n * n for n in range(8)]


def test_no_items_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiprocessing.get_context", lambda _: pytest.fail("a process started"))
    assert list(parallel_map(square_slowly, [], "x")) == []


def test_an_items_error_is_raised_when_its_turn_comes(two: None) -> None:
    computed = parallel_map(fail_on_three, range(6), "x")
    assert [next(computed) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match=r"^three\.wav: truncated$"):
        next(computed)


def test_a_worker_that_dies_says_so_and_what_to_do(two: None) -> None:
    with pytest.raises(RuntimeError) as caught:
        list(parallel_map(die_on_three, range(6), "features iKala"))
    message = str(caught.value)
    assert message.startswith("features iKala: a worker process died (out of memory?) after ")
    assert "of 6 tracks" in message
    assert "PIPELINE_PROCESSES=1" in message


def test_results_do_not_depend_on_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for number in ("1", "2"):
        monkeypatch.setenv("PIPELINE_PROCESSES", number)
        results.append(list(parallel_map(product_of_matrices, range(4), "x")))
    assert results[0] == results[1]


def test_no_more_is_computed_ahead_than_will_soon_be_taken(two: None, tmp_path: Path) -> None:
    """Finished tracks that nobody has taken are in memory: at most twice the processes."""
    computed = parallel_map(partial(leave_a_mark, folder=tmp_path), range(50), "x")
    for taken in (1, 2, 3):
        next(computed)
        time.sleep(0.3)
        assert len(list(tmp_path.iterdir())) <= taken - 1 + 4
    assert list(computed) == list(range(3, 50))


def test_progress_is_shown_with_its_unit(two: None, capfd: pytest.CaptureFixture[str]) -> None:
    list(parallel_map(fail_on_three, [1, 2], "scores V", unit="song"))
    shown = capfd.readouterr().err
    assert "scores V: 100%" in shown
    assert "2/2" in shown
    assert "song/s" in shown


def test_processes_are_those_asked_for_or_all_that_may_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIPELINE_PROCESSES", "5")
    assert processes() == 5
    for unset in ("", "0"):
        monkeypatch.setenv("PIPELINE_PROCESSES", unset)
        assert processes() == len(os.sched_getaffinity(0))
    monkeypatch.delenv("PIPELINE_PROCESSES")
    assert processes() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("value", ["many", "-1", "1.5"])
def test_a_wrong_number_of_processes_is_one_line(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("PIPELINE_PROCESSES", value)
    with pytest.raises(UserError, match=f"^PIPELINE_PROCESSES: .*found '{value}'$"):
        processes()


def test_when_the_last_item_is_out_the_workers_are_gone(two: None) -> None:
    """Left to end by themselves, they meet the interpreter's own end: an OSError on the terminal."""
    assert list(parallel_map(square_slowly, range(8), "test")) == [n * n for n in range(8)]
    assert multiprocessing.active_children() == []


def test_when_an_item_fails_the_workers_are_gone(two: None) -> None:
    with pytest.raises(UserError):
        list(parallel_map(fail_on_three, range(8), "test"))
    assert multiprocessing.active_children() == []
