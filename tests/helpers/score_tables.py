"""Small tables of scores that the tests of comparison and report share."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.comparison import aggregation, long_table, table
from pipeline.evaluation.metrics import MEASURED
from pipeline.evaluation.scoring import SILENT_REFERENCE, Score
from pipeline.evaluation.track_scores import NO_SEED, tracks_frame
from pipeline.params import REFERENCE_ROWS
from pipeline.tracks import TrackName

SOURCES = ["accompaniment", "vocals"]
SEEDS = (1, 2)
NONE = float("nan")

# SDR, SIR, SAR of (accompaniment, vocals), and as many of the other metrics: those that are not there
# are as the SDR. None: no score because a reference is silent.
Tracks = dict[tuple[str, str], tuple[tuple[float, ...], ...] | None]


def frame(
    tracks: Tracks,
    notes: dict[tuple[str, str], str] | None = None,
    seeds: Sequence[int] = SEEDS,
) -> pd.DataFrame:
    """The same scores with each of the seeds."""
    scored = []
    for name, values in tracks.items():
        if values is None:
            nothing = dict.fromkeys(MEASURED, NONE)
            scores = [Score(source, nothing, SILENT_REFERENCE) for source in SOURCES]
        else:
            note = (notes or {}).get(name, "")
            scores = [
                Score(source, _measured(ratios), note)
                for source, ratios in zip(SOURCES, values, strict=True)
            ]
        scored.append((TrackName(*name), scores))
    return tracks_frame((seed, *one) for seed in seeds for one in scored)


def _measured(ratios: tuple[float, ...]) -> dict[str, float]:
    rest = ratios[:1] * (len(MEASURED) - len(ratios))
    return dict(zip(MEASURED, (*ratios, *rest), strict=True))


def seeds_of(row: str, seeds: Sequence[int] = SEEDS) -> Sequence[int]:
    """What the scores of a row of the table have in the column seed."""
    return (NO_SEED,) if row in REFERENCE_ROWS else seeds


def many_tracks(count: int, seed: int = 0, seeds: Sequence[int] = SEEDS) -> pd.DataFrame:
    """Collected scores of `count` tracks, models a little apart."""
    rng = np.random.default_rng(seed)
    base = rng.normal(5, 3, (count, 2, 3))
    frames = {}
    for k, model in enumerate(["mixture", "baseline", "V", "oracle"]):
        values = base + 0.3 * k + rng.normal(0, 1, base.shape)
        runs = [
            frame(
                {("CCMixter", f"{t:03}"): tuple(map(tuple, run[t].round(2))) for t in range(count)},
                seeds=(number,),
            )
            for number in seeds_of(model, seeds)
            for run in [values + rng.normal(0, 0.3) + rng.normal(0, 0.3, values.shape)]
        ]
        frames[model] = pd.concat(runs, ignore_index=True)
    return aggregation.combine(frames, SOURCES)


def split_of(collected: pd.DataFrame, per_artist: int = 1) -> pd.DataFrame:
    """data/split.csv of the tracks with scores, DSD100 being supervised.

    per_artist: how many tracks one behind the other are of one artist.
    """
    tracks = collected[["dataset", "track"]].drop_duplicates().reset_index(drop=True)
    artists = [f"Artist {k // per_artist}" for k in range(len(tracks))]
    tested = tracks.assign(artist=artists, role="test", has_vocals=True, weight=NONE)
    other = {"dataset": "DSD100", "track": "x", "artist": "x", "role": "supervised"}
    return pd.concat(
        [tested, pd.DataFrame([other | {"has_vocals": True, "weight": NONE}])], ignore_index=True
    )


def table_of(collected: pd.DataFrame, baseline: str | None = "baseline") -> pd.DataFrame:
    return long_table.long_table(collected, SOURCES, split_of(collected), baseline, 0.95)


def cell(long: pd.DataFrame, *where: str) -> pd.Series:
    """The one row of (test_set, model, source, metric)."""
    chosen = long.set_index(["test_set", "model", "source", "metric"])
    return chosen.loc[where]  # type: ignore[index]


def markdown(collected: pd.DataFrame, baseline: str | None = "baseline") -> str:
    return table.as_markdown(
        collected,
        table_of(collected, baseline),
        SOURCES,
        baseline=baseline,
        confidence=0.95,
        filter_length=512,
        sample_rate=8000,
        notes=["a note"],
    )
