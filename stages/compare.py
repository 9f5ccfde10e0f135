"""Stage `compare`: the scores of all models become the table and the metrics that DVC tracks."""

import typer

from pipeline.errors import printable
from stages.common import MODELS, PARAMS, RESULTS, SPLIT, TRACK_SCORES, claim, inventory_path, run


def main() -> None:
    """Compare the models: results/tracks/*.csv to results/metrics.json, table.csv, table.md and
    minutes.csv.

    Beside them results/curves.csv: how the models were trained, from models/*/history.
    """
    from pipeline import params, roles
    from pipeline.comparison import aggregation, budgets, histories, long_table, minutes, table
    from pipeline.comparison.markdown import escaped
    from pipeline.datasets import inventory
    from pipeline.datasets.split import notices, of_params
    from pipeline.evaluation.track_scores import load_tracks
    from pipeline.files import write_text

    settings = params.load(PARAMS)
    evaluation, sources = settings.evaluation, settings.sources
    rows = params.table_rows(settings.models)
    _warn_of_strangers(rows)
    frames = {row: load_tracks(TRACK_SCORES / f"{row}.csv") for row in rows}
    inventories = [inventory.load(inventory_path(name)) for name in settings.datasets]
    split = roles.load_split(SPLIT)
    scores = aggregation.combine(frames, sources, settings.seeds)
    means = aggregation.means(scores, sources, aggregation.unseen_datasets(split))
    baseline = aggregation.baseline(settings.models)
    long = long_table.long_table(scores, sources, split, baseline, evaluation.confidence)
    gains = minutes.gains(
        scores,
        settings.models,
        sources,
        split,
        minutes.minutes_of(split, inventories),
        evaluation.confidence,
    )
    trained = histories.all_curves(MODELS, settings.models, settings.seeds)
    known = trained
    if known is None and (kept := RESULTS / "curves.csv").exists():
        known = histories.load(kept, "bring it back with git, or train", "")
    budget = None if known is None else budgets.budgets(known, settings)
    text = table.as_markdown(
        scores,
        long,
        sources,
        baseline=baseline,
        confidence=evaluation.confidence,
        filter_length=evaluation.filter_length,
        sample_rate=settings.signal.sample_rate,
        budget=[] if budget is None else budgets.as_lines(budget, settings, len(settings.seeds)),
        notes=[
            *table.about_training(
                settings.training.validation,
                split,
                {
                    name: histories.processors(MODELS, name, settings.seeds)
                    for name in settings.models
                },
            ),
            *table.about_data(inventories),
            *notices(
                split,
                inventories,
                settings.split.strategy,
                escaped,
                1000,
                settings.with_named_roles,
                of_params(inventories, settings),
            ),
        ],
    )
    with claim(RESULTS / "metrics.json"):
        aggregation.save_means(means, RESULTS / "metrics.json")
        long_table.save_long_table(long, RESULTS / "table.csv")
        minutes.save(gains, RESULTS / "minutes.csv")
        write_text(RESULTS / "table.md", text)
        if trained is not None:
            histories.save(trained, RESULTS / "curves.csv")
        else:  # a clone has the scores but not the models
            _warn(f"{RESULTS / 'curves.csv'}: left as it is: {MODELS} lacks the history of a model")
    typer.echo(text)


def _warn_of_strangers(rows: list[str]) -> None:
    """Scores of a model that params.yaml no longer has: no error, but not to go unnoticed."""
    for path in sorted(TRACK_SCORES.glob("*.csv")):
        if path.stem not in rows:
            _warn(
                f"{path}: params.yaml has no model of that name; not in the table"
                " (delete the file if it is not needed)"
            )


def _warn(text: str) -> None:
    typer.secho(f"warning: {printable(text)}", fg=typer.colors.YELLOW, err=True)


if __name__ == "__main__":
    run(main)
