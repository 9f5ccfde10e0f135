"""Tables and text in Markdown, read back by hand."""

import pytest

from pipeline.comparison.markdown import as_code, escaped, grid, interval, number


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
        ("a|b", r"a\|b", r"`a\|b`"),
        ("a`b", "a'b", "`a'b`"),
        ("<x>&\ny", "&lt;x>&amp; y", "`<x>& y`"),
    ],
)
def test_names_break_no_table_and_hide_no_markup(text: str, plain: str, code: str) -> None:
    assert (escaped(text), as_code(text)) == (plain, code)


def test_numbers_have_two_decimals_and_a_gap_is_a_dash() -> None:
    nan = float("nan")
    assert [number(value) for value in (1.0, -0.126, None, nan)] == ["1.00", "-0.13", "–", "–"]
    assert [number(value, "+") for value in (1.0, -1.0, None)] == ["+1.00", "-1.00", "–"]
    assert interval(-0.1, 0.2) == "-0.10 to +0.20"
    assert interval(nan, nan) == "–"
