"""Git in repositories of the tests' own."""

import subprocess
from pathlib import Path

from tests.helpers.places import TOP


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def committed(path: str) -> str | None:
    """The text of a file in the last commit, whatever a run left of it in the checkout.

    None where git does not know: no repository, no git, or the checkout of another user.
    """
    shown = subprocess.run(["git", "show", f"HEAD:./{path}"], cwd=TOP, capture_output=True)
    return shown.stdout.decode() if shown.returncode == 0 else None
