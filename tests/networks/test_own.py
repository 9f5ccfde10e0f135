"""A user's own networks are found where they may lie, and what is wrong with them is one line."""

import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from torch import nn

from pipeline import network_settings, params
from pipeline.errors import UserError
from pipeline.networks import own
from pipeline.networks.builders import build_critic, build_separator
from pipeline.networks.slots import SlottedSeparator
from tests.helpers.places import TOP
from tests.helpers.small_separators import SIGNAL

MINE = "networks/mine.py"
EXAMPLE = (TOP / "networks/example.py").read_text(encoding="utf-8")
Change = Callable[[Path], object]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def build(**keys: Any) -> nn.Module:
    return build_separator({"network": MINE, **keys}, SIGNAL, 2)


def raw(**sections: Any) -> dict[str, Any]:
    data = YAML(typ="safe", pure=True).load((TOP / "params.yaml").read_text(encoding="utf-8"))
    return dict(data, **sections)


# ---------------------------------------------------------------------------------- params.yaml


@pytest.mark.parametrize("section", ["separator", "critic"])
@pytest.mark.parametrize(
    "name",
    [
        "../mine.py", "networks/../mine.py", "/networks/mine.py", "./networks/mine.py",
        "networks/below/mine.py", "networks/my-own.py", "networks/__init__.py", "networks/mine",
        "mine.py", "networks\\mine.py", "c:/mine.py", "networks/mine.py:build", "networks/é.py",
        "networks/mine.py\n", ".py",
    ],
)  # fmt: skip
def test_a_file_is_named_by_its_place_in_one_folder(section: str, name: str) -> None:
    said = refused(lambda: params.parse(raw(**{section: {"network": name}}), "params.yaml"))
    assert said.startswith(f"params.yaml: {section}.network: expected ")
    assert "networks" in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "kit:"}, "network: expected <package>:<entry point>, found 'kit:'"),
        ({"network": "os.path:join:x"}, "network: expected <package>:<entry point>"),
        ({"network": "kit:net"}, "version: expected the one of kit that is installed"),
        ({"network": "kit:net", "version": 1.2}, "version: expected a valid string, found 1.2"),
        ({"network": MINE, "version": "1"}, "version: only for a package"),
        ({"network": MINE, "signal": 3}, "signal: is given to `build` by the program"),
        ({"network": MINE, "a b": 3}, "a b: expected"),
        ({"network": MINE, "width": float("nan")}, "width: expected a number, true, false,"),
        ({"network": MINE, "width": {"a": 1}}, "width: expected .* found a mapping"),
        ({"network": MINE, "width": [[1]]}, "width: expected .* found a list"),
        ({"network": MINE, "width": "\ud800"}, "width: expected"),
        ({"network": MINE, "width": 10**40}, "width: expected"),
        ({"network": MINE, "slots": 9}, "slots: expected less than or equal to 4"),
    ],
)
def test_what_a_section_of_ones_own_network_takes(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^params.yaml: separator[.:] ?{message}"):
        params.parse(raw(separator=settings), "params.yaml")


def a_link(folder: Path) -> None:
    (folder / "mine.py").symlink_to(folder / "example.py")


def a_link_to_a_folder(folder: Path) -> None:
    (folder / "mine.py").touch()
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: None, "no such file in .*/networks"),
        (lambda folder: (folder / "mine.py").mkdir(), "a folder, expected a file"),
        (a_link, "a symbolic link"),
        (a_link_to_a_folder, "a symbolic link"),
        (lambda folder: (folder / "mine.py").symlink_to("nowhere.py"), "a symbolic link"),
        (lambda folder: (folder / "mine.py").write_bytes(b"#" * 2**21), "2097152 bytes, expected"),
    ],
)
def test_a_stage_says_at_once_that_the_file_is_no_good(
    own_networks: Path, tmp_path: Path, change: Change, message: str
) -> None:
    change(own_networks)
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(raw(separator={"network": MINE}), file)
    with pytest.raises(UserError, match=f"params.yaml: separator: network: {MINE}: {message}"):
        params.load(tmp_path / "params.yaml")


# ------------------------------------------------------------------------------------ the file


def test_a_file_is_built_with_its_keys(own_networks: Path) -> None:
    (own_networks / "mine.py").write_text(EXAMPLE, encoding="utf-8")
    network = build(width=5)
    assert network.settings == {"network": MINE, "width": 5}
    assert {one.shape[0] for one in network.parameters()} == {5, 2 * 257}
    slotted = build_separator({"network": MINE, "slots": 2}, SIGNAL, 2)
    assert isinstance(slotted, SlottedSeparator)
    assert slotted.settings == {"network": MINE, "slots": 2}


def test_a_changed_file_is_read_again_and_no_compiled_one_stands_in_for_it(
    own_networks: Path,
) -> None:
    """Also where size and time of the file are as before."""
    path = own_networks / "mine.py"
    path.write_text(EXAMPLE, encoding="utf-8")
    digest = own.digest(MINE)
    assert build().context == 4
    path.write_text(EXAMPLE.replace("context = 4", "context = 5"), encoding="utf-8")
    assert own.digest(MINE) != digest
    assert build().context == 5
    assert sorted(one.name for one in own_networks.iterdir()) == [
        "example.py", "example_critic.py", "mine.py",
    ]  # fmt: skip


