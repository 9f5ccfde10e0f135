"""What the machine does not give: one line with the remedy, nothing half-written, and on it goes."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from dvc.repo import Repo

from pipeline import files
from pipeline.errors import UserError, shortage
from stages import common, compare
from tests.helpers.command_line import failing
from tests.helpers.experiment import small_params, write_params
from tests.helpers.places import TOP, fingerprints, inside
from tests.helpers.small_recordings import music, put
from tests.helpers.waiting import until

Limit = Callable[[], None]


def limited(number: int, value: int) -> Limit:
    """Lower a limit of the process to be."""
    return lambda: resource.setrlimit(number, (value, value))


LIMITS: dict[str, tuple[Limit, str]] = {
    "files": (limited(resource.RLIMIT_NOFILE, 24), "Too many open files; raise .*ulimit -n"),
    "memory": (limited(resource.RLIMIT_AS, 600_000_000), "Cannot allocate memory; free some.*ulimit -v"),
    "file size": (
        limited(resource.RLIMIT_FSIZE, 200),
        r"(data|models|results|work)\S*: (cannot be written: )?File too large; raise .*ulimit -f",
    ),
}  # fmt: skip
STAGES: dict[str, tuple[list[str], str]] = {
    "download": (["stages.download", "iKala"], "data/synthetic/iKala"),
    "split": (["stages.split"], "data/split.csv"),
    "preprocess": (["stages.preprocess", "iKala"], "data/features/iKala.h5"),
    "train": (["stages.train", "V"], "models/V"),
    "evaluate": (["stages.evaluate", "V"], "results/tracks/V.csv"),
    "reference": (["stages.evaluate", "mixture"], "results/tracks/mixture.csv"),
    "compare": (["stages.compare"], "results/table.csv"),
    "report": (["stages.report"], "results/report"),
    "separate": (
        ["pipeline", "separate", "data/song.wav", "--model", "models/V", "--out", "results/songs"],
        "results/songs/song",
    ),
}
"""The command of each stage, and what it makes."""


def run(folder: Path, stage: list[str], limit: Limit | None = None) -> tuple[int, list[str]]:
    """Exit status and lines of a stage in a process of its own, without progress bars."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *stage],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(TOP)}, preexec_fn=limit,
        capture_output=True, text=True,
    )  # fmt: skip
    lines = done.stderr.replace("\r", "\n").splitlines()
    return done.returncode, [line for line in lines if line.strip() and "/s]" not in line]


def without_progress(lines: list[str]) -> list[str]:
    return [line for line in lines if not re.search(r"\d+%\||\?it|\d it ", line)]


@pytest.mark.slow
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_lacks_something_says_so_and_goes_on_later(
    experiment: Path, tmp_path: Path, stage: str, limit: str
) -> None:
    folder = tmp_path / "experiment"
    shutil.copytree(experiment, folder)
    put(folder / "data/song.wav", music(1, 20_000))
    command, product = STAGES[stage]
    lower, said = LIMITS[limit]
    files.remove(folder / product)
    before = fingerprints(folder)
    status, lines = run(folder, command, lower)
    (line,) = without_progress(lines)
    assert status == 1
    assert re.match(f"error: .*{said}", line), line
    after = {
        name: content
        for name, content in fingerprints(folder).items()
        if not name.startswith(("work/", "data/synthetic/iKala.partial"))
    }
    assert after == {name: before[name] for name in after}
    assert not (folder / product).exists()
    assert run(folder, command)[0] == 0
    assert (folder / product).exists()
    assert not list(folder.rglob("*.partial"))


