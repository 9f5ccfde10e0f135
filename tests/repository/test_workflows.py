"""The workflows on GitHub: pinned, with few rights, one comment."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.places import TOP


def workflow(name: str) -> dict[str, Any]:
    path = TOP / f".github/workflows/{name}.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["review", "test"])
def test_workflows_are_pinned_and_may_do_little(name: str) -> None:
    text = (TOP / f".github/workflows/{name}.yml").read_text(encoding="utf-8")
    for used in re.findall(r"uses: (.*)", text):
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used
    assert "pull_request_target" not in text
    for job in workflow(name)["jobs"].values():
        assert job["timeout-minutes"] <= 45
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), "expressions go into scripts by env"
        if job.get("permissions", {}).get("pull-requests") == "write":
            assert not any("uses" in step for step in job["steps"])  # no code of the pull request


@pytest.mark.parametrize(
    ("comments", "expected"),
    [
        ("", "POST repos/o/r/issues/7/comments"),
        ("41\n42\n", "PATCH repos/o/r/issues/comments/41"),
        ("fails", "::notice::"),
    ],
)
def test_one_comment_is_written_and_renewed(tmp_path: Path, comments: str, expected: str) -> None:
    """The step with a stand-in for gh that lists `comments`, or fails as with a fork's token."""
    step = workflow("review")["jobs"]["comment"]["steps"][0]
    gh = tmp_path / "gh"
    gh.write_text(
        "#!/usr/bin/env bash\n"
        'case "$*" in\n'
        f"*--paginate*) {'exit 1' if comments == 'fails' else f'printf {comments!r}'} ;;\n"
        '*) echo "$@" | sed -E "s/.*--method ([A-Z]+) (.*) --field.*/\\1 \\2/"; cat comment.md ;;\n'
        "esac\n"
    )
    gh.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "REPOSITORY": "o/r", "NUMBER": "7"}
    env |= {"TEXT": "**Better** `$(id)`\n", "MARK": step["env"]["MARK"], "GH_TOKEN": "x"}
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(expected)
    if comments != "fails":
        assert done.stdout.splitlines()[1:3] == ["<!-- review of results -->", "**Better** `$(id)`"]
