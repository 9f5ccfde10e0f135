"""Every way to learn: a run that moves the weights, and its arithmetic by another way or by hand."""

import math
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from pipeline import params, roles
from pipeline.errors import UserError
from pipeline.features.stft import log_magnitude, stft
from pipeline.features.store import FeatureFile
from pipeline.networks.builders import build_separator
from pipeline.networks.critics.dcgan import DCGANCritic
from pipeline.separation.separator import Separator
from pipeline.tracks import Role
from pipeline.training import mixing
from pipeline.training.losses import gradient_penalty
from pipeline.training.mixit import mixit_loss
from pipeline.training.module import AdversarialSeparation
from pipeline.training.pool_loading import load_pool
from pipeline.training.pools import Pool
from pipeline.training.run import prepare
from pipeline.training.starts import as_they_are, normalise, start
from pipeline.training.step import follow
from pipeline.training.teachers import remix
from pipeline.training.teachers.average import confidence
from pipeline.training.teachers.remix import remixed
from pipeline.ways import Model

CRITIC: dict[str, Any] = {"critics": ["vocals"], "alpha": 0.01}
WAYS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "L_add": {"beta": 0.01},
    "V": CRITIC | {"beta": 0.01},
    "auto": CRITIC | {"alpha": "auto", "fraction": 0.5},
    "two-sided": CRITIC | {"penalty": "two_sided"},
    "spectral": CRITIC | {"penalty": "spectral", "divergence": "js_non_saturating"},
    "GAN": CRITIC | {"penalty": "none", "divergence": "js"},
    "mixing": {"augmentation": {"mix": 1.0, "gain": [0.5, 1.5]}},
    "speed": {"augmentation": {"speed": 0.1}},
    "solo": {"solo_mixing": {"sources": ["vocals"], "share": 0.5}},
    "teacher": {"teacher": {"kind": "average", "weight": 1.0, "decay": 0.9}},
    "RemixIT": {"teacher": {"kind": "remix", "weight": 1.0, "decay": 0.9}},
    "MixIT": {"mixit": 1.0},
    "ceiling": {"supervised": ["supervised", "unlabelled"]},
    "everything": CRITIC
    | {
        "beta": 0.01,
        "augmentation": {"mix": 0.5, "gain": [0.5, 1.5], "speed": 0.1},
        "solo_mixing": {"sources": ["vocals", "accompaniment"], "share": 0.5},
        "teacher": {"kind": "remix", "weight": 1.0, "decay": 0.9},
        "mixit": 0.5,
    },
}
TERMS = {
    "L_add": {"L_add"}, "V": {"L_add", "L_u", "distance_vocals", "penalty_vocals"},
    "auto": {"L_add", "L_u", "alpha", "distance_vocals", "penalty_vocals"},
    "spectral": {"L_add", "L_u", "distance_vocals"}, "GAN": {"L_add", "L_u", "distance_vocals"},
    "teacher": {"L_add", "L_teacher"}, "RemixIT": {"L_teacher"},
    "MixIT": {"L_mixit"},
}  # fmt: skip
"""What is noted beside L_s and L."""


def prepared(folder: Path, own: dict[str, Any], **changed: Any) -> AdversarialSeparation:
    """The module of a model of the fixture experiment."""
    settings = params.load(folder / "params.yaml")
    settings = settings.model_copy(update={"models": {"it": Model(**own)}, **changed})
    split = roles.load_split(folder / "data/split.csv")
    module = prepare(settings, "it", 1, split, folder / "data/features", torch.device("cpu"))
    optimisers = module.configure_optimizers()
    module.optimizers = lambda: optimisers  # type: ignore[method-assign,assignment]
    return module


def after(module: AdversarialSeparation, updates: int) -> dict[str, float]:
    """The sums of the losses over some updates."""
    for number in range(updates):
        module.training_step(number, number)
    return {name: float(value) for name, value in module.totals.items()}


def weights(module: nn.Module) -> Tensor:
    return torch.cat([one.detach().flatten() for one in module.parameters()])


@pytest.mark.parametrize("name", WAYS)
def test_every_way_trains(with_features: Path, name: str) -> None:
    module = prepared(with_features, WAYS[name])
    before = weights(module.separator)
    losses = after(module, 2)
    assert all(math.isfinite(value) for value in losses.values())
    if name in TERMS:
        assert set(losses) == {"L_s", "L", *TERMS[name]}
    assert not torch.equal(weights(module.separator), before)


