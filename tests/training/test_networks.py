"""Every separator learns by every way, and a run that was stopped ends as if it had not been."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline import params
from pipeline.critique import opinions
from pipeline.critique.groups import Asked
from pipeline.errors import Stopped
from pipeline.evaluation.table_row import TableRow, score_row
from pipeline.networks.representations import Waveforms
from pipeline.roles import load_split
from pipeline.tracks import MIXTURE, Role
from pipeline.training.losses import supervised_loss
from pipeline.training.mixit import mixit_loss
from pipeline.training.module import AdversarialSeparation
from pipeline.training.pool_loading import load_pool
from pipeline.training.step import separator_step
from pipeline.training.teachers import remix
from pipeline.ways import Model
from tests.helpers.small_separators import SIGNAL
from tests.helpers.training import trained
from tests.networks.test_separators import SMALL
from tests.training.test_ways import TERMS, WAYS, after, prepared, weights

OTHERS = ("mask", "wave_unet", "band_split")
"""Beside the paper's, of which every way has a test."""


@pytest.mark.parametrize("way", [*WAYS])
def test_a_network_on_waveforms_learns_by_every_way(with_features: Path, way: str) -> None:
    module = prepared(with_features, WAYS[way] | {"separator": SMALL["wave_unet"]})
    before = weights(module.separator)
    losses = after(module, 2)
    assert all(math.isfinite(value) for value in losses.values())
    if way in TERMS:
        assert set(losses) == {"L_s", "L", *TERMS[way]}
    assert not torch.equal(weights(module.separator), before)


@pytest.mark.parametrize("name", OTHERS)
def test_every_network_learns_with_critics(with_features: Path, name: str) -> None:
    """It gets better at a batch that it sees again and again, and L_u alone reaches its weights."""
    module = prepared(with_features, WAYS["V"] | {"separator": SMALL[name]})
    module.state.optimisers = module.optimizers()  # type: ignore[assignment]
    batch, losses = module.batches.for_separator(0), []
    for _ in range(20):
        terms = separator_step(
            module.state, batch, module.model, module.params.training, module.agree
        )
        losses.append(float(terms["L_s"].detach()))
    assert losses[-1] < 0.99 * losses[0]
    module.zero_grad()
    others = module.separator(module.batches.mixture("separator", 0))
    given = module.separator.representation
    logs = given.log_magnitudes(others)  # type: ignore[operator, union-attr]
    critic = module.state.named_critics()["vocals"]
    critic(critic.view(logs[:, 1])).mean().backward()
    asked = [one.grad for one in module.separator.parameters() if one.grad is not None]
    assert max(float(one.abs().max()) for one in asked) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wave_unet", "band_split"])
