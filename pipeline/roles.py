"""data/split.csv: which track has which role. Written by `datasets.split`, read by all after it."""

import io
from pathlib import Path

import pandas as pd

from pipeline.errors import UserError
from pipeline.files import write_text
from pipeline.tracks import Role

COLUMNS = ["dataset", "track", "artist", "role", "has_vocals"]

_BOOLEANS = {"True": True, "False": False}
_AGAIN = "run `python -m stages.split` again"


def save_split(frame: pd.DataFrame, path: Path) -> None:
    """Write as CSV."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def load_split(path: Path) -> pd.DataFrame:
    """Read what `save_split` wrote: text columns but for the boolean has_vocals.

    Raises UserError when the file is missing or holds other columns, an unknown role, or a track
    twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        # A track may be named "NA" or "10161": nothing is a number or missing here.
        frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run `python -m stages.split` first") from None
    except (ValueError, UnicodeDecodeError):
        raise UserError(f"{path}: not a CSV file; {_AGAIN}") from None
    if list(frame.columns) != COLUMNS:
        found = ", ".join(map(str, frame.columns))
        raise UserError(f"{path}: expected columns {', '.join(COLUMNS)}, found {found}; {_AGAIN}")
    for column, allowed in (("role", list(Role)), ("has_vocals", list(_BOOLEANS))):
        wrong = frame.loc[~frame[column].isin(allowed), column]
        if len(wrong):
            raise UserError(
                f"{path}, line {int(wrong.index[0]) + 2}: {column}: expected"
                f" {' or '.join(allowed)}, found {wrong.iloc[0]!r}; {_AGAIN}"
            )
    twice = frame[frame.duplicated(["dataset", "track"])]
    if len(twice):
        raise UserError(
            f"{path}, line {int(twice.index[0]) + 2}: {twice['track'].iloc[0]} is in it twice;"
            f" {_AGAIN}"
        )
    return frame.assign(has_vocals=frame["has_vocals"].map(_BOOLEANS).astype(bool))


def check_roles(frame: pd.DataFrame, needs_unlabelled: bool) -> None:
    """Raise UserError when a role that the experiment needs has no track."""
    needed = [Role.SUPERVISED, Role.VALIDATION, Role.TEST]
    if needs_unlabelled:
        needed.insert(1, Role.UNLABELLED)
    missing = [str(role) for role in needed if role not in set(frame["role"])]
    if missing:
        present = ", ".join(dict.fromkeys(frame["dataset"])) or "no dataset"
        raise UserError(
            f"split: no track is {' or '.join(missing)} in {present}: DSD100 and MUSDB18 give the"
            " supervised tracks, the other datasets and folders of unpaired recordings the unlabelled"
            " ones that models with critics or beta need; add a dataset or tracks, or leave out those"
            " models"
        )
