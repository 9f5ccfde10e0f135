"""SNR, uSDR, SI-SDR and the SDR of BSS Eval v4 against museval, torchmetrics and closed forms."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.judge import museval_frames, torchmetrics_ratio
from pipeline.evaluation.unfiltered_ratios import (
    challenge_sdr,
    energies,
    framewise_sdr,
    scale_invariant_sdr,
    signal_to_noise,
)

Array = np.ndarray


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def mono(references: Array, estimates: Array, frame: int = 1000) -> dict[str, Array]:
    of = energies(references, estimates, frame)
    return {
        "SNR": signal_to_noise(of), "uSDR": challenge_sdr(of),
        "SI-SDR": scale_invariant_sdr(of), "SDR-v4": framewise_sdr(of),
    }  # fmt: skip


# ------------------------------------------------------------------------------------- by hand


def test_closed_forms() -> None:
    """An estimate at half the level, with an orthogonal error of a tenth of the reference's energy."""
    basis = np.linalg.qr(noise(500, 2))[0].T
    references = 2 * basis[:1]
    estimates = 0.5 * references + 2 * np.sqrt(0.1) * basis[1:]
    found = mono(references, estimates, 500)
    np.testing.assert_allclose(found["SNR"], -10 * np.log10(0.5**2 + 0.1))
    np.testing.assert_allclose(found["SDR-v4"], found["SNR"])
    np.testing.assert_allclose(found["SI-SDR"], 10 * np.log10(0.5**2 / 0.1))
    expected = 10 * np.log10((4 + 1e-7) / (4 * (0.5**2 + 0.1) + 1e-7))
    np.testing.assert_allclose(found["uSDR"], expected, rtol=1e-12)


@pytest.mark.parametrize("gain", [-3.0, 1e-4, 0.3, 1.0, 1e4])
@pytest.mark.parametrize("decibels", [-80.0, 0.0, 60.0, 95.0])
def test_si_sdr_keeps_its_digits_at_every_gain(gain: float, decibels: float) -> None:
    basis = np.linalg.qr(noise(4000, 2))[0].T
    estimates = gain * (basis[:1] + 10 ** (-decibels / 20) * basis[1:])
    assert mono(basis[:1], estimates)["SI-SDR"] == pytest.approx(decibels, abs=1e-7)


def test_an_offset_is_an_error_to_si_sdr() -> None:
    """No mean is subtracted: a constant 0.1 has a hundredth of the energy of white noise."""
    references = noise(1, 100_000)
    assert mono(references, references + 0.1)["SI-SDR"] == pytest.approx(20, abs=0.1)


def test_of_a_quiet_track_the_challenges_delta_is_most() -> None:
    references = 1e-6 * noise(1, 1000)
    assert mono(references, 0 * references + 1e-9)["uSDR"] == pytest.approx(0, abs=1e-4)
    assert mono(references, references)["uSDR"] == pytest.approx(
        10 * np.log10(1 + np.square(references).sum() / 1e-7)
    )


def test_nothing_of_the_source_is_minus_infinity() -> None:
    references, estimates = np.zeros((1, 8)), np.zeros((1, 8))
    references[0, 0] = estimates[0, 4] = 1.0
    found = mono(references, estimates, 8)
    assert np.isneginf(found["SI-SDR"]).all()
    np.testing.assert_allclose(found["SNR"], -10 * np.log10(2))


def test_exact_frames_do_not_count_and_a_whole_exact_track_is_infinite() -> None:
    references = noise(1, 4000)
    estimates = references + 0.1 * noise(1, 4000, seed=1)
    estimates[:, :3000] = references[:, :3000]
    last = mono(references[:, 3000:], estimates[:, 3000:])["SNR"]
    np.testing.assert_allclose(mono(references, estimates)["SDR-v4"], last)
    assert np.isposinf(mono(references, references)["SDR-v4"]).all()


def test_when_the_sources_take_turns_no_frame_counts() -> None:
    references = noise(2, 4000)
    references[0, :2000] = references[1, 2000:] = 0
    found = mono(references, references + 0.1 * noise(2, 4000, seed=1))
    assert np.isnan(found["SDR-v4"]).all()
    assert np.isfinite([found[name] for name in ("SNR", "SI-SDR", "uSDR")]).all()
    judged = museval_frames(references, references + 0.1 * noise(2, 4000, seed=1), 1000, 8)
    assert np.isnan(judged).all()


# -------------------------------------------------------------------------------- other programs


@pytest.mark.parametrize("samples", [600, 999, 1000, 1001, 1999, 2000, 4600])
def test_frames_are_musevals(samples: int) -> None:
    """Shorter than a frame, as long as one, with a rest; some frames of one source silent."""
    references = np.cumsum(noise(2, samples), axis=1) * 0.05 + noise(2, samples, seed=1)
    estimates = references + 0.3 * references[::-1] + 0.2 * noise(2, samples, seed=2)
    if samples > 3000:
        references[0, 1000:2000] = 0  # silent in a frame: it counts for neither source
        estimates[1, 2000:3100] = 0
    judged = museval_frames(references, estimates, 1000, 8)
    assert np.isfinite(judged).all()
    np.testing.assert_allclose(mono(references, estimates)["SDR-v4"], judged, rtol=0, atol=1e-9)


def test_of_channels_the_images_are_musevals() -> None:
    """Energies are sums over channels: (sources, samples, channels)."""
    references = noise(2, 2500, 2)
    estimates = references + 0.5 * references[::-1, :, ::-1] + 0.2 * noise(2, 2500, 2, seed=1)
    found = mono(references, estimates)
    judged = museval_frames(references, estimates, 1000, 8)
    np.testing.assert_allclose(found["SDR-v4"], judged, rtol=0, atol=1e-9)
    flat = [one.reshape(2, -1) for one in (references, estimates)]
    np.testing.assert_allclose(found["SNR"], torchmetrics_ratio("signal_noise_ratio", *flat))


@settings(max_examples=25)
@given(
    samples=st.integers(2, 3000), level=st.floats(1e-4, 1e4), gain=st.floats(-2, 2),
    error=st.floats(1e-4, 10), single=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
def test_whole_tracks_are_torchmetrics(
    samples: int, level: float, gain: float, error: float, single: bool, seed: int
) -> None:
    references = level * noise(2, samples, seed=seed)
    estimates = gain * references + level * error * noise(2, samples, seed=seed + 1)
    if single:
        references, estimates = references.astype(np.float32), estimates.astype(np.float32)
    found = mono(references, estimates)
    for metric, name in (
        ("SNR", "signal_noise_ratio"),
        ("SI-SDR", "scale_invariant_signal_distortion_ratio"),
    ):
        judged = torchmetrics_ratio(name, references, estimates)
        np.testing.assert_allclose(found[metric], judged, rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------------- limits


def test_memory_is_that_of_a_few_frames() -> None:
    """Of a long track in single precision, whose copy in double would have 16 MB."""
    references = np.random.default_rng(0).standard_normal((2, 1_000_000), np.float32)
    estimates = references[::-1].copy()
    tracemalloc.start()
    energies(references, estimates, 44_100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6
