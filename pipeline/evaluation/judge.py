"""Other programs as judges: of our scores on the same waveforms, and of those that are committed.

museval of BSS Eval v3 and v4, torchmetrics of SNR, uSDR and SI-SDR.
"""

import math
from collections.abc import Hashable, Mapping
from dataclasses import replace
from functools import partial
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.evaluation.bss_eval import RATIOS, Values, Waveforms
from pipeline.evaluation.metrics import MEASURED, Compared
from pipeline.evaluation.scoring import CEILING, UNSCORED, audible, sounding
from pipeline.evaluation.table_row import TableRow, compared_waveforms, scored, tracks_of
from pipeline.evaluation.track_scores import KEY, NO_SEED
from pipeline.evaluation.unfiltered_ratios import MDX_DELTA
from pipeline.parallel.mapping import parallel_map
from pipeline.tracks import Role, TrackName

TOLERANCE = 1e-6
"""dB. A score further from its judge's is wrong; this near a boundary of rounding both ways are right."""

COLUMNS = [*KEY, "metric", "ours", "judge", "difference"]


def _museval() -> ModuleType:
    """Raises UserError when ffmpeg, which museval insists on, is missing."""
    try:
        import museval  # imported late: takes seconds
    except RuntimeError as error:
        raise UserError(
            "ffmpeg and ffprobe: not found on the PATH, and museval does not load without them;"
            " install ffmpeg (Debian, Ubuntu: apt-get install ffmpeg; macOS: brew install ffmpeg)"
        ) from error
    # For linearly dependent references museval catches np.linalg.linalg.LinAlgError, a name that
    # numpy 2.4 no longer has; without it the way out (least squares) is an error of its own.
    vars(np.linalg).setdefault("linalg", np.linalg)
    return museval  # type: ignore[no-any-return]


def museval_sources(
    references: Waveforms, estimates: Waveforms, filter_length: int
) -> tuple[Values, Values, Values]:
    """(SDR, SIR, SAR) of BSS Eval v3 in dB, each (sources,), of arrays (sources, samples), by museval.

    museval 0.4.1 cannot take an estimate that is exactly a filtered reference (AttributeError), nor
    a silent one (ValueError).
    """
    sdr, _, sir, sar, _ = _museval().metrics.bss_eval(
        references.astype(np.float64), estimates.astype(np.float64),
        window=np.inf, hop=np.inf, compute_permutation=False, filters_len=filter_length,
        bsseval_sources_version=True,
    )  # fmt: skip
    return sdr[:, 0], sir[:, 0], sar[:, 0]


def museval_frames(
    references: Waveforms, estimates: Waveforms, sample_rate: int, filter_length: int = 512
) -> Values:
    """SDR of BSS Eval v4 in dB (sources,): the median over frames of one second, by museval.

    `museval.evaluate` is this with filters of 512 taps; they make no difference to the SDR.
    Of arrays (sources, samples) or (sources, samples, channels). Without infinite frames, as
    museval.TrackStore, which takes them for missing; infinite where there are no others, NaN where
    there are none at all.
    """
    shape = *references.shape[:2], -1
    waveforms = (one.astype(np.float64).reshape(shape) for one in (references, estimates))
    ratios, *_ = _museval().metrics.bss_eval(
        *waveforms,
        window=sample_rate, hop=sample_rate, compute_permutation=False, filters_len=filter_length,
        bsseval_sources_version=False,
    )  # fmt: skip
    heard = [row[~np.isnan(row)] for row in ratios]
    finite = [row[np.isfinite(row)] if np.isfinite(row).any() else row for row in heard]
    return np.array([np.median(row) if len(row) else np.nan for row in finite])


def torchmetrics_ratio(name: str, references: Waveforms, estimates: Waveforms) -> Values:
    """The function of this name of torchmetrics, in dB (sources,), of arrays (sources, samples).

    torchmetrics adds 2e-16 to every energy, which is nothing beside that of these references, scaled.
    """
    import torch
    from torchmetrics.functional import audio

    scale = 2.0**20 / np.linalg.norm(references.astype(np.float64), axis=1, keepdims=True)
    waveforms = (torch.from_numpy(one * scale) for one in (estimates, references))
    return np.asarray(getattr(audio, name)(*waveforms).numpy())


