"""What a network must hold to, tried on random excerpts: a user's own before anything is trained.

The built-in ones are tried by a test. Each fault is one line that names the network, what was expected
and what came. The trial sets torch's global generator.
"""

import copy
from collections.abc import Callable
from typing import NoReturn, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pipeline.errors import UserError, in_one_line, listing
from pipeline.networks.gradients import input_gradient
from pipeline.networks.interfaces import CriticNetwork, OwnInputGradient, SeparatorNetwork
from pipeline.networks.own import faults_named
from pipeline.networks.representations import LogMagnitudes, Waveforms
from pipeline.networks.sight import seen_by
from pipeline.params import Signal

LONGEST = 10_000
"""Frames: more than any excerpt has."""
EXCERPTS = 2
"""The first is noise, the second silence where that is asked for."""
TOLERANCE = 1e-3
"""Of the largest estimate: what rounding, in another order on another device, may change."""
UNBOUNDED = "set `unbounded = True` if its layers have no end to what they see (docs/networks.md)"
LOUD = 4.0
"""What noise is multiplied by where it must not be heard."""


def check_separator(network: nn.Module, name: str, signal: Signal) -> None:
    """Raise UserError unless a network has the attributes of a `SeparatorNetwork`."""
    with faults_named(name, "attributes"):
        _check_representation(name, signal, getattr(network, "representation", None))
        _check_number(network, name, "context", 0, LONGEST)
        _check_number(network, name, "grid", 1, LONGEST)
        _check_callable(network, name, "valid_frames")
        valid = cast(SeparatorNetwork, network).valid_frames
        for frames in (1, 2, 3, 64, 100, 1025):
            found = valid(frames)
            if type(found) is not int or found < frames or valid(found) != found:
                raise UserError(
                    f"{name}: valid_frames({frames}): expected the smallest number of frames from"
                    f" {frames} on that a patch can have, found {found!r}"
                )


def check_critic(network: nn.Module, name: str, signal: Signal, frames: int) -> None:
    """Raise UserError unless a network has the attributes of a `CriticNetwork`."""
    with faults_named(name, "attributes"):
        _check_representation(name, signal, seen_by([network]))
        _check_number(network, name, "frames", 1, frames)
        _check_callable(network, name, "view")


def try_separator(
    name: str,
    build: Callable[[], nn.Module],
    signal: Signal,
    sources: int,
    frames: int,
    longest: int,
    device: torch.device,
    precision: str = "float32",
) -> None:
    """Raise UserError unless a separator can be trained, saved and applied to songs in patches.

    build: makes it, with the attributes that `check_separator` asks for; frames: of an excerpt;
    longest: frames of the longest track that it is trained with.
    """
    torch.manual_seed(0)
    network = build().to(device)
    separator = cast(SeparatorNetwork, network)
    size = separator.valid_frames(frames)
    if size > max(longest, frames):
        raise UserError(
            f"{name}: needs excerpts of {size} frames (valid_frames), and the longest track that it would"
            f" learn from has {longest}; expected at most that"
        )
    tried = _Separation(name, separator, signal, sources)
    network.eval()
    with torch.no_grad():
        tried.check_estimates(size, device)
        tried.check_places(separator.valid_frames(max(frames, 2 * separator.grid, 16)), device)
    network.train()
    mixture = tried.noise(size, device)
    mixture[1:] = 0
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        estimates = tried.estimates(mixture, size, "in training")
    _check_gradients(network, name, estimates)
    network.eval()
    again = _saved_and_loaded(network, name, build).to(device).eval()
    with torch.no_grad(), faults_named(name, "forward"):
        _check_same_after_loading(name, network(mixture), again(mixture))


