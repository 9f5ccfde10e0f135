"""A separator on recordings of any length."""

import doctest
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.features.stft import log_magnitude, reconstruct, stft
from pipeline.networks.representations import LOG_MAGNITUDES, Representation
from pipeline.networks.separators import unet
from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.params import Precision
from pipeline.separation import separator as module
from pipeline.separation import streams
from pipeline.separation.model_folder import CONFIG, OWN, WEIGHTS
from pipeline.separation.patches import Patches
from pipeline.separation.separator import Separator
from tests.helpers.places import TOP
from tests.helpers.small_recordings import music
from tests.helpers.small_separators import SIGNAL, noise, small_separator, with_bias


@pytest.fixture(scope="module")
def separator() -> Separator:
    return small_separator()


def test_both_sources_of_the_small_separator_sound(separator: Separator) -> None:
    accompaniment, vocals = separator.estimate(noise(8000))
    assert min(accompaniment.std(), vocals.std(), (accompaniment - vocals).std()) > 0.05


def test_in_bfloat16_estimates_are_near(separator: Separator, tmp_path: Path) -> None:
    """Rounded to 8 bits in every layer; a folder says what its model was trained in."""
    waveform = noise(30_000)
    exact = separator.estimate(waveform)
    replace(separator, precision="bfloat16").save(tmp_path, {})
    near = Separator.load(tmp_path).estimate(waveform)
    assert near.dtype == np.float32
    for source, rounded in zip(exact, near, strict=True):
        distortion = 10 * np.log10((source**2).mean() / ((rounded - source) ** 2).mean())
        assert 25 < distortion < 100
    again = Separator.load(tmp_path, precision="float32")
    np.testing.assert_allclose(again.estimate(waveform), exact, atol=1e-5)
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config.pop("precision") == "bfloat16"
    del config[OWN]
    (tmp_path / CONFIG).write_text(json.dumps(config))
    assert Separator.load(tmp_path).precision == "float32"
    (tmp_path / CONFIG).write_text(json.dumps({**config, "precision": "float8"}))
    with pytest.raises(UserError, match=r"config.json: precision: expected .*float32"):
        Separator.load(tmp_path)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("bias", [np.nan, np.inf, 3e38, 100.0])
