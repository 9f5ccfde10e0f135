"""Which weights the scores of a row are of: results/tracks/<row>.sha256 beside <row>.csv.

A model's name says little: the folder of that name may have been trained again since, or copied from
elsewhere. The file is one of `sha256sum`, a line per seed, so that `sha256sum -c
results/tracks/*.sha256` says whether the models here are those that were scored.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from shlex import quote

import pandas as pd

from pipeline.errors import UserError
from pipeline.evaluation.track_scores import save_tracks
from pipeline.files import write_text
from pipeline.params import OF_SEED, of_seed
from pipeline.separation.model_folder import WEIGHTS, digest
from pipeline.text_files import read_text, shown

SUFFIX = ".sha256"
_LINE = re.compile(rf"([0-9a-f]{{64}})  (?:.*/)?{OF_SEED}([0-9]{{1,10}})/{re.escape(WEIGHTS)}")


def sums_of(folders: Iterable[Path]) -> str:
    """The lines of sha256sum for the weights in a model's folders, one a seed.

    Raises UserError when a folder has none.
    """
    lines = []
    for folder in folders:
        if not (file := folder / WEIGHTS).exists():
            raise UserError(f"{folder}: not a model folder: no {WEIGHTS}")
        lines.append(f"{digest(file)}  {file.as_posix()}\n")
    return "".join(lines)


def save(frame: pd.DataFrame, scores: Path, sums: str) -> None:
    """Write scores (`track_scores.save_tracks`) and the sums of the weights that they are of.

    sums: empty for a row without weights. Whoever is killed in between leaves scores of unknown
    weights, never of others.
    """
    beside = scores.with_suffix(SUFFIX)
    beside.unlink(missing_ok=True)
    save_tracks(frame, scores)
    if sums:
        write_text(beside, sums)


def load(scores: Path) -> dict[int, str]:
    """By seed the SHA-256 of the weights whose scores are in the file `scores`.

    Raises UserError when that is not known, or the file that says it is damaged.
    """
    path, stage = scores.with_suffix(SUFFIX), quote(f"evaluate@{scores.stem}")
    run = f"run `dvc repro {stage}`"
    found = {}
    for line in read_text(path, f"delete it and {run}", run).splitlines():
        if not (match := _LINE.fullmatch(line)) or int(match[2]) in found:
            expected = f"expected a SHA-256 and the weights of a seed, found {shown(line)}"
            raise UserError(f"{path}: {expected}; delete it and {run}")
        found[int(match[2])] = match[1]
    if not found:
        raise UserError(f"{path}: holds no seed; delete it and {run}")
    return found


def check(model: Path, seed: int, scores: Path) -> None:
    """UserError when the weights of a model's seed are not those whose scores are in `scores`."""
    weights = of_seed(model, seed) / WEIGHTS
    if weights.exists() and load(scores).get(seed) != digest(weights):
        raise UserError(
            f"{weights}: not the weights whose scores are in {scores}; run `dvc repro report`"
        )


def scored_as(weights: Path, tracks: Path) -> tuple[str, int] | None:
    """The row and the seed in the folder `tracks` that are the scores of a file of weights."""
    own = digest(weights)
    for path in sorted(tracks.glob(f"*{SUFFIX}")):
        for seed, found in load(path.with_suffix(".csv")).items():
            if found == own:
                return path.stem, seed
    return None
