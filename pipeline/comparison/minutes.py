"""results/minutes.csv: what unpaired recordings gain, by the minutes of paired and of unpaired ones.

A sweep is a number of models in params.yaml that differ in `supervised_minutes` or `unlabelled_minutes`.
The gain of each is its difference to the purely supervised model with the same paired minutes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.comparison.aggregation import by_test_set, unseen_datasets
from pipeline.comparison.intervals import difference
from pipeline.comparison.long_table import artist_numbers
from pipeline.comparison.score_arrays import by_model, score_columns
from pipeline.comparison.ways_in_words import in_words
from pipeline.datasets.inventory import Inventory
from pipeline.evaluation.metrics import HEADLINE
from pipeline.evaluation.track_scores import KEY
from pipeline.files import write_text
from pipeline.text_files import read_table
from pipeline.tracks import Role
from pipeline.ways import Model

PAIRED, UNPAIRED = "supervised_minutes", "unlabelled_minutes"
COLUMNS = [
    *("test_set", "source", "metric", "way", "model", "baseline", PAIRED, UNPAIRED),
    *("seeds", "tracks", "artists", "gain", "low", "high"),
]


def gains(
    frame: pd.DataFrame,
    models: Mapping[str, Model],
    sources: Sequence[str],
    split: pd.DataFrame,
    minutes: Mapping[Role, float],
    confidence: float,
) -> pd.DataFrame:
    """The gain of every model over the supervised one with the same paired minutes: rows of COLUMNS.

    frame: `aggregation.combine`; minutes: `minutes_of`, for the models that use all. gain, low, high: of
    the main metric in dB, tracks paired, seeds not; one interval each, not corrected for their number.
    No rows where no model says how many minutes it uses, and none of a model whose paired minutes no
    supervised model has.
    """
    rows = []
    if any(_of(model) != (None, None) for model in models.values()):
        artists = artist_numbers(frame, split)
        pairs, ways = counterparts(models), in_words(models)
        for name, part in by_test_set(frame, unseen_datasets(split)).items():
            tracks = part.loc[part["model"] == part["model"].iloc[0], KEY[1:3]].drop_duplicates()
            of_tracks = [artists[one] for one in tracks.itertuples(index=False, name=None)]
            values = by_model(part, sources)
            for model, supervised in pairs.items():
                found = difference(values[model], values[supervised], of_tracks, confidence)
                decibels = np.round([found.mean, found.low, found.high]) / 100 + 0.0
                paired, unpaired = _of(models[model])
                for column, (source, metric) in enumerate(score_columns(sources)):
                    if metric == HEADLINE:
                        rows.append(
                            (
                                *(name, source, metric, ways[model], model, supervised),
                                round(minutes[Role.SUPERVISED] if paired is None else paired, 1),
                                round(
                                    minutes[Role.UNLABELLED] if unpaired is None else unpaired, 1
                                ),
                                *(len(values[model]), found.tracks[column], found.artists[column]),
                                *decibels[:, column],
                            )
                        )
    return pd.DataFrame(rows, columns=COLUMNS)


def save(frame: pd.DataFrame, path: Path) -> None:
    """Write as CSV; a cell without a value is empty."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def load(path: Path, again: str, absent: str) -> pd.DataFrame:
    """Read what `save` wrote. Raises UserError when it is missing or damaged."""
    frame = pd.DataFrame(read_table(path, COLUMNS, again, absent), columns=COLUMNS, dtype=str)
    for name in COLUMNS[COLUMNS.index(PAIRED) :]:
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame


def minutes_of(split: pd.DataFrame, inventories: Sequence[Inventory]) -> dict[Role, float]:
    """How many minutes of recordings have each role."""
    seconds = {
        (found.dataset, one.track.id): one.samples / one.sample_rate
        for found in inventories
        for one in found.recordings
    }
    total = dict.fromkeys(Role, 0.0)
    for dataset, track, role in split[["dataset", "track", "role"]].itertuples(index=False):
        total[Role(role)] += seconds.get((dataset, track), 0.0) / 60
    return total


def _of(model: Model) -> tuple[float | None, float | None]:
    return model.supervised_minutes, model.unlabelled_minutes


def counterparts(models: Mapping[str, Model]) -> dict[str, str]:
    """Each model that learns by more than pairs, and the one of the same pairs that does not.

    Of the same minutes, roles and separator.
    """

    def pairs(model: Model) -> tuple[object, ...]:
        return model.supervised_minutes, tuple(model.supervised), model.separator

    supervised: dict[tuple[object, ...], str] = {}
    for name, model in models.items():
        if model.only_supervised:
            supervised.setdefault(pairs(model), name)
    return {
        name: supervised[pairs(model)]
        for name, model in models.items()
        if not model.only_supervised and pairs(model) in supervised
    }
