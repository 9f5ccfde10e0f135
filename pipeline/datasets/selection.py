"""Some of a collection's tracks, by what is known of them: `datasets.<name>.select` and `.roles`."""

from collections.abc import Mapping, Sequence

from pipeline.datasets import catalogue
from pipeline.errors import UserError, listing
from pipeline.text_files import printed
from pipeline.tracks import Track

Selection = Mapping[str, Sequence[str]]
"""Column to values (`params.Selection`)."""

OF_ANY = ("artist", "track")
"""The columns that tracks have without a published list."""


def chosen(
    tracks: Sequence[Track],
    collection: str,
    selection: Selection,
    key: str,
    within: Selection | None = None,
) -> list[Track]:
    """The tracks that have one of the values in every column of the selection.

    collection: whose list has the other columns. key: names the selection in params.yaml. within: the
    selection that the tracks are of. Raises UserError for a column or a value that neither the list nor
    the tracks know, and where no track can have all that is asked for: a slip of the pen.
    """
    ids = [track.id for track in tracks]
    known = facts(collection, {track.id: track.artist for track in tracks})
    if within:
        known = {track: known[track] for track in matching(known, within)}
    _check(known, selection, f"params.yaml: {key}")
    kept = set(matching(known, selection)) & set(ids)
    return [track for track in tracks if track.id in kept]


def published(collection: str, selection: Selection) -> set[str]:
    """The ids of a collection's list that a selection takes, whether or not they are there."""
    return set(matching(facts(collection, {}), selection))


def facts(collection: str, artists: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What is known of each track, by id: of the published ones, and of those with `artists`."""
    rows = catalogue.columns(collection)
    return {
        track: {
            **rows.get(track, {}),
            "track": track,
            "artist": artists.get(track, _artist(rows.get(track, {}))),
        }
        for track in [*rows, *(track for track in artists if track not in rows)]
    }


def matching(known: Mapping[str, Mapping[str, str]], selection: Selection) -> list[str]:
    """The ids of the tracks that a selection takes."""
    return [
        track
        for track, row in known.items()
        if all(row.get(column) in values for column, values in selection.items())
    ]


def _artist(row: Mapping[str, str]) -> str:
    return row.get("artist") or row.get("singer", "")


def _check(known: Mapping[str, Mapping[str, str]], selection: Selection, key: str) -> None:
    columns = dict.fromkeys([*OF_ANY, *(column for row in known.values() for column in row)])
    for column, values in selection.items():
        if column not in columns:
            raise UserError(f"{key}: expected one of {listing(columns)}, found {printed(column)}")
        there = dict.fromkeys(row.get(column, "") for row in known.values())
        for value in values:
            if value not in there:
                raise UserError(
                    f"{key}.{column}: no track has {printed(value) or repr(value)};"
                    f" there are {listing(sorted(there), 20)}"
                )
    if not matching(known, selection):
        raise UserError(
            f"{key}: no track has one of the values in every column ({', '.join(selection)}); leave out"
            " one of them"
        )
