"""A name has one meaning: no two files share one, nor two classes, but where they are of one kind."""

import ast
import sys
from collections import defaultdict
from pathlib import Path

from tests.helpers.places import TOP

CODE = ("pipeline", "container")
"""stages/ and benchmarks/ name their files after what they run and measure."""


def shared(names: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Names that stand in several places."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for name, place in names:
        places[name].append(place)
    return {name: where for name, where in places.items() if len(where) > 1}


def files() -> list[Path]:
    return [path for folder in CODE for path in sorted((TOP / folder).rglob("*.py"))]


def test_no_two_files_share_a_name() -> None:
    named = [
        (path.stem, str(path.relative_to(TOP)))
        for path in files()
        if not path.stem.startswith("__")
    ]
    assert shared(named) == {}


def test_no_two_classes_share_a_name() -> None:
    found = [
        (node.name, str(path.relative_to(TOP)))
        for path in files()
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ClassDef)
    ]
    assert shared(found) == {}


def test_no_file_is_named_like_a_module_of_the_standard_library() -> None:
    assert {path.stem for path in files()} & sys.stdlib_module_names == set()


def test_a_shared_name_is_found() -> None:
    assert shared([("a", "x"), ("b", "y"), ("a", "z")]) == {"a": ["x", "z"]}
