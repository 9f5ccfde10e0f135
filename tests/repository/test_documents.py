"""The documents say what is so."""

import re
from pathlib import Path

import pytest

from tests.helpers.places import TOP

DOCUMENTS = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
README = (TOP / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if "://" not in link:
            assert (document.parent / link).exists(), f"{document.name}: {link}"


@pytest.mark.parametrize("table", ["table.md", "seeds.md"])
def test_the_readme_shows_the_committed_results(table: str) -> None:
    """Every row of numbers in the README is a row of a result file, to the letter."""
    results = {line for name in ("table.md", "seeds.md") for line in lines(name)}
    shown = [line for line in README.splitlines() if re.search(r"\| +-?\d+\.\d\d", line)]
    assert set(shown) & set(lines(table))
    assert [line for line in shown if line not in results] == []


def lines(name: str) -> list[str]:
    return (TOP / "results" / name).read_text(encoding="utf-8").splitlines()


def test_targets_that_the_documents_name_exist() -> None:
    makefile = (TOP / "Makefile").read_text(encoding="utf-8")
    for document in DOCUMENTS:
        for target in re.findall(r"(?:`|^ {4})make ([a-z-]+)", document.read_text("utf-8"), re.M):
            assert re.search(rf"^{target}:", makefile, re.M), f"{document.name}: make {target}"


def test_every_module_is_in_the_architecture() -> None:
    said = (TOP / "docs/architecture.md").read_text(encoding="utf-8")
    for module in [*(TOP / "pipeline").glob("*.py"), *(TOP / "pipeline/models").glob("*.py")]:
        if module.name != "__init__.py":
            assert module.name in said, module.name


def test_requirements_are_pinned_and_hashed_and_name_no_address() -> None:
    for path in (TOP / "requirements").glob("*.txt"):
        text = path.read_text(encoding="utf-8")
        assert "://" not in text
        for block in re.split(r"\n(?=\S)", text):
            if block.strip() and not block.startswith("#"):
                assert re.match(r"[\w.\[\],-]+==\S+ \\\n\s+--hash=sha256:", block), block[:80]
