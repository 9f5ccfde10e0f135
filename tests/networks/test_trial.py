"""What is wrong with a network is found before it is trained; nothing is wrong with the built-in ones."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import UserError
from pipeline.networks.builders import build_critic, build_separator
from pipeline.networks.trial import try_critic, try_separator
from pipeline.params import Signal
from tests.helpers.places import TOP

SIGNAL = Signal(sample_rate=8000, fft_size=128, hop_size=64)
CPU = torch.device("cpu")
MINE = "networks/mine.py"
EXAMPLE, CRITIC = (
    (TOP / "networks" / name).read_text(encoding="utf-8")
    for name in ("example.py", "example_critic.py")
)


def tried(settings: dict[str, Any], signal: Signal = SIGNAL, **options: Any) -> None:
    build = partial(build_separator, settings, signal, 2)
    try_separator(settings["network"], build, signal, 2, 20, 100, CPU, **options)


def tried_critic(settings: dict[str, Any], penalised: bool = True) -> None:
    build = partial(build_critic, settings, SIGNAL, 20)
    try_critic(settings["network"], build, SIGNAL, 20, CPU, penalised)


@pytest.mark.parametrize(
    ("settings", "overlap", "precision"),
    [
        ({"network": "networks/example.py"}, 2, "bfloat16"),
        ({"network": "unet", "filters": 2, "depth": 3}, 2, "float32"),
        ({"network": "unet", "filters": 2, "depth": 1}, 2, "bfloat16"),
        ({"network": "unet", "filters": 2, "depth": 1, "output": "mask"}, 4, "float32"),
        ({"network": "wave_unet", "filters": 2, "depth": 4}, 4, "float32"),
        ({"network": "wave_unet", "filters": 2, "depth": 7}, 2, "float32"),
        ({"network": "band_split", "features": 4, "layers": 1, "bands": 4}, 4, "float32"),
    ],
)
def test_separators_hold_to_what_they_say(
    settings: dict[str, Any], overlap: int, precision: str
) -> None:
    signal = Signal(sample_rate=8000, fft_size=128, hop_size=128 // overlap)
    tried(settings, signal, precision=precision)


@pytest.mark.parametrize("penalised", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {"network": "networks/example_critic.py"},
        {"network": "dcgan", "filters": 2},
        {"network": "multi_resolution", "filters": 2, "resolutions": [[64, 32], [32, 16]]},
        {"network": "waveform", "filters": 2},
    ],
)
def test_critics_hold_to_what_they_say(settings: dict[str, Any], penalised: bool) -> None:
    tried_critic(settings, penalised)


MIXTURE = "self.layers(mixture)"
GIVEN = "return torch.log1p(shares * torch.expm1(middle))"
VALID = "return at_least"
SOURCES = "self.sources = sources"
FAULTS: list[tuple[str, str, str]] = [
    # what it gives
    (GIVEN, f"{GIVEN}[:, :1]",
     r"estimates: expected a tensor \(2, 2, 65, 20\) of a mixture \(2, 65, 28\) of noise, found a"
     r" tensor \(2, 1, 65, 20\)"),
    (GIVEN, f"{GIVEN}.transpose(2, 3)", r"estimates: .* found a tensor \(2, 2, 20, 65\)"),
    (GIVEN, f"{GIVEN}, 1", "estimates: .* found tuple"),
    (GIVEN, "pass", "estimates: .* found none"),
    (GIVEN, f"{GIVEN}.double()", "expected float32, found torch.float64"),
    (GIVEN, f"{GIVEN} * float('nan')", "estimates of noise: expected finite numbers, found NaN"),
    (GIVEN, f"{GIVEN} * float('inf')", "estimates of noise: .* found infinite values"),
    (GIVEN, f"{GIVEN} / mixture.mean((1, 2))[:, None, None, None]", "estimates of silence: .* found NaN"),
    (GIVEN, f"{GIVEN} - 1", "estimates: expected log magnitudes of at least 0, found -1"),
    (": -self.context]", ":]", "line 39: forward of a mixture .*: RuntimeError: The size of tensor"),
    (GIVEN, "return mixture.no_such", "line 39: forward of .*: AttributeError"),
    (GIVEN, "raise SystemExit", "line 39: forward of .*: SystemExit"),
    # what they depend on
    (": -self.context]", "-self.context :]", "forward of"),
    (MIXTURE, "self.layers(mixture - mixture.mean(dim=2, keepdim=True))",
     "estimates that depend on `context` 4 frames on both sides and nothing beyond, .* is after these"),
    (MIXTURE, "self.layers(mixture.cumsum(2) * 0.1)",
     "estimates that depend on `context` 4 frames .* on what is before these; set"),
    (MIXTURE, "self.layers(mixture.flip(0))", "expected estimates of each mixture by itself"),
    (MIXTURE, "self.layers(mixture + torch.rand_like(mixture))",
     "expected estimates of each mixture by itself"),
    (MIXTURE, "self.layers(mixture * (torch.arange(mixture.shape[2]) % 2))",
     "expected the same estimates in a patch that begins `grid` 1 frames later, found others; set"),
    (MIXTURE, "self.layers(mixture.mul_(0.5))", "expected a mixture that stays as it is"),
    # what is learned, and kept
    (SOURCES, f"{SOURCES}; self.unused = nn.Linear(2, 2)",
     "expected a gradient for each parameter, found none for unused.weight, unused.bias; use them"),
    (GIVEN, f"{GIVEN}.detach()", "found none for layers.0.weight, layers.0.bias, "),
    (GIVEN, f"{GIVEN[7:]}; torch.set_grad_enabled(True); "
     "return (torch.expm1(middle) * shares).sqrt()", "expected finite gradients, found others for"),
    (SOURCES, f"{SOURCES}; self.__dict__['gains'] = torch.rand(2, 1, 1)",
     "expected the same from the same weights once they were saved and loaded"),
    (SOURCES, f"{SOURCES}; self.one = self.two = None; "
     "self.register_buffer('a', torch.ones(2)); self.register_buffer('b', self.a)",
     "expected weights that can be saved and loaded, found"),
    (SOURCES, f"{SOURCES}; self.copied = nn.Parameter(torch.ones(2)) * 2", "copy.deepcopy"),
    # what it says of itself
    ("context = 4 ", "kontext = 4 ", "context: expected a whole number from 0 to 10000, found none"),
    ("context = 4 ", "context = -1", "context: .* found -1"),
    ("context = 4 ", "context = 4.0", "context: .* found 4.0"),
    ("context = 4 ", "context = 10**9", "context: .* found 1000000000"),
    ("context = 4 ", "context = True", "context: .* found True"),
    ("grid = 1 ", "grid = 0 ", "grid: expected a whole number from 1 to 10000, found 0"),
    ("grid = 1 ", "", "grid: .* found none"),
    ("representation = ", "seen = ", "representation: expected LOG_MAGNITUDES or Waveforms"),
    ("LOG_MAGNITUDES  #", "'log'  #", "representation: .* found 'log'"),
    ("def valid_frames", "def valid", "valid_frames: expected a method, found none"),
    (VALID, "return at_least - 1", r"valid_frames\(1\): expected the smallest number .* found 0"),
    (VALID, "return at_least + 1", r"valid_frames\(1\): expected the smallest number .* found 2"),
    (VALID, "return at_least * 1.0", r"valid_frames\(1\): .* found 1.0"),
    (VALID, "raise ValueError", "line 33: attributes: ValueError"),
    (VALID, "return max(at_least, 200)",
     r"needs excerpts of 200 frames \(valid_frames\), and the longest track .* has 100"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), FAULTS)
def test_a_separator_that_does_not(own_networks: Path, old: str, new: str, message: str) -> None:
    assert old in EXAMPLE
    text = EXAMPLE.replace(old, new)
    if "gains" in new:
        text = text.replace(GIVEN, f"{GIVEN} * self.gains")
    (own_networks / "mine.py").write_text(text, encoding="utf-8")
    refused(lambda: tried({"network": MINE}), message)


def refused(call: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^{MINE}(?:: |, ).*{message}") as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_pointwise_network_that_forgets_its_context(own_networks: Path) -> None:
    """Its estimates are of the right size and of the wrong place."""
    text = EXAMPLE.replace("width, 3)", "width, 1)").replace("width, 5)", "width, 1)")
    text = text.replace("bins, 3)", "bins, 1)").replace(
        "shares = ", "mixture = mixture[..., : -2 * self.context]\n        shares = "
    )
    text = text.replace(", self.context : -self.context]", "]")
    (own_networks / "mine.py").write_text(text, encoding="utf-8")
    refused(
        lambda: tried({"network": MINE}),
        "expected estimates of the mixture's middle, without `context` 4 frames on both sides",
    )


def test_one_without_an_end_to_what_it_sees_says_so(own_networks: Path) -> None:
    mean = "self.layers(mixture - mixture.mean(dim=2, keepdim=True))"
    text = EXAMPLE.replace(MIXTURE, mean).replace(
        "    grid = 1", "    unbounded = True\n    grid = 1"
    )
    (own_networks / "mine.py").write_text(text, encoding="utf-8")
    tried({"network": MINE})


def test_in_bfloat16_estimates_are_float32_all_the_same(own_networks: Path) -> None:
    text = EXAMPLE.replace("torch.expm1(middle)", "torch.expm1(middle).to(shares.dtype)")
    text = text.replace(".softmax(dim=1)", ".relu()")
    (own_networks / "mine.py").write_text(text, encoding="utf-8")
    tried({"network": MINE})
    message = "estimates in training: expected float32, found torch.bfloat16"
    refused(lambda: tried({"network": MINE}, precision="bfloat16"), message)


WAVE = """
from torch import nn
from pipeline.networks.representations import Waveforms

