"""Which rooms of the code a module reaches, read from its imports, and a fingerprint of them.

A room is a folder of `pipeline/`; each file that lies beside the folders is one of its own. What a
result depends on is nowhere written by hand: dvc.yaml is held against `rooms_reached` by a test,
and the fingerprints of checkpoints, kept scores and features are computed from the same imports.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
TOP = PACKAGE.parent
COMMAND_LINE = "stages.common"
"""Where files lie and how an error is shown: no result depends on it."""


def rooms_reached(module: str) -> list[str]:
    """The rooms whose code `module` (a dotted name) can run, its own among them, sorted.

    Counted is every import, wherever it stands in a file, and what the imported files import; not
    those under `if TYPE_CHECKING`, which run nothing, and not COMMAND_LINE's.
    """
    return sorted({room(name) for name in modules_reached(module) if name.startswith("pipeline.")})


def fingerprint(module: str) -> str:
    """A digest of the rooms that `module` reaches: every file in them, code or not."""
    places = (PACKAGE / name for name in rooms_reached(module))
    return digest(path for place in places for path in _files_of(place))


def narrow_fingerprint(module: str) -> str:
    """A digest of the files alone that `module` reaches, not of the rooms that they lie in.

    For what is dear to compute again and the work of one module, as a track's features are.
    """
    return digest(path for name in modules_reached(module) if (path := _path(name)))


def digest(files: Iterable[Path]) -> str:
    """A digest of the names and contents of files below the repository's top."""
    found = hashlib.sha256()
    for path in sorted(set(files)):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        found.update(f"{path.relative_to(TOP).as_posix()} {content}\n".encode())
    return found.hexdigest()


def room(module: str) -> str:
    """The room of a module: pipeline.audio.decoding is in audio, pipeline.errors in errors.py."""
    name = module.split(".")[1]
    return name if (PACKAGE / name).is_dir() else f"{name}.py"


def modules_reached(module: str) -> set[str]:
    """The modules of pipeline and stages that importing `module` can run, itself among them."""
    waiting, reached = [module], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += imports(name)
            # a module's packages run before it
            if name.count(".") > 1:
                waiting.append(name.rpartition(".")[0])
    return reached


@cache
def imports(module: str) -> tuple[str, ...]:
    """The modules of pipeline and stages that `module` itself names in its imports, sorted."""
    path = _path(module)
    tree = ast.parse(path.read_bytes()) if path else ast.Module([], [])
    named = {name for node in _running(tree) for name in _named(node) if _path(name)}
    return tuple(sorted(named - {COMMAND_LINE, "stages", "pipeline"}))


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, but for what is there for the type checker only."""
    yield node
    for child in ast.iter_child_nodes(node):
        typing = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not typing:
            yield from _running(child)


def _named(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom) and node.module:
        submodules = [f"{node.module}.{alias.name}" for alias in node.names]
        found = [name for name in submodules if _path(name)]
        yield from found
        # a package from which only submodules are taken is not what is meant
        if len(found) < len(submodules):
            yield node.module


def _path(module: str) -> Path | None:
    """The file of a module of this repository."""
    place = TOP.joinpath(*module.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in files if module and path.is_file()), None)


def _files_of(place: Path) -> Iterator[Path]:
    """A file, or all files of a folder but compiled ones."""
    paths = place.rglob("*") if place.is_dir() else [place]
    return (path for path in paths if path.is_file() and "__pycache__" not in path.parts)
