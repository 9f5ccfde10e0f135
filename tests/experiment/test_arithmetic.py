"""`arithmetic: portable`: the same bits on every x86-64 processor, whatever the environment says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.parallel import machine
from tests.helpers.places import TOP

EXPECTED = TOP / "tests/data/arithmetic.json"
STRANGE = {
    "OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2", "MKL_CBWR": "AVX512",
    "ATEN_CPU_CAPABILITY": "default", "DNNL_MAX_CPU_ISA": "SSE41",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16", "OPENBLAS_CORETYPE": "Prescott",
    "OPENBLAS_BLOCK_FACTOR": "2", "NPY_ENABLE_CPU_FEATURES": "X86_V3",
}  # fmt: skip
"""What somebody may have set, each of which changes bits."""

PROGRAM = """
from stages import common

def say() -> None:
    from tests.helpers import arithmetic
    arithmetic.say()

common.run(say)
"""
"""What a stage with these settings computes."""


def folder_with(arithmetic: str, folder: Path) -> Path:
    """A folder with the repository's params.yaml, but for its arithmetic."""
    text = (TOP / "params.yaml").read_text(encoding="utf-8")
    assert "\narithmetic: portable " in text
    changed = text.replace("\narithmetic: portable ", f"\narithmetic: {arithmetic} ")
    (folder / "params.yaml").write_text(changed, encoding="utf-8")
    return folder


def run(
    program: str, folder: Path, *before: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """A program in a process of its own; before: what the command begins with."""
    return subprocess.run(
        [*before, sys.executable, "-c", program],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(TOP)} | environment,
        capture_output=True, text=True,
    )  # fmt: skip


def computed(folder: Path, *before: str, **environment: str) -> dict[str, Any]:
    done = run(PROGRAM, folder, *before, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def check(digests: dict[str, str]) -> None:
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    others = [name for name, value in expected.items() if digests.get(name) != value]
    assert digests == expected, (
        f"{', '.join(others)}: other bits than in {EXPECTED.name}. Either the code or a library now"
        f" computes something else: then write {json.dumps(digests)} there. Or this processor rounds"
        " otherwise than others (docs/portable.md): then results/ are not reproduced here to the digit."
    )


def test_the_same_bits_as_on_other_processors(tmp_path: Path) -> None:
    if not {"avx2", "fma"} <= machine.processor_flags():
        pytest.skip("a processor without AVX2 and FMA, which cannot")
    found = computed(folder_with("portable", tmp_path), **STRANGE)
    assert found["environment"] == machine.PORTABLE
    assert found["NumPy"] == ["X86_V3"]
    assert found["OpenBLAS"] == ["Haswell"]
    assert (found["PyTorch"], found["threads"]) == ("AVX2", 1)
    check(found["digests"])


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["Haswell", "EPYC-Rome"])
def test_the_same_bits_on_an_emulated_processor(tmp_path: Path, processor: str) -> None:
    """One by Intel and one by AMD, as instructions and makers are what libraries look at."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("qemu-user, which emulates other processors, is not installed")
    folder = folder_with("portable", tmp_path)
    check(computed(folder, emulator, "-cpu", processor)["digests"])


SETTINGS = """
import os
from pipeline.parallel import machine
from stages import common

def say() -> None:
    print({name: os.environ[name] for name in os.environ if name.startswith(machine.LIBRARIES)})
    print(machine.arithmetic())

machine.processor_flags = lambda: FLAGS
common.run(say)
"""


def test_native_leaves_the_environment_alone(tmp_path: Path) -> None:
    folder = folder_with("native", tmp_path)
    done = run(SETTINGS.replace("FLAGS", "{'avx2', 'fma'}"), folder, **STRANGE)
    assert done.stdout.splitlines()[-1] == "native"
    settings = eval(done.stdout.splitlines()[0])
    assert settings.items() >= STRANGE.items()


def test_a_processor_that_cannot_says_so_and_goes_on(tmp_path: Path) -> None:
    folder = folder_with("portable", tmp_path)
    done = run(SETTINGS.replace("FLAGS", "{'avx2'}"), folder, **STRANGE)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("params.yaml: arithmetic: portable takes an x86-64 processor with AVX2")
    assert done.stdout.splitlines()[-1] == "native"


def test_no_command_imports_arithmetic_before_it_is_set() -> None:
    """All that ends in `common.run`: what is imported at its top has read the environment."""
    programs = [
        path
        for folder in ("stages", "scripts")
        for path in sorted((TOP / folder).iterdir())
        if path.is_file()
        and re.search(r"^    (common\.)?run\(", path.read_text(encoding="utf-8"), re.M)
    ]
    assert {"train.py", "compare.py", "confirm-scores"} <= {path.name for path in programs}
    program = (
        "import runpy, sys\n"
        f"for path in {[str(path) for path in programs]}:\n"
        "    runpy.run_path(path, run_name='imported')\n"
        "    loaded = {'numpy', 'scipy', 'torch'} & sys.modules.keys()\n"
        "    assert not loaded, (path, loaded)\n"
    )
    done = run(program, TOP)
    assert done.returncode == 0, done.stderr
