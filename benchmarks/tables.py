"""Results as Markdown, for the terminal and docs/performance.md; generated, never typed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
NOTHING = "No results are in `benchmarks/results/` yet: `make bench` writes them.\n"


def table(results: list[dict[str, Any]]) -> str:
    """A line for every figure: median, quartiles, number of turns, target."""
    lines = [
        "| measured | figure | median | quartiles | turns | must reach | |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for result in results:
        for figure in result["quantities"]:
            low, high = map(number, figure["quartiles"])
            lines.append(
                f"| {result['what']} | {figure['name']} | {number(figure['median'])}"
                f"{_unit(figure)} | {low} to {high} | {len(figure['values'])} |"
                f" {_target(figure)} | {_verdict(figure)} |"
            )
    return "\n".join(lines) + "\n"


def rates(results: list[dict[str, Any]]) -> str:
    """A line for every result that has rates: how much of what a second or minute."""
    lines = ["| measured | unit | ours | straightforward | limit |", "|---|---|---:|---:|---:|"]
    for result in results:
        if result["unit"]:
            sides = [
                number(result["rates"][side]) if side in result["rates"] else ""
                for side in ("ours", "straightforward", "limit")
            ]
            lines.append(f"| {result['what']} | {result['unit']} | {' | '.join(sides)} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def notes(results: list[dict[str, Any]]) -> str:
    """What was measured, exactly."""
    said = [f"- {result['what']}: {result['note']}.\n" for result in results if result["note"]]
    return "".join(said)


def machine(record: dict[str, Any]) -> str:
    """A line about the machine, and when and with what its figures were taken."""
    facts = record["machine"]
    gpu = "" if facts["gpu"] == "none" else f"; {facts['gpu']}, {facts['gpu_memory_gb']} GB"
    taken = sorted({_taken(part) for part in record["parts"].values()})
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads,"
        f" {facts['memory_gb']} GB{gpu}. {'; '.join(taken)}.\n"
    )


def document(folder: Path) -> str:
    """The tables of every machine in a folder of results, as they stand in docs/performance.md."""
    sections = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        found = results(record)
        body = [f"### {path.stem}\n", machine(record), table(found), rates(found), notes(found)]
        sections.append("\n".join(filter(None, body)))
    return "\n".join(sections) or NOTHING


def results(record: dict[str, Any]) -> list[dict[str, Any]]:
    """All results of a machine."""
    return [result for part in record["parts"].values() for result in part["results"]]


def fill(text: str, tables: str) -> str:
    """A document with these tables between its markers. Raises ValueError when it has none."""
    if BEGIN not in text or END not in text:
        raise ValueError(f"no {BEGIN} and {END}")
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{tables}\n{END}{rest.split(END, 1)[1]}"


def missed(results: list[dict[str, Any]]) -> Iterator[str]:
    """What did not reach its target."""
    for result in results:
        for figure in result["quantities"]:
            if figure["reached"] is False:
                yield (
                    f"{result['what']}: {figure['name']} is {number(figure['median'])}"
                    f"{_unit(figure)}, must be {_target(figure)}"
                )


def number(value: float) -> str:
    """Three digits that say something."""
    if value >= 1000:
        return f"{value:.0f}"
    return re.sub(r"\.$", "", f"{value:#.3g}") if value >= 0.001 else f"{value:.1e}"


def _unit(figure: dict[str, Any]) -> str:
    return f" {figure['unit']}" if figure["unit"] else ""


def _target(figure: dict[str, Any]) -> str:
    for word, bound in (("at least", figure["at_least"]), ("at most", figure["at_most"])):
        if bound is not None:
            return f"{word} {bound:g}{_unit(figure)}"
    return ""


def _verdict(figure: dict[str, Any]) -> str:
    return {None: "", True: "reached", False: "**missed**"}[figure["reached"]]


def _taken(part: dict[str, Any]) -> str:
    versions = part["versions"]
    return (
        f"{part['date']}: Python {versions['python']}, torch {versions['torch']}, numpy"
        f" {versions['numpy']}, librosa {versions['librosa']}, DVC {versions['dvc']}"
    )
