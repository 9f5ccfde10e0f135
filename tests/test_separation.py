"""A separator on recordings of any length."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.models.unet import SpectrogramUNet
from pipeline.params import Signal
from pipeline.separation import CONFIG, WEIGHTS, Separator
from pipeline.spectrogram import log_magnitude, reconstruct, stft
from tests.conftest import TOP

SIGNAL = Signal(sample_rate=8000, fft_size=512, hop_size=256)


@pytest.fixture(scope="module")
def separator() -> Separator:
    torch.manual_seed(1)
    network = SpectrogramUNet(257, filters=2)
    torch.nn.init.normal_(network.unet.last.weight, std=0.3)
    return Separator(network.eval(), ("accompaniment", "vocals"), SIGNAL)


def noise(samples: int) -> NDArray[np.float32]:
    return np.random.default_rng(2).standard_normal(samples).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 2, 100, 256, 511, 513, 4000, 100_001])
def test_estimates_are_as_long_as_the_recording(separator: Separator, samples: int) -> None:
    estimates = separator.separate(noise(samples))
    assert estimates.shape == (2, samples)
    assert estimates.dtype == np.float32
    assert np.isfinite(estimates).all()


def test_fresh_separator_gives_each_source_its_share_of_log_magnitude() -> None:
    """Before training an estimate is log magnitude / sources: known in closed form."""
    fresh = Separator(SpectrogramUNet(257, filters=2), ("a", "b"), SIGNAL)
    waveform = noise(30_000)
    spectrum = stft(torch.from_numpy(waveform), SIGNAL)
    expected = reconstruct(log_magnitude(spectrum) / 2, spectrum, SIGNAL)[:30_000].numpy()
    for estimate in fresh.separate(waveform):
        np.testing.assert_allclose(estimate, expected, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 16, 48, 100, 4096])
def test_the_block_size_does_not_matter(separator: Separator, frames: int) -> None:
    waveform = noise(60_123)
    whole = separator.separate(waveform)
    pieces = torch.cat(list(separator.blocks(torch.from_numpy(waveform), frames)), dim=1)
    np.testing.assert_allclose(pieces[:, : len(waveform)].numpy(), whole, atol=2e-5)


def test_patches_of_the_training_size_give_the_same(separator: Separator) -> None:
    """What the paper does: a patch of 66 frames after the other; here cut where the grid allows."""
    waveform = noise(256 * 400)
    spectrum = stft(torch.from_numpy(waveform), SIGNAL)
    network = separator.network
    mixture = torch.nn.functional.pad(log_magnitude(spectrum), (network.context, 600))
    with torch.inference_mode():
        patches = [
            network(mixture[None, :, first : first + 66 + 2 * network.context])[0, :, :, :64]
            for first in range(0, spectrum.shape[1], 64)
        ]
    estimates = torch.cat(patches, dim=2)[:, :, : spectrum.shape[1]]
    expected = reconstruct(estimates, spectrum, SIGNAL)[:, : len(waveform)].numpy()
    np.testing.assert_allclose(separator.separate(waveform), expected, atol=2e-5)


def test_a_saved_model_is_the_same_model(separator: Separator, tmp_path: Path) -> None:
    separator.save(tmp_path / "m", {"seed": 1})
    loaded = Separator.load(tmp_path / "m")
    waveform = noise(20_000)
    np.testing.assert_allclose(loaded.separate(waveform), separator.separate(waveform), atol=1e-6)
    assert loaded.sources == separator.sources
    assert json.loads((tmp_path / "m" / CONFIG).read_text())["seed"] == 1


@pytest.mark.slow
def test_hours_need_no_more_memory_than_the_signal_and_its_estimates(tmp_path: Path) -> None:
    """Two hours: 230 MB of mixture, twice that of estimates, and a padded copy; not 20 GB of features."""
    script = (
        "import torch; from pathlib import Path; import numpy as np\n"
        "from pipeline.separation import Separator\n"
        "from tests.test_separation import SIGNAL; from pipeline.models.unet import SpectrogramUNet\n"
        "s = Separator(SpectrogramUNet(257, filters=1).eval(), ('a', 'b'), SIGNAL)\n"
        "n = 2 * 3600 * 8000; x = np.random.default_rng(0).standard_normal(n, np.float32)\n"
        "assert s.separate(x).shape == (2, n)\n"
        "print(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2_500_000  # kB, torch itself included


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), f"no {WEIGHTS}"),
        (lambda folder: (folder / CONFIG).unlink(), f"no {CONFIG}"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"nothing"), "damaged"),
        (lambda folder: (folder / CONFIG).write_text("{"), "damaged"),
        (lambda folder: (folder / CONFIG).write_text('{"format": 99}'), "model format 99"),
    ],
)
def test_damaged_model_folders(separator: Separator, tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    separator.save(tmp_path / "m", {})
    damage(tmp_path / "m")
    with pytest.raises(UserError, match=said) as caught:
        Separator.load(tmp_path / "m")
    assert "\n" not in str(caught.value)
