"""The curves of training in one table that DVC plots: results/curves.csv."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from pipeline.errors import UserError
from pipeline.files import write_text

COLUMNS = ["model", "curve", "step", "value"]
ORDER = ["validation/L_s", "training/L_s", "training/L_u", "training/L_add"]
"""What people look at first; the others follow by name."""

HISTORY = "history"


def collect(models: Path, names: Iterable[str]) -> pd.DataFrame | None:
    """Rows of COLUMNS from `models`/<name>/history; None when a model has no history there.

    A curve is called as its file: `training/L_s`; steps are updates of the separator. The total `L`
    is left out: it is a weighted sum of the others, whose weights differ between models. Raises
    UserError for a file that is no curve.
    """
    parts = []
    for name in names:
        folder = models / name / HISTORY
        found = sorted(folder.rglob("*.tsv"))
        if not found:
            return None
        parts += [_read(path, folder, name) for path in found if path.stem != "L"]
    table = pd.concat(parts, ignore_index=True)
    ranks = {curve: f"{k}" for k, curve in enumerate(ORDER)}
    return table.sort_values(
        "curve", key=lambda curves: curves.map(lambda name: ranks.get(name, name)), kind="stable"
    )


def save(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV, values with six digits: more differ between processors."""
    rounded = table.assign(value=table["value"].map(lambda value: f"{value:.6g}"))
    write_text(path, rounded.to_csv(index=False, lineterminator="\n"))


def _read(path: Path, folder: Path, model: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, sep="\t")[["step", path.stem]].set_axis(["step", "value"], axis=1)
        table = table.astype({"step": int, "value": float})
    except (ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: not a curve of training ({reason}); delete models/{model} and run `dvc repro`"
        ) from None
    # A run that was killed and went on may have written a step twice.
    table = table.drop_duplicates("step", keep="last")
    curve = path.relative_to(folder).with_suffix("").as_posix()
    return table.assign(model=model, curve=curve)[COLUMNS]
