"""Scores of whole tracks, and BSS Eval against museval, mir_eval and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.bss_eval import RATIOS, Values, energy_ratios
from pipeline.evaluation.metrics import MEASURED, Compared
from pipeline.evaluation.scoring import (
    CEILING,
    SILENT_ESTIMATE,
    SILENT_REFERENCE,
    TOO_SHORT,
    audible,
    score_track,
)

NAMES = ["accompaniment", "vocals"]


def noise(sources: int, samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((sources, samples))


def ratios_of(
    references: np.ndarray, estimates: np.ndarray, filter_length: int = 512
) -> tuple[Values, Values, Values]:
    """SDR, SIR and SAR as a track's scores have them, but not cut."""
    return energy_ratios(references, audible(references, estimates), filter_length)


@pytest.fixture(scope="module")
def references() -> np.ndarray:
    """Two coloured, correlated signals: as unlike white noise as music is."""
    first, second = noise(2, 6000)
    smooth = np.convolve(first, np.hanning(20), "same")
    return np.stack([smooth, second + 0.3 * np.roll(smooth, 5)])


@pytest.fixture(scope="module")
def estimates(references: np.ndarray) -> np.ndarray:
    leak = np.array([[0.9, 0.2], [-0.3, 0.7]])
    mixed: np.ndarray = leak @ references + 0.3 * noise(2, 6000, seed=1)
    return mixed


def test_equals_museval(references: np.ndarray, estimates: np.ndarray) -> None:
    from museval.metrics import bss_eval_sources as museval_sources

    expected = museval_sources(references, estimates, compute_permutation=False)[:3]
    for ours, theirs in zip(ratios_of(references, estimates), expected, strict=True):
        assert ours.shape == (2,)
        np.testing.assert_allclose(ours, theirs[:, 0], rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore:mir_eval.separation:FutureWarning")
def test_equals_mir_eval(references: np.ndarray, estimates: np.ndarray) -> None:
    from mir_eval.separation import bss_eval_sources as mir_eval_sources

    expected = mir_eval_sources(references, estimates, compute_permutation=False)[:3]
    np.testing.assert_allclose(ratios_of(references, estimates), expected, atol=1e-6)


@pytest.mark.parametrize(("interference", "artifacts"), [(0.5, 0.1), (0.1, 0.5), (0.01, 0.02)])
def test_known_levels_of_interference_and_artifacts(interference: float, artifacts: float) -> None:
    # A filter of one tap and orthonormal signals: every ratio is known exactly.
    basis = np.linalg.qr(noise(4, 500).T)[0].T
    references = basis[:2]
    estimates = references + interference * references[::-1] + artifacts * basis[2:]
    sdr, sir, sar = ratios_of(references, estimates, filter_length=1)
    i, a = interference**2, artifacts**2
    np.testing.assert_allclose(sdr, -10 * np.log10(i + a), atol=1e-9)
    np.testing.assert_allclose(sir, -10 * np.log10(i), atol=1e-9)
    np.testing.assert_allclose(sar, 10 * np.log10((1 + i) / a), atol=1e-9)


def test_white_noise_at_a_known_level() -> None:
    references = noise(2, 40_000)
    estimates = references + 0.1 * noise(2, 40_000, seed=1)
    sdr, _, sar = ratios_of(references, estimates, filter_length=16)
    np.testing.assert_allclose(sdr, 20, atol=0.1)
    np.testing.assert_allclose(sar, 20, atol=0.1)


def test_a_filtered_source_is_no_distortion(references: np.ndarray) -> None:
    filtered = np.zeros_like(references)
    filtered[:, 3:-100] = 0.5 * references[:, :-103]
    references = references.copy()
    references[:, -103:] = 0  # nothing is cut off by the delay
    sdr, _, _ = ratios_of(references, filtered, filter_length=8)
    assert (sdr > 100).all()


@settings(max_examples=15, deadline=None)
@given(
    gains=st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=2),
    sign=st.sampled_from([-1.0, 1.0]),
    seed=st.integers(0, 1000),
)
def test_level_and_sign_of_an_estimate_do_not_matter(
    gains: list[float], sign: float, seed: int
) -> None:
    references, error = noise(2, 1500, seed), noise(2, 1500, seed + 1)
    estimates = references + 0.5 * references[::-1] + error
    expected = ratios_of(references, estimates, 32)
    scaled = ratios_of(references, sign * np.array(gains)[:, None] * estimates, 32)
    np.testing.assert_allclose(scaled, expected, atol=1e-6)


