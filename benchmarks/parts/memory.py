"""Peak memory of every stage at the paper's scale: four datasets of the published sizes, 19.6 hours.

The recordings are holes: files of the published length whose first second is noise and which take no
room on the disk. What the stages make of them does (15 GB in the temporary folder).
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import numpy as np
import pandas as pd
import psutil
import typer
from ruamel.yaml import YAML

from benchmarks import material
from benchmarks.harness import Options, Quantity, Result
from pipeline.datasets import catalogue
from pipeline.features.store import FeatureFile
from pipeline.parallel.workers import worker_count
from pipeline.params import DATASETS, REFERENCE_ROWS
from pipeline.roles import load_split, save_split
from pipeline.tracks import Role

LIMIT = 12
"""GB that no stage may need more of."""
MODEL = "VA"
"""The model that needs most."""
RATE = 44_100
"""Hz, of all recordings of the paper."""
PAUSE = 0.1
"""Seconds between two looks at the memory."""


def results(options: Options) -> list[Result]:
    """Every stage as its command, in the order of dvc.yaml."""
    every = 25 if options.quick else 1
    with TemporaryDirectory() as place:
        folder = Path(place)
        hours = sum(write_recordings(folder / "raw", every)) / 3600
        write_params(folder, options.quick)
        quantities = [
            Quantity(" ".join(stage), [peak(folder, *stage)], "GB", at_most=LIMIT)
            for stage in stages(folder)
        ]
    return [
        Result(
            "memory",
            quantities,
            note=f"the largest memory (PSS) of all processes of a stage together, {hours:.1f} hours of"
            f" recordings, {worker_count()} processes; training is one step of {MODEL} and a whole"
            " validation pass, evaluation the longest test tracks; one run",
        )
    ]


def stages(folder: Path) -> Iterator[tuple[str, ...]]:
    """The commands; before evaluation, the split is cut down to the tracks that need most memory."""
    yield from (("download", dataset) for dataset in DATASETS)
    yield ("split",)
    yield from (("preprocess", dataset) for dataset in DATASETS)
    yield ("train", MODEL, "--device", "cpu")
    keep_longest(folder, 2 * worker_count())
    yield from (("evaluate", row) for row in (*REFERENCE_ROWS, MODEL))
    yield ("compare",)
    yield ("report",)


def peak(folder: Path, *stage: str) -> float:
    """Run a stage and look at its memory all the while, GB. Raises RuntimeError when it fails.

    InspectionCache that processes share counts once (PSS); the files they read count only while mapped.
    """
    environment = os.environ | {
        "PYTHONPATH": str(material.TOP), "DATA_ROOT": str(folder / "raw"),
    }  # fmt: skip
    typer.echo(f"  {' '.join(stage)}", err=True)
    largest = 0
    with TemporaryFile("w+") as said:
        command = [sys.executable, "-m", f"stages.{stage[0]}", *stage[1:]]
        started = psutil.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
        while started.poll() is None:
            largest = max(largest, resident(started))
            time.sleep(PAUSE)
        if started.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {said.read()[-2000:]}")
    return largest / 1e9


def resident(process: psutil.Process) -> int:
    """Bytes of a process and all it started."""
    total = 0
    with suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):  # it has just ended
                total += one.memory_full_info().pss
    return total


# ------------------------------------------------------------------------------------ recordings


def write_recordings(root: Path, every: int) -> Iterator[float]:
    """Every so-manieth track of each dataset, in its layout; yields their lengths in seconds."""
    for dataset in DATASETS:
        facts = catalogue.facts(dataset)
        for number, entry in enumerate(catalogue.tracks(dataset)[::every]):
            seconds, channels = facts[entry.id].seconds or 30.0, facts[entry.id].channels or 2
            for part, name in enumerate(files(dataset, entry)):
                write_wav(root / dataset / name, seconds, channels, (number, part))
            yield seconds


def files(dataset: str, entry: catalogue.Entry) -> list[str]:
    """The files of a track, as the dataset lays them out."""
    track = entry.id
    match dataset:
        case "DSD100":
            return [f"Sources/{entry.partition}/{track}/{stem}.wav" for stem in material.STEMS]
        case "MedleyDB":
            stems = catalogue.medleydb_stems()[track]
            return [f"Audio/{track}/{track}_STEMS/{stem.filename}" for stem in stems]
        case "CCMixter":
            return [f"ccmixter_corpus/{track}/source-0{number}.wav" for number in (1, 2)]
        case _:
            # no published clip, whose checksum this cannot have
            return [f"Wavfile/9{track}.wav"]


def write_wav(path: Path, seconds: float, channels: int, seed: tuple[int, int]) -> None:
    """A WAV file of 16 bits: a second of noise, then silence that is a hole in the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-3000, 3000, (RATE, channels), "<i2")
    size, frame = round(seconds * RATE) * 2 * channels, 2 * channels
    fields = [
        (36 + size, 4), (16, 4), (1, 2), (channels, 2), (RATE, 4), (RATE * frame, 4), (frame, 2),
        (16, 2), (size, 4),
    ]  # fmt: skip
    header = b"RIFF%bWAVEfmt %b%b%b%b%b%b%bdata%b"
    with path.open("wb") as file:
        file.write(header % tuple(value.to_bytes(width, "little") for value, width in fields))
        file.write(noise.tobytes())
        file.truncate(44 + size)


def write_params(folder: Path, small: bool) -> None:
    """The paper's parameters for one step of one model."""
    text = (material.TOP / "experiments/paper/params.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    data["datasets"] = {name: {"origin": "local"} for name in DATASETS}
    data["models"] = {MODEL: data["models"][MODEL]}
    data["training"] |= {"steps_per_epoch": 1, "max_epochs": 1}
    if small:
        data["separator"]["filters"] = data["critic"]["filters"] = 2
        data["training"] |= {"batch_size": 2, "critic_steps": 1}
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(data, file)


def keep_longest(folder: Path, count: int) -> None:
    """Leave only the longest test tracks in the split."""
    path = folder / "data/split.csv"
    split = load_split(path)
    test = split[(split["role"] == Role.TEST) & split["has_vocals"]]
    lengths = []
    for dataset in test["dataset"].unique():
        features = FeatureFile.open(folder / f"data/features/{dataset}.h5")
        lengths.append(features.index["samples"].rename_axis("track").reset_index())
        lengths[-1]["dataset"] = dataset
    known = test.merge(pd.concat(lengths), on=["dataset", "track"])
    longest = known.nlargest(count, "samples")
    kept = longest.merge(split, on=list(split.columns))[list(split.columns)]
    save_split(pd.concat([split[split["role"] != Role.TEST], kept]), path)
