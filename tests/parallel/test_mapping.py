"""Work on several processes: the same results in the same order, and errors that say what happened."""

import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tqdm import tqdm

from pipeline.datasets import survey
from pipeline.errors import UserError
from pipeline.evaluation import table_row
from pipeline.parallel import workers
from pipeline.parallel.mapping import parallel_map
from pipeline.parallel.workers import worker_count
from pipeline.tracks import TrackName
from stages import evaluate
from tests.helpers import on_workers
from tests.helpers.on_workers import die_on_three, fail_on_three, leave_a_mark, square_slowly
from tests.helpers.places import TOP, inside
from tests.helpers.small_copies import noise, song
from tests.helpers.waiting import has_files, until


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_PROCESSES", "2")


def minus(number: int) -> int:
    return -number


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


def test_results_do_not_depend_on_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for number in ("1", "2"):
        monkeypatch.setenv("PIPELINE_PROCESSES", number)
        results.append(list(parallel_map(on_workers.product_of_matrices, range(4), "x")))
    assert results[0] == results[1]


def test_workers_have_what_was_imported_ahead_and_the_environment_of_now() -> None:
    """In a process of its own: one that has started workers before keeps their fork server."""
    program = (
        "import os\n"
        "from pipeline.parallel.mapping import parallel_map\n"
        "from pipeline.parallel.workers import import_ahead\n"
        "from tests.helpers.on_workers import imported, variable\n"
        "import_ahead('wave')\n"
        "assert 'OMP_NUM_THREADS' not in os.environ\n"
        "os.environ['SAID'] = 'later'\n"
        "print(list(parallel_map(imported, ['wave', 'chunk_that_is_no_module'], 'x')))\n"
        "print(list(parallel_map(variable, ['SAID', 'OMP_NUM_THREADS'], 'x')))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=TOP, env=environment, check=True, text=True,
        stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    assert said.splitlines() == ["[True, False]", "['later', '1']"]


def test_no_more_is_computed_ahead_than_will_soon_be_taken(two: None, tmp_path: Path) -> None:
    """Finished tracks that nobody has taken are in memory: at most twice the processes."""
    computed = parallel_map(partial(leave_a_mark, folder=tmp_path), range(50), "x")
    for ahead in (4, 5, 6):
        next(computed)
        # nothing is handed out until the next one is taken, so these are all that there will be
        until(partial(has_files, tmp_path, ahead))
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
    assert worker_count() == 5
    for unset in ("", "0"):
        monkeypatch.setenv("PIPELINE_PROCESSES", unset)
        assert worker_count() == len(os.sched_getaffinity(0))
    monkeypatch.delenv("PIPELINE_PROCESSES")
    assert worker_count() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("value", ["many", "-1", "1.5"])
def test_a_wrong_number_of_processes_is_one_line(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("PIPELINE_PROCESSES", value)
    with pytest.raises(UserError, match=f"^PIPELINE_PROCESSES: .*found '{value}'$"):
        worker_count()


def test_when_the_last_item_is_out_the_workers_are_gone(two: None) -> None:
    """Left to end by themselves, they meet the interpreter's own end: an OSError on the terminal."""
    assert list(parallel_map(square_slowly, range(8), "test")) == [n * n for n in range(8)]
    assert multiprocessing.active_children() == []


def test_when_an_item_fails_the_workers_are_gone(two: None) -> None:
    with pytest.raises(UserError):
        list(parallel_map(fail_on_three, range(8), "test"))
    assert multiprocessing.active_children() == []


def test_the_cluster_costs_nothing_until_it_is_asked_for() -> None:
    check = "import sys, pipeline.parallel; sys.exit('distributed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=TOP).returncode == 0


# ------------------------------------------------------------------------------------- lost tracks


def test_an_item_that_ends_its_process_every_time_is_lost_and_no_other(two: None) -> None:
    assert list(parallel_map(die_on_three, range(8), "x", minus)) == [0, 1, 2, -3, 4, 5, 6, 7]
    assert multiprocessing.active_children() == []


def test_an_item_whose_process_was_killed_is_computed_again(two: None, tmp_path: Path) -> None:
    work = partial(on_workers.die_once_on_three, folder=tmp_path)
    assert list(parallel_map(work, range(8), "x", minus)) == list(range(8))


def test_the_second_time_nothing_is_computed_beside_it(two: None, tmp_path: Path) -> None:
    work = partial(on_workers.die_beside_others, folder=tmp_path)
    assert list(parallel_map(work, range(8), "x", minus)) == list(range(8))


def test_whoever_cannot_do_without_an_item_says_so_in_one_line(two: None) -> None:
    computed = parallel_map(die_on_three, range(8), "render iKala")
    assert [next(computed) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError) as caught:
        next(computed)
    message = str(caught.value)
    assert message.startswith("render iKala: track 4 of 8 is lost: its worker process died twice")
    assert "\n" not in message


def losing(
    function: Any, items: Sequence[Any], _: str, lost: Callable[[Any], Any]
) -> Iterator[Any]:
    """`parallel_map` that loses the second item."""
    yield from (lost(item) if n == 1 else function(item) for n, item in enumerate(items))


def test_a_lost_track_is_listed_as_unusable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "parallel_map", losing)
    for number, name in enumerate(["a_-_b", "c_-_d", "e_-_f"]):
        song(tmp_path, name, noise(2, 2000, number))
    found = survey.take("CCMixter", "local", tmp_path, ["accompaniment", "vocals"])
    assert [one.track.id for one in found.recordings] == ["a_-_b", "e_-_f"]
    (rejected,) = found.rejected
    assert rejected.track == "c_-_d"
    assert rejected.reason.startswith(
        "ccmixter_corpus/c_-_d/source-01.wav: its worker process died twice"
    )


def test_a_table_never_lacks_a_lost_track(
    with_features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are scored, and the stage names it and writes nothing."""
    scored = []

    def score(track: TrackName, _: Any, seed: int) -> list[Any]:
        scored.append((seed, track))
        return []

    monkeypatch.setattr(table_row, "parallel_map", losing)
    monkeypatch.setattr(table_row, "score", score)
    with inside(with_features), pytest.raises(UserError) as caught:
        evaluate.evaluate("V", role="test", out=tmp_path / "V.csv", device="cpu")
    tested = pd.read_csv(with_features / "data/split.csv").query("role == 'test'")
    tracks = tested[["dataset", "track"]].itertuples(index=False, name=None)
    missing = set(product((1, 2), tracks)) - set(scored)
    assert {seed for seed, _ in missing} == {1, 2}
    ((_, lost), _) = missing
    assert {track for _, track in missing} == {lost}
    message = str(caught.value)
    assert f"1 of {len(tested)} tracks are lost: {TrackName(*lost)}: its worker process" in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("remedy", ["CONT", "KILL"])
def test_a_worker_that_does_nothing_is_named_and_the_remedies_hold(
    two: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remedy: str
) -> None:
    said = []

    def obey(line: str, **_: Any) -> None:
        if "(its state: stopped)" in line:  # on a busy machine others may have had no turn
            said.append(line)
            (command,) = re.findall(rf"`(kill -{remedy} \d+)`", line)
            subprocess.run(command, shell=True, check=True)

    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    monkeypatch.setattr(tqdm, "write", obey)
    stopping = partial(on_workers.stop_once_on_three, folder=tmp_path)
    assert list(parallel_map(stopping, range(6), "x")) == [*range(6)]
    assert len(said) == 1


def test_a_kill_before_the_first_worker_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import time; from pipeline.parallel.workers import import_ahead\n"
        "import_ahead('tests.helpers.waiting'); print('begun', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(TOP), "TMPDIR": str(tmp_path)},
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.kill()
    until(lambda: not list(tmp_path.iterdir()))
