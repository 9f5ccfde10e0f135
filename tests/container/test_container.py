"""The container's entry point with real processes, but without an engine (tests/engine has one)."""

import fcntl
import json
import os
import pty
import select
import shlex
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from container import locks
from container.command import Command
from container.process_table import in_care, living
from tests.helpers.stand_ins import TRAINING, environ, run, start, wait_for
from tests.helpers.waiting import LONG_ENOUGH, until

# ------------------------------------------------------------------------------------- the process


def test_a_stop_reaches_the_training_first_and_waits_for_its_checkpoint(checkout: Path) -> None:
    container = start(checkout, "dvc", "repro")
    wait_for(checkout / "training")
    container.terminate()
    _, said = container.communicate(timeout=LONG_ENOUGH)
    assert (checkout / "checkpoint").read_text() == "whole"
    assert (checkout / "dvc-saw").read_text() == "143", "DVC has lived to see its stage end"
    assert container.returncode == 143
    assert "stopping (SIGTERM): python -m stages.train V\nstopped after " in said


def test_a_training_whose_dvc_was_killed_still_writes_its_checkpoint(checkout: Path) -> None:
    container = start(checkout, "dvc", "repro")
    wait_for(checkout / "training")
    os.kill(int((checkout / "dvc").read_text()), signal.SIGKILL)
    container.communicate(timeout=LONG_ENOUGH)
    assert (checkout / "checkpoint").read_text() == "whole"
    assert container.returncode == 137


def test_dvc_without_a_stage_is_stopped_in_the_way_it_cleans_up(checkout: Path) -> None:
    container = start(checkout, "dvc", "pull")
    wait_for(checkout / "dvc")
    container.terminate()
    container.communicate(timeout=LONG_ENOUGH)
    assert (checkout / "cleaned").exists()
    assert container.returncode == 143


def test_a_stop_reaches_a_command_where_interrupts_are_ignored(checkout: Path) -> None:
    """As by `nohup` and in the background of a script: what is ignored is inherited."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        container = start(checkout, "dvc", "pull")
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for(checkout / "dvc")
    container.terminate()
    container.communicate(timeout=LONG_ENOUGH)
    assert (checkout / "cleaned").exists()


def test_ctrl_c_at_a_terminal_is_a_stop_and_the_second_ends_at_once(checkout: Path) -> None:
    endless = "pathlib.Path('saving').touch(); time.sleep(600)"
    training = checkout / "stages" / "train.py"
    training.write_text(textwrap.dedent(TRAINING).replace("time.sleep(0.5)", endless))
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(checkout)
        os.execve(
            sys.executable, [sys.executable, "-m", "container", "dvc", "repro"], environ(checkout)
        )
    wait_for(checkout / "training")
    os.write(terminal, b"\x03")
    wait_for(checkout / "saving")
    assert not (checkout / "dvc-saw").exists(), "Ctrl-C has reached nothing but the entry point"
    os.write(terminal, b"\x03")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    said = os.read(terminal, 10000).decode()
    assert "stopping (SIGINT): python -m stages.train V; Ctrl-C again ends it at once" in said


@pytest.mark.parametrize("late", [0.0, 0.5])
def test_a_shell_gets_the_terminal(checkout: Path, late: float) -> None:
    """Also one that reads from it so soon that it is not yet its own."""
    program = (
        "import os, runpy, sys, time; hand_over = os.tcsetpgrp;"
        f"os.tcsetpgrp = lambda *place: (time.sleep({late}), hand_over(*place));"
        "sys.argv = ['container', 'sh', '-c', 'read answer; echo said $answer'];"
        "runpy.run_module('container', run_name='__main__')"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(checkout)
        os.execve(sys.executable, [sys.executable, "-c", program], environ(checkout))
    os.write(terminal, b"yes\n")
    said = b""
    while b"said yes" not in said:
        assert select.select([terminal], [], [], LONG_ENOUGH)[0], "the shell waits for ever"
        said += os.read(terminal, 1000)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -KILL $$"], 137),
        (["no-such-program"], 127),
        (["true"], 0),
    ],
)
def test_the_exit_status_is_the_commands(checkout: Path, words: list[str], status: int) -> None:
    assert run(checkout, *words)[0] == status


def test_orphans_are_buried(checkout: Path) -> None:
    """A daemon's way: the parent ends at once, the child later; its zombie must not stay."""
    script = (
        "(sleep 0.2 & echo $! >orphan); sleep 0.6; test ! -e /proc/$(cat orphan) && touch buried"
    )
    assert run(checkout, "sh", "-c", script)[0] == 0
    assert (checkout / "buried").exists()


