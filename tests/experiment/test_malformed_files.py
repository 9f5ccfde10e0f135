"""Every file of ours that is text, damaged at random: something usable or one line, nothing else.

With the features (`tests/features`) and the checkpoints (`tests/training`) 10,800 inputs. An input
that failed is printed with its seed; mended, it is kept in FOUND, which runs with the fast tests.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import UserError
from tests.helpers import fuzzing
from tests.helpers.damage import INSTEAD, put_instead
from tests.helpers.fuzz_targets import TARGETS, prepare, whole
from tests.helpers.fuzzing import LONGEST, SECONDS, failure, limited
from tests.helpers.places import TOP, inside

SEED = "1"
INPUTS = {
    "params": 1200, "inventory": 900, "split": 700, "scores": 600, "history": 700, "config": 900,
    "metrics": 700, "table": 600, "notes": 500, "metadata": 600, "timings": 200, "rendered": 200,
    "state": 200, "inspected": 300, "sums": 200,
}  # fmt: skip

FOUND: list[tuple[str, bytes]] = [
    ("params", b"a: !!int x\n"),
    ("params", b"a: !!bool x\n"),
    ("params", b"a: 2001-13-45\n"),
    ("params", b"- " * 2000),
    ("params", b"seed: 0x" + b"f" * 5000),
    ("inventory", b'{"dataset": "iKala", "origin": "local", "files": {}, "recordings": [{"channels": 1,'
     b' "sample_rate": 44100, "samples": 9, "track": {"artist": "a", "dataset": "iKala", "id": "a",'
     b' "sources": {"vocals": [{"file": "a.wav"}]}}}]}'),
    ("inventory", b'{"dataset": "iKala", "origin": "local", "absent": "\xff"}'),
    ("split", b"dataset,track,artist,role,has_vocals,weight\niKala,a,b,test,True,,more\n"),
    ("split", b'dataset,track,artist,role,has_vocals,weight\niKala,"a,b,test,True,\n'),
    ("config", b'{"format": 1, "sources": []}'),
    ("metrics", b'{"all": {"V": {"tracks": "many"}}}'),
    ("metrics", b'{"all": 1}'),
    ("metrics", b"{}"),
    ("scores", b"dataset,track,source,SDR,SIR,SAR,note\niKala,a,vocals,1,2,3,4,5\n"),
    ("scores", b"dataset,track,source,SDR,SIR,SAR,note\niKala,a,vocals,nan,nan,nan,\n"),
    ("history", b"step\tL_s\n1e999\t1\n"),
    ("history", b"step\tL_s\n1\tnan\n"),
    ("notes", b"## Notes\n- \xff\n"),
    ("metadata", b"- " * 200_000),
    ("inspected", b"\0"),
    ("timings", b'{"split": NaN}'),
    ("state", b'{"url": "https://example.org/archive.zip", "validator": "a\\nb"}'),
]  # fmt: skip


@pytest.fixture(scope="module")
def place(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the experiment without its recordings and features, and the working directory."""
    folder = tmp_path_factory.mktemp("malformed") / "experiment"
    ignored = shutil.ignore_patterns("synthetic", "features", "report")
    shutil.copytree(experiment, folder, ignore=ignored)
    with inside(folder):
        whole.cache_clear()
        prepare()
        yield folder
    whole.cache_clear()


def test_the_targets_take_what_is_not_damaged(place: Path) -> None:
    for target in TARGETS.values():
        target.use()
    assert set(INPUTS) == set(TARGETS)


@pytest.mark.parametrize(("name", "content"), FOUND, ids=range(len(FOUND)))
def test_what_once_failed(place: Path, name: str, content: bytes) -> None:
    assert failure(TARGETS[name], content) is None


@pytest.mark.parametrize("name", TARGETS)
def test_something_else_in_the_place_of_a_file(place: Path, name: str) -> None:
    """A folder, a pipe, a link to nothing: one line that names it, or nothing where it saves work."""
    target = TARGETS[name]
    path = Path(target.file)
    before = path.read_bytes()
    try:
        for what in INSTEAD:
            put_instead(path, what)
            try:
                with limited(SECONDS):
                    target.use()
            except UserError as error:
                said = str(error)
                assert not target.forgiving, said
                assert path.name in said
                assert len(said) < LONGEST
                assert len(said.splitlines()) == 1
            else:
                allowed = target.forgiving or name in ("notes", "history")
                assert allowed, f"{what} was taken for {path}"
            fuzzing.clear(path)
    finally:
        fuzzing.clear(path)
        path.write_bytes(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_files_damaged_at_random(place: Path, name: str) -> None:
    """In a process of its own, which has little memory."""
    command = [
        sys.executable,
        "-m",
        "tests.helpers.fuzzing",
        str(place),
        name,
        SEED,
        f"{INPUTS[name]}",
    ]
    environment = os.environ | {"PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True)
    assert done.stdout == "done\n", done.stdout + done.stderr
