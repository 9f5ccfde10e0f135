"""Features with librosa and h5py, one file after the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import librosa
import numpy as np
from numpy.typing import NDArray

from pipeline.params import Signal

FloatArray = NDArray[np.float32]


def preprocess(
    tracks: Mapping[str, Mapping[str, Sequence[Path]]],
    signal: Signal,
    target: Path,
    quality: str = "soxr_hq",
) -> None:
    """Write waveforms and log magnitudes of every track, a group each.

    tracks: id -> source -> the files that sum to it. Waveforms (sources, samples), spectrograms
    (1 + sources, frames, bins), the mixture's first. quality: of librosa's resampling; its own default.
    """
    with h5py.File(target, "w") as file:
        for name, sources in tracks.items():
            waveforms = np.stack(
                [
                    np.sum([load(path, signal, quality) for path in paths], axis=0)
                    for paths in sources.values()
                ]
            )
            group = file.create_group(name)
            group["waveform"] = waveforms
            group["spectrogram"] = np.stack(
                [
                    log_magnitude(waveform, signal)
                    for waveform in (waveforms.sum(axis=0), *waveforms)
                ]
            )


def load(path: Path, signal: Signal, quality: str) -> FloatArray:
    """A file in mono at the working rate (samples,)."""
    waveform: FloatArray
    waveform, _ = librosa.load(path, sr=signal.sample_rate, mono=True, res_type=quality)
    return waveform


def log_magnitude(waveform: FloatArray, signal: Signal) -> FloatArray:
    """log(1 + |STFT|) (frames, bins), Hann window, centred frames, of whole hops."""
    waveform = np.pad(waveform, (0, -len(waveform) % signal.hop_size))
    spectrum = librosa.stft(
        waveform, n_fft=signal.fft_size, hop_length=signal.hop_size, pad_mode="reflect"
    )
    magnitudes: FloatArray = np.log1p(np.abs(spectrum)).T
    return magnitudes
