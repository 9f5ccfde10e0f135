"""A trained model applied to a recording of any length, in bounded memory."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor

from pipeline.errors import UserError
from pipeline.files import write_text
from pipeline.models.unet import SpectrogramUNet
from pipeline.params import Params, Signal
from pipeline.spectrogram import log_magnitude, pad, reconstruct, stft_of_padded

FORMAT = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
BLOCK_FRAMES = 1024
FloatArray = NDArray[np.float32]


def build(params: Params) -> SpectrogramUNet:
    """A separator with fresh weights, from torch's global generator."""
    return SpectrogramUNet(
        params.signal.bins, len(params.sources), params.separator.filters, params.separator.depth
    )


@dataclass(frozen=True)
class Separator:
    """A separator with what is needed to apply it."""

    network: SpectrogramUNet
    sources: tuple[str, ...]
    signal: Signal

    def save(self, folder: Path, details: dict[str, Any]) -> None:
        """Write weights and configuration; `details` is recorded beside them (training, data)."""
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.network, str(folder / WEIGHTS))
        unet = self.network.unet
        config = {
            "format": FORMAT,
            "sources": list(self.sources),
            "signal": self.signal.model_dump(),
            "separator": {"filters": unet.first.out_channels, "depth": self.network.depth},
            **details,
        }
        write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path | str, device: torch.device | str = "cpu") -> "Separator":
        """Read a model folder. Raises UserError when it is missing, damaged or of another format."""
        folder = Path(folder)
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            if config["format"] != FORMAT:
                raise UserError(
                    f"{folder / CONFIG}: model format {config['format']}, this version reads {FORMAT}"
                )
            signal = Signal(**config["signal"])
            network = SpectrogramUNet(signal.bins, len(config["sources"]), **config["separator"])
            load_model(network, str(folder / WEIGHTS))
        except FileNotFoundError:
            missing = CONFIG if not (folder / CONFIG).exists() else WEIGHTS
            raise UserError(f"{folder}: not a model folder: no {missing}") from None
        except (ValueError, KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{folder}: damaged model folder: {reason}") from None
        network.to(device).eval()
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(network, tuple(config["sources"]), signal)

    def separate(self, waveform: FloatArray) -> FloatArray:
        """Estimate the sources of a mono recording at the model's rate.

        waveform: float32 (samples,), samples >= 1. Returns float32 (sources, samples).
        """
        samples = len(waveform)
        estimates = np.empty((len(self.sources), samples), np.float32)
        position = 0
        for block in self.blocks(torch.from_numpy(np.ascontiguousarray(waveform))):
            kept = block[:, : samples - position]
            estimates[:, position : position + kept.shape[1]] = kept.cpu().numpy()
            position += kept.shape[1]
        return estimates

    @torch.inference_mode()
    def blocks(self, waveform: Tensor, frames: int = BLOCK_FRAMES) -> Iterator[Tensor]:
        """Yield the estimates (sources, samples) piece by piece; the last one may be too long.

        Every frame is predicted with full context (silence beyond the ends), from a patch that
        begins at a multiple of the network's grid: the estimates do not depend on `frames`.
        """
        device = next(self.network.parameters()).device
        signal, context = self.signal, self.network.context
        padded = pad(waveform, signal)
        count = (len(padded) - signal.fft_size) // signal.hop_size + 1
        step = max(frames // self.network.grid, 1) * self.network.grid
        for first in range(0, count - 1, step):
            # samples between the centres of two frames need both: one frame more than the step
            wanted = min(step, count - 1 - first) + 1
            size = self.network.valid_frames(wanted)
            begin, end = first - context, first + size + context
            stretch = padded[
                max(begin, 0) * signal.hop_size : (min(end, count) - 1) * signal.hop_size
                + signal.fft_size
            ]
            spectrum = stft_of_padded(stretch.to(device), signal)
            mixture = torch.nn.functional.pad(
                log_magnitude(spectrum), (max(-begin, 0), max(end - count, 0))
            )
            estimates = self.network(mixture[None])[0, :, :, :wanted]
            inner = first - max(begin, 0)
            yield reconstruct(estimates, spectrum[:, inner : inner + wanted], signal)
