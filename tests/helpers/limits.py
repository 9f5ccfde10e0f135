"""Limits of the system for a block of a test."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def small_files_only(size: int) -> Iterator[None]:
    """No file of this process grows beyond `size` bytes: a write really fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
