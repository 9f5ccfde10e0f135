"""One file over HTTP, in as many attempts as it takes: the downloader that `fetch` gives to pooch."""

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from pipeline.files import PARTIAL, write_text

if TYPE_CHECKING:
    import requests

CONNECT_TIMEOUT = 10.0
"""Seconds until a server must have accepted the connection."""
READ_TIMEOUT = 60.0
"""Seconds without a single byte after which a connection counts as broken."""
LONGEST_WAIT = 60.0
"""Seconds between two attempts at most, whatever the server asks for."""
BLOCK = 1 << 20
LARGE = 100_000_000
"""Bytes from which a look at all of them takes long enough to be worth a line."""

_PASSING = (408, 429)
"""Client errors that pass; those of the server (5xx) may all do."""
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", re.ASCII)


class AddressError(Exception):
    """This address cannot give the file; the words say why."""


class BrokenError(Exception):
    """The transfer broke off, another attempt may go on with it; the server asks for a `pause`."""

    def __init__(self, words: str, pause: float | None = None) -> None:
        super().__init__(words)
        self.pause = pause


class Transfer:
    """Bytes that arrive are kept in `partial` until the file is whole, also when this process dies.

    `state` beside it notes whose bytes they are: the address and its validator (ETag or date), with
    which the server is asked for the rest only if the file is still the same. Without a validator,
    or from another address, they are gone on with only when the file is `checked` afterwards.
    """

    def __init__(
        self,
        target: Path,
        size: int | None = None,
        checked: bool = False,
        attempts: int = 5,
        wait: float = 1.0,
        say: Callable[[str], None] = print,
    ) -> None:
        self.target = target
        self.partial = target.with_name(target.name + PARTIAL)
        self.state = target.with_name(f"{target.name}.state{PARTIAL}")
        self.size = size
        self.checked = checked
        self.attempts = attempts
        self.wait = wait
        self.say = say
        self.resumed = False
        """Whether the file was put together from more than one response."""

    def __call__(self, url: str, output: str, pooch: object, check_only: bool = False) -> None:
        """Load `url` into the file `output`: the interface that pooch calls.

        Raises AddressError when the address cannot give it and OSError when the disk cannot take it.
        """
        import requests

        # Pooch's own file of random name: made again when the bytes are here, so a kill leaves none.
        Path(output).unlink()
        self._remove_leftovers()
        failures, most = 0, self.length()
        with requests.Session() as session:
            while not self._whole():
                try:
                    self._attempt(session, url)
                    break
                except BrokenError as error:
                    # Starting again from nothing is no progress: a server that never sends all of
                    # the file would be asked for ever.
                    failures = 0 if self.length() > most else failures + 1
                    most = max(most, self.length())
                    if failures >= self.attempts:
                        raise AddressError(f"{error} ({failures} attempts)") from None
                    pause = self._pause(failures) if error.pause is None else error.pause
                    self.say(f"{self.target}: {error}: again in {pause:.0f} s")
                    time.sleep(pause)
        if self.length() > LARGE:
            self.say(f"{self.target}: all of it is here: checking it")
        self._hand_over(Path(output))

    def discard(self) -> None:
        """Forget what has arrived."""
        self.partial.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)

    def _attempt(self, session: "requests.Session", url: str) -> None:
        """One request, or two when the answer to the first does not fit what is here already."""
        offset, validator = self._resumable(url)
        with self._ask(session, url, offset, validator) as response:
            if self._continues(response, offset, validator):
                return self._receive(response, url, offset)
        self.discard()
        with self._ask(session, url, 0, None) as response:
            if self._continues(response, 0, None):
                return self._receive(response, url, 0)
        raise AddressError("sends another part of the file than it is asked for")

    def _ask(
        self, session: "requests.Session", url: str, offset: int, validator: str | None
    ) -> "requests.Response":
        import requests
        from urllib3.exceptions import HTTPError

        # The file's own bytes are wanted, as its checksum was taken of them.
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        if offset and validator:
            headers["If-Range"] = validator
        try:
            response = session.get(
                url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)
            )
        except requests.TooManyRedirects:
            raise AddressError("redirects in a circle") from None
        except requests.exceptions.SSLError as error:
            failure = AddressError if "CERTIFICATE" in str(error) else BrokenError
            raise failure(_reason(error)) from None
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            raise BrokenError(_reason(error)) from None
        except (OSError, HTTPError, ValueError) as error:
            raise AddressError(_reason(error)) from None
        status = f"HTTP {response.status_code} {response.reason or ''}".strip()
        if response.status_code in _PASSING or response.status_code >= 500:
            response.close()
            raise BrokenError(status, _asked_pause(response.headers.get("Retry-After")))
        if response.status_code not in (200, 206) and not (response.status_code == 416 and offset):
            response.close()
            raise AddressError(status)
        return response

    def _continues(self, response: "requests.Response", offset: int, validator: str | None) -> bool:
        """Whether the answer is the whole file, or the rest of what is here."""
        if response.status_code == 200:
            return True
        start, total = _content_range(response)
        if response.status_code == 416:
            return total == offset
        changed = validator is not None and _validator(response) not in (None, validator)
        return start == offset and not changed

    def _receive(self, response: "requests.Response", url: str, offset: int) -> None:
        """Write the body behind the first `offset` bytes, or instead of them when it is all."""
        if response.status_code == 200:
            offset, total = 0, _content_length(response)
        else:
            total = _content_range(response)[1]
        if self.size is not None and total not in (None, self.size):
            raise AddressError(f"offers {total} bytes, {self.size} are published")
        self.resumed = offset > 0
        if response.status_code == 416:
            return
        total = self.size if total is None else total
        if not offset:
            # Before `state` says whose they are: a kill in between must not leave the old bytes.
            self.discard()
        self._note(url, _validator(response), offset)
        arrived = offset
        with (
            self.partial.open("ab" if offset else "wb") as file,
            progress(self.target.name, total, offset) as bar,
        ):
            for block in _blocks(response):
                arrived += len(block)
                if total is not None and arrived > total:
                    self.discard()
                    raise AddressError(f"sends more than the {total} bytes that are published")
                file.write(block)
                bar.update(len(block))
        if total is not None and arrived < total:
            raise BrokenError(f"the connection ended after {arrived} of {total} bytes")

    def _resumable(self, url: str) -> tuple[int, str | None]:
        """How many bytes to keep, and the validator to keep them under."""
        length = self.length()
        known, validator = self._noted()
        if known == url and validator:
            return length, validator
        return (length, None) if known and self.checked else (0, None)

    def _note(self, url: str, validator: str | None, offset: int) -> None:
        known, before = self._noted()
        if offset and known == url:
            validator = validator or before
        if (known, before) != (url, validator):
            write_text(self.state, json.dumps({"url": url, "validator": validator}) + "\n")

    def _noted(self) -> tuple[str | None, str | None]:
        """Address and validator of the bytes that are here."""
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
            return state["url"], state["validator"]
        except (OSError, ValueError, KeyError, TypeError):
            return None, None

    def length(self) -> int:
        """How many bytes have arrived and are kept."""
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _whole(self) -> bool:
        """Whether all bytes are here since a process was killed before their check had ended."""
        length = self.length()
        if self.size is not None and length > self.size:
            self.discard()
        self.resumed = self.checked and self.size == length and self._noted()[0] is not None
        return self.resumed

    def _pause(self, failures: int) -> float:
        """Seconds, twice as long each time; at random, or all who broke off come back together."""
        longest = min(self.wait * 2.0 ** max(failures - 1, 0), LONGEST_WAIT)
        return longest * random.uniform(0.5, 1.0)

    def _hand_over(self, output: Path) -> None:
        try:
            # By a second name, so that a kill while pooch computes the checksum loses nothing.
            os.link(self.partial, output)
        except OSError:
            self.partial.replace(output)

    def _remove_leftovers(self) -> None:
        """Second names that a killed process left to the partial file."""
        for path in self.target.absolute().parent.glob("tmp*"):
            with suppress(OSError):
                if path.samefile(self.partial):
                    path.unlink()