def test_order_of_the_sources_only_orders_the_rows(
    references: np.ndarray, estimates: np.ndarray
) -> None:
    straight = np.array(ratios_of(references, estimates, 64))
    swapped = np.array(ratios_of(references[::-1], estimates[::-1], 64))
    np.testing.assert_allclose(swapped[:, ::-1], straight, atol=1e-6)


def test_single_precision_is_enough(references: np.ndarray, estimates: np.ndarray) -> None:
    single = ratios_of(references.astype(np.float32), estimates.astype(np.float32), 64)
    np.testing.assert_allclose(single, ratios_of(references, estimates, 64), atol=1e-3)
    assert all(ratio.dtype == np.float64 for ratio in single)


# ------------------------------------------------------------------------------------ odd signals


@pytest.mark.parametrize("nothing", [0.0, 1e-170])
def test_a_silent_estimate_scores_like_noise(
    references: np.ndarray, estimates: np.ndarray, nothing: float
) -> None:
    full = np.array(ratios_of(references, estimates, 64))
    partly = estimates.copy()
    partly[0] = nothing
    scores = np.array(ratios_of(references, partly, 64))
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores[0, 0], 10 * np.log10(64 / 6000), atol=1)
    np.testing.assert_array_equal(scores[:, 1], full[:, 1])
    np.testing.assert_array_equal(scores, ratios_of(references, partly, 64))
    assert np.isfinite(ratios_of(references, np.zeros_like(estimates), 64)).all()


@pytest.mark.parametrize("level", [1.0, 1e-9])
def test_to_ratios_that_depend_on_level_a_silent_estimate_is_silence(
    references: np.ndarray, estimates: np.ndarray, level: float
) -> None:
    """Of |s|^2 and |s - 0|^2: 0 dB, however quiet the reference; SI-SDR sees noise as BSS Eval does."""
    partly = level * estimates * [[0], [1]]
    silent, other = score_track(Compared(level * references, partly, NAMES, 64, 1000))
    assert silent.note == SILENT_ESTIMATE
    assert {round(silent.values[name], 2) for name in ("SNR", "SDR-v4", "uSDR")} == {0.0}
    assert silent.values["SI-SDR"] < -20
    # its frames are not silent to v4, so the other source keeps all of its own
    whole = score_track(Compared(level * references, level * estimates, NAMES, 64, 1000))[1]
    assert other.values == whole.values


def test_the_digits_of_bss_eval_do_not_depend_on_the_level_of_that_noise(
    references: np.ndarray, estimates: np.ndarray
) -> None:
    partly = estimates * [[0], [1]]
    loud = np.stack([np.ldexp(audible(references, partly)[0], 20), estimates[1]])
    for ratios, same in zip(
        ratios_of(references, partly, 64), energy_ratios(references, loud, 64), strict=True
    ):
        np.testing.assert_array_equal(ratios, same)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_an_exact_estimate_is_infinite_but_for_the_challenges_delta(kind: type) -> None:
    """As where BSS Eval finds no error: nothing for a mean, and no number that rounding decides."""
    references: np.ndarray = noise(2, 3500).astype(kind)
    for score in score_track(Compared(references, references, NAMES, 8, 1000)):
        assert [score.values[name] for name in ("SI-SDR", "SNR", "SDR-v4")] == [np.inf] * 3
        assert score.values["uSDR"] == CEILING


def test_exact_estimates_do_not_crash() -> None:
    # One tap and one pulse each: not even a rounding error is left.
    references = np.zeros((2, 64))
    references[0, 3] = references[1, 40] = 1.0
    assert all((ratio > 200).all() for ratio in ratios_of(references, references, 1))
    mixed = np.stack([references[0], references.sum(axis=0)])
    sdr, sir, _ = ratios_of(references, mixed, 1)
    assert sdr[0] > 200
    np.testing.assert_allclose([sdr[1], sir[1]], 0, atol=1e-9)


