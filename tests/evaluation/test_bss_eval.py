"""Our BSS Eval against museval, dense least squares and closed forms."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import toeplitz
from scipy.signal import butter, ellip, sosfilt

from pipeline.evaluation import bss_eval
from pipeline.evaluation.bss_eval import energy_ratios
from pipeline.evaluation.judge import museval_sources

Array = np.ndarray
ROUNDING = 100.0
"""dB. Higher ratios are those of a rounding error."""


def noise(sources: int, samples: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((sources, samples))


def coloured(sources: int, samples: int, seed: int = 0) -> Array:
    """Signals that are unlike white noise and like each other, as music is."""
    signals = noise(sources, samples, seed)
    first = np.convolve(signals[0], np.hanning(20), "same")[:samples]
    return signals + 0.3 * first + 0.2 * np.roll(first, 5)


def separated(references: Array, leak: float = 0.3, artifacts: float = 0.2) -> Array:
    """Estimates with interference of all other sources, and noise."""
    sources, samples = references.shape
    mixing = np.eye(sources) + leak * np.random.default_rng(1).uniform(-1, 1, (sources, sources))
    level = artifacts * references.std()
    return np.asarray(mixing @ references + level * noise(sources, samples, seed=99))


def assert_alike(ours: object, theirs: object, atol: float = 1e-6) -> None:
    """Equal in dB; of rounding errors, as small."""
    first, second = (np.minimum(np.asarray(ratios), ROUNDING) for ratios in (ours, theirs))
    np.testing.assert_allclose(first, second, rtol=0, atol=atol)


def assert_museval(references: Array, estimates: Array, taps: int, atol: float = 1e-6) -> None:
    ours = energy_ratios(references, estimates, taps)
    assert_alike(ours, museval_sources(references, estimates, taps), atol)


def by_dense_least_squares(references: Array, estimates: Array, taps: int) -> Array:
    """The definition: projections on the columns of all delayed references, without a Gram matrix."""

    def delayed(signal: Array) -> Array:
        column = np.pad(signal, (0, taps - 1))
        return np.asarray(toeplitz(column, np.zeros(taps)))

    def projected(on: Array, estimate: Array) -> Array:
        return np.asarray(on @ np.linalg.lstsq(on, estimate)[0])

    columns = [delayed(signal) for signal in references]
    ratios = []
    for own, estimate in zip(columns, np.pad(estimates, ((0, 0), (0, taps - 1))), strict=True):
        target, explained = projected(own, estimate), projected(np.hstack(columns), estimate)
        pairs = (
            (target, estimate - target), (target, explained - target),
            (explained, estimate - explained),
        )  # fmt: skip
        with np.errstate(divide="ignore"):
            ratios.append([10 * np.log10(np.sum(a**2) / np.sum(b**2)) for a, b in pairs])
    return np.array(ratios).T


# --------------------------------------------------------------------------------------- museval


@pytest.mark.parametrize("taps", [1, 2, 64, 512])
@pytest.mark.parametrize("sources", [1, 2, 3, 4])
def test_coloured_correlated_signals(sources: int, taps: int) -> None:
    references = coloured(sources, 5000)
    assert_museval(references, separated(references), taps, atol=1e-9)


@pytest.mark.parametrize(
    "filters", [butter(8, 0.2, output="sos"), ellip(16, 0.1, 120, 0.45, output="sos")]
)
@pytest.mark.parametrize("sources", [2, 3])
def test_steeply_low_passed_recordings(filters: Array, sources: int) -> None:
    """Above the edge there is the noise of 16 bits: the Gram matrix's condition is 1e9."""
    signals = sosfilt(filters, noise(sources, 20_000))
    references = signals + 2.0**-16 * noise(sources, 20_000, seed=5)
    assert_museval(references, separated(references), 512)
    assert_museval(references, separated(references, 1e-3, 1e-2), 64)
    assert_museval(references, np.repeat(references.sum(axis=0)[None], sources, axis=0), 512)


def test_where_nothing_is_above_the_edge_sdr_is_the_same() -> None:
    """The Gram matrix is singular in double precision: museval's SIR depends on trailing zeros."""
    references = sosfilt(butter(8, 0.2, output="sos"), noise(2, 20_000))
    estimates = separated(references)
    ours = energy_ratios(references, estimates, 512)
    theirs = museval_sources(references, estimates, 512)
    assert_alike(ours[0], theirs[0])
    padding = ((0, 0), (0, 20_000))
    padded = museval_sources(np.pad(references, padding), np.pad(estimates, padding), 512)
    assert_alike(padded[0], theirs[0])
    assert np.abs(padded[1] - theirs[1]).max() > 1e-4


