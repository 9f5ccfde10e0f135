"""The straightforward ways give our numbers."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from benchmarks import limits, material
from benchmarks.parts import ablation
from benchmarks.parts import batches as batches_part
from benchmarks.parts import evaluation as evaluation_part
from benchmarks.parts import preprocess as preprocess_part
from benchmarks.parts import separation as separation_part
from benchmarks.parts import training as training_part
from benchmarks.reference.batches import Excerpts, loader
from benchmarks.reference.networks import plain_separator
from pipeline.datasets.inventory import Inventory
from pipeline.features.store import FeatureFile
from pipeline.networks import pool_and_crop
from pipeline.networks.critics.dcgan import DCGANCritic
from pipeline.networks.separators import unet
from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.params import Params
from pipeline.separation.separator import Separator
from pipeline.tracks import Role
from pipeline.training.losses import gradient_penalty
from pipeline.training.module import AdversarialSeparation
from tests.helpers.autograd import by_autograd
from tests.helpers.train_in_double import doubled


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short songs as the benchmarks write them."""
    return material.songs(tmp_path_factory.mktemp("songs"), 2, 3.3, 44100, 2)


@pytest.fixture
def features(songs: Path, tmp_path: Path, one_process: None) -> tuple[Path, Inventory]:
    """Their features."""
    return tmp_path / "DSD100.h5", material.features(songs, tmp_path / "DSD100.h5")


@pytest.mark.parametrize(
    ("quality", "bins", "tolerance"), [("soxr_vhq", 257, 1e-5), ("soxr_hq", 224, 1e-2)]
)
def test_librosa_gives_our_features(
    songs: Path,
    features: tuple[Path, Inventory],
    tmp_path: Path,
    quality: str,
    bins: int,
    tolerance: float,
) -> None:
    """To rounding with our quality of resampling; librosa's default cuts off lower, above 3.5 kHz."""
    path, found = features
    preprocess_part.straightforward(found, songs, tmp_path / "reference.h5", quality)
    ours = FeatureFile.open(path)
    with h5py.File(tmp_path / "reference.h5") as reference:
        for row, track in enumerate(ours.index.index):
            expected = reference[track]
            assert expected["spectrogram"].shape == (3, int(ours.index["frames"].iloc[row]), 257)
            for found_values, name in (
                (ours.waveforms(row), "waveform"),
                (ours.spectrogram(row, ours.kinds)[..., :bins], "spectrogram"),
            ):
                values = expected[name][..., : found_values.shape[-1]]
                worst = np.abs(found_values - values).max() / np.abs(values).max()
                assert worst < tolerance, name


