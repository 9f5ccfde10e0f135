"""The exceptions that are no defects: what a user can mend, and a run that was told to stop."""

import errno
import os
import re
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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


MEMORY = "free some, or raise the limit (`ulimit -v unlimited`, a container's --memory)"
THREADS = (
    "raise the limit (`ulimit -u unlimited`, a container's --pids-limit; `ulimit -v unlimited` for"
    " their memory)"
)
ROOM = "make room"
PERMISSION = "let this user read and write there"
REMEDIES = {
    errno.ENOMEM: MEMORY,
    errno.EAGAIN: THREADS,
    # A program raises its own as far as it may.
    errno.EMFILE: (
        "raise the limit of open files (`ulimit -n 65536` as root, a container's --ulimit nofile=65536)"
    ),
    errno.ENFILE: "end other programs: the whole system has too many open files",
    errno.ENOSPC: ROOM,
    errno.EDQUOT: f"{ROOM}, or ask for a larger quota",
    errno.EFBIG: "raise the limit of a file's size (`ulimit -f unlimited`)",
    errno.EROFS: "mount it writable",
    errno.EBUSY: "if it is a mount point, mount the folder above it",
    errno.EACCES: PERMISSION,
    errno.EPERM: PERMISSION,
    errno.EIO: "see to the disk: it fails (`dmesg` says more)",
    errno.ESTALE: "mount the shared folder again",
}
"""What a system may refuse, by its number, and what to do about it."""
_SAID = {
    "can't start new thread": errno.EAGAIN,
    "can't allocate memory": errno.ENOMEM,  # PyTorch's allocators
    "not enough memory": errno.ENOMEM,
    "bad_alloc": errno.ENOMEM,
    "Unable to allocate": errno.ENOMEM,
    "failed to map segment": errno.ENOMEM,  # the dynamic loader, with other words after it
    "No usable temporary directory": errno.ENOENT,
}
_SAID |= {
    os.strerror(number): number
    for number in (
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EMFILE,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
    )
}
"""Words of libraries that keep the number to themselves."""


def refused(error: BaseException) -> int | None:
    """The number (errno) of what the system has refused; None where the error is of another kind.

    Libraries say it in different ways: in an attribute, in the text, as a class, or as the cause.
    """
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno:
        return error.errno
    text = str(error)
    # as HDF5 and as programs in Rust write it
    if found := re.search(r"\b(?:errno =|os error) (\d+)", text):
        return int(found[1])
    for words, number in _SAID.items():
        if words in text:
            return number
    return refused(error.__cause__) if error.__cause__ else None


def shortage(error: BaseException) -> str | None:
    """One line on what the machine did not give and the remedy; None for any other error."""
    text = str(error)
    if "CUDA out of memory" in text:
        return (
            "the GPU has not enough memory: end other programs on it, or lower"
            " training.batch_size in params.yaml"
        )
    if "No usable temporary directory" in text or "AF_UNIX path too long" in text:
        return f"no folder for temporary files: {in_one_line(error)}; set TMPDIR=/path/to/another"
    number = refused(error)
    if number not in REMEDIES:
        return None
    name = getattr(error, "filename", None)
    where = f"{os.fsdecode(name)}: " if isinstance(name, str | bytes) else ""
    what = "no more threads or processes" if number == errno.EAGAIN else os.strerror(number)
    return f"{where}{what}; {REMEDIES[number]} and run the same command again"


@contextmanager
def shortages_named() -> Iterator[None]:
    """What the machine does not give to the block is a UserError; defects pass as they are."""
    try:
        yield
    except (UserError, Stopped):
        raise
    except Exception as error:
        if line := shortage(error):
            raise UserError(line) from error
        raise


def in_one_line(error: BaseException) -> str:
    """What an exception says, for the end of an error line: at most 200 characters."""
    return " ".join(str(error).split())[:200]


def listing(items: Iterable[str | Path], limit: int = 5) -> str:
    """Join items for an error line, eliding all but the first `limit`."""
    names = [str(item) for item in items]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