def _with_delta(references: Waveforms, estimates: Waveforms) -> tuple[Values, Values]:
    """One sample more, which no estimate has: its energy is added to signal and error alike."""
    more = [(references, np.sqrt(MDX_DELTA)), (estimates, 0.0)]
    longer = [np.pad(one, ((0, 0), (0, 1)), constant_values=value) for one, value in more]
    return longer[0], longer[1]


def _judged(of: Compared) -> Mapping[str, Values]:
    """By metric, all (sources,), in dB: what the judges say."""
    pair = of.references.astype(np.float64), of.estimates.astype(np.float64)
    sources = museval_sources(*pair, of.filter_length)
    return dict(zip(RATIOS, sources, strict=True)) | {
        "SI-SDR": torchmetrics_ratio("scale_invariant_signal_distortion_ratio", *pair),
        "SNR": torchmetrics_ratio("signal_noise_ratio", *pair),
        "SDR-v4": museval_frames(*pair, of.sample_rate, of.filter_length),
        "uSDR": torchmetrics_ratio("signal_noise_ratio", *_with_delta(*pair)),
    }


def confirm(row: TableRow, split: pd.DataFrame, role: Role = Role.TEST) -> pd.DataFrame:
    """Score a row of the table on the tracks of a role with our metrics and with their judges.

    Returns COLUMNS, a row per track that has scores, source and metric; in dB, not rounded, both cut
    at `scoring.CEILING`; difference: ours - museval. A silent estimate is the same noise for both.
    """
    wanted = product(row.seeds, tracks_of(split, role))
    work = partial(confirm_track, row=row)
    parts = parallel_map(work, list(wanted), f"confirms {row.name}")
    frame = pd.DataFrame([one for part in parts for one in part], columns=COLUMNS[:-1])
    ours, judged = frame["ours"], frame["judge"]
    # infinities have no difference, nor have scores that both lack
    same = (ours == judged) | (ours.isna() & judged.isna())
    return frame.assign(difference=(ours - judged).mask(same, 0.0))


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
    judged = _judged(replace(heard, estimates=audible(heard.references, heard.estimates)))
    return [
        (seed, *track, score.source, name, _cut(score.values[name]), _cut(judged[name][number]))
        for number, score in enumerate(scores)
        for name in MEASURED
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

    A score is further than TOLERANCE from its judge's; the file lacks it, or has one more; or the
    one in the file, of two decimals, is not what the judge's value rounds to.
    """
    expected = committed[~committed["note"].isin(UNSCORED)]
    filed = expected.melt(KEY, MEASURED, "metric", "filed")
    found = []
    for row in compared.merge(filed, "outer", indicator="where").to_dict("records"):
        seed = "" if row["seed"] == NO_SEED else f"seed {row['seed']}, "
        track = TrackName(row["dataset"], row["track"])
        label = f"{seed}{track}: {row['metric']} of {row['source']}"
        ours, judged, written = (row[name] for name in ("ours", "judge", "filed"))
        if row["where"] == "left_only":
            found.append(f"{label} is not in the file")
        elif row["where"] == "right_only":
            found.append(f"{label} is in the file, of a track without scores")
        elif not abs(row["difference"]) <= TOLERANCE:
            found.append(f"{label} is {ours:.7f} dB, by {_who(row)} {judged:.7f} dB")
        elif math.isnan(judged) and math.isnan(written):
            continue
        elif not math.isclose(_cut(judged), _cut(written), rel_tol=0, abs_tol=0.005 + TOLERANCE):
            found.append(f"{label} is {written:.2f} dB in the file, by {_who(row)} {judged:.7f} dB")
    return found


def _who(row: Mapping[Hashable, Any]) -> str:
    """The judge of a score."""
    return "museval" if row["metric"] in (*RATIOS, "SDR-v4") else "torchmetrics"