def test_a_data_loader_gives_our_excerpts(songs: Path, features: tuple[Path, Inventory]) -> None:
    """The same places, at both ends of tracks and within them; and batches of the same shape."""
    path, _ = features
    settings = material.paper()
    root = path.parent
    (root / "songs").symlink_to(songs)
    pool = batches_part.drawn(settings, root, 4, "cpu").supervised
    excerpts = Excerpts(path, pool.length, pool.context)
    for track, positions in enumerate(pool.positions.tolist()):
        for start in {0, positions // 2, positions - 1}:
            mixture, sources = excerpts[track, start]
            place = pool.first[track : track + 1] + start
            torch.testing.assert_close(mixture, pool.gather(place, 0, context=True)[0])
            for number, source in enumerate(sources, start=1):
                torch.testing.assert_close(source, pool.gather(place, number)[0])
    (batch,) = loader(excerpts, 4, 1, 0, pinned=False)
    ours = batches_part.drawn(settings, root, 4, "cpu").paired(0)
    assert [one.shape for one in batch] == [one.shape for one in ours]


def small(name: str) -> AdversarialSeparation:
    """A model of the paper with few filters and two critic updates, on noise, in double precision."""
    paper = material.paper()
    tiny = {
        "separator": paper.separator.model_copy(update={"filters": 2}),
        "critic": paper.critic.model_copy(update={"filters": 2}),
        "training": paper.training.model_copy(
            update={"batch_size": 2, "critic_steps": 2, "steps_per_epoch": 1}
        ),
    }
    settings: Params = paper.model_copy(update=tiny)
    # weights that do something: with alpha of the paper the critics' part of the gradient is small
    settings.models[name] = settings.models[name].model_copy(
        update={"alpha": 0.5, "beta": 0.1} if settings.models[name].critics else {}
    )
    module = material.module(settings, name, {role: [4.0, 3.0] for role in Role}, "cpu").double()
    drawn = module.batches
    module.batches = replace(
        drawn,
        supervised=doubled(drawn.supervised),
        mixtures=drawn.mixtures and doubled(drawn.mixtures),
        recordings={number: doubled(pool) for number, pool in drawn.recordings.items()},
    )
    return module


@pytest.mark.parametrize("name", ["baseline", "VA"])
def test_a_plain_training_step_has_our_losses_and_gradients(name: str) -> None:
    """Of all networks, after updates of the critics and one of the separator, as Lightning runs ours."""
    module = small(name)
    experiment = training_part.straightforward(module)
    losses = experiment.step(training_part.draw(module, 0))
    ours = training_part.fit(module, [], 1, "cpu")
    found = {f"training/{loss}": value for loss, value in losses.items()}
    assert set(found) <= set(ours)
    for loss, value in found.items():
        torch.testing.assert_close(ours[loss].double(), value, rtol=1e-6, atol=1e-7)
    networks = {"separator": experiment.separator, **experiment.critics}
    trained = {"separator": module.separator, **dict(module.critics.items())}
    for network in networks:
        pairs = zip(networks[network].parameters(), trained[network].parameters(), strict=True)
        for plain, fused in pairs:
            assert plain.grad is not None
            assert fused.grad is not None
            scale = float(plain.grad.abs().max())
            torch.testing.assert_close(fused.grad, plain.grad, rtol=0, atol=1e-9 * scale + 1e-15)


CHANGES = {**ablation.REMOVALS, **ablation.ADDITIONS}


def changed(name: str, variant: str | None = None) -> AdversarialSeparation:
    """A model on the same noise every time, with one optimisation more or less."""
    torch.manual_seed(4)
    module = small(name)
    if variant:
        CHANGES[variant](module)
    return module


@pytest.mark.parametrize("variant", [name for name in CHANGES if name != "torch.compile"])
def test_a_step_with_one_optimisation_more_or_less_has_our_losses(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch.compile takes too long for this test."""
    monkeypatch.setattr(
        unet, "pool_and_crop", pool_and_crop.pool_and_crop
    )  # which one variant replaces
    found, expected = (
        training_part.fit(module, [], 1, "cpu")
        for module in (changed("VA", variant), changed("VA"))
    )
    assert set(found) == set(expected)
    for loss, value in expected.items():
        torch.testing.assert_close(found[loss], value, rtol=1e-6, atol=1e-7)


def test_patches_of_66_frames_give_our_estimates(songs: Path) -> None:
    """Where they begin on the network's grid; elsewhere pooling sees other groups of frames."""
    settings = material.paper()
    torch.manual_seed(0)
    network = SpectrogramUNet(settings.signal.bins, 2, 2, 4)
    torch.nn.init.xavier_uniform_(network.unet.last.weight)
    separator = Separator(network.eval(), ("accompaniment", "vocals"), settings.signal)
    waveform = np.random.default_rng(1).uniform(-0.5, 0.5, 30_001).astype(np.float32)
    ours = separation_part.ours(separator, waveform)
    plain = separation_part.straightforward(plain_separator(network), separator, waveform, 64)
    assert np.abs(ours).max() > 0.01
    np.testing.assert_allclose(plain, ours, atol=2e-6 * np.abs(ours).max())
    of_paper = separation_part.straightforward(plain_separator(network), separator, waveform)
    assert of_paper.shape == ours.shape


def test_a_loop_over_museval_gives_our_scores(
    features: tuple[Path, Inventory],
) -> None:
    path, found = features
    split = material.split(found, Role.TEST)
    ours = evaluation_part.ours(split, path.parent, 64)
    plain = evaluation_part.straightforward(path, len(split), 64)
    for number, (_, rows) in enumerate(ours.groupby("track", sort=False)):
        table: pd.DataFrame = rows[["SDR", "SIR", "SAR"]]
        np.testing.assert_allclose(np.minimum(plain[number].T, 100), table.to_numpy(), rtol=1e-9)


def critic_operations(critic: DCGANCritic, batch: int) -> int:
    """Of a forward pass, from the layers' sizes."""
    rows, columns, total = critic.bins, critic.frames, 0
    for layer in [*critic.square, *critic.tall]:
        down, across = layer.stride
        rows, columns = rows // int(down), columns // int(across)
        total += 2 * batch * layer.weight.numel() * rows * columns
    return total + sum(2 * batch * one.weight.numel() for one in (critic.hidden, critic.score))


def test_operations_are_those_of_the_layers() -> None:
    """Forward, backward, and the backward of a backward that the gradient penalty needs."""
    critic = DCGANCritic(4)
    excerpts, batch = torch.rand(3, 1, 256, 64), 3
    forward = critic_operations(critic, batch)
    assert limits.operations(lambda: critic(excerpts)) == forward
    first = 2 * batch * critic.square[0].weight.numel() * 128 * 32  # type: ignore[operator]
    # one product for the gradient of the weights, one for that of the input, but for the excerpts'
    backward = limits.operations(lambda: critic(excerpts).sum().backward())
    assert backward == 3 * forward - first
    epsilon = torch.full((batch,), 0.5)
    # Straightforwardly: forward; its gradient at the input; then both of these backward, for weights and
    # activations; but for the last layer, whose output the penalty does not depend on.
    # Ours leaves out forward's own way backward, on which there are zeros.
    for gradient, passes in ((by_autograd(critic), 6), (critic.input_gradient, 4)):
        penalty = limits.operations(partial(penalise, gradient, excerpts, 9 * excerpts, epsilon))
        assert penalty / forward == pytest.approx(passes, rel=1e-4)


def penalise(
    gradient: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, epsilon: Tensor
) -> None:
    gradient_penalty(gradient, real, fake, epsilon).backward()


def test_operations_of_inference_are_counted() -> None:
    network = SpectrogramUNet(257, 2, 2, 4)
    patch = torch.rand(1, 257, 158)
    with torch.inference_mode():
        assert limits.operations(lambda: network(patch)) > 1e7
