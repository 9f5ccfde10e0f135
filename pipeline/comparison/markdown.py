"""Markdown that reads well on GitHub and in a terminal: tables, and text that breaks none."""

from collections.abc import Sequence


def grid(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int) -> list[str]:
    """Lines of a Markdown table with aligned columns, the first `text_columns` to the left."""
    widths = [max(3, *(len(row[k]) for row in (header, *rows))) for k in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if k < text_columns else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * w if k < text_columns else "-" * (w - 1) + ":" for k, w in enumerate(widths)]
    return [line(header), line(rule), *(line(row) for row in rows)]


def escaped(text: str) -> str:
    """Text that breaks no table and hides no markup: names and values are the author's."""
    for sign, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "'"), ("\n", " ")):
        text = text.replace(sign, safe)
    return text


def as_code(text: str) -> str:
    """Text between backticks, as it may stand in a table."""
    return "`" + text.replace("`", "'").replace("|", "\\|").replace("\n", " ") + "`"


def number(value: float | None, sign: str = "") -> str:
    """Two decimals, with sign="+" a sign even when positive; a dash for None and NaN."""
    return "–" if value is None or value != value else f"{value:{sign}.2f}"


def interval(low: float, high: float) -> str:
    """The two ends of the interval of a difference; a dash for NaN."""
    return "–" if low != low else f"{number(low, '+')} to {number(high, '+')}"
