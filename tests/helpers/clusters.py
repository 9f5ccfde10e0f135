"""A Dask scheduler and workers as processes of their own, for tests."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.waiting import until


def clean_environment(**more: str) -> dict[str, str]:
    """As on a machine where nobody has told Python where the pipeline is."""
    ours = ("PYTHONPATH", "DASK_", "OMP_", "OPENBLAS_", "MKL_", "PIPELINE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | more


@contextmanager
def started(
    command: Sequence[str], folder: Path, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in `folder`, its output in a file there; ended with the block."""
    log = folder / f"{command[-1].strip('-').replace('/', '_')}-{time.monotonic_ns()}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=folder, stdout=file, stderr=file, env=clean_environment(**environment)
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def scheduler(
    folder: Path, prefix: Sequence[str] = (), host: str = "127.0.0.1", **environment: str
) -> Iterator[str]:
    """The address of a new scheduler on a free port."""
    file = folder / "scheduler.json"
    command = [
        *prefix, sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", host,
        "--port", "0", "--no-dashboard", "--scheduler-file", str(file),
    ]  # fmt: skip
    with started(command, folder, **environment) as process:
        until(lambda: file.exists() and file.stat().st_size > 0, process)
        yield json.loads(file.read_text())["address"]


@contextmanager
def workers(
    folder: Path, address: str, *options: str, prefix: Sequence[str] = (), **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The process that keeps workers (`--nworkers`) running; it does not wait for them."""
    command = [
        *prefix, sys.executable, "-m", "distributed.cli.dask_worker", address,
        "--no-dashboard", "--local-directory", str(folder), *options,
    ]  # fmt: skip
    with started(command, folder, **environment) as process:
        yield process
