"""One container at a time runs DVC in a checkout, and what a killed one left behind is mended.

DVC notes in .dvc/tmp/rwlock which process reads and writes which output, by pid. A pid means nothing
outside its container: after a kill, DVC may take another process for the one that died and wait for
ever; beside another container, it takes the living one for dead and breaks its lock. So this holds a
lock of its own, which the kernel gives back with the process and which all mounts of a folder share.
"""

import fcntl
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "container.lock"
RWLOCK = "rwlock"
RWLOCK_GUARD = "rwlock.lock"


class Occupied(Exception):
    """Another holds the checkout; the text is a line for people."""


@contextmanager
def held(checkout: Path, what: str, wait: bool = False) -> Iterator[str]:
    """Hold the checkout for DVC; yields a line about what was mended, or an empty text.

    what: the command, for whoever finds it occupied; wait: until it is free. Nothing is held where
    the holder is in this very container, whose processes DVC can see.
    Raises Occupied when another container, or DVC outside any, holds it.
    """
    folder = checkout / ".dvc" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        file.seek(0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _record(file.read())
            if holder.get("processes") == _namespace():
                yield ""
                return
            if not wait:
                raise Occupied(_occupied(checkout, holder)) from None
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        left = file.read()
        mended = mend(folder, _record(left).get("container", "") if left else None)
        file.truncate(0)
        file.write(json.dumps(_own_record(what)) + "\n")
        file.flush()
        try:
            yield mended
        finally:
            # An empty file says that its last holder ended in good order.
            file.truncate(0)


def mend(folder: Path, killed: str | None) -> str:
    """Remove the rwlock that a killed container left; return a line that says so, or an empty text.

    folder: .dvc/tmp; killed: the container that ended without giving the checkout back, None if the
    last one did. Raises Occupied for entries that are no container's.
    """
    rwlock = folder / RWLOCK
    owners = _owners(rwlock)
    if not owners:
        return ""
    if killed is None:
        raise Occupied(
            f"{rwlock}: held by {owners}, which is in no container: wait until DVC has ended on the"
            " host; if it does not run there, delete the file"
        )
    with (folder / RWLOCK_GUARD).open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        rwlock.unlink(missing_ok=True)
    return f"{rwlock}: removed; container {killed} was killed and left it"


def _owners(rwlock: Path) -> str:
    """The processes named in an rwlock file, for people; empty if there are none."""
    try:
        text = rwlock.read_text(encoding="utf-8")
        if not text:
            return "a process that was killed while it wrote"
        entries = json.loads(text)
        infos = [*entries.get("write", {}).values()]
        infos += [info for readers in entries.get("read", {}).values() for info in readers]
        return ", ".join(sorted({f"process {info['pid']} ({info['cmd']})" for info in infos}))
    except FileNotFoundError:
        return ""
    except (ValueError, AttributeError, KeyError, TypeError):
        return "a process that was killed while it wrote"


def _own_record(what: str) -> dict[str, str]:
    return {
        "container": socket.gethostname(),
        "processes": _namespace(),
        "command": what,
        "since": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
    }


def _namespace() -> str:
    """Names the set of processes that see each other; unique while one of them lives."""
    return str(Path("/proc/self/ns/pid").readlink())


def _record(text: str) -> dict[str, str]:
    try:
        record = json.loads(text)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _occupied(checkout: Path, holder: dict[str, str]) -> str:
    who = holder.get("container", "another container")
    return (
        f"{checkout}: container {who} runs `{holder.get('command', 'dvc')}` here since"
        f" {holder.get('since', 'a moment')}: wait for it (dvc --wait-for-lock), or run this in it:"
        f" docker exec {who} python -I -m container ..."
    )
