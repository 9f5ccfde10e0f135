"""The paper's Figure 3: what each critic asks of an estimate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.features.stft import stft
from pipeline.features.store import FeatureFile
from pipeline.networks import sight
from pipeline.networks.gradients import input_gradient
from pipeline.networks.interfaces import CriticNetwork
from pipeline.networks.representations import Waveforms
from pipeline.params import Signal
from pipeline.report import pictures
from pipeline.report.excerpts import Choice, loudest
from pipeline.report.finished_run import Run
from pipeline.report.pictures import Picture
from pipeline.separation.model_folder import load_critics
from pipeline.separation.separator import Separator
from pipeline.tracks import MIXTURE, mixture_of

HIGHEST = 2000.0
"""Hz; as in the paper, where the voice's harmonics are."""
EXTREME = 99.5
"""Percentile of the gradient's size that has the last colour."""


@dataclass(frozen=True)
class Wish:
    """One critic's figure."""

    model: str
    source: str
    choice: Choice
    panels: tuple[Picture, Picture, Picture]
    """Estimate, gradient, reference."""
    limit: float
    """The gradient's value at the last colour."""
    correlation: float
    """Of the gradient with reference less estimate, over all that the critic sees; NaN if constant."""


def wishes(run: Run, choices: Sequence[Choice], page: Path) -> list[Wish]:
    """Figure 3 for every critic of every model, on one track.

    The track is the one ranked lowest: where most of another source is left in the estimate.
    """
    if not choices:
        return []
    choice = min(choices, key=lambda one: one.score)
    found = []
    store = FeatureFile.open(run.features / f"{choice.dataset}.h5")
    row = store.rows([choice.track])[0]
    for model, folder in run.folders.items():
        critics = load_critics(folder)
        separator = Separator.load(folder) if critics else None
        for source, critic in critics.items():
            assert separator is not None
            mixture, reference = (
                torch.from_numpy(frames.T.copy())
                for frames in store.spectrogram(row, [MIXTURE, source])
            )
            waveform = torch.from_numpy(mixture_of(store.waveforms(row)))
            given = separator.network.representation
            if given.waveform:
                mixture = waveform
            first, frames = loudest_frames(reference, critic.frames), critic.frames
            number = separator.sources.index(source)
            outputs = output_patch(separator, mixture, first, frames)[number]
            estimate = given.log_magnitudes(outputs)[:, :frames]
            # the phase that the estimate has: the mixture's, or its own
            spectrum = stretch(stft(waveform, store.signal), first, frames)
            if isinstance(given, Waveforms):
                spectrum = given.spectra(outputs)[:, :frames]
            gradient = critic_gradient(critic, estimate[None], spectrum[None])
            found.append(_draw(model, source, choice, critic, estimate, gradient, reference, first,
                               store.signal, page))  # fmt: skip
    return found


def loudest_frames(log_magnitudes: Tensor, frames: int) -> int:
    """First of the `frames` frames with the most energy; log_magnitudes (bins, all frames)."""
    return loudest(torch.expm1(log_magnitudes.double()).square().sum(dim=0).numpy(), frames)


def stretch(spectrum: Tensor, first: int, frames: int) -> Tensor:
    """So many frames of a track (bins, all frames) from frame `first` on, silence beyond its end."""
    found = spectrum[:, first : first + frames]
    return functional.pad(found, (0, frames - found.shape[1]))


