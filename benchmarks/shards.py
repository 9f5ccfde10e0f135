"""A corpus of many feature files, sampled from the disk: what opening and drawing cost.

    python -m benchmarks.shards --shards 10000 --seconds 20

Writes feature files of one track each, and one file with the same tracks, loads both as the pool of a
critic's mixtures and draws batches of 64 excerpts, cold (after the files were dropped from the
page cache) and warm, each kind in turn. Prints a Markdown table of medians.
"""

import math
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from tempfile import NamedTemporaryFile, mkdtemp

import numpy as np
import pandas as pd
import psutil
import torch
import typer

from pipeline.features.extraction import Extracted
from pipeline.features.stft import frame_count
from pipeline.features.writing import Layout, NewFile
from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.params import Signal
from pipeline.tracks import Role
from pipeline.training.batches import Batches
from pipeline.training.pool_loading import load_pool
from pipeline.training.pools import Pool

EXCERPT = 66
"""Frames; the paper's."""
SIGNAL = Signal(sample_rate=8000, fft_size=512, hop_size=256)
BATCH = 64


def write(path: Path, tracks: list[str], samples: int) -> None:
    """A feature file of mixtures alone, of noise, `samples` at the working rate a track."""
    frames, count = frame_count(samples, SIGNAL), len(tracks)
    noise = np.random.default_rng(0).random((frames, SIGNAL.bins), np.float32)
    layout = Layout(
        path.stem, ("mixture",), (), SIGNAL, tuple(tracks), (b"noise",) * count,
        np.zeros((count, 0), np.bool_), np.full(count, frames), np.full(count, samples),
    )  # fmt: skip
    with NamedTemporaryFile() as file, closing(NewFile(path, layout)) as new:
        file.write(noise.data)
        file.flush()
        for number in range(count):
            new.place(number, Extracted(Path(file.name), (), (zlib.crc32(noise.data),)))
        new.finish()


def batches(split: pd.DataFrame, folder: Path, place: str) -> tuple[Batches, float, float]:
    """Batches of the corpus; seconds and MB of memory that loading its pool took."""
    network = SpectrogramUNet(SIGNAL.bins)
    before, began = psutil.Process().memory_info().rss, time.monotonic()
    pool = load_pool(
        split, [Role.UNLABELLED], folder, ["mixture"], network.valid_frames(EXCERPT),
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
    shards: int, samples: int, work: Path | None
) -> Iterator[dict[str, tuple[Path, pd.DataFrame]]]:
    """The same tracks as one file and as many."""
    folder = Path(mkdtemp(dir=work))
    try:
        names = [f"track{number:07}" for number in range(shards)]
        common = {
            "track": names, "artist": names, "role": "unlabelled", "has_vocals": True,
            "weight": math.nan,
        }  # fmt: skip
        many, one = folder / "many", folder / "one"
        many.mkdir()
        one.mkdir()
        for name in names:
            write(many / f"{name}.h5", [name], samples)
        write(one / "all.h5", names, samples)
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
    samples = int(seconds * SIGNAL.sample_rate)
    with corpus(shards, samples, work) as kinds:
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
        typer.echo(
            f"{hours:.0f} h, {shards * frame_count(samples, SIGNAL) * SIGNAL.bins * 4 / 1e9:.1f} GB\n"
        )
        typer.echo("| corpus | opened, s | memory, MB | batch of 64, cold, ms | warm, ms |")
        typer.echo("|---|---:|---:|---:|---:|")
        for kind, *figures in rows:
            typer.echo(f"| {kind} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |")


if __name__ == "__main__":
    typer.run(main)
