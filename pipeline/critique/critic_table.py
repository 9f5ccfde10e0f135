"""results/critics.csv, a line for each critic, seed, group of recordings, and whose estimates."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.files import write_text
from pipeline.text_files import read_table

ABOUT = ["model", "seed", "critic", "role", "dataset", "estimates"]
NUMBERS = ["excerpts", "distance", "correlation"]
COLUMNS = ABOUT + NUMBERS
ALL = "all"
"""In place of a dataset: the unlabelled recordings of all of them, as training draws from them."""
EXCERPTS = 256
"""Of a group at most, evenly spaced over its tracks."""


def save(frame: pd.DataFrame, path: Path) -> None:
    """Write as CSV, four digits of a distance and of a correlation; a NaN is an empty cell."""
    rounded = frame.assign(
        distance=frame["distance"].map(lambda value: f"{value:.4g}"),
        correlation=frame["correlation"].map(
            lambda value: "" if np.isnan(value) else f"{value:.4f}"
        ),
    )
    write_text(path, rounded.to_csv(index=False, lineterminator="\n"))


def load(path: Path, again: str, absent: str) -> pd.DataFrame:
    """Read what `save` wrote. Raises UserError when it is missing or damaged."""
    frame = pd.DataFrame(read_table(path, COLUMNS, again, absent), columns=COLUMNS, dtype=str)
    for name in ("seed", *NUMBERS):
        try:
            frame[name] = frame[name].map(lambda cell: float(cell or "nan"))
        except ValueError as error:
            raise UserError(f"{path}: {name}: expected numbers ({error}); {again}") from None
    return frame
