"""What a critic asks for: against finite differences, and its sign on a planted example."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.errors import UserError
from pipeline.features.stft import reconstruct
from pipeline.networks.builders import build_critic
from pipeline.networks.critics.dcgan import DCGANCritic
from pipeline.networks.interfaces import CriticNetwork
from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.params import Signal
from pipeline.report.critics import critic_gradient, estimate_patch
from pipeline.separation.model_folder import CONFIG, load_critics
from pipeline.separation.separator import Separator
from pipeline.training.losses import divergence, gradient_penalty

SIGNAL = Signal(sample_rate=8000, fft_size=512, hop_size=256)
HARMONICS, PLANTED = torch.arange(20, 120, 20), 70
"""Rows of what the critic sees; bin 0 of the spectrogram is not among them."""


def excerpts(count: int, harmonics: float, planted: float, seed: int) -> Tensor:
    """Log magnitudes (n, 257, 66): faint noise, lines at the harmonics, one line elsewhere."""
    random = torch.Generator().manual_seed(seed)
    levels = 0.8 + 0.4 * torch.rand(count, 1, 1, generator=random)
    noise = 0.05 * torch.rand(count, 257, 66, generator=random)
    noise[:, HARMONICS + 1] += harmonics * levels
    noise[:, PLANTED + 1 : PLANTED + 2] += planted * levels
    return noise


def test_the_gradient_is_positive_where_energy_lacks_and_negative_where_it_is_too_much() -> None:
    """Train a small critic as training does; real: lines, fake: weaker ones and a planted one."""
    torch.manual_seed(3)
    critic = DCGANCritic(filters=4)
    optimiser = torch.optim.Adam(critic.parameters(), lr=1e-3)
    for step in range(60):
        real = critic.view(excerpts(8, 2.0, 0.0, 2 * step))
        fake = critic.view(excerpts(8, 1.0, 2.0, 2 * step + 1))
        epsilon = torch.rand(8, generator=torch.Generator().manual_seed(step))
        penalty = gradient_penalty(critic.input_gradient, real, fake, epsilon)
        loss = 10 * penalty - divergence(critic(real), critic(fake), "wasserstein")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    gradient = critic_gradient(critic, excerpts(4, 1.0, 2.0, 999))
    assert gradient.shape == (4, 1, 256, 64)
    rows = gradient.mean(dim=(0, 1, 3))
    assert (rows[HARMONICS] > 0).all()
    assert rows[PLANTED] < 0
    # Nothing is asked of the silence between the lines that would compare with these.
    silent = torch.ones(256, dtype=torch.bool)
    for row in (*HARMONICS.tolist(), PLANTED):
        silent[row - 8 : row + 9] = False
    assert rows[HARMONICS].mean() > rows[silent].abs().mean()
    assert -rows[PLANTED] > rows[silent].abs().mean()


def test_it_is_the_slope_of_the_score() -> None:
    torch.manual_seed(4)
    critic = DCGANCritic(filters=2).double()
    estimate = torch.rand(2, 257, 66, dtype=torch.float64)
    gradient = critic_gradient(critic, estimate)
    for item, row, frame in [(0, 3, 5), (1, 200, 63), (1, 0, 0)]:
        step = torch.zeros_like(estimate)
        step[item, row + 1, frame + 1] = 1e-5  # no DC; the central 64 of 66 frames
        up, down = (critic(critic.view(estimate + sign * step)).sum() for sign in (1, -1))
        slope = float((up - down).detach() / 2e-5)
        assert float(gradient[item, 0, row, frame]) == pytest.approx(slope, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(
    "settings",
    [{"network": "waveform", "filters": 2},
     {"network": "multi_resolution", "filters": 2, "resolutions": [[256, 64]]}],
)  # fmt: skip
def test_of_a_critic_on_waveforms_it_is_the_slope_by_the_estimates_magnitudes(
    settings: dict[str, Any],
) -> None:
    """As they sound with a phase; the paper's figure for every critic."""
    torch.manual_seed(4)
    critic = build_critic(settings, SIGNAL, 20).double()
    judge = cast(CriticNetwork, critic)
    estimate = torch.rand(2, 257, 20, dtype=torch.float64)
    spectrum = torch.randn(2, 257, 20, dtype=torch.complex128)
    gradient = critic_gradient(judge, estimate, spectrum)
    assert gradient.shape == (2, 1, 256, 20)
    for item, row, frame in [(0, 3, 5), (1, 200, 11), (1, 0, 10)]:
        step = torch.zeros_like(estimate)
        step[item, row + 1, frame] = 1e-5
        up, down = (
            critic(judge.view(reconstruct(estimate + sign * step, spectrum, SIGNAL))).sum()
            for sign in (1, -1)
        )
        slope = float((up - down).detach() / 2e-5)
        assert float(gradient[item, 0, row, frame]) == pytest.approx(slope, rel=1e-3, abs=1e-9)


def test_it_leaves_estimate_and_critic_as_they_were() -> None:
    critic, estimate = DCGANCritic(filters=2), torch.rand(1, 257, 64)
    before = estimate.clone()
    with torch.no_grad():
        critic_gradient(critic, estimate)
    assert torch.equal(estimate, before)
    assert all(parameter.grad is None for parameter in critic.parameters())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder as far as its critics go."""
    config = {
        "format": 1, "sources": ["accompaniment", "vocals"], "separator": {"filters": 2, "depth": 2},
        "critics": ["vocals"], "critic": {"filters": 2}, "signal": SIGNAL.model_dump(),
    }  # fmt: skip
    (tmp_path / CONFIG).write_text(json.dumps(config))
    torch.manual_seed(5)
    save_file(DCGANCritic(filters=2).state_dict(), tmp_path / "critic-vocals.safetensors")
    return tmp_path


def test_critics_are_read_as_they_were_written(folder: Path) -> None:
    torch.manual_seed(5)
    written = DCGANCritic(filters=2)
    critics = load_critics(folder)
    assert list(critics) == ["vocals"]
    view = torch.rand(3, 1, 256, 64)
    assert torch.equal(critics["vocals"](view), written(view))
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, "critics": []}))
    assert load_critics(folder) == {}


def test_a_critic_that_cannot_be_read_is_one_line(folder: Path) -> None:
    path = folder / "critic-vocals.safetensors"
    for damage in (lambda: path.write_bytes(path.read_bytes()[:100]), path.unlink):
        damage()
        with pytest.raises(UserError, match="critic cannot be read") as error:
            load_critics(folder)
        said = str(error.value)
        assert said.startswith(f"{path}: ")
        assert f"train@{folder.name}" in said
        assert "\n" not in said


def test_a_patch_does_not_depend_on_where_it_begins_nor_on_the_ends_of_the_track() -> None:
    torch.manual_seed(6)
    network = SpectrogramUNet(257, filters=2, depth=2)
    torch.nn.init.normal_(network.unet.last.weight, std=0.3)
    separator = Separator(network.eval(), ("accompaniment", "vocals"), SIGNAL)
    track = torch.rand(257, 90)
    first, second = (estimate_patch(separator, track, start, 64) for start in (8, 16))
    assert first.shape == (2, 257, 64)
    torch.testing.assert_close(first[:, :, 8:], second[:, :, :-8])
    assert first.std() > 0
    # Beyond the ends there is silence, as if it had been recorded.
    silence = torch.zeros(257, 40)
    longer = torch.cat([silence, track, silence], dim=1)
    for start in (0, 64):
        torch.testing.assert_close(
            estimate_patch(separator, track, start, 64),
            estimate_patch(separator, longer, start + 40, 64),
        )
