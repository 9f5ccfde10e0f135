"""What git and DVC say of a state of the repository."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.comparison import revisions
from pipeline.errors import UserError
from tests.helpers.places import inside
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
    nowhere = "unknown (no git repository here)"
    assert revisions.checked_out(tmp_path) == nowhere
    archive = tmp_path / "downloaded"
    (archive / "pipeline").mkdir(parents=True)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "notes").touch()
    git(tmp_path, "add", "notes")
    git(tmp_path, "commit", "--quiet", "--message", "of another project")
    assert revisions.checked_out(archive) == nowhere
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revisions.checked_out(tmp_path) == "unknown (git is not installed)"


def test_before_the_first_commit_none_is_checked_out(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "params.yaml").touch()
    git(tmp_path, "add", "--all")
    assert revisions.checked_out(tmp_path) == "unknown (no commit yet)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_checkout_of_another_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is git's own, and works; in any language, and in a folder of any name."""
    top = tmp_path / "its 'ü"
    (top / ".dvc").mkdir(parents=True)
    (top / "params.yaml").touch()
    git(top, "init", "--quiet")
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "first")
    for path in (top, *top.rglob("*")):
        os.chown(path, 65534, 65534)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("LANGUAGE", "de")
    refused = "git does not read this checkout, which belongs to another user"
    assert revisions.checked_out(top) == f"unknown ({refused})"
    with inside(top):
        with pytest.raises(UserError, match=rf"{refused}; if you trust it, run `(.*)`$") as caught:
            revisions.top()
        remedy = str(caught.value).split("`")[1]
        subprocess.run(remedy, shell=True, check=True)
        assert revisions.top() == top
    assert len(revisions.checked_out(top)) == 40