HOP = 2**13 - 511  # samples of a block for 512 taps


@pytest.mark.parametrize(
    "samples", [HOP - 512, HOP - 511, HOP - 510, HOP - 1, HOP, HOP + 1, 3 * HOP, 3 * HOP + 7]
)
def test_lengths_about_those_of_blocks(samples: int) -> None:
    references = coloured(2, samples)
    assert_museval(references, separated(references), 512, atol=1e-9)


@pytest.mark.parametrize("sources", [1, 2])
def test_every_length_about_small_blocks(sources: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bss_eval, "POINTS", 64)
    hop = 64 - 15
    edges = [hop - 15, hop, 2 * hop - 15, 2 * hop, 5 * hop]
    for samples in {edge + beside for edge in edges for beside in (-1, 0, 1)}:
        references = coloured(sources, samples)
        assert_museval(references, separated(references), 16, atol=1e-7)


def test_the_size_of_blocks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    references = coloured(3, 30_000)
    estimates = separated(references)
    expected = energy_ratios(references, estimates, 100)
    for points in (1, 512, 1000, 2**15, 2**20):
        monkeypatch.setattr(bss_eval, "POINTS", points)
        assert_alike(energy_ratios(references, estimates, 100), expected, atol=1e-9)


@pytest.mark.parametrize("samples", [1, 2, 7, 40, 63, 64, 65])
def test_signals_about_as_short_as_the_filter(samples: int) -> None:
    references = noise(1, samples)
    assert_museval(references, separated(references), 64)
    # Two references explain anything. How it divides among them is the solver's rounding.
    references = noise(2, samples)
    sdr, _, sar = energy_ratios(references, separated(references), 64)
    assert_alike(sdr, museval_sources(references, separated(references), 64)[0])
    assert (sar > ROUNDING).all()


@pytest.mark.parametrize("level", [1e-6, 1.0, 1e4])
def test_quiet_and_loud_signals(level: float) -> None:
    references = level * coloured(2, 5000)
    estimates = separated(references)
    assert_museval(references, estimates, 64, atol=1e-9)
    assert_museval(references, estimates / level, 64, atol=1e-8)
    assert_museval(references.astype(np.float32), estimates.astype(np.float32), 64, atol=1e-9)


def test_exact_and_filtered_estimates() -> None:
    references = coloured(2, 5000)
    filtered = np.stack([np.convolve(row, [0.5, 0.0, -0.2])[:5000] for row in references])
    filtered[:, -1000:] = 0  # artifacts
    assert_museval(references, filtered, 64, atol=1e-9)
    for estimates in (references, 0.5 * np.pad(references, ((0, 0), (3, 0)))[:, :-3]):
        assert_museval(references, estimates, 64, atol=1e-6)
    assert (np.array(energy_ratios(references, references, 64)) > 200).all()


def test_linearly_dependent_references() -> None:
    references, estimates = noise(2, 3000), separated(noise(2, 3000))
    for gain in (1.0, -2.0, 0.3):
        same = np.stack([references[0], gain * references[0]])
        assert_museval(same, estimates, 64)
        assert (energy_ratios(same, estimates, 64)[1] > ROUNDING).all()
    delayed = np.pad(references[0], (3, 0))[:-3]
    assert_museval(np.stack([references[0], delayed]), estimates, 64)
    summed = np.vstack([references, references.sum(axis=0)])
    assert_museval(summed, separated(summed), 64)


@settings(max_examples=60, deadline=None)
@given(
    sources=st.integers(1, 4),
    taps=st.integers(1, 40),
    samples=st.integers(300, 2000),
    level=st.floats(1e-5, 1e4),
    leak=st.floats(0, 1),
    artifacts=st.floats(1e-3, 10),
    seed=st.integers(0, 1000),
)
def test_small_random_signals(
    sources: int, taps: int, samples: int, level: float, leak: float, artifacts: float, seed: int
) -> None:
    references = level * coloured(sources, samples, seed)
    assert_museval(references, separated(references, leak, artifacts), taps)


# ----------------------------------------------------------------------- other judges, closed forms


@pytest.mark.parametrize(
    ("sources", "taps", "samples"),
    [(1, 1, 50), (1, 32, 10), (2, 16, 20), (2, 8, 300), (3, 20, 400), (4, 5, 100)],
)
def test_dense_least_squares(sources: int, taps: int, samples: int) -> None:
    references = noise(sources, samples)
    estimates = separated(references)
    expected = by_dense_least_squares(references, estimates, taps)
    assert_alike(energy_ratios(references, estimates, taps), expected)


