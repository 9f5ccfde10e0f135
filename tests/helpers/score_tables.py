"""Small tables of scores that the tests of comparison and report share."""

import numpy as np
import pandas as pd

from pipeline.comparison import aggregation, table
from pipeline.evaluation.metrics import MEASURED
from pipeline.evaluation.scoring import SILENT_REFERENCE, Score
from pipeline.evaluation.track_scores import tracks_frame
from pipeline.tracks import TrackName

SOURCES = ["accompaniment", "vocals"]
NONE = float("nan")

# SDR, SIR, SAR of (accompaniment, vocals); None: no score because a reference is silent.
Tracks = dict[tuple[str, str], tuple[tuple[float, ...], ...] | None]


def frame(tracks: Tracks, notes: dict[tuple[str, str], str] | None = None) -> pd.DataFrame:
    scored = []
    for name, values in tracks.items():
        if values is None:
            nothing = dict.fromkeys(MEASURED, NONE)
            scores = [Score(source, nothing, SILENT_REFERENCE) for source in SOURCES]
        else:
            note = (notes or {}).get(name, "")
            scores = [
                Score(source, dict(zip(MEASURED, ratios, strict=True)), note)
                for source, ratios in zip(SOURCES, values, strict=True)
            ]
        scored.append((TrackName(*name), scores))
    return tracks_frame(scored)


def many_tracks(count: int, seed: int = 0) -> pd.DataFrame:
    """Collected scores of `count` tracks, models a little apart."""
    rng = np.random.default_rng(seed)
    base = rng.normal(5, 3, (count, 2, 3))
    frames = {}
    for k, model in enumerate(["mixture", "baseline", "V", "oracle"]):
        values = (base + 0.3 * k + rng.normal(0, 1, base.shape)).round(2)
        frames[model] = frame(
            {("CCMixter", f"{t:03}"): tuple(map(tuple, values[t])) for t in range(count)}
        )
    return aggregation.combine(frames, SOURCES)


def table_of(collected: pd.DataFrame, baseline: str | None = "baseline") -> pd.DataFrame:
    return aggregation.long_table(collected, SOURCES, baseline, 2000, 0.95, seed=3)


def cell(long: pd.DataFrame, *where: str) -> pd.Series:
    """The one row of (test_set, model, source, metric)."""
    chosen = long.set_index(["test_set", "model", "source", "metric"])
    return chosen.loc[where]  # type: ignore[index]


def markdown(collected: pd.DataFrame, baseline: str | None = "baseline") -> str:
    return table.as_markdown(
        collected,
        aggregation.means(collected, SOURCES),
        table_of(collected, baseline),
        SOURCES,
        baseline=baseline,
        confidence=0.95,
        filter_length=512,
        sample_rate=8000,
        notes=["a note"],
    )
