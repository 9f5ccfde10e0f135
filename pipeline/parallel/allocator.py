"""How this process gets memory from the system: freed memory is kept for what comes next.

Training allocates and frees the same activations at every step, a worker the same arrays for every
track, tens of megabytes each. By default the C library returns blocks of that size to the system at
once, and the next allocation waits while the system clears new pages for it, one by one: up to a
third of the time on two cores (docs/performance.md).
"""

import ctypes
import os
from contextlib import suppress

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Of glibc's mallopt (malloc.h)."""
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Keep what is freed, in large pages where PyTorch can have them. Before torch's first tensor.

    The process then holds as much as it ever needed at once. Where the C library is not glibc, its
    own way stays.
    """
    # of PyTorch's allocator on the CPU: asks the system for pages of 2 MB
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, LARGEST)
