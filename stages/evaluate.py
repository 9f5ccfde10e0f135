"""Score one row of the table: a model, or one that needs none (mixture, oracle and the like)."""

from pathlib import Path

import typer

from stages import common


def evaluate(
    row: str = typer.Argument(
        help="a name under models: in params.yaml; mixture, irm, magnitude or oracle"
    ),
    role: str = typer.Option("test", help="test; validation for choosing parameters"),
    out: Path | None = typer.Option(None, help="[default: results/tracks/<row>.csv]"),
    device: str = typer.Option("cpu", help="cpu or cuda"),
) -> None:
    """Features, split and model -> results/tracks/<row>.csv: a line per seed, track and source.

    Beside it <row>.sha256: of which weights.
    """
    from pipeline.parallel.workers import import_ahead

    import_ahead("pipeline.evaluation.table_row")
    from pipeline import params, roles
    from pipeline.errors import UserError
    from pipeline.evaluation import scored_weights
    from pipeline.evaluation.table_row import TableRow, score_row
    from pipeline.evaluation.track_scores import NO_SEED
    from pipeline.features.store import check_features
    from pipeline.separation.model_folder import read_trained
    from pipeline.tracks import Role

    settings, folders = params.load(common.PARAMS), []
    seeds = (NO_SEED,) if row in params.REFERENCE_ROWS else tuple(settings.seeds)
    if row not in params.REFERENCE_ROWS:
        common.known_model(settings, row)
        for seed in seeds:
            read_trained(common.MODELS / row, seed, settings)
        folders = [params.of_seed(common.MODELS / row, seed) for seed in seeds]
    if role not in list(Role):
        raise UserError(f"--role {role}: expected one of {', '.join(Role)}")
    if role != Role.TEST and out is None:
        raise UserError(f"--role {role}: results/ holds test scores; name a file with --out")
    frame = roles.load_split(common.SPLIT)
    if role not in set(frame["role"]):
        raise UserError(f"{common.SPLIT}: no track has the role {role}; add tracks or datasets")
    datasets = frame.loc[frame["role"] == role, "dataset"].unique()
    check_features(common.FEATURES, datasets, settings.sources, settings.signal)
    taps = settings.evaluation.filter_length
    scored = TableRow(row, common.FEATURES, common.MODELS, taps, seeds, device)
    target = out or common.TRACK_SCORES / f"{row}.csv"
    with common.claim(target):
        sums = scored_weights.sums_of(folders)
        scored_weights.save(score_row(scored, frame, Role(role)), target, sums)


if __name__ == "__main__":
    common.run(evaluate)
