"""Published facts about the datasets, shipped as CSV files (sources: README.md beside them).

The tracks in the order in which the paper's authors cut them into roles, MedleyDB's instruments,
iKala's checksums. Nothing here depends on what a user has on disk.
"""

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Entry(NamedTuple):
    """A published track."""

    id: str
    """As the dataset's reader names it."""
    partition: str | None


class Stem(NamedTuple):
    """A stem of MedleyDB."""

    filename: str
    instrument: str


@cache
def tracks(dataset: str) -> tuple[Entry, ...]:
    """All published tracks of a dataset in the authors' order; none if it has no list."""
    match dataset:
        case "DSD100":
            entries = [Entry(row["folder"], row["partition"]) for row in _rows("dsd100.csv")]
        case "MedleyDB":
            entries = [Entry(row["track"], None) for row in _rows("medleydb.csv")]
        case "CCMixter":
            entries = [Entry(row["folder"], None) for row in _rows("ccmixter.csv")]
        case "iKala":
            entries = [Entry(row["clip"], None) for row in _rows("ikala.csv")]
        case _:
            entries = []
    return tuple(entries)


@cache
def checksums(dataset: str) -> dict[str, str]:
    """The published MD5 of a track's only file, by track; empty where none are published."""
    if dataset != "iKala":
        return {}
    return {row["clip"]: row["md5"] for row in _rows("ikala.csv")}


@cache
def medleydb_stems() -> dict[str, tuple[Stem, ...]]:
    """The stems of every MedleyDB track."""
    stems: dict[str, list[Stem]] = {}
    for row in _rows("medleydb_stems.csv"):
        stems.setdefault(row["track"], []).append(Stem(row["filename"], row["instrument"]))
    return {track: tuple(found) for track, found in stems.items()}


@cache
def medleydb_artists() -> dict[str, str]:
    """MedleyDB's artists by the part of the track's name before the underscore."""
    return {row["track"].split("_")[0]: row["artist"] for row in _rows("medleydb.csv")}


def _rows(name: str) -> list[dict[str, str]]:
    """The rows of a file, by `order` where it has one."""
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return sorted(rows, key=lambda row: int(row.get("order", 0)))
