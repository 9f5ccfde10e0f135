"""The test tracks that the report lets one hear: which, which ten seconds, and what is heard of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.evaluation.scoring import UNSCORED
from pipeline.features.stft import stft
from pipeline.features.store import FeatureFile
from pipeline.params import Signal
from pipeline.report.finished_run import Run
from pipeline.separation.separator import Separator
from pipeline.tracks import TrackName, mixture_of

SECONDS = 10.0
STEP = 0.1
"""Seconds between the places that are tried."""
PEAK = 0.9
"""Of the loudest of an excerpt's waveforms as it is played; one gain for all of them."""
PLAYED_RATE = 24_000
"""Hz. MP3 below 16 kHz is an extension that some browsers lack."""
COMPRESSION = 0.737
"""Of libsndfile: between 160 and 8 kbit/s, this part of the way down."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Choice:
    """A track and why it was chosen."""

    dataset: str
    track: str
    label: str
    """best, median or worst; the only track where there is one."""
    score: float
    """The SDR that ranked it, dB."""


@dataclass(frozen=True)
class Excerpt:
    """The waveforms of a chosen track's excerpt; float32 (samples,) each."""

    choice: Choice
    start: float
    """Seconds from the beginning of the track."""
    signal: Signal
    mixture: FloatArray
    references: Mapping[str, FloatArray]
    """By source."""
    estimates: Mapping[str, Mapping[str, FloatArray]]
    """By source, then model."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.mixture) / self.signal.sample_rate

    def waveforms(self) -> Iterator[tuple[str, str, FloatArray]]:
        """(source, what, waveform): the mixture, then of each source reference and estimates."""
        yield "mixture", "mixture", self.mixture
        for source, reference in self.references.items():
            yield source, "reference", reference
            for model, estimate in self.estimates[source].items():
                yield source, model, estimate


def choose(run: Run) -> list[Choice]:
    """Best, median and worst scored track of each dataset by `Run.ranking`.

    Of an even number the better of the two in the middle is the median. Equal scores are ordered by
    name. Two tracks are best and worst, one is all there is.
    """
    model, source = run.ranking
    rows = run.scores[(run.scores["model"] == model) & (run.scores["source"] == source)]
    rows = rows[~rows["note"].isin(UNSCORED) & np.isfinite(rows["SDR"])]
    choices = []
    for dataset in rows["dataset"].unique():
        ranked = rows[rows["dataset"] == dataset].sort_values(
            ["SDR", "track"], ascending=[False, True], kind="stable"
        )
        for place, label in _places(len(ranked)).items():
            row = ranked.iloc[place]
            choices.append(Choice(str(dataset), str(row["track"]), label, float(row["SDR"])))
    return choices


def _places(count: int) -> dict[int, str]:
    if count == 1:
        return {0: "the only track"}
    if count == 2:
        return {0: "best", 1: "worst"}
    return {0: "best", (count - 1) // 2: "median", count - 1: "worst"}


def loudest(energy: NDArray[np.float64], length: int, step: int = 1) -> int:
    """Where the `length` values with the most energy begin; of equals the first, 0 for fewer.

    energy (values,); step: between the places that are tried.
    """
    sums = np.concatenate([[0.0], np.cumsum(energy)])
    starts = np.arange(0, max(len(energy) - length, 0) + 1, step)
    ends = np.minimum(starts + length, len(energy))
    return int(starts[np.argmax(sums[ends] - sums[starts])])


def cut(run: Run, choices: Sequence[Choice], device: str = "cpu") -> Iterator[Excerpt]:
    """Separate the chosen tracks with every model and cut out their excerpts.

    Raises UserError when features or a model cannot be read.
    """
    separators = {name: Separator.load(folder, device) for name, folder in run.folders.items()}
    _, source = run.ranking
    for choice in choices:
        store = FeatureFile.open(run.features / f"{choice.dataset}.h5")
        references = store.waveforms(store.rows([choice.track])[0])
        mixture = mixture_of(references)
        rate = store.signal.sample_rate
        energy = references[store.sounds.index(source)].astype(np.float64) ** 2
        length = round(SECONDS * rate)
        start = loudest(energy, length, max(round(STEP * rate), 1))
        part = slice(start, start + length)
        found = {
            model: dict(zip(one.sources, one.estimate(mixture)[:, part], strict=True))
            for model, one in separators.items()
        }
        yield Excerpt(
            choice,
            start / rate,
            store.signal,
            mixture[part],
            dict(zip(store.sounds, references[:, part], strict=True)),
            {name: {model: found[model][name] for model in found} for name in store.sounds},
        )


def decibels(waveform: FloatArray, signal: Signal) -> NDArray[np.float64]:
    """Magnitudes of a waveform (samples,) in dB: (bins, frames)."""
    magnitudes = stft(torch.from_numpy(np.ascontiguousarray(waveform)), signal).abs().numpy()
    shown: NDArray[np.float64] = 20 * np.log10(np.maximum(magnitudes.astype(np.float64), 1e-10))
    return shown


def gain(excerpt: Excerpt) -> float:
    """What all waveforms of an excerpt are multiplied with, so that the loudest peak is at PEAK."""
    peak = max(float(np.abs(waveform).max(initial=0)) for _, _, waveform in excerpt.waveforms())
    return PEAK / peak if peak > 0 else 1.0


def write_mp3(waveform: FloatArray, rate: int, path: Path) -> None:
    """Mono MP3, 48 kbit/s: the same sound gives the same bytes. Raises UserError when it cannot."""
    played = soxr.resample(np.clip(waveform, -1, 1), rate, PLAYED_RATE)
    try:
        soundfile.write(
            str(path), played, PLAYED_RATE, format="MP3", subtype="MPEG_LAYER_III",
            compression_level=COMPRESSION, bitrate_mode="CONSTANT",
        )  # fmt: skip
    # soundfile asserts that every sample was written; on a full disk not every one is
    except (soundfile.LibsndfileError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else "is the disk full?"
        raise UserError(
            f"{path}: cannot be written ({reason}); MP3 needs libsndfile 1.1, which soundfile brings"
        ) from None


def numbers(frame: pd.DataFrame) -> dict[TrackName, int]:
    """A number for each track, in the order of the scores: the page's anchors."""
    pairs = frame[["dataset", "track"]].drop_duplicates().itertuples(index=False, name=None)
    return {TrackName(str(dataset), str(track)): k for k, (dataset, track) in enumerate(pairs, 1)}
