"""A user's own networks: their source found, named by a digest, run and built (docs/networks.md).

Run is what lies in the checkout's folder `networks/`, or is offered as an entry point by an installed
package, and nothing else: a name in params.yaml or in a model folder is no way to run other code.
"""

import ast
import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline import network_settings
from pipeline.errors import Stopped, UserError, in_one_line, shortage
from pipeline.network_settings import ENTRY_POINTS, source_fault

KEYS = ("POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")
"""The kinds of parameters that can be given by name."""
_imported: dict[str, "Source"] = {}


@dataclass(frozen=True)
class Source:
    """A user's network as this process has run its source."""

    network: str
    """Its name in params.yaml."""
    digest: str
    content: bytes
    """Of the file; a package has none."""
    build: Callable[..., object]


def digest(network: str) -> str:
    """SHA-256 of a network's source as it lies here: of the file, or of the package's Python files.

    The source must be there (`network_settings.source_fault`).
    """
    package, _, name = network.partition(":")
    if not name:
        return hashlib.sha256((_place(network)).read_bytes()).hexdigest()
    found = metadata.distribution(package)
    # as the installer has noted them
    files = sorted(f"{file} {file.hash}" for file in found.files or () if file.suffix == ".py")
    return hashlib.sha256("\n".join([found.version, *files]).encode()).hexdigest()


def imported(network: str) -> Source:
    """A network's source, run by this process when it is asked for first, and again when it has changed.

    Raises UserError when that fails.
    """
    known = _imported.get(network)
    if known is None or known.digest != digest(network):
        known = _imported[network] = _from_package(network) if ":" in network else _run(network)
    return known


def in_use(settings: Mapping[str, Any]) -> Source | None:
    """What this process has built the network of these settings from; None for one of the program's.

    A file that has changed since is another source.
    """
    return _imported.get(str(settings.get("network")))


def build(settings: Mapping[str, Any], **given: Any) -> object:
    """What a user's `build` returns.

    settings: its section of params.yaml, of which all but `network` and `version` are arguments, as
    `given` is. Raises UserError when these do not fit, or when it fails.
    """
    own = {key: value for key, value in settings.items() if key not in ("network", "version")}
    network = str(settings["network"])
    if fault := source_fault(network, settings.get("version")):
        raise UserError(f"{network}: {fault}")
    source = imported(network)
    _check_keys(source, given, own)
    with faults_named(source.network, "build"):
        return source.build(**given, **own)


@contextmanager
def faults_named(network: str, doing: str) -> Iterator[None]:
    """What a user's code raises in the block is a UserError with the line of its source."""
    try:
        yield
    except (UserError, Stopped):
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, Exception) and shortage(error):
            raise
        line = _line(error, network)
        what = f"{type(error).__name__}: {in_one_line(error)}".removesuffix(": ")
        raise UserError(f"{network}{line}: {doing}: {what}") from error


def _run(network: str) -> Source:
    path = _place(network)
    content = path.read_bytes()
    module = ModuleType(f"networks.{path.stem}")
    module.__file__ = str(path)
    # the very bytes of the digest are run, and no compiled file stands in for them
    with faults_named(network, "import"):
        tree = ast.parse(content, str(path))
        _check_imports(tree, network)
        sys.modules[module.__name__] = module  # dataclasses look there
        exec(compile(tree, str(path), "exec"), vars(module))
    found = getattr(module, "build", None)
    if not callable(found):
        raise UserError(
            f"{network}: expected a function `build`, found {type(found).__name__} (docs/networks.md)"
        )
    return Source(network, hashlib.sha256(content).hexdigest(), content, found)


def _from_package(network: str) -> Source:
    package, _, name = network.partition(":")
    (entry,) = metadata.distribution(package).entry_points.select(name=name, group=ENTRY_POINTS)
    with faults_named(network, "import"):
        found = entry.load()
    if not callable(found):
        raise UserError(f"{network}: expected a function, found {type(found).__name__}")
    return Source(network, digest(network), b"", found)


def _place(network: str) -> Path:
    """The file of this name in params.yaml."""
    return network_settings.OWN_NETWORKS / network.removeprefix("networks/")


def _check_imports(tree: ast.Module, network: str) -> None:
    """Raises UserError for an import from the checkout: DVC and the digest know the file alone."""
    top = network_settings.OWN_NETWORKS.parent
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            root = name.partition(".")[0]
            here = (top / root).is_dir() or (top / f"{root}.py").is_file()
            if root and root != "pipeline" and here:
                line = getattr(node, "lineno", 0)
                raise UserError(
                    f"{network}, line {line}: imports {name}, whose changes nobody would notice; write it"
                    " into the file, or make it a package and install it"
                )


def _check_keys(source: Source, given: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raises UserError unless `build` takes all of these, and needs no more."""
    network = source.network
    try:
        parameters = inspect.signature(source.build).parameters.values()
    except (TypeError, ValueError):
        return
    named = [one for one in parameters if one.kind.name in KEYS]
    names = [one.name for one in named]
    anything = any(one.kind.name == "VAR_KEYWORD" for one in parameters)
    keys = [name for name in names if name not in given]
    takes = f"it takes {', '.join(keys)}" if keys else "it takes none"
    for name in [] if anything else given:
        if name not in names:
            needed = ", ".join([*given, "your own"])
            raise UserError(f"{network}: expected build({needed}), found build({', '.join(names)})")
    for name in [] if anything else own:
        if name not in names:
            raise UserError(
                f"{network}: params.yaml has {name!r}, which build does not take; {takes}"
            )
    for one in named:
        if one.default is one.empty and one.name not in (*given, *own):
            raise UserError(
                f"{network}: build needs {one.name!r}; add it to params.yaml beside `network`"
            )


def _line(error: BaseException, network: str) -> str:
    """Where in the user's source an exception came from, for an error line; empty if in none of it."""
    home = str(_place(network))
    package, _, name = network.partition(":")
    if name:
        found = metadata.distribution(package)
        (entry,) = found.entry_points.select(name=name, group=ENTRY_POINTS)
        home = str(found.locate_file(entry.module.partition(".")[0]))
    if isinstance(error, SyntaxError) and str(error.filename).startswith(home):
        return f", line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(home)]
    if not own:
        return ""
    place = f" ({Path(own[-1].filename).name})" if name else ""
    return f"{place}, line {own[-1].lineno}"
