"""Embedded recordings are rendered when, and only when, they are not there as asked."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline import datasets
from pipeline.datasets import obtain


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """A renderer that is quick and counts its calls."""
    calls: list[tuple[object, ...]] = []

    def render(dataset: str, root: Path, tracks: int, seconds: float, seed: int) -> None:
        calls.append((dataset, tracks, seconds, seed))
        for track in range(tracks):
            (root / f"{track}").mkdir(parents=True)
            (root / f"{track}" / "x.wav").write_text(f"{seed}")
        if seed < 0:
            raise RuntimeError("interrupted")

    module = ModuleType("pipeline.datasets.synthetic")
    module.render = render  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(datasets, "synthetic", module, raising=False)
    monkeypatch.setattr(obtain, "_renderer_md5", lambda: "code")
    return calls


def renders(calls: list[Any], *asked: Any) -> bool:
    """Whether asking for the recordings renders them."""
    before = len(calls)
    obtain.embedded(*asked)
    return len(calls) > before


def test_nothing_is_rendered_twice(rendered: list[object], tmp_path: Path) -> None:
    root = tmp_path / "iKala"
    assert renders(rendered, "iKala", root, 2, 1.0, 7)
    assert not renders(rendered, "iKala", root, 2, 1.0, 7)
    assert rendered == [("iKala", 2, 1.0, 7)]
    assert (root / "1/x.wav").read_text() == "7"


def test_other_parameters_files_or_code_render_again(
    rendered: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "iKala"
    obtain.embedded("iKala", root, 2, 1.0, 7)
    assert renders(rendered, "iKala", root, 1, 1.0, 8)
    assert not (root / "1/x.wav").exists()
    (root / "0/x.wav").unlink()
    assert renders(rendered, "iKala", root, 1, 1.0, 8)
    (root / "0/x.wav").write_text("")
    assert renders(rendered, "iKala", root, 1, 1.0, 8)
    (root / obtain.MARKER).write_text("{")
    assert renders(rendered, "iKala", root, 1, 1.0, 8)
    monkeypatch.setattr(obtain, "_renderer_md5", lambda: "other code")
    assert renders(rendered, "iKala", root, 1, 1.0, 8)
    assert not renders(rendered, "iKala", root, 1, 1.0, 8)


def test_a_users_own_recordings_stay(rendered: list[object], tmp_path: Path) -> None:
    root = tmp_path / "iKala"
    obtain.embedded("iKala", root, 2, 1.0, 7)
    (root / "mine").mkdir()
    (root / "mine/song.wav").write_text("irreplaceable")
    assert not renders(rendered, "iKala", root, 2, 1.0, 7)
    assert renders(rendered, "iKala", root, 1, 1.0, 8)
    assert (root / "mine/song.wav").read_text() == "irreplaceable"
    assert not (root / "1").exists()
    assert not renders(rendered, "iKala", root, 1, 1.0, 8)


def test_an_interrupted_rendering_leaves_what_was_there(
    rendered: list[object], tmp_path: Path
) -> None:
    root = tmp_path / "iKala"
    obtain.embedded("iKala", root, 1, 1.0, 7)
    with pytest.raises(RuntimeError, match="interrupted"):
        obtain.embedded("iKala", root, 1, 1.0, -1)
    assert (root / "0/x.wav").read_text() == "7"
    assert [path.name for path in tmp_path.iterdir()] == ["iKala"]


def test_a_kill_while_rendering_again_keeps_a_users_recordings(
    rendered: list[Any], tmp_path: Path
) -> None:
    """Killed when the folder was renamed aside: it is put back before anything looks at it."""
    root = tmp_path / "iKala"
    obtain.embedded("iKala", root, 1, 1.0, 7)
    (root / "song.wav").write_text("irreplaceable")
    root.replace(tmp_path / "iKala.old.partial")
    obtain.embedded("iKala", root, 1, 1.0, 8)
    assert (root / "song.wav").read_text() == "irreplaceable"
    assert [path.name for path in tmp_path.iterdir()] == ["iKala"]
