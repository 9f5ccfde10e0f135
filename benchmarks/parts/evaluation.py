"""Scores of whole tracks: seconds of audio a second."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from benchmarks import harness, material
from benchmarks.harness import OURS, STRAIGHTFORWARD, Options, Result
from benchmarks.reference import evaluation as reference
from benchmarks.reference.evaluation import Ratios
from pipeline.evaluation.table_row import TableRow, score_row
from pipeline.parallel.workers import import_ahead, worker_count
from pipeline.tracks import Role

NAME = "evaluation"


def ours(split: pd.DataFrame, features: Path, filter_length: int) -> pd.DataFrame:
    """The stage's work for the row whose estimate is the mixture: nothing but scoring."""
    return score_row(TableRow("mixture", features, features, filter_length), split)


def straightforward(path: Path, tracks: int, filter_length: int) -> Ratios:
    """The same in a loop: SDR, SIR, SAR (tracks, 3, sources)."""
    return np.stack(list(reference.scores(path, range(tracks), filter_length)))


def results(options: Options) -> list[Result]:
    """Songs of three minutes, mono, at the working rate."""
    import_ahead("pipeline.evaluation.table_row")  # as the stage does
    filter_length = material.paper().evaluation.filter_length
    songs, seconds = (2, 10.0) if options.quick else (8, 180.0)
    with TemporaryDirectory() as folder:
        place = Path(folder)
        path = place / "DSD100.h5"
        found = material.features(material.songs(place / "songs", songs, seconds, 8000, 1), path)
        split = material.split(found, Role.TEST)
        times = harness.measure(
            {
                OURS: lambda: ours(split, place, filter_length),
                STRAIGHTFORWARD: lambda: straightforward(path, songs, filter_length),
            },
            options.turns(3),
        )
    a_core = harness.ratio(
        "speed-up a core", times, STRAIGHTFORWARD, OURS, 1 / worker_count(), at_least=0.9
    )
    return [
        Result(
            NAME,
            [harness.speed_up(times), a_core],
            times,
            songs * seconds,
            "seconds of audio a second",
            f"{songs} songs of {seconds:.0f} s, two sources; {worker_count()} processes against a loop"
            " that is free to use all threads; workers are forked anew every time",
        )
    ]
