"""The documents say what is so."""

import io
import re
import textwrap
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from pipeline import rooms
from tests.helpers.places import TOP
from tests.helpers.revision_control import committed

DOCUMENTS = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
CODE = ("pipeline", "stages", "networks", "container", "benchmarks", "tests")
README = (TOP / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if "://" not in link:
            assert (document.parent / link).exists(), f"{document.name}: {link}"


TABLES = ("results/table.md", "experiments/mir1k/results/table.md")


def test_the_readme_shows_the_committed_results() -> None:
    """Every row of numbers in the README is a row of one of the tables, to the letter.

    Of a committed one: a run on another processor leaves other numbers in results/. Only who puts
    these into the README, before committing both, is compared with them.
    """
    numbers = re.compile(r"\| +-?\d+\.\d\d(?! \()")  # a difference with its interval: below
    shown = {line for line in README.splitlines() if numbers.search(line)}
    last_commit = [committed(path) for path in TABLES]
    if last_commit[0] is None:
        pytest.skip("without git nobody knows which results are the committed ones")
    paths = [TOP / "results/table.md", *TOP.glob("experiments/*/results/table.md")]
    left_by_a_run = [path.read_text("utf-8") for path in paths]
    for tables in (last_commit, left_by_a_run):
        if shown and shown <= {line for text in tables for line in (text or "").splitlines()}:
            return
    pytest.fail("README.md shows rows that the tables do not have")


WAYS = "experiments/mir1k/results/table.csv"
SETS = ("MIR-1K-female", "MIR-1K-male")


@pytest.mark.parametrize("document", ["README.md", "docs/methods.md"])
def test_gains_of_the_ways_are_the_committed_ones(document: str) -> None:
    """Each row: vocals and accompaniment of women, then of men, over the baseline."""
    text = committed(WAYS)
    if text is None:
        pytest.skip("without git nobody knows which results are the committed ones")
    known = pd.read_csv(io.StringIO(text)).query("metric == 'SDR' and difference.notna()")
    rows = re.findall(
        r"(?m)^\| `([\w-]+)` \|[^|]*\| (.*\) \|.*\)) \|$", (TOP / document).read_text("utf-8")
    )
    assert [name for name, _ in rows] == list(known["model"].unique())
    names = ["difference", "difference_low", "difference_high"]
    bounds = {
        (own["test_set"], own["source"], own["model"]): [own[name] for name in names]
        for own in known.to_dict("records")
    }
    for name, shown in rows:
        expected = [
            "{:+.2f} ({:.2f} to {:.2f})".format(*bounds[test_set, source, name])
            for test_set, source in product(SETS, ("vocals", "accompaniment"))
        ]
        assert [one.strip("*") for one in shown.split(" | ")] == expected, name


GAINS = "experiments/mir1k-minutes/results/minutes.csv"


@pytest.mark.parametrize("document", ["README.md", "docs/experiments.md"])
def test_gains_by_minutes_are_the_committed_ones(document: str) -> None:
    """Each row with minutes of pairs and of unpaired recordings, in vocals and accompaniment."""
    text = committed(GAINS)
    if text is None:
        pytest.skip("without git nobody knows which results are the committed ones")
    known = pd.read_csv(io.StringIO(text)).query("test_set == 'MIR-1K-female'")
    minutes = ["supervised_minutes", "unlabelled_minutes"]
    rows = re.findall(
        r"(?m)^\| (\d+) \| (\d+) \|(?: (VA?) \|[^|]*\|)? ([^|]*) \| ([^|]*) \|$",
        (TOP / document).read_text(encoding="utf-8"),
    )
    assert len(rows) >= 4
    for paired, unpaired, model, *shown in rows:
        own = known[known["model"].str.startswith(model or "V")]
        own = own[~own["model"].str.startswith("VA")] if model != "VA" else own
        own = own[(own[minutes].round() == [int(paired), int(unpaired)]).all(axis=1)]
        for source, text in zip(("vocals", "accompaniment"), shown, strict=True):
            ((gain, low, high),) = own.loc[
                own["source"] == source, ["gain", "low", "high"]
            ].to_numpy()
            assert text == f"{gain:+.2f} ({low:.2f} to {high:.2f})"


LEFT_BY_A_RUN = re.compile(r"""\bTOP / f?"(?:results|data|models|work|dvc\.lock)\b""")


def test_no_other_test_reads_what_a_run_leaves_in_the_checkout() -> None:
    """Tests have experiments of their own; what is committed, `committed` reads."""
    readers = {
        path.name
        for path in (TOP / "tests").rglob("*.py")
        if LEFT_BY_A_RUN.search(path.read_text(encoding="utf-8"))
    }
    assert readers == {"test_documents.py"}


def test_targets_that_the_documents_name_exist() -> None:
    makefile = (TOP / "Makefile").read_text(encoding="utf-8")
    for document in DOCUMENTS:
        for target in re.findall(r"(?:`|^ {4})make ([a-z-]+)", document.read_text("utf-8"), re.M):
            assert re.search(rf"^{target}:", makefile, re.M), f"{document.name}: make {target}"


def test_every_module_is_in_the_architecture() -> None:
    """A line a file in the chapter of its room; a folder in place of files that are found by name."""
    page = (TOP / "docs/architecture.md").read_text(encoding="utf-8")
    chapters = dict(re.findall(r"^## (.+)\n((?:(?!#).*\n)*)", page, re.MULTILINE))
    by_name = folders_of_files_found_by_name()
    assert {"networks/separators", "networks/critics", "training/divergences"} <= by_name
    for path in sorted((TOP / "pipeline").rglob("*.py")):
        module = path.relative_to(TOP / "pipeline")
        folder = module.parent.as_posix()
        if folder in by_name:
            assert f"`{module.parts[-2]}/`" in chapters[f"{module.parts[0]}/"], folder
        elif path.name != "__init__.py" and folder != "datasets/synthetic":
            room, _, inside = module.as_posix().rpartition("/")[0].partition("/")
            said = chapters[f"{room}/" if room else "The ground"]
            name = f"{inside}/{path.name}" if inside else path.name
            assert f"`{name}`" in said, f"{module}: expected `{name}` in its room's chapter"


def folders_of_files_found_by_name() -> set[str]:
    """Folders inside rooms whose files nothing imports: a name in params.yaml finds them."""
    files = [path for path in (TOP / "pipeline").glob("*/*/*.py") if path.name != "__init__.py"]
    modules = {".".join(path.relative_to(TOP).with_suffix("").parts): path for path in files}
    imported = {name for path in (TOP / "pipeline").rglob("*.py") for name in imports_of(path)}
    loose = {path.parent for name, path in modules.items() if name not in imported}
    used = {path.parent for name, path in modules.items() if name in imported}
    return {path.relative_to(TOP / "pipeline").as_posix() for path in loose - used}


def imports_of(path: Path) -> tuple[str, ...]:
    name = ".".join(path.relative_to(TOP).with_suffix("").parts)
    return rooms.imports(name.removesuffix(".__init__"))


def test_requirements_are_pinned_and_hashed_and_name_no_address() -> None:
    for path in (TOP / "requirements").glob("*.txt"):
        text = path.read_text(encoding="utf-8")
        assert "://" not in text
        for block in re.split(r"\n(?=\S)", text):
            if block.strip() and not block.startswith("#"):
                assert re.match(r"[\w.\[\],-]+==\S+ \\\n\s+--hash=sha256:", block), block[:80]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_code_that_a_document_names_exists(document: Path) -> None:
    """A path like `training/step.py`, from wherever the document counts."""
    there = [path.as_posix() for folder in CODE for path in (TOP / folder).rglob("*.py")]
    for named in re.findall(r"`([\w/-]+\.py)`", document.read_text(encoding="utf-8")):
        assert any(path.endswith(f"/{named}") for path in there), f"{document.name}: {named}"


@pytest.mark.parametrize("name", ["example.py", "example_critic.py"])
def test_the_page_of_own_networks_shows_the_examples(name: str) -> None:
    """The files that tests train, to the letter, and short enough to be read."""
    code = (TOP / "networks" / name).read_text(encoding="utf-8")
    assert code.count("\n") <= 40
    shown = textwrap.indent(code, "    ")
    assert f"\n\n{shown}\n" in (TOP / "docs/networks.md").read_text(encoding="utf-8")