def progress(what: str, total: int | None, start: int = 0, disable: bool = False) -> "tqdm[Any]":
    """A bar with bytes, rate and time left."""
    return tqdm(
        desc=what, total=total, initial=start, unit="B", unit_scale=True, dynamic_ncols=True,
        disable=disable,
    )  # fmt: skip


def _blocks(response: "requests.Response") -> Iterator[bytes]:
    """The body as it comes over the line, whatever Content-Encoding says it is."""
    from http.client import HTTPException

    from urllib3.exceptions import HTTPError

    while True:
        try:
            block = response.raw.read1(BLOCK, decode_content=False)
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            raise BrokenError(_reason(error)) from None
        if not block:
            return
        yield block


def _content_length(response: "requests.Response") -> int | None:
    text = response.headers.get("Content-Length", "")
    chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    return int(text) if text.isascii() and text.isdecimal() and not chunked else None


def _content_range(response: "requests.Response") -> tuple[int | None, int | None]:
    """The first byte's position and the length of the whole file; None for what is not said."""
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    start, total = match.groups() if match else (None, None)
    return (
        None if start is None else int(start),
        None if total in (None, "*") else int(total),
    )


def _validator(response: "requests.Response") -> str | None:
    """What stands for the file's exact bytes; a weak ETag does not."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _asked_pause(text: str | None) -> float | None:
    """Retry-After, in seconds or as a date."""
    if text is None:
        return None
    try:
        seconds = (
            float(text) if text.strip().isdecimal()
            else parsedate_to_datetime(text).timestamp() - time.time()
        )  # fmt: skip
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _reason(error: BaseException) -> str:
    """The words of the innermost error on one line: those around it say where, not what."""
    for _ in range(10):
        inner = getattr(error, "reason", None) or (error.args[-1] if error.args else None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    if "timed out" in str(error).lower():
        return "no answer in time"
    return " ".join(str(error).rpartition("): ")[2].split()) or type(error).__name__
