"""Pools: what the feature files hold, wherever the frames are."""

import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline import roles
from pipeline.errors import UserError
from pipeline.features.store import FeatureFile
from pipeline.tracks import Role
from pipeline.training import pool_loading
from pipeline.training.batches import Batches, BatchesAhead
from pipeline.training.pool_loading import FramesOnDisk, RandomPart, load_pool
from pipeline.training.pools import Pool, generator, layout, silence
from tests.helpers.experiment import small_params, write_params
from tests.helpers.places import fingerprints
from tests.helpers.training import trained

LENGTH, CONTEXT = 66, 46
CPU = torch.device("cpu")
GIB = 2**30


def loaded(folder: Path, place: str, *signals: str, role: Role = Role.UNLABELLED) -> Pool:
    frame = roles.load_split(folder / "data/split.csv")
    return load_pool(frame, [role], folder / "data/features", signals, LENGTH, CONTEXT, CPU, place)


def test_a_pool_holds_what_the_feature_files_hold(with_models: Path) -> None:
    frame = roles.load_split(with_models / "data/split.csv")
    pool = loaded(with_models, "memory", "mixture", "vocals")
    assert isinstance(pool.frames, torch.Tensor)
    chosen = frame[frame["role"] == "unlabelled"].reset_index()
    assert len(pool.first) == len(chosen)
    for first, length, (_, row) in zip(
        pool.first.tolist(), pool.lengths.tolist(), chosen.iterrows(), strict=True
    ):
        features = FeatureFile.open(with_models / f"data/features/{row['dataset']}.h5")
        expected = features.spectrogram(features.rows([row["track"]])[0], ("mixture", "vocals"))
        np.testing.assert_array_equal(pool.frames[:, first : first + length], expected)
        assert (pool.frames[:, first - CONTEXT : first] == 0).all()
        assert (pool.frames[:, first + length : first + length + CONTEXT] == 0).all()


@pytest.mark.parametrize("open_files", [1, 256])
def test_on_the_disk_are_the_same_batches(
    with_models: Path, monkeypatch: pytest.MonkeyPatch, open_files: int
) -> None:
    monkeypatch.setattr(pool_loading, "OPEN_FILES", open_files)
    kinds = {"memory": Batches, "disk": BatchesAhead}
    drawn = []
    for place, kind in kinds.items():
        everything = ("mixture", "accompaniment", "vocals")
        paired = loaded(with_models, place, *everything, role=Role.SUPERVISED)
        assert isinstance(paired.frames, FramesOnDisk) == (place == "disk")
        mixtures, vocals = (
            loaded(with_models, place, "mixture"),
            loaded(with_models, place, "vocals"),
        )
        batches = kind(1, 32, (0.2, 1.2), paired, mixtures, {1: vocals}, slice(8, 24))
        drawn += [
            [
                *batches.paired(step),
                batches.mixture("critics", step),
                batches.mixture("separator", step),
                batches.real(1, step),
            ]
            for step in (0, 1, 2, 9, 4)  # in order, as training does, and out of it
        ]
        tiles = paired.tiles()[0]
        drawn.append([paired.gather(tiles, 2), paired.gather(tiles, 0, context=True)])
    half = len(drawn) // 2
    for memory, disk in zip(drawn[:half], drawn[half:], strict=True):
        torch.testing.assert_close(disk, memory, rtol=0, atol=0)


def test_on_the_disk_short_clips_lie_where_they_do_in_memory(with_features: Path) -> None:
    """Every second excerpt of a short clip begins before it: among longer ones and at both ends."""
    drawn = []
    for place in ("memory", "disk"):
        whole = loaded(with_features, place, "mixture", "vocals")
        lengths = whole.lengths.clone()
        lengths[[0, 2, -1]] = torch.tensor([1, 30, 65])
        first, total = layout(lengths, LENGTH, CONTEXT)
        if isinstance(whole.frames, FramesOnDisk):
            frames: torch.Tensor | FramesOnDisk = FramesOnDisk(
                whole.frames.rows, first, lengths, whole.frames.bins, CPU
            )
        else:
            assert isinstance(whole.frames, torch.Tensor)
            frames = silence(2, total, whole.frames.shape[2])
            for old, new, length in zip(whole.first, first, lengths, strict=True):
                frames[:, new : new + length] = whole.frames[:, old : old + length]
        pool = Pool(frames, first, lengths, LENGTH, CONTEXT, CPU)
        starts = pool.draw(generator(1, "x", 0), 60)
        assert (starts[:, None] == first[[0, 2, -1]] - 1).any()
        drawn.append((pool.gather(starts, 0, context=True), pool.gather_sources(starts)))
    torch.testing.assert_close(drawn[1], drawn[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({}, None),
        ({"radio": 1.0}, {"DSD100": 0.5, "radio": 0.5}),
        ({"radio": 0.5}, {"DSD100": 2 / 3, "radio": 1 / 3}),
        ({"radio": 2.0, "web": 1.0}, {"DSD100": 0.25, "radio": 0.5, "web": 0.25}),
        ({"radio": 3.0, "web": 1.0, "DSD100": None}, {"radio": 0.75, "web": 0.25}),
        ({"radio": 7.0, "DSD100": None, "web": None}, {"radio": 1.0}),
    ],
)
def test_a_folders_weight_says_its_share_of_the_draws(
    weights: dict[str, float | None], expected: dict[str, float] | None
) -> None:
    """However many songs are in it. None here: the dataset is not there."""
    counts = {"DSD100": 3, "radio": 1000, "web": 5 if "web" in weights else 0}
    names = [
        name for name, count in counts.items() if weights.get(name, 0) is not None
        for _ in range(count)
    ]  # fmt: skip
    rows = pd.DataFrame({"dataset": names, "weight": [weights.get(name) for name in names]})
    shares = pool_loading.shares(rows.astype({"weight": float}))
    if expected is None:
        assert shares is None
        return
    assert shares is not None
    by_dataset = rows.assign(share=shares.numpy()).groupby("dataset")["share"]
    assert by_dataset.sum().to_dict() == pytest.approx(expected)
    assert (by_dataset.nunique() == 1).all()


