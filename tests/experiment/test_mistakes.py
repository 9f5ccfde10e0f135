"""What a user can get wrong: one line, status 1, and nothing written."""

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pipeline.parallel import machine
from stages import common, compare, download, evaluate, preprocess, report, split, train
from tests.helpers.command_line import failing
from tests.helpers.experiment import small_params, write_params
from tests.helpers.places import TOP, fingerprints, inside


def remove(path: str) -> Callable[[], None]:
    return lambda: shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()


def damage(path: str) -> Callable[[], None]:
    def halve() -> None:
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: len(content) // 2])

    return halve


def nothing() -> None:
    pass


def empty_test_role() -> None:
    frame = pd.read_csv("data/split.csv")
    frame.loc[frame["role"] == "test", "role"] = "validation"
    frame.to_csv("data/split.csv", index=False)


def forget_a_track() -> None:
    """As after the split of another corpus."""
    frame = pd.read_csv("data/split.csv")
    frame.loc[frame["role"] == "test", "track"] += " (demo)"
    frame.to_csv("data/split.csv", index=False)


def other_rate() -> None:
    """As after a change of params.yaml; the bins are as many."""
    change_params("sample_rate: 8000", "sample_rate: 11025")


def other_order() -> None:
    change_params("- accompaniment\n- vocals\n", "- vocals\n- accompaniment\n")


def change_params(old: str, new: str) -> None:
    before = Path("params.yaml").read_text()
    assert old in before
    Path("params.yaml").write_text(before.replace(old, new, 1))


def another_model() -> None:
    shutil.rmtree("models/V")
    shutil.copytree("models/VA", "models/V")


OTHER_FEATURES = r"data/features/\w+\.h5: computed with other `signal` or `sources`"

MISTAKES: list[tuple[Callable[..., None], list[str], Callable[[], None], str]] = [
    (download.download, ["Musdb"], nothing, "params.yaml: datasets: expected one of DSD100, .*'Musdb'"),
    (preprocess.preprocess, ["ikala"], nothing, "params.yaml: datasets: expected one of .*'ikala'"),
    (train.train, ["v"], nothing, "params.yaml: models: expected one of baseline, V, VA, found 'v'"),
    (evaluate.evaluate, ["v"], nothing, "params.yaml: models: expected one of baseline, V, VA"),
    (evaluate.evaluate, ["V", "--role", "tset"], nothing, "--role tset: expected one of supervised"),
    (evaluate.evaluate, ["V", "--role", "validation"], nothing, "--role validation: .* --out"),
    (train.train, ["V", "--device", "tpu"], nothing, "--device tpu: expected auto, cpu or cuda"),
    (preprocess.preprocess, ["iKala"], remove("data/inventory/iKala.json"),
     r"data/inventory/iKala\.json: no such file; run `python -m stages.download iKala` first"),
    (split.split, [], remove("data/inventory/iKala.json"), r"data/inventory/iKala\.json: no such file"),
    (split.split, [], damage("data/inventory/iKala.json"),
     r"data/inventory/iKala\.json: not valid JSON: .*; delete it and run"),
    (preprocess.preprocess, ["iKala"], remove("data/features/iKala.h5"),
     r"data/synthetic/iKala/Wavfile/.*\.wav: no such file"),
    (train.train, ["V"], remove("data/features"), r"data/features/\w+\.h5: no such file; run `dvc repro"),
    (train.train, ["V"], remove("data/split.csv"), r"data/split\.csv: no such file; run"),
    (evaluate.evaluate, ["oracle"], remove("data/features"), r"data/features/DSD100\.h5: no such file"),
    (evaluate.evaluate, ["oracle"], remove("data/split.csv"), r"data/split\.csv: no such file"),
    (evaluate.evaluate, ["oracle"], forget_a_track, r"\.h5: no features of '.* \(demo\)'"),
    (evaluate.evaluate, ["oracle"], empty_test_role, r"data/split\.csv: no track has the role test"),
    (evaluate.evaluate, ["V"], remove("models/V"), r"models/V/seed-1/config\.json: no such file"),
    (train.train, ["V"], other_rate, OTHER_FEATURES),
    (evaluate.evaluate, ["oracle"], other_rate, OTHER_FEATURES),
    (evaluate.evaluate, ["oracle"], other_order, OTHER_FEATURES),
    (evaluate.evaluate, ["V"], other_order, r"V/seed-1/config\.json: another model .*: its sources"),
    (evaluate.evaluate, ["V"], another_model, r"V/seed-1/config\.json: another model .*: its model is"),
    (report.report, ["--out", "page"], other_rate, r"/seed-1/config\.json: another .*: its signal"),
    (report.report, ["--out", "page"], another_model, r"V/seed-1/config\.json: another model than V"),
    (report.report, ["--out", "page"], forget_a_track, "results/tracks: not the scores of the test"),
    (compare.main, [], remove("results/tracks/VA.csv"), r"results/tracks/VA\.csv: no such file; run"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "arguments", "mistake", "said"), MISTAKES)