def test_a_row_says_how_it_learns() -> None:
    said = {name: Model(**own).way for name, own in WAYS.items()}
    assert said["baseline"] == "supervised"
    assert said["V"] == "critic of vocals"
    assert said["everything"] == (
        "critic of vocals + random mixing + speed + solo mixing of vocals and accompaniment + teacher"
        " (remix) + MixIT"
    )
    assert [name for name, own in WAYS.items() if Model(**own).only_supervised] == ["baseline"]


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"alpha": 0.1}, "alpha: 0.1 is for critics, and there are none"),
        ({"penalty": "none"}, "penalty: none is for critics"),
        ({"divergence": "kl"}, "divergence: kl is for critics"),
        (CRITIC | {"alpha": "auto"}, "fraction: goes with alpha: auto"),
        (CRITIC | {"fraction": 0.5}, "fraction: goes with alpha: auto"),
        ({"supervised": ["supervised", "test"]}, "supervised: test tracks are kept from training"),
        ({"supervised": ["supervised"] * 2}, "supervised: a name is repeated"),
        ({"critics": ["vocals"] * 2}, "critics: a name is repeated"),
        ({"unlabelled_minutes": 5.0}, "unlabelled_minutes: the model learns from no unlabelled"),
        ({"freeze": ["down"]}, "freeze: weights that are random would stay so"),
        ({"augmentation": {}}, "augmentation: expected mix, gain or speed"),
        ({"augmentation": {"gain": [2.0, 1.0]}}, r"gain must be \[lowest, highest\]"),
        ({"teacher": {"kind": "strict", "weight": 1.0, "decay": 0.9}}, "expected average or remix"),
    ],
)  # fmt: skip
def test_combinations_that_make_no_sense_are_refused(own: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said.split(": ", 1)[1] if ": " in said else said):
        Model(**own)


# --------------------------------------------------------------------------------------- mixing


def test_waveforms_give_the_features_of_the_same_excerpts(with_features: Path) -> None:
    """Nothing is changed: what is mixed from waveforms is what the feature file has, but at the ends."""
    plain = prepared(with_features, {})
    split, folder = (
        roles.load_split(with_features / "data/split.csv"),
        with_features / "data/features",
    )
    pool = plain.batches.supervised
    sounds = load_pool(
        split, [Role.SUPERVISED], folder, plain.params.sources, pool.length, pool.context,
        torch.device("cpu"), waveform=True,
    )  # fmt: skip
    mixer = mixing.Mixer(plain.params.signal, pool.context, sounds)
    mixtures, sources = mixer.paired(1, 3, 4, slice(None))
    expected_mixtures, expected_sources = plain.batches.paired(3)
    torch.testing.assert_close(
        sources[..., 2:-2], expected_sources[..., 2:-2], atol=2e-5, rtol=1e-4
    )
    inside = slice(pool.context, -pool.context)
    torch.testing.assert_close(
        mixtures[..., inside], expected_mixtures[..., inside], atol=2e-5, rtol=1e-4
    )
    on_disk = load_pool(
        split, [Role.SUPERVISED], folder, plain.params.sources, pool.length, pool.context,
        torch.device("cpu"), "disk", waveform=True,
    )  # fmt: skip
    starts = torch.tensor([int(pool.first[0]), int(on_disk.first[1])])
    for kind in (0, 1):
        assert torch.equal(on_disk.gather(starts, kind), sounds.gather(starts, kind))


def test_mixed_sources_come_from_places_of_their_own_and_add_up(with_features: Path) -> None:
    unmixed = prepared(with_features, {}).batches
    plain = unmixed.paired(0)
    mixed = prepared(with_features, {"augmentation": {"mix": 1.0}}).batches.paired(0)
    half = prepared(with_features, {"augmentation": {"mix": 0.5}}).batches
    same = []
    for step in range(8):
        pairs = zip(*(one.paired(step)[1] for one in (unmixed, half)), strict=True)
        same += [bool(torch.allclose(a, b, atol=1e-3)) for a, b in pairs]
    assert 0.2 < np.mean(same) < 0.8
    assert not any(torch.allclose(a, b, atol=1e-2) for a, b in zip(plain[1], mixed[1], strict=True))
    context = (mixed[0].shape[-1] - mixed[1].shape[-1]) // 2
    heard = torch.expm1(mixed[0][..., context:-context])
    parts = torch.expm1(mixed[1])
    assert bool((heard <= parts.sum(dim=1) + 1e-3).all())  # magnitudes of a sum
    assert bool((heard >= (parts[:, 0] - parts[:, 1]).abs() - 1e-3).all())