# --------------------------------------------------------------------------------------- the locks


def rwlock(checkout: Path) -> Path:
    """As DVC leaves it when it is killed while a stage runs."""
    path = checkout / ".dvc/tmp/rwlock"
    path.parent.mkdir(exist_ok=True)
    entry = {"pid": 1, "cmd": "dvc repro"}
    path.write_text(json.dumps({"write": {"/experiment/models/V": entry}, "read": {}}))
    return path


def test_what_a_killed_container_left_is_removed(checkout: Path) -> None:
    container = start(checkout, "dvc", "repro")
    wait_for(checkout / "training")
    left = rwlock(checkout)
    # the entry point first, which would see the others die
    for each in (container.pid, *in_care(living(), container.pid)):
        os.kill(each, signal.SIGKILL)
    container.communicate()
    with locks.held(checkout, "dvc repro") as mended:
        assert mended.startswith(f"{left}: removed; container ")
        assert not left.exists()
    assert (checkout / ".dvc/tmp/container.lock").read_text() == ""


def test_what_is_no_containers_is_left_alone(checkout: Path) -> None:
    left = rwlock(checkout)
    before = left.read_text()
    status, said = run(checkout, "dvc", "repro")
    assert status == 1
    assert said.startswith(
        f"error: {left}: held by process 1 (dvc repro), which is in no container"
    )
    assert left.read_text() == before
    assert not (checkout / "training").exists()


@pytest.mark.parametrize("text", ['{"write": {}, "read": {}}', "{}"])
def test_an_rwlock_without_entries_is_nothing(checkout: Path, text: str) -> None:
    left = rwlock(checkout)
    left.write_text(text)
    with locks.held(checkout, "dvc repro") as mended:
        assert mended == ""
    assert left.read_text() == text


@pytest.mark.parametrize("text", ["", '{"write": {', "[]"])
def test_a_torn_rwlock_of_a_killed_container_is_removed(checkout: Path, text: str) -> None:
    left = rwlock(checkout)
    left.write_text(text)
    (checkout / ".dvc/tmp/container.lock").write_text('{"container": "abc"}')
    with locks.held(checkout, "dvc repro") as mended:
        assert mended == f"{left}: removed; container abc was killed and left it"


def test_a_living_container_keeps_its_locks(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locks.held(checkout, "dvc repro"):
        left = rwlock(checkout)
        with locks.held(checkout, "dvc status") as mended:  # as `docker exec` in the same container
            assert mended == ""
        monkeypatch.setattr(locks, "_namespace", lambda: "another")
        with pytest.raises(locks.Occupied, match="runs `dvc repro` here since"):
            locks.held(checkout, "dvc repro").__enter__()
        assert left.exists()
        left.unlink()


def waits_for_a_lock(pid: int) -> bool:
    """Whether the kernel has the process among those that wait for a lock (`man 5 proc_locks`)."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and f" {pid} " in line for line in lines)


def test_a_container_may_wait_for_another(checkout: Path) -> None:
    (checkout / ".dvc/tmp").mkdir()
    with (checkout / ".dvc/tmp/container.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused = run(checkout, "dvc", "repro")
        waiting = start(checkout, "dvc", "--wait-for-lock", "pull")
        until(lambda: waits_for_a_lock(waiting.pid), waiting)
        assert not (checkout / "dvc").exists()
    wait_for(checkout / "dvc")
    waiting.terminate()
    waiting.communicate(timeout=LONG_ENOUGH)
    assert refused[0] == 1
    assert "error: " in refused[1]


@pytest.mark.parametrize(
    ("words", "locks_it"),
    [
        ("dvc repro", True),
        ("dvc --wait-for-lock repro -s train@V", True),
        ("python -m dvc repro", True),
        ("/opt/venv/bin/dvc pull", True),
        ("sh -c 'dvc repro'", True),
        ("scripts/train-models --jobs 2", True),
        ("dvc metrics diff", False),
        ("dvc status", False),
        ("dvc --help", False),
        ("bash", False),
        ("python -m stages.train V", False),
        ("python -m pipeline separate a.wav", False),
    ],
)
def test_what_writes_with_dvc(words: str, locks_it: bool) -> None:
    assert Command(tuple(shlex.split(words))).writes_with_dvc is locks_it
