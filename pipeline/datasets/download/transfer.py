"""One file over HTTP: from one address to one partial file, in as many attempts as it takes."""

import json
import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from requests import Response
from tqdm import tqdm
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from pipeline.datasets.download import pace
from pipeline.datasets.download.pace import Pace, Session
from pipeline.errors import printable
from pipeline.files import PARTIAL, human, write_text
from pipeline.text_files import remembered

BLOCK = 1 << 20
TIMEOUT = (10.0, 60.0)  # seconds until the server must accept the connection, and without a byte
LONGEST_WAIT = 60.0  # seconds between two attempts at most, whatever the server asks for
MOST_REDIRECTS = 10
LARGEST = 100 * 10**9
"""Bytes of a file whose size is not published: at most, and at most SHARE of the free disk."""
SHARE = 0.9
LONGEST_WORDS = 200
"""Letters of what a server says that are shown."""


class AddressError(Exception):
    """This address cannot give the file; the words say why, fit for a terminal."""

    def __init__(self, words: str) -> None:
        super().__init__(printable(words)[: LONGEST_WORDS + 100])


def plainly(say: Callable[[str], None]) -> Callable[[str], None]:
    """`say`, with what a server, an archive or params.yaml put into a line fit for a terminal."""
    return lambda line: say(printable(line))


@dataclass
class Transfer:
    """Bytes that arrive are kept in `partial` until the file is whole, also when this process dies.

    `state` beside it notes whose bytes they are: the address and its validator (ETag or date), with
    which the server is asked for the rest only if the file is still the same. Without a validator,
    or from another address, they are gone on with only when a `checksum` tells what came of it.
    """

    target: Path
    size: int | None = None
    checksum: str | None = None
    attempts: int = 5
    wait: float = 1.0
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        self.partial = self.target.with_name(self.target.name + PARTIAL)
        self.state = self.target.with_name(f"{self.target.name}.state{PARTIAL}")

    def length(self) -> int:
        """How many bytes have arrived and are kept."""
        return self.partial.stat().st_size if self.partial.exists() else 0

    def discard(self) -> None:
        """Forget what has arrived."""
        self.partial.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)

    def load(self, url: str) -> bool:
        """Bring the file into `partial`; returns whether it is made of more than one response.

        Raises AddressError when the address cannot give it and OSError when the disk cannot take it.
        """
        failures, most, began = 0, self.length(), time.monotonic()
        while True:
            try:
                return self._attempt(url)
            except (OSError, HTTPError, ValueError) as error:
                if getattr(error, "errno", None):
                    raise  # The disk's: errors of the network are wrapped and have no number.
                words = _reason(error)
                if isinstance(error, ValueError) or "certificate" in words.lower():
                    raise AddressError(words) from None
                # Starting over is no progress, and neither is a byte an attempt: else a server that
                # drops each time is asked for ever.
                enough = pace.LOWEST_SPEED * (time.monotonic() - began)
                failures = 0 if self.length() - most > enough else failures + 1
                most, began = max(most, self.length()), time.monotonic()
                if failures >= self.attempts:
                    raise AddressError(f"{words} ({failures} attempts)") from None
                # At random, or all who broke off come back together.
                pause = self.wait * 2.0 ** max(failures - 1, 0) * random.uniform(0.5, 1.0)
                response = getattr(error, "response", None)
                asked = "" if response is None else response.headers.get("Retry-After", "")
                with suppress(HTTPError, ValueError, OverflowError):
                    pause = Retry().parse_retry_after(asked)
            pause = min(pause, LONGEST_WAIT)
            self.say(f"{self.target}: {words}: again in {pause:.0f} s")
            time.sleep(pause)

    def _attempt(self, url: str) -> bool:
        """Ask for what is missing, and write it; returns whether anything was here before."""
        offset, validator = self._kept(url)
        if self.checksum and offset == self.size:
            return True
        headers = {"Accept-Encoding": "identity"}  # The checksum was taken of the file's own bytes.
        if offset:
            headers["Range"] = f"bytes={offset}-"
        if validator:
            headers["If-Range"] = validator
        with (
            pace.kept() as keeper,
            Session(keeper) as session,
            _answer(session, url, headers) as response,
        ):
            status = response.status_code
            words = f"HTTP {status} {response.reason or ''}".strip()[:LONGEST_WORDS]
            if status in (408, 429) or status >= 500:
                raise requests.HTTPError(words, response=response)
            if status not in (200, 206, 416):
                raise AddressError(words)
            start, total = _part(response, validator)
            if status == 416 and total == offset:
                return True
            if status == 416 or start != (0 if status == 200 else offset):
                self.discard()
                raise requests.RequestException("sends another part of the file than asked for")
            self._receive(response, url, start, total, keeper)
            return start > 0

    def _kept(self, url: str) -> tuple[int, str | None]:
        """How many bytes to go on from, and the validator that they came under."""
        state = remembered(self.state, dict[str, str | None])
        if state is None or not {"url", "validator"} <= state.keys():
            return 0, None
        with suppress(OSError):
            validator = _sound(state["validator"]) if state["url"] == url else None
            length = self.length()
            if (validator or self.checksum) and 0 < length <= (self.size or length):
                return length, validator
        return 0, None

    def _receive(
        self, response: Response, url: str, start: int, total: int | None, keeper: Pace
    ) -> None:
        """Write the body behind the first `start` bytes of what is to have `total`."""
        if self.size is not None and total not in (None, self.size):
            raise AddressError(f"offers {total} bytes, {self.size} are published")
        total = self.size if total is None else total
        limit = self._limit(start) if self.size is None else self.size
        if total is not None and total > limit:
            raise AddressError(f"offers more than {human(limit)}, {self._why(limit)}")
        if not start:
            # In this order: a kill in between must not leave the old bytes under the new name.
            self.discard()
            state = {"url": url, "validator": _validator(response)}
            write_text(self.state, json.dumps(state) + "\n")
        arrived = start
        with self.partial.open("ab") as file, progress(self.target.name, total, start) as bar:
            # As it comes over the line, whatever Content-Encoding says it is.
            while block := response.raw.read1(BLOCK, decode_content=False):
                arrived += len(block)
                keeper.arrived += len(block)
                if total is not None and arrived > total:
                    self.discard()
                    said = "announced" if self.size is None else "published"
                    raise AddressError(f"sends more than the {total} bytes that are {said}")
                if arrived > limit:
                    self.discard()
                    raise AddressError(f"sends more than {human(limit)}, {self._why(limit)}")
                file.write(block)
                bar.update(len(block))
        if keeper.too_slow:
            return  # and not at the end of a file whose length nobody knows
        if total is not None and arrived < total:
            raise requests.ConnectionError(f"the connection ended after {arrived} of {total} bytes")

    def _limit(self, start: int) -> int:
        """How many bytes a file of unknown size may have, of which `start` are here."""
        free = shutil.disk_usage(self.target.parent).free
        return min(LARGEST, start + int(SHARE * free))

    def _why(self, limit: int) -> str:
        if limit == LARGEST:
            return "the most that is loaded of a file of unknown size"
        return f"{SHARE:.0%} of what is free on this disk"