SMALL_DISK = """
mount -t tmpfs -o size=1700k none data/features || exit 77
"$1" -W ignore -c "$2" iKala 2> said; echo $? > status
ls -A data/features > left
mount -o remount,size=60m none data/features
"$1" -W ignore -m stages.preprocess iKala && cp data/features/iKala.h5 made.h5
"""
UNRESERVED = """
from pipeline.features import preprocess as module
from stages import common, preprocess
module.reserve = lambda *_: None
common.run(preprocess.preprocess)
"""
"""Others fill the disk after its room was looked at."""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("unshare"), reason="no unshare on this system")
def test_a_disk_that_fills_while_features_are_written(experiment: Path, tmp_path: Path) -> None:
    """Really full, in a mount of its own: HDF5 is known to end with SIGSEGV there."""
    for name in ("params.yaml", "data/inventory", "data/synthetic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(experiment / name)
    (tmp_path / "data/features").mkdir()
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", SMALL_DISK, "sh",
         sys.executable, UNRESERVED],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(TOP)}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode == 77 or done.stderr.startswith("unshare:"):
        pytest.skip(f"no mount of one's own here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "status").read_text() == "1\n"
    said = (tmp_path / "said").read_text().replace("\r", "\n").splitlines()
    (line,) = [one for one in without_progress(said) if one.strip() and "/s]" not in one]
    assert line.startswith("error: data/features/iKala.h5: cannot be written: No space left")
    assert (tmp_path / "left").read_text() == ""
    made = (tmp_path / "made.h5").read_bytes()
    assert made == (experiment / "data/features/iKala.h5").read_bytes()


def test_few_files_are_one_line_before_anything_is_begun(tmp_path: Path) -> None:
    write_params(small_params(), tmp_path)
    status, (line,) = run(tmp_path, ["stages.download", "iKala"], LIMITS["files"][0])
    assert status == 1
    assert re.match(f"error: {LIMITS['files'][1]}", line), line
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_without_standard_streams_a_stage_ends_as_with_them(copied: Path) -> None:
    """The next files that a process opens would be its standard output and error."""
    before = fingerprints(copied)

    def close() -> None:
        for descriptor in range(3):
            os.close(descriptor)

    process = subprocess.Popen(
        [sys.executable, "-m", "stages.compare"],
        cwd=copied, env=os.environ | {"PYTHONPATH": str(TOP)}, preexec_fn=close,
    )  # fmt: skip
    assert process.wait() == 0
    after = fingerprints(copied)
    assert {name for name in after if after[name] != before.get(name)} <= {"work/timings.json"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("statement", ["sys.stdout.write('x')", "typer.echo('x')"])
def test_an_output_that_takes_nothing_is_one_line(tmp_path: Path, statement: str) -> None:
    program = (
        "import sys, typer; from stages import common\n"
        f"def say() -> None:\n    {statement}\n"
        "common.run(say)\n"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True,
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(TOP), "PYTHONUNBUFFERED": ""},
        )  # fmt: skip
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "Cannot allocate memory; free some"),
        (RuntimeError("can't start new thread"), "no more threads or processes; raise the limit"),
        (RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to"),
         "Cannot allocate memory; free some"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), "the GPU has not enough"),
        (ImportError("x.so: failed to map segment from shared object"), "Cannot allocate memory"),
        (ImportError("x.so: cannot open shared object file: Too many open files"), "Too many open"),
        (RuntimeError("Can't decrement id ref count (unable to close file, errno = 28, error"),
         "No space left on device; make room"),
        (RuntimeError("I/O error: File too large (os error 27)"), "File too large; raise the limit"),
        (OSError(122, "Disk quota exceeded", "x.h5"), "x.h5: Disk quota exceeded; make room, or"),
        (PermissionError(13, "Permission denied", b"x"), "x: Permission denied; let this user"),
        (OSError("AF_UNIX path too long"), "no folder for temporary files: AF_UNIX path too long; set"),
        (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), "no folder for temp"),
    ],
)  # fmt: skip
def test_what_is_lacking_is_recognised_however_it_is_said(error: Exception, said: str) -> None:
    line = shortage(error)
    assert line
    assert line.startswith(said)
    assert "\n" not in line


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file or directory", "x"),
        ValueError("x"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        KeyError("x"),
        IsADirectoryError(21, "Is a directory", "x"),
    ],
)
def test_a_defect_is_no_shortage(error: Exception) -> None:
    assert shortage(error) is None


def test_the_cause_of_an_error_counts() -> None:
    error = ValueError("a table cannot be built")
    error.__cause__ = OSError(28, "No space left on device")
    assert shortage(error) == "No space left on device; make room and run the same command again"


# -------------------------------------------------------------------------------- two runs of a stage

HOLDING = """
import sys, time; from pathlib import Path; from stages import common
with common.claim(Path(sys.argv[1])):
    print("held", flush=True); time.sleep(600)
"""


def holding(folder: Path, target: str) -> "subprocess.Popen[str]":
    """A process that makes `target`, or seems to."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, target], cwd=folder, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(TOP)},
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_of_two_runs_says_who_holds_it_until_that_one_is_dead(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with holding(copied, "results/metrics.json") as first, inside(copied):
        before = fingerprints(copied)
        line = failing(compare.main, [], capsys)
        assert re.fullmatch(
            rf"error: results/metrics\.json: process {first.pid} on \S+ \(`python\S* -c .*`, since "
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\) is at work on it; wait until .*",
            line,
        )
        assert fingerprints(copied) == before
        first.kill()
        first.wait()
        compare.main()
        assert not list(common.LOCKS.iterdir())


def test_other_outputs_are_made_at_the_same_time(tmp_path: Path) -> None:
    with holding(tmp_path, "models/V") as first, inside(tmp_path):
        with common.claim(Path("models/VA")):
            pass
        with pytest.raises(UserError, match="is at work on it"), common.claim(Path("models/V")):
            pass
        with (
            pytest.raises(UserError, match="is at work on it"),
            common.claim(tmp_path / "models" / "V"),
        ):
            pass
        first.kill()


def test_one_of_several_processes_claims_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with common.claim(Path("models/V")):
        monkeypatch.setenv("RANK", "1")
        with common.claim(Path("models/V")):
            pass


def test_where_no_lock_can_be_had_the_work_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import fcntl

    def unknown(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fcntl, "flock", unknown)
    with common.claim(Path("models/V")):
        done = True
    assert done
    assert "no locks here; see to it that nobody else writes models/V" in capsys.readouterr().err


def test_what_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"), common.claim(Path("results/x.csv")):
        pytest.fail("begun")


BUSY = """
stages:
  download:
    matrix: {dataset: [a, b]}
    cmd: mkdir -p data/ready && echo ${item.dataset} > data/ready/${item.dataset}
    outs: [{"data/ready/${item.dataset}": {cache: false}}]
  preprocess:
    cmd: touch busy && while test ! -e go; do sleep 0.1; done && echo done > features
    deps: [data/ready/a, data/ready/b]
    outs: [features]
