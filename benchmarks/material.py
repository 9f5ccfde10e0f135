"""What the parts are measured on: songs of noise in DSD100's layout, features, pools, parameters."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch

from pipeline import params
from pipeline.datasets import catalogue, survey
from pipeline.datasets.inventory import Inventory
from pipeline.datasets.split import assign
from pipeline.features import preprocess
from pipeline.features.stft import frame_count
from pipeline.networks.builders import build_separator
from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.params import DATASETS, Params
from pipeline.tracks import MIXTURE, Recording, Role, Track
from pipeline.training.batches import Batches
from pipeline.training.module import AdversarialSeparation
from pipeline.training.pools import Pool, layout, silence

TOP = Path(__file__).parents[1]
STEMS = ("bass", "drums", "other", "vocals")
TILE = 10
"""Seconds of noise that a song repeats."""


def paper() -> Params:
    """The paper's parameters."""
    return params.load(TOP / "experiments/paper/params.yaml")


def songs(root: Path, count: int, seconds: float, rate: int = 44100, channels: int = 2) -> Path:
    """Write songs of four stems as DSD100 lays them out; returns `root`."""
    random = np.random.default_rng(0)
    noise = random.integers(-4000, 4000, (TILE * rate, channels), np.int16)
    length = int(seconds * rate)
    for song in range(count):
        folder = root / "Sources/Dev" / f"{101 + song} - Artist {song} - Song"
        folder.mkdir(parents=True)
        for number, stem in enumerate(STEMS):
            shifted = np.roll(noise, (7 * song + number) * rate // 11, axis=0)
            repeated = np.resize(shifted, (length, channels))
            soundfile.write(folder / f"{stem}.wav", repeated, rate, "PCM_16")
    return root


def look(root: Path) -> Inventory:
    """What `songs` wrote."""
    return survey.take("DSD100", "local", root, paper().sources)


def features(root: Path, target: Path) -> Inventory:
    """Features of what `songs` wrote to `root`, as `target`."""
    settings = paper()
    found = look(root)
    preprocess.write(found, root, settings.sources, settings.signal, target)
    return found


def split(found: Inventory, role: Role) -> pd.DataFrame:
    """A split that gives every track of an inventory one role."""
    names = [recording.track.id for recording in found.recordings]
    return pd.DataFrame(
        {
            "dataset": found.dataset,
            "track": names,
            "artist": names,
            "role": role,
            "has_vocals": True,
            "weight": math.nan,
        }
    )


def paper_seconds() -> dict[Role, list[float]]:
    """Lengths in seconds of the tracks that each role has in the paper."""
    lengths: dict[Role, list[float]] = {role: [] for role in Role}
    for dataset in DATASETS:
        facts = catalogue.facts(dataset)
        recordings = [
            Recording(
                track=Track(
                    dataset=dataset, id=entry.id, artist="", sources={}, partition=entry.partition
                ),
                sample_rate=facts[entry.id].sample_rate or 0,
                channels=2,
                samples=1,
            )
            for entry in catalogue.tracks(dataset)
        ]
        found = Inventory(dataset=dataset, origin="local", recordings=tuple(recordings))
        for track, role in assign([found], "paper", 1)[["track", "role"]].itertuples(index=False):
            seconds = facts[track].seconds
            assert seconds is not None
            lengths[role].append(seconds)
    return lengths


def unet(settings: Params) -> SpectrogramUNet:
    """The U-Net of these settings with fresh weights."""
    network = build_separator(
        settings.separator.model_dump(), settings.signal, len(settings.sources)
    )
    assert isinstance(network, SpectrogramUNet)
    return network


def pool(settings: Params, seconds: Sequence[float], signals: int, device: torch.device) -> Pool:
    """A pool of tracks of noise, as `load_pool` lays it out."""
    network = unet(settings)
    length, context = network.valid_frames(settings.training.excerpt), network.context
    rate = settings.signal.sample_rate
    lengths = torch.tensor([frame_count(int(one * rate), settings.signal) for one in seconds])
    first, total = layout(lengths, length, context)
    frames = silence(signals, total, settings.signal.bins, device)
    return Pool(frames.uniform_().square_(), first, lengths, length, context)


def module(
    settings: Params, name: str, lengths: dict[Role, list[float]], device: str
) -> AdversarialSeparation:
    """A model with pools of tracks of these lengths."""
    model, place = settings.models[name], torch.device(device)
    unlabelled = lengths[Role.UNLABELLED]
    everything = len((MIXTURE, *settings.sources))
    batches = Batches(
        seed=settings.seeds[0],
        batch_size=settings.training.batch_size,
        gain=(settings.training.gain[0], settings.training.gain[1]),
        supervised=pool(settings, lengths[Role.SUPERVISED], everything, place),
        mixtures=pool(settings, unlabelled, 1, place) if model.unlabelled else None,
        recordings={
            settings.sources.index(source): pool(settings, unlabelled, 1, place)
            for source in model.critics
        },
    )
    validation = pool(settings, lengths[Role.VALIDATION], everything, place)
    return AdversarialSeparation(settings, name, settings.seeds[0], batches, validation)


def with_batch(settings: Params, size: int, small: bool = False) -> Params:
    """The same with batches of another size; small: and networks that only show that it runs."""
    update: dict[str, Any] = {"training": settings.training.model_copy(update={"batch_size": size})}
    if small:
        update["separator"] = settings.separator.model_copy(update={"filters": 2})
        update["critic"] = settings.critic.model_copy(update={"filters": 2})
    return settings.model_copy(update=update)


def in_precision(settings: Params, precision: str) -> Params:
    """The same, trained in this precision."""
    training = settings.training.model_copy(update={"precision": precision})
    return settings.model_copy(update={"training": training})
