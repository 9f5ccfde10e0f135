"""Stage `compare`: the scores of all models become the table and the metrics that DVC tracks."""

import typer

from stages.common import PARAMS, RESULTS, TRACK_SCORES, inventory_path, run


def main() -> None:
    """Compare the models: results/tracks/*.csv to results/metrics.json, table.csv and table.md."""
    from pipeline import comparison, params, table
    from pipeline.datasets import inventory
    from pipeline.files import write_text

    settings = params.load(PARAMS)
    evaluation, sources = settings.evaluation, settings.sources
    rows = ["mixture", *settings.models, "oracle"]
    _warn_of_strangers(rows)
    frames = {row: comparison.load_tracks(TRACK_SCORES / f"{row}.csv") for row in rows}
    inventories = [inventory.load(inventory_path(name)) for name in settings.datasets]
    scores = comparison.collect(frames, sources)
    means = comparison.metrics(scores, sources)
    baseline = comparison.baseline(settings.models)
    statistics = comparison.statistics(
        scores,
        sources,
        baseline,
        evaluation.bootstrap_samples,
        evaluation.confidence,
        settings.seed,
    )
    text = table.markdown(
        scores,
        means,
        statistics,
        sources,
        baseline=baseline,
        confidence=evaluation.confidence,
        filter_length=evaluation.filter_length,
        sample_rate=settings.signal.sample_rate,
        notes=table.about_data(inventories),
    )
    comparison.save_metrics(means, RESULTS / "metrics.json")
    comparison.save_statistics(statistics, RESULTS / "table.csv")
    write_text(RESULTS / "table.md", text)
    typer.echo(text)


def _warn_of_strangers(rows: list[str]) -> None:
    """Scores of a model that params.yaml no longer has: no error, but not to go unnoticed."""
    for path in sorted(TRACK_SCORES.glob("*.csv")):
        if path.stem not in rows:
            typer.secho(
                f"warning: {path}: params.yaml has no model of that name; not in the table"
                " (delete the file if it is not needed)",
                fg=typer.colors.YELLOW,
                err=True,
            )


if __name__ == "__main__":
    run(main)