"""


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_git")
def test_another_look_at_the_recordings_changes_nothing_during_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first command of `make look`, in a folder with a pipeline that is in no hurry."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    makefile = (TOP / "Makefile").read_text()
    (look,) = re.findall(r"^look:.*\n\t.*; (dvc .*)$", makefile, re.MULTILINE)
    (tmp_path / "dvc.yaml").write_text(BUSY)
    Repo.init(str(tmp_path), no_scm=True).close()
    with subprocess.Popen(["dvc", "repro"], cwd=tmp_path) as first:
        until((tmp_path / "busy").exists, first)
        before = fingerprints(tmp_path / "data")
        assert len(before) == 2
        assert subprocess.run(look, shell=True, cwd=tmp_path).returncode != 0
        assert fingerprints(tmp_path / "data") == before
        (tmp_path / "go").touch()
        assert first.wait() == 0
    done = subprocess.run(look, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert re.findall(r"Running stage '(.*)'", done.stdout) == ["download@a", "download@b"]


# ------------------------------------------------------------------------------------- kill -9

WORKING = """
import sys, time
from pathlib import Path
from pipeline.parallel.mapping import parallel_map
from tests.helpers.on_workers import stay
if __name__ == "__main__":
    list(parallel_map(stay, [Path(sys.argv[1], str(n)) for n in range(4)], "x"))
"""


def test_workers_end_with_the_process_that_they_work_for(tmp_path: Path) -> None:
    """Busy ones too, and nothing of them stays in the folder for temporary files."""
    (tmp_path / "program.py").write_text(WORKING)
    (tmp_path / "marks").mkdir()
    (tmp_path / "t").mkdir()
    process = subprocess.Popen(
        [sys.executable, "program.py", "marks"], cwd=tmp_path, stderr=subprocess.DEVNULL,
        env=os.environ
        | {"PYTHONPATH": str(TOP), "PIPELINE_PROCESSES": "2", "TMPDIR": str(tmp_path / "t")},
    )  # fmt: skip
    until(lambda: len(list((tmp_path / "marks").iterdir())) == 2, process)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3
    process.kill()
    process.wait()
    until(lambda: not any(one.is_running() for one in family))
    assert list((tmp_path / "t").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize("variable", ["DVC_STAGE", "TORCHELASTIC_RUN_ID"])
def test_a_stage_is_told_to_stop_when_dvc_or_torchrun_was_killed(
    tmp_path: Path, variable: str
) -> None:
    stage = (
        "import os, signal, sys, time; from pathlib import Path; from stages import common\n"
        "def stop(*_): Path('stopped').touch(); sys.exit(143)\n"
        "def work() -> None:\n"
        "    signal.signal(signal.SIGTERM, stop)\n"
        "    Path('stage').write_text(str(os.getpid())); Path('began').touch(); time.sleep(600)\n"
        "common.run(work)\n"
    )
    (tmp_path / "stage.py").write_text(stage)
    starter = "import subprocess, sys; subprocess.run([sys.executable, 'stage.py'])"
    process = subprocess.Popen(
        [sys.executable, "-c", starter], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(TOP), variable: "x"},
    )  # fmt: skip
    until((tmp_path / "began").exists, process)
    process.kill()
    process.wait()
    until((tmp_path / "stopped").exists)
    with suppress(ProcessLookupError):
        os.kill(int((tmp_path / "stage").read_text()), signal.SIGKILL)


def test_the_holder_is_named_without_what_a_terminal_would_obey(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    who = {"process": 1, "host": "h", "since": "now", "command": "python \x1b[2J"}
    lock.write_text(json.dumps(who))
    assert files._holder(lock) == "process 1 on h (`python \\x1b[2J`, since now)"
    lock.write_text("torn")
    assert files._holder(lock) == "another process"
