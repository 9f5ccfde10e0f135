"""Train one model of params.yaml; a killed run continues from its last checkpoint."""

import typer

from stages import common


def train(
    model: str = typer.Argument(help="a name under models: in params.yaml"),
    device: str = typer.Option("auto", help="auto, cpu or cuda"),
) -> None:
    """Features and split -> models/<model>/."""
    from pipeline import params, split, trainer

    settings = params.load(common.PARAMS)
    common.known_model(settings, model)
    trainer.train(
        settings,
        model,
        split.load_split(common.SPLIT),
        common.FEATURES,
        common.MODELS / model,
        common.CHECKPOINTS / model,
        device,
        say=typer.echo,
    )


if __name__ == "__main__":
    common.run(train)
