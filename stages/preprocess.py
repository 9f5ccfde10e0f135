"""Compute the features of one dataset: log magnitudes and waveforms at the working rate."""

import typer

from stages import common


def preprocess(dataset: str = typer.Argument(help="DSD100, MedleyDB, CCMixter or iKala")) -> None:
    """Recordings and inventory -> data/features/<dataset>.h5."""
    from pipeline import features, params
    from pipeline.datasets import inventory

    settings = params.load(common.PARAMS)
    root = common.recordings_root(dataset, common.origin(settings, dataset))
    features.write(
        inventory.load(common.inventory_path(dataset)),
        root,
        settings.sources,
        settings.signal,
        common.features_path(dataset),
    )


if __name__ == "__main__":
    common.run(preprocess)
