"""The one rule of docs/architecture.md: a module knows what lies above it, never what lies below.

Everything is read: imports from the code, the rooms' order from the page's chapters, what stages
depend on from dvc.yaml. The checks come first, then what they find here, then that they can fail.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline import rooms
from tests.helpers import programs
from tests.helpers.places import TOP

draw = programs.load("draw-rooms")
CHAPTERS: list[str] = draw.chapters()
MODULES: list[str] = draw.modules()
COMMANDS = "__main__.py"
"""`python -m pipeline`: below all rooms, a chapter of none."""
IMPORTS = {
    # a module that names itself (parallel/cluster.py, for workers elsewhere) imports no other
    module: [one for one in rooms.imports(module) if one != module]
    for module in MODULES
}
STAGES: dict[str, Any] = YAML(typ="safe", pure=True).load((TOP / "dvc.yaml").read_text("utf-8"))[
    "stages"
]


# -------------------------------------------------------------------------------------- the checks


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """A circle of a graph, its first name once more at the end; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def downward(
    imports: Mapping[str, Iterable[str]], chapters: Mapping[str, str], order: Sequence[str]
) -> list[str]:
    """The imports that leave a chapter for one that comes later in `order`."""
    place = {name: number for number, name in enumerate(order)}
    return [
        f"{module} imports {one}, which lies below it"
        for module, ones in imports.items()
        for one in ones
        if place[chapters[module]] < place[chapters[one]]
    ]


def from_own_package(imports: Mapping[str, Iterable[str]]) -> list[str]:
    """The imports from the __init__ of a package that the module itself lies in."""
    return [
        f"{module} imports {one}, the package that it is part of"
        for module, ones in imports.items()
        for one in ones
        if module.startswith(f"{one}.")
    ]


def wrong_code(deps: Sequence[str], expected: Sequence[str]) -> list[str]:
    """What a stage's dependencies on code lack, and what they name in vain or out of order."""
    code = [path for path in deps if path.startswith(("stages/", "pipeline/"))]
    wrong = [f"{path} is missing" for path in expected if path not in code]
    wrong += [f"{path} is not needed" for path in code if path not in expected]
    if not wrong and list(deps[: len(expected)]) != list(expected):
        wrong = [f"the order should be {', '.join(expected)}, then data"]
    return wrong


def hidden(code: str) -> Iterator[str]:
    """The imports of the package's own modules that `rooms.imports` does not see."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"relative: {ast.unparse(node)}"
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for one in ast.walk(node):
                if set(tops(one)) & {"pipeline"}:
                    yield f"for the type checker only: {ast.unparse(one)}"


def tops(node: ast.AST) -> list[str]:
    """The outermost packages that an import names."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module.split(".")[0]]
    return []


def expected_code(stage: Mapping[str, Any]) -> list[str]:
    """The file of a stage, then the rooms that it reaches, in the order of the page."""
    found = re.match(r"python -m (stages\.\w+)", stage["cmd"])
    assert found, stage["cmd"]

    def place(room: str) -> tuple[int, str]:
        return (0 if room.endswith(".py") else CHAPTERS.index(room), room)

    reached = sorted(rooms.rooms_reached(found[1]), key=place)
    return [f"{found[1].replace('.', '/')}.py", *(f"pipeline/{room}" for room in reached)]


# ----------------------------------------------------------------------------------- what they find


def test_the_chapters_of_the_page_are_the_rooms() -> None:
    folders = {path.parent.name for path in rooms.PACKAGE.glob("*/*.py")}
    assert CHAPTERS[0] == draw.GROUND
    assert sorted(CHAPTERS[1:]) == sorted(folders)


def test_rooms_form_no_circle() -> None:
    assert circle(draw.chapter_graph()) == []


@pytest.mark.parametrize("room", [*CHAPTERS, COMMANDS])
def test_files_within_a_room_form_no_circle(room: str) -> None:
    inside = {module: ones for module, ones in IMPORTS.items() if draw.chapter(module) == room}
    assert inside
    assert circle({module: set(ones) & set(inside) for module, ones in inside.items()}) == []


def test_no_file_imports_from_the_package_that_it_is_part_of() -> None:
    assert from_own_package(IMPORTS) == []


def test_every_import_between_rooms_leads_up() -> None:
    imports = {
        module: [one for one in ones if one.startswith("pipeline.")]
        for module, ones in IMPORTS.items()
    }
    chapters = {module: draw.chapter(module) for module in MODULES}
    assert downward(imports, chapters, [*CHAPTERS, COMMANDS]) == []


