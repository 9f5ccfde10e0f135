"""Damaged files, limits of the machine and lying servers: the tests' own targets with other seeds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from tests.campaign.kills import Tally
from tests.helpers.places import TOP

SUITES = {
    "damaged features": ("-m", "slow", "tests/features/test_store.py"),
    "limits of the machine": ("-m", "slow or not slow", "tests/experiment/test_limits.py"),
    "servers and archives": ("tests/datasets/download",),
}
"""Arguments of pytest: what is a test of its own for each member."""
ENVIRONMENT = os.environ | {"PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1"}


def damage(experiment: Path, scratch: Path, name: str, seed: int, inputs: int) -> Tally:
    """Read `inputs` damaged files of one target (`tests.helpers.fuzz_targets`)."""
    folder = scratch / f"damaged-{name}"
    shutil.copytree(experiment, folder)
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.fuzzing", str(folder), name, str(seed), str(inputs)],
        cwd=TOP, env=ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    *failures, last = done.stdout.splitlines() or [""]
    if last != "done":
        failures.append(f"{name} {seed}: ended with status {done.returncode}: {done.stderr[-300:]}")
    shutil.rmtree(folder)
    return Tally(name, runs=inputs, failures=failures)


def suite(title: str, scratch: Path) -> Tally:
    """Run one of SUITES; a run is a test."""
    report = scratch / "tests.xml"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *SUITES[title], f"--junitxml={report}"],
        cwd=TOP, env=ENVIRONMENT, capture_output=True,
    )  # fmt: skip
    cases = ElementTree.parse(report).findall(".//testcase")
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return Tally(title, runs=len(cases), failures=failed)
