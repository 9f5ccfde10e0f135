"""Whatever happens to a run, it ends as one to which nothing happened; what is damaged is noticed."""

import errno
import itertools
import multiprocessing
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from safetensors.torch import load_file

from pipeline import params
from pipeline.errors import Stopped, UserError
from pipeline.training import checkpoints, run
from pipeline.training.checkpoints import LAST, PREVIOUS, Unusable
from pipeline.training.module import MONITOR, AdversarialSeparation
from tests.helpers.damage import damaged
from tests.helpers.experiment import small_params, write_params
from tests.helpers.fuzzing import SECONDS, limited
from tests.helpers.limits import small_files_only
from tests.helpers.places import inside
from tests.helpers.training import trained

EPOCHS, STEPS, PATIENCE = 4, 2, 1
MODEL = "V"
RUN, OTHER = "ab" * 32, "cd" * 32
"""Fingerprints of two runs."""
FUZZED = 700
"""Inputs of the fuzz test, of one damaged checkpoint or two."""
STATE = {"state_dict": {"weight": torch.arange(6.0)}, "optimizer_states": [], "steps": 6}


# ----------------------------------------------------------------------------- one file by itself


def opened(folder: Path, fingerprint: str = RUN) -> tuple[Path | None, list[str]]:
    said: list[str] = []
    return checkpoints.open_checkpoints(folder, fingerprint, said.append), said


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with a checkpoint after 6 steps and the one before it, after 4."""
    for steps in (4, 6):
        checkpoints.write(STATE | {"steps": steps}, tmp_path, RUN)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LAST, PREVIOUS]
    return tmp_path


def test_the_last_checkpoint_is_resumed(written: Path) -> None:
    assert opened(written) == (
        written / LAST, [f"resuming from {written / LAST} after 6 separator steps"]
    )  # fmt: skip
    assert opened(written / "none") == (None, [])


def flipped(path: Path, position: int = 400) -> None:
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 4
    path.write_bytes(content)


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "file").touch()


def replaced_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit flipped": flipped,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "the checksum lost": lambda path: path.write_bytes(path.read_bytes()[:-32]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(1000)),
    "written by another program": lambda path: torch.save(STATE, path),
    "another run's": lambda path: checkpoints.write(STATE, path.parent, OTHER),
    "a folder": replaced_by_a_folder,
    "a pipe": replaced_by_a_pipe,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_bad_checkpoint_is_set_aside_once_and_the_one_before_it_taken(
    written: Path, damage: Callable[[Path], object]
) -> None:
    whole = (written / PREVIOUS).read_bytes()
    damage(written / LAST)
    (written / PREVIOUS).write_bytes(whole)
    found, said = opened(written)
    assert found == written / PREVIOUS
    (line,) = said
    assert line.startswith(f"{written / LAST}: ")
    assert line.endswith(
        f"; set aside as {LAST}.unusable; resuming from {written / PREVIOUS} after 4 separator steps"
    )
    assert "\n" not in line
    again = opened(written)
    assert again == (
        written / PREVIOUS, [f"resuming from {written / PREVIOUS} after 4 separator steps"]
    )  # fmt: skip
    # the next one that is bad replaces what is kept, and the run goes on to write
    checkpoints.write(STATE | {"steps": 8}, written, RUN)
    damage(written / LAST)
    opened(written)
    checkpoints.write(STATE | {"steps": 10}, written, RUN)
    assert opened(written)[0] == written / LAST
    assert len(list(written.glob(f"{LAST}*"))) == 2


def test_without_any_good_one_the_run_starts_afresh(written: Path) -> None:
    for name in (LAST, PREVIOUS):
        flipped(written / name)
    found, said = opened(written)
    assert found is None
    (line,) = said
    assert line.count("damaged; set aside as") == 2
    assert line.endswith("; starting afresh")
    assert opened(written) == (None, [])


def test_another_runs_checkpoint_is_not_continued(written: Path) -> None:
    found, said = opened(written, OTHER)
    assert found is None
    assert "last.ckpt: checkpoint of other parameters, code or data; set aside" in said[0]
    assert "starting afresh" in said[0]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(position=st.integers(0), bit=st.integers(0, 7), length=st.integers(0))
def test_every_flipped_bit_and_every_missing_end_is_noticed(
    written: Path, position: int, bit: int, length: int
) -> None:
    whole = (written / LAST).read_bytes()
    content = bytearray(whole)
    content[position % len(whole)] ^= 1 << bit
    for bad in (bytes(content), whole[: length % len(whole)]):
        (written / "x.ckpt").write_bytes(bad)
        with pytest.raises(Unusable):
            checkpoints.read(written / "x.ckpt", RUN)


@pytest.mark.slow
def test_checkpoints_damaged_at_random(written: Path) -> None:
    """`open_checkpoints` never takes what is damaged, and sets it aside, in one line."""
    sound = {name: (written / name).read_bytes() for name in (LAST, PREVIOUS)}
    for number in range(FUZZED):
        both = number % 2
        found = {
            name: damaged(content, "bytes", f"checkpoint 1 {number} {name}")
            if name == LAST or both
            else content
            for name, content in sound.items()
        }
        for name, content in found.items():
            (written / name).write_bytes(content)
        with limited(SECONDS):
            taken, (line,) = opened(written)
        expected = next((name for name in found if found[name] == sound[name]), None)
        assert taken == (expected and written / expected), (number, line)
        assert len(line.splitlines()) == 1
        for name in (LAST, PREVIOUS)[: 2 if expected is None else expected == PREVIOUS]:
            assert (written / f"{name}.unusable").read_bytes() == found[name]


def test_nothing_of_another_run_is_unpickled(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpickled"))
    with pytest.raises(Unusable):
        checkpoints.read(written / LAST, OTHER)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["state_dict", "optimizer_states"])
def test_what_is_not_finite_is_not_written(written: Path, part: str, value: float) -> None:
    bad = {"state_dict": {"w": torch.tensor([1.0, value])}}
    with pytest.raises(UserError, match=rf"last\.ckpt: not written: {part} would hold values"):
        checkpoints.write(STATE | {part: [bad] if part != "state_dict" else bad}, written, RUN)
    assert opened(written)[0] == written / LAST


def test_a_full_disk_leaves_the_checkpoint_that_is_there(written: Path) -> None:
    large = STATE | {"state_dict": {"weight": torch.zeros(20_000)}}
    with small_files_only(20_000), pytest.raises(UserError, match="cannot be written: ") as caught:
        checkpoints.write(large, written, RUN)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in written.iterdir()) == [LAST, PREVIOUS]
    assert checkpoints.read(written / LAST, RUN)["steps"] == 6
    checkpoints.write(large | {"steps": 8}, written, RUN)
    assert checkpoints.read(written / LAST, RUN)["steps"] == 8


def test_a_kill_between_the_two_renames_leaves_the_one_before(written: Path) -> None:
    (written / LAST).rename(written / PREVIOUS)
    found, said = opened(written)
    assert found == written / PREVIOUS
    assert said == [f"resuming from {found} after 6 separator steps"]


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "V").touch()
    with pytest.raises(UserError, match=r"V: not a folder, .*; remove it"):
        opened(tmp_path / "V")


def test_a_link_to_a_folder_elsewhere_stays(written: Path, tmp_path_factory: Any) -> None:
    link = tmp_path_factory.mktemp("link") / "V"
    link.symlink_to(written)
    checkpoints.remove_checkpoints(link)
    assert link.is_symlink()
    assert list(written.iterdir()) == []


# ------------------------------------------------------------------- runs, and what happens to them


class Killed(BaseException):
    """Ends a run in this process as SIGKILL would: nothing of the program handles it."""


class Faults:
    """Lets something happen at one of the moments in which a run computes or writes."""

    def __init__(self) -> None:
        self.left = 0
        self.act: Callable[[], object] | None = None
        self.only_writing = False

    def moment(self, writing: bool = False) -> None:
        if self.act is None or (self.only_writing and not writing):
            return
        if self.left > 0:
            self.left -= 1
            return
        act, self.act = self.act, None
        act()


def kill_here() -> None:
    raise Killed


def kill_the_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def send(number: signal.Signals, kill: Callable[[], None]) -> None:
    """The signal, where the run listens; elsewhere it ends the process at once."""
    if getattr(signal.getsignal(number), "__name__", "") == "note_signal":
        os.kill(os.getpid(), number)
    else:
        kill()


def fill_the_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


ENDINGS = ("SIGKILL", "SIGTERM", "SIGINT", "full disk")


@contextmanager
def moments(faults: Faults, losses: Sequence[float]) -> Iterator[None]:
    """The places of a run where `faults` strikes; its validation losses are `losses`, by epoch."""
    validated = AdversarialSeparation.on_validation_epoch_end

    def given_losses(self: AdversarialSeparation) -> None:
        validated(self)
        self.validated = torch.tensor([losses[self.current_epoch], 1.0], dtype=torch.float64)

    def around(function: Any, writing: bool) -> Any:
        def struck(*arguments: Any, **options: Any) -> Any:
            faults.moment(writing)
            result = function(*arguments, **options)
            faults.moment()
            return result

        return struck

    def in_halves(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            half = len(content) // 2
            file.write(content[:half])
            faults.moment(writing=True)
            return half + file.write(content[half:])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AdversarialSeparation, "on_validation_epoch_end", given_losses)
        places: list[tuple[Any, str, bool]] = [
            (AdversarialSeparation, "agree", False), (AdversarialSeparation, "validation_step", False),
            (Path, "replace", True), (Path, "mkdir", True), (os, "fsync", True),
        ]  # fmt: skip
        for owner, name, writing in places:
            patch.setattr(owner, name, around(getattr(owner, name), writing=writing))
        patch.setattr(Path, "write_bytes", in_halves)
        yield


def tiny(folder: Path) -> params.Params:
    """The experiment in `folder` at its smallest; params.yaml says so too."""
    data = small_params()
    data["separator"]["filters"] = data["critic"]["filters"] = 1
    data["training"] |= {
        "batch_size": 2, "steps_per_epoch": STEPS, "max_epochs": EPOCHS, "patience": PATIENCE,
        "critic_steps": 1,
    }  # fmt: skip
    split = pd.read_csv(folder / "data/split.csv", dtype=str)
    validation = split[split["role"] == "validation"].index[1:]
    split.drop(validation).to_csv(folder / "data/split.csv", index=False)
    return write_params(data, folder)


def attempt(
    folder: Path, losses: Sequence[float], fault: str | None, moment: int, kill: Callable[[], None]
) -> str:
    """Run the training in `folder`; returns how it ended."""
    faults = Faults()
    if fault:
        faults.left, faults.only_writing = moment, fault == "full disk"
        faults.act = {
            "SIGKILL": kill,
            "SIGTERM": lambda: send(signal.SIGTERM, kill),
            "SIGINT": lambda: send(signal.SIGINT, kill),
            "full disk": fill_the_disk,
        }[fault]
    with moments(faults, losses):
        try:
            trained(folder, params.load(folder / "params.yaml"), MODEL)
        except Killed:
            return "killed"
        except Stopped:
            return "stopped"
        except UserError as error:
            if re.fullmatch(".*: cannot be written: No space left on device.*", str(error)):
                return "full"
            raise
    return "done"


def attempt_in_a_process(
    folder: Path, losses: Sequence[float], fault: str | None, moment: int
) -> str:
    """The same in a process of its own, which SIGKILL really ends."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    receiver, sender = context.Pipe(duplex=False)
    threads = torch.get_num_threads()
    process = context.Process(
        target=_attempt_there, args=(Path.cwd(), threads, sender, folder, losses, fault, moment)
    )
    process.start()
    sender.close()
    try:
        outcome = receiver.recv()
    except EOFError:
        outcome = "killed"
    process.join()
    if outcome == "killed":
        assert process.exitcode == -signal.SIGKILL
    return str(outcome)