def test_one_track_cannot_be_mixed_with_others(with_features: Path) -> None:
    split = roles.load_split(with_features / "data/split.csv")
    paired = split["role"] == Role.SUPERVISED
    split = split[~paired | (paired.cumsum() == 1)]
    settings = params.load(with_features / "params.yaml")
    for own, refused in (({"mix": 0.1}, True), ({"gain": [0.5, 1.5]}, False)):
        models = {"it": Model.model_validate({"augmentation": own})}
        changed = settings.model_copy(update={"models": models})
        build = partial(
            prepare, changed, "it", 1, split, with_features / "data/features", torch.device("cpu")
        )
        if refused:
            said = r"models\.it\.augmentation\.mix: .*one track gives pairs"
            with pytest.raises(UserError, match=said):
                build()
        else:
            build().batches.paired(0)


def test_levels_are_each_sources_own(with_features: Path) -> None:
    """The ratio of every cell to what it was is one number for a source, within the bounds."""
    plain = prepared(with_features, {}).batches.paired(1)[1]
    changed = prepared(with_features, {"augmentation": {"gain": [0.5, 1.5]}}).batches.paired(1)[1]
    levels = []
    for before, now in zip(plain.flatten(0, 1), changed.flatten(0, 1), strict=True):
        before, now = (torch.expm1(one[1:-1, 2:-2]) for one in (before, now))
        loud = before > 0.05
        if loud.any():
            ratios = now[loud] / before[loud]
            assert float(ratios.std()) < 1e-2
            levels.append(float(ratios.mean()))
    assert len(set(np.round(levels, 4))) == len(levels)
    assert all(0.5 <= level <= 1.5 for level in levels)


def test_a_faster_excerpt_is_higher() -> None:
    """A sine of 1000 Hz, ten percent faster: 1100 Hz."""
    signal = params.load().signal
    samples = signal.hop_size * 60
    sine = torch.sin(2 * math.pi * 1000 * torch.arange(samples) / signal.sample_rate)
    sounds = Pool(
        torch.zeros(1, 70, signal.hop_size), torch.tensor([10]), torch.tensor([50]), 40, 10
    )
    mixer = mixing.Mixer(signal, 6, sounds)
    found = mixer._at_speeds(sine.expand(2, 1, -1), [10, 0])
    assert found.shape[-1] == samples - 2 * 4 * signal.hop_size
    peaks = stft(found[:, 0], signal).abs().mean(dim=-1).argmax(dim=-1)
    width = signal.sample_rate / signal.fft_size
    assert (peaks * width - torch.tensor([1100, 1000])).abs().max() <= width


