"""What a module reaches through its imports, on a package of a few lines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import rooms

FILES = {
    "pipeline/__init__.py": "",
    "pipeline/words.py": "import os",
    "pipeline/high/__init__.py": "",
    "pipeline/high/x.py": "from pipeline import words",
    "pipeline/high/unused.py": "",
    "pipeline/high/facts.csv": "a,b",
    "pipeline/middle/__init__.py": "from pipeline.middle.y import Y as Y",
    "pipeline/middle/y.py": "class Y: ...",
    "pipeline/middle/z.py": "def late():\n    from pipeline.high.x import x",
    "pipeline/low/__init__.py": "",
    "pipeline/low/w.py": (
        "from typing import TYPE_CHECKING\nfrom pipeline.middle import z\n"
        "if TYPE_CHECKING:\n    from pipeline.apart import v\n"
    ),
    "pipeline/apart/__init__.py": "",
    "pipeline/apart/v.py": "",
    "stages/__init__.py": "",
    "stages/common.py": "import pipeline.apart.v",
    "stages/run.py": "from stages import common\ndef run():\n    import pipeline.low.w",
}


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(rooms, "TOP", tmp_path)
    monkeypatch.setattr(rooms, "PACKAGE", tmp_path / "pipeline")
    rooms.imports.cache_clear()
    yield tmp_path
    rooms.imports.cache_clear()


def test_every_import_counts_but_the_command_line_and_what_is_for_the_type_checker() -> None:
    assert rooms.rooms_reached("stages.run") == ["high", "low", "middle", "words.py"]
    assert rooms.rooms_reached("pipeline.apart.v") == ["apart"]


def test_a_package_runs_before_its_modules() -> None:
    assert "pipeline.middle.y" in rooms.modules_reached("pipeline.middle.z")


def test_from_a_package_submodules_or_names_are_taken() -> None:
    assert rooms.imports("pipeline.high.x") == ("pipeline.words",)
    assert rooms.imports("pipeline.middle") == ("pipeline.middle.y",)
    assert rooms.imports("pipeline.middle.z") == ("pipeline.high.x",)
    assert rooms.imports("pipeline.words") == ()


@pytest.mark.parametrize(
    ("changed", "room_counts", "file_counts"),
    [
        ("pipeline/low/w.py", True, True),
        ("pipeline/words.py", True, True),
        ("pipeline/middle/y.py", True, True),
        ("pipeline/high/unused.py", True, False),
        ("pipeline/high/facts.csv", True, False),
        ("pipeline/apart/v.py", False, False),
        ("stages/common.py", False, False),
    ],
)
def test_a_fingerprint_is_of_whole_rooms_a_narrow_one_of_files(
    package: Path, changed: str, room_counts: bool, file_counts: bool
) -> None:
    def fingerprints() -> tuple[str, str]:
        module = "pipeline.low.w"
        return rooms.fingerprint(module), rooms.narrow_fingerprint(module)

    before = fingerprints()
    assert fingerprints() == before
    path = package / changed
    path.write_text(path.read_text() + "\n# another comment\n")
    after = fingerprints()
    assert (after[0] != before[0], after[1] != before[1]) == (room_counts, file_counts)


def test_compiled_files_do_not_count(package: Path) -> None:
    before = rooms.fingerprint("pipeline.low.w")
    (package / "pipeline/low/__pycache__").mkdir()
    (package / "pipeline/low/__pycache__/w.pyc").write_bytes(b"compiled")
    assert rooms.fingerprint("pipeline.low.w") == before


def test_the_name_of_a_file_counts(package: Path) -> None:
    before = rooms.fingerprint("pipeline.low.w")
    (package / "pipeline/high/facts.csv").rename(package / "pipeline/high/figures.csv")
    assert rooms.fingerprint("pipeline.low.w") != before
