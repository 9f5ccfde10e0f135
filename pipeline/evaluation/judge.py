"""museval as the judge of our scores: both on the same signals, and of the scores that are committed."""

from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd

from pipeline.comparison.aggregation import KEY, MEASURED
from pipeline.errors import UserError
from pipeline.evaluation import table_row
from pipeline.evaluation.bss_eval import Signals, Values
from pipeline.evaluation.scoring import CEILING, UNSCORED, audible
from pipeline.parallel.mapping import parallel_map
from pipeline.tracks import Role

TOLERANCE = 1e-6
"""dB. A score further from museval's is wrong; one this near a boundary of rounding may go either way."""

COLUMNS = [*KEY, "metric", "ours", "museval", "difference"]


def museval_sources(
    references: Signals, estimates: Signals, filter_length: int
) -> tuple[Values, Values, Values]:
    """(SDR, SIR, SAR) in dB, each (sources,), of arrays (sources, samples), by museval.

    museval 0.4.1 cannot take an estimate that is exactly a filtered reference (AttributeError), nor a
    silent one (ValueError). Raises UserError when ffmpeg, which museval insists on, is missing.
    """
    try:
        from museval.metrics import bss_eval  # imported late: takes seconds
    except RuntimeError as error:
        raise UserError(
            "ffmpeg and ffprobe: not found on the PATH, and museval does not load without them;"
            " install ffmpeg (Debian, Ubuntu: apt-get install ffmpeg; macOS: brew install ffmpeg)"
        ) from error
    # For linearly dependent references museval catches np.linalg.linalg.LinAlgError, a name that
    # numpy 2.4 no longer has; without it the way out (least squares) is an error of its own.
    vars(np.linalg).setdefault("linalg", np.linalg)
    sdr, _, sir, sar, _ = bss_eval(
        references.astype(np.float64),
        estimates.astype(np.float64),
        window=np.inf,
        hop=np.inf,
        compute_permutation=False,
        filters_len=filter_length,
        bsseval_sources_version=True,
    )
    return sdr[:, 0], sir[:, 0], sar[:, 0]


def confirm(
    name: str,
    split: pd.DataFrame,
    features: Path,
    models: Path,
    filter_length: int,
    role: Role = Role.TEST,
    device: str = "cpu",
) -> pd.DataFrame:
    """Score `name` on the tracks of a role with our BSS Eval and with museval.

    The arguments are those of `table_row.evaluate`. Returns a row per track that has scores, source
    and metric: dataset, track, source, metric, ours, museval, difference (ours - museval); in dB, not
    rounded, both cut at `scoring.CEILING`. A silent estimate is the same noise for both.
    """
    work = partial(
        compare, name=name, features=features, models=models, filter_length=filter_length,
        device=device, run=uuid4().hex,
    )  # fmt: skip
    parts = parallel_map(work, table_row.tracks_of(split, role), f"confirms {name}")
    frame = pd.DataFrame([row for rows in parts for row in rows], columns=COLUMNS[:-1])
    same = frame["ours"] == frame["museval"]  # infinities have no difference
    return frame.assign(difference=(frame["ours"] - frame["museval"]).mask(same, 0.0))


def compare(
    track: tuple[str, str],
    name: str,
    features: Path,
    models: Path,
    filter_length: int,
    device: str = "cpu",
    run: str = "",
) -> list[tuple[str, str, str, str, float, float]]:
    """`confirm` of one (dataset, track), but for the difference. run: as for `table_row.score`."""
    signals = table_row.signals(track, name, features, models, device, run)
    scores = table_row.scored(signals, track, name, filter_length)
    if scores[0].note in UNSCORED:
        return []
    judged = museval_sources(signals.references, audible(signals.estimates), filter_length)
    return [
        (*track, score.source, metric, _cut(getattr(score, metric)), _cut(judged[place][number]))
        for number, score in enumerate(scores)
        for place, metric in enumerate(MEASURED)
    ]


def _cut(ratio: float) -> float:
    return min(float(ratio), CEILING)


def summary(compared: pd.DataFrame) -> str:
    """How many tracks, and the largest difference with its place (`confirm`)."""
    tracks = len(compared[["dataset", "track"]].drop_duplicates())
    if not tracks:
        return "no track has scores"
    row = compared.iloc[int(compared["difference"].abs().argmax())]
    return (
        f"{tracks} tracks, largest difference {abs(row['difference']):.1e} dB"
        f" ({row['metric']} of {row['source']}, {row['dataset']}/{row['track']})"
    )


def objections(compared: pd.DataFrame, committed: pd.DataFrame) -> list[str]:
    """What is wrong, a line each, with scores (`confirm`) and with the file of them (`load_tracks`).

    A score is further than TOLERANCE from museval's; the file lacks it, or has one more; or the one
    in the file, of two decimals, is not what museval's value rounds to.
    """
    expected = committed[~committed["note"].isin(UNSCORED)]
    filed = expected.melt(KEY, MEASURED, "metric", "filed")
    found = []
    for row in compared.merge(filed, "outer", indicator="where").to_dict("records"):
        label = f"{row['dataset']}/{row['track']}: {row['metric']} of {row['source']}"
        ours, judged, written = (row[name] for name in ("ours", "museval", "filed"))
        if row["where"] == "left_only":
            found.append(f"{label} is not in the file")
        elif row["where"] == "right_only":
            found.append(f"{label} is in the file, of a track without scores")
        elif not abs(row["difference"]) <= TOLERANCE:
            found.append(f"{label} is {ours:.7f} dB, by museval {judged:.7f} dB")
        elif not _rounds(_cut(judged), _cut(written)):
            found.append(f"{label} is {written:.2f} dB in the file, by museval {judged:.7f} dB")
    return found


def _rounds(ratio: float, written: float) -> bool:
    return ratio == written or abs(ratio - written) <= 0.005 + TOLERANCE