def _attempt_there(
    place: Path, threads: int, sender: Any, folder: Path, losses: Sequence[float], fault: str | None,
    moment: int,
) -> None:  # fmt: skip
    os.chdir(place)
    torch.set_num_threads(threads)
    sender.send(attempt(folder, losses, fault, moment, kill_the_process))


class Uninterrupted:
    """The twin: a run to which nothing happens, looked at after every epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights: list[dict[str, torch.Tensor]] = []
        self.curves: dict[str, list[tuple[int, float]]] = {}
        ended = AdversarialSeparation.on_train_epoch_end

        def noted(module: AdversarialSeparation) -> None:
            ended(module)
            self.weights.append({key: one.clone() for key, one in module.state_dict().items()})
            self.curves = module.history

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AdversarialSeparation, "on_train_epoch_end", noted)
            assert attempt(folder, range(EPOCHS, 0, -1), None, 0, kill_here) == "done"
        shutil.rmtree(folder / "models")
        assert len(self.weights) == EPOCHS

    def check(self, model: Path, losses: Sequence[float]) -> None:
        """`model` is what comes of validation losses `losses`, to the bit."""
        best = 0
        for epoch, loss in enumerate(losses):
            best = epoch if loss < losses[best] else best
            if epoch - best > PATIENCE:
                break
        saved = {
            f"separator.{key}": one for key, one in load_file(model / "model.safetensors").items()
        } | {
            f"critics.vocals.{key}": one
            for key, one in load_file(model / "critic-vocals.safetensors").items()
        }
        assert saved.keys() == self.weights[best].keys()
        for key, one in saved.items():
            assert torch.equal(one, self.weights[best][key]), key
        found = sorted((model / "history").rglob("*.tsv"))
        assert len(found) == len(self.curves)
        for path in found:
            name = str(path.relative_to(model / "history").with_suffix(""))
            values = [value for _, value in self.curves[name]] if name != MONITOR else losses
            points = [(STEPS * (1 + n), float(values[n])) for n in range(epoch + 1)]
            frame = pd.read_csv(path, sep="\t", float_precision="round_trip")
            assert list(frame.columns) == ["step", path.stem]
            assert list(frame.itertuples(index=False, name=None)) == points


@pytest.fixture(scope="module")
def twin(with_features: Path, tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    folder = tmp_path_factory.mktemp("uninterrupted") / "experiment"
    folder.mkdir()
    (folder / "data").mkdir()
    (folder / "data/features").symlink_to(with_features / "data/features")
    shutil.copy(with_features / "data/split.csv", folder / "data")
    tiny(folder)
    return Uninterrupted(folder)


@pytest.fixture
def tiny_experiment(twin: Uninterrupted, tmp_path: Path) -> Path:
    return copy_of(twin, tmp_path)


def copy_of(twin: Uninterrupted, place: Path) -> Path:
    shutil.copytree(twin.folder, place / "experiment", symlinks=True)
    return place / "experiment"


class Interruptions(RuleBasedStateMachine):
    """Stops, kills, full disks, damages and moves in any order, then a run to the end."""

    twin: Uninterrupted
    place: Path
    numbers = itertools.count()
    really = False
    """Whether runs have processes of their own."""

    @initialize(losses=st.lists(st.integers(0, 3), min_size=EPOCHS, max_size=EPOCHS))
    def begin(self, losses: list[int]) -> None:
        self.losses = losses
        folder = self.place / str(next(self.numbers))
        folder.mkdir()
        self.folder = copy_of(self.twin, folder)

    def run(self, way: str, fault: str | None = None, moment: int = 0) -> str:
        if way == "moved":
            target = self.folder.with_name(f"moved {next(self.numbers)}")
            self.folder = self.folder.rename(target)
        link = self.folder.with_name("link")
        link.unlink(missing_ok=True)
        link.symlink_to(self.folder)
        folder = {"relative": Path(), "linked": link}.get(way, self.folder)
        with inside(self.folder):
            if self.really:
                outcome = attempt_in_a_process(folder, self.losses, fault, moment)
            else:
                outcome = attempt(folder, self.losses, fault, moment, kill_here)
        model = self.folder / "models" / MODEL / "seed-1"
        assert model.exists() is (outcome == "done")
        if outcome == "done":
            self.twin.check(model, self.losses)
            assert not (self.folder / "work" / MODEL).exists()
            shutil.rmtree(model)
        return outcome

    @rule(
        way=st.sampled_from(("absolute", "relative", "linked", "moved")),
        fault=st.sampled_from(ENDINGS),
        moment=st.integers(0, 90),
        damage=st.none() | st.tuples(st.sampled_from((LAST, PREVIOUS)), st.sampled_from(sorted(DAMAGES))),
    )  # fmt: skip
    def interrupted(
        self, way: str, fault: str, moment: int, damage: tuple[str, str] | None
    ) -> None:
        self.run(way, fault, moment)
        if damage is not None:
            path = self.folder / "work" / MODEL / damage[0]
            if path.is_file():
                DAMAGES[damage[1]](path)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            assert self.run("absolute") == "done"
            shutil.rmtree(self.folder.parent)


WITHOUT_SHRINKING: Any = {
    "phases": [Phase.generate], "deadline": None, "database": None,
    "suppress_health_check": list(HealthCheck),
}  # fmt: skip
"""Every step trains: a shorter example of a failure would take minutes to find."""


def machine(twin: Uninterrupted, place: Path, really: bool) -> type[Interruptions]:
    fields = {"twin": twin, "place": place, "really": really}
    return type("Interruptions", (Interruptions,), fields)


def test_whatever_happens_a_run_ends_as_its_twin(twin: Uninterrupted, tmp_path: Path) -> None:
    run_state_machine_as_test(
        machine(twin, tmp_path, really=False),
        settings=settings(
            max_examples=2, stateful_step_count=3, derandomize=True, **WITHOUT_SHRINKING
        ),
    )  # fmt: skip


@pytest.mark.slow
def test_whatever_happens_a_process_ends_as_its_twin(twin: Uninterrupted, tmp_path: Path) -> None:
    """Many more, with real SIGKILLs."""
    run_state_machine_as_test(
        machine(twin, tmp_path, really=True),
        settings=settings(
            max_examples=30, stateful_step_count=6, print_blob=True, **WITHOUT_SHRINKING
        ),
    )  # fmt: skip


def test_an_improving_epoch_after_a_resume_keeps_the_best(
    twin: Uninterrupted, tiny_experiment: Path
) -> None:
    """Stopped after one epoch; the next one is the best, and the run works with relative paths."""
    losses = [3, 2, 4, 5]
    with inside(tiny_experiment):
        with pytest.MonkeyPatch.context() as patch:
            stop_at_epoch(patch, 1)
            assert attempt(Path(), losses, None, 0, kill_here) == "stopped"
        assert attempt(Path(), losses, None, 0, kill_here) == "done"
    twin.check(tiny_experiment / "models" / MODEL / "seed-1", losses)


def stop_at_epoch(patch: pytest.MonkeyPatch, epoch: int) -> None:
    began = AdversarialSeparation.on_train_epoch_start

    def stopping(module: AdversarialSeparation) -> None:
        began(module)
        if module.current_epoch == epoch:
            module.note_signal(signal.SIGTERM, None)
            module.stop_if_asked()

    patch.setattr(AdversarialSeparation, "on_train_epoch_start", stopping)


def test_a_run_killed_after_its_last_epoch_trains_no_more(
    twin: Uninterrupted, tiny_experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was out of patience; one more epoch would have been the best."""
    losses = [1, 2, 3, 0]
    with monkeypatch.context() as patch:
        patch.setattr(run, "finish", lambda *_: kill_here())
        assert attempt(tiny_experiment, losses, None, 0, kill_here) == "killed"
    with monkeypatch.context() as patch:
        patch.setattr(AdversarialSeparation, "agree", lambda *_: pytest.fail("an update"))
        assert attempt(tiny_experiment, losses, None, 0, kill_here) == "done"
    twin.check(tiny_experiment / "models" / MODEL / "seed-1", losses)