def test_a_weight_reaches_the_pool(with_features: Path) -> None:
    frame = roles.load_split(with_features / "data/split.csv")
    frame.loc[frame["dataset"] == "iKala", "weight"] = 1.0
    places = with_features / "data/features", ["mixture"], LENGTH, CONTEXT, CPU
    pool = load_pool(frame, [Role.UNLABELLED], *places)
    mine = (frame.loc[frame["role"] == "unlabelled", "dataset"] == "iKala").to_numpy()
    assert 0 < mine.sum() < len(mine) / 2
    assert pool.shares is not None
    assert pool.shares.numpy()[mine].sum() == pytest.approx(0.5)


def test_the_next_batch_is_drawn_in_the_background(with_models: Path) -> None:
    vocals = loaded(with_models, "disk", "vocals")
    batches = BatchesAhead(1, 4, (0.2, 1.2), vocals, None, {1: vocals})
    first = batches.real(1, 0)
    (waiting,) = batches._coming.values()
    second = waiting.result(10)
    assert not torch.equal(first, second)
    assert batches.real(1, 1) is second


def test_training_from_the_disk_gives_the_same_model(
    with_models: Path, copied_models: Path
) -> None:
    shutil.rmtree(copied_models / "models/VA/seed-1")
    trained(copied_models, write_params(small_params(), copied_models), "VA", features_in="disk")
    found, expected = (one / "models/VA/seed-1" for one in (copied_models, with_models))
    assert fingerprints(found) == fingerprints(expected)


def test_a_pool_takes_at_most_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_loading, "free_memory", lambda: 10 * GIB)
    assert pool_loading.choose("auto", 5 * GIB, CPU) == "memory"
    assert pool_loading.choose("auto", 5 * GIB + 1, CPU) == "disk"
    assert pool_loading.choose("memory", 50 * GIB, CPU) == "memory"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (4 * GIB, 80 * GIB))
    gpu = torch.device("cuda:0")
    assert pool_loading.choose("auto", 2 * GIB, gpu) == "device"
    assert pool_loading.choose("auto", 3 * GIB, gpu) == "memory"
    assert pool_loading.choose("auto", 6 * GIB, gpu) == "disk"
    with pytest.raises(UserError, match="--features-in cloud: expected one of auto, device"):
        pool_loading.choose("cloud", 1, CPU)


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = pool_loading.free_memory()
    monkeypatch.setattr(pool_loading, "CGROUP", tmp_path)
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert pool_loading.free_memory() == pytest.approx(unlimited, rel=0.2)
    (tmp_path / "memory.max").write_text("5000\n")
    assert pool_loading.free_memory() == 4000


def test_a_truncated_feature_file_is_one_line(copied_models: Path) -> None:
    pool = loaded(copied_models, "disk", "vocals")
    for path in (copied_models / "data/features").iterdir():
        with path.open("r+b") as file:
            file.truncate(10_000)
    again = r"run `python -m stages\.preprocess \w+`, which computes it again"
    with pytest.raises(UserError, match=rf"\.h5: ends too early; {again}$"):
        pool.gather(pool.tiles()[0], 0)


