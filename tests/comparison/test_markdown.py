"""Tables and text in Markdown, read back by hand."""

import pytest

from pipeline.comparison.markdown import as_code, escaped, grid


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
