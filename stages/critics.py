"""Ask every critic about recordings that it has learned from, and about test tracks."""

import typer

from stages import common


def critics() -> None:
    """Models, features and split -> results/critics.csv and likeness.csv."""
    from pipeline.parallel.workers import import_ahead

    import_ahead("pipeline.critique.groups")
    from pipeline import params, roles
    from pipeline.comparison.minutes import counterparts
    from pipeline.critique import critic_table, groups, likeness, opinions
    from pipeline.features.store import check_features
    from pipeline.separation.model_folder import read_trained

    settings, split = params.load(common.PARAMS), roles.load_split(common.SPLIT)
    for name in settings.models:
        for seed in settings.seeds:
            read_trained(common.MODELS / name, seed, settings)
    check_features(common.FEATURES, split["dataset"].unique(), settings.sources, settings.signal)
    asked = groups.Asked(
        settings, split, common.FEATURES, common.MODELS, counterparts(settings.models)
    )
    target = common.RESULTS / "critics.csv"
    with common.claim(target):
        critic_table.save(opinions.opinions(asked), target)
        critic_table.save(likeness.likeness(asked), common.RESULTS / "likeness.csv")
    typer.echo(f"{target}")


if __name__ == "__main__":
    common.run(critics)
