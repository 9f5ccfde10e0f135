"""An S3-compatible server: moto's, as a process of its own that listens on loopback."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret"}
"""The server takes any; DVC's client asks for some."""


@contextmanager
def serve(log: Path, *buckets: str) -> Iterator[str]:
    """Run the server with empty `buckets`; yields its address. Its output goes to `log`."""
    command = Path(sys.executable).with_name("moto_server")
    with log.open("wb") as file:
        # Port 0: the system chooses one, and the server says which.
        server = subprocess.Popen(
            [command, "-H", "127.0.0.1", "-p", "0"], stdout=file, stderr=file,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    try:
        address = _address(server, log)
        for bucket in buckets:
            request = urllib.request.Request(f"{address}/{bucket}", method="PUT")
            urllib.request.urlopen(request, timeout=30).close()
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)


def _address(server: "subprocess.Popen[bytes]", log: Path) -> str:
    for _ in range(600):
        found = re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text())
        if found:
            return found[1]
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"moto_server has not started: {log.read_text()}")


def objects(address: str, bucket: str) -> list[str]:
    """Names of all objects of a bucket."""
    with urllib.request.urlopen(f"{address}/{bucket}?list-type=2", timeout=30) as answer:
        text = answer.read().decode()
    assert "<IsTruncated>false" in text
    return re.findall("<Key>(.*?)</Key>", text)
