"""Every critic judges every kind of separator: excerpts, updates, runs that are stopped, what it says."""

import io
import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline import params
from pipeline.critique import opinions
from pipeline.critique.groups import Asked
from pipeline.errors import Stopped, UserError
from pipeline.features.stft import reconstruct
from pipeline.networks.gradients import correlation
from pipeline.networks.representations import LOG_MAGNITUDES, Waveforms
from pipeline.report.critics import wishes
from pipeline.report.excerpts import Choice
from pipeline.report.finished_run import Run
from pipeline.roles import load_split
from pipeline.tracks import Role
from pipeline.training.batches import BatchesAhead
from pipeline.training.module import AdversarialSeparation
from pipeline.training.run import prepare
from pipeline.training.starts import fresh_critic
from pipeline.training.step import critic_step, separator_losses
from pipeline.ways import Model
from tests.helpers.small_separators import SIGNAL
from tests.helpers.training import trained
from tests.networks.test_separators import SMALL
from tests.networks.test_waveform_critics import ON_WAVEFORMS, SETTINGS
from tests.training.test_ways import TERMS, WAYS, after, prepared, weights

SEPARATORS = ("unet", "wave_unet")
SEEN = Waveforms(SIGNAL)


def each(critics: Iterable[str], others: Iterable[str], fast: set[tuple[str, str]]) -> Any:
    """Every pair; those that are not in `fast` are slow."""
    pairs = [
        pytest.param(*pair, marks=() if pair in fast else pytest.mark.slow)
        for pair in product(critics, others)
    ]
    return pytest.mark.parametrize(("critic", "other"), pairs)


def row(critic: str, separator: str, way: str = "V") -> dict[str, Any]:
    return WAYS[way] | {"critic": SETTINGS[critic], "separator": SMALL[separator]}


def state(module: AdversarialSeparation) -> bytes:
    """As a checkpoint has it."""
    kept: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(kept)
    kept["optimisers"] = [one.state_dict() for one in module.optimizers()]  # type: ignore[union-attr]
    file = io.BytesIO()
    torch.save(kept, file)
    return file.getvalue()


def restore(module: AdversarialSeparation, content: bytes) -> None:
    kept = torch.load(io.BytesIO(content), weights_only=True)
    module.load_state_dict(kept["state_dict"])
    for name in ("steps", "critic_updates", "lengths"):
        setattr(module.state, name, kept[name])
    for one, found in zip(module.optimizers(), kept["optimisers"], strict=True):  # type: ignore[arg-type]
        one.load_state_dict(found)


@each(SETTINGS, SEPARATORS, fast={("multi_resolution", "unet"), ("waveform", "wave_unet")})
def test_a_run_that_goes_on_elsewhere_takes_the_same_path(
    with_features: Path, critic: str, other: str
) -> None:
    whole = prepared(with_features, row(critic, other))
    before = weights(whole.critics)
    whole.training_step(0, 0)
    halfway = state(whole)
    losses = after(whole, 1)
    assert set(losses) == {"L_s", "L", *TERMS["V"]}
    assert all(math.isfinite(value) for value in losses.values())
    assert not torch.equal(weights(whole.critics), before)
    again = prepared(with_features, row(critic, other))
    restore(again, halfway)
    again.training_step(1, 1)
    assert torch.equal(weights(again), weights(whole))


@each(SETTINGS, SEPARATORS, fast={("multi_resolution", "wave_unet"), ("waveform", "unet")})
def test_what_a_critic_says_reaches_the_separator(
    with_features: Path, critic: str, other: str
) -> None:
    """L_u's gradient by the separator's weights, against differences; the critic gets none."""
    module = prepared(with_features, row(critic, other, "auto"))
    batch = module.batches.for_separator(0)
    network = module.separator
    # the last layer starts with little of its own
    weight = [one for one in network.parameters() if one.dim() > 1][-1]

    def unsupervised() -> Tensor:
        return separator_losses(
            module.state, batch, module.model, module.params.training, module.agree
        )["L_u"]

    (found,) = torch.autograd.grad(unsupervised(), weight)
    assert all(one.grad is None for one in module.critics.parameters())
    direction = found / found.norm()
    size, values = 2e-2, []
    with torch.no_grad():
        before = weight.clone()
    for sign in (1, -1):
        with torch.no_grad():
            weight.copy_(before + sign * size * direction)
        values.append(float(unsupervised().detach()))
    assert (values[0] - values[1]) / (2 * size) == pytest.approx(float(found.norm()), rel=0.1)


@each(
    ON_WAVEFORMS, ("two-sided", "spectral", "GAN", "everything"),
    fast={("waveform", "two-sided"), ("waveform", "everything")},
)  # fmt: skip
def test_every_way_of_being_a_critic(with_features: Path, critic: str, other: str) -> None:
    way = other
    module = prepared(with_features, row(critic, "unet", way))
    losses = after(module, 2)
    assert all(math.isfinite(value) for value in losses.values())
    if way in TERMS:
        assert set(losses) == {"L_s", "L", *TERMS[way]}