def test_equal_references_are_scored_by_least_squares() -> None:
    # Energies of a power of two make the matrix of correlations exactly singular.
    references = np.zeros((2, 100))
    references[:, 5] = 2.0**20
    estimates = references + noise(2, 100, seed=3) * 2.0**17
    sdr, _, sar = ratios_of(references, estimates, filter_length=1)
    gain = estimates[:, 5] / 2.0**20
    error = np.square(estimates).sum(axis=1) - np.square(estimates[:, 5])
    np.testing.assert_allclose(sdr, 10 * np.log10((gain * 2.0**20) ** 2 / error), atol=1e-6)
    np.testing.assert_allclose(sar, sdr, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 100, 511, 513])
@pytest.mark.parametrize("sources", [1, 2])
def test_recordings_shorter_than_the_filter(sources: int, samples: int) -> None:
    references = noise(sources, samples)
    estimates = references + noise(sources, samples, seed=1)
    for ratio in ratios_of(references, estimates):
        assert ratio.shape == (sources,)
        assert not np.isnan(ratio).any()


def test_trailing_silence_changes_nothing(references: np.ndarray, estimates: np.ndarray) -> None:
    padding = ((0, 0), (0, 3000))
    padded = ratios_of(np.pad(references, padding), np.pad(estimates, padding), 64)
    np.testing.assert_allclose(padded, ratios_of(references, estimates, 64), atol=1e-9)


def test_a_single_source_has_no_interference(references: np.ndarray, estimates: np.ndarray) -> None:
    sdr, sir, sar = ratios_of(references[:1], estimates[:1], 64)
    assert np.isposinf(sir).all()
    np.testing.assert_array_equal(sdr, sar)


