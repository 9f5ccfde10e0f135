"""museval as the judge: of our scores on the same waveforms, and of those that are committed."""

import math
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.evaluation.bss_eval import RATIOS, Values, Waveforms
from pipeline.evaluation.scoring import CEILING, UNSCORED, audible, sounding
from pipeline.evaluation.table_row import TableRow, compared_waveforms, scored, tracks_of
from pipeline.evaluation.track_scores import KEY, NO_SEED
from pipeline.parallel.mapping import parallel_map
from pipeline.tracks import Role, TrackName

TOLERANCE = 1e-6
"""dB. A score further from museval's is wrong; this near a boundary of rounding both ways are right."""

COLUMNS = [*KEY, "metric", "ours", "museval", "difference"]


def museval_sources(
    references: Waveforms, estimates: Waveforms, filter_length: int
) -> tuple[Values, Values, Values]:
    """(SDR, SIR, SAR) in dB, each (sources,), of arrays (sources, samples), by museval.

    museval 0.4.1 cannot take an estimate that is exactly a filtered reference (AttributeError), nor
    a silent one (ValueError). Raises UserError when ffmpeg, which museval insists on, is missing.
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
        references.astype(np.float64), estimates.astype(np.float64),
        window=np.inf, hop=np.inf, compute_permutation=False, filters_len=filter_length,
        bsseval_sources_version=True,
    )  # fmt: skip
    return sdr[:, 0], sir[:, 0], sar[:, 0]


def confirm(row: TableRow, split: pd.DataFrame, role: Role = Role.TEST) -> pd.DataFrame:
    """Score a row of the table on the tracks of a role with our BSS Eval and with museval.

    Returns COLUMNS, a row per track that has scores, source and metric; in dB, not rounded, both cut
    at `scoring.CEILING`; difference: ours - museval. A silent estimate is the same noise for both.
    """
    wanted = product(row.seeds, tracks_of(split, role))
    work = partial(confirm_track, row=row)
    parts = parallel_map(work, list(wanted), f"confirms {row.name}")
    frame = pd.DataFrame([one for part in parts for one in part], columns=COLUMNS[:-1])
    same = frame["ours"] == frame["museval"]  # infinities have no difference
    return frame.assign(difference=(frame["ours"] - frame["museval"]).mask(same, 0.0))


def confirm_track(
    wanted: tuple[int, TrackName], row: TableRow
) -> list[tuple[int, str, str, str, str, float, float]]:
    """`confirm` of one seed and track, but for the difference."""
    seed, track = wanted
    compared = compared_waveforms(track, row, seed)
    scores = scored(compared, track, row)
    scores = [score for score in scores if score.note not in UNSCORED]
    if not scores:
        return []
    heard = sounding(compared)
    judged = museval_sources(heard.references, audible(heard.estimates), heard.filter_length)
    return [
        (seed, *track, score.source, ratio, _cut(score.values[ratio]), _cut(values[number]))
        for number, score in enumerate(scores)
        for ratio, values in zip(RATIOS, judged, strict=True)
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
        f" ({row['metric']} of {row['source']}, {TrackName(row['dataset'], row['track'])})"
    )


def objections(compared: pd.DataFrame, committed: pd.DataFrame) -> list[str]:
    """What is wrong, a line each, with scores (`confirm`) and the file of them (`load_tracks`).

    A score is further than TOLERANCE from museval's; the file lacks it, or has one more; or the one
    in the file, of two decimals, is not what museval's value rounds to.
    """
    expected = committed[~committed["note"].isin(UNSCORED)]
    filed = expected.melt(KEY, list(RATIOS), "metric", "filed")
    found = []
    for row in compared.merge(filed, "outer", indicator="where").to_dict("records"):
        seed = "" if row["seed"] == NO_SEED else f"seed {row['seed']}, "
        track = TrackName(row["dataset"], row["track"])
        label = f"{seed}{track}: {row['metric']} of {row['source']}"
        ours, judged, written = (row[name] for name in ("ours", "museval", "filed"))
        if row["where"] == "left_only":
            found.append(f"{label} is not in the file")
        elif row["where"] == "right_only":
            found.append(f"{label} is in the file, of a track without scores")
        elif not abs(row["difference"]) <= TOLERANCE:
            found.append(f"{label} is {ours:.7f} dB, by museval {judged:.7f} dB")
        elif not math.isclose(_cut(judged), _cut(written), rel_tol=0, abs_tol=0.005 + TOLERANCE):
            found.append(f"{label} is {written:.2f} dB in the file, by museval {judged:.7f} dB")
    return found
