"""Dockerfile, .dockerignore and compose.yaml fit each other and the repository."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.places import TOP

DOCKERFILE = (TOP / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = re.sub(r"\\\n\s*|^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).splitlines()
IMAGE = INSTRUCTIONS[max(i for i, line in enumerate(INSTRUCTIONS) if line.startswith("FROM ")) :]
"""The instructions of the last stage, one a line."""


def positions(pattern: str) -> list[int]:
    return [number for number, line in enumerate(IMAGE) if re.search(pattern, line)]


def sources() -> set[str]:
    """What the Dockerfile takes from the repository."""
    copied = re.findall(r"^COPY .*?(\S+) \S+$", "\n".join(INSTRUCTIONS), re.MULTILINE)
    return {*copied, *re.findall(r"type=bind,source=(\S+?),", DOCKERFILE)}


def test_a_change_of_code_leaves_the_requirements_layer_alone() -> None:
    (requirements,) = positions(r"^RUN .*runtime\.txt")
    assert max(positions(r"^RUN .*apt-get")) < requirements
    assert requirements < min(positions(r"^COPY"))
    assert "--require-hashes" in IMAGE[requirements]


def test_the_context_holds_what_the_dockerfile_takes_and_nothing_else() -> None:
    lines = (TOP / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    let_in = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    assert let_in == {"requirements/*.txt", "pipeline", "stages", "networks", "container"}
    for source in sources():
        assert (TOP / source).exists(), source
        assert any(Path(source).match(pattern) for pattern in let_in), source


def test_every_build_can_have_another_base() -> None:
    assert INSTRUCTIONS[0] == "ARG BASE=python:3.11-slim-bookworm"
    bases = [line for line in INSTRUCTIONS if line.startswith("FROM ")]
    assert all(line.startswith("FROM ${BASE}") for line in bases)


def test_the_image_runs_as_a_user_and_asks_for_no_gpu_by_itself() -> None:
    assert IMAGE[positions("^USER")[-1]] == "USER experiment"
    # set by the engine when a GPU is asked for: the entry point tells from it
    assert not positions("NVIDIA_VISIBLE_DEVICES=")
    assert "://" not in DOCKERFILE


def test_the_default_command_is_that_of_the_readme() -> None:
    assert IMAGE[-1] == 'CMD ["dvc", "repro"]'
    (entry,) = positions("^ENTRYPOINT")
    module = re.findall(r'"([^"]+)"', IMAGE[entry])[-1]
    assert (TOP / module / "__main__.py").exists()


@pytest.mark.parametrize(
    "path", sorted((TOP / "container").glob("*.py")), ids=lambda path: path.name
)
def test_the_entry_point_needs_the_standard_library_only(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            top = name.partition(".")[0]
            assert top in sys.stdlib_module_names or top == "container", name


def compose() -> dict[str, Any]:
    text = (TOP / "compose.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["services"]  # type: ignore[no-any-return]


def test_both_services_are_the_same_but_for_the_gpu() -> None:
    cpu, gpu = compose()["cpu"], dict(compose()["gpu"])
    devices = gpu.pop("deploy")["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert gpu.pop("shm_size") == "1g"
    assert cpu == gpu


def test_volumes_of_the_services_exist_in_a_fresh_clone() -> None:
    """The engine would create a missing one as root, and the user could not write to it."""
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=TOP, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for volume in compose()["cpu"]["volumes"]:
        default = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0].removeprefix("./")
        assert default == "." or any(path.startswith(f"{default}/") for path in tracked), volume


def test_the_engines_checks_are_those_that_the_script_runs() -> None:
    named = re.findall(
        r"tests/container/engine/\w+\.py", (TOP / "scripts/docker-test").read_text("utf-8")
    )
    assert {TOP / name for name in named} == {*(TOP / "tests/container/engine").glob("check_*.py")}
