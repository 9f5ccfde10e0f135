"""What the container's entry point says about its surroundings, and how it learns it."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from container import __main__ as main
from container import checks, gpu, home
from container.command import Command
from container.gpu import Gpus
from stages import common
from tests.helpers.places import TOP
from tests.helpers.stand_ins import run


def only(found: list[checks.Finding]) -> str:
    assert len(found) == 1, found
    return str(found[0])


def test_a_sound_checkout_has_no_findings(checkout: Path) -> None:
    assert [*checks.folder(checkout, os.geteuid()), *checks.history(checkout)] == []
    assert run(checkout, "check") == (0, "")
    assert run(checkout, "health") == (0, "")


def test_no_checkout(tmp_path: Path) -> None:
    said = f'error: {tmp_path}: no checkout here (dvc.yaml is missing): add -v "$PWD":{tmp_path}'
    assert run(tmp_path, "check")[1].startswith(said)
    assert run(tmp_path, "check")[0] == 1
    assert run(tmp_path, "check", "sh") == (0, "")


def test_no_git(checkout: Path) -> None:
    (checkout / ".git").rmdir()
    assert only([*checks.history(checkout)]).startswith(f"error: {checkout}/.git: missing")
    assert run(checkout, "check", "python", "-m", "stages.train", "V") == (0, "")


def test_a_worktree_whose_repository_is_not_mounted(checkout: Path) -> None:
    (checkout / ".git").rmdir()
    (checkout / ".git").write_text("gitdir: /home/me/repository/.git/worktrees/other\n")
    said = only([*checks.history(checkout)])
    assert said.endswith("not mounted: add -v /home/me/repository/.git:/home/me/repository/.git")


def test_owners(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = checkout.stat()
    theirs = f"{owner.st_uid}:{owner.st_gid}"

    def closed(name: str, forbidden: int = os.W_OK) -> Callable[[Path, int], bool]:
        return lambda path, mode: Path(path).name != name or not mode & forbidden

    monkeypatch.setattr(os, "access", closed(checkout.name))
    said = only([*checks.folder(checkout, 7)])
    assert "and uid 7 may not write there" in said
    assert said.endswith(f"add --user {theirs}")
    monkeypatch.setattr(os, "access", closed(checkout.name, os.X_OK))
    said = only([*checks.folder(checkout, 7)])
    assert "and uid 7 may not look into it" in said
    assert said.endswith(f"add --user {theirs}")
    monkeypatch.setattr(os, "access", closed("models"))
    (checkout / "models").mkdir()
    said = only([*checks.folder(checkout, owner.st_uid or 7)])
    assert said.startswith("error: models: of uid ")
    assert said.endswith(f"sudo chown -R {theirs} .")


def test_every_folder_that_the_stages_write_is_looked_at() -> None:
    paths = [value for value in vars(common).values() if isinstance(value, Path)]
    assert {str(path) for path in paths if not path.suffix} <= set(checks.PLACES)


@pytest.mark.parametrize(
    ("words", "places"),
    [
        (("dvc", "repro"), ["models"]),
        (("dvc", "repro", "experiments/second/dvc.yaml"), ["experiments/second/models"]),
        (("dvc", "repro", "dvc.yaml", "experiments/other/dvc.yaml"), []),
        (("sh", "-c", "cd experiments/second && dvc repro"), ["experiments/second/models"]),
        (("python", "-m", "stages.train", "V"), ["models"]),
    ],
)
def test_what_another_user_left_in_the_experiment_that_runs(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], places: list[str]
) -> None:
    """What an experiment that is not run has, hinders nobody."""
    for folder in ("models", "experiments/second/models"):
        (checkout / folder).mkdir()
    access = os.access

    def closed(path: Path, mode: int) -> bool:
        return access(path, mode) and not (Path(path).name == "models" and mode & os.W_OK)

    monkeypatch.setattr(os, "access", closed)
    found = [one.text for one in checks.folder(checkout, 7, Command(words).folders)]
    whose = f"of uid {checkout.stat().st_uid}, left by a run as another user"
    assert [text.partition(": ")[0] for text in found] == places
    assert all(text.partition(": ")[2].startswith(whose) for text in found)


def test_in_an_experiments_folder_the_checkout_lies_above(checkout: Path) -> None:
    """docker run --workdir /experiment/experiments/second: git, DVC's lock and the code are the top's."""
    place = "experiments/second"
    assert main.place(checkout / place) == (checkout, place)
    assert Command(("dvc", "repro"), place).folders == [place]
    assert run(checkout, "check", folder=place) == (0, "")
    assert run(checkout, "health", folder=place) == (0, "")
    locked = "echo dvc && pwd && test -s ../../.dvc/tmp/container.lock"
    assert run(checkout, "sh", "-c", locked, folder=place) == (0, "")
    (checkout / ".git").rmdir()
    said = run(checkout, "check", folder=place)[1]
    assert said.startswith(f"error: {checkout}/.git: missing, and DVC needs it")


def test_a_folder_named_experiments_is_no_checkout(tmp_path: Path) -> None:
    (tmp_path / "experiments/mine").mkdir(parents=True)
    for here in (
        tmp_path / "experiments/mine",
        Path("/experiments/mine"),
        Path("/experiment"),
        Path("/"),
    ):
        assert main.place(here) == (here, "")


def test_the_commands_of_the_documents_name_experiments_that_are_there() -> None:
    text = (TOP / "docs/container.md").read_text(encoding="utf-8")
    lines = re.findall(r"^ {4}(.*)$", text, re.MULTILINE)
    commands = [Command(tuple(shlex.split(line))) for line in lines if "experiments/" in line]
    assert len(commands) >= 3
    for command in commands:
        for folder in command.folders:
            assert (TOP / folder / "dvc.yaml").is_file(), command.words


def test_a_read_only_mount(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class ReadOnly:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr(os, "statvfs", lambda _: ReadOnly)
    assert only([*checks.folder(checkout, 7)]).startswith(f"error: {checkout}: mounted read-only")


def test_an_unknown_user_gets_a_name_and_a_home(checkout: Path) -> None:
    given = {"HOME": "/nowhere", "TMPDIR": str(checkout)}
    result, found = home.environment(given, checkout, 54321)
    assert only(found) == "note: uid 54321 has no name in the image: USER is uid-54321"
    assert (result["USER"], result["HOME"]) == ("uid-54321", f"{checkout}/home-54321")
    assert Path(result["HOME"]).is_dir()
    assert result["DVC_SITE_CACHE_DIR"] == f"{checkout}/.dvc/tmp/site-cache"
    assert result["PYTHONPATH"] == str(checkout)
    assert home.environment({"PYTHONPATH": "mine"}, checkout, 1)[0]["PYTHONPATH"] == "mine"
    assert "PYTHONPATH" not in home.environment({}, checkout / "stages", 1)[0]  # songs, no checkout
    assert only([*checks.temporary_folder(Path("/proc/self/nowhere"))]).endswith(
        "not writable, and temporary files go there: add --tmpfs /proc/self/nowhere"
    )


@pytest.mark.parametrize(
    ("megabytes", "writable", "gpus", "said"),
    [
        (0, False, 0, ""),
        (64, True, 1, ""),
        (64, True, 2, "64 MB"),
        (1024, True, 2, ""),
        (1024, False, 2, "0 MB"),
    ],
)
def test_shared_memory(
    monkeypatch: pytest.MonkeyPatch, megabytes: int, writable: bool, gpus: int, said: str
) -> None:
    class Usage:
        total = megabytes * checks.MEGABYTE

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage())
    monkeypatch.setattr(os, "access", lambda *_: writable)
    found = [*checks.shared_memory(Path("/dev/shm"), gpus)]
    warning = f"warning: /dev/shm: {said} of shared memory, too little for training on several"
    assert only(found).startswith(warning) if said else found == []


@pytest.mark.parametrize(
    ("asked", "gpus", "said"),
    [
        ("", Gpus(), "note: no GPU asked for (--gpus all): on the CPU, "),
        (
            "NVIDIA_VISIBLE_DEVICES=all",
            Gpus(("NVIDIA H200", "NVIDIA H200"), 13000),
            "note: on the GPU: 2 x NVIDIA H200; the driver supports CUDA 13.0",
        ),
        (
            "/dev/nvidia0",
            Gpus(("NVIDIA A100",), 12040),
            "error: a GPU was asked for (/dev/nvidia0), but the host's driver supports CUDA 12.4 and the"
            " packages need 13.0",
        ),
        (
            "/dev/nvidia0",
            Gpus((), 13000),
            "error: a GPU was asked for (/dev/nvidia0), but the driver shows",
        ),
        (
            "--device cuda",
            Gpus(problem="it is gone"),
            "error: a GPU was asked for (--device cuda), but it",
        ),
    ],
)
def test_the_device_is_named(asked: str, gpus: Gpus, said: str) -> None:
    assert str(checks.device(asked, gpus, "13.0")).startswith(said)


def test_a_gpu_that_was_asked_for_and_is_not_there_is_an_error(checkout: Path) -> None:
    assert gpu.ask_driver("libno-such-driver.so").problem.startswith(
        "libno-such-driver.so is not in"
    )
    found = gpu.asked_for({"NVIDIA_VISIBLE_DEVICES": "0,1"})
    assert found == "NVIDIA_VISIBLE_DEVICES=0,1"
    dev = str(checkout)
    assert gpu.asked_for({"NVIDIA_VISIBLE_DEVICES": "void"}, (), dev) == ""
    assert gpu.asked_for({}, ("python", "-m", "stages.train", "V", "--device", "cuda"), dev) != ""
    (checkout / "nvidia0").touch()
    assert gpu.asked_for({}, (), dev) == f"{dev}/nvidia0"


def test_the_packages_cuda_is_read_without_loading_them() -> None:
    import torch

    assert gpu.packages_cuda() == (torch.version.cuda or "")


def test_the_drivers_library_is_asked(tmp_path: Path) -> None:
    """A library with the driver's interface, so that the calls are real; needs a C compiler."""
    source = tmp_path / "cuda.c"
    source.write_text(
        "#include <string.h>\n"
        "int cuDriverGetVersion(int *v) { *v = 13010; return 0; }\n"
        "int cuInit(unsigned f) { return FAILS; }\n"
        "int cuDeviceGetCount(int *n) { *n = 2; return 0; }\n"
        "int cuDeviceGet(int *d, int i) { *d = 40 + i; return 0; }\n"
        'int cuDeviceGetName(char *s, int n, int d) { strcpy(s, d == 41 ? "B" : "A"); return 0; }\n'
        'int cuGetErrorString(int e, const char **s) { *s = "no device"; return 0; }\n'
    )
    answers = []
    for code in (0, 100):
        library = tmp_path / f"libcuda{code}.so"
        try:
            compiler = [
                "cc",
                f"-DFAILS={code}",
                "-shared",
                "-fPIC",
                "-o",
                str(library),
                str(source),
            ]
            subprocess.run(compiler, check=True)
        except FileNotFoundError:
            pytest.skip("no C compiler")
        answers.append(gpu.ask_driver(str(library)))
    assert answers[0] == Gpus(("A", "B"), 13010)
    assert answers[1].names == ()
    assert answers[1].problem.startswith("the driver says 'no device' (error 100)")
