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

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor

from pipeline.errors import UserError
from pipeline.features.stft import frame_count, log_magnitude, pad, reconstruct, stft_of_padded
from pipeline.files import write_text
from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.params import Name, Params, Precision, Signal

FORMAT = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
BLOCK_FRAMES = 1024
QUALITY = "VHQ"
"""soxr's highest: with it the features were made, and the float32 result hardly depends on the CPU."""
MAX_CHANNELS = 64
FloatArray = NDArray[np.float32]


class Network(Protocol):
    """What a `Separator` needs of its network; `models.unet.SpectrogramUNet` says more."""

    context: int
    """Frames of mixture that it needs on both sides of its output."""
    grid: int
    """Frames by which a patch can be shifted without changing its estimates."""

    def valid_frames(self, at_least: int) -> int:
        """The smallest number of output frames, not below `at_least`, that a patch can have."""

    def __call__(self, mixture: Tensor, /) -> Tensor:
        """Log magnitudes (batch, bins, frames + 2 * context) -> (batch, sources, bins, frames)."""


def build(params: Params) -> SpectrogramUNet:
    """A separator with fresh weights, from torch's global generator."""
    return SpectrogramUNet(
        params.signal.bins, len(params.sources), params.separator.filters, params.separator.depth
    )


@dataclass(frozen=True)
class Separator:
    """A separator with what is needed to apply it."""

    network: Network
    sources: tuple[str, ...]
    signal: Signal
    precision: Precision = "float32"
    """Of the network's convolutions, as in training; what it gives is float32 either way."""

    def save(self, folder: Path, details: dict[str, Any]) -> None:
        """Write weights and configuration; `details` is recorded beside them (training, data)."""
        if not isinstance(self.network, SpectrogramUNet):
            raise TypeError(f"{type(self.network).__name__} has no weights that could be saved")
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.network, str(folder / WEIGHTS))
        unet = self.network.unet
        config = {
            "format": FORMAT,
            "sources": list(self.sources),
            "signal": self.signal.model_dump(),
            "separator": {"filters": unet.first.out_channels, "depth": self.network.depth},
            "precision": self.precision,
            **details,
        }
        write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")

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

        precision: None: the one that the model was trained in.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            if config["format"] != FORMAT:
                raise UserError(
                    f"{folder / CONFIG}: model format {config['format']}, this version reads {FORMAT}"
                )
            # they become names of files
            sources = TypeAdapter(list[Name]).validate_python(config["sources"])
            signal = Signal(**config["signal"])
            # a folder that does not say is from before there was a choice
            given = precision or config.get("precision", "float32")
            precision = TypeAdapter(Precision).validate_python(given)
            network = SpectrogramUNet(signal.bins, len(sources), **config["separator"])
            load_model(network, str(folder / WEIGHTS))
        except FileNotFoundError:
            missing = CONFIG if not (folder / CONFIG).exists() else WEIGHTS
            raise UserError(f"{folder}: not a model folder: no {missing}") from None
        except (ValueError, KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{folder}: damaged model folder: {reason}") from None
        network.to(device).eval()
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(network, tuple(sources), signal, precision)

    def predict(self, mixture: Tensor) -> Tensor:
        """The network's estimates of patches in this precision, as float32 (shapes: `Network`)."""
        reduced = self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=reduced):
            return self.network(mixture)

    def separate(self, waveform: NDArray[Any], sample_rate: float) -> dict[str, FloatArray]:
        """Estimate the sources of a recording: source -> float32 (samples,) at the model's rate.

        waveform: floating point, (samples,) or (channels, samples), full scale +-1; channels are
        averaged. sample_rate: Hz, resampled to `signal.sample_rate`. The whole recording is in
        memory: `separation.streams` has the same as a stream, and at the recording's own rate and
        channels. Raises UserError when it is no such waveform.
        """
        mono = as_channels(waveform, sample_rate).mean(axis=0, dtype=np.float32)
        if sample_rate != self.signal.sample_rate:
            # cut or filled to the rounded length, as the features are
            wanted = max(1, round(len(mono) * self.signal.sample_rate / sample_rate))
            mono = soxr.resample(mono, sample_rate, self.signal.sample_rate, quality=QUALITY)
            mono = np.pad(mono[:wanted], (0, max(wanted - len(mono), 0)))
        return dict(zip(self.sources, self.estimate(mono), strict=True))

    def estimate(self, waveform: FloatArray, frames: int = BLOCK_FRAMES) -> FloatArray:
        """Estimate the sources of a mono recording at the model's rate.

        waveform: float32 (samples,), samples >= 1. frames: of a patch; they change the result by
        rounding alone. Returns float32 (sources, samples).
        """
        samples = len(waveform)
        estimates = np.empty((len(self.sources), samples), np.float32)
        position = 0
        patches = Patches(self, 1, frames)
        for patch in patches.push(waveform[None]):
            position += _put(patch.mono(self.signal), estimates[:, position:])
        for patch in patches.finish():
            position += _put(patch.mono(self.signal), estimates[:, position:])
        return estimates


