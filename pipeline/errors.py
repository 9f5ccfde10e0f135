"""The one exception that stands for something a user can mend."""

from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """Bad input: one clear line that names the file (or key), what is wrong and what to do.

    Stages print the message without a traceback and exit with status 1. Anything else that is
    raised is a defect of this program and keeps its traceback.
    """


def listing(items: Iterable[str | Path], limit: int = 5) -> str:
    """Join items for an error line, eliding all but the first `limit`."""
    names = [str(item) for item in items]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
