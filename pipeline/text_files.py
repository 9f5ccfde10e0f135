"""Files of ours as checked values: text, JSON, YAML, TOML and tables of any content.

Whatever lies in a file's place (nothing, a folder, a pipe, damaged or hostile text), the answer is a
value of the type asked for, or a UserError: one line with the file, what is wrong and the remedy.
`remembered` is for what we can make again: there the answer to damage is None.

Every reader takes `again`, the remedy for a file that is no good, and `absent`, the one for a file that
is not there (by default the same).
"""

import csv
import io
import stat
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipeline.errors import REMEDIES, UserError, in_one_line, printable

T = TypeVar("T")

LARGEST = 2**28
"""Bytes of a file: the inventory of a hundred thousand recordings is two thirds of it."""
LARGEST_YAML = 2**18
"""Bytes: the parser takes seconds for as much; our parameters are 4 kB."""


def read_text(path: Path, again: str, absent: str | None = None, largest: int = LARGEST) -> str:
    """The text of a file (UTF-8, with or without a byte order mark, line ends as they are)."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            kind = "a folder" if stat.S_ISDIR(state.st_mode) else "no regular file"
            raise UserError(f"{path}: {kind}, expected a file; {again}")
        if state.st_size > largest:
            raise UserError(f"{path}: {state.st_size} bytes, too large to be ours; {again}")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {absent or again}") from None
    except OSError as error:
        # What the machine lacks is no fault of the file.
        remedy = REMEDIES.get(error.errno or 0, again)
        raise UserError(f"{path}: cannot be read: {error.strerror}; {remedy}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); {again}") from None
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        raise UserError(f"{path}, line {line}: a NUL character, no text; {again}")
    return text


def read_json(path: Path, kind: type[T], again: str, absent: str | None = None) -> T:
    """A JSON file as a value of `kind`, a type that pydantic knows; numbers are never text or bool."""
    text = read_text(path, again, absent)
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise UserError(f"{path}: {first_fault(error)}; {again}") from None


def read_toml(path: Path, kind: type[T], again: str) -> T:
    """A TOML file as a value of `kind`."""
    text = read_text(path, again)
    try:
        return TypeAdapter(kind).validate_python(tomllib.loads(text))
    except ValidationError as error:
        raise UserError(f"{path}: {first_fault(error)}; {again}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid TOML: {in_one_line(error)}; {again}") from None


def read_yaml(path: Path, again: str, absent: str | None = None) -> Any:
    """What a YAML file holds, of any type: it may contain itself, or the same part often."""
    text = read_text(path, again, absent, LARGEST_YAML)
    try:
        # ruamel.yaml is DVC's own parser (YAML 1.2): both read 1e-4 as a number, PyYAML does not.
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        words = f"{line}{str(error.problem or error.context)[:150]}"
    except RecursionError:
        words = "nested too deeply"
    # What a tag asks for and its text is not (`!!int x`, `!!bool x`), or a date that never was.
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        words = f"a value is not of its type: {in_one_line(error)}"
    raise UserError(f"{path}: not valid YAML: {printed(words)}; {again}")


def read_table(
    path: Path, columns: Sequence[str], again: str, absent: str | None = None, mark: str = ","
) -> list[list[str]]:
    """The rows of a table with exactly these columns, cells as text; empty lines are skipped.

    mark: what separates the cells.
    """
    text = read_text(path, again, absent)
    rows: list[list[str]] = []
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        head = next(lines, [])
        if head != list(columns):
            found = printed(", ".join(head)) or "none"
            expected = ", ".join(columns)
            raise UserError(f"{path}: expected columns {expected}, found {found}; {again}")
        for row in lines:
            if len(row) == len(columns):
                rows.append(row)
            elif row:
                place = f"{path}, line {lines.line_num}"
                raise UserError(f"{place}: {len(row)} cells, expected {len(columns)}; {again}")
    except csv.Error as error:
        place = f"{path}, line {lines.line_num}"
        raise UserError(f"{place}: not a table of text: {in_one_line(error)}; {again}") from None
    return rows


def remembered(path: Path, kind: type[T]) -> T | None:
    """A JSON file that only saves work, as a value of `kind`; None when it is not there or no good."""
    try:
        return read_json(path, kind, "")
    except UserError:
        return None


CASE = "[case]"
"""How the tag of a union begins: it is in the place of a fault, and no part of the file."""


def first_fault(error: ValidationError) -> str:
    """The first thing that pydantic found wrong: key, what was expected, what was found."""
    fault = error.errors(include_url=False)[0]
    parts = [str(part) for part in fault["loc"] if part != "[key]"]
    key = printed(".".join(part for part in parts if not part.startswith(CASE)))
    at = f"{key}: " if key else ""
    kind, message = fault["type"], fault["msg"]
    if kind == "json_invalid":
        return f"not valid JSON: {fault['ctx']['error']}"
    if kind == "missing":
        return f"{at}expected a value, the key is missing"
    found = shown(fault["input"])
    if kind == "extra_forbidden":
        return f"{at}unknown key, found {found}; remove it or correct its name"
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    if kind == "value_error":
        return f"{at}{message}"
    return f"{at}expected {message}, found {found}"


def shown(value: object) -> str:
    """A value in an error line: what would be long or have no end is named by its type."""
    if isinstance(value, str | bool | float | None):
        return printed(repr(value))
    if isinstance(value, int):
        return f"{value}" if value.bit_length() < 200 else "a number of more than 60 digits"
    if isinstance(value, list | dict):
        kind = "list" if isinstance(value, list) else "mapping"
        return f"a {kind}" if value else f"an empty {kind}"
    return f"a {type(value).__name__}"


def printed(text: str) -> str:
    """Foreign text in an error line: what does not print is escaped, what is long is cut."""
    return printable(text[:100]) + ("..." if len(text) > 100 else "")