class Patch(NamedTuple):
    """A stretch of spectrogram with its estimates; the next patch begins at its last frame."""

    spectrum: Tensor
    """Complex STFT of the recording (channels, bins, frames)."""
    estimates: Tensor
    """Log magnitudes of the sources of the mono mix (sources, bins, frames)."""

    def mono(self, signal: Signal) -> FloatArray:
        """The sources' waveforms (sources, (frames - 1) * hop_size) of a recording of one channel."""
        waveforms: FloatArray = reconstruct(self.estimates, self.spectrum[0], signal).cpu().numpy()
        return waveforms


class Patches:
    """A recording that comes piece by piece, cut into patches of spectrogram with their estimates.

    Every frame is predicted with full context (silence beyond the ends), from a patch that begins at
    a multiple of the network's grid. Patches have the same place and size however the recording comes, so
    the estimates are the same to the bit. Held are the samples of one patch and its context.
    """

    def __init__(self, separator: Separator, channels: int, frames: int = BLOCK_FRAMES) -> None:
        """channels: of the recording, of which the network sees the mean; frames: of a patch."""
        self._separator = separator
        grid = separator.network.grid
        self._step = max(frames // grid, 1) * grid
        # samples between the centres of two frames need both: one frame more than the step
        self._size = separator.network.valid_frames(self._step + 1)
        self._held = np.zeros((channels, 0), np.float32)
        self._start = 0  # the frame whose centre is the first sample held
        self._first = 0  # the first frame of the next patch

    def push(self, samples: FloatArray) -> Iterator[Patch]:
        """Append float32 (channels, samples) at the model's rate; yield the patches that are complete.

        The next piece may come when all have been taken.
        """
        signal, context = self._separator.signal, self._separator.network.context
        position = 0
        while True:
            # to the end of the last frame's window, with nothing reflected or padded
            end = self._first + self._size + context
            needed = (end - self._start) * signal.hop_size - self._held.shape[1]
            if samples.shape[1] - position < needed:
                self._held = np.concatenate([self._held, samples[:, position:]], axis=1)
                return
            taken = samples[:, position : position + needed]
            position += needed
            self._held = np.concatenate([self._held, taken], axis=1)
            yield self._patch(end)
            self._forget()

    def finish(self) -> Iterator[Patch]:
        """Yield the remaining patches; the last may end after the recording, by less than a hop,
        or by more if it is shorter than two."""
        count = self._start + frame_count(self._held.shape[1], self._separator.signal)
        while self._first < count - 1:
            yield self._patch(count)
            self._forget()

    @torch.inference_mode()
    def _patch(self, count: int) -> Patch:
        """The next patch of a recording of which `count` frames are known."""
        separator, first = self._separator, self._first
        signal, context = separator.signal, separator.network.context
        wanted = min(self._step, count - 1 - first) + 1
        begin, end = first - context, first + separator.network.valid_frames(wanted) + context
        padded = pad(torch.from_numpy(self._held), signal)
        from_sample = (max(begin, 0) - self._start) * signal.hop_size
        to_sample = (min(end, count) - 1 - self._start) * signal.hop_size + signal.fft_size
        spectrum = stft_of_padded(padded[:, from_sample:to_sample].to(separator.device), signal)
        mix = spectrum.mean(dim=0) if len(spectrum) > 1 else spectrum[0]
        mixture = torch.nn.functional.pad(log_magnitude(mix), (max(-begin, 0), max(end - count, 0)))
        estimates = separator.predict(mixture[None])[0, :, :, :wanted]
        inner = first - max(begin, 0)
        return Patch(spectrum[:, :, inner : inner + wanted], estimates)

    def _forget(self) -> None:
        """Go on to the next patch and drop the samples that no later one needs."""
        self._first += self._step
        # the first frame held is spoiled by the reflection at its start: it is one too early
        start = max(self._first - self._separator.network.context - 1, 0)
        self._held = self._held[:, (start - self._start) * self._separator.signal.hop_size :]
        self._start = start


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


def resolve_device(device: str) -> str:
    """cpu or cuda. Raises UserError when cuda is asked for and there is none."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA device is visible; use --device cpu")
    if device not in ("cpu", "cuda"):
        raise UserError(f"--device {device}: expected auto, cpu or cuda")
    return device


def _put(piece: FloatArray, target: FloatArray) -> int:
    """Write as much of a piece as there is room for; returns how much."""
    kept: int = min(piece.shape[1], target.shape[1])
    target[:, :kept] = piece[:, :kept]
    return kept
