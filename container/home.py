"""The environment of the command: what programs expect of a user, also of one the image does not know."""

import os
import pwd
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from container.checks import Finding

SITE_CACHE = Path(".dvc/tmp/site-cache")


def environment(
    environ: Mapping[str, str], checkout: Path, user: int
) -> tuple[dict[str, str], list[Finding]]:
    """The command's environment, and what is to be said about it.

    HOME: libraries write their caches there; USER: Python's getpass has no other source for an
    unknown uid; DVC_SITE_CACHE_DIR: DVC's checksums of what it has seen, kept with the checkout for
    the next container; PYTHONPATH: the code is the checkout's in an experiment's folder, too.
    """
    result, said = dict(environ), []
    name = _name(user)
    if name is None:
        name = f"uid-{user}"
        said.append(Finding("note", f"uid {user} has no name in the image: USER is {name}"))
    for variable in ("USER", "LOGNAME"):
        result.setdefault(variable, name)
    if not _own_folder(Path(result.get("HOME") or "/")):
        home = Path(result.get("TMPDIR") or "/tmp") / f"home-{user}"
        with suppress(OSError):  # no room for temporary files, of which the checks speak
            home.mkdir(mode=0o700, exist_ok=True)
            result["HOME"] = str(home)
    dvc = checkout / ".dvc"
    if os.access(dvc, os.W_OK | os.X_OK):
        result.setdefault("DVC_SITE_CACHE_DIR", str(checkout / SITE_CACHE))
    if os.access(checkout / "dvc.yaml", os.F_OK):
        result["PYTHONPATH"] = result.get("PYTHONPATH") or str(checkout)
    return result, said


def _name(user: int) -> str | None:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return None


def _own_folder(path: Path) -> bool:
    return os.access(path, os.W_OK | os.X_OK) and path.is_dir()
