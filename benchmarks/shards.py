"""A corpus of many feature files, sampled from the disk: what opening and drawing cost.

    python -m benchmarks.shards --shards 10000 --seconds 20

Writes feature files of one track each, and one file with the same tracks, loads both as the pool of a
critic's mixtures and draws batches of 64 excerpts, cold (after the files were dropped from the
page cache) and warm, each kind in turn. Prints a Markdown table of medians.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import mkdtemp

import h5py
import numpy as np
import pandas as pd
import psutil
import torch
import typer

from pipeline.features.stft import frame_count
from pipeline.features.store import FORMAT
from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.params import Signal
from pipeline.tracks import Role
from pipeline.training.batches import Batches
from pipeline.training.pool_loading import load_pool
from pipeline.training.pools import Pool
from pipeline.training.run import EXCERPT_FRAMES

SIGNAL = Signal(sample_rate=8000, fft_size=512, hop_size=256)
BATCH = 64


def write(path: Path, tracks: list[str], frames: int) -> None:
    """A feature file of mixtures alone, of noise, `frames` a track."""
    noise = np.random.default_rng(0).random((frames, SIGNAL.bins), np.float32)
    with h5py.File(path, "w") as file:
        file.attrs.update(format=FORMAT, dataset=path.stem, **SIGNAL.model_dump())
        file.attrs.create("signals", ["mixture"], dtype=h5py.string_dtype())
        file.attrs.create("sources", [], dtype=h5py.string_dtype())
        data = file.create_dataset(
            "spectrogram", (1, frames * len(tracks), SIGNAL.bins), np.float32
        )
        for number in range(len(tracks)):
            data[0, number * frames : (number + 1) * frames] = noise
        file.create_dataset("waveform", (0, 0), np.float32)
        file.create_dataset("index/track", data=tracks, dtype=h5py.string_dtype())
        file["index/silent"] = np.zeros((len(tracks), 0), np.bool_)
        starts = np.arange(len(tracks)) * frames
        for name, column in (("first_frame", starts), ("frames", np.full(len(tracks), frames))):
            file[f"index/{name}"] = column
            file[f"index/{name.replace('frame', 'sample')}"] = column * 0


def batches(split: pd.DataFrame, folder: Path, place: str) -> tuple[Batches, float, float]:
    """Batches of the corpus; seconds and MB of memory that loading its pool took."""
    network = SpectrogramUNet(SIGNAL.bins)
    before, began = psutil.Process().memory_info().rss, time.monotonic()
    pool = load_pool(
        split, Role.UNLABELLED, folder, ["mixture"], network.valid_frames(EXCERPT_FRAMES),
        network.context, torch.device("cpu"), place,
    )  # fmt: skip
    taken = time.monotonic() - began, (psutil.Process().memory_info().rss - before) / 1e6
    nothing = Pool(pool.frames, pool.first, pool.lengths, pool.length, pool.context)
    return Batches(1, BATCH, (0.2, 1.2), nothing, pool), *taken


def forget(folder: Path) -> None:
    """Drop a folder's files from the page cache."""
    os.sync()
    for path in folder.iterdir():
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


@contextmanager
def corpus(
    shards: int, frames: int, work: Path | None
) -> Iterator[dict[str, tuple[Path, pd.DataFrame]]]:
    """The same tracks as one file and as many."""
    folder = Path(mkdtemp(dir=work))
    try:
        names = [f"track{number:07}" for number in range(shards)]
        common = {"track": names, "artist": names, "role": "unlabelled", "has_vocals": True}
        many, one = folder / "many", folder / "one"
        many.mkdir()
        one.mkdir()
        for name in names:
            write(many / f"{name}.h5", [name], frames)
        write(one / "all.h5", names, frames)
        yield {
            "one file": (one, pd.DataFrame({"dataset": "all", **common})),
            f"{shards} files": (many, pd.DataFrame({"dataset": names, **common})),
        }
    finally:
        shutil.rmtree(folder)


def main(
    shards: int = typer.Option(10_000, help="feature files, of one track each"),
    seconds: float = typer.Option(20.0, help="length of a track"),
    runs: int = typer.Option(5, help="times that each kind of batch is timed"),
    work: Path | None = typer.Option(None, help="folder for the corpus [default: the system's]"),
) -> None:
    """Print the table."""
    frames = frame_count(int(seconds * SIGNAL.sample_rate), SIGNAL)
    with corpus(shards, frames, work) as kinds:
        rows = []
        for kind, (folder, split) in kinds.items():
            drawn, opened, memory = batches(split, folder, "disk")
            cold: list[float] = []
            warm: list[float] = []
            step = 0
            for _ in range(runs):
                forget(folder)
                for times in (cold, warm):  # the same excerpts again are in the page cache
                    began = time.monotonic()
                    for ahead in range(10):
                        drawn.mixture("critics", step + ahead)
                    times.append((time.monotonic() - began) / 10)
                step += 10
            rows.append((kind, opened, memory, 1e3 * median(cold), 1e3 * median(warm)))
        hours = shards * seconds / 3600
        typer.echo(f"{hours:.0f} h, {shards * frames * SIGNAL.bins * 4 / 1e9:.1f} GB\n")
        typer.echo("| corpus | opened, s | memory, MB | batch of 64, cold, ms | warm, ms |")
        typer.echo("|---|---:|---:|---:|---:|")
        for kind, *figures in rows:
            typer.echo(f"| {kind} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |")


if __name__ == "__main__":
    typer.run(main)
