"""Give every track a role: supervised, unlabelled, validation or test."""

from stages import common


def split() -> None:
    """Inventories -> data/split.csv."""
    import pandas as pd
    import typer

    from pipeline import params, roles
    from pipeline.datasets import duplicates, inventory
    from pipeline.datasets import split as assignment
    from pipeline.tracks import Role

    settings = params.load(common.PARAMS)
    inventories = [inventory.load(common.inventory_path(name)) for name in settings.datasets]
    with common.claim(common.SPLIT):
        assigned = assignment.of_params(inventories, settings)
        frame = duplicates.without(assigned, duplicates.find(assigned, inventories))
        strategy, named = settings.split.strategy, settings.with_named_roles
        for line in assignment.notices(
            frame, inventories, strategy, named=named, assigned=assigned
        ):
            typer.secho(line, fg=typer.colors.YELLOW)
        # A courtesy, so no dependency of this stage: training checks again what its model needs.
        unlabelled = any(model.needs_unlabelled for model in settings.models.values())
        roles.check_roles(frame, needs_unlabelled=unlabelled)
        assignment.check_unlabelled(frame, inventories, settings.models)
        roles.save_split(frame, common.SPLIT)

    counts = pd.crosstab(frame["dataset"], frame["role"])
    columns = [str(role) for role in Role]
    typer.echo(counts.reindex(list(settings.datasets), columns=columns, fill_value=0).to_string())


if __name__ == "__main__":
    common.run(split)
