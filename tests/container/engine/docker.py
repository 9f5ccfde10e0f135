"""The engine's client, as the checks of the image use it."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CLIENT = os.environ.get("DOCKER", "docker")
IMAGE = "adversarial-separation"
BASE = os.environ.get("BASE") or "python:3.11-slim-bookworm"
STRANGER = "12345:12345"
"""A user that the image does not know."""


def docker(*words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Call the client; both streams come back, the status is the caller's business."""
    return subprocess.run([CLIENT, *words], capture_output=True, text=True, timeout=timeout)


def run(
    *words: str, mount: Path | None = None, options: tuple[str, ...] = (), user: str = STRANGER
) -> subprocess.CompletedProcess[str]:
    """`docker run` with a checkout mounted; words: the command."""
    mounts = () if mount is None else ("-v", f"{mount}:/experiment")
    return docker("run", "--rm", "--user", user, *mounts, *options, IMAGE, *words)


def as_root(script: str, mount: Path | None = None, image: str = IMAGE) -> str:
    """Run a shell line as root in an image: whoever calls this need not be root."""
    mounts = () if mount is None else ("-v", f"{mount}:/experiment")
    done = docker("run", "--rm", "--user", "0", "--entrypoint", "sh", *mounts, image, "-c", script)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def started(name: str, *options: str) -> Iterator[str]:
    """A container in the background, removed afterwards; yields its name."""
    docker("rm", "-f", name)
    done = docker("run", "-d", "--name", name, *options)
    assert done.returncode == 0, done.stderr
    try:
        yield name
    finally:
        docker("rm", "-f", name)


def logs(name: str) -> str:
    done = docker("logs", name)
    return done.stdout + done.stderr


def exit_status(name: str, timeout: float = 3600) -> int:
    """Wait until a container has ended."""
    return int(docker("wait", name, timeout=timeout).stdout)


def wait_for(what: Callable[[], bool], name: str, timeout: float = 1800) -> None:
    """Wait until something is so while a container runs; fails with its last lines if it ends first."""
    limit = time.monotonic() + timeout
    while not what():
        running = docker("inspect", "--format", "{{.State.Running}}", name).stdout.strip()
        assert running == "true", logs(name)[-3000:]
        assert time.monotonic() < limit, logs(name)[-3000:]
        time.sleep(0.1)
