"""Training on the fixture experiment: order of updates, resume, and what stops a run."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pipeline import params, roles, rooms
from pipeline.errors import UserError
from pipeline.features.store import FeatureFile
from pipeline.networks import devices
from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.parallel import machine
from pipeline.separation.level import level_of
from pipeline.training import losses, run, step
from pipeline.training.batches import CriticBatch
from pipeline.training.fingerprint import fingerprints
from pipeline.training.module import AdversarialSeparation
from pipeline.training.pools import Pool
from pipeline.training.step import critic_step, separator_losses
from tests.helpers.experiment import THREADS, small_params, write_params
from tests.helpers.places import TOP
from tests.helpers.training import trained

CPU = torch.device("cpu")


def module(
    with_models: Path, model: str = "VA", own: dict[str, Any] | None = None, **changes: Any
) -> AdversarialSeparation:
    """The module of a model of the fixture experiment; own: what it is in place of that."""
    data = small_params()
    data["training"] |= changes
    data["models"][model] = own or data["models"][model]
    return run.prepare(
        params.parse(data, "test"),
        model,
        1,
        roles.load_split(with_models / "data/split.csv"),
        with_models / "data/features",
        CPU,
    )


def by_hand(built: AdversarialSeparation, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Make training_step callable without a trainer; returns the optimisers."""
    optimisers = built.configure_optimizers()
    several = optimisers if len(optimisers) > 1 else optimisers[0]
    monkeypatch.setattr(built, "optimizers", lambda: several)
    monkeypatch.setattr(built, "log", lambda *_, **__: None)
    monkeypatch.setattr(built, "log_dict", lambda *_, **__: None)
    return optimisers


def critic_batch(built: AdversarialSeparation) -> CriticBatch:
    numbers = {source: built.params.sources.index(source) for source in built.critics}
    return built.batches.for_critics(0, numbers)


def last(built: AdversarialSeparation) -> nn.Conv2d:
    """The separator's output layer."""
    assert isinstance(built.separator, SpectrogramUNet)
    return built.separator.unet.last


def supervised(built: AdversarialSeparation) -> float:
    """L_s of the first batch."""
    batch = built.batches.for_separator(0)
    return separator_losses(built.state, batch, built.model, built.params.training, built.agree)[
        "L_s"
    ].item()


def note_and_call(order: list[str], name: str, step: Callable[[], None]) -> None:
    order.append(name)
    step()


