"""A collection of many short files: what the inventory, the split and the features cost.

    python -m benchmarks.collection --files 100000

Writes the files (8 kHz, mono, 16 bits, no two alike) into a folder of unpaired vocals, runs the
stages as processes of their own, adds ten files, and runs them again. Prints a Markdown table: wall
time and the largest resident memory of a single process.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
from multiprocessing import Process, Queue
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import typer
from ruamel.yaml import YAML

TOP = Path(__file__).parents[1]
RATE = 8000


def write_files(root: Path, first: int, count: int, seconds: float) -> None:
    """Numbered WAV files, a thousand to a folder."""
    noise = np.random.default_rng(0).integers(-3000, 3000, 2 * RATE + int(RATE * seconds), "<i2")
    samples = int(RATE * seconds)
    header = b"RIFF%bWAVEfmt %b\x01\x00\x01\x00%b%b\x02\x00\x10\x00data%b"
    sizes = [n.to_bytes(4, "little") for n in (36 + 2 * samples, 16, RATE, 2 * RATE, 2 * samples)]
    for number in range(first, first + count):
        folder = root / f"{number // 1000:04}"
        folder.mkdir(parents=True, exist_ok=True)
        content = noise[number % RATE : number % RATE + samples].copy()
        content[:2] = number % 30_000, number // 30_000  # no two alike
        (folder / f"{number:07}.wav").write_bytes(header % tuple(sizes) + content.tobytes())


def experiment(folder: Path, recordings: Path) -> None:
    """Parameters with the embedded DSD100, for the supervised role, and the collection."""
    data: dict[str, Any] = YAML(typ="safe", pure=True).load(
        (TOP / "params.yaml").read_text("utf-8")
    )
    data["datasets"] = {
        "DSD100": {"origin": "synthetic"},
        "solo": {"origin": "folder", "path": str(recordings), "holds": "vocals"},
    }
    data["synthetic"] |= {"seconds": 1.0, "tracks": {"DSD100": 8}}
    data["models"] = {"baseline": {"critics": [], "alpha": 0.0, "beta": 0.0}}
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(data, file)


def measured(folder: Path, *stage: str) -> tuple[float, float]:
    """Seconds and the largest process's resident MB of a stage."""
    result: Queue[tuple[float, float]] = Queue()
    process = Process(target=_measure, args=(folder, stage, result))
    process.start()
    found = result.get()
    process.join()
    return found


def _measure(folder: Path, stage: tuple[str, ...], result: "Queue[tuple[float, float]]") -> None:
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    command = [sys.executable, "-m", f"stages.{stage[0]}", *stage[1:]]
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    result.put((seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024))


def main(
    files: int = typer.Option(100_000, help="files in the collection"),
    seconds: float = typer.Option(1.0, help="length of each"),
    into: Path | None = typer.Option(None, help="an empty folder to work in [default: temporary]"),
) -> None:
    """Print what a collection of many files costs."""
    work = into or Path(mkdtemp(prefix="collection-"))
    work.mkdir(parents=True, exist_ok=True)
    write_files(work / "recordings", 0, files, seconds)
    experiment(work, work / "recordings")
    for stage in ("download", "preprocess"):
        measured(work, stage, "DSD100")
    typer.echo("| stage | files | added | s | largest process, MB |\n|---|---:|---:|---:|---:|")
    for added in (files, 10, 0):
        if added == 10:
            write_files(work / "recordings", files, 10, seconds)
        for stage in ("download", "split", "preprocess"):
            took, memory = measured(work, stage, *(() if stage == "split" else ("solo",)))
            total = files if added == files else files + 10
            typer.echo(f"| {stage} | {total} | {added} | {took:.1f} | {memory:.0f} |")
    if into is None:
        shutil.rmtree(work)


if __name__ == "__main__":
    typer.run(main)
