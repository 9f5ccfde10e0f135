"""What it costs to compare what is read with what was stored: times the same without it."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks import harness, material
from benchmarks.harness import OURS, Options, Result, Times
from pipeline.datasets.inventory import Inventory
from pipeline.features import preprocess, store
from pipeline.features.extraction import extract
from pipeline.features.store import FeatureFile, Rows
from pipeline.parallel.allocator import keep_freed_memory
from pipeline.tracks import MIXTURE, Role
from pipeline.training.pool_loading import load_pool

WITHOUT = "without"
KINDS = (MIXTURE, "accompaniment", "vocals")


def unchecked(rows: Rows, handle: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """`Rows.pieces` without checksums."""
    size = max(store.PIECE // (4 * int(np.prod(rows.shape[1:]))), 1)
    buffer = np.empty((min(size, rows.shape[0]), *rows.shape[1:]), np.float32)
    for begin in range(0, rows.shape[0], size):
        piece = buffer[: rows.shape[0] - begin]
        rows.read(handle, piece, begin)
        yield begin, piece


def compute(found: Inventory, root: Path, folder: Path, checked: bool) -> None:
    """Features of all recordings, one after the other in this process."""
    signal, sources = material.paper().signal, material.paper().sources
    for recording in found.recordings:
        if checked:
            work = preprocess.work_of(recording, sources, found.files)
            result = preprocess.extract_original(work, root, KINDS, signal, folder)
            assert not isinstance(result, Exception), result
        else:
            result = extract(recording, root, KINDS, signal, folder)
        result.path.unlink()


def load(split: pd.DataFrame, folder: Path) -> None:
    """The pool of all tracks, from the page cache into memory."""
    load_pool(
        split,
        [Role.SUPERVISED],
        folder,
        KINDS,
        material.paper().training.excerpt,
        0,
        torch.device("cpu"),
        "memory",
    )


def read(path: Path) -> None:
    """What evaluation reads of every track."""
    features = FeatureFile.open(path)
    for row in range(len(features.index)):
        features.waveforms(row)


def measure(sides: dict[str, harness.Side], turns: int) -> Times:
    """The side `WITHOUT` reads without checksums."""
    without = sides[WITHOUT]

    def plain() -> None:
        with patch.object(Rows, "pieces", unchecked):
            without()

    return harness.measure({**sides, WITHOUT: plain}, turns)


def results(options: Options) -> list[Result]:
    """Songs with four stems, 44.1 kHz, stereo; everything in the page cache, on one thread."""
    keep_freed_memory()  # as the training stage does
    torch.set_num_threads(1)  # as a worker
    songs, seconds = (2, 10.0) if options.quick else (6, 210.0)
    with TemporaryDirectory() as place:
        folder = Path(place)
        root, path = material.songs(folder / "songs", songs, seconds), folder / "DSD100.h5"
        found = material.features(root, path)
        split = material.split(found, Role.SUPERVISED)
        times = {
            "features of a recording: MD5": harness.measure(
                {
                    OURS: lambda: compute(found, root, folder, True),
                    WITHOUT: lambda: compute(found, root, folder, False),
                },
                options.turns(7),
            ),
            "loading a pool: CRC-32": measure(
                {OURS: lambda: load(split, folder), WITHOUT: lambda: load(split, folder)},
                options.turns(9),
            ),
            "reading waveforms: CRC-32": measure(
                {OURS: lambda: read(path), WITHOUT: lambda: read(path)}, options.turns(9)
            ),
        }
    note = f"{songs} songs of {seconds:.0f} s with four stems, on one thread, from the page cache"
    return [
        Result(
            name,
            [harness.ratio("times without", taken, OURS, WITHOUT, at_most=1.5)],
            taken,
            songs * seconds,
            "seconds of audio a second",
            note,
        )
        for name, taken in times.items()
    ]