FILES: list[tuple[str, str]] = [
    ("1 / 0\n", ", line 1: import: ZeroDivisionError: division by zero"),
    ("\ndef build(:\n", ", line 2: import: SyntaxError: invalid syntax"),
    ("x = '\0'\n", ": import: SyntaxError|: import: ValueError"),
    (b"x = '\xff'\n".decode("latin-1"), ": expected a function `build`, found NoneType"),
    ("import sys\nsys.exit(3)\n", ", line 2: import: SystemExit: 3"),
    ("import no_such_package\n", ", line 1: import: ModuleNotFoundError: No module named"),
    ("from . import x\n", ", line 1: import: ImportError"),
    ("raise ValueError('a\\nb')\n", ", line 1: import: ValueError: a b"),
    ("build = 3\n", ": expected a function `build`, found int"),
    ("", ": expected a function `build`, found NoneType"),
    (
        "def build(signal, sources):\n    return 3\n",
        ": build: expected a torch.nn.Module, found int",
    ),
    (
        "def build(signal, sources):\n    pass\n",
        ": build: expected a torch.nn.Module, found NoneType",
    ),
    (
        "def f():\n    raise KeyError('w')\ndef build(signal, sources):\n    f()\n",
        ", line 2: build: KeyError: 'w'",
    ),
    (
        "def build(sources):\n    pass\n",
        r": expected build\(signal, sources, your own\), found build\(s",
    ),
    ("def build(signal, sources, w):\n    pass\n", ": build needs 'w'; add it to params.yaml"),
    ("build = print\n", ": expected build"),
]


@pytest.mark.parametrize(("text", "message"), FILES)
def test_a_file_that_cannot_be_used(own_networks: Path, text: str, message: str) -> None:
    (own_networks / "mine.py").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=f"^{MINE}(?:{message})"):
        build()


def test_a_key_that_build_does_not_take(own_networks: Path) -> None:
    (own_networks / "mine.py").write_text(EXAMPLE, encoding="utf-8")
    said = refused(lambda: build(widht=3))
    assert said == f"{MINE}: params.yaml has 'widht', which build does not take; it takes width"
    said = refused(lambda: build_critic({"network": MINE}, SIGNAL, 66))
    assert "expected build(signal, frames, your own), found build(signal, sources, width)" in said


@pytest.mark.parametrize(
    "line",
    ["import networks.example", "from networks import example", "from stages import common",
     "def f():\n    import tests.helpers"],
)  # fmt: skip
def test_what_nobody_would_see_change_is_not_imported(
    own_networks: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stages", "tests"):
        (own_networks.parent / name).mkdir()
    (own_networks / "mine.py").write_text(f"{EXAMPLE}\n{line}\n", encoding="utf-8")
    assert "whose changes nobody would notice" in refused(build)


def test_what_the_machine_lacks_is_no_fault_of_the_file(own_networks: Path) -> None:
    (own_networks / "mine.py").write_text("raise MemoryError\n", encoding="utf-8")
    with pytest.raises(MemoryError):
        build()


# --------------------------------------------------------------------------------- the package


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that offers the example; returns where packages are."""
    place = tmp_path / "site-packages"
    info = place / "singing_kit-1.2.dist-info"
    info.mkdir(parents=True)
    (place / "singing_kit.py").write_text(EXAMPLE, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: singing-kit\nVersion: 1.2\n")
    (info / "RECORD").write_text("singing_kit.py,sha256=abc,3\nREADME,sha256=def,3\n")
    points = (
        f"[{network_settings.ENTRY_POINTS}]\nmasks = singing_kit:build\nbroken = singing_kit:x\n"
    )
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(own, "_imported", {})
    return place


def from_package(name: str = "masks", version: str = "1.2") -> nn.Module:
    settings = {"network": f"singing-kit:{name}", "version": version, "width": 3}
    return build_separator(settings, SIGNAL, 2)


def test_a_package_offers_networks_by_entry_points(package: Path) -> None:
    network = from_package()
    assert network.settings == {"network": "singing-kit:masks", "version": "1.2", "width": 3}
    before = own.digest("singing-kit:masks")
    record = package / "singing_kit-1.2.dist-info/RECORD"
    record.write_text(record.read_text().replace("def", "xyz"))
    assert own.digest("singing-kit:masks") == before
    record.write_text(record.read_text().replace("abc", "xyz"))
    assert own.digest("singing-kit:masks") != before


def test_a_package_that_is_not_as_params_yaml_says(package: Path) -> None:
    assert "version 1.2 is installed, expected 1.3" in refused(lambda: from_package(version="1.3"))
    said = refused(lambda: from_package("other"))
    assert f"no entry point 'other' in the group {network_settings.ENTRY_POINTS}" in said
    assert said.endswith("only: broken, masks")
    assert "import: AttributeError" in refused(lambda: from_package("broken"))
    editable = json.dumps({"url": "file:///x", "dir_info": {"editable": True}})
    (package / "singing_kit-1.2.dist-info/direct_url.json").write_text(editable)
    assert "installed as editable" in refused(from_package)
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.distribution("no-such-kit")
    fault = network_settings.source_fault("no-such-kit:x", "1")
    assert fault == "no package no-such-kit is installed"


def test_no_function_that_is_not_offered_as_a_network_is_run() -> None:
    """A name in somebody's model folder is no way to any function of any package."""
    version = metadata.version("numpy")
    fault = network_settings.source_fault("numpy:f2py", version)
    assert fault is not None
    assert "has no entry point 'f2py'" in fault


def test_a_fault_in_a_package_is_named_by_file_and_line(package: Path) -> None:
    text = EXAMPLE.replace("return Masks(signal.bins, sources, width)", "1 / 0")
    (package / "other_kit.py").write_text(text)
    points = package / "singing_kit-1.2.dist-info/entry_points.txt"
    points.write_text(points.read_text().replace("singing_kit:build", "other_kit:build"))
    line = text.splitlines().index("    1 / 0") + 1
    said = refused(from_package)
    assert said.startswith(
        f"singing-kit:masks (other_kit.py), line {line}: build: ZeroDivisionError"
    )