@pytest.mark.parametrize(
    ("references", "estimates", "message"),
    [
        (np.ones((2, 9)), np.ones((2, 8)), "same shape"),
        (np.ones(9), np.ones(9), "same shape"),
        (np.ones((2, 0)), np.ones((2, 0)), "expected samples"),
        (np.ones((2, 9)), np.stack([np.ones(9), np.full(9, np.nan)]), "estimate of source vocals"),
        (
            np.ones((2, 9)),
            np.stack([np.full(9, -np.inf), np.ones(9)]),
            "estimate of source accompaniment",
        ),
        (np.full((2, 9), np.nan), np.ones((2, 9)), "reference of source acc"),
    ],
)
def test_unusable_arrays(references: np.ndarray, estimates: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_track(Compared(references, estimates, NAMES))


# ------------------------------------------------------------------------------------ whole tracks


def test_score_track(references: np.ndarray, estimates: np.ndarray) -> None:
    scores = score_track(Compared(references, estimates, NAMES, 64))
    expected = np.array(ratios_of(references, estimates, 64))
    assert [score.source for score in scores] == NAMES
    assert [score.note for score in scores] == ["", ""]
    assert all(list(score.values) == MEASURED for score in scores)
    found = [[score.values[name] for name in RATIOS] for score in scores]
    np.testing.assert_array_equal(found, expected.T)


def test_score_track_notes(references: np.ndarray, estimates: np.ndarray) -> None:
    silent = references * [[1], [0]]
    for score in score_track(Compared(silent, estimates, NAMES, 64)):
        assert score.note == SILENT_REFERENCE
        assert np.isnan(list(score.values.values())).all()
    for score in score_track(Compared(references[:, :127], estimates[:, :127], NAMES, 64)):
        assert score.note == TOO_SHORT
        assert np.isnan(list(score.values.values())).all()
    first, second = score_track(Compared(references, estimates * [[1], [0]], NAMES, 64))
    assert (first.note, second.note) == ("", SILENT_ESTIMATE)
    assert np.isfinite(second.values["SDR"])


STEMS = ["vocals", "drums", "bass", "other"]


def test_a_silent_stem_costs_its_own_row_alone() -> None:
    """The others against a projection by lstsq, with the silent stem's delays among its columns."""
    taps, references = 3, noise(4, 400) * [[1], [1], [0], [1]]
    estimates = references + 0.4 * references[::-1] + 0.1 * noise(4, 400, seed=1)
    scores = {one.source: one for one in score_track(Compared(references, estimates, STEMS, taps))}
    assert list(scores) == STEMS
    assert scores["bass"].note == SILENT_REFERENCE
    assert np.isnan(list(scores["bass"].values.values())).all()
    delayed = [np.pad(one, (lag, taps - 1 - lag)) for one in references for lag in range(taps)]
    columns = np.array(delayed).T

    def projected(estimate: np.ndarray, onto: np.ndarray) -> np.ndarray:
        projection: np.ndarray = onto @ np.linalg.lstsq(onto, estimate)[0]
        return projection

    for k, source in enumerate(STEMS):
        if source == "bass":
            continue
        estimate = np.pad(estimates[k], (0, taps - 1))
        own = projected(estimate, columns[:, k * taps : (k + 1) * taps])
        explained = projected(estimate, columns)
        parts = (own, estimate - own), (own, explained - own), (explained, estimate - explained)
        ratios = [10 * np.log10(np.sum(a**2) / np.sum(b**2)) for a, b in parts]
        assert scores[source].note == ""
        found = [scores[source].values[name] for name in RATIOS]
        np.testing.assert_allclose(found, ratios, atol=1e-6)


@pytest.mark.parametrize(
    ("levels", "samples", "notes"),
    [
        ((1, 1, 0, 0), 400, ["", "", SILENT_REFERENCE, SILENT_REFERENCE]),
        ((1, 0, 0, 0), 400, [SILENT_REFERENCE] * 4),  # the mixture is the source
        ((0, 0, 0, 0), 400, [SILENT_REFERENCE] * 4),
        ((1, 1, 1, 0), 3 * 64, ["", "", "", SILENT_REFERENCE]),
        ((1, 1, 1, 0), 3 * 64 - 1, [TOO_SHORT] * 4),
        ((1,), 64, [""]),
        ((0,), 64, [SILENT_REFERENCE]),
    ],
)
def test_a_track_needs_two_sources_that_sound(
    levels: tuple[int, ...], samples: int, notes: list[str]
) -> None:
    references = noise(len(levels), samples) * np.array(levels)[:, None]
    estimates = noise(len(levels), samples, seed=1)
    scores = score_track(Compared(references, estimates, STEMS[: len(levels)], 64))
    assert [one.note for one in scores] == notes
    assert [bool(np.isnan(one.values["SDR"])) for one in scores] == [bool(note) for note in notes]


def test_a_silent_estimate_beside_a_silent_stem_is_noted_on_its_row() -> None:
    references, estimates = noise(3, 900) * [[0], [1], [1]], noise(3, 900, seed=1) * [[1], [1], [0]]
    scores = score_track(Compared(references, estimates, STEMS[:3], 16))
    assert [one.note for one in scores] == [SILENT_REFERENCE, "", SILENT_ESTIMATE]


def test_a_broken_model_is_named(references: np.ndarray, estimates: np.ndarray) -> None:
    broken = estimates.copy()
    broken[1, 17] = np.nan
    with pytest.raises(ValueError, match="estimate of source vocals"):
        score_track(Compared(references, broken, NAMES))
    with pytest.raises(ValueError, match="estimate of source vocals"):
        score_track(Compared(references * [[1], [0]], broken, NAMES))


def test_ratios_of_rounding_errors_are_cut() -> None:
    """The mixture as the estimate has no artifacts: its 150 dB are the rounding of a solver."""
    references = np.random.default_rng(3).standard_normal((2, 8000))
    mixture = np.repeat(references.sum(axis=0, keepdims=True), 2, axis=0)
    assert (ratios_of(references, mixture)[2] > 120).all()
    scores = score_track(Compared(references, mixture, ["a", "b"]))
    assert [score.values["SAR"] for score in scores] == [CEILING] * 2
    assert all(abs(score.values["SDR"]) < 3 for score in scores)
