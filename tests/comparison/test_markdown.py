"""Tables and text in Markdown, read back by hand and by an independent renderer."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.comparison.markdown import as_code, escaped, grid, interval, number, parts
from pipeline.errors import printable
from tests.helpers import rendered

HOSTILE = [
    "`", "``", "```", "|", "\\", "\\|", "*", "**", "_", "~~", "[x](https://e.org)", "![i](u)",
    "](", "[^1]",
    "<b>", "<!--", "-->", "</details>", "<https://e.org>", "https://e.org/x", "www.e.org", "a@e.org",
    "@user", "#1", "o/r#1", "GH-1", "deadbeef", "0123456789abcdef0123456789abcdef01234567", ":smile:",
    "$x$", "$`x`$", "&amp;", "&#64;", "# ", "- ", "1. ", "> ", "---", "\n", "\n\n", "\r", "\t", "\x1b[1m",
    "\u202e", "\u200b", "\u2028", " ", "a", "Ä", "東", "é\u0301", "\udcff", "\0",
]  # fmt: skip
names = st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=6).map("".join)


def test_a_grid_is_aligned() -> None:
    assert grid(["model", "dB"], [["V", "1.25"], ["baseline", "-10.5"]], text_columns=1) == [
        "| model    |    dB |",
        "| -------- | ----: |",
        "| V        |  1.25 |",
        "| baseline | -10.5 |",
    ]
    assert grid(["a", "b"], [], text_columns=2) == ["| a   | b   |", "| --- | --- |"]


@pytest.mark.parametrize(
    ("text", "plain", "code"),
    [
        ("V", "V", "`V`"),
        ("no_critic-2a", "no_critic-2a", "`no_critic-2a`"),
        ("-0.5", "-0.5", "`-0.5`"),
        ("1e-05", "1e-05", "`1e-05`"),
        ("a|b", "`a|b`", "`a|b`"),
        ("a`b", "``a`b``", "``a`b``"),
        ("`", "`` ` ``", "`` ` ``"),
        ("<x>&\ny", r"`<x>&\ny`", r"`<x>&\ny`"),
        ("GH-1", "`GH-1`", "`GH-1`"),
        ("abcdef0", "`abcdef0`", "`abcdef0`"),
        ("", "` `", "` `"),
    ],
)
def test_a_word_is_text_and_all_else_is_code(text: str, plain: str, code: str) -> None:
    assert (escaped(text), as_code(text)) == (plain, code)


@settings(max_examples=150, deadline=None)
@given(names, names)
@example("a\\", "b")
@example(" a", "a ")
@example("  ", "` `")
@example("a\\\\|b", "\\`")
def test_what_is_shown_is_the_name_and_nothing_else(one: str, other: str) -> None:
    """In a heading, a line, a list, a quotation, bold, and any cell of a table."""
    a, b = escaped(one), escaped(other)
    table = grid([a, "x", b], [[b, a, "y"], ["**1.00**", b, a]], text_columns=2)
    page = [
        f"# {a}",
        "",
        f"{b}:",
        "",
        f"- {a}, {b}",
        "",
        f"> {b} {a}.",
        "",
        f"**{a}** (dB)",
        *table,
    ]
    page = [*page[:-4], "", *page[-4:]]
    shown, second = printable(one), printable(other)
    assert rendered.lines("\n".join(page)) == [
        shown, f"{second}:", f"{shown}, {second}", f"{second} {shown}.", f"{shown} (dB)",
        shown, "x", second, second, shown, "y", "1.00", second, shown,
    ]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(names, names)
@example("  ", "` `")
def test_the_pieces_of_a_line_are_those_of_the_renderer(one: str, other: str) -> None:
    line = f"left out: {as_code(one)}, {as_code(other)}."
    found = rendered.lines(line)
    assert ["".join(text for text, _ in parts(line))] == found
    assert [text for text, is_code in parts(line) if is_code] == rendered.codes(line)


def test_numbers_have_two_decimals_and_a_gap_is_a_dash() -> None:
    nan = float("nan")
    assert [number(value) for value in (1.0, -0.126, None, nan)] == ["1.00", "-0.13", "–", "–"]
    assert [number(value, "+") for value in (1.0, -1.0, None)] == ["+1.00", "-1.00", "–"]
    assert interval(-0.1, 0.2) == "-0.10 to +0.20"
    assert interval(nan, nan) == "–"
