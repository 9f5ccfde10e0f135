"""What git and DVC say of a state of the repository."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.comparison import revisions
from tests.helpers.revision_control import git

pytestmark = pytest.mark.usefixtures("quiet_git")


def test_the_reasons_are_changes_and_not_what_a_clone_lacks() -> None:
    status: dict[str, list[Any]] = {
        "train@V": [
            {"changed deps": {"models": "deleted", "params.yaml": {"models.V": "modified"}}}
        ],
        "train@VA": [{"changed outs": {"models/VA": "not in cache"}}],
        "compare": ["changed command", {"changed deps": {"a.py": "modified", "b.py": "new"}}],
    }
    assert revisions._reasons(status) == [
        "train@V: models.V",
        "compare: changed command, a.py, b.py",
    ]


def test_the_commit_that_is_checked_out(tmp_path: Path) -> None:
    """From any folder of the repository; changed results are no changed code."""
    git(tmp_path, "init", "--quiet")
    below = tmp_path / "pipeline"
    below.mkdir()
    (below / "losses.py").write_text("1")
    (tmp_path / "results.csv").write_text("1")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    (tmp_path / "results.csv").write_text("2")
    assert [revisions.checked_out(folder) for folder in (tmp_path, below)] == [commit] * 2
    (below / "losses.py").write_text("2")
    changed = f"{commit}, with uncommitted changes"
    assert [revisions.checked_out(folder) for folder in (tmp_path, below)] == [changed] * 2


def test_without_git_no_commit_is_checked_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revisions.checked_out(tmp_path) == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revisions.checked_out(tmp_path) == ""