def test_one_source_has_no_interference_whatever_is_rounded() -> None:
    for samples in (1, 100, 20_000):
        references = noise(1, samples)
        sdr, sir, sar = energy_ratios(references, separated(references), 64)
        assert np.isposinf(sir).all()
        np.testing.assert_array_equal(sdr, sar)


def test_no_error_at_all_is_infinite_where_museval_stumbles() -> None:
    references = np.zeros((1, 8))
    references[0, 0] = 2.0**10  # all spectra are powers of two: nothing is rounded
    with pytest.raises(AttributeError, match="shape"):
        museval_sources(references, 2.0 * references, 1)
    ratios = np.array(energy_ratios(references, 2.0 * references, 1))
    assert ratios.shape == (3, 1)
    assert np.isposinf(ratios).all()


def test_nothing_of_the_source_is_minus_infinity() -> None:
    references, estimates = np.zeros((2, 8)), np.zeros((2, 8))
    references[0, 0] = references[1, 4] = estimates[:, 0] = 1.0
    sdr, sir, _ = energy_ratios(references, estimates, 1)
    assert np.isneginf([sdr[1], sir[1]]).all()


# ------------------------------------------------------------ what is known of references is kept


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """The sizes of the systems that `scipy.linalg`'s `name` is asked to factorise."""
    sizes, original = [], getattr(bss_eval, name)

    def counting(matrix: Array, *arguments: object, **options: object) -> object:
        sizes.append(len(matrix))
        return original(matrix, *arguments, **options)

    monkeypatch.setattr(bss_eval, name, counting)
    monkeypatch.setattr(bss_eval, "_kept", [])
    return sizes


def test_references_are_factorised_once_for_all_their_estimates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = counted(monkeypatch, "cho_factor")
    first, second = coloured(2, 3000), coloured(2, 3000, seed=1)
    for leak in (0.1, 0.2, 0.3):
        assert_museval(first, separated(first, leak), 64)
    assert sizes == [128, 64]
    assert_museval(second, separated(second), 64)
    assert_museval(second, separated(second), 32)
    first[0, 100] += 0.5  # the same array with another sound
    assert_museval(first, separated(first), 32)
    assert sizes == [128, 64, 128, 64, 64, 32, 64, 32]


def ill_conditioned() -> Array:
    """Nothing but rounding of single precision above half of the band."""
    signals = sosfilt(ellip(16, 0.1, 160, 0.5, output="sos"), noise(2, 20_000))
    return np.asarray(signals.astype(np.float32))


def test_what_rounding_might_move_is_computed_as_museval_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With factors that are kept where they give NumPy's bits, and without elsewhere."""
    references, estimates = ill_conditioned(), [noise(2, 20_000, 10 + seed) for seed in range(3)]
    kept = [size for size in (256, 256, 512) if bss_eval._factors_as_numpy(size)]
    sizes = counted(monkeypatch, "dgetrf")
    found = [energy_ratios(references, one, 256) for one in estimates]
    assert sizes == kept
    monkeypatch.setattr(bss_eval, "_factors_as_numpy", lambda size: False)
    bss_eval._kept.clear()
    for one, ratios in zip(estimates, found, strict=True):
        np.testing.assert_array_equal(energy_ratios(references, one, 256), ratios)
        assert_alike(ratios, museval_sources(references, one, 256))


def test_a_mixture_has_no_artifacts_and_is_quick_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    references = coloured(2, 5000)
    mixture = np.repeat(references.sum(axis=0)[None], 2, axis=0)
    monkeypatch.setattr(bss_eval, "NormalEquations", None)  # museval's operations are not needed
    assert_museval(references, mixture, 64)
    assert (energy_ratios(references, mixture, 64)[2] > ROUNDING).all()


def test_of_long_songs_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bss_eval, "SHORT", 2999)
    references = coloured(2, 3000)
    assert_museval(references, separated(references), 64, atol=1e-9)
    assert bss_eval._kept == []


def test_memory_is_that_of_a_few_spectra() -> None:
    """Two sources of three minutes at 8 kHz: a spectrum of 2**21 points has 34 MB."""
    references = np.random.default_rng(0).standard_normal((2, 180 * 8000), np.float32)
    estimates = references + references[::-1]
    tracemalloc.start()
    energy_ratios(references, estimates, 512)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 260e6