def test_estimates_that_are_no_sound_name_the_model(
    separator: Separator, tmp_path: Path, bias: float, precision: Precision
) -> None:
    """100 is a number, and the logarithm of none that float32 has."""
    separator.save(tmp_path / "VA", {})
    broken = with_bias(Separator.load(tmp_path / "VA", precision=precision), bias)
    said = f"^{re.escape(str(tmp_path / 'VA'))}: its estimates are infinite or no numbers, of a"
    for separate in (
        broken.estimate, lambda waveform: broken.separate(waveform, 44_100),
        lambda waveform: streams.separate(broken, waveform, 44_100),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            separate(noise(30_000))


def test_a_recording_far_beyond_full_scale_is_said(separator: Separator) -> None:
    """Its spectrum overflows: the model is not to blame, and the line gives the level."""
    with pytest.raises(
        UserError, match=r"of a mixture whose log magnitudes reach (inf|nan); replace"
    ):
        separator.estimate(np.full(9000, 3e38, np.float32))
    assert np.isfinite(separator.estimate(1e10 * noise(9000))).all()


@pytest.fixture(scope="module")
def levelled(separator: Separator) -> Separator:
    """The same, applied at a level."""
    return replace(separator, level=0.5)


def in_every_way(separator: Separator, song: np.ndarray) -> dict[str, np.ndarray]:
    """The estimates of a stereo song at 22.05 kHz, or at the model's rate its left channel's."""
    return {
        "estimate": separator.estimate(song[0]),
        "separate": np.stack(list(separator.separate(song, 22_050).values())),
        "streams": np.stack(list(streams.separate(separator, song, 22_050).values())),
    }


@pytest.mark.parametrize("decibels", [-40, -20, 6, 20])
def test_estimates_of_a_song_at_another_level_differ_by_that_factor(
    separator: Separator, levelled: Separator, decibels: float
) -> None:
    """To rounding; without a level by much more."""
    song, factor = noise(40_000).reshape(2, -1), np.float32(10 ** (decibels / 20))
    found = in_every_way(levelled, song * factor)
    for way, estimates in in_every_way(levelled, song).items():
        assert np.abs(estimates).max() > 0.01
        np.testing.assert_allclose(
            found[way] / factor, estimates, rtol=0, atol=1e-5 * np.abs(estimates).max()
        )
    recorded = separator.estimate(song[0])
    off = np.abs(separator.estimate(song[0] * factor) / factor - recorded).max()
    assert off > 0.02 * np.abs(recorded).max()


@pytest.mark.parametrize("exponent", [-7, 60])
def test_at_a_power_of_two_they_are_the_same_bits(levelled: Separator, exponent: int) -> None:
    """Nothing is rounded: what the network sees are the same bits."""
    song, factor = music(2, 20_000), np.float32(2.0**exponent)
    expected = in_every_way(levelled, song)
    for way, estimates in in_every_way(levelled, song * factor).items():
        np.testing.assert_array_equal(estimates, expected[way] * factor, err_msg=way)


def test_the_network_sees_a_mixture_at_its_own_level(separator: Separator) -> None:
    """By hand: a recording that is there already, and one that is brought there."""
    waveform = noise(20_000)  # without silence its level is its root mean square
    level = float(np.sqrt(np.mean(waveform.astype(np.float64) ** 2)))
    there, expected = replace(separator, level=level), separator.estimate(waveform)
    np.testing.assert_allclose(there.estimate(waveform), expected, atol=1e-5)
    quiet = 100 * there.estimate(waveform / np.float32(100))
    np.testing.assert_allclose(quiet, expected, atol=1e-5)


@pytest.mark.parametrize("factor", [0, 1e-42, 1e-30, 1e-12, 1e20, 1e30])
def test_estimates_of_the_quietest_and_the_loudest_are_defined(
    levelled: Separator, factor: float
) -> None:
    """Without a warning. Silence stays silence, and near it nothing becomes loud."""
    song = np.float32(factor) * music(2, 20_000)
    for estimates in in_every_way(levelled, song).values():
        assert np.isfinite(estimates).all()
        assert np.abs(estimates).max() <= max(10 * np.abs(song).max(), 1e-9 * bool(factor))


def test_what_no_float_holds_is_said(levelled: Separator) -> None:
    for peak in (3e38, -3e38):
        song = np.full((2, 20_000), peak, np.float32)
        for separate in (levelled.separate, lambda *x: streams.separate(levelled, *x)):
            with pytest.raises(UserError, match=r"estimates are (infinite|beyond)"):
                separate(song * np.array([1, 0.9], np.float32)[:, None], 22_050)


def test_channels_that_cancel_are_no_overflow(levelled: Separator) -> None:
    """Of what is left of them the level is some -180 dB; each channel is at full scale."""
    left = music(1, 20_000)[0]
    song = np.stack([left, -left + np.float32(1e-7) * noise(20_000)])
    found = streams.separate(levelled, song, 22_050)
    np.testing.assert_allclose(sum(found.values()), song, atol=1e-6)


def test_a_folder_from_before_is_applied_at_the_recorded_level(
    separator: Separator, levelled: Separator, tmp_path: Path
) -> None:
    levelled.save(tmp_path, {})
    assert Separator.load(tmp_path).level == 0.5
    config = json.loads((tmp_path / CONFIG).read_text())
    for key in ("level", OWN):
        del config[key]
    (tmp_path / CONFIG).write_text(json.dumps(config))
    old, song = Separator.load(tmp_path), music(2, 20_000)
    assert old.level is None
    found = in_every_way(old, song)
    for way, estimates in in_every_way(separator, song).items():
        np.testing.assert_allclose(found[way], estimates, atol=1e-6)
    # by hand, as it was done
    patches = Patches(old, 1).push(song[:1], last=True)
    expected = np.concatenate([patch.mono(SIGNAL) for patch in patches], axis=1)[:, :20_000]
    np.testing.assert_array_equal(old.estimate(song[0]), expected)
    for wrong in (0, -1, "loud", 1e400):
        (tmp_path / CONFIG).write_text(json.dumps(config | {"level": wrong}))
        with pytest.raises(UserError, match=r"config.json: level: expected"):
            Separator.load(tmp_path)


@pytest.mark.parametrize("samples", [1, 2, 100, 256, 511, 513, 4000, 100_001])
def test_estimates_are_as_long_as_the_recording(separator: Separator, samples: int) -> None:
    estimates = separator.estimate(noise(samples))
    assert estimates.shape == (2, samples)
    assert estimates.dtype == np.float32
    assert np.isfinite(estimates).all()


def test_fresh_separator_gives_each_source_its_share_of_log_magnitude(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the random part of its start an estimate is log magnitude / sources: a closed form."""
    monkeypatch.setattr(unet, "RANDOM_PART", 0.0)
    fresh = Separator(SpectrogramUNet(257, filters=2), ("a", "b"), SIGNAL)
    waveform = noise(30_000)
    spectrum = stft(torch.from_numpy(waveform), SIGNAL)
    expected = reconstruct(log_magnitude(spectrum) / 2, spectrum, SIGNAL)[:30_000].numpy()
    for estimate in fresh.estimate(waveform):
        np.testing.assert_allclose(estimate, expected, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 16, 48, 100, 4096])
def test_the_block_size_does_not_matter(separator: Separator, frames: int) -> None:
    waveform = noise(60_123)
    whole = separator.estimate(waveform)
    np.testing.assert_allclose(separator.estimate(waveform, frames), whole, atol=2e-5)


@pytest.mark.parametrize("samples", [1, 700, 256 * 48, 256 * 48 + 1, 60_123])
@pytest.mark.parametrize("piece", [1000, 4096, 33_333])
def test_it_does_not_matter_how_a_recording_comes(
    separator: Separator, samples: int, piece: int
) -> None:
    """To the bit: patches lie at the same places with the same content."""
    waveform = noise(samples)
    patches = Patches(separator, 1, frames=48)
    found = [
        patch.mono(SIGNAL)
        for first in range(0, samples, piece)
        for patch in patches.push(waveform[None, first : first + piece], first + piece >= samples)
    ]
    pieces = np.concatenate(found, axis=1)
    assert 0 <= pieces.shape[1] - samples < 512
    np.testing.assert_array_equal(pieces[:, :samples], separator.estimate(waveform, 48))


class Edges:
    """A network that hands on the outermost frames of its context: those before, those after."""

    context, grid = 3, 1
    representation: Representation = LOG_MAGNITUDES

    def valid_frames(self, at_least: int) -> int:
        return at_least

    def __call__(self, mixture: Tensor, /) -> Tensor:
        return torch.stack([mixture[:, :, :-6], mixture[:, :, 6:]], dim=1)


@pytest.mark.parametrize("samples", [100, 5000, 256 * 40, 30_001])
def test_every_patch_has_its_whole_context(samples: int) -> None:
    """The frames of the STFT of the whole, three earlier and later; beyond the ends, zeros."""
    waveform = noise(samples)
    spectrum = stft(torch.from_numpy(waveform), SIGNAL)
    padded = torch.nn.functional.pad(log_magnitude(spectrum), (3, 3))
    patches = Patches(Separator(Edges(), ("before", "after"), SIGNAL), 1, frames=8)
    found = list(patches.push(waveform[None], last=True))
    for name, expected in ((0, padded[:, :-6]), (1, padded[:, 6:])):
        inner = [patch.estimates[name, :, :-1] for patch in found[:-1]]
        joined = torch.cat([*inner, found[-1].estimates[name]], dim=1)
        torch.testing.assert_close(joined, expected, atol=1e-5, rtol=0)


def test_the_network_sees_the_mean_of_the_channels(separator: Separator) -> None:
    left, right = noise(9000), noise(9000)[::-1]
    patches = Patches(separator, 2)
    (patch,) = patches.push(np.stack([left, right]), last=True)
    np.testing.assert_allclose(
        patch.spectrum.numpy(), stft(torch.from_numpy(np.stack([left, right])), SIGNAL), atol=1e-5
    )
    mono = patch._replace(spectrum=patch.spectrum.mean(dim=0, keepdim=True)).mono(SIGNAL)
    expected = separator.estimate((left + right) / np.float32(2))
    np.testing.assert_allclose(mono[:, :9000], expected, atol=2e-5)


def test_a_waveform_of_any_rate_and_channels(separator: Separator) -> None:
    """Mixed down and resampled by scipy, an independent resampler."""
    seconds = np.arange(44_100 * 2) / 44_100
    waveform = np.stack([np.sin(2 * np.pi * f * seconds) * 0.3 for f in (440, 700)])
    estimates = separator.separate(waveform, 44_100)
    assert list(estimates) == ["accompaniment", "vocals"]
    low = scipy.signal.resample_poly(waveform.mean(axis=0), 80, 441, window=("kaiser", 12.0))
    expected = separator.estimate(low.astype(np.float32))
    inner = slice(2000, -2000)  # the resamplers differ in what they expect beyond the ends
    for found, wanted in zip(estimates.values(), expected, strict=True):
        assert found.dtype == np.float32
        assert found.shape == (16_000,)
        np.testing.assert_allclose(found[inner], wanted[inner], atol=2e-3)


def test_at_the_models_rate_a_waveform_is_taken_as_it_is(separator: Separator) -> None:
    waveform = noise(5000)
    found = np.stack(list(separator.separate(waveform, 8000).values()))
    np.testing.assert_array_equal(found, separator.estimate(waveform))


@pytest.mark.parametrize(
    ("waveform", "rate", "said"),
    [
        (np.zeros(9, np.int16), 8000, "int16 samples, expected floating point"),
        (np.zeros((2, 0)), 8000, r"shape \(2, 0\)"),
        (np.zeros((2, 2, 9)), 8000, r"shape \(2, 2, 9\)"),
        (np.zeros((4000, 2)), 8000, "4000 channels.*transpose"),
        (np.array([0.0, np.nan]), 8000, "NaN"),
        (np.zeros(9), 0, "sample rate 0"),
    ],
)
def test_what_is_no_waveform(separator: Separator, waveform: Any, rate: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        separator.separate(waveform, rate)


@pytest.mark.parametrize("document", ["docstring", "docs/separate.md"])
def test_the_documented_example_runs(
    separator: Separator, tmp_path: Path, document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    separator.save(tmp_path / "models/VA", {})
    soundfile.write(tmp_path / "song.wav", music(2, 441_000).T, 44_100)
    monkeypatch.chdir(tmp_path)
    if document == "docstring":
        done = doctest.testmod(module)
    else:
        done = doctest.testfile(str(TOP / document), module_relative=False)
    assert done.attempted > 3
    assert done.failed == 0
    assert soundfile.info("vocals.wav").samplerate == 8000


def test_patches_of_the_training_size_give_the_same(separator: Separator) -> None:
    """What the paper does: a patch of 66 frames after the other; here cut where the grid allows."""
    waveform = noise(256 * 400)
    spectrum = stft(torch.from_numpy(waveform), SIGNAL)
    network = separator.network
    mixture = torch.nn.functional.pad(log_magnitude(spectrum), (network.context, 600))
    with torch.inference_mode():
        patches = [
            network(mixture[None, :, first : first + 66 + 2 * network.context])[0, :, :, :64]
            for first in range(0, spectrum.shape[1], 64)
        ]
    estimates = torch.cat(patches, dim=2)[:, :, : spectrum.shape[1]]
    expected = reconstruct(estimates, spectrum, SIGNAL)[:, : len(waveform)].numpy()
    np.testing.assert_allclose(separator.estimate(waveform), expected, atol=2e-5)


def test_a_saved_model_is_the_same_model(separator: Separator, tmp_path: Path) -> None:
    separator.save(tmp_path / "m", {"seed": 1})
    loaded = Separator.load(tmp_path / "m")
    waveform = noise(20_000)
    np.testing.assert_allclose(loaded.estimate(waveform), separator.estimate(waveform), atol=1e-6)
    assert loaded.sources == separator.sources
    assert json.loads((tmp_path / "m" / CONFIG).read_text())["seed"] == 1


@pytest.mark.slow
def test_hours_need_no_more_memory_than_the_signal_and_its_estimates(tmp_path: Path) -> None:
    """Two hours: 230 MB of mixture, twice that of estimates, and a padded copy; not 20 GB of features."""
    script = (
        "import torch; from pathlib import Path; import numpy as np\n"
        "from pipeline.separation import Separator\n"
        "from tests.helpers.small_separators import SIGNAL\n"
        "from pipeline.networks.separators.unet import SpectrogramUNet\n"
        "s = Separator(SpectrogramUNet(257, filters=1).eval(), ('a', 'b'), SIGNAL)\n"
        "n = 2 * 3600 * 8000; x = np.random.default_rng(0).standard_normal(n, np.float32)\n"
        "assert s.estimate(x).shape == (2, n)\n"
        "print(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2_500_000  # kB, torch itself included


def rename_source(config: Path, name: str) -> None:
    config.write_text(config.read_text().replace("vocals", name))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), f"no {WEIGHTS}"),
        (lambda folder: (folder / CONFIG).unlink(), f"no {CONFIG}"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"nothing"), "damaged"),
        (lambda folder: (folder / CONFIG).write_text("{"), "not valid JSON"),
        (lambda folder: (folder / CONFIG).write_text('{"format": 99}'), "model format 99"),
        (lambda folder: rename_source(folder / CONFIG, "../vocals"), "sources.1: expected String"),
    ],
)
def test_damaged_model_folders(separator: Separator, tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    separator.save(tmp_path / "m", {})
    damage(tmp_path / "m")
    with pytest.raises(UserError, match=said) as caught:
        Separator.load(tmp_path / "m")
    assert "\n" not in str(caught.value)
