"""data/split.csv: which track has which role. Written by `datasets.split`, read by all after it."""

import math
from pathlib import Path

import pandas as pd

from pipeline.errors import UserError
from pipeline.files import write_text
from pipeline.sections import NAME
from pipeline.text_files import printed, read_table, shown
from pipeline.tracks import Role

COLUMNS = ["dataset", "track", "artist", "role", "has_vocals", "weight"]
"""The weight is that of the dataset in params.yaml, NaN (an empty cell) where it has none."""

_BOOLEANS = {"True": True, "False": False}
_RUN = "run `python -m stages.split`"
_AGAIN = f"delete it and {_RUN}"


def save_split(frame: pd.DataFrame, path: Path) -> None:
    """Write as CSV."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def load_split(path: Path) -> pd.DataFrame:
    """Read what `save_split` wrote: text columns but for the boolean has_vocals and the number weight.

    Raises UserError when the file is missing or holds other columns, an unknown role, a weight that is
    no positive number, or a track twice.
    """
    rows = read_table(path, COLUMNS, _AGAIN, f"{_RUN} first")
    # A track may be named "NA" or "10161": nothing is a number or missing here.
    frame = pd.DataFrame(rows, columns=COLUMNS, dtype=str)
    nameless = ~frame["dataset"].str.fullmatch(NAME) | (frame["track"] == "")
    if nameless.any():
        where = f"{path}, line {int(nameless.argmax()) + 2}"
        raise UserError(f"{where}: not the name of a dataset and a track; {_AGAIN}")
    for column, allowed in (("role", list(Role)), ("has_vocals", list(_BOOLEANS))):
        wrong = frame.loc[~frame[column].isin(allowed), column]
        if len(wrong):
            raise UserError(
                f"{path}, line {int(wrong.index[0]) + 2}: {column}: expected"
                f" {' or '.join(allowed)}, found {shown(wrong.iloc[0])}; {_AGAIN}"
            )
    weight = frame["weight"].map(_number).astype(float)
    wrong = frame.loc[(frame["weight"] != "") & ~(weight.between(0, math.inf, "neither")), "weight"]
    if len(wrong):
        raise UserError(
            f"{path}, line {int(wrong.index[0]) + 2}: weight: expected a positive number or nothing,"
            f" found {shown(wrong.iloc[0])}; {_AGAIN}"
        )
    twice = frame[frame.duplicated(["dataset", "track"])]
    if len(twice):
        raise UserError(
            f"{path}, line {int(twice.index[0]) + 2}: {printed(twice['track'].iloc[0])} is in it twice;"
            f" {_AGAIN}"
        )
    has_vocals = frame["has_vocals"].map(_BOOLEANS).astype(bool)
    return frame.assign(has_vocals=has_vocals, weight=weight)


def _number(text: str) -> float:
    """The number of a cell; NaN where there is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def check_roles(frame: pd.DataFrame, needs_unlabelled: bool) -> None:
    """Raise UserError when a role that the experiment needs has no track."""
    needed = [Role.SUPERVISED, Role.VALIDATION, Role.TEST]
    if needs_unlabelled:
        needed.insert(1, Role.UNLABELLED)
    missing = [str(role) for role in needed if role not in set(frame["role"])]
    if missing:
        present = ", ".join(dict.fromkeys(frame["dataset"])) or "no dataset"
        raise UserError(
            f"params.yaml: datasets: no track is {' or '.join(missing)} in {present}: where `roles` does"
            " not name them, DSD100 and MUSDB18 give the supervised tracks, the other datasets and"
            " folders of unpaired recordings the unlabelled ones that models with critics, beta, a"
            " teacher, mixit or solo_mixing need; add a dataset, tracks or roles, or leave out those"
            " models"
        )
