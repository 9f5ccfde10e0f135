"""Obtain or check the recordings of one dataset and note what they are."""

import typer

from stages import common

SHOWN = 20


def download(dataset: str = typer.Argument(help="DSD100, MedleyDB, CCMixter or iKala")) -> None:
    """Recordings -> data/inventory/<dataset>.json and the marker data/ready/<dataset>."""
    from pipeline import files, params
    from pipeline.datasets import inventory, obtain

    settings = params.load(common.PARAMS)
    origin = common.origin(settings, dataset)
    root = common.recordings_root(dataset, origin)
    rendered = None
    if origin == "synthetic":
        spec = settings.synthetic
        tracks = {str(name): count for name, count in spec.tracks.items()}[dataset]
        rendered = obtain.embedded(dataset, root, tracks, spec.seconds, spec.seed)
    found = inventory.take(dataset, origin, root, settings.sources, rendered)
    path = common.inventory_path(dataset)
    inventory.save(found, path)
    files.write_text(common.READY / dataset, files.md5(path) + "\n")

    typer.echo(f"{dataset}: {len(found.recordings)} tracks can be used ({path})")
    if found.rejected:
        typer.secho(f"{dataset}: {len(found.rejected)} tracks cannot:", fg=typer.colors.YELLOW)
    for track in found.rejected[:SHOWN]:
        typer.secho(f"  {track.track}: {track.reason}", fg=typer.colors.YELLOW)
    if len(found.rejected) > SHOWN:
        typer.secho(
            f"  and {len(found.rejected) - SHOWN} more: see rejected in {path}",
            fg=typer.colors.YELLOW,
        )


if __name__ == "__main__":
    common.run(download)