def test_solo_recordings_take_the_place_of_a_source(with_features: Path) -> None:
    """The vocals are found in the unlabelled tracks, the accompaniment is the supervised one's."""
    own = {"solo_mixing": {"sources": ["vocals"], "share": 1.0}}
    module = prepared(with_features, own)
    _, sources = module.batches.paired(2)
    _, plain = prepared(with_features, {}).batches.paired(2)
    torch.testing.assert_close(sources[:, 0, :, 2:-2], plain[:, 0, :, 2:-2], atol=2e-5, rtol=1e-4)
    split = roles.load_split(with_features / "data/split.csv")
    split = split[split["role"] == "unlabelled"]
    known = []
    for dataset, tracks in split.groupby("dataset"):
        file = FeatureFile.open(with_features / f"data/features/{dataset}.h5")
        known += [
            file.spectrogram(row, ["vocals"])[0] for row in file.rows(tracks["track"].tolist())
        ]
    for excerpt in sources[:, 1].numpy():
        frame = excerpt[:, excerpt.shape[1] // 2]
        closest = min(np.abs(one - frame).max(axis=1).min() for one in known)
        assert closest < 1e-3


# --------------------------------------------------------------------------------------- critics


def test_both_penalties_by_hand() -> None:
    """Slopes of 0.5 and 3, everywhere the same: one-sided (0, 4), two-sided (0.25, 4)."""
    slopes = torch.tensor([0.5, 3.0])

    def gradient(at: Tensor) -> Tensor:
        return slopes.view(-1, 1, 1, 1) * torch.ones_like(at) / math.sqrt(at[0].numel())

    excerpts, epsilon = torch.rand(2, 1, 4, 4), torch.rand(2)
    found = [
        float(gradient_penalty(gradient, excerpts, excerpts, epsilon, one_sided))
        for one_sided in (True, False)
    ]
    assert found == pytest.approx([(0 + 4) / 2, (0.25 + 4) / 2], rel=1e-5)


def test_normalised_layers_have_a_largest_singular_value_of_one() -> None:
    torch.manual_seed(0)
    critics = nn.ModuleDict({"vocals": DCGANCritic(2)})
    excerpts = torch.rand(2, 1, 256, 64)
    normalise(critics)
    for _ in range(60):
        critics["vocals"](excerpts)
    scores = critics.eval()["vocals"](excerpts)
    as_they_are(critics)
    torch.testing.assert_close(critics["vocals"](excerpts), scores)
    for layer in critics.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
            assert float(largest.detach()) == pytest.approx(1, rel=0.02)
    DCGANCritic(2).load_state_dict(critics["vocals"].state_dict())


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_alpha_by_itself_does_not_depend_on_the_critics_scale(
    with_features: Path, scale: float
) -> None:
    """The length of alpha L_u's gradient at the output is the stated fraction of L_s's."""
    module = prepared(with_features, CRITIC | {"alpha": "auto", "fraction": 0.3})
    critic = module.critics["vocals"]
    assert isinstance(critic, DCGANCritic)
    with torch.no_grad():
        critic.score.weight.mul_(scale)
    rate = module.optimizers()
    for one in rate if isinstance(rate, list) else [rate]:
        for group in one.param_groups:
            group["lr"] = 0.0
    module.set_learning_rate = lambda: None  # type: ignore[method-assign]
    module.state.critic_updates = 10**6
    losses = after(module, 1)
    lengths = module.state.lengths
    assert losses["alpha"] * lengths["L_u"] == pytest.approx(0.3 * lengths["L_s"], rel=1e-4)
    weighed = losses["alpha"] * losses["L_u"]
    assert weighed == pytest.approx(weighed_once(module), rel=1e-3)


def weighed_once(module: AdversarialSeparation) -> float:
    """alpha L_u of the first batch with a critic of the scale that it began with."""
    critic = module.critics["vocals"]
    assert isinstance(critic, DCGANCritic)
    with torch.no_grad():
        critic.score.weight.div_(critic.score.weight.norm())
    module.state.steps, module.state.lengths, module.totals = 0, {}, {}
    losses = after(module, 1)
    return losses["alpha"] * losses["L_u"]


# --------------------------------------------------------------------------------------- teachers


def test_an_average_follows() -> None:
    teacher, student = nn.Linear(2, 1), nn.Linear(2, 1)
    before = weights(teacher)
    follow(teacher, student, 0.9)
    torch.testing.assert_close(weights(teacher), 0.9 * before + 0.1 * weights(student))


def test_confidence_by_hand() -> None:
    """Sources of 3 and 1 in every cell, 2 on average: they are separated by 1 a cell."""
    first = torch.tensor([3.0, 1.0]).view(1, 2, 1, 1).expand(3, 2, 4, 4).clone()
    second = first.clone()
    second[1] += 0.5  # a quarter of that
    second[2, 0] -= 9
    torch.testing.assert_close(confidence(first, second), torch.tensor([1.0, 0.75, 0.0]))
    alike = torch.ones(1, 2, 4, 4)
    assert float(confidence(alike, alike)) == 1


def test_remixing_by_hand() -> None:
    """True magnitudes as estimates: a remix is what those sources make."""
    signal = params.load().signal
    torch.manual_seed(5)
    first = stft(torch.randn(2, 4000), signal)
    silent = torch.zeros_like(first)
    estimates = torch.stack([log_magnitude(first), log_magnitude(silent)], dim=1)[..., 2:-2]
    orders = torch.tensor([[1, 0], [0, 1]])
    mixtures, sources = remixed(estimates, first, orders)
    torch.testing.assert_close(mixtures, log_magnitude(first.flip(0))[..., 2:-2])
    torch.testing.assert_close(sources[:, 0], estimates[:, 0].flip(0))
    assert not sources[:, 1].any()
    # both sources from one excerpt each: the sum of two complex numbers
    estimates = torch.stack([log_magnitude(first)] * 2, dim=1)[..., 2:-2]
    mixtures, _ = remixed(estimates, first, orders)
    expected = log_magnitude(first.flip(0) + first)[..., 2:-2]
    torch.testing.assert_close(mixtures, expected, atol=1e-4, rtol=1e-4)


def test_a_remix_is_learned_from_where_it_is(with_features: Path) -> None:
    """A teacher that is the separator: the loss is that of its outputs for the whole remix, cropped."""
    module = prepared(with_features, WAYS["RemixIT"])
    batch = module.batches.for_separator(0)
    assert batch.spectra is not None
    assert batch.permutations is not None
    network, context = module.separator, int(module.separator.context)  # type: ignore[arg-type]
    with torch.no_grad():
        found = remix.loss(module.state, batch, None)
        labelled = network(log_magnitude(batch.spectra))
        mixtures, sources = remixed(labelled, batch.spectra, batch.permutations)
        length = batch.sources.shape[-1]
        begin = (mixtures.shape[-1] - length - 2 * context) // 2
        assert begin == 2  # 162 frames, of which 158 are an excerpt of 66 with its context
        first = network(mixtures[..., begin : begin + length + 2 * context])
        middle = slice(begin + context, begin + context + length)
        expected = ((first - sources[..., middle]) ** 2).mean(dim=(0, 2, 3)).sum()
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


# --------------------------------------------------------------------------------------- MixIT


def test_the_best_assignment_of_all_sixteen() -> None:
    torch.manual_seed(6)
    outputs, mixtures = torch.rand(3, 2, 2, 5, 4), 2 * torch.rand(3, 2, 5, 4)
    expected = []
    for one, both in zip(outputs.flatten(1, 2), mixtures, strict=True):
        errors = []
        for choice in product((0, 1), repeat=4):
            error = 0.0
            for number, mixture in enumerate(both):
                total = sum(
                    (
                        torch.expm1(output)
                        for output, to in zip(one, choice, strict=True)
                        if to == number
                    ),
                    torch.zeros(5, 4),
                )
                error += float(((torch.log1p(total) - mixture) ** 2).mean())
            errors.append(error)
        expected.append(min(errors))
    assert float(mixit_loss(outputs, mixtures)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_outputs_that_are_the_mixtures_have_no_loss() -> None:
    mixtures = torch.rand(2, 2, 5, 4)
    outputs = torch.zeros(2, 2, 2, 5, 4)
    outputs[:, 0, 1], outputs[:, 1, 0] = mixtures[:, 0], mixtures[:, 1]
    assert float(mixit_loss(outputs, mixtures)) == pytest.approx(0, abs=1e-10)


def test_slots_are_summed_to_their_source(tmp_path: Path) -> None:
    """And a model folder with slots separates as the network does."""
    torch.manual_seed(7)
    signal = params.load().signal
    settings = {"network": "unet", "filters": 2, "depth": 2, "slots": 2}
    network = build_separator(settings, signal, 2)
    mixture = torch.rand(1, signal.bins, network.valid_frames(20) + 2 * network.context)  # type: ignore[operator]
    with torch.no_grad():
        apart, together = network.apart(mixture), network(mixture)  # type: ignore[operator]
    torch.testing.assert_close(torch.expm1(together), torch.expm1(apart).sum(dim=2))
    separator = Separator(network, ("accompaniment", "vocals"), signal)  # type: ignore[arg-type]
    separator.save(tmp_path / "model", {})
    heard = np.random.default_rng(0).standard_normal(9000).astype(np.float32)
    np.testing.assert_allclose(
        Separator.load(tmp_path / "model").estimate(heard), separator.estimate(heard), atol=1e-6
    )


# --------------------------------------------------------------------------------------- starts


def test_a_run_starts_from_a_folder_and_leaves_alone_what_is_frozen(with_models: Path) -> None:
    folder = with_models / "models/baseline"
    module = prepared(
        with_models, {"start_from": str(folder), "freeze": ["unet.first", "unet.down"]}
    )
    before = {name: one.clone() for name, one in module.separator.state_dict().items()}
    found = Separator.load(folder).network
    assert isinstance(found, nn.Module)
    assert all(torch.equal(before[name], one) for name, one in found.state_dict().items())
    after(module, 1)
    moved = {name.split(".")[1] for name, one in module.separator.state_dict().items()
             if not torch.equal(one, before[name])}  # fmt: skip
    assert moved == {"up", "merge", "last"}


def test_a_start_that_is_none_is_refused(with_models: Path, tmp_path: Path) -> None:
    folder = str(with_models / "models/baseline")
    settings = params.load(with_models / "params.yaml")
    other = settings.model_copy(
        update={
            "models": {"it": Model(start_from=folder)},
            "signal": settings.signal.model_copy(update={"sample_rate": 16000}),
        }
    )
    with pytest.raises(UserError, match=r"start_from: .*its signal is another"):
        start(nn.Identity(), Path(folder), other, "it")
    with pytest.raises(
        UserError, match=r"freeze: no weight of the separator begins with 'encoder'"
    ):
        prepared(with_models, {"start_from": folder, "freeze": ["encoder"]})
    with pytest.raises(UserError, match="nothing is left to learn"):
        prepared(with_models, {"start_from": folder, "freeze": [""]})
    with pytest.raises(UserError, match="not a model folder"):
        prepared(with_models, {"start_from": str(tmp_path)})