def try_critic(
    name: str,
    build: Callable[[], nn.Module],
    signal: Signal,
    frames: int,
    device: torch.device,
    penalised: bool,
) -> None:
    """Raise UserError unless a critic can be trained and asked.

    frames: of the excerpts; penalised: whether its gradient is, which takes a second derivative.
    """
    torch.manual_seed(0)
    network = build().to(device)
    critic = cast(CriticNetwork, network)
    excerpts = torch.rand(EXCERPTS, signal.bins, frames).to(device)
    if seen_by([network]).waveform:
        excerpts = 0.1 * torch.randn(EXCERPTS, signal.covered(frames)).to(device)
    excerpts[1:] = 0
    excerpts.requires_grad_()
    with faults_named(name, f"view of excerpts {_shape(excerpts)}"):
        seen = critic.view(excerpts)
    if not isinstance(seen, Tensor) or len(seen) != EXCERPTS:
        _expected(name, "view", f"a tensor of {EXCERPTS} excerpts", seen)
    before = seen.detach().clone()
    with faults_named(name, f"forward of {_shape(seen)}"):
        scores = critic(seen)
        alone = critic(seen[:1])
    if not isinstance(scores, Tensor) or scores.shape != (EXCERPTS, 1):
        _expected(name, "scores", f"a tensor ({EXCERPTS}, 1) of {EXCERPTS} excerpts", scores)
    _check_finite(name, "scores", scores)
    if not torch.equal(before, seen):
        raise UserError(
            f"{name}: expected an input that stays as it is, found that forward changes it"
        )
    if not _close(scores[:1], alone):
        raise UserError(
            f"{name}: expected scores of each excerpt by itself, found that they depend on the others of"
            " the batch, or on chance; a critic has no BatchNorm and no Dropout"
        )
    _check_gradients(network, name, scores)
    if excerpts.grad is None:
        raise UserError(
            f"{name}: expected scores with a gradient at the excerpts, found none: something in view or"
            " forward cuts it"
        )
    if penalised:
        _check_penalty(network, name, before)
    again = _saved_and_loaded(network, name, build).to(device)
    with torch.no_grad(), faults_named(name, "forward"):
        _check_same_after_loading(name, critic(before), again(before))


