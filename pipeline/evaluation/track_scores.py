"""The file of scores per track, results/tracks/<row>.csv: a line per track and source."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from pipeline.errors import UserError
from pipeline.evaluation.metrics import MEASURED
from pipeline.evaluation.scoring import Score
from pipeline.files import write_text
from pipeline.params import REFERENCE_ROWS
from pipeline.tracks import TrackName

KEY = ["dataset", "track", "source"]
COLUMNS = [*KEY, *MEASURED, "note"]


def tracks_frame(scored: Iterable[tuple[TrackName, Sequence[Score]]]) -> pd.DataFrame:
    """Rows of COLUMNS from tracks and the scores of their sources."""
    rows = [
        (*track, score.source, *(score.values[name] for name in MEASURED), score.note)
        for track, scores in scored
        for score in scores
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def save_tracks(frame: pd.DataFrame, path: Path) -> None:
    """Write scores per track as CSV: dB with two decimals, empty where there is no score."""
    rounded = frame[COLUMNS].copy()
    rounded[MEASURED] = rounded[MEASURED].round(2) + 0.0  # no -0.00
    write_text(path, rounded.to_csv(index=False, float_format="%.2f", lineterminator="\n"))


def load_tracks(path: Path) -> pd.DataFrame:
    """Read what `save_tracks` wrote. Raises UserError when it is missing or damaged."""
    rerun = "delete it and run `dvc repro`"
    try:
        # As text first: a track may be called "007" or "nan".
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        frame[MEASURED] = frame[MEASURED].replace("", "nan").astype(float)
    except FileNotFoundError:
        stage = "reference" if path.stem in REFERENCE_ROWS else "evaluate"
        raise UserError(f"{path}: no such file; run `dvc repro {stage}@{path.stem}`") from None
    except (ValueError, KeyError) as error:  # pandas' parser errors are ValueErrors
        raise UserError(f"{path}: not a table of scores ({error}); {rerun}") from None
    if list(frame.columns) != COLUMNS:
        raise UserError(f"{path}: expected the columns {','.join(COLUMNS)}; {rerun}")
    if frame.empty:
        raise UserError(f"{path}: holds no track; check that data/split.csv has any in role test")
    if frame.duplicated(KEY).any():
        twice = " / ".join(frame.loc[frame.duplicated(KEY), KEY].iloc[0])
        raise UserError(f"{path}: {twice} is there twice; {rerun}")
    return frame
