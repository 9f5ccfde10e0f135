"""Freed memory is kept: the next step finds its pages in place."""

import os
import resource
import subprocess
import sys

import pytest

from benchmarks.harness import MEMORY_SETTINGS, without_memory_settings
from pipeline.parallel.mapping import parallel_map
from tests.helpers.places import TOP

PROGRAM = """
import resource, sys
if sys.argv[1] == "kept":
    from pipeline.parallel.allocator import keep_freed_memory
    keep_freed_memory()
import torch
def step():
    sum(float(torch.ones(2**24)[-1]) for _ in range(3))  # 64 MB each, more than malloc keeps by itself
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Pages that the system had to provide for five steps after the first."""
    # a stage that another test has called in this process may have left its setting
    environment = {name: value for name, value in os.environ.items() if name not in MEMORY_SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], cwd=TOP, env=environment, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_steps_after_the_first_need_no_new_pages() -> None:
    default = faults("default")
    assert default > 100_000  # 15 tensors of 2**14 pages
    # not none: a busy system splits large pages, and one that has none still returns some memory
    assert faults("kept") < default / 2


def faults_of_an_item(_: int) -> int:
    """Pages that the system had to provide to a worker for one item's arrays."""
    import torch

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    sum(float(torch.ones(2**24)[-1]) for _ in range(3))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_a_worker_needs_no_new_pages_after_its_first_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_PROCESSES", "1")
    with without_memory_settings():
        _, *later = parallel_map(faults_of_an_item, range(4), "items")
    assert sum(later) < 3 * 3 * 2**14 / 2  # by default every tensor is 2**14 new pages