def build(signal, sources):
    return Wave(signal, sources)

class Wave(nn.Module):
    context = 1
    grid = 1

    def __init__(self, signal, sources):
        super().__init__()
        self.representation = Waveforms(signal)
        self.hop = signal.hop_size
        self.layer = nn.Conv1d(1, sources, 33)

    def valid_frames(self, at_least):
        return at_least

    def forward(self, mixture):
        cut = self.hop - 16
        return self.layer(mixture[:, None, cut : mixture.shape[1] - cut])
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "", ""),
        ("1, sources, 33)", "1, sources, 33, stride=2)", "forward of|estimates: expected a tensor"),
        ("Waveforms(signal)", "Waveforms(signal.model_copy(update={'hop_size': 32}))",
         "representation: expected Waveforms of the given signal"),
        ("mixture[:, None", "mixture.cumsum(1)[:, None", "what is before these"),
        ("mixture[:, None", "mixture.flip(1).cumsum(1).flip(1)[:, None", "what is after these"),
    ],
)  # fmt: skip
def test_a_separator_on_waveforms(own_networks: Path, old: str, new: str, message: str) -> None:
    assert old in WAVE
    (own_networks / "mine.py").write_text(WAVE.replace(old, new) if old else WAVE, encoding="utf-8")
    if not old:
        tried({"network": MINE})
    else:
        refused(lambda: tried({"network": MINE}), message)


