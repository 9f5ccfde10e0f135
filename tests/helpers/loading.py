"""What the tests of downloads share: the file, and how a download may end."""

import hashlib
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UserError
from tests.helpers.places import TOP
from tests.helpers.server import Answer, Server
from tests.helpers.waiting import until

CONTENT = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)
HALF = 150_000
Fetch = Callable[..., Path]


def failure(get: Fetch, *urls: str, **options: Any) -> str:
    """The one line in which it ends; nothing is at the target then."""
    with pytest.raises(UserError) as caught:
        get(*urls, **options)
    text = str(caught.value)
    assert "\n" not in text
    for url in urls:
        assert url in text
    assert "check the network" in text
    assert "by hand and put it at" in text
    return text


@contextmanager
def another_process(url: str, target: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One that loads the file at the same time and has got 60,000 bytes of it."""
    script = (
        "import sys; from pathlib import Path; from pipeline.datasets.download.fetch import fetch\n"
        "fetch([sys.argv[1]], Path(sys.argv[2]))\n"
    )
    partial = target.with_name("songs.zip.partial")
    command = [sys.executable, "-c", script, url, str(target)]
    with subprocess.Popen(command, cwd=TOP) as process:
        until(lambda: partial.exists() and partial.stat().st_size > 60_000, process, 0.01)
        yield process


def interrupted(server: Server, get: Fetch, target: Path, **options: Any) -> str:
    """A first run that ends after HALF of the bytes; returns the address."""
    url = server.serve("/songs.zip", CONTENT, Answer(drop=HALF, **options), Answer(404))
    failure(get, url)
    assert target.with_name("songs.zip.partial").read_bytes() == CONTENT[:HALF]
    server.requests.clear()
    server.answers["/songs.zip"] = [Answer(**options)]
    return url


def only(target: Path) -> bool:
    """Whether the target, whole, is all that its folder holds."""
    return [*target.parent.iterdir()] == [target] and target.read_bytes() == CONTENT