def _answer(session: Session, url: str, headers: dict[str, str]) -> Response:
    """What the server says at the end of its redirects; the body is still to be read."""
    for _ in range(MOST_REDIRECTS + 1):
        response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        location = requests.Session.get_redirect_target(session, response)
        if location is None:
            return response
        response.close()
        url = urljoin(url, location)
    raise AddressError(f"redirects more than {MOST_REDIRECTS} times")


def progress(what: str, total: int | None, start: int = 0) -> "tqdm[Any]":
    """A bar with bytes, rate and time left."""
    return tqdm(
        None, printable(what), total, initial=start, unit="B", unit_scale=True, dynamic_ncols=True
    )


def _part(response: Response, validator: str | None) -> tuple[int | None, int | None]:
    """Where in the file the answer starts, and how long the file is; None for what is not said."""
    if response.status_code == 200:
        return 0, response.raw.length_remaining
    span, _, length = response.headers.get("Content-Range", "").partition("/")
    first = span.partition("-")[0].removeprefix("bytes ")
    start, total = (int(text) if text.isdecimal() else None for text in (first, length))
    # With another validator, the server has ignored If-Range.
    changed = validator and _validator(response) not in (None, validator)
    return None if changed else start, total


def _validator(response: Response) -> str | None:
    """What stands for the file's exact bytes; a weak ETag does not."""
    etag = response.headers.get("ETag", "")
    return _sound(etag if etag.startswith('"') else response.headers.get("Last-Modified"))


def _sound(validator: object) -> str | None:
    """The validator if it can be sent back to the server: a header of several lines cannot."""
    if isinstance(validator, str) and validator.isascii() and validator.isprintable():
        return validator
    return None


def _reason(error: BaseException) -> str:
    """The words of the innermost error on one line: those around it say where, not what."""
    inner: object = error
    while isinstance(inner, BaseException):
        error = inner
        inner = getattr(error, "reason", None) or (error.args[-1] if error.args else None)
    if "timed out" in str(error).lower():
        return "no answer in time"
    words = " ".join(str(error).rpartition("): ")[2].split()) or type(error).__name__
    return words[:LONGEST_WORDS]