SCORES = "return self.score(functional.leaky_relu(self.second(x), 0.2).mean(dim=2))"
VIEW = "return excerpts[..., : self.frames]"
CRITICS_FAULTS: Sequence[tuple[str, str, str]] = [
    (SCORES, f"{SCORES}[:, 0]", r"scores: expected a tensor \(2, 1\) of .*, found a tensor \(2\)"),
    (SCORES, f"{SCORES}.mean(dim=0, keepdim=True)", r"scores: .* found a tensor \(1, 1\)"),
    (SCORES, f"{SCORES} / seen.std(dim=(1, 2))[:, None]", "scores: expected finite numbers, found"),
    (SCORES, f"{SCORES} - seen.mean()", "expected scores of each excerpt by itself"),
    (SCORES, f"{SCORES}.detach()", "expected a gradient for each parameter, found none"),
    ("self.score = ", "self.unused = nn.Linear(1, 1); self.score = ", "found none for unused.weight"),
    (SCORES, "raise ValueError('no')", "line 33: forward of .*: ValueError: no"),
    (SCORES, "return self.score(functional.leaky_relu(self.second(x.round() - x.detach() + x), 0.2)"
     ".mean(2)) if False else self.score(self.second(self.first(seen.detach())).mean(2))",
     "expected scores with a gradient at the excerpts, found none"),
    (VIEW, f"{VIEW}.detach()", "expected scores with a gradient at the excerpts, found none"),
    (VIEW, "return 3", "view: expected a tensor of 2 excerpts, found 3"),
    (VIEW, "raise OSError('no')", "line 28: view of excerpts .*: OSError: no"),
    ("self.frames = frames", "self.frames = frames + 1", "frames: expected a whole number from 1 to 20"),
    ("def view", "def look", "view: expected a method, found none"),
    ("    def view", "    def input_gradient(self, seen):\n        return seen * 0 + 1\n\n    def view",
     "expected autograd's gradient|the gradient of its gradient"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), CRITICS_FAULTS)
def test_a_critic_that_does_not(own_networks: Path, old: str, new: str, message: str) -> None:
    assert old in CRITIC
    (own_networks / "mine.py").write_text(CRITIC.replace(old, new), encoding="utf-8")
    refused(lambda: tried_critic({"network": MINE}), message)
