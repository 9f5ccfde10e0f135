"""Batches of training excerpts: excerpts a second."""

from contextlib import closing
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks import harness, limits, material
from benchmarks.harness import LIMIT, OURS, STRAIGHTFORWARD, Options, Result, Side, Times
from benchmarks.reference.batches import Excerpts, loader
from pipeline.parallel.allocator import keep_freed_memory
from pipeline.params import Params
from pipeline.tracks import MIXTURE, Role
from pipeline.training.batches import Batches
from pipeline.training.pool_loading import load_pool

WORKERS = (0, 2)
"""Of the DataLoader; the better number counts."""


def ours(batches: Batches, first: int, number: int) -> None:
    """Draw batches as training does."""
    for step in range(first, first + number):
        batches.paired(step)


def straightforward(batches: DataLoader[tuple[Tensor, Tensor]], device: str) -> None:
    """Read them from the file, hand them to the device."""
    for mixture, sources in batches:
        mixture.to(device, non_blocking=True)
        sources.to(device, non_blocking=True)


def straightforward_loop(
    path: Path, frames: int, context: int, size: int, number: int, device: str
) -> Side:
    """`number` batches of a feature file, with the better number of workers."""
    loaders = [
        loader(Excerpts(path, frames, context), size, number, one, device == "cuda")
        for one in WORKERS
    ]
    for one in loaders:
        straightforward(one, device)  # starts the workers
    better = min(loaders, key=lambda one: seconds_of(one, device))
    return lambda: straightforward(better, device)


def seconds_of(batches: DataLoader[tuple[Tensor, Tensor]], device: str) -> float:
    """How long the straightforward way takes with this loader."""
    return harness.seconds(lambda: straightforward(batches, device), device)


def drawn(settings: Params, found: Path, batch_size: int, device: str) -> Batches:
    """Our batches of the tracks in a feature file."""
    network = material.unet(settings)
    inventory = material.look(found / "songs")
    return Batches(
        settings.seeds[0],
        batch_size,
        (settings.training.gain[0], settings.training.gain[1]),
        load_pool(
            material.split(inventory, Role.SUPERVISED), [Role.SUPERVISED], found,
            (MIXTURE, *settings.sources), network.valid_frames(settings.training.excerpt),
            network.context, torch.device(device),
        ),
    )  # fmt: skip


def compare(batches: Batches, plain: Side, number: int, options: Options) -> Times:
    """Times of `number` batches."""
    device = options.device
    steps = count(0, number)
    copy = limits.memory_copy(sum(signal.nbytes for signal in batches.paired(0)), device)
    return harness.measure(
        {
            OURS: lambda: ours(batches, next(steps), number),
            STRAIGHTFORWARD: plain,
            LIMIT: lambda: [copy() for _ in range(number)],
        },
        options.turns(7),
        device,
    )


def results(options: Options) -> list[Result]:
    """Supervised batches of the paper's size: a mixture with context and two sources."""
    keep_freed_memory()  # as the training stage does
    settings = material.paper()
    size = settings.training.batch_size
    songs, seconds, number = (3, 20.0, 4) if options.quick else (24, 180.0, 50)
    with TemporaryDirectory() as folder:
        place = Path(folder)
        path = place / "DSD100.h5"
        material.features(material.songs(place / "songs", songs, seconds, 8000, 1), path)
        batches = drawn(settings, place, size, options.device)
        pool = batches.supervised
        plain = harness.Apart(
            straightforward_loop, path, pool.length, pool.context, size, number, options.device
        )
        with closing(plain):
            times = compare(batches, plain, number, options)
    return [
        Result(
            "batches",
            [harness.speed_up(times, at_least=20), harness.of_limit(times)],
            times,
            number * size,
            "excerpts a second",
            f"batches of {size} excerpts; the DataLoader with {' or '.join(map(str, WORKERS))} workers,"
            " whichever is faster",
        )
    ]