@pytest.mark.usefixtures("one_process")
def test_a_users_mistake_is_one_line_and_leaves_no_output(
    copied: Path,
    capsys: pytest.CaptureFixture[str],
    command: Callable[..., None],
    arguments: list[str],
    mistake: Callable[[], None],
    said: str,
) -> None:
    with inside(copied):
        mistake()
        before = fingerprints(copied)
        line = failing(command, arguments, capsys)
        assert re.match(f"error: .*{said}", line), line
        assert fingerprints(copied) == before


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (download.download, ["iKala"]),
        (split.split, []),
        (preprocess.preprocess, ["iKala"]),
        (train.train, ["V"]),
        (evaluate.evaluate, ["mixture"]),
        (compare.main, []),
    ],
)
def test_without_parameters_every_stage_says_so(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: Callable[..., None],
    arguments: list[str],
) -> None:
    with inside(tmp_path):
        line = failing(command, arguments, capsys)
    assert line == "error: params.yaml: no such file; run from the top of the repository"
    assert not list(tmp_path.iterdir())


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["stage"])
    monkeypatch.setattr(machine, "compute_portably", lambda: True)  # this process is under way
    with pytest.raises(ZeroDivisionError):
        common.run(broken)


# ------------------------------------------------------------------------- as processes of their own


def command_line(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (["download", "Musdb"], "params.yaml: datasets: expected one of .* found 'Musdb'"),
        (["split"], r"data/inventory/DSD100\.json: no such file"),
        (["compare"], r"results/tracks/mixture\.csv: no such file; run"),
    ],
)
def test_a_process_ends_with_one_line_and_status_1(
    tmp_path: Path, stage: list[str], said: str
) -> None:
    write_params(small_params(), tmp_path)
    done = command_line(tmp_path, "-m", f"stages.{stage[0]}", *stage[1:])
    assert done.returncode == 1
    assert re.fullmatch(f"error: {said}.*\n", done.stderr)
    assert not done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


HELP = """
import contextlib, io, runpy, sys
sys.modules["dvc"] = None  # importing it fails
for stage in sys.argv[1:]:
    sys.argv, text = [stage, "--help"], io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        runpy.run_module(f"stages.{stage}", run_name="__main__")
    assert "Usage: " in text.getvalue(), stage
    print(stage)
slow = {"torch", "pandas", "lightning", "museval"} & set(sys.modules)
assert not slow, slow
"""


def test_every_stage_explains_itself_without_dvc(tmp_path: Path) -> None:
    stages = sorted(path.stem for path in (TOP / "stages").glob("*.py"))
    stages = [name for name in stages if name not in ("__init__", "common")]
    assert {"download", "split", "preprocess", "train", "evaluate", "compare"} <= set(stages)
    done = command_line(tmp_path, "-c", HELP, *stages)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == stages


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_help_comes_at_once(tmp_path: Path, stage: str) -> None:
    """Time of the processor, which what else runs on the machine hardly changes."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = command_line(tmp_path, "-m", f"stages.{stage}", "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert statistics.median(times) < 1.5


def test_a_wrong_setting_of_the_machine_is_one_line(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIPELINE_PROCESSES", "all")
    with inside(copied):
        line = failing(evaluate.evaluate, ["mixture"], capsys)
    assert line == "error: PIPELINE_PROCESSES: expected a number of processes, found 'all'"
