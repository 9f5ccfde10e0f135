"""Compute the features of one dataset: log magnitudes and waveforms at the working rate."""

import typer

from stages import common


def preprocess(dataset: str = typer.Argument(help="a name under datasets: in params.yaml")) -> None:
    """Recordings and inventory -> data/features/<dataset>.h5."""
    from pipeline.parallel.workers import import_ahead

    import_ahead("pipeline.features.preprocess")
    from pipeline import params
    from pipeline.datasets import inventory
    from pipeline.errors import UserError
    from pipeline.features.preprocess import write

    settings = params.load(common.PARAMS)
    entry = common.dataset_entry(settings, dataset)
    found = inventory.load(common.inventory_path(dataset))
    kinds = [entry.holds] if entry.holds else settings.sources
    if found.recordings and not set(kinds) <= set(found.kinds):
        raise UserError(
            f"{common.inventory_path(dataset)}: not of params.yaml's {', '.join(kinds)}; run"
            f" `python -m stages.download {dataset}`"
        )
    target = common.features_path(dataset)
    with common.claim(target):
        read = write(
            found,
            common.recordings_root(dataset, entry),
            kinds,
            settings.signal,
            target,
            common.features_elsewhere(),
        )
    kept = len(found.recordings) - read
    if kept:
        typer.echo(f"{dataset}: {read} recordings read, the features of {kept} others kept")


if __name__ == "__main__":
    common.run(preprocess)
