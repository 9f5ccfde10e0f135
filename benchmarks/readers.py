"""Every reader's throughput: hours of audio a minute, for looking at recordings and for features.

    python -m benchmarks.readers --seconds 180 --songs 6

Renders a few embedded songs, writes them in each collection's layout (MUSDB18's stems and the folders'
files are encoded by ffmpeg), and times `survey.take` (decode all, hash all) and
`features.preprocess.write` on all cores. Medians of several runs; prints a Markdown table.
"""

import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import soundfile
import typer

from pipeline.datasets import survey, synthetic
from pipeline.datasets.inventory import Inventory
from pipeline.features import preprocess
from pipeline.params import Signal

SOURCES = ("accompaniment", "vocals")
SIGNAL = Signal(sample_rate=8000, fft_size=512, hop_size=256)
STREAMS = ("mixture", "drums", "bass", "other", "vocals")


def to_musdb18(songs: list[Path], root: Path) -> None:
    """DSD100's stems as MUSDB18-HQ's folders, and those as MUSDB18's files."""
    for number, song in enumerate(songs):
        name = f"Artist {number} - Song"
        target = root / "MUSDB18-HQ/train" / name
        shutil.copytree(song, target)
        parts = [soundfile.read(path) for path in sorted(song.glob("*.wav"))]
        soundfile.write(target / "mixture.wav", sum(data for data, _ in parts), parts[0][1])
        inputs = [word for stem in STREAMS for word in ("-i", str(target / f"{stem}.wav"))]
        maps = [word for stream in range(len(STREAMS)) for word in ("-map", str(stream))]
        encode(root / "MUSDB18/train" / f"{name}.stem.mp4", *inputs, *maps, "-b:a", "256k")
        for ending in ("mp3", "flac", "m4a"):
            encode(root / ending / f"{name}.{ending}", "-i", str(target / "vocals.wav"))


def encode(target: Path, *arguments: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ffmpeg", "-v", "error", *arguments, str(target)], check=True)


def median(work: Callable[[], object], runs: int) -> float:
    """Seconds."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def row(name: str, look: Callable[[], Inventory], root: Path, target: Path, runs: int) -> str:
    """A line of the table: hours of tracks a minute."""
    found = look()
    hours = sum(one.samples / one.sample_rate for one in found.recordings) / 3600
    signals = found.kinds if found.origin == "folder" else SOURCES

    def features() -> None:
        target.unlink(missing_ok=True)
        preprocess.write(found, root, signals, SIGNAL, target)

    inspected, written = median(look, runs), median(features, runs)
    return (
        f"| {name} | {len(found.recordings)} | {hours:.2f} | {60 * hours / inspected:.1f} |"
        f" {60 * hours / written:.1f} |"
    )


def main(
    seconds: float = typer.Option(180.0, help="length of a song"),
    songs: int = typer.Option(6, help="songs a collection"),
    runs: int = typer.Option(3, help="runs whose median is taken"),
) -> None:
    """Print every reader's throughput."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for dataset in ("DSD100", "MedleyDB", "CCMixter", "iKala"):
            (root / dataset).mkdir()
            synthetic.render(dataset, root / dataset, songs, seconds, 1)
        to_musdb18(sorted((root / "DSD100/Sources").glob("*/*")), root)
        lines = ["| reader | tracks | hours | looked at, h/min | features, h/min |"]
        lines.append("|---|---:|---:|---:|---:|")
        for dataset in ("DSD100", "MedleyDB", "CCMixter", "iKala", "MUSDB18-HQ", "MUSDB18"):
            place = root / dataset

            def look(dataset: str = dataset, place: Path = place) -> Inventory:
                return survey.take(dataset, "local", place, SOURCES)

            lines.append(row(dataset, look, place, root / "features.h5", runs))
        for ending in ("flac", "mp3", "m4a"):
            place = root / ending

            def look_in(place: Path = place) -> Inventory:
                return survey.take_folder("solo", place, "vocals")

            lines.append(row(f"folder of {ending}", look_in, place, root / "features.h5", runs))
    typer.echo("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
