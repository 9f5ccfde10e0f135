"""A whole track in patches of 66 frames, one after the other (paper; its authors' program)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.params import Signal

FRAMES = 66

FloatArray = NDArray[np.float32]


@torch.no_grad()
def separate(
    network: SpectrogramUNet, waveform: FloatArray, signal: Signal, stride: int = FRAMES
) -> FloatArray:
    """Estimate the sources (sources, samples) of a mono recording (samples,) at the model's rate.

    stride: frames from patch to patch, at most 66. The U-Net pools over groups of 16 frames, so its
    estimates depend a little on where a patch begins: multiples of 16 give the package's own.
    """
    device = next(network.parameters()).device
    samples = torch.from_numpy(waveform).to(device)
    padded = functional.pad(samples, (0, -len(waveform) % signal.hop_size))
    window = torch.hann_window(signal.fft_size, device=device)
    spectrum = torch.stft(
        padded, signal.fft_size, signal.hop_size, window=window, return_complex=True
    )
    magnitudes = torch.log1p(spectrum.abs())
    frames, context = magnitudes.shape[1], network.context
    surroundings = functional.pad(magnitudes, (context, context + FRAMES))
    pieces = []
    for start in range(0, frames, stride):
        patch = surroundings[:, start : start + FRAMES + 2 * context]
        pieces.append(network(patch[None])[0, :, :, :stride])
    estimates = torch.cat(pieces, dim=2)[:, :, :frames]
    spectra = torch.polar(torch.expm1(estimates), spectrum.angle().expand_as(estimates))
    waveforms: FloatArray = (
        torch.istft(spectra, signal.fft_size, signal.hop_size, window=window, length=len(waveform))
        .cpu()
        .numpy()
    )
    return waveforms
