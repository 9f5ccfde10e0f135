"""What the container's entry point says about its surroundings, and how it learns it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from container import checks, gpu, home
from container.gpu import Gpus
from stages import common
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
