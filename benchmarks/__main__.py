"""Every part against the straightforward way and the machine's limit, measured in the same run.

    python -m benchmarks [part ...] [--device cuda] [--runs N] [--quick]

Prints Markdown tables and writes benchmarks/results/<machine>.json and the tables of
docs/performance.md. Parts: see benchmarks/parts.
"""

import json
from pathlib import Path
from typing import Any

import typer

from benchmarks import machine, parts, tables
from benchmarks.harness import Options, Result
from pipeline.errors import UserError
from pipeline.files import write_text

TOP = Path(__file__).parents[1]
RESULTS = TOP / "benchmarks/results"
DOCUMENT = TOP / "docs/performance.md"


def main(
    names: list[str] | None = typer.Argument(None, metavar="[PART]..."),
    device: str = typer.Option("cpu", help="cpu or cuda"),
    runs: int | None = typer.Option(None, min=1, help="turns of each side [default: by part]"),
    quick: bool = typer.Option(False, help="tiny sizes, to see that it works; nothing is written"),
    batch: int | None = typer.Option(None, min=1, help="excerpts of a batch [default: 64, CPU 16]"),
    name: str = typer.Option("", "--machine", help="its name [default: CPU and cores, or GPU]"),
) -> None:
    """Measure, print, write."""
    from pipeline.networks.devices import resolve_device

    options = Options(resolve_device(device), runs, quick, batch)
    usual = parts.USUAL if options.device == "cpu" else parts.ON_A_GPU
    chosen = check(names or list(usual))
    facts = machine.describe()
    record: dict[str, Any] = {"machine": facts, "parts": {}}
    measured: list[Result] = []
    for part in chosen:
        typer.echo(f"measuring {part}", err=True)
        found = parts.measure(part, options)
        measured += found
        record["parts"][part] = entry(found)
    if options.device == "cuda" or options.batch:
        from benchmarks.parts.projection import project
        from pipeline.training.run import PRECISIONS

        results = [project(measured, one) for one in PRECISIONS]
        projected = [result for result in results if result]
        if projected:
            record["parts"]["projection"] = entry(projected)
    show(record)
    if not quick:
        save(record, RESULTS / f"{name or machine.name(facts, options.device)}.json")


def check(names: list[str]) -> list[str]:
    """Raises UserError when there is no such part."""
    for name in names:
        if name not in parts.ALL:
            raise UserError(f"{name}: no such part; there are {', '.join(parts.ALL)}")
    return names


def entry(found: list[Result]) -> dict[str, Any]:
    """A part as it is kept."""
    return {**machine.taken(), "results": [result.as_json() for result in found]}


def show(record: dict[str, Any]) -> None:
    """The tables, and what missed its target."""
    found = tables.results(record)
    shown = [tables.machine(record), tables.table(found), tables.rates(found), tables.notes(found)]
    typer.echo("\n".join(filter(None, shown)))
    for line in tables.missed(found):
        typer.secho(f"missed: {line}", fg=typer.colors.YELLOW)


def save(record: dict[str, Any], path: Path) -> None:
    """Write the machine's results, keeping parts that were not measured now, and the document."""
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["machine"] == record["machine"]:
            record = {**record, "parts": before["parts"] | record["parts"]}
    write_text(path, json.dumps(record, indent=1) + "\n")
    text = tables.fill(DOCUMENT.read_text(encoding="utf-8"), tables.document(RESULTS))
    write_text(DOCUMENT, text)
    typer.echo(f"{path.relative_to(TOP)} and {DOCUMENT.relative_to(TOP)} are written")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except UserError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise SystemExit(1) from None
