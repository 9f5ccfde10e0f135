"""Files of ours, whatever is in their place: a checked value, or one line with file and remedy."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import REMEDIES, UserError
from pipeline.text_files import (
    printed,
    read_json,
    read_table,
    read_text,
    read_toml,
    read_yaml,
    remembered,
    shown,
)
from tests.helpers.damage import INSTEAD, NUMBERS, WORDS, YAML_WORDS, put_instead
from tests.helpers.fuzzing import limited

AGAIN, ABSENT = "delete it and run `make it`", "run `make it` first"

READERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: read_text(path, AGAIN, ABSENT),
    "json": lambda path: read_json(path, dict[str, int], AGAIN, ABSENT),
    "yaml": lambda path: read_yaml(path, AGAIN, ABSENT),
    "toml": lambda path: read_toml(path, dict[str, int], AGAIN),
    "table": lambda path: read_table(path, ["a", "b"], AGAIN, ABSENT),
}


def said(read: Callable[[Path], object], path: Path) -> str:
    """The one line with which a file is refused."""
    with limited(20), pytest.raises(UserError) as caught:
        read(path)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert len(line) < 1000
    assert str(path) in line
    assert line.endswith((AGAIN, ABSENT, REMEDIES[errno.EIO]))
    return line


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("what", [what for what in INSTEAD if what != "an empty file"])
def test_what_is_no_file_is_one_line(tmp_path: Path, what: str, reader: str) -> None:
    path = tmp_path / "f"
    put_instead(path, what)
    expected = {
        "a folder": "a folder, expected a file",
        "a folder with a file": "a folder, expected a file",
        "a link to nothing": "no such file",
        "a link to itself": "cannot be read: Too many levels of symbolic links",
        "a pipe": "no regular file",
        "an endless file": "no regular file",
        "an unreadable file": "cannot be read: Input/output error",
        "a huge file": "1099511627776 bytes, too large",
    }[what]
    assert expected in said(READERS[reader], path)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", [b"a\0b", b"\xff\xfea", b"{\xe9}", "a".encode("utf-16")])
def test_what_is_no_text_is_one_line(tmp_path: Path, content: bytes, reader: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    said(READERS[reader], path)


def test_a_file_that_is_not_there_has_a_remedy_of_its_own(tmp_path: Path) -> None:
    assert said(READERS["json"], tmp_path / "f").endswith(f"no such file; {ABSENT}")


def test_a_byte_order_mark_and_windows_line_ends_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\n"x\r\ny",2\r\n\r\n')
    assert read_table(path, ["a", "b"], AGAIN) == [["x\r\ny", "2"]]
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n')
    assert read_json(path, dict[str, int], AGAIN) == {"a": 1}
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: [x, 1e-4]\r\n")
    assert read_yaml(path, AGAIN) == {"a": 1, "b": ["x", 1e-4]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected columns a, b, found none"),
        ("a\n1\n", "expected columns a, b, found a;"),
        ("a,b,c\n", "found a, b, c;"),
        ("b,a\n", "found b, a;"),
        ("a,b\n1,2,3\n", "line 2: 3 cells, expected 2"),
        ("a,b\n1,2\n1\n", "line 3: 1 cells, expected 2"),
        ('a,b\n1,"2\n3,4\n', "not a table of text: unexpected end of data"),
        ('a,b\n1,"2"3\n', "not a table of text"),
        ("a,b\n1,2\r3\n", "line 3: 1 cells, expected 2"),
        ("a,b\n1," + "2" * 200_000 + "\n", "field larger than field limit"),
        ("\x1b[2J,b\n", r"found \x1b[2J, b"),
    ],
)  # fmt: skip
def test_a_damaged_table_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(text.encode())
    assert expected in said(READERS["table"], path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "not valid JSON: EOF while parsing"),
        ("{", "not valid JSON: EOF"),
        ('{"a": 1}x', "not valid JSON: trailing characters"),
        ("[" * 100_000, "not valid JSON: recursion limit exceeded"),
        ('{"a": "\\ud800"}', "not valid JSON: unexpected end of hex escape"),
        ('{"a": 1.5}', "a: expected a valid integer, found 1.5"),
        ('{"a": "1"}', "a: expected a valid integer, found '1'"),
        ('{"a": true}', "a: expected a valid integer, found True"),
        ('{"a": [[1]]}', "a: expected a valid integer, found a list"),
        ('{"\\u001b[2J\\n": null}', r"\x1b[2J\n: expected a valid integer, found None"),
        ("[1]", "expected an object, found a list"),
    ],
)  # fmt: skip
def test_damaged_json_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "f"
    path.write_text(text)
    assert expected in said(READERS["json"], path)


@pytest.mark.parametrize("word", [*NUMBERS, *WORDS, *YAML_WORDS])
def test_yaml_of_any_content_is_read_or_one_line(tmp_path: Path, word: str) -> None:
    """In a quarter of the memory that they would take if they were written out."""
    path = tmp_path / "f"
    path.write_bytes(f"a:\n  b: {word[:400]}\n".encode())
    with limited(20):
        try:
            read_yaml(path, AGAIN)
        except UserError:
            assert "not valid YAML: " in said(READERS["yaml"], path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- " * 10_000, "nested too deeply"),
        ("[" * 600, "nested too deeply"),  # more takes the parser seconds
        ('{"a":' * 10_000, "nested too deeply"),
        ("a: 1\nb: !!int x\n", "a value is not of its type: invalid literal for int()"),
        ("a: 2001-13-45", "a value is not of its type: month must be in 1..12"),
        ("a: " + "9" * 5000, "a value is not of its type: Exceeds the limit"),
        ("a: 1\na: 2\n", 'line 2: found duplicate key "a"'),
        ("a: *b\n", "line 1: found undefined alias"),
        ("a: !!python/object:os.system x\n", "line 1: could not determine a constructor for the tag"),
        ("a: 1\n---\na: 2\n", "line 2: but found another document"),
        ("a: \x1b[2J\n", "not valid YAML"),
    ],
)  # fmt: skip
def test_damaged_yaml_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "f"
    path.write_text(text)
    assert expected in said(READERS["yaml"], path)


@pytest.mark.parametrize("text", ["a =", "a = " + "[" * 10_000, "a = " + "9" * 5000, "a = 'x'"])
def test_damaged_toml_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "f"
    path.write_text(text)
    said(READERS["toml"], path)


def test_what_only_saves_work_is_never_an_error(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for what in INSTEAD:
        put_instead(path, what)
        assert remembered(path, dict[str, int]) is None
        if path.is_dir():
            for inner in path.iterdir():
                inner.unlink()
            path.rmdir()
    path.unlink()
    path.write_text('{"a": 1}')
    assert remembered(path, dict[str, int]) == {"a": 1}


def test_values_in_a_line_are_short_and_printable() -> None:
    endless: list[object] = []
    endless.append(endless)
    laughs: list[object] = ["x"]
    for _ in range(60):
        laughs = [laughs, laughs]
    for value in (endless, laughs, 2**20_000, -(2**20_000), "\x1b[2J" * 1000, b"x", {"a": endless}):
        line = shown(value)
        assert len(line) < 500
        assert line.isprintable()
    assert shown("a") == "'a'"
    assert shown(-1.5) == "-1.5"
    assert printed("Café \N{RIGHT-TO-LEFT OVERRIDE}\n") == "Café \\u202e\\n"
