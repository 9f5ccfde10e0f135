"""How like real sources estimates are: closed forms, and what more leakage does."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline import params
from pipeline.critique import critic_table, likeness
from pipeline.critique.groups import Group
from pipeline.networks.representations import LOG_MAGNITUDES
from pipeline.separation.separator import Separator
from pipeline.tracks import Role


def test_normal_distributions_in_one_dimension() -> None:
    """(mean - mean')^2 + (deviation - deviation')^2."""
    random = np.random.default_rng(1)
    first, second = random.normal(0, 1, (20_000, 1)), random.normal(3, 2, (20_000, 1))
    assert likeness.frechet(first, second) == pytest.approx(9 + 1, rel=0.05)


def test_rotated_covariances_against_scipys_root() -> None:
    from scipy.linalg import sqrtm

    random = np.random.default_rng(2)
    first = random.normal(size=(500, 5)) @ random.normal(size=(5, 5))
    second = random.normal(size=(300, 5)) @ random.normal(size=(5, 5)) + 1
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    apart = np.square(first.mean(axis=0) - second.mean(axis=0)).sum()
    expected = apart + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert likeness.frechet(first, second) == pytest.approx(expected, rel=1e-8)
    assert likeness.frechet(first, first) == pytest.approx(0, abs=1e-9)
    assert np.isnan(likeness.frechet(first[:1], second))


def test_the_embedding_hears_where_and_how_evenly() -> None:
    signal = params.load().signal
    steady, pulsed = torch.zeros(2, signal.bins, 66).unbind()
    steady[20] = 1.0
    pulsed[20, ::2] = 2.0
    vectors = likeness.embedding(torch.stack([steady, pulsed, torch.zeros_like(steady)]), signal)
    assert vectors.shape == (3, 2 * likeness.BANDS)
    band = int(vectors[0, : likeness.BANDS].argmax())
    assert vectors[0, likeness.BANDS + band] == pytest.approx(0, abs=1e-6)
    # every other frame: as far from the mean as the mean is from zero
    assert vectors[1, likeness.BANDS + band] == pytest.approx(vectors[1, band], rel=1e-5)
    assert not vectors[2].any()


def test_leakage_in_decibels() -> None:
    def predict(mixture: Tensor) -> Tensor:
        inner = torch.expm1(mixture[..., 1:-1])
        return torch.log1p(torch.stack([0.9 * inner, 0.1 * inner], dim=1))

    separator = cast(
        Separator,
        SimpleNamespace(
            predict=predict,
            sources=("accompaniment", "vocals"),
            network=SimpleNamespace(context=1, representation=LOG_MAGNITUDES),
        ),
    )
    found = Group(Role.TEST, "x", torch.rand(40, 5, 9), {}, True)
    assert likeness.leakage(found, separator) == pytest.approx(-20, abs=1e-4)
    silent = Group(Role.TEST, "x", torch.zeros(2, 5, 9), {}, True)
    assert likeness.leakage(silent, separator) == -np.inf


def test_every_model_and_test_set_of_an_experiment(experiment: Path) -> None:
    path = experiment / "results/likeness.csv"
    found = critic_table.load(path, "again", "absent", critic_table.LIKENESS)
    settings = params.load(experiment / "params.yaml")
    assert list(dict.fromkeys(found["model"])) == list(settings.models)
    assert set(found["seed"]) == set(settings.seeds)
    assert set(found["source"]) == set(settings.sources)
    assert (found[["frechet", "floor", "mixture"]].dropna() >= 0).all(axis=None)
    leaking = found[found["leakage"].notna()]
    assert set(leaking["test_set"]) == {"MedleyDB"}
    assert set(leaking["source"]) == {"vocals"}
    assert (leaking["leakage"] < 6).all()
