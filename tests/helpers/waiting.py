"""Waiting for the thing itself, however busy the machine is."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LONG_ENOUGH = 120.0
"""Seconds after which what was waited for will not come any more."""


def until(
    met: Callable[[], object], process: "subprocess.Popen[Any] | None" = None, pause: float = 0.05
) -> None:
    """Wait for a condition; fails when a process ends before it is met."""
    end = time.monotonic() + LONG_ENOUGH
    while not met():
        assert process is None or process.poll() is None, "the process has ended"
        assert time.monotonic() < end, "waited too long"
        time.sleep(pause)


def has_files(folder: Path, count: int) -> bool:
    return len(list(folder.iterdir())) == count