# ------------------------------------------------------------------------------------------ excerpts


@pytest.mark.parametrize("separator", SEPARATORS)
def test_critics_on_waveforms_get_the_excerpts_of_the_others(
    with_features: Path, separator: str
) -> None:
    """The same places and levels, mixtures and real recordings, but at the ends of tracks."""
    logs, heard = (
        prepared(with_features, row(critic, separator)).batches for critic in ("dcgan", "waveform")
    )
    numbers = {"vocals": 1}
    one, other = logs.for_critics(3, numbers), heard.for_critics(3, numbers)
    if separator == "unet":
        inside = slice(logs.supervised.context, -logs.supervised.context)
        torch.testing.assert_close(
            other.mixtures[..., inside], one.mixtures[..., inside], atol=5e-4, rtol=1e-3
        )
        assert other.phases is not None
        assert torch.equal(torch.log1p(other.phases.abs()), other.mixtures[..., inside])
    else:
        assert torch.equal(one.mixtures, other.mixtures)
        assert other.phases is None
    assert one.phases is None
    # frames that lie in the stretch which critics are given
    found = SEEN.log_magnitudes(other.real["vocals"])
    expected = one.real["vocals"][..., 1:-1]
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=5e-4, rtol=1e-3)
    assert torch.equal(one.epsilon["vocals"], other.epsilon["vocals"])


def test_a_process_has_its_part_of_every_batch(with_features: Path) -> None:
    """Phases and real waveforms too; and what is read from the disk is the same to the bit."""
    module = prepared(with_features, row("waveform", "unet"))
    whole = module.batches
    batch, unlabelled = whole.for_critics(2, {"vocals": 1}), whole.for_separator(2)
    parts = [replace(whole, part=slice(k, k + 2)) for k in (0, 2)]
    drawn = [one.for_critics(2, {"vocals": 1}) for one in parts]
    assert batch.phases is not None
    phases = [one.phases for one in drawn if one.phases is not None]
    assert torch.equal(torch.cat(phases), batch.phases)
    assert torch.equal(torch.cat([one.real["vocals"] for one in drawn]), batch.real["vocals"])
    on_disk = prepare(
        module.params, "it", 1, load_split(with_features / "data/split.csv"),
        with_features / "data/features", torch.device("cpu"), features_in="disk",
    ).batches  # fmt: skip
    for step in (1, 2):  # the second was drawn while the first was used
        read = on_disk.for_critics(step, {"vocals": 1})
    assert isinstance(on_disk, BatchesAhead)
    assert read.phases is not None
    assert torch.equal(read.phases, batch.phases)
    assert torch.equal(read.real["vocals"], batch.real["vocals"])
    others = [one.for_separator(2).phases for one in parts]
    assert unlabelled.phases is not None
    assert torch.equal(torch.cat([one for one in others if one is not None]), unlabelled.phases)


def test_a_perfect_separator_leaves_nothing_to_tell(with_features: Path) -> None:
    """Estimates that are the real recordings, with their own phase: no distance, at any divergence."""
    module = prepared(with_features, row("waveform", "unet") | {"penalty": "none"})
    state = module.state
    state.optimisers = module.optimizers()  # type: ignore[assignment]
    batch = module.batches.for_critics(0, {"vocals": 1})
    assert batch.phases is not None
    logs = torch.log1p(batch.phases.abs())
    module.separator.forward = lambda _: torch.stack([logs, logs], dim=1)  # type: ignore[method-assign]
    # the mixtures themselves as the real recordings: those samples that all windows cover
    heard = SEEN.reconstructed(logs, batch.phases)
    losses = critic_step(
        state, batch._replace(real={"vocals": heard}), module.model, module.params.training,
        module.agree,
    )  # fmt: skip
    assert abs(float(losses["distance_vocals"].detach())) < 1e-6


# ------------------------------------------------------------------------------------- whole runs


