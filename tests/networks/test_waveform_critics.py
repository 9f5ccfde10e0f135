"""The critics on waveforms, and what they are shown: closed forms, sizes, and what they can learn."""

import math
from functools import partial
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.features.stft import reconstruct, stft
from pipeline.networks import sight
from pipeline.networks.builders import build_critic
from pipeline.networks.critics.multi_resolution import MultiResolutionCritic
from pipeline.networks.critics.waveform import WaveformCritic
from pipeline.networks.gradients import input_gradient
from pipeline.networks.interfaces import CriticNetwork
from pipeline.networks.representations import LOG_MAGNITUDES, Waveforms
from pipeline.params import Signal
from pipeline.training.losses import divergence, gradient_penalty
from pipeline.training.starts import as_they_are, normalise

SIGNAL = Signal(sample_rate=8000, fft_size=512, hop_size=256)
CLOSER = Signal(sample_rate=8000, fft_size=512, hop_size=128)
RESOLUTIONS = [[256, 64], [512, 128], [128, 32]]
SETTINGS: dict[str, dict[str, Any]] = {
    "dcgan": {"network": "dcgan", "filters": 2},
    "multi_resolution": {
        "network": "multi_resolution", "filters": 2, "resolutions": RESOLUTIONS,
    },
    "waveform": {"network": "waveform", "filters": 2},
}  # fmt: skip
ON_WAVEFORMS = ("multi_resolution", "waveform")


def built(name: str, frames: int = 66, filters: int = 2) -> CriticNetwork:
    torch.manual_seed(4)
    network = build_critic(SETTINGS[name] | {"filters": filters}, SIGNAL, frames)
    return cast(CriticNetwork, network)


def excerpts(name: str, count: int, frames: int = 66) -> Tensor:
    """Noise, as `view` takes it."""
    shape = (SIGNAL.covered(frames),) if name in ON_WAVEFORMS else (SIGNAL.bins, frames)
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1)).abs() + 0.1


