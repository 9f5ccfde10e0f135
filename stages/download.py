"""Obtain or check the recordings of one dataset and note what they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.errors import printable
from stages import common

if TYPE_CHECKING:
    from pipeline.datasets.inventory import Inventory
    from pipeline.params import Dataset, Params

SHOWN = 20


def download(dataset: str = typer.Argument(help="a name under datasets: in params.yaml")) -> None:
    """Recordings -> data/inventory/<dataset>.json and the marker data/ready/<dataset>."""
    from pipeline import files, params
    from pipeline.datasets import inventory

    settings = params.load(common.PARAMS)
    entry = common.dataset_entry(settings, dataset)
    path = common.inventory_path(dataset)
    with common.claim(path):
        files.remove(common.READY / dataset)  # after a failure the next run looks again
        found = _take(settings, dataset, entry, common.recordings_root(dataset, entry))
        inventory.save(found, path)
        files.write_text(common.READY / dataset, files.md5(path) + "\n")
    _report(found, path)


def _take(settings: "Params", dataset: str, entry: "Dataset", root: Path) -> "Inventory":
    """Bring the recordings to `root`, unless they are there, and look at them."""
    from pipeline.datasets import survey
    from pipeline.datasets.download import obtain

    memory = common.INSPECTED / f"{dataset}.txt"
    if entry.origin == "folder":
        assert entry.holds is not None
        return survey.take_folder(dataset, root, entry.holds, memory=memory, say=typer.echo)
    collection, rendered = entry.collection or dataset, None
    if entry.origin == "synthetic":
        spec = settings.synthetic
        tracks = {str(name): count for name, count in spec.tracks.items()}[dataset]
        rendered = obtain.embedded(dataset, root, tracks, spec.seconds, spec.seed)
    elif entry.origin == "download":
        publisher = obtain.publisher(collection, entry.url, entry.checksum)
        obtain.public(publisher, root, typer.echo)
    elif not entry.path and obtain.is_empty(root):
        # A path that was written down is a mistake when it leads nowhere; a dataset that one does
        # not have is not.
        return survey.absent(dataset, entry.origin, entry.collection)
    return survey.take(
        dataset,
        entry.origin,
        root,
        settings.sources,
        collection=entry.collection,
        select=entry.select,
        voice_level=entry.voice_level or 0.0,
        rendered=rendered,
        memory=memory,
        say=typer.echo,
    )


def _report(found: "Inventory", path: Path) -> None:
    """What there is and, in yellow, what is not."""
    from pipeline.datasets.catalogue import how_to_get

    name = found.dataset
    if found.absent:
        _warn(f"{name}: LEFT OUT: {found.absent}", [])
    else:
        typer.echo(f"{name}: {len(found.recordings)} tracks can be used ({path})")
    _warn(f"{name}: {len(found.missing)} published tracks are not there:", found.missing)
    if found.missing or found.absent:
        typer.echo(f"{name}: to get it: {how_to_get(found.collection or name)}")
    _warn(f"{name}: {len(found.extra)} audio files are not part of what is published:", found.extra)
    damaged = [f"{track.track}: {track.reason}" for track in found.rejected]
    _warn(f"{name}: {len(damaged)} tracks cannot be used:", damaged)


def _warn(heading: str, lines: Sequence[str]) -> None:
    if not lines and heading.endswith(":"):
        return
    typer.secho(heading, fg=typer.colors.YELLOW)
    for line in lines[:SHOWN]:
        typer.secho(f"  {printable(line)}", fg=typer.colors.YELLOW)
    if len(lines) > SHOWN:
        typer.secho(
            f"  and {len(lines) - SHOWN} more, all in the inventory", fg=typer.colors.YELLOW
        )


if __name__ == "__main__":
    common.run(download)
