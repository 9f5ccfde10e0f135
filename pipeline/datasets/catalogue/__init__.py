"""Published facts about the datasets, shipped as CSV and TOML (sources: README.md beside them).

The tracks in the order in which the paper's authors cut them into roles, their lengths, MedleyDB's
instruments, iKala's checksums, whose songs MUSDB18 holds, where each collection can be had. Nothing
here depends on what a user has on disk.
"""

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import UserError
from pipeline.text_files import first_fault, read_text, read_toml, shown

_FOLDER = Path(__file__).parent
_COLLECTIONS = _FOLDER / "collections.toml"
_AGAIN = f"bring it back with `git checkout -- {quote(str(_FOLDER))}`"


class Entry(NamedTuple):
    """A published track."""

    id: str
    """As the dataset's reader names it."""
    partition: str | None


class Stem(NamedTuple):
    """A stem of MedleyDB."""

    filename: str
    instrument: str


class PublishedSong(NamedTuple):
    """A song of MUSDB18 and MUSDB18-HQ."""

    track: str
    """As their readers name it."""
    partition: str
    """MUSDB18's own: train or test. It is not DSD100's."""
    role: str
    """supervised, validation or test, as the field cuts MUSDB18."""
    dataset: str
    """The dataset that it was taken from, DSD100 or MedleyDB; empty for another origin."""
    original: str
    """The track's id in that dataset; empty for another origin."""


class Facts(NamedTuple):
    """What a track's recording should be; None where that is not published."""

    seconds: float | None
    channels: int | None
    sample_rate: int | None
    """Hz."""


class Collection(NamedTuple):
    """A dataset as it can be obtained or asked for."""

    name: str
    title: str
    page: str
    licence: str
    citation: str
    apply: str = ""
    """How to get it where it cannot be downloaded; else empty."""
    urls: Sequence[str] = ()
    """Addresses of the archive, the preferred one first; none where it cannot be downloaded."""
    file: str = ""
    """The archive's name; empty where it cannot be downloaded."""
    bytes: int | None = None
    """Size of the archive, where it is known exactly."""
    checksum: str | None = None
    """Of the archive: `md5:` or `sha256:` and the digest in hexadecimal."""
    unpacked_bytes: int | None = None
    """About what it takes on the disk, without the archive."""


@cache
def tracks(dataset: str) -> tuple[Entry, ...]:
    """All published tracks of a dataset in the authors' order; none if it has no list."""
    return tuple(Entry(row["id"], row.get("partition")) for row in _published(dataset))


@cache
def roles(dataset: str) -> dict[str, str]:
    """The roles in which the field uses a dataset's tracks, by id; empty where it has no custom."""
    return {row["id"]: row["role"] for row in _published(dataset) if "role" in row}


@cache
def checksums(dataset: str) -> dict[str, str]:
    """The published MD5 of a track's only file, by track; empty where none are published."""
    return {row["id"]: row["md5"] for row in _published(dataset) if "md5" in row}


@cache
def medleydb_stems() -> dict[str, tuple[Stem, ...]]:
    """The stems of every MedleyDB track."""
    stems: dict[str, list[Stem]] = {}
    for row in _rows("medleydb_stems.csv", "track", "filename", "instrument"):
        stems.setdefault(row["track"], []).append(Stem(row["filename"], row["instrument"]))
    return {track: tuple(found) for track, found in stems.items()}


@cache
def medleydb_artists() -> dict[str, str]:
    """MedleyDB's artists by the part of the track's name before the underscore."""
    return {
        row["track"].split("_")[0]: row["artist"]
        for row in _rows("medleydb.csv", "track", "artist")
    }


@cache
def musdb18() -> tuple[PublishedSong, ...]:
    """All songs of MUSDB18 and MUSDB18-HQ, by name."""
    fields = PublishedSong._fields
    return tuple(
        PublishedSong(**{field: row[field] for field in fields})
        for row in _rows("musdb18.csv", *fields)
    )


@cache
def facts(dataset: str) -> dict[str, Facts]:
    """Length and form of every published track, by id; empty where none are published."""
    return {
        row["id"]: Facts(
            _seconds(row, dataset),
            round(_number(row["channels"], dataset)),
            round(_number(row["sample_rate"], dataset)),
        )
        for row in _published(dataset)
        if "channels" in row
    }


@cache
def columns(dataset: str) -> dict[str, dict[str, str]]:
    """All that the list of a dataset says of its tracks, by id and column (MIR-1K: singer, sex, ...)."""
    spec = _tables().get(dataset, {}).get("tracks", {})
    return {row[spec["id"]]: row for row in _rows(spec["file"], spec["id"])} if spec else {}


def collections() -> tuple[str, ...]:
    """The names of all collections that can be obtained or asked for."""
    return tuple(_collections())


def collection(name: str) -> Collection:
    """Where a collection can be had, under which terms; raises UserError for an unknown name."""
    known = _collections()
    if name not in known:
        raise UserError(f"{name}: not a known collection; known are {', '.join(known)}")
    return known[name]


def how_to_get(name: str) -> str:
    """One line for somebody who lacks a collection."""
    found = collection(name)
    return found.apply or f"origin: download in params.yaml, or {found.urls[0]} ({found.page})"


@cache
def _collections() -> dict[str, Collection]:
    fields = {field for field in Collection._fields if field != "name"}
    found = {
        name: {"name": name, **{key: table[key] for key in fields & table.keys()}}
        for name, table in _tables().items()
    }
    try:
        return TypeAdapter(dict[str, Collection]).validate_python(found)
    except ValidationError as error:
        raise UserError(f"{_COLLECTIONS}: {first_fault(error)}; {_AGAIN}") from None


@cache
def _tables() -> dict[str, dict[str, Any]]:
    return read_toml(_COLLECTIONS, dict[str, dict[str, Any]], _AGAIN)


def _published(dataset: str) -> list[dict[str, str]]:
    """The rows of a dataset's list by the names that `tracks` in collections.toml gives the columns.

    A name in that table is a column of the file, a number the same value for every track.
    """
    columns = dict(_tables().get(dataset, {}).get("tracks", {}))
    file = columns.pop("file", "")
    rows = _rows(file, *(one for one in columns.values() if isinstance(one, str))) if file else []
    return [
        {name: row[one] if isinstance(one, str) else str(one) for name, one in columns.items()}
        for row in rows
    ]


def _rows(name: str, *columns: str) -> list[dict[str, str]]:
    """The rows of a file that has at least these columns, by `order` where it has one."""
    path = _FOLDER / name
    try:
        rows = list(csv.DictReader(read_text(path, _AGAIN).splitlines(), strict=True))
    except csv.Error as error:
        raise UserError(f"{path}: not a table: {error}; {_AGAIN}") from None
    for row in rows:
        if None in row or None in row.values() or not row.keys() >= set(columns):
            raise UserError(f"{path}: a row with other columns: {shown(str(row))}; {_AGAIN}")
    return sorted(rows, key=lambda row: _number(row["order"], name) if "order" in row else 0)


def _seconds(row: dict[str, str], dataset: str) -> float:
    if "seconds" in row:
        return _number(row["seconds"], dataset)
    return _number(row["samples"], dataset) / _number(row["sample_rate"], dataset)


def _number(cell: str, name: str) -> float:
    """A number of a list; UserError when it is none."""
    try:
        return float(cell)
    except ValueError:
        raise UserError(f"{_FOLDER}: {name}: not a number: {shown(cell)}; {_AGAIN}") from None