# ----------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("name", ON_WAVEFORMS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_gradient_is_the_slope_of_the_score(name: str, mode: Any) -> None:
    """Also where validation asks for it, in inference mode, whose tensors have no gradient."""
    critic = cast(nn.Module, built(name, 20)).double()
    with mode():
        seen = critic.view(excerpts(name, 2, 20).double())  # type: ignore[operator]
        gradient = input_gradient(critic, seen)
        assert gradient.shape == seen.shape
        for item, place in [(0, 3), (1, seen.shape[1] // 2), (1, seen.shape[1] - 400)]:
            step = torch.zeros_like(seen)
            step[item, place] = 1e-6
            slope = (critic(seen + step) - critic(seen - step)).sum() / 2e-6
            assert float(gradient[item, place]) == pytest.approx(float(slope), rel=1e-4, abs=1e-9)
    assert float(gradient.abs().max()) > 0


@pytest.mark.parametrize("name", ON_WAVEFORMS)
def test_the_penaltys_gradient_reaches_every_weight(name: str) -> None:
    """A second derivative, by differences of the penalty itself."""
    critic = cast(nn.Module, built(name, 20)).double()
    seen = critic.view(excerpts(name, 2, 20).double())  # type: ignore[operator]
    weight = next(one for key, one in critic.named_parameters() if key.endswith("weight"))

    def penalty() -> Tensor:
        slope = partial(input_gradient, critic)
        return gradient_penalty(slope, seen, seen, torch.zeros(2), one_sided=False)

    penalty().backward()
    assert weight.grad is not None
    place, found = 0, weight.grad.flatten()[0]
    with torch.no_grad():
        at = weight.view(-1)
        values = []
        for sign in (1, -2):
            at[place] += sign * 1e-6
            values.append(float(penalty()))
    assert float(found) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-3)
    for key, one in critic.named_parameters():
        if key.endswith("weight"):  # biases move corners, not slopes
            assert one.grad is not None, key
            assert float(one.grad.abs().max()) > 0, key


def test_resolutions_are_judged_by_themselves_and_count_the_same() -> None:
    """The score by torch.stft and functional convolutions."""
    critic = cast(MultiResolutionCritic, built("multi_resolution"))
    heard, scores = excerpts("multi_resolution", 3), []
    for network, (window, hop) in zip(critic.networks, RESOLUTIONS, strict=True):
        weights = dict(network.named_parameters())
        spectra = torch.stft(
            heard, window, hop, window=torch.hann_window(window), center=False, return_complex=True
        )
        x = torch.log(1 + spectra.abs())[:, None]
        halvings = int(math.log2(min(x.shape[2:]) / 4))
        assert len(network.convs) == halvings  # type: ignore[arg-type]
        for number in range(halvings):
            kernel, bias = (weights[f"convs.{number}.{key}"] for key in ("weight", "bias"))
            x = functional.leaky_relu(functional.conv2d(x, kernel, bias, 2, 1), 0.2)
        assert 4 <= min(x.shape[2:]) < 8
        scores.append(functional.conv2d(x, weights["score.weight"], padding=1).mean(dim=(1, 2, 3)))
    torch.testing.assert_close(critic(heard)[:, 0], torch.stack(scores).mean(dim=0))


def test_who_sees_magnitudes_cannot_tell_a_waveform_from_its_negative() -> None:
    for name, same in (("multi_resolution", True), ("waveform", False)):
        critic, heard = built(name), excerpts(name, 2)
        scores, others = (critic(critic.view(one)) for one in (heard, -heard))
        assert torch.allclose(scores, others) == same


def test_every_sample_counts_that_a_window_holds() -> None:
    """And none behind the last whole window of a resolution."""
    frames = 20
    critic = cast(MultiResolutionCritic, built("multi_resolution", frames))
    heard = excerpts("multi_resolution", 1, frames)[:, :4800]
    for network, (window, hop) in zip(critic.networks, RESOLUTIONS, strict=True):
        asked = input_gradient(network, heard)[0]
        last = (heard.shape[1] - window) // hop * hop + window
        assert (asked[1:last].abs() > 0).float().mean() > 0.99
        assert (asked[last:] == 0).all()
    single = cast(WaveformCritic, built("waveform", frames))
    seen = single.view(excerpts("waveform", 1, frames))
    assert (input_gradient(single, seen).abs() > 0).all()


# ------------------------------------------------------------------------------------------ sizes


def test_the_papers_excerpts_have_the_published_layers() -> None:
    critic = WaveformCritic(SIGNAL, 66, 64)
    shapes = [tuple(conv.weight.shape) for conv in critic.convs]  # type: ignore[union-attr]
    assert critic.samples == 16384
    assert shapes == [
        (64, 1, 25), (128, 64, 25), (256, 128, 25), (512, 256, 25), (1024, 512, 25),
    ]  # fmt: skip
    assert critic.score.weight.shape == (1, 16 * 1024)


@pytest.mark.parametrize("frames", [16, 17, 66, 130, 333])
@pytest.mark.parametrize("name", SETTINGS)
def test_depth_and_size_follow_from_the_excerpt(name: str, frames: int) -> None:
    """Any excerpt is scored; layers are added for longer ones; the middle of it is seen."""
    critic, heard = built(name, frames), excerpts(name, 2, frames)
    assert critic(critic.view(heard)).shape == (2, 1)
    longer = cast(nn.Module, built(name, 8 * frames)).parameters()
    assert len(list(longer)) >= len(list(cast(nn.Module, critic).parameters()))
    seen = critic.view(torch.arange(float(heard.shape[-1])).expand(heard.shape))
    lost = heard.shape[-1] - seen.shape[-1]
    assert float(seen.min()) == lost // 2
    assert 5 * seen.shape[-1] > 4 * heard.shape[-1]


@pytest.mark.parametrize(
    ("name", "frames", "said"),
    [
        ("waveform", 1, "waveform: expected excerpts of 64 samples or more, found 0"),
        ("multi_resolution", 6, "resolutions: expected excerpts of 1408 samples or more, found 1280"),
        ("dcgan", 7, "dcgan: expected excerpts of 8 bins and frames or more, found 256 and 7"),
    ],
)  # fmt: skip
def test_an_excerpt_that_is_too_short_is_said(name: str, frames: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_critic(SETTINGS[name], SIGNAL, frames)
    build_critic(SETTINGS[name], SIGNAL, frames + 1)


@pytest.mark.parametrize("name", ON_WAVEFORMS)
def test_in_bfloat16_scores_are_float32_and_near(name: str) -> None:
    critic, heard = built(name, 20, 8), excerpts(name, 2, 20)
    exact = critic(critic.view(heard)).detach()
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        rounded = critic(critic.view(heard)).detach()
        gradient = input_gradient(critic, critic.view(heard))
    assert rounded.dtype == gradient.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert (rounded - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("name", SETTINGS)
def test_every_layer_is_normalised(name: str) -> None:
    """Of every matrix of weights the largest singular value is 1; undone, scores stay."""
    critic = cast(nn.Module, built(name, 16))
    with torch.no_grad():
        for one in critic.parameters():
            one *= 3
    normalise(critic)
    seen = critic.view(excerpts(name, 1, 16))  # type: ignore[operator]
    for _ in range(20):  # each pass is a step of the power iteration
        critic(seen)
    critic.eval()
    scores = critic(seen)
    as_they_are(critic)
    torch.testing.assert_close(critic(seen), scores)
    sizes = [torch.linalg.matrix_norm(one.flatten(1), 2) for one in critic.parameters()
             if one.dim() > 1]  # fmt: skip
    torch.testing.assert_close(torch.stack(sizes), torch.ones(len(sizes)), rtol=0.05, atol=0)


# --------------------------------------------------------------------------------- what they see


@pytest.mark.parametrize("signal", [SIGNAL, CLOSER], ids=["50 %", "75 %"])
def test_real_and_estimated_excerpts_are_the_same_stretch(signal: Signal) -> None:
    """A perfect estimate is the recording, whatever the separator gives."""
    torch.manual_seed(2)
    seen, frames = Waveforms(signal), 20
    heard = torch.randn(3, signal.samples(frames))
    real = sight.of_real(heard, seen)
    begin = signal.fft_size // 2 + (signal.reach - 1) * signal.hop_size
    assert torch.equal(real, heard[:, begin : len(heard[0]) - begin])
    assert real.shape[1] == signal.covered(frames)
    mixtures, phases = sight.of_mixtures(heard, 0, LOG_MAGNITUDES, seen)
    magnitudes = sight.of_estimates(mixtures[:, None], phases, LOG_MAGNITUDES, seen)
    torch.testing.assert_close(magnitudes[:, 0], real, atol=1e-4, rtol=0)
    waveforms = sight.of_estimates(heard[:, None], None, seen, seen)
    assert torch.equal(waveforms[:, 0], real)


@pytest.mark.parametrize("signal", [SIGNAL, CLOSER], ids=["50 %", "75 %"])
def test_an_excerpts_ends_sound_as_in_the_whole_track(signal: Signal) -> None:
    """Of an estimate with another phase too, whose windows contradict each other."""
    torch.manual_seed(3)
    spectrum = stft(torch.randn(1, 40 * signal.hop_size), signal)
    estimate = torch.rand(spectrum.shape)
    whole = reconstruct(estimate, spectrum, signal)
    first, frames = 7, 20
    part = (estimate[..., first : first + frames], spectrum[..., first : first + frames])
    found = Waveforms(signal).reconstructed(*part)
    begin = (first + signal.reach - 1) * signal.hop_size
    torch.testing.assert_close(
        found, whole[:, begin : begin + signal.covered(frames)], atol=1e-5, rtol=0
    )


# -------------------------------------------------------------------------------- what they learn


@pytest.mark.parametrize("name", ON_WAVEFORMS)
def test_a_few_steps_tell_tones_from_noise(name: str) -> None:
    """Of the same energy, on excerpts that it has not learned from, whatever it said at first."""
    critic, frames = built(name, 16, filters=4), 16
    optimiser = torch.optim.Adam(cast(nn.Module, critic).parameters(), 5e-3)

    def shown(tones: bool, seed: int) -> Tensor:
        random = torch.Generator().manual_seed(seed)
        time = torch.arange(SIGNAL.samples(frames)) / SIGNAL.sample_rate
        if tones:
            hertz, phase = 200 + 600 * torch.rand(2, 4, 1, generator=random)
            heard = 0.2 * torch.sin(2 * math.pi * hertz * time + phase)
        else:
            heard = 0.2 / math.sqrt(2) * torch.randn(4, len(time), generator=random)
        return critic.view(sight.of_real(heard, sight.seen_by([critic])))

    with torch.no_grad():
        likes_tones = bool(critic(shown(True, 0)).mean() > critic(shown(False, 1)).mean())
    for step in range(15):
        real, fake = shown(not likes_tones, 2 * step), shown(likes_tones, 2 * step + 1)
        slope = partial(input_gradient, critic)
        penalty = gradient_penalty(slope, real, fake, torch.linspace(0, 1, 4))
        loss = 10 * penalty - divergence(critic(real), critic(fake), "wasserstein")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        real, fake = critic(shown(not likes_tones, 1000)), critic(shown(likes_tones, 1001))
        assert real.min() > fake.max()
