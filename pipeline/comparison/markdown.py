"""Markdown that reads well on GitHub and in a terminal: tables, and names that are no markup."""

import re
from collections.abc import Sequence

from pipeline.errors import printable
from pipeline.params import REFERENCE_ROWS

_WORD = re.compile(r"[A-Za-z0-9]+([_-][A-Za-z0-9]+)*|-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")
_LINKED = re.compile(r"\b[0-9a-f]{7,40}\b|\b[a-z]+-[0-9]", re.IGNORECASE)
"""Words that GitHub may take for a commit, or for an entry of an issue tracker (GH-1)."""


def grid(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int) -> list[str]:
    """Lines of a Markdown table with aligned columns, the first `text_columns` to the left.

    A | in a cell, in code too, is written as the extension for tables wants it.
    """
    header, *rows = ([cell.replace("|", "\\|") for cell in row] for row in (header, *rows))
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
    """A name or value, which may be anybody's, as text: a plain word as it is, all else as code."""
    plain = _WORD.fullmatch(text) and not _LINKED.search(text)
    return text if plain else as_code(text)


def as_code(text: str) -> str:
    """Text as code: there nothing is markup, and GitHub finds no mentions, issues, commits or links.

    What cannot be shown is escaped (`errors.printable`).
    """
    text = printable(text) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    room = " " if text.strip(" ") and (text[0] in "` " or text[-1] in "` ") else ""
    return f"{fence}{room}{text}{room}{fence}"


def references() -> str:
    """The rows of the table that are no models, and what they are."""
    named = (f"`{name}` ({what})" for name, what in REFERENCE_ROWS.items())
    return f"No competitors but the frame: {', '.join(named)}"


def parts(text: str) -> list[tuple[str, bool]]:
    """What a line with `as_code` in it shows: pieces of text, and whether each is code."""
    found, end = [], 0
    for code in re.finditer(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", text):
        found += [(text[end : code.start()], False), (_stripped(code[2]), True)]
        end = code.end()
    return [piece for piece in (*found, (text[end:], False)) if piece[0]]


def _stripped(code: str) -> str:
    padded = code.strip(" ") and code[0] == code[-1] == " "
    return code[1:-1] if padded else code


def number(value: float | None, sign: str = "") -> str:
    """Two decimals, with sign="+" a sign even when positive; a dash for None and NaN."""
    return "–" if value is None or value != value else f"{value:{sign}.2f}"


def interval(low: float, high: float) -> str:
    """The two ends of the interval of a difference; a dash for NaN."""
    return "–" if low != low else f"{number(low, '+')} to {number(high, '+')}"
