"""The experiment in the container, stopped and killed in the middle: the same table as without.

The checks go on from each other, in this order.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.container.engine.clones import clone, fetch, removed
from tests.container.engine.docker import (
    IMAGE,
    STRANGER,
    docker,
    exit_status,
    logs,
    run,
    started,
    wait_for,
)
from tests.helpers.experiment import small_params

QUICK = bool(os.environ.get("ENGINE_TEST_QUICK"))
THREADS = "1" if QUICK else "2"
"""2 as on the machine that made the committed results: bits depend on the number."""
RESULTS = ("metrics.json", "table.md", "table.csv", "curves.csv")
NAME = "adversarial-separation-test"


def params() -> dict[str, Any] | None:
    """None: those of the repository. Quick: small, but long enough to be stopped in the middle."""
    if not QUICK:
        return None
    data = small_params()
    data["training"] |= {"steps_per_epoch": 20, "max_epochs": 4}
    return data


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with removed(clone(tmp_path_factory.mktemp("experiment") / "checkout", params())) as folder:
        yield folder


def options(checkout: Path) -> tuple[str, ...]:
    mount = f"{checkout}:/experiment"
    return "--user", STRANGER, "-e", f"OMP_NUM_THREADS={THREADS}", "-v", mount, IMAGE


def lock_left(checkout: Path) -> str:
    return (checkout / ".dvc/tmp/container.lock").read_text(encoding="utf-8")


def test_stopped_it_leaves_a_checkpoint_within_10_seconds(checkout: Path) -> None:
    checkpoint = checkout / "work/checkpoints/V/seed-1/last.ckpt"
    epoch = checkpoint.with_name("previous.ckpt")
    with started(NAME, *options(checkout)) as name:
        wait_for(epoch.exists, name)
        second = run(mount=checkout)
        assert second.returncode == 1
        assert "runs `dvc repro` here since" in second.stderr, second.stderr
        began = time.monotonic()
        docker("stop", "-t", "60", name)
        seconds = time.monotonic() - began
        said = logs(name)
        assert exit_status(name) == 143
    print(f"stopped after {seconds:.1f} s")
    assert seconds < 10
    assert "stopping (SIGTERM): python -m stages.train --model V" in said
    assert "failed to reproduce 'train@V'" in said, said[-2000:]
    assert "update/s, L_s of seed 1" in said, "progress is shown"
    assert checkpoint.stat().st_size > 0
    assert lock_left(checkout) == ""
    rwlock = json.loads((checkout / ".dvc/tmp/rwlock").read_text(encoding="utf-8"))
    assert not any(rwlock.values()), "DVC has given its locks back"


def test_the_next_run_goes_on_and_is_killed(checkout: Path) -> None:
    epoch = checkout / "work/checkpoints/VA/seed-1/previous.ckpt"
    with started(NAME, *options(checkout)) as name:
        wait_for(epoch.exists, name)
        docker("kill", "--signal", "KILL", name)
        assert exit_status(name) == 137
        said = logs(name)
    assert "resuming from work/checkpoints/V/seed-1/last.ckpt" in said, said[-3000:]
    assert "Stage 'train@baseline' didn't change, skipping" in said
    assert json.loads(lock_left(checkout))["command"] == "dvc repro"


def test_after_a_kill_it_goes_on_to_the_end(checkout: Path) -> None:
    with started(NAME, *options(checkout)) as name:
        assert exit_status(name) == 0, logs(name)[-3000:]
        said = logs(name)
    assert "rwlock: removed; container " in said
    assert "resuming from work/checkpoints/VA/seed-1/last.ckpt" in said
    assert lock_left(checkout) == ""


def test_the_results_are_those_of_a_run_outside(checkout: Path, tmp_path: Path) -> None:
    if not QUICK:
        # the run outside is the one whose results are in git
        assert run("git", "status", "--porcelain", mount=checkout).stdout == ""
        return
    outside = fetch(tmp_path / "outside", params())
    environ = {
        **os.environ,
        "OMP_NUM_THREADS": THREADS,
        "DVC_SITE_CACHE_DIR": str(tmp_path / "site"),
    }
    environ.pop("PYTHONPATH", None)
    subprocess.run(["dvc", "repro", "-q"], cwd=outside, env=environ, check=True)
    for name in ("dvc.lock", *(f"results/{name}" for name in RESULTS)):
        assert (checkout / name).read_bytes() == (outside / name).read_bytes(), name