class _Separation:
    """Forward passes of a separator, and what its estimates may depend on."""

    def __init__(self, name: str, network: SeparatorNetwork, signal: Signal, sources: int) -> None:
        self.name, self.network, self.signal, self.sources = name, network, signal, sources
        self.waveform = network.representation.waveform
        self.context = network.context
        self.exact = not getattr(network, "unbounded", False)

    def shape(self, frames: int) -> tuple[int, ...]:
        """Of an excerpt of so many frames."""
        return (self.signal.samples(frames),) if self.waveform else (self.signal.bins, frames)

    def noise(self, frames: int, device: torch.device) -> Tensor:
        """Mixtures for so many output frames, with context (n, …)."""
        shape = self.shape(frames + 2 * self.context)
        made = (
            0.1 * torch.randn(EXCERPTS, *shape) if self.waveform else torch.rand(EXCERPTS, *shape)
        )
        return made.to(device)

    def estimates(self, mixture: Tensor, frames: int, where: str = "") -> Tensor:
        """What the network gives, if it is of the right kind, shape and size."""
        where = f" {where}".rstrip()
        with faults_named(self.name, f"forward of a mixture {_shape(mixture)}{where}"):
            found = self.network(mixture)
        shape = (len(mixture), self.sources, *self.shape(frames))
        if not isinstance(found, Tensor) or found.shape != shape:
            of = f"a tensor {shape} of a mixture {_shape(mixture)}{where}"
            _expected(self.name, "estimates", of, found)
        _check_finite(self.name, f"estimates{where}", found)
        if not self.waveform and found.numel() and found.min() < 0:
            raise UserError(
                f"{self.name}: estimates: expected log magnitudes of at least 0, found"
                f" {found.min().item():.3g}"
            )
        return found

    def check_estimates(self, frames: int, device: torch.device) -> None:
        """Their shape at several sizes, and that they are of each mixture by itself."""
        mixture = self.noise(frames, device)
        before = mixture.clone()
        found = self.estimates(mixture, frames, "of noise")
        if not torch.equal(before, mixture):
            raise UserError(
                f"{self.name}: expected a mixture that stays as it is, found that forward changes it"
            )
        if not _close(found[:1], self.estimates(mixture[:1], frames)):
            raise UserError(
                f"{self.name}: expected estimates of each mixture by itself, found that those of one"
                " alone and in a batch differ (after eval(), without gradients)"
            )
        self.estimates(torch.zeros_like(mixture), frames, "of silence")
        smallest = self.network.valid_frames(1)
        if smallest < frames:
            self.estimates(self.noise(smallest, device), smallest, "in the smallest patch")

    def check_places(self, frames: int, device: torch.device) -> None:
        """That an estimate is of its own place, and the same in all patches that have its context."""
        grid, context = self.network.grid, self.context
        whole = self.noise(frames + grid, device)
        mixture = whole[..., : self.shape(frames + 2 * context)[-1]]
        found = self.estimates(mixture, frames)
        half = max(frames // 2 // grid, 1) * grid
        frame = slice(self.first(half), self.shape(half + 1)[-1])
        its_own = slice(self.first(half + context), self.shape(half + 1 + context)[-1])
        heard = self.estimates(_louder(mixture, its_own), frames)
        if _close(heard[..., frame], found[..., frame], 0.0):
            raise UserError(
                f"{self.name}: expected estimates of the mixture's middle, without `context` {context}"
                " frames on both sides, found that those of a frame do not depend on this frame"
            )
        if not self.exact:
            return
        part = self.network.valid_frames(half)
        if part < frames:
            size = self.shape(part + 2 * context)[-1]
            self._same(self.estimates(mixture[..., :size], part), found, 0, "after")
        before = self.estimates(_louder(mixture, slice(0, self.first(half))), frames)
        self._same(before[..., self.first(half) :], found, half, "before")
        shifted = self.estimates(whole[..., self.first(grid) :], frames)
        end = self.shape(frames - grid)[-1]
        if not _close(
            self._inside(shifted[..., :end]), self._inside(found[..., self.first(grid) :])
        ):
            raise UserError(
                f"{self.name}: expected the same estimates in a patch that begins `grid` {grid} frames"
                f" later, found others; {UNBOUNDED}"
            )

    def first(self, frame: int) -> int:
        """Where this frame begins."""
        return frame * self.signal.hop_size if self.waveform else frame

    def _same(self, estimates: Tensor, found: Tensor, frame: int, where: str) -> None:
        """Raise UserError unless estimates from this frame on are those that were found."""
        expected = found[..., self.first(frame) :][..., : estimates.shape[-1]]
        if not _close(self._inside(estimates), self._inside(expected)):
            raise UserError(
                f"{self.name}: expected estimates that depend on `context` {self.context} frames on both"
                f" sides and nothing beyond, found that they depend on what is {where} these; {UNBOUNDED}"
            )

    def _inside(self, estimates: Tensor) -> Tensor:
        """What is taken of a patch: of waveforms, from the centre of its first frame to its last's."""
        half = self.signal.fft_size // 2 if self.waveform else 0
        return estimates[..., half : estimates.shape[-1] - half]


def _louder(mixture: Tensor, where: slice) -> Tensor:
    changed = mixture.clone()
    changed[..., where] *= LOUD
    return changed


def _close(one: Tensor, other: Tensor, tolerance: float = TOLERANCE) -> bool:
    """Whether two differ by rounding at most; where they have no number, they do not."""
    if not one.numel():
        return True
    return bool((one - other).abs().max() <= tolerance * other.abs().max())


def _check_finite(name: str, what: str, found: Tensor) -> None:
    if found.dtype != torch.float32:
        raise UserError(f"{name}: {what}: expected float32, found {found.dtype}")
    if not found.isfinite().all():
        kind = "NaN" if found.isnan().any() else "infinite values"
        raise UserError(f"{name}: {what}: expected finite numbers, found {kind}")


def _check_gradients(network: nn.Module, name: str, found: Tensor) -> None:
    """Raise UserError unless each parameter has a finite gradient."""
    learned = {key: one for key, one in network.named_parameters() if one.requires_grad}
    if not learned:
        raise UserError(f"{name}: expected parameters to learn, found none")
    if found.requires_grad:
        with faults_named(name, "backward"):
            (found * torch.rand_like(found)).sum().backward()
    without = [key for key, one in learned.items() if one.grad is None]
    if without:
        raise UserError(
            f"{name}: expected a gradient for each parameter, found none for {listing(without)}; use"
            " them, or set requires_grad of theirs to False"
        )
    wrong = [key for key, one in learned.items() if not cast(Tensor, one.grad).isfinite().all()]
    if wrong:
        raise UserError(
            f"{name}: expected finite gradients, found others for {listing(wrong)}, of noise and silence"
        )


def _check_penalty(network: nn.Module, name: str, seen: Tensor) -> None:
    """Raise UserError unless the gradient at what a critic sees has one itself, and is a gradient."""
    critic = cast(CriticNetwork, network)
    network.zero_grad()
    with faults_named(name, "the gradient of its gradient, which the penalty needs"):
        slope = input_gradient(critic, seen)
        slope.square().sum().backward()
    if not slope.isfinite().all():
        raise UserError(f"{name}: expected a finite gradient at the excerpts, found another")
    if isinstance(critic, OwnInputGradient):
        at = seen.clone().requires_grad_()
        (expected,) = torch.autograd.grad(critic(at).sum(), at)
        if slope.shape != expected.shape or not _close(slope, expected):
            raise UserError(f"{name}: input_gradient: expected autograd's gradient, found another")


def _saved_and_loaded(network: nn.Module, name: str, build: Callable[[], nn.Module]) -> nn.Module:
    """Another one with the weights of the first, by the way of a model folder."""
    with faults_named(name, "copy.deepcopy"):
        copy.deepcopy(network)
    with faults_named(name, "build once more"):
        again = build()
    try:
        weights = {key: one.contiguous() for key, one in network.state_dict().items()}
        again.load_state_dict(load(save(weights)))
    except (AttributeError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{name}: expected weights that can be saved and loaded, found: {in_one_line(error)}"
        ) from error
    return again


def _check_same_after_loading(name: str, before: Tensor, after: Tensor) -> None:
    if not _close(after, before):
        raise UserError(
            f"{name}: expected the same from the same weights once they were saved and loaded, found"
            " another result; register what it was made with (nn.Parameter, register_buffer)"
        )


def _check_representation(name: str, signal: Signal, seen: object) -> None:
    if not isinstance(seen, LogMagnitudes | Waveforms):
        _expected(name, "representation", "LOG_MAGNITUDES or Waveforms(signal)", seen)
    if isinstance(seen, Waveforms) and seen.signal != signal:
        _expected(name, "representation", "Waveforms of the given signal", seen.signal)


def _check_number(network: nn.Module, name: str, key: str, low: int, high: int) -> None:
    found = getattr(network, key, None)
    if type(found) is not int or not low <= found <= high:
        _expected(name, key, f"a whole number from {low} to {high}", found)


def _check_callable(network: nn.Module, name: str, key: str) -> None:
    if not callable(getattr(network, key, None)):
        _expected(name, key, "a method", getattr(network, key, None))


def _expected(name: str, key: str, expected: str, found: object) -> NoReturn:
    """Raises UserError."""
    if isinstance(found, Tensor):
        shown = f"a tensor {_shape(found)}"
    elif found is None:
        shown = "none"
    else:
        shown = repr(found) if isinstance(found, int | float | str) else type(found).__name__
    raise UserError(f"{name}: {key}: expected {expected}, found {shown}")


def _shape(found: Tensor) -> str:
    return f"({', '.join(map(str, found.shape))})"
