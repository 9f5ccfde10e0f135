"""The exceptions that are no defects: what a user can mend, and a run that was told to stop."""

import signal
from collections.abc import Iterable
from pathlib import Path


def printable(text: str | Path) -> str:
    """A name, path or message in one line, with what cannot be shown as escapes.

    Escaped are control characters (`\\n`, `\\x1b`), those that turn the direction of writing or
    have no width (`\\u202e`), and bytes that are not UTF-8, which the system hands over as lone
    surrogates (`\\xf6`). What has been escaped once stays as it is.
    """
    text = str(text)
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()


class UserError(Exception):
    """Bad input: one clear line that names the file (or key), what is wrong and what to do.

    Stages print the message without a traceback and exit with status 1. Anything else that is
    raised is a defect of this program and keeps its traceback. Names in it may be anybody's: what
    would not be a line of text is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class Stopped(Exception):
    """A signal has ended a run that can go on later; stages end with status 128 + its number."""

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message, number)
        self.message, self.number = message, number

    def __str__(self) -> str:
        return self.message


def in_one_line(error: BaseException) -> str:
    """What an exception says, for the end of an error line: at most 200 characters."""
    return " ".join(str(error).split())[:200]


def listing(items: Iterable[str | Path], limit: int = 5) -> str:
    """Join items for an error line, eliding all but the first `limit`."""
    names = [str(item) for item in items]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
