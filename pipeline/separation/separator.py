"""A trained model applied to recordings of any length, in bounded memory.

>>> import soundfile
>>> from pipeline.separation import Separator
>>> separator = Separator.load("models/VA")
>>> waveform, sample_rate = soundfile.read("song.wav", dtype="float32")
>>> estimates = separator.separate(waveform.T, sample_rate)
>>> {source: estimate.shape for source, estimate in estimates.items()}
{'accompaniment': (80000,), 'vocals': (80000,)}
>>> soundfile.write("vocals.wav", estimates["vocals"], separator.signal.sample_rate)
"""

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.audio.decoding import MAX_CHANNELS
from pipeline.audio.resampling import Resampler
from pipeline.errors import UserError
from pipeline.networks.interfaces import SeparatorNetwork
from pipeline.params import Precision, Signal
from pipeline.separation import model_folder
from pipeline.separation.level import SILENCE, amplified, level_of
from pipeline.separation.patches import BLOCK_FRAMES, FloatArray, Patches


class NonFiniteError(UserError):
    """A model has estimated what is no number, or no sound."""


@dataclass(frozen=True)
class Separator:
    """A separator with what is needed to apply it."""

    network: SeparatorNetwork
    sources: tuple[str, ...]
    signal: Signal
    precision: Precision = "float32"
    """Of the network's convolutions, as in training; what it gives is float32 either way."""
    name: str = "the model"
    """Where it was read from, for error lines."""
    level: float | None = None
    """What recordings are brought to before the network sees them, and their estimates back from: that
    of the mixtures that it has learned from, as `LevelMeter` measures. None: they stay as recorded."""

    def save(self, folder: Path, details: dict[str, Any]) -> None:
        """Write weights and configuration; `details` is recorded beside them (training, data)."""
        model_folder.save_separator(
            folder,
            self.network,
            {
                "sources": list(self.sources),
                "signal": self.signal.model_dump(),
                "precision": self.precision,
                "level": self.level,
            },
            details,
        )

    @property
    def device(self) -> torch.device:
        """Where the network computes; one that is no torch module gets its input on the CPU."""
        if isinstance(self.network, torch.nn.Module):
            return next(self.network.parameters()).device
        return torch.device("cpu")

    @classmethod
    def load(
        cls,
        folder: Path | str,
        device: torch.device | str = "cpu",
        precision: Precision | None = None,
    ) -> "Separator":
        """Read a model folder. Raises UserError when it is missing, damaged or of another format.

        folder: of one seed, or of all, of which the one with the lowest validation loss is read;
        precision: None: the one that the model was trained in.
        """
        network, described = model_folder.load_separator(model_folder.chosen(Path(folder)))
        network.to(device).eval()
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(
            cast(SeparatorNetwork, network),
            tuple(described.sources),
            described.signal,
            precision or described.precision,
            str(folder),
            described.level,
        )

    def gain(self, level: float) -> float:
        """What brings a recording of this level to the model's; 1 where recordings stay as they are.

        So they do also where the level is not finite: what is wrong then, `predict` says.
        """
        if self.level is None or not level < inf:
            return 1.0
        return self.level / max(level, SILENCE)

    def predict(self, mixture: Tensor) -> Tensor:
        """The network's estimates of patches (shapes: `SeparatorNetwork`), as float32.

        Raises NonFiniteError when they are NaN or infinite, or are the logarithms of such magnitudes.
        """
        reduced = self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=reduced):
            estimates = self.network(mixture)
        # no sample of their waveforms is larger than the sum; it is NaN if one of them is
        seen = self.network.representation
        total = seen.linear(estimates).abs().sum(dtype=torch.float64)
        if not total <= torch.finfo(torch.float32).max:
            what = "samples" if seen.waveform else "log magnitudes"
            raise NonFiniteError(
                f"{self.name}: its estimates are infinite or no numbers, of a mixture whose {what}"
                f" reach {mixture.abs().max():.3g}; replace the model, or a recording whose samples"
                " are far beyond full scale (1.0)"
            )
        return estimates

    def separate(self, waveform: NDArray[Any], sample_rate: float) -> dict[str, FloatArray]:
        """Estimate the sources of a recording: source -> float32 (samples,) at the model's rate.

        waveform: floating point, (samples,) or (channels, samples), full scale +-1; channels are
        averaged. sample_rate: Hz, resampled to `signal.sample_rate`. The whole recording is in
        memory: `separation.streams` has the same as a stream, and at the recording's own rate and
        channels. Raises UserError when it is no such waveform, and NonFiniteError as `predict`.
        """
        mono = mono_of(as_channels(waveform, sample_rate))
        resampler = Resampler(sample_rate, self.signal.sample_rate, 1)
        low = resampler.push(mono, last=True)[0]
        return dict(zip(self.sources, self.estimate(low), strict=True))

    def estimate(self, waveform: FloatArray, frames: int = BLOCK_FRAMES) -> FloatArray:
        """Estimate the sources of a mono recording at the model's rate.

        waveform: float32 (samples,), samples >= 1. frames: of a patch; they change the result by
        rounding alone. Returns float32 (sources, samples). Raises NonFiniteError as `predict`, and when
        estimates are beyond what float32 holds.
        """
        samples = len(waveform)
        gain = 1.0 if self.level is None else self.gain(level_of(waveform, self.signal.sample_rate))
        estimates = np.empty((len(self.sources), samples), np.float32)
        position = 0
        for patch in Patches(self, 1, frames).push(amplified(waveform, gain)[None], last=True):
            piece = put_back(patch.mono(self.signal), gain)[:, : samples - position]
            estimates[:, position : position + piece.shape[1]] = piece
            position += piece.shape[1]
        return estimates


def mono_of(channels: FloatArray) -> FloatArray:
    """The mean of channels (channels, samples): (1, samples); `predict` says what of it is infinite."""
    # not mean(): decoded samples lie frame by frame, and it would go through them in pairs
    with np.errstate(over="ignore"):
        mono: FloatArray = sum(channels[1:], start=channels[:1]) / np.float32(len(channels))
    return mono


def put_back(estimates: FloatArray, gain: float) -> FloatArray:
    """The estimates of what was multiplied by `gain`, of what it was before.

    Raises NonFiniteError when they are beyond what float32 holds.
    """
    found = amplified(estimates, 1 / gain)
    if gain < 1 and not np.isfinite([found.min(), found.max()]).all():
        raise NonFiniteError(
            "its estimates are beyond the largest number of float32; scale the recording to full scale"
            " (1.0)"
        )
    return found


def as_channels(waveform: NDArray[Any], sample_rate: float) -> FloatArray:
    """A waveform as float32 (channels, samples).

    Raises UserError when it is not floating point, (samples,) or (channels, samples) with samples,
    finite, and of a positive rate.
    """
    wrong = None
    if not np.issubdtype(waveform.dtype, np.floating):
        wrong = f"{waveform.dtype} samples, expected floating point with full scale 1"
    elif waveform.ndim not in (1, 2) or not waveform.size:
        wrong = f"shape {waveform.shape}, expected (samples,) or (channels, samples)"
    elif waveform.ndim == 2 and len(waveform) > MAX_CHANNELS:
        wrong = f"{len(waveform)} channels; give (channels, samples): transpose it"
    elif not np.isfinite(waveform).all():
        wrong = "NaN or infinite samples; remove them"
    elif not sample_rate > 0:
        wrong = f"sample rate {sample_rate} Hz, expected more than 0"
    if wrong:
        raise UserError(f"waveform: {wrong}")
    return np.atleast_2d(waveform).astype(np.float32, copy=False)
