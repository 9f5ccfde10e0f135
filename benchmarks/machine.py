"""What the figures were taken on: no name of a host or user, only what makes it fast or slow."""

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

LIBRARIES = ("torch", "numpy", "librosa", "h5py", "museval", "lightning", "dvc")


def describe() -> dict[str, Any]:
    """CPU, cores, threads, memory, GPU."""
    cuda = torch.cuda.is_available()
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "gpu": torch.cuda.get_device_name() if cuda else "none",
        "gpu_memory_gb": round(torch.cuda.mem_get_info()[1] / 2**30) if cuda else 0,
    }


def taken() -> dict[str, Any]:
    """When, and with which versions."""
    versions = {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()}
    return {"date": datetime.now(UTC).date().isoformat(), "versions": versions}


def cpu_model() -> str:
    """As the processor calls itself, or its architecture."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def name(facts: dict[str, Any], device: str) -> str:
    """A file name for the machine: model and number of cores, or the GPU where that was measured."""
    model = facts["gpu"] if device == "cuda" else f"{facts['cpu']} {facts['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", model.lower().replace("(r)", "")).strip("-")
