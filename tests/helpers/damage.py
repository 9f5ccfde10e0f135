"""Damaged files, each a pure function of a seed: what a fuzz test or a campaign feeds to a reader.

`damaged(content, kind, seed)` gives the same bytes for the same arguments everywhere. Half of the
inputs are damaged as bytes (flips, cuts, copies, hostile tokens); of the others one node of a JSON or
YAML document, or one cell, row or column of a table, is replaced by something hostile.
"""

import csv
import io
import json
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

Chance = random.Random

NUMBERS = (
    "NaN", ".nan", "nan", "Infinity", "-Infinity", ".inf", "inf", "1e999", "-1e999", "1e308",
    "1e-320", "-1", "-0", "0", "-0.0", "1", "1.5", "2", "007", "0o17", "0x1F", "1_000", "+1", "1e3",
    "127", "4096", "2147483648", "4294967296", "9223372036854775808", "17179869184", "1000000000000",
    "1" + "0" * 30, "9" * 5000, "0x" + "f" * 5000, "1" + "0" * 400 + ".5", "",
)  # fmt: skip
WORDS = (
    "null", "~", "true", "no", "2001-13-45", "2001-01-01", "2001-01-01T00:00:00Z", '""', '"x"', "x",
    '"\\u0000"', '"\\ud800"', '"\\u001b[2J"', '"\\u202e"', '"a\\nb"', '"../../x"', '"/dev/zero"',
    '"' + "a" * 300 + '"', '"' + "ä" * 5000 + '"', "'x", '"x', "{}", "[]", "[[]]", "{x: {}}",
    '{"x": 1}', "[1, 2, 3]", '["vocals", "vocals"]', '["mixture"]', "[null]", "[" * 1000,
    "[" * 1000 + "]" * 1000, '{"a":' * 3000 + "1" + "}" * 3000, "mixture", "VOCALS", "Mixture", "CON",
)  # fmt: skip
YAML_WORDS = (
    '!!int "x"', '!!float "x"', '!!bool "x"', '!!timestamp "x"', '!!timestamp ""', "!!binary é",
    "!!binary aGFs", "!!null x", "!!omap [a]", "!!omap [{a: 1}]", "!!pairs [a]", "!!set {a, b}",
    "!!set [a]", "!!str [a]", "!!seq {a: 1}", "!!map [a]", "!x y", "!!python/object:os.system x",
    "!<x> y", "&a [*a]", "*a", "*unknown", "{<<: *unknown}", "{<<: 1}", "{<<: [1]}", "{? [a] : b}",
    "{? {a: 1} : b}", "{1: 2}", "{null: 1}", "{.nan: 1, .nan: 2}", "{a: 1, a: 2}", "| x", "> ", "@x",
    "`x`", "%x", "- x", "?", ": ", "--- x", "...", "1:30", "12:30:45", "0b11", "=", "<<", "\t",
    "[&x [a, a], &y [*x, *x], &z [*y, *y, *y, *y], [*z, *z, *z, *z, *z, *z]]",
)  # fmt: skip
BYTES = (
    b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\n", b"\t", b"\x1b[2J", b"\x85",
    "\N{LINE SEPARATOR}".encode(), "\N{RIGHT-TO-LEFT OVERRIDE}".encode(), b'"', b"'", b",", b"\\", b"#",
    b"{", b"}", b"[", b"]", b":", b": ", b"- ", b"=", b"&a ", b"*a", b"!!int ", b"---\n", b"...\n",
    b"%YAML 9.9\n---\n", b"[" * 1000, b"a: " * 500, b"0" * 5000, b'"' * 1001, b"," * 3000,
)  # fmt: skip
_PLACE = "a place for something hostile"


def damaged(content: bytes, kind: str, seed: str) -> bytes:
    """`content` with one to three damages. kind: json, yaml, csv, tsv, or bytes for anything else."""
    chance = random.Random(seed)
    structured: dict[str, Callable[[bytes, Chance], bytes]] = {
        "json": _json, "yaml": _yaml, "csv": _table, "tsv": _table,
    }  # fmt: skip
    if kind in structured and chance.random() < 0.6:
        return structured[kind](content, chance)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        content = _bytes(content, chance)
    return content


def _bytes(content: bytes, chance: Chance) -> bytes:
    size = len(content)
    start = chance.randrange(size + 1)
    end = min(size, start + chance.choice((1, 2, 5, 20, 200, size)))
    how = chance.randrange(7)
    if how == 0 and size:  # a bit, as disks and cables do it
        start = min(start, size - 1)
        return (
            content[:start]
            + bytes([content[start] ^ 1 << chance.randrange(8)])
            + content[start + 1 :]
        )
    if how == 1:
        return content[:start]
    if how == 2:
        return content[:start] + content[end:]
    if how == 3:
        return content[:end] + content[start:]
    if how == 4:  # a block of zeros: a file system after a crash
        return content[:start] + bytes(end - start) + content[end:]
    if how == 5:
        return content[:start] + chance.randbytes(end - start) + content[end:]
    tokens = (*BYTES, *(word.encode() for word in (*NUMBERS, *WORDS)))
    return content[:start] + chance.choice(tokens) + content[start:]


def _json(content: bytes, chance: Chance) -> bytes:
    changed = _changed(json.loads(content), chance)
    return _filled(json.dumps(changed, indent=1), _hostile(chance))


def _yaml(content: bytes, chance: Chance) -> bytes:
    changed = _changed(YAML(typ="safe", pure=True).load(content.decode()), chance)
    word = chance.choice(YAML_WORDS) if chance.random() < 0.5 else _hostile(chance)
    return _filled(json.dumps(changed, indent=1, ensure_ascii=False), word)


def _hostile(chance: Chance) -> str:
    return chance.choice(NUMBERS if chance.random() < 0.5 else WORDS)


def _filled(text: str, word: str) -> bytes:
    return text.replace(f'"{_PLACE}"', word).encode(errors="surrogatepass")


def _changed(value: Any, chance: Chance) -> Any:
    """A copy of a document in which one node has changed."""
    places = _places(value)
    path = chance.choice(places)
    if not path:
        return chance.choice((_PLACE, [value], {"x": value}, [], {}, None))
    copy = json.loads(json.dumps(value))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    key = path[-1]
    how = chance.randrange(8)
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        named = chance.choice(
            ("x", "", key.swapcase(), f"{key} ", "a\nb", "\x1b[2J", "a" * 2000, _PLACE)
        )
        holder[named] = holder.pop(key) if chance.random() < 0.5 else holder[key]
    elif how == 1:
        holder.insert(key, holder[key])
    elif how == 2:
        other = chance.choice(places)
        found = value
        for step in other:
            found = found[step]
        holder[key] = found
    else:
        holder[key] = _PLACE
    return copy


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all nodes; of a long list or mapping, the first few."""
    items = (
        list(value.items()) if isinstance(value, dict)
        else list(enumerate(value)) if isinstance(value, list) else []
    )  # fmt: skip
    return [path] + [place for key, inner in items[:30] for place in _places(inner, (*path, key))]


def _table(content: bytes, chance: Chance) -> bytes:
    """A table with one cell, row or column changed; separated as its first line is."""
    text = content.decode()
    mark = "\t" if "\t" in text.partition("\n")[0] else ","
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=mark))
    # What is interesting is near the head: most of a long table is more of the same.
    row = chance.randrange(min(len(rows), 12))
    column = chance.randrange(len(rows[row]))
    how = chance.randrange(12)
    if how == 0:
        rows[row].append(_hostile(chance))
    elif how == 1:
        del rows[row][column]
    elif how == 2:
        rows.insert(row, list(rows[row]))
    elif how == 3:
        for one in rows:
            del one[column]
    elif how == 4:
        for one in rows:
            one.insert(column, one[chance.randrange(len(one))])
    elif how == 5:
        del rows[row:]
    elif how == 6:
        rows.insert(row, chance.choice(([], [""], [""] * len(rows[0]), ["x"])))
    elif how == 7:
        rows[0][chance.randrange(len(rows[0]))] = _hostile(chance)
    else:
        rows[row][column] = _PLACE
    written = io.StringIO(newline="")
    csv.writer(
        written, delimiter=mark, lineterminator=chance.choice(("\n", "\n", "\r\n"))
    ).writerows(rows)
    word = chance.choice((*NUMBERS, *WORDS, "\0", '"', 'x"y', "a\rb", "\N{NO-BREAK SPACE}"))
    return written.getvalue().replace(_PLACE, word).encode(errors="surrogatepass")


def put_instead(path: Path, what: str) -> None:
    """Something else in the place of a file; what: one of INSTEAD."""
    path.unlink(missing_ok=True)
    if what == "a folder":
        path.mkdir()
    elif what == "a folder with a file":
        path.mkdir()
        (path / "x").touch()
    elif what == "a link to nothing":
        path.symlink_to("nothing")
    elif what == "a link to itself":
        path.symlink_to(path.name)
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "an endless file":
        path.symlink_to("/dev/zero")
    elif what == "an unreadable file":
        path.symlink_to("/proc/self/mem")  # an error of input and output, for root too
    elif what == "an empty file":
        path.touch()
    elif what == "a huge file":
        with path.open("wb") as file:
            file.truncate(2**40)  # a hole: no room is taken
    else:
        raise ValueError(what)


def instead(what: str) -> Callable[[Path], None]:
    """`put_instead` as a harm to a path."""
    return partial(put_instead, what=what)


INSTEAD = (
    "a folder", "a folder with a file", "a link to nothing", "a link to itself", "a pipe",
    "an endless file", "an unreadable file", "an empty file", "a huge file",
)  # fmt: skip
