"""The rows without a model against closed forms, and the oracle against every other magnitude."""

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from pipeline.evaluation.bss_eval import energy_ratios
from pipeline.evaluation.reference_rows import (
    MAGNITUDES,
    phase_sensitive,
    ratio_mask,
    reference_estimates,
)
from pipeline.features.stft import stft
from pipeline.params import IDEAL_ROWS, REFERENCE_ROWS
from tests.helpers.places import TOP
from tests.helpers.small_separators import SIGNAL, noise


def cells(values: list[complex]) -> torch.Tensor:
    """One bin, a frame a value."""
    return torch.tensor([values], dtype=torch.complex64)


@pytest.mark.parametrize("row", IDEAL_ROWS)
def test_sources_in_phase_with_the_mixture_come_back(row: str) -> None:
    """Shares of one signal: their phase is the mixture's, so each way gives them exactly."""
    sources = np.array([[0.75], [0.2], [0.05]], np.float32) * noise(5001)
    found = reference_estimates(row, sources, SIGNAL)
    assert found.shape == sources.shape
    np.testing.assert_allclose(found, sources, atol=1e-5)


def test_closed_forms() -> None:
    """The mixture 4 e^(i 30 degrees); one source in phase, one at a right angle, one against it."""
    phase = np.exp(1j * np.pi / 6)
    sources = torch.stack([cells([3 * phase]), cells([2j * phase]), cells([-phase])])
    mixture = cells([4 * phase])
    expected = {
        "irm": np.array([3, 2, 1]) * 4 / 6,
        "magnitude": np.array([3, 2, 1]),
        "oracle": np.array([3, 0, 0]),
    }
    assert list(expected) == list(MAGNITUDES)
    for row, values in expected.items():
        found = MAGNITUDES[row](sources, mixture).flatten().numpy()
        np.testing.assert_allclose(found, values, atol=1e-6, err_msg=row)


def test_no_magnitude_comes_closer_to_a_source_than_the_oracles() -> None:
    rng = np.random.default_rng(4)
    sources = torch.from_numpy(rng.standard_normal((3, 1, 40, 2)) @ [1, 1j]).to(torch.complex64)
    mixture = sources.sum(dim=0)
    phase = mixture / mixture.abs()

    def error(magnitudes: torch.Tensor) -> torch.Tensor:
        return (magnitudes * phase - sources).abs()

    least = error(phase_sensitive(sources, mixture))
    tried = torch.stack([error(torch.full_like(least, m)) for m in np.linspace(0, 6, 3001)])
    assert (least <= tried.amin(dim=0) + 1e-6).all()
    np.testing.assert_allclose(least, tried.amin(dim=0), atol=1e-3)


def test_the_masks_of_all_sources_share_out_the_mixture() -> None:
    spectra = stft(torch.from_numpy(np.stack([noise(4000), np.roll(noise(4000), 7)])), SIGNAL)
    mixture = spectra.sum(dim=0)
    np.testing.assert_allclose(
        ratio_mask(spectra, mixture).sum(dim=0), mixture.abs(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("row", REFERENCE_ROWS)
@pytest.mark.parametrize("level", [0.0, 1e-30, 1e15])
def test_silence_whispers_and_thunder_have_finite_estimates(row: str, level: float) -> None:
    """Where sources cancel, or all are silent, the mixture has no phase."""
    sound = level * noise(1500)
    sources = np.stack(
        [sound, np.zeros_like(sound), np.where(np.arange(1500) < 700, -sound, sound)]
    )
    estimates = reference_estimates(row, sources, SIGNAL)
    assert np.isfinite(estimates).all()
    if level == 0:
        assert not estimates.any()


@pytest.mark.parametrize("samples", [1, 255, 257, 4000])
def test_estimates_are_as_long_as_the_sources(samples: int) -> None:
    sources = np.stack([noise(samples), noise(samples)[::-1]])
    for row in REFERENCE_ROWS:
        assert reference_estimates(row, sources, SIGNAL).shape == sources.shape


def test_the_oracle_leads_and_the_mixture_is_the_mixture() -> None:
    sources = np.stack([noise(8000), np.convolve(noise(8000)[::-1], np.hanning(16), "same")])
    sources = sources.astype(np.float32)
    estimates = {row: reference_estimates(row, sources, SIGNAL) for row in REFERENCE_ROWS}
    np.testing.assert_array_equal(estimates["mixture"], [sources.sum(axis=0)] * 2)
    sdr = {row: energy_ratios(sources, found, 16)[0] for row, found in estimates.items()}
    assert all((sdr["oracle"] > sdr[row] + 0.3).all() for row in REFERENCE_ROWS if row != "oracle")


def test_every_reference_row_is_a_stage() -> None:
    stages = YAML(typ="safe").load((TOP / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert stages["reference"]["matrix"]["row"] == list(REFERENCE_ROWS)
    assert list(MAGNITUDES) == list(IDEAL_ROWS)