def test_damaged_frames_are_not_learned_from(copied_models: Path) -> None:
    """In memory they are found when the pool is loaded, on the disk when the track is first read."""
    frame = roles.load_split(copied_models / "data/split.csv")
    chosen = frame[frame["role"] == "unlabelled"].reset_index()
    number = len(chosen) - 1
    dataset, track = (str(chosen.loc[number, name]) for name in ("dataset", "track"))
    path = copied_models / f"data/features/{dataset}.h5"
    features = FeatureFile.open(path)
    with path.open("r+b") as file:  # a bit of the track's last frame
        vocals = features.frames_of(features.rows([track])[0], "vocals")
        file.seek(vocals.offset + 4 * vocals.shape[0] * vocals.shape[1] - 1)
        last = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([last ^ 1]))
    line = f"^{re.escape(f'{path}: {track}, vocals: damaged (its checksum is another); run ')}"
    with pytest.raises(UserError, match=line):
        loaded(copied_models, "memory", "mixture", "vocals")
    assert loaded(copied_models, "memory", "mixture").first.shape == (len(chosen),)
    pool = loaded(copied_models, "disk", "mixture", "vocals")
    pool.gather(pool.first, 0)
    pool.gather(pool.first[:number], 1)
    for _ in range(2):  # it stays so
        with pytest.raises(UserError, match=line):
            pool.gather(pool.first[number:], 1)


def test_a_feature_file_that_vanishes_is_one_line(copied_models: Path) -> None:
    pool = loaded(copied_models, "disk", "vocals")
    shutil.rmtree(copied_models / "data/features")
    with pytest.raises(UserError, match=r"\.h5: no such file; run `dvc repro preprocess`$"):
        pool.gather(pool.tiles()[0], 0)


def test_no_track_with_the_signals_is_one_line(with_models: Path) -> None:
    with pytest.raises(UserError, match="no track with the role unlabelled has drums; add"):
        loaded(with_models, "auto", "drums")


# ------------------------------------------------------------------------ part of the recordings


def songs_of(count: int) -> pd.DataFrame:
    return pd.DataFrame({"dataset": "songs", "track": [f"{n:02}" for n in range(count)]})


def test_a_part_has_the_minutes_that_are_asked_for_and_others_with_each_seed() -> None:
    lengths = torch.arange(30, 70)  # 1,980 frames, 100 a minute
    chosen = []
    for seed in range(60):
        part = RandomPart(3.0, seed, 100.0, "models.V.supervised_minutes")
        kept, frames = part.of(songs_of(40), lengths)
        assert int(frames.sum()) == 300
        assert kept == sorted(set(kept))
        whole = [int(lengths[number]) for number in kept]
        assert sum(a != b for a, b in zip(frames.tolist(), whole, strict=True)) <= 1
        chosen.append(frozenset(kept))
    assert len(set(chosen)) == 60
    used = Counter(number for kept in chosen for number in kept)
    assert len(used) == 40  # of some 360 that are drawn


def test_a_larger_part_holds_the_smaller_one() -> None:
    lengths = torch.full((40,), 50)
    parts = [
        set(RandomPart(minutes, 7, 100.0, "x").of(songs_of(40), lengths)[0])
        for minutes in (1.0, 2.5, 20.0)
    ]
    assert parts[0] < parts[1] < parts[2] == set(range(40))


def test_a_part_is_the_same_whatever_else_there_is() -> None:
    """Pools of other kinds of the same tracks take the same; the order of tracks decides nothing."""
    lengths, tracks = torch.full((10,), 50), songs_of(10)
    part = RandomPart(2.0, 3, 100.0, "x")
    kept, _ = part.of(tracks, lengths)
    turned, _ = part.of(tracks[::-1], lengths)
    assert {9 - number for number in turned} == set(kept)


def test_less_than_the_part_asks_for_is_one_line() -> None:
    part = RandomPart(20.0, 1, 100.0, "models.V.unlabelled_minutes")
    with pytest.raises(
        UserError,
        match=r"^params\.yaml: models\.V\.unlabelled_minutes: 20 minutes, and the recordings have 5\.0;",
    ):
        part.of(songs_of(10), torch.full((10,), 50))


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_a_pool_of_a_part_has_no_other_frames(with_models: Path, place: str) -> None:
    """Its tracks are those of the whole pool, the last one up to where the minutes end."""
    split = roles.load_split(with_models / "data/split.csv")
    chosen = split[split["role"] == "unlabelled"]
    whole = loaded(with_models, "memory", "vocals")
    part = RandomPart(0.2, 1, 60 * 31.25, "models.V.unlabelled_minutes")
    pool = load_pool(
        split, [Role.UNLABELLED], with_models / "data/features", ["vocals"], LENGTH, CONTEXT, CPU, place,
        part,
    )  # fmt: skip
    kept, frames = part.of(chosen, whole.lengths)
    assert pool.lengths.tolist() == frames.tolist()
    assert int(pool.lengths.sum()) == 375 < int(whole.lengths.sum())
    for number, first, length in zip(kept, pool.first, pool.lengths, strict=True):
        count = min(int(length), LENGTH)
        excerpt = pool.gather(first[None], 0)[0, :, :count]
        same = whole.gather(whole.first[number][None], 0)[0, :, :count]
        assert torch.equal(excerpt, same)
