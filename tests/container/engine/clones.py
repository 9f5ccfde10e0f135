"""Fresh clones of the repository, owned by a user of a container."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.container.engine.docker import STRANGER, as_root
from tests.helpers.experiment import write_params
from tests.helpers.places import TOP


def clone(target: Path, params: dict[str, Any] | None = None, history: bool = True) -> Path:
    """Clone the last commit for STRANGER; params: in place of params.yaml; history: with .git."""
    fetch(target, params)
    if not history:
        shutil.rmtree(target / ".git")
    as_root(f"chown -R {STRANGER} /experiment", target)
    return target


def fetch(target: Path, params: dict[str, Any] | None = None) -> Path:
    """Clone the last commit for whoever runs this."""
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(TOP), str(target)], check=True)
    if params is not None:
        write_params(params, target)
    return target


@contextmanager
def removed(folder: Path) -> Iterator[Path]:
    """Delete a folder's content afterwards, whoever owns it."""
    try:
        yield folder
    finally:
        as_root("find /experiment -mindepth 1 -delete", folder)
