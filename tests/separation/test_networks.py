"""Every separator and every overlap on whole recordings: what is estimated does not depend on patches."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from pipeline.features.stft import log_magnitude, stft
from pipeline.networks.builders import build_separator
from pipeline.networks.interfaces import SeparatorNetwork
from pipeline.networks.separators.wave_unet import WaveUNet
from pipeline.params import Signal
from pipeline.report import critics as figure
from pipeline.report.export import export_model
from pipeline.separation import streams
from pipeline.separation.onnx_network import ONNX, load_onnx
from pipeline.separation.patches import Patches
from pipeline.separation.separator import Separator
from tests.helpers.small_separators import SIGNAL, noise
from tests.networks.test_separators import OFTEN, SMALL
from tests.separation.test_separator import Edges

ODD = Signal(sample_rate=8000, fft_size=384, hop_size=128, window="hamming")
SIGNALS = {"half": SIGNAL, "three quarters": OFTEN, "two thirds": ODD}
TOLERANCE = dict.fromkeys(SMALL, 2e-6) | {"band_split": 2e-4}
"""Of waveforms of about full scale. What a recurrent layer remembers has no end, and a patch has: of this
one with random weights 32 frames further away change that much at most."""


def separator(name: str, signal: Signal) -> Separator:
    torch.manual_seed(1)
    settings = SMALL[name] if name in SMALL else SMALL["unet"] | {"slots": 2}
    network = build_separator(settings, signal, 2)
    return Separator(cast(SeparatorNetwork, network.eval()), ("accompaniment", "vocals"), signal)


@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
@pytest.mark.parametrize("name", SMALL)
def test_neither_patches_nor_pieces_matter(name: str, signal: Signal) -> None:
    separate, waveform = separator(name, signal), noise(30_123)
    whole = separate.estimate(waveform, 4096)
    assert whole.shape == (2, 30_123)
    found = separate.estimate(waveform, 48)
    np.testing.assert_allclose(found, whole, atol=TOLERANCE[name])
    # however a recording comes, to the bit
    patches = Patches(separate, 1, frames=48)
    pieces = [
        patch.mono(signal)
        for first in range(0, len(waveform), 5000)
        for patch in patches.push(waveform[None, first : first + 5000], first + 5000 > 30_123)
    ]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1)[:, :30_123], found)


@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
@pytest.mark.parametrize("samples", [1, 100, 5000, 128 * 40, 30_001])
def test_every_patch_has_its_whole_context(samples: int, signal: Signal) -> None:
    """As with half an overlap: the frames of the STFT of the whole, three earlier and later."""
    waveform = noise(samples)
    padded = torch.nn.functional.pad(
        log_magnitude(stft(torch.from_numpy(waveform), signal)), (3, 3)
    )
    patches = Patches(Separator(Edges(), ("before", "after"), signal), 1, frames=8)
    found = list(patches.push(waveform[None], last=True))
    for name, expected in ((0, padded[:, :-6]), (1, padded[:, 6:])):
        own = [patch.estimates[name, :, patch.stretch] for patch in found]
        joined = torch.cat([*(one[:, :-1] for one in own[:-1]), own[-1]], dim=1)
        torch.testing.assert_close(joined, expected, rtol=0, atol=1e-6)


def test_a_wave_unet_on_a_recording_is_the_network_on_all_of_it() -> None:
    """By one forward pass over the samples with silence around them."""
    separate, waveform = separator("wave_unet", SIGNAL), noise(20_000)
    network, half = separate.network, SIGNAL.fft_size // 2
    assert isinstance(network, WaveUNet)
    around = network.context * SIGNAL.hop_size
    frames = 90
    padded = torch.zeros(1, SIGNAL.samples(frames) + 2 * around)
    padded[0, around + half : around + half + 20_000] = torch.from_numpy(waveform)
    with torch.no_grad():
        expected = network(padded)[0, :, half : half + 20_000]
    np.testing.assert_allclose(separate.estimate(waveform, 24), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
@pytest.mark.parametrize("name", SMALL)
def test_at_the_recordings_own_rate_the_sources_sum_to_it(name: str, signal: Signal) -> None:
    song = 0.3 * np.stack([noise(50_000), noise(50_000)[::-1]])
    found = streams.separate(separator(name, signal), song, 22_050)
    assert found["vocals"].shape == song.shape
    np.testing.assert_allclose(sum(found.values()), song, atol=1e-5)


@pytest.mark.parametrize("name", [*SMALL, "slots"])
def test_a_folder_holds_the_network_and_its_export(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = separator(name, SIGNAL)
    before.save(tmp_path / "V", {})
    waveform = noise(20_000)
    expected = before.estimate(waveform)
    loaded = Separator.load(tmp_path / "V")
    np.testing.assert_allclose(loaded.estimate(waveform), expected, atol=2e-6)
    export_model(tmp_path / "V", tmp_path / "given", tmp_path)
    card = (tmp_path / "given/README.md").read_text(encoding="utf-8")
    if name == "band_split":  # ONNX has no STFT of what torchaudio asks for
        assert "has no model.onnx, for the network band_split cannot" in capsys.readouterr().err
        assert not (tmp_path / "given" / ONNX).exists()
        assert ONNX not in card
        return
    assert ONNX in card
    without = load_onnx(tmp_path / "V", tmp_path / "given" / ONNX)
    for frames in (16, 48, 1024):
        np.testing.assert_allclose(without.estimate(waveform, frames), expected, atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_the_figures_patch_is_what_separation_gives(name: str) -> None:
    """Of Figure 3: the same frames by the stream of patches, silence beyond the ends."""
    separate, waveform = separator(name, SIGNAL), noise(256 * 80)
    mixture = torch.from_numpy(waveform)
    if not separate.network.representation.waveform:
        mixture = log_magnitude(stft(mixture, SIGNAL))
    (patch,) = Patches(separate, 1, 4096).push(waveform[None], last=True)
    for first in (0, 16, 64):
        found = figure.estimate_patch(separate, mixture, first, 24)
        own: Any = patch.estimates[..., first : first + 24]
        torch.testing.assert_close(
            found[..., 1 : own.shape[-1] - 1], own[..., 1:-1], atol=1e-3, rtol=1e-3
        )
