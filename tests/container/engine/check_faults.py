"""What commonly goes wrong, on a real engine: one line each."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.engine.clones import clone, removed
from tests.container.engine.docker import run


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone that belongs to a user whom the image does not know."""
    with removed(clone(tmp_path_factory.mktemp("faults") / "checkout")) as folder:
        yield folder


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_nothing_is_wrong_with_an_unknown_user(checkout: Path) -> None:
    done = run("check", mount=checkout)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == "note: uid 12345 has no name in the image: USER is uid-12345"
    assert lines[1].startswith("note: no GPU asked for (--gpus all): on the CPU, ")
    assert len(lines) == 2


def test_libraries_find_a_home_for_an_unknown_user(checkout: Path) -> None:
    script = (
        "import getpass, pathlib, librosa, matplotlib.pyplot, torch, triton.knobs;"
        "pathlib.Path.home().joinpath('x').touch();"
        "print(getpass.getuser(), torch._inductor.runtime.cache_dir_utils.cache_dir())"
    )
    done = run("python", "-c", "import torch._inductor.runtime.cache_dir_utils;" + script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("uid-12345 ")
    assert "matplotlib" not in done.stderr.lower(), done.stderr


@pytest.mark.parametrize(
    ("user", "options", "line"),
    [
        ("1000:1000", (), "/experiment: belongs to uid 12345, and uid 1000 may not write there"),
        (
            "12345:12345",
            ("-e", "NVIDIA_VISIBLE_DEVICES=all"),
            "a GPU was asked for (NVIDIA_VISIBLE_DEVICES=all), but libcuda.so.1 is not in",
        ),
        ("12345:12345", ("--read-only",), "/tmp: not writable, and temporary files go there"),
    ],
    ids=["foreign owner", "no GPU", "read-only container"],
)
def test_a_fault_is_a_line(checkout: Path, user: str, options: tuple[str, ...], line: str) -> None:
    done = run(mount=checkout, user=user, options=options)
    assert done.returncode == 1
    assert len(errors(done)) == 1, done.stderr
    assert errors(done)[0].startswith(f"error: {line}")
    assert "Running stage" not in done.stdout


def test_a_read_only_mount_is_a_line(checkout: Path) -> None:
    done = run(options=("-v", f"{checkout}:/experiment:ro"))
    assert errors(done) == [
        "error: /experiment: mounted read-only: take :ro (or readonly) from the mount"
    ]


def test_a_folder_that_only_its_owner_may_look_into_is_a_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    owner = tmp_path.stat().st_uid
    for words in ((), ("health",)):
        done = run(*words, mount=tmp_path)
        assert done.returncode == 1
        assert errors(done) == [
            f"error: /experiment: belongs to uid {owner}, and uid 12345 may not look into it: add"
            f" --user {owner}:{tmp_path.stat().st_gid}"
        ], done.stderr


def test_no_checkout_is_a_line() -> None:
    assert errors(run())[0].startswith("error: /experiment: no checkout here (dvc.yaml is missing)")


def test_no_git_is_a_line(tmp_path: Path) -> None:
    with removed(clone(tmp_path / "checkout", history=False)) as folder:
        done = run(mount=folder)
        assert errors(done)[0].startswith("error: /experiment/.git: missing, and DVC needs it")
        assert run("python", "-m", "stages.train", "--help", mount=folder).returncode == 0


def test_what_root_left_behind_is_a_line(tmp_path: Path) -> None:
    with removed(clone(tmp_path / "checkout")) as folder:
        as_root = run("dvc", "status", mount=folder, user="0:0")
        assert "warning: runs as root, and /experiment belongs to uid 12345" in as_root.stderr
        done = run(mount=folder)
        assert errors(done)[0].startswith("error: .dvc/tmp, "), done.stderr
        assert errors(done)[0].endswith("on the host, sudo chown -R 12345:12345 .")


def test_git_and_dvc_read_a_checkout_of_another(checkout: Path) -> None:
    """Root is not the owner; libgit2 and git both have to trust the folder."""
    assert run("git", "status", "--porcelain", mount=checkout, user="1000").returncode == 0
    script = "import pygit2; print(pygit2.Repository('/experiment').head.target)"
    done = run("python", "-c", script, mount=checkout, user="1000")
    assert done.returncode == 0, done.stderr


def test_a_stage_and_a_command_of_the_pipeline_run(checkout: Path) -> None:
    assert "models/<model>" in run("python", "-m", "stages.train", "--help", mount=checkout).stdout
    assert "separate" in run("python", "-m", "pipeline", "--help").stdout


def test_a_mount_cannot_stand_in_for_the_entry_point(tmp_path: Path) -> None:
    (tmp_path / "container").mkdir()
    for name in ("__init__.py", "__main__.py"):
        (tmp_path / "container" / name).write_text("print('taken over')\n")
    (tmp_path / "json.py").write_text("print('taken over')\n")
    assert "taken over" not in run("true", mount=tmp_path, user="0").stdout
