"""The file of scores per track, results/tracks/<row>.csv: a line per track and source."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.evaluation.metrics import HEADLINE, MEASURED, named
from pipeline.evaluation.scoring import SILENT_ESTIMATE, UNSCORED, Score
from pipeline.files import write_text
from pipeline.params import REFERENCE_ROWS
from pipeline.text_files import printed, read_table, read_text, shown
from pipeline.tracks import TrackName

KEY = ["seed", "dataset", "track", "source"]
NO_SEED = -1
"""In a frame, where the file has an empty cell: nothing of a reference row was trained."""
COLUMNS = [*KEY, *MEASURED, "note"]
MOST = 10_000
"""dB. No ratio of two numbers in double precision is larger."""


def tracks_frame(scored: Iterable[tuple[int, TrackName, Sequence[Score]]]) -> pd.DataFrame:
    """Rows of COLUMNS from seeds (or NO_SEED), tracks and the scores of their sources."""
    rows = [
        (seed, *track, score.source, *(score.values[name] for name in MEASURED), score.note)
        for seed, track, scores in scored
        for score in scores
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def save_tracks(frame: pd.DataFrame, path: Path) -> None:
    """Write scores per track as CSV: dB with two decimals, empty where there is no score."""
    rounded = frame[COLUMNS].copy()
    rounded[MEASURED] = rounded[MEASURED].round(2) + 0.0  # no -0.00
    rounded["seed"] = rounded["seed"].map(lambda seed: "" if seed == NO_SEED else str(seed))
    write_text(path, rounded.to_csv(index=False, float_format="%.2f", lineterminator="\n"))


def load_tracks(path: Path, *, earlier: bool = False) -> pd.DataFrame:
    """Read what `save_tracks` wrote. Raises UserError when it is missing or damaged.

    earlier: accept a file from before seeds, whose seed is NO_SEED, or from before some of the
    metrics, whose scores are NaN. So a revision of git can be compared with a later one.
    """
    stage = "reference" if path.stem in REFERENCE_ROWS else "evaluate"
    name = quote(f"{stage}@{path.stem}")
    run = f"run `dvc repro {name}`"
    rerun = f"delete it and {run}"
    header = read_text(path, rerun, run).partition("\n")[0].strip().split(",")
    if lacking := _from_before(header):
        if not earlier:
            raise UserError(f"{path}: scores from before {' and '.join(lacking)}; {run}")
    else:
        header = COLUMNS
    rows = [dict(zip(header, row, strict=True)) for row in read_table(path, header, rerun, run)]
    # Names stay text: a track may be called "007" or "nan".
    frame = pd.DataFrame(
        [
            (
                _seed(path, row, rerun) if "seed" in row else NO_SEED,
                *(row[name] for name in KEY[1:]),
                *(
                    _score(path, row, metric, rerun) if metric in row else np.nan
                    for metric in MEASURED
                ),
                row["note"],
            )
            for row in rows
        ],
        columns=COLUMNS,
    )
    if frame.empty:
        raise UserError(f"{path}: holds no track; check that data/split.csv has any in role test")
    if frame.duplicated(KEY).any():
        twice = printed(" / ".join(map(str, frame.loc[frame.duplicated(KEY), KEY].iloc[0])))
        raise UserError(f"{path}: {twice} is there twice; {rerun}")
    return frame


def _from_before(header: list[str]) -> list[str]:
    """What a file of an earlier version lacks, in words; nothing where it is no such file."""
    measured = [name for name in MEASURED if name in header]
    of_rows = header if "seed" in header else ["seed", *header]
    if HEADLINE not in measured or of_rows != [*KEY, *measured, "note"]:
        return []
    lacking = [] if "seed" in header else ["seeds (no column seed)"]
    missing = [name for name in MEASURED if name not in measured]
    return lacking + [f"the metrics {', '.join(missing)}"] * bool(missing)


def _seed(path: Path, row: Mapping[str, str], rerun: str) -> int:
    """The seed that a row was trained with; none in a reference row alone."""
    cell, trained = row["seed"], path.stem not in REFERENCE_ROWS
    if cell.isascii() and cell.isdecimal() == trained and len(cell) <= 10:
        return int(cell) if trained else NO_SEED
    expected = "a seed" if trained else "none"
    raise UserError(f"{path}: seed: expected {expected}, found {shown(cell)}; {rerun}")


def _score(path: Path, row: Mapping[str, str], metric: str, rerun: str) -> float:
    """A score in dB; NaN, for which the cell is empty, in the rows of tracks without scores, and of a
    metric that is not defined everywhere."""
    note, cell, problem = row["note"], row[metric], ""
    try:
        value = float(cell or "nan")
    except ValueError:
        value, problem = np.nan, f"expected a number, found {shown(cell)}"
    if note not in ("", SILENT_ESTIMATE, *UNSCORED):
        problem = f"unknown note {shown(note)}"
    elif note in UNSCORED and cell:
        problem = f"a score of a track without scores ({note})"
    elif note in UNSCORED or (not cell and not named(metric).everywhere):
        pass
    elif np.isnan(value) or MOST < abs(value) < np.inf:
        problem = f"expected a score in dB, found {shown(cell)}"
    if problem:
        name = printed(" / ".join(row.get(key, "") for key in KEY).removeprefix(" / "))
        raise UserError(f"{path}: {name}: {problem}; {rerun}")
    return value
