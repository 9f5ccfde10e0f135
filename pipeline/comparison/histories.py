"""The curves of training in one table that DVC plots: results/curves.csv."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import UserError, in_one_line
from pipeline.files import write_text
from pipeline.params import of_seed
from pipeline.text_files import read_table, remembered, shown

COLUMNS = ["model", "seed", "curve", "step", "value"]
ORDER = ["validation/L_s", "training/L_s", "training/L_add"]
"""What people look at first; the others follow by name."""
UNPLOTTED = ("L", "L_u")
"""They compare nothing. L is a sum of the others with weights that differ between models. L_u is what
the critics give the estimates, and a critic's scores have an arbitrary offset: it moves L_u from
epoch to epoch, and cancels in the distance, which has it on both sides."""

HISTORY = "history"


def all_curves(models: Path, names: Iterable[str], seeds: Sequence[int]) -> pd.DataFrame | None:
    """Rows of COLUMNS of the models `models`/<name>/seed-<n>; None when one has no history.

    Raises UserError for a file that is no curve.
    """
    parts = []
    for name, seed in product(names, seeds):
        if not (curves := read(of_seed(models / name, seed))):
            return None
        parts += [
            points.assign(model=name, seed=seed, curve=curve) for curve, points in curves.items()
        ]
    table = pd.concat(parts, ignore_index=True)[COLUMNS]
    ranks = {curve: f"{k}" for k, curve in enumerate(ORDER)}
    return table.sort_values(
        "curve", key=lambda curves: curves.map(lambda name: ranks.get(name, name)), kind="stable"
    )


def processors(models: Path, name: str, seeds: Sequence[int]) -> dict[str, list[int]]:
    """What trained a model with which of its seeds, where that can decide their last bits."""
    found: dict[str, list[int]] = {}
    for seed in seeds:
        config = remembered(of_seed(models / name, seed) / "config.json", dict[str, Any]) or {}
        if isinstance(trained_on := config.get("computed_on"), str):
            found.setdefault(trained_on, []).append(seed)
    return found


def read(model: Path) -> dict[str, pd.DataFrame]:
    """The curves in the folder of a model with one seed, by the name of their file, `training/L_s`.

    Columns step (updates of the separator) and value. All but UNPLOTTED. Raises UserError for a file
    that is no curve.
    """
    curves, folder = {}, model / HISTORY
    for path in sorted(folder.rglob("*.tsv")):
        if path.stem in UNPLOTTED:
            continue
        again = f"delete {model} and retrain with `dvc repro train@{model.parent.name}`"
        rows = read_table(path, ["step", path.stem], again, mark="\t")
        points = pd.DataFrame(
            [_point(path, step, value, again) for step, value in rows], columns=["step", "value"]
        )
        # A run that was killed and went on may have written a step twice.
        name = path.relative_to(folder).with_suffix("").as_posix()
        curves[name] = points.drop_duplicates("step", keep="last")
    return curves


def _point(path: Path, step: str, value: str, again: str) -> tuple[int, float]:
    try:
        found = int(step), float(value)
    except ValueError:
        found = -1, np.nan
    if not 0 <= found[0] < 2**53 or not np.isfinite(found[1]):
        cells = f"{shown(step)} and {shown(value)}"
        raise UserError(f"{path}: expected a step and a finite number, found {cells}; {again}")
    return found


def save(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV, values with six digits: more differ between processors."""
    rounded = table.assign(value=table["value"].map(lambda value: f"{value:.6g}"))
    write_text(path, rounded.to_csv(index=False, lineterminator="\n"))


def load(path: Path, again: str, absent: str) -> pd.DataFrame:
    """Read what `save` wrote. Raises UserError when it is missing or damaged."""
    frame = pd.DataFrame(read_table(path, COLUMNS, again, absent), columns=COLUMNS, dtype=str)
    try:
        return frame.astype({"seed": int, "step": int, "value": float})
    except ValueError as error:
        raise UserError(f"{path}: expected numbers ({in_one_line(error)}); {again}") from None