def test_critics_are_updated_first_and_n_disc_times(
    with_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = module(with_models)
    names = ["separator", "vocals", "accompaniment"]
    order: list[str] = []
    for name, optimiser in zip(names, by_hand(built, monkeypatch), strict=True):
        noted = partial(note_and_call, order, name, optimiser.step)
        monkeypatch.setattr(optimiser, "step", noted)
    built.training_step(0, 0)
    assert order == ["vocals", "accompaniment"] * 2 + ["separator"]


def test_every_network_learns_and_only_in_its_own_update(
    with_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = module(with_models)
    state, settings = built.state, built.params.training
    state.optimisers = by_hand(built, monkeypatch)
    before = {name: value.clone() for name, value in built.state_dict().items()}
    critic_step(state, critic_batch(built), built.model, settings, built.agree)
    changed = {n.split(".")[0] for n, v in built.state_dict().items() if (v != before[n]).any()}
    assert changed == {"critics"}
    built.zero_grad()
    batch = built.batches.for_separator(0)
    separator_losses(state, batch, built.model, settings, built.agree)["L"].backward()
    assert all(p.grad is None for p in built.critics.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in last(built).parameters())


@pytest.mark.parametrize("kind", ["wasserstein", "js", "kl", "js_non_saturating"])
@pytest.mark.parametrize("domain", ["linear", "log"])
def test_every_divergence_and_domain_takes_a_step(
    with_models: Path, monkeypatch: pytest.MonkeyPatch, kind: str, domain: str
) -> None:
    own = {"critics": ["vocals"], "alpha": 0.01, "beta": 0.01, "divergence": kind}
    built = module(with_models, own=own, additivity_domain=domain)
    before = last(built).weight.clone()
    by_hand(built, monkeypatch)
    built.training_step(0, 0)
    assert built.state.steps == 1
    assert (last(built).weight != before).any()


def test_all_models_of_a_seed_start_from_the_same_separator(with_models: Path) -> None:
    first, *others = (
        module(with_models, name).separator.state_dict() for name in ("baseline", "V", "VA")
    )
    for other in others:
        for name, value in first.items():
            assert torch.equal(value, other[name])


def test_it_can_overfit_two_excerpts(with_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = module(with_models, "baseline", learning_rate=3e-3)
    by_hand(built, monkeypatch)
    mixture, sources = built.batches.paired(0)
    monkeypatch.setattr(
        type(built.batches), "paired", lambda *_: (mixture[:2], sources[:2]), raising=True
    )
    first = supervised(built)
    for number in range(120):
        built.training_step(0, number)
    assert supervised(built) < 0.5 * first


def test_the_history_has_every_epoch_once(with_models: Path) -> None:
    for model, curves in {
        "baseline": {"L", "L_s"},
        "VA": {"L", "L_s", "L_u", "L_add", "distance_vocals", "distance_accompaniment",
               "penalty_vocals", "penalty_accompaniment"},
    }.items():  # fmt: skip
        history = with_models / "models" / model / "seed-1/history"
        assert {path.stem for path in (history / "training").iterdir()} == curves
        for path in [*history.rglob("L_s.tsv")]:
            frame = pd.read_csv(path, sep="\t")
            assert frame["step"].tolist() == [6, 12, 18]


def test_the_best_epoch_is_kept(with_models: Path) -> None:
    for model in ("baseline", "V", "VA"):
        folder = with_models / "models" / model / "seed-1"
        best = json.loads((folder / "config.json").read_text())["best"]
        curve = pd.read_csv(folder / "history/validation/L_s.tsv", sep="\t")
        assert best["steps"] == curve["step"].iloc[int(curve["L_s"].argmin())]


def test_the_saved_model_is_the_one_that_was_validated(with_models: Path) -> None:
    """The weights give the best L_s of the curve again, over every validation excerpt."""
    built = module(with_models, "VA")
    weights = load_file(with_models / "models/VA/seed-1/model.safetensors")
    built.separator.load_state_dict(weights)
    pool = built.validation
    starts = pool.tiles()[0]
    with torch.no_grad():
        estimates = built.separator(pool.gather(starts, 0, context=True))
    errors = [((estimates[:, k] - pool.gather(starts, 1 + k)) ** 2).mean() for k in (0, 1)]
    curve = pd.read_csv(with_models / "models/VA/seed-1/history/validation/L_s.tsv", sep="\t")
    assert sum(map(float, errors)) == pytest.approx(curve["L_s"].min(), rel=1e-4)


def test_it_stops_after_more_than_patience_epochs(copied_models: Path) -> None:
    """With a learning rate that moves no weight the first epoch stays the best.

    "More than six epochs" (section 4.3) is the seventh.
    """
    data = small_params()
    data["training"] |= {"max_epochs": 30, "patience": 2}
    settings = write_params(data, copied_models)
    still = settings.training.model_copy(update={"learning_rate": 1e-20})
    trained(copied_models, settings.model_copy(update={"training": still}), "baseline")
    curve = pd.read_csv(
        copied_models / "models/baseline/seed-1/history/validation/L_s.tsv", sep="\t"
    )
    losses = curve["L_s"].to_list()
    assert losses == losses[:1] * 4


def test_the_learning_rate_falls_as_a_cosine(
    with_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PyTorch's own schedule has it, for every network, whatever step a run goes on from."""
    built = module(with_models, schedule="cosine", learning_rate=0.01)
    optimisers = by_hand(built, monkeypatch)
    steps = built.params.training.steps_per_epoch * built.params.training.max_epochs
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, steps)
    for number in range(steps):
        if number in (0, 1, steps // 2, steps - 1):
            built.state.steps, built.state.critic_updates = number, 2 * number
            built.training_step(number % 6, 0)
            for optimiser in optimisers:
                assert optimiser.param_groups[0]["lr"] == pytest.approx(theirs.get_last_lr()[0])
        sgd.step()
        theirs.step()


def test_the_validation_loss_counts_tracks(with_models: Path) -> None:
    """A long track weighs no more than a short one."""
    pool = module(with_models).validation
    _, weights = pool.tiles()
    assert float(weights.sum()) == pytest.approx(len(pool.lengths))
    long = Pool(torch.zeros(1, 500, 4), torch.tensor([5, 205]), torch.tensor([100, 10]), 20, 5)
    starts, weights = long.tiles()
    assert starts.tolist() == [5, 25, 45, 65, 85, 205]
    assert weights.tolist() == [0.2] * 5 + [1.0]


@pytest.mark.parametrize("which", ["supervised", "all"])
def test_the_epoch_is_chosen_by_the_corpora_that_are_asked_for(
    with_models: Path, which: str
) -> None:
    """`supervised` keeps the premise: no paired recording of the others is used at all."""
    split = roles.load_split(with_models / "data/split.csv")
    expected = {"DSD100"} if which == "supervised" else set(split["dataset"])
    kept = run.validated(split, which)
    assert set(kept.loc[kept["role"] == "validation", "dataset"]) == expected
    assert len(kept[kept["role"] != "validation"]) == (split["role"] != "validation").sum()
    tracks = len(module(with_models, validation=which).validation.lengths)
    assert tracks == (kept["role"] == "validation").sum()
    alone = split[(split["dataset"] != "DSD100") | (split["role"] == "supervised")]
    if which == "supervised":
        with pytest.raises(UserError, match=r"training\.validation: supervised: no dataset"):
            run.validated(alone, which)


def test_in_bfloat16_the_critics_update_is_near(
    with_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same estimates: gradients of about the same size and direction."""
    gradients = []
    for enabled in (False, True):
        built = module(with_models)
        built.state.optimisers = by_hand(built, monkeypatch)
        estimates = built.separator(built.batches.mixture("critics", 0)).detach()
        monkeypatch.setattr(built.separator, "forward", lambda _, made=estimates: made)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled, cache_enabled=False):
            critic_step(
                built.state, critic_batch(built), built.model, built.params.training, built.agree
            )
        for critic in built.critics.values():
            found = [weights.grad for weights in critic.parameters()]
            assert {one.dtype for one in found if one is not None} == {torch.float32}
            gradients.append(torch.cat([one.flatten() for one in found if one is not None]))
    for exact, rounded in zip(gradients[:2], gradients[2:], strict=True):
        assert not torch.equal(exact, rounded)
        # what real and estimated excerpts ask for cancels in part, so the error shows
        assert (exact - rounded).norm() < 0.3 * exact.norm()


def test_in_bfloat16_a_run_is_near_and_its_weights_are_float32(
    with_models: Path, copied_models: Path
) -> None:
    data = small_params()
    data["training"]["precision"] = "bfloat16"
    shutil.rmtree(copied_models / "models/VA/seed-1")
    trained(copied_models, write_params(data, copied_models), "VA")
    weights = [
        load_file(path) for path in (copied_models / "models/VA/seed-1").glob("*.safetensors")
    ]
    assert {value.dtype for one in weights for value in one.values()} == {torch.float32}
    # autocast would keep what it has rounded, of weights that change, and without their gradients
    separator = load_file(copied_models / "models/VA/seed-1/model.safetensors")
    for name, value in module(copied_models, precision="bfloat16").separator.state_dict().items():
        assert not torch.equal(value, separator[name]), name
    for curve in ("training/L_s", "validation/L_s", "training/distance_vocals"):
        rounded, exact = (
            float(
                pd.read_csv(folder / f"models/VA/seed-1/history/{curve}.tsv", sep="\t").to_numpy()[
                    0, -1
                ]
            )
            for folder in (copied_models, with_models)
        )
        assert rounded != exact
        assert rounded == pytest.approx(exact, rel=0.1)


def test_a_killed_run_ends_as_if_it_had_not_been_killed(
    with_models: Path, copied_models: Path
) -> None:
    """SIGKILL in the middle of an epoch; the resumed run's weights equal the fixture's bit for bit."""
    shutil.rmtree(copied_models / "models/VA/seed-1")
    command = [sys.executable, "-m", "stages.train", "VA", "--seed=1", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(TOP), "OMP_NUM_THREADS": str(THREADS)}
    noted = (
        "import runpy, sys; from pipeline.training.module import AdversarialSeparation as A;"
        "f = A.training_step;"
        "A.training_step = lambda s, *a: (f(s, *a), print('\\nstep', s.state.steps, flush=True))[0];"
        "sys.argv = ['train', 'VA', '--seed=1', '--device', 'cpu'];"
        "runpy.run_module('stages.train', run_name='__main__')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", noted],
        cwd=copied_models,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    last = copied_models / "work/checkpoints/VA/seed-1/last.ckpt"
    assert process.stdout is not None
    assert "step 8\n" in iter(process.stdout.readline, "")  # in the second epoch of six steps
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert last.exists()
    watched = pd.read_csv(last.with_name("history") / "validation/L_s.tsv", sep="\t")
    assert watched["step"].tolist() == [6]
    assert not (copied_models / "models/VA/seed-1").exists()
    done = subprocess.run(
        command, cwd=copied_models, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stdout
    for name in ("model", "critic-vocals", "critic-accompaniment"):
        uninterrupted = load_file(with_models / f"models/VA/seed-1/{name}.safetensors")
        resumed = load_file(copied_models / f"models/VA/seed-1/{name}.safetensors")
        for key, value in uninterrupted.items():
            assert torch.equal(value, resumed[key]), f"{name}: {key}"
    curve = pd.read_csv(copied_models / "models/VA/seed-1/history/validation/L_s.tsv", sep="\t")
    assert curve["step"].tolist() == [6, 12, 18]
    assert curve["L_s"][0] == watched["L_s"][0]
    assert not (copied_models / "work/checkpoints/VA/seed-1").exists()


def test_the_level_of_a_model_is_that_of_its_pairs(with_features: Path) -> None:
    """The median of what the meter says of each mixture, from the waveforms as they are stored."""
    data, features = small_params(), with_features / "data/features"
    split = roles.load_split(with_features / "data/split.csv")

    def level(**own: Any) -> float | None:
        data["models"]["baseline"] = own
        return run.level_learned(params.parse(data, "test"), "baseline", 1, split, features)

    def by_hand(role: str) -> list[float]:
        levels = []
        for dataset, tracks in split[split["role"] == role].groupby("dataset"):
            store = FeatureFile.open(features / f"{dataset}.h5")
            rows = store.rows(tracks["track"].tolist())
            levels += [level_of(store.waveforms(row).sum(axis=0), 8000) for row in rows]
        return levels

    paired, unpaired = by_hand("supervised"), by_hand("unlabelled")
    # blocks end up to two hops of silence after the waveform
    assert level() == pytest.approx(np.median(paired), rel=1e-2)
    both = ["supervised", "unlabelled"]
    assert level(supervised=both) == pytest.approx(np.median(paired + unpaired), rel=1e-2)
    few = level(supervised_minutes=0.1)
    assert few != level()
    assert few is not None
    assert min(paired) / 2 < few < 2 * max(paired)
    data["level"] = "recorded"
    assert level() is None


def test_other_parameters_are_another_run(copied_models: Path) -> None:
    settings = write_params(small_params(), copied_models)
    data = roles.load_split(copied_models / "data/split.csv")
    mark = fingerprints(settings, "V", data, copied_models / "data/features")[1]
    changed = small_params()
    changed["models"]["V"]["alpha"] = 0.5
    other = fingerprints(params.parse(changed, "x"), "V", data, copied_models / "data/features")[1]
    assert other != mark


@pytest.mark.parametrize(
    ("room", "another"),
    [("training", True), ("networks", True), ("separation", True), ("features", True),
     ("audio", True), ("datasets", False), ("report", False), ("evaluation", False)],
)  # fmt: skip
def test_a_checkpoint_belongs_to_the_code_that_a_run_reaches(
    copied_models: Path, monkeypatch: pytest.MonkeyPatch, room: str, another: bool
) -> None:
    def mark() -> str:
        settings = params.parse(small_params(), "x")
        split = roles.load_split(copied_models / "data/split.csv")
        return fingerprints(settings, "V", split, copied_models / "data/features")[1]

    before = mark()
    code = copied_models / "code"
    shutil.copytree(TOP / "pipeline", code / "pipeline")
    (code / "pipeline" / room / "__init__.py").write_text("# changed\n")
    monkeypatch.setattr(rooms, "TOP", code)
    monkeypatch.setattr(rooms, "PACKAGE", code / "pipeline")
    assert (mark() != before) is another


def test_another_models_parameters_do_not_matter_to_a_checkpoint(copied_models: Path) -> None:
    data = roles.load_split(copied_models / "data/split.csv")
    marks = []
    for alpha in (0.1, 0.2):
        changed = small_params()
        changed["models"]["VA"]["alpha"] = alpha
        marks.append(
            fingerprints(params.parse(changed, "x"), "V", data, copied_models / "data/features")
        )
    assert marks[0] == marks[1]


def test_a_loss_that_is_not_finite_stops_the_run(
    copied_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the step, the loss and the checkpoint; no model folder appears."""
    shutil.rmtree(copied_models / "models/V/seed-1")
    original = losses.additivity_loss

    def poisoned(*arguments: Any) -> torch.Tensor:
        poisoned.calls += 1  # type: ignore[attr-defined]
        value = original(*arguments)
        return value * float("nan") if poisoned.calls == 9 else value  # type: ignore[attr-defined]

    poisoned.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(step, "additivity_loss", poisoned)
    with pytest.raises(UserError, match=r"L_add is nan at step 8 .*work/V/last\.ckpt") as caught:
        trained(copied_models, write_params(small_params(), copied_models), "V")
    assert "\n" not in str(caught.value)
    assert not (copied_models / "models/V/seed-1").exists()
    assert (copied_models / "work/V/last.ckpt").exists()


def test_a_dead_output_is_noticed(copied_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = run.prepare

    def dead(*arguments: Any) -> AdversarialSeparation:
        built = original(*arguments)
        with torch.no_grad():
            for weights in last(built).parameters():
                weights[1] = -1
        return built

    monkeypatch.setattr(run, "prepare", dead)
    with pytest.raises(UserError, match="dead output: vocals is estimated as silence"):
        trained(copied_models, write_params(small_params(), copied_models), "baseline")


@pytest.mark.parametrize("seed", range(12))
def test_no_output_starts_dead(seed: int) -> None:
    """The default start killed one seed in three."""
    torch.manual_seed(seed)
    network = SpectrogramUNet(257, filters=2)
    estimates = network(torch.rand(1, 257, 158))
    assert (estimates.amax((0, 2, 3)) > 0).all()


def test_no_cuda_is_said_plainly() -> None:
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is visible")
    with pytest.raises(UserError, match="--device cuda: no CUDA device is visible"):
        devices.resolve_device("cuda")
    with pytest.raises(UserError, match="expected auto, cpu or cuda"):
        devices.resolve_device("gpu")


def test_a_gpu_is_not_taken_unasked_where_results_are_to_be_the_same_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.resolve_device("auto") == "cuda"
    monkeypatch.setattr(machine, "arithmetic", lambda: "portable")
    assert devices.resolve_device("auto") == "cpu"
    assert devices.resolve_device("cuda") == "cuda"


@pytest.mark.parametrize(("role", "model"), [("supervised", "baseline"), ("unlabelled", "V")])
def test_a_role_without_tracks_stops_at_once(copied_models: Path, role: str, model: str) -> None:
    frame = roles.load_split(copied_models / "data/split.csv")
    settings = write_params(small_params(), copied_models)
    with pytest.raises(UserError, match=role):
        run.train(
            settings, model, 1, frame[frame["role"] != role], copied_models / "data/features",
            copied_models / "m", copied_models / "w", "cpu",
        )  # fmt: skip
    assert not (copied_models / "m").exists()