def test_nothing_in_the_package_imports_what_uses_it() -> None:
    users = {path.parent.name for path in TOP.glob("*/__init__.py")} - {"pipeline"}
    assert {"stages", "tests"} <= users
    for path in rooms.PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            assert not users & set(tops(node)), f"{path.relative_to(TOP)}: {ast.unparse(node)}"


def test_no_import_is_hidden_from_these_tests() -> None:
    for path in rooms.PACKAGE.rglob("*.py"):
        assert list(hidden(path.read_text(encoding="utf-8"))) == [], path.relative_to(TOP)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_its_file_and_on_the_rooms_that_it_reaches(name: str) -> None:
    stage = STAGES[name]
    assert wrong_code(stage["deps"], expected_code(stage)) == []


def test_the_drawing_shows_the_code_of_today() -> None:
    drawn = (TOP / "docs/rooms.svg").read_text(encoding="utf-8")
    assert drawn == draw.drawing(), "docs/rooms.svg: run make architecture"


# --------------------------------------------------------------------------------- that they can fail


def test_a_circle_is_found() -> None:
    assert circle({"a": ["b"], "b": ["c"], "c": []}) == []
    found = circle({"a": ["b"], "b": ["c"], "c": ["b"]})
    assert found[0] == found[-1]
    assert set(found) == {"b", "c"}
    assert circle({"a": ["a"]}) == ["a", "a"]


def test_an_import_that_leads_down_is_found() -> None:
    chapters = {"p.high.x": "high", "p.low.y": "low", "p.low.z": "low"}
    up = {"p.low.y": ["p.high.x", "p.low.z"]}
    assert downward(up, chapters, ["high", "low"]) == []
    assert downward(up, chapters, ["low", "high"]) == [
        "p.low.y imports p.high.x, which lies below it"
    ]


def test_an_import_from_the_own_package_is_found() -> None:
    assert from_own_package({"p.room": ["p.room.x"], "p.room.x": ["p.roomy"]}) == []
    assert from_own_package({"p.room.x": ["p.room"]}) == [
        "p.room.x imports p.room, the package that it is part of"
    ]


@pytest.mark.parametrize(
    ("deps", "wrong"),
    [
        (["stages/x.py", "pipeline/errors.py", "pipeline/audio", "data/y"], []),
        (["stages/x.py", "pipeline/audio"], ["pipeline/errors.py is missing"]),
        (
            ["stages/x.py", "pipeline/errors.py", "pipeline/audio", "pipeline/audio/a.py"],
            ["pipeline/audio/a.py is not needed"],
        ),
        (
            ["stages/x.py", "pipeline/audio", "pipeline/errors.py"],
            ["the order should be stages/x.py, pipeline/errors.py, pipeline/audio, then data"],
        ),
        (
            ["data/y", "stages/x.py", "pipeline/errors.py", "pipeline/audio"],
            ["the order should be stages/x.py, pipeline/errors.py, pipeline/audio, then data"],
        ),
    ],
)
def test_a_wrong_dependency_of_a_stage_is_found(deps: list[str], wrong: list[str]) -> None:
    assert wrong_code(deps, ["stages/x.py", "pipeline/errors.py", "pipeline/audio"]) == wrong


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from pipeline import errors\nimport os", []),
        ("if TYPE_CHECKING:\n    import requests", []),
        ("from . import errors", ["relative: from . import errors"]),
        (
            "if typing.TYPE_CHECKING:\n    from pipeline.report import page",
            ["for the type checker only: from pipeline.report import page"],
        ),
    ],
)
def test_a_hidden_import_is_found(code: str, found: list[str]) -> None:
    assert list(hidden(code)) == found


def test_the_drawing_leaves_out_what_other_arrows_say() -> None:
    graph = {"b": ["a"], "c": ["a", "b"], "d": ["a", "c"], "e": ["a"]}
    assert draw.reduced(graph, "abcde") == [("b", "a"), ("c", "b"), ("d", "c"), ("e", "a")]


def test_new_data_is_drawn_below_the_others_under_its_own_name() -> None:
    stages = STAGES | {"listen": {"cmd": "python -m stages.split", "outs": ["data/heard.csv"]}}
    stages["listen"]["deps"] = ["stages/split.py", "data/features"]
    columns = draw.columns(stages)
    assert draw.rows(columns) == [*draw.DATA, "heard"]
    assert draw.shown_path("heard", stages) == "data/heard.csv"
    assert any(">heard<" in part for part in draw.data_rows(columns, stages, 0))
