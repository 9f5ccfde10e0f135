"""The container's entry point in a folder with stand-ins for DVC and for a training."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.helpers.places import TOP
from tests.helpers.waiting import LONG_ENOUGH, until

TRAINING = """
    import pathlib, signal, sys, time
    def stop(*_):
        time.sleep(0.5)
        pathlib.Path("checkpoint").write_text("whole")
        sys.exit(143)
    signal.signal(signal.SIGTERM, stop)
    pathlib.Path("training").touch()
    time.sleep(600)
"""
"""Stands in for a training that takes a while to write its checkpoint."""
DVC = """
    import pathlib, subprocess, sys, time
    try:
        pathlib.Path("dvc").write_text(str(__import__("os").getpid()))
        if "pull" in sys.argv:
            time.sleep(600)
        stage = subprocess.Popen(["sh", "-c", "python -m stages.train V; exit $?"])
        pathlib.Path("dvc-saw").write_text(str(stage.wait()))
        sys.exit(255)
    except KeyboardInterrupt:
        pathlib.Path("cleaned").touch()
        sys.exit(252)
"""
"""Stands in for DVC: starts its stage in a shell, dies of SIGTERM at once, cleans up after SIGINT."""


def set_up(folder: Path) -> None:
    """Everything that the checks ask for, and the stand-ins."""
    for name in (".git", ".dvc", "stages", "bin", "experiments/second"):
        (folder / name).mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml"):
        (folder / name).touch()
    (folder / "stages" / "__init__.py").touch()
    (folder / "stages" / "train.py").write_text(textwrap.dedent(TRAINING))
    program = folder / "bin" / "dvc"
    program.write_text(f"#!{sys.executable}\n{textwrap.dedent(DVC)}")
    program.chmod(0o755)
    (folder / "bin" / "python").symlink_to(sys.executable)


def environ(checkout: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(TOP),
        "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}",
        "NVIDIA_VISIBLE_DEVICES": "void",
    }


def start(checkout: Path, *words: str, folder: str = "") -> "subprocess.Popen[str]":
    """folder: where the container works, below the checkout (`docker run --workdir`)."""
    return subprocess.Popen(
        [sys.executable, "-m", "container", *words],
        cwd=checkout / folder, env=environ(checkout), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(checkout: Path, *words: str, folder: str = "") -> tuple[int, str]:
    """Exit status and what was said, without the note on the device."""
    container = start(checkout, *words, folder=folder)
    _, said = container.communicate(timeout=LONG_ENOUGH)
    return container.returncode, "".join(
        line for line in said.splitlines(keepends=True) if "on the CPU" not in line
    )


def wait_for(path: Path) -> None:
    until(lambda: path.exists() and (path.name != "dvc" or path.read_text()))
