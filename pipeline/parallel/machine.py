"""What a command needs of the machine before it begins, how it computes, and with whom it ends."""

import ctypes
import errno
import mmap
import os
import platform
import resource
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from pipeline.parallel.workers import THREADS, worker_count

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl."""
MEMORY = 2**30
"""Bytes of address space; until it is written to, it costs nothing."""
SIDE_BY_SIDE = "TRAINING_SIDE_BY_SIDE"
"""The environment variable by which whoever starts several trainings tells each how many there are."""
SPARE = 4
"""Threads and processes beside those that compute: a progress bar's, the fork server."""
FILES, FILES_OF_A_WORKER = 32, 8
"""Open files that a command needs, and for each worker process on top."""
PORTABLE = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SPR",  # NumPy's loops
    "OPENBLAS_CORETYPE": "Haswell",  # linear algebra of NumPy and SciPy
    "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's loops
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # its convolutions
    "MKL_CBWR": "COMPATIBLE",  # its Fourier transforms and matrix products, whoever made the processor
    **dict.fromkeys(THREADS, "1"),
}
"""Variables with which all x86-64 processors with AVX2 and FMA compute the same bits. The libraries
read them when they are imported, or at their first call."""
LIBRARIES = (
    "ATEN_", "DNNL_", "GOTO_", "MKL_", "NPY_", "OMP_", "ONEDNN_", "OPENBLAS_",
)  # fmt: skip
"""How the names of all variables begin by which these libraries let themselves be set."""


def open_standard_streams() -> None:
    """Give a process that was started without standard input, output or error (`>&-`) empty ones.

    The next file that it opens would get that number, and what libraries print would go into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def require_resources() -> None:
    """Raise OSError or RuntimeError unless the system allows what a command opens and starts.

    Libraries that notice it themselves end the process, or print pages: those for arithmetic, which
    take memory and start threads when they are imported, and the fork server of worker processes.
    """
    mmap.mmap(-1, MEMORY, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    needed = FILES + FILES_OF_A_WORKER * worker_count()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    wanted = [os.environ.get(name, "") for name in THREADS]
    computing = [int(one) for one in wanted if one.isdecimal()] or [len(os.sched_getaffinity(0))]
    enough = threading.Event()
    started: list[threading.Thread] = []
    try:
        # a worker is a process, and has a thread that looks after its parent
        for _ in range(max(*computing, 2 * worker_count()) + SPARE):
            thread = threading.Thread(target=enough.wait, daemon=True)
            thread.start()
            started.append(thread)
    finally:
        enough.set()
        for thread in started:
            thread.join()


def compute_portably() -> bool:
    """Have this process, and those that it starts, compute the same bits on every x86-64 processor.

    What the environment says otherwise is overridden. Returns False, and leaves all as it is, on a
    processor that cannot: one without AVX2 and FMA. Must come before NumPy and PyTorch are imported.
    """
    if too_late := {"numpy", "scipy", "torch"} & sys.modules.keys():
        raise RuntimeError(
            f"{', '.join(sorted(too_late))}: imported before the instructions are set"
        )
    if not {"avx2", "fma"} <= processor_flags():
        return False
    for name in [name for name in os.environ if name.startswith(LIBRARIES)]:
        del os.environ[name]
    os.environ.update(PORTABLE)
    return True


def processor_flags() -> set[str]:
    """What Linux lists of the processor, instructions among it; nothing elsewhere."""
    try:
        return set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return set()


def arithmetic() -> str:
    """How this process computes: portable, as `compute_portably` has it, or native."""
    pinned = all(os.environ.get(name) == value for name, value in PORTABLE.items())
    return "portable" if pinned else "native"


def processor() -> str:
    """The name of this machine's processor."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    return platform.processor() or platform.machine()


def side_by_side() -> int:
    """How many trainings share this machine, this one among them."""
    return int(os.environ.get(SIDE_BY_SIDE) or 1)


def end_with_parent(number: signal.Signals) -> None:
    """Have this process signalled when the one that started it has ended, also by SIGKILL (Linux)."""
    parent = os.getppid()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
