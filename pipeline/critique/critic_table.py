"""The room's files: results/critics.csv, a line for each critic, seed, group of recordings, and whose
estimates; results/likeness.csv, a line for each model, seed, test set and source."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.files import write_text
from pipeline.text_files import read_table

ABOUT = ["model", "seed", "critic", "role", "dataset", "estimates"]
NUMBERS = ["excerpts", "distance", "correlation"]
COLUMNS = ABOUT + NUMBERS
LIKENESS = [
    *("model", "seed", "test_set", "source"),
    *("excerpts", "frechet", "floor", "mixture", "leakage"),
]
TEXT = {"model", "critic", "role", "dataset", "estimates", "test_set", "source"}
ALL = "all"
"""In place of a dataset: the unlabelled recordings of all of them, as training draws from them."""
EXCERPTS = 256
"""Of a group at most, evenly spaced over its tracks."""


def save(frame: pd.DataFrame, path: Path) -> None:
    """Write either as CSV, four digits of each number; a NaN is an empty cell."""
    numbers = [name for name in frame if pd.api.types.is_float_dtype(frame[name])]
    rounded = frame.assign(**{str(name): frame[name].map(_digits) for name in numbers})
    write_text(path, rounded.to_csv(index=False, lineterminator="\n"))


def _digits(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4g}"


def load(
    path: Path, again: str, absent: str, columns: Sequence[str] = tuple(COLUMNS)
) -> pd.DataFrame:
    """Read what `save` wrote. Raises UserError when it is missing or damaged."""
    frame = pd.DataFrame(read_table(path, columns, again, absent), columns=list(columns), dtype=str)
    for name in columns:
        if name not in TEXT:
            try:
                frame[name] = frame[name].map(lambda cell: float(cell or "nan"))
            except ValueError as error:
                raise UserError(f"{path}: {name}: expected numbers ({error}); {again}") from None
    return frame