def _draw(
    model: str, source: str, choice: Choice, critic: CriticNetwork, estimate: Tensor, asked: Tensor,
    reference: Tensor, first: int, signal: Signal, page: Path,
) -> Wish:  # fmt: skip
    gradient, estimated, real = (
        one[0, 0].numpy().astype(np.float64)
        for one in (
            asked,
            _shown(critic, estimate[None]),
            _shown(critic, stretch(reference, first, critic.frames)[None]),
        )
    )
    hertz = signal.sample_rate / signal.fft_size
    rows = min(int(HIGHEST / hertz), len(gradient))
    limit = float(np.percentile(np.abs(gradient[:rows]), EXTREME)) or 1.0
    highest = max(float(estimated[:rows].max()), float(real[:rows].max()), 1e-3)
    hop = signal.hop_size / signal.sample_rate
    where = (first * hop, (first + critic.frames) * hop)

    def picture(values: NDArray[np.float64], what: str, kind: str) -> Picture:
        bounds = (-limit, limit) if kind == "gradient" else (0.0, highest)
        colours = DIVERGING if kind == "gradient" else SEQUENTIAL
        return pictures.draw(
            values[:rows], bounds, colours, page, f"figures/critic-{model}-{source}-{kind}.png",
            f"{what}, {source}, {where[0]:.1f} to {where[1]:.1f} s, up to {HIGHEST / 1000:g} kHz",
            # the critic's first row is bin 1; a row reaches half a bin to either side
            where, (0.5 * hertz, (rows + 0.5) * hertz),
        )  # fmt: skip

    panels = (
        picture(estimated, f"(a) estimate of {model}", "estimate"),
        picture(gradient, f"(b) gradient of {model}'s critic", "gradient"),
        picture(real, "reference", "reference"),
    )
    return Wish(model, source, choice, panels, limit, _correlation(gradient, real - estimated))


def critic_gradient(
    critic: CriticNetwork, estimate: Tensor, spectrum: Tensor | None = None
) -> Tensor:
    """The gradient of a critic's output D with respect to estimates' log magnitudes (Figure 3b).

    estimate: log magnitudes (n, bins, frames), at least `critic.frames` frames; spectrum: complex, of
    the same shape, with the phase of their waveforms, for a critic that sees these: the gradient is then
    that of D at the waveforms which the log magnitudes make. Returns what `_shown` cuts of it (n, 1,
    bins, frames): positive where more energy would raise the score, negative where less would.
    """
    seen = sight.seen_by([critic])
    with torch.no_grad():
        if not isinstance(seen, Waveforms):
            return input_gradient(critic, critic.view(estimate))
        assert spectrum is not None
        phases = spectrum

        def score(log_magnitudes: Tensor) -> Tensor:
            return critic(critic.view(seen.reconstructed(log_magnitudes, phases)))

        return _shown(critic, input_gradient(score, estimate))


def _shown(critic: CriticNetwork, log_magnitudes: Tensor) -> Tensor:
    """Of (n, bins, frames) what the critic sees; of one that sees waveforms, all but the DC bin."""
    if sight.seen_by([critic]).waveform:
        return log_magnitudes[:, None, 1:]
    return critic.view(log_magnitudes)


def estimate_patch(separator: Separator, mixture: Tensor, first: int, frames: int) -> Tensor:
    """Log magnitudes (sources, bins, frames) of `output_patch`."""
    outputs = output_patch(separator, mixture, first, frames)
    return separator.network.representation.log_magnitudes(outputs)[..., :frames]


@torch.no_grad()
def output_patch(separator: Separator, mixture: Tensor, first: int, frames: int) -> Tensor:
    """The separator's own output for a stretch, as training has it.

    mixture: of a whole track, log magnitudes (bins, all frames) or samples, as the separator sees it;
    the stretch is `frames` frames from frame `first` on, silence beyond the track's ends. Returns
    (sources, …), of as many frames or more.
    """
    network, signal = separator.network, separator.signal
    begin = first - network.context
    end = first + network.valid_frames(frames) + network.context
    if network.representation.waveform:
        count = end - begin
        begin = begin * signal.hop_size - signal.fft_size // 2
        end = begin + signal.samples(count)
    known = mixture[..., max(begin, 0) : end]
    left = max(-begin, 0)
    padded = functional.pad(known, (left, end - begin - left - known.shape[-1]))
    return separator.predict(padded[None])[0]


SEQUENTIAL, DIVERGING = "magma", "RdBu_r"


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
