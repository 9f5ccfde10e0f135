"""Which GPUs the container sees, asked of the driver itself: loading PyTorch for it takes seconds."""

import ctypes
import importlib.util
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

LIBRARY = "libcuda.so.1"
PATIENCE = 60.0
"""Seconds for the driver's answer; a GPU that hangs never gives one."""


@dataclass(frozen=True)
class Gpus:
    """What the driver says."""

    names: tuple[str, ...] = ()
    cuda: int = 0
    """The newest CUDA version that the driver supports, as it writes it: 13000 is 13.0."""
    problem: str = ""
    """Why no GPU can be used, with what to do."""


def asked_for(environ: Mapping[str, str], words: tuple[str, ...] = (), dev: str = "/dev") -> str:
    """How a GPU was asked for, for people; empty if it was not.

    `--gpus` and the NVIDIA runtime set NVIDIA_VISIBLE_DEVICES, which the image leaves unset; other
    ways only leave the device files (/dev/dxg is Windows').
    """
    wanted = environ.get("NVIDIA_VISIBLE_DEVICES", "")
    if wanted not in {"", "void", "none"}:
        return f"NVIDIA_VISIBLE_DEVICES={wanted}"
    devices = sorted(path.name for path in Path(dev).glob("nvidia[0-9]*")) + [
        path.name for path in Path(dev).glob("dxg")
    ]
    if devices:
        return f"{dev}/{devices[0]}"
    if "--device=cuda" in words or ("--device", "cuda") in itertools.pairwise(words):
        return "--device cuda"
    return ""


def look(environ: Mapping[str, str]) -> Gpus:
    """Ask the driver, in a process of its own, which may hang or die."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "container.gpu"],
            capture_output=True, text=True, env=dict(environ), timeout=PATIENCE, check=True,
        )  # fmt: skip
        answer = json.loads(done.stdout)
        answer["names"] = tuple(answer["names"])
        return Gpus(**answer)
    except subprocess.TimeoutExpired:
        return Gpus(problem=f"the driver did not answer within {PATIENCE:.0f} s: restart the host")
    except (subprocess.CalledProcessError, ValueError, TypeError) as error:
        return Gpus(problem=f"the driver's library failed ({error}): reinstall the host's driver")


def ask_driver(library: str = LIBRARY) -> Gpus:
    """Names and CUDA version by way of the driver's library."""
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return Gpus(
            problem=f"{library} is not in the container: install NVIDIA's container toolkit on the host"
            " and run with --gpus all"
        )
    version, count = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    failed = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if failed:
        said = ctypes.c_char_p()
        cuda.cuGetErrorString(failed, ctypes.byref(said))
        reason = (said.value or b"unknown").decode()
        return Gpus(
            cuda=version.value,
            problem=f"the driver says {reason!r} (error {failed}): look at CUDA_VISIBLE_DEVICES and"
            " nvidia-smi on the host",
        )
    names = []
    for number in range(count.value):
        name, device = ctypes.create_string_buffer(256), ctypes.c_int()
        cuda.cuDeviceGet(ctypes.byref(device), number)
        cuda.cuDeviceGetName(name, len(name), device)
        names.append(name.value.decode())
    return Gpus(tuple(names), version.value)


def packages_cuda() -> str:
    """The CUDA version that the installed PyTorch is built for, as 13.0; empty if for none."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    found = re.search(r"^cuda\b.*=\s*'([\d.]+)'", text, re.MULTILINE)
    return found.group(1) if found else ""


def too_old(gpus: Gpus, needed: str) -> str:
    """A line if the driver is older than the packages' CUDA, whose minor versions all work with it."""
    if not needed or not gpus.cuda or gpus.cuda // 1000 >= int(needed.split(".")[0]):
        return ""
    return (
        f"the host's driver supports CUDA {version(gpus.cuda)} and the packages need {needed}: update"
        " the driver on the host"
    )


def version(number: int) -> str:
    """13000 as 13.0."""
    return f"{number // 1000}.{number % 1000 // 10}"


if __name__ == "__main__":
    print(json.dumps(asdict(ask_driver())))
