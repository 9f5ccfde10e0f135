"""Batches: pure functions of (seed, stream, step), uniform, unpaired."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from pipeline.networks.representations import LOG_MAGNITUDES
from pipeline.training.batches import Batches
from pipeline.training.pools import Pool, generator, layout, silence

LENGTH, CONTEXT, BINS = 66, 46, 5


def pool(lengths: list[int], signals: int = 3) -> Pool:
    """Frame f of track t of signal s holds s * 10^6 + t * 10^4 + f + 1 in every bin; silence is 0."""
    first, total = layout(torch.tensor(lengths), LENGTH, CONTEXT)
    frames = silence(signals, total, BINS)
    for track, (start, length) in enumerate(zip(first.tolist(), lengths, strict=True)):
        values = track * 1e4 + torch.arange(length) + 1.0
        for signal in range(signals):
            frames[signal, start : start + length] = (signal * 1e6 + values)[:, None]
    return Pool(frames, first, torch.tensor(lengths), LENGTH, CONTEXT)


def test_streams_steps_and_seeds_differ_and_repeat() -> None:
    draws = {
        (seed, stream, step): tuple(generator(seed, stream, step).random(4))
        for seed in (1, 2)
        for stream in ("a", "b")
        for step in (0, 1, 10**9)
    }
    assert len(set(draws.values())) == len(draws)
    assert draws[1, "a", 1] == tuple(generator(1, "a", 1).random(4))


def test_draws_are_uniform_over_tracks_then_over_positions() -> None:
    """Also when one track is fifty times as long as the other."""
    tracks = pool([LENGTH + 4, 50 * LENGTH])
    starts = tracks.draw(generator(1, "x", 0), 40_000)
    long = starts >= tracks.first[1]
    assert stats.binomtest(int(long.sum()), 40_000, 0.5).pvalue > 1e-3
    short_positions = (starts[~long] - tracks.first[0]).bincount()
    assert len(short_positions) == 5
    assert stats.chisquare(short_positions.numpy()).pvalue > 1e-3
    long_positions = (starts[long] - tracks.first[1]).numpy()
    uniform = stats.randint(0, 49 * LENGTH + 1)
    assert stats.kstest(long_positions + 0.0, lambda x: uniform.cdf(x)).pvalue > 1e-3


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("bins", [1, 4, 5, 257])
def test_frames_of_any_layout_have_the_same_excerpts(bins: int, kind: torch.dtype) -> None:
    """Sliced one by one from frames in one piece, which have no room between two."""
    given = silence(3, 400, bins)
    given.copy_(torch.from_numpy(np.random.default_rng(1).random(given.shape, np.float32)))
    given[0, 0, 0] = -0.0
    assert given.stride(1) * given.itemsize % 16 == 0
    dense = given.to(kind, memory_format=torch.contiguous_format)
    starts = torch.tensor([CONTEXT, 100, 400 - LENGTH - CONTEXT, 100])
    around = [dense[:, start - CONTEXT : start + LENGTH + CONTEXT] for start in starts]
    lengths = torch.tensor([400 - 2 * CONTEXT])
    for frames in (given.to(kind), dense):
        tracks = Pool(frames, torch.tensor([CONTEXT]), lengths, LENGTH, CONTEXT)
        mixtures = tracks.gather(starts, 0, context=True)
        torch.testing.assert_close(
            mixtures, torch.stack([one[0].T for one in around]), rtol=0, atol=0
        )
        sources = torch.stack([one[1:, CONTEXT:-CONTEXT].transpose(1, 2) for one in around])
        torch.testing.assert_close(tracks.gather_sources(starts), sources, rtol=0, atol=0)


def test_excerpts_hold_the_frames_they_name() -> None:
    tracks = pool([100, 300])
    starts = tracks.first[1] + torch.tensor([0, 17, 234])
    for signal in (0, 2):
        excerpts = tracks.gather(starts, signal)
        assert excerpts.shape == (3, BINS, LENGTH)
        for excerpt, place in zip(excerpts, (0, 17, 234), strict=True):
            expected = signal * 1e6 + 1e4 + torch.arange(place, place + LENGTH) + 1
            assert (excerpt == expected).all()


def test_context_is_the_tracks_own_and_silence_beyond_it() -> None:
    tracks = pool([100, 200, 300])
    excerpt = tracks.gather(tracks.first[1:2], 0, context=True)[0, 0]
    assert excerpt.shape == (LENGTH + 2 * CONTEXT,)
    assert (excerpt[:CONTEXT] == 0).all()
    assert (excerpt[CONTEXT:] == 1e4 + torch.arange(LENGTH + CONTEXT) + 1).all()
    last = tracks.gather(tracks.first[1:2] + 200 - LENGTH, 0, context=True)[0, 0]
    assert (last[-CONTEXT:] == 0).all()
    assert (last[:-CONTEXT] > 0).all()


@pytest.mark.parametrize("lengths", [[10, 200, 65], [200, 3, 1], [5], [30, 10]])
def test_clips_shorter_than_an_excerpt_lie_anywhere_in_it(lengths: list[int]) -> None:
    """Else a critic hears that everything ends early; whole, and nothing of another track around."""
    tracks = pool(lengths)
    starts = tracks.draw(generator(1, "x", 0), 4000)
    excerpts = tracks.gather(starts, 0, context=True)[:, 0]
    for track, length in enumerate(lengths):
        if length >= LENGTH:
            continue
        mine = excerpts[(excerpts > track * 1e4).any(1) & (excerpts < (track + 1) * 1e4).all(1)]
        assert len(mine) > 4000 / len(lengths) - 150
        assert (mine.count_nonzero(1) == length).all()
        begins = (mine > 0).int().argmax(1) - CONTEXT
        assert set(begins.tolist()) <= set(range(LENGTH - length + 1))
        counts = np.bincount(begins, minlength=LENGTH - length + 1)
        assert stats.chisquare(counts).pvalue > 1e-3
    whole = tracks.gather(tracks.tiles()[0], 0)[:, 0]
    assert (whole[:, 0] > 0).all()  # validation and figures see a clip from its beginning


def test_draws_of_long_tracks_are_what_they_were() -> None:
    """As before there were weights and random places of short clips; equal weights are none."""
    tracks = pool([LENGTH, 100, 300, 1000])
    for shares in (None, torch.full((4,), 0.25, dtype=torch.float64)):
        same = replace(tracks, shares=shares)
        drawn = torch.cat([same.draw(generator(1, "real/1", step), 64) for step in range(4)])
        expected = []
        for step in range(4):
            random = generator(1, "real/1", step)
            numbers = random.integers(4, size=64)
            places = random.random(64) * (tracks.lengths.numpy()[numbers] - LENGTH + 1)
            expected.append(tracks.first.numpy()[numbers] + places.astype(np.int64))
        assert drawn.tolist() == np.concatenate(expected).tolist()


def test_tracks_are_drawn_by_their_shares() -> None:
    shares = torch.tensor([0.5, 0.1, 0.1, 0.3], dtype=torch.float64)
    tracks = replace(pool([10, 100, 300, 100]), shares=shares)
    starts = tracks.draw(generator(1, "x", 0), 10_000)
    numbers = torch.searchsorted(tracks.first, starts + LENGTH - 1, right=True) - 1
    assert stats.chisquare(numbers.bincount(), 10_000 * shares.numpy()).pvalue > 1e-3
    torch.testing.assert_close(tracks.draw(generator(1, "x", 0), 10_000), starts)


@pytest.mark.parametrize("lengths", [[10], [66], [67], [131, 132, 133], [1000, 5]])
def test_tiles_cover_every_frame_and_nothing_else(lengths: list[int]) -> None:
    tracks = pool(lengths)
    seen = tracks.gather(tracks.tiles()[0], 0)[:, 0].flatten().unique()
    assert (seen > 0).sum() == sum(lengths)
    assert len(tracks.tiles()[0]) == sum(-(-max(n, LENGTH) // LENGTH) for n in lengths)


def test_gain_scales_linear_magnitudes() -> None:
    magnitudes = torch.rand(3, 4, 5) * 10
    gains = torch.tensor([0.2, 1.0, 1.2])
    expected = torch.log1p(magnitudes * gains[:, None, None])
    torch.testing.assert_close(LOG_MAGNITUDES.amplified(torch.log1p(magnitudes), gains), expected)


def batches(seed: int = 1) -> Batches:
    quiet = pool([400] * 6)
    assert isinstance(quiet.frames, torch.Tensor)
    quiet.frames.div_(1e6)
    return Batches(seed, 16, (0.2, 1.2), pool([500] * 4), quiet, {0: quiet, 1: quiet})


def test_a_batch_is_a_pure_function() -> None:
    one, other = batches(), batches()
    _ = one.paired(3), one.mixture("critics", 9), one.real(1, 2)  # whatever was drawn before
    torch.testing.assert_close(one.paired(7), other.paired(7), rtol=0, atol=0)
    torch.testing.assert_close(one.real(1, 7), other.real(1, 7), rtol=0, atol=0)
    assert not torch.equal(one.real(1, 7), batches(seed=2).real(1, 7))
    assert not torch.equal(one.mixture("critics", 7), one.mixture("separator", 7))


def test_paired_excerpts_are_paired_and_keep_their_level() -> None:
    mixture, sources = batches().paired(0)
    middle = mixture[:, :, CONTEXT:-CONTEXT]
    for number in (1, 2):
        assert (sources[:, number - 1] - middle == number * 1e6).all()


def test_unpaired_means_unpaired() -> None:
    """Real recordings and mixtures of one step come from independent tracks, at own levels."""
    tracks = pool([400] * 6)
    assert isinstance(tracks.frames, torch.Tensor)
    for track, first in enumerate(tracks.first):
        tracks.frames[:, first : first + 400] = track + 1.0
    drawn = Batches(1, 4000, (1.0, 1.0), tracks, tracks, {0: tracks})
    real = drawn.real(0, 0)[:, 0, 0].round().long()
    mixture = drawn.mixture("critics", 0)[:, 0, CONTEXT].round().long()
    counts = np.zeros((6, 6))
    np.add.at(counts, (real.numpy() - 1, mixture.numpy() - 1), 1)
    assert stats.chi2_contingency(counts).pvalue > 1e-3

    tracks.frames[:, tracks.first[0] :] = 1.0
    drawn = Batches(1, 4000, (0.2, 1.2), tracks, tracks, {0: tracks})
    levels = [
        torch.expm1(excerpts[:, 0, CONTEXT]) / torch.expm1(torch.tensor(1.0))
        for excerpts in (drawn.real(0, 0), drawn.mixture("critics", 0))
    ]
    for level in levels:
        assert stats.kstest(level.numpy(), stats.uniform(0.2, 1.0).cdf).pvalue > 1e-3
    assert abs(np.corrcoef([level.numpy() for level in levels])[0, 1]) < 0.06
