"""From recordings to features: hours of audio a minute."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import soundfile

from benchmarks import harness, material
from benchmarks.harness import LIMIT, OURS, STRAIGHTFORWARD, Options, Result
from benchmarks.reference import preprocess as reference
from pipeline.audio.decoding import open_audio
from pipeline.datasets.inventory import Inventory
from pipeline.features import preprocess
from pipeline.parallel.workers import import_ahead, worker_count

BLOCK = 2**20
FASTER = "limit with our decoder"


def ours(found: Inventory, root: Path, target: Path) -> None:
    """The stage's work, with nothing to reuse."""
    target.unlink(missing_ok=True)
    settings = material.paper()
    preprocess.write(found, root, settings.sources, settings.signal, target)


def straightforward(found: Inventory, root: Path, target: Path, quality: str = "soxr_hq") -> None:
    """The same with librosa and h5py."""
    settings = material.paper()
    tracks = {
        recording.track.id: {
            source: [root / part.file for part in recording.track.sources[source]]
            for source in settings.sources
        }
        for recording in found.recordings
    }
    reference.preprocess(tracks, settings.signal, target, quality)


def limit(
    files: list[Path],
    size: int,
    target: Path,
    pool: ProcessPoolExecutor,
    decode: Callable[[Path], None],
) -> None:
    """Decode the files on all cores and write as many bytes as the features have."""
    list(pool.map(decode, files))
    block = bytes(BLOCK)
    with target.open("wb") as file:
        for start in range(0, size, BLOCK):
            file.write(block[: size - start])


def decode(path: Path) -> None:
    """To float32 by libsndfile."""
    with soundfile.SoundFile(path) as file:
        for _ in file.blocks(BLOCK, dtype="float32"):
            pass


def decode_16_bits(path: Path) -> None:
    """To float32 as our decoder does it, which is faster than libsndfile."""
    with open_audio(path) as file:
        while file.read(BLOCK).shape[1]:
            pass


def results(options: Options) -> list[Result]:
    """Songs of 3.5 minutes with four stems each, 44.1 kHz, stereo."""
    import_ahead("pipeline.features.preprocess")  # as the stage does
    songs, seconds = (2, 20.0) if options.quick else (16, 210.0)
    # a forked child of a process that runs torch's threads can deadlock
    spawn = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as folder, ProcessPoolExecutor(worker_count(), spawn) as pool:
        root, target = material.songs(Path(folder) / "songs", songs, seconds), Path(folder) / "out"
        found = material.look(root)
        ours(found, root, target)
        size = target.stat().st_size
        files = sorted(root.rglob("*.wav"))
        times = harness.measure(
            {
                OURS: lambda: ours(found, root, target),
                STRAIGHTFORWARD: lambda: straightforward(found, root, target),
                LIMIT: lambda: limit(files, size, target, pool, decode),
                FASTER: lambda: limit(files, size, target, pool, decode_16_bits),
            },
            options.turns(3),
        )
    return [
        Result(
            "preprocess",
            [
                harness.speed_up(times, at_least=4),
                harness.of_limit(times, at_least=0.7),
                harness.of_limit(times, side=FASTER),
            ],
            times,
            songs * seconds / 3600 * 60,
            "hours of audio a minute",
            f"{songs} songs of {seconds:.0f} s with four stems; workers are forked anew every time",
        )
    ]