@pytest.mark.slow
@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("critic", ON_WAVEFORMS)
def test_a_stopped_run_ends_as_if_it_had_not_been(
    copied_models: Path, monkeypatch: pytest.MonkeyPatch, critic: str, separator: str
) -> None:
    """Its critics are found again, asked in what they see, and drawn; so are they in validation."""
    folder = copied_models
    settings = params.load(folder / "params.yaml")
    own = Model.model_validate(row(critic, separator))
    training = settings.training.model_copy(update={"max_epochs": 2, "steps_per_epoch": 2})
    settings = settings.model_copy(
        update={"models": {"N": own}, "seeds": [1], "training": training}
    )
    target = folder / "models/N/seed-1"
    trained(folder, settings, "N")
    whole = {path.name: load_file(path) for path in target.glob("*.safetensors")}
    for curve in ("distance", "correlation"):
        text = (target / f"history/validation/{curve}_vocals.tsv").read_text().split()
        assert all(math.isfinite(float(value)) for value in (text[3], text[5]))
    target.rename(folder / "models/whole")
    step = AdversarialSeparation.training_step

    def stopped(self: AdversarialSeparation, *position: int) -> None:
        step(self, *position)
        if self.state.steps == 3:
            raise Stopped("stopped", 15)  # type: ignore[arg-type]

    monkeypatch.setattr(AdversarialSeparation, "training_step", stopped)
    with pytest.raises(Stopped):
        trained(folder, settings, "N")
    monkeypatch.setattr(AdversarialSeparation, "training_step", step)
    assert "resuming from" in " ".join(trained(folder, settings, "N"))
    for file, expected in whole.items():
        found = load_file(target / file)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], value) for key, value in expected.items()), file
    split, features = load_split(folder / "data/split.csv"), folder / "data/features"
    asked = opinions.opinions(Asked(settings, split, features, folder / "models", {}))
    assert asked["distance"].notna().all()
    assert asked["correlation"].abs().max() <= 1
    track = split[(split["role"] == Role.TEST) & split["has_vocals"]].iloc[0]
    choice = Choice(track["dataset"], track["track"], "", 0.0)
    found_run = cast(Run, SimpleNamespace(features=features, folders={"N": target}))
    (folder / "page/figures").mkdir(parents=True)
    (wish,) = wishes(found_run, [choice], folder / "page")
    assert abs(wish.correlation) <= 1
    assert wish.limit > 0
    assert len(list((folder / "page/figures").iterdir())) == 3


@pytest.mark.parametrize("separator", SEPARATORS)
def test_validation_asks_critics_about_samples(with_features: Path, separator: str) -> None:
    """In inference mode, as Lightning has it; the losses are those of log magnitudes."""
    module, other = (prepared(with_features, row(one, separator)) for one in ("waveform", "dcgan"))
    found = []
    for one in (module, other):
        starts, weight = (values[:3] for values in one.validation.tiles())
        with torch.inference_mode():
            one.on_validation_epoch_start()
            one.validation_step((starts, weight), 0)
        found.append(one.validated / len(starts))
    torch.testing.assert_close(found[0], found[1], rtol=5e-3, atol=0)  # tracks end otherwise
    given = module.separator.representation
    drawn = SEEN if given.waveform else LOG_MAGNITUDES  # type: ignore[union-attr]
    pool, starts = module.validation, module.validation.tiles()[0][:3]
    mixtures = pool.gather(starts, 0, context=True)
    spectra, inside = SEEN.spectra(mixtures), slice(pool.context, -pool.context)
    with torch.no_grad():
        outputs = module.separator(mixtures if given.waveform else torch.log1p(spectra.abs()))[:, 1]  # type: ignore[union-attr]
        if drawn is LOG_MAGNITUDES:
            outputs = reconstruct(outputs, spectra[..., inside], SIGNAL)
        else:
            outputs = outputs[:, 256:-256]
    real = pool.gather(starts, 2)[:, 256:-256]
    critic = module.state.named_critics()["vocals"]
    scores = [critic(critic.view(one)).detach()[:, 0].double() for one in (real, outputs)]
    weight = module.validation.tiles()[1][:3]
    assert float(module.asked[0, 0]) == pytest.approx(
        float(((scores[0] - scores[1]) * weight).sum()), rel=1e-4, abs=1e-7
    )
    assert module.asked[0, 2:].tolist() == pytest.approx([float(weight.sum())] * 2)


def test_an_opinion_is_of_samples(with_features: Path) -> None:
    """By hand, of a critic on waveforms: what is lacking in samples, and the gradient by them."""
    module = prepared(with_features, row("waveform", "unet"))
    critic = module.state.named_critics()["vocals"]
    batch = module.batches.for_critics(0, {"vocals": 1})
    real = batch.real["vocals"]
    fake = 0.5 * real.roll(1, dims=0)
    distance, agreement = opinions.opinion(critic, real, fake, paired=True)
    at = critic.view(fake).clone().requires_grad_()
    score = critic(at)
    score.sum().backward()
    assert at.grad is not None
    lack = critic.view(real) - at.detach()
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(at.grad, lack, strict=True)]
    assert agreement == pytest.approx(np.nanmean(expected), rel=1e-4)
    assert correlation(at.grad, lack).nanmean() == pytest.approx(agreement, rel=1e-4)
    assert distance == pytest.approx(
        float((critic(critic.view(real)) - score).detach().mean()), rel=1e-4
    )


def test_settings_that_an_excerpt_does_not_allow_are_one_line(with_features: Path) -> None:
    """From a program that has read no params.yaml; from one, `tests/test_params.py`."""
    settings = params.load(with_features / "params.yaml")
    long = {"network": "multi_resolution", "filters": 2, "resolutions": [[2**14, 256]]}
    own = Model.model_validate(WAYS["V"] | {"critic": long})
    settings = settings.model_copy(update={"models": {"it": own}})
    with pytest.raises(
        UserError,
        match=r"^params.yaml: critic: models\.it: multi_resolution: resolutions: expected",
    ) as caught:
        fresh_critic(settings, "it", 66)
    assert "\n" not in str(caught.value)
