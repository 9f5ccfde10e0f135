"""The container's entry point: checks, then the command; or the checks alone.

check [COMMAND]    all lines; by default those of `dvc repro`
health             the engine's health check: errors only, no question to the GPU's driver
"""

import os
import sys
from pathlib import Path

from container import checks, home, init, locks
from container.command import Command

REPRO = ("dvc", "repro")


def main(words: list[str]) -> int:
    """Run the words of the container's command; return its exit status."""
    checkout, folder = place(Path.cwd())
    if words[:1] == ["health"]:
        return say([each for each in health(checkout, folder) if each.level == "error"])
    asked_for_checks = words[:1] == ["check"]
    command = Command(tuple(words[1:] if asked_for_checks else words) or REPRO, folder)
    environ, found = home.environment(os.environ, checkout, os.geteuid())
    found += checks.look(command, checkout, environ)
    status = say(found)
    if asked_for_checks or status:
        return status
    if not command.writes_with_dvc:
        return init.run(command, environ)
    try:
        with locks.held(
            checkout, " ".join(command.words), wait="--wait-for-lock" in command.words
        ) as mended:
            if mended:
                say([checks.Finding("note", mended)])
            return init.run(command, environ)
    except locks.Occupied as occupied:
        return say([checks.error(str(occupied))])


def place(here: Path) -> tuple[Path, str]:
    """The checkout, and the folder below it of the experiment in whose folder the command runs, or ""."""
    top = here.parent.parent
    within = here.parent.name == "experiments" and os.access(top / "params.yaml", os.F_OK)
    return (top, f"experiments/{here.name}") if within else (here, "")


def health(checkout: Path, folder: str) -> list[checks.Finding]:
    """What can go wrong while a command runs: the mount and its owner."""
    if os.access(checkout, os.X_OK) and not (checkout / "dvc.yaml").exists():
        return []
    return [*checks.folder(checkout, os.geteuid(), [folder]), *checks.history(checkout)]


def say(found: list[checks.Finding]) -> int:
    """Print findings; return the exit status they ask for."""
    for finding in found:
        print(finding, file=sys.stderr, flush=True)
    return 1 if any(finding.level == "error" for finding in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