def test_a_stopped_run_ends_as_if_it_had_not_been(
    copied_models: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """And the row is scored, judged by its critics, and found again with its own network."""
    folder = copied_models
    settings = params.load(folder / "params.yaml")
    own = Model.model_validate(
        {"critics": ["vocals"], "alpha": 0.01, "beta": 0.01, "separator": SMALL[name]}
    )
    training = settings.training.model_copy(update={"max_epochs": 2, "steps_per_epoch": 4})
    changed = {"models": {"N": own}, "seeds": [1], "training": training}
    settings = settings.model_copy(update=changed)
    target = folder / "models/N/seed-1"
    trained(folder, settings, "N")
    whole = {path.name: load_file(path) for path in target.glob("*.safetensors")}
    assert set(whole) == {"model.safetensors", "critic-vocals.safetensors"}
    target.rename(folder / "models/whole")
    step = AdversarialSeparation.training_step

    def stopped(self: AdversarialSeparation, *position: int) -> None:
        step(self, *position)
        if self.state.steps == 5:
            raise Stopped("stopped", 15)  # type: ignore[arg-type]

    monkeypatch.setattr(AdversarialSeparation, "training_step", stopped)
    with pytest.raises(Stopped):
        trained(folder, settings, "N")
    monkeypatch.setattr(AdversarialSeparation, "training_step", step)
    said = trained(folder, settings, "N")
    assert "resuming from" in " ".join(said)
    for file, expected in whole.items():
        found = load_file(target / file)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(found[key], value), f"{file}: {key}"
    split, features = load_split(folder / "data/split.csv"), folder / "data/features"
    tested = split[(split["role"] == Role.TEST) & split["has_vocals"]].groupby("dataset").head(1)
    scores = score_row(TableRow("N", features, folder / "models", 64, (1,)), tested)
    assert scores["SDR"].notna().all()
    asked = Asked(settings, split, features, folder / "models", {})
    assert opinions.opinions(asked)["distance"].notna().all()


# ----------------------------------------------------------------------------- losses of waveforms


def test_the_loss_of_waveforms_by_hand() -> None:
    """The paper's L_s of log magnitudes, and what phase and sign alone change: the samples' error."""
    given = Waveforms(SIGNAL)
    references = torch.randn(2, 3, SIGNAL.samples(4))
    logs = given.log_magnitudes(references)
    turned = -references  # the same magnitudes
    expected = 2 * references.abs().mean(dim=2).sum(dim=1).mean()
    torch.testing.assert_close(supervised_loss(turned, references, given), expected)
    louder = 2 * references
    expected = supervised_loss(given.log_magnitudes(louder), logs) + expected / 2
    torch.testing.assert_close(supervised_loss(louder, references, given), expected)


def test_outputs_that_are_the_mixtures_apart_cost_nothing_as_waveforms() -> None:
    given, mixtures = Waveforms(SIGNAL), torch.randn(2, 2, SIGNAL.samples(4))
    outputs = torch.zeros(2, 2, 2, SIGNAL.samples(4))
    outputs[:, 0, 1], outputs[:, 1, 0] = mixtures[:, 0], mixtures[:, 1]
    assert float(mixit_loss(outputs, mixtures, given)) == pytest.approx(0, abs=1e-6)
    outputs[:, 0, 0] = outputs[:, 0, 1]
    assert float(mixit_loss(outputs, mixtures, given)) > 0.1


def test_remixed_waveforms_are_sums_of_what_the_teacher_gave(with_features: Path) -> None:
    """With a teacher that knows, the student is shown sums of known sources: no loss if it is it."""
    module = prepared(with_features, WAYS["RemixIT"] | {"separator": SMALL["wave_unet"]})
    batch = module.batches.for_separator(0)
    shown: list[Tensor] = []
    module.separator.register_forward_hook(lambda _, given, __: shown.append(given[0]))
    loss = remix.loss(module.state, batch, None)
    assert float(loss.detach()) > 0
    (mixtures,) = shown
    assert batch.spectra is not None
    assert batch.permutations is not None
    assert module.teacher is not None
    labels = remix.taken(module.teacher(batch.spectra), batch.permutations)
    begin = (labels.shape[-1] - mixtures.shape[-1]) // 2
    expected = labels.sum(dim=1)[:, begin : begin + mixtures.shape[-1]]
    torch.testing.assert_close(mixtures, expected)
    assert begin % SIGNAL.hop_size == 0


# ------------------------------------------------------------------------------------------ excerpts


def test_waveforms_and_log_magnitudes_are_of_the_same_excerpts(with_features: Path) -> None:
    """Of training, of validation and of both kinds of tiles, but at the ends of tracks."""
    split, folder = load_split(with_features / "data/split.csv"), with_features / "data/features"
    kinds = (MIXTURE, *params.load(with_features / "params.yaml").sources)
    place = split, [Role.VALIDATION], folder, kinds, 20, 3, torch.device("cpu")
    logs, heard = load_pool(*place), load_pool(*place, waveform=True)
    given = Waveforms(SIGNAL)
    for one, other in zip(logs.tiles(), heard.tiles(), strict=True):
        assert len(one) == len(other)
    starts, theirs = logs.tiles()[0], heard.tiles()[0]
    for kind in range(len(kinds)):
        expected = logs.gather(starts, kind)[..., 1:-1]
        found = given.log_magnitudes(heard.gather(theirs, kind))[..., 1:-1]
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    expected = logs.gather_sources(starts)[..., 1:-1]
    found = given.log_magnitudes(heard.gather_sources(theirs))[..., 1:-1]
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    around = heard.gather(theirs, 0, context=True)
    torch.testing.assert_close(given.inside(around, 3), heard.gather(theirs, 0))


def test_a_row_has_a_network_of_its_own(with_features: Path) -> None:
    own: dict[str, Any] = {"separator": SMALL["wave_unet"]}
    assert Model.model_validate(own).way == "supervised, wave_unet"
    assert isinstance(prepared(with_features, own).separator.representation, Waveforms)