def test_a_validation_loss_that_is_not_finite_stops_the_run(
    tiny_experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pipeline.training.module.excerpt_losses", lambda *_: torch.tensor([float("nan")])
    )
    with pytest.raises(UserError, match=rf"{MONITOR} is nan at step 2 .*work/V/last\.ckpt"):
        trained(tiny_experiment, params.load(tiny_experiment / "params.yaml"), MODEL)
    assert not (tiny_experiment / "models").exists()


def test_a_full_disk_ends_a_run_with_one_line_and_then_it_goes_on(
    twin: Uninterrupted, tiny_experiment: Path
) -> None:
    """Where the first checkpoint, a later one and the model folder are written."""
    losses = [2, 1, 3, 0]
    with small_files_only(20_000), pytest.raises(UserError, match="cannot be written: File too"):
        trained(tiny_experiment, params.load(tiny_experiment / "params.yaml"), MODEL)
    for moment in (12, 1):
        assert attempt(tiny_experiment, losses, "full disk", moment, kill_here) == "full"
        assert not (tiny_experiment / "models" / MODEL).exists()
    assert attempt(tiny_experiment, losses, None, 0, kill_here) == "done"
    twin.check(tiny_experiment / "models" / MODEL / "seed-1", losses)
    assert [path.name for path in (tiny_experiment / "models").iterdir()] == [MODEL]
