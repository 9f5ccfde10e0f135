"""Train and test every model with several seeds: how much of a difference is luck.

Not a stage of dvc.yaml: it takes as long as the experiment times the number of seeds. Run it with
`make seeds` after `dvc repro`; it reads the same features and split.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from stages import common

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.params import Params

SEEDS = list(range(1, 9))
EVALUATION = "pipeline.evaluation.table_row"
"""The module whose rooms, besides those of training, decide a kept score."""


def seeds(
    seed: list[int] = typer.Option(SEEDS, help="repeat for each seed"),
    device: str = typer.Option("auto", help="auto, cpu or cuda"),
    precision: str = typer.Option(
        "", help="train in this precision, whatever params.yaml says -> results/seeds-<precision>.*"
    ),
) -> None:
    """Features and split -> results/seeds.csv and results/seeds.md.

    What an earlier call finished with the same parameters, code and features is not trained again.
    """
    from pipeline.parallel.allocator import keep_freed_memory

    keep_freed_memory()
    from pipeline import files, params, roles
    from pipeline.comparison import aggregation, several_seeds
    from pipeline.evaluation.table_row import TableRow, score_row
    from pipeline.evaluation.track_scores import load_tracks, save_tracks
    from pipeline.tracks import Role
    from pipeline.training.run import train

    settings = params.load(common.PARAMS)
    target = common.RESULTS / "seeds.csv"
    if precision:
        given = settings.model_dump()
        given["training"]["precision"] = precision
        settings = params.parse(given, "--precision")
        target = target.with_stem(f"seeds-{precision}")
    frame = roles.load_split(common.SPLIT)
    mixture = load_tracks(common.TRACK_SCORES / "mixture.csv")
    scores, taps = {}, settings.evaluation.filter_length
    with common.claim(target):
        for value in seed:
            seeded = params.parse(settings.model_dump() | {"seed": value}, "--seed")
            folder = common.WORK / target.stem / str(value)
            frames = {"mixture": mixture}
            for model in settings.models:
                done = folder / f"{model}.csv"
                mark = folder / f"{model}.fingerprint"
                expected = kept_under(seeded, model, frame)
                kept = kept_scores(done, mark, expected)
                if kept is None:
                    train(
                        seeded, model, frame, common.FEATURES, folder / "models" / model,
                        folder / "checkpoints" / model, device, say=typer.echo,
                    )  # fmt: skip
                    row = TableRow(model, common.FEATURES, folder / "models", taps)
                    save_tracks(score_row(row, frame), done)
                    files.write_text(mark, expected)
                frames[model] = load_tracks(done) if kept is None else kept
            scores[value] = aggregation.combine(frames, settings.sources)
    supervised = set(frame.loc[frame["role"] == Role.SUPERVISED, "dataset"])
    unseen = [name for name in settings.datasets if name not in supervised]
    baseline = aggregation.baseline(settings.models)
    table = several_seeds.over_seeds(scores, unseen, settings.sources, baseline)
    files.write_text(target, table.to_csv(index=False, lineterminator="\n"))
    text = several_seeds.as_markdown(table, command_for(seed, precision))
    files.write_text(target.with_suffix(".md"), text)
    typer.echo(text)


def kept_scores(done: Path, mark: Path, expected: str) -> "pd.DataFrame | None":
    """The scores that an earlier call kept under this fingerprint; None: to be made again."""
    from pipeline.errors import UserError
    from pipeline.evaluation.track_scores import load_tracks
    from pipeline.text_files import read_text

    try:
        return load_tracks(done) if read_text(mark, "") == expected else None
    except UserError:
        return None


def kept_under(params: "Params", model: str, split: "pd.DataFrame") -> str:
    """What the kept scores of a model depend on: its training, the code that scores, the metric."""
    from pipeline import rooms
    from pipeline.training import checkpoints

    trained = checkpoints.fingerprint(params, model, split, common.FEATURES)
    return f"{trained} {rooms.fingerprint(EVALUATION)} {params.evaluation.filter_length}"


def command_for(seed: list[int], precision: str = "") -> str:
    """The command that trains with these seeds in this precision."""
    if seed == SEEDS and not precision:
        return "make seeds"
    chosen = "" if seed == SEEDS else "".join(f" --seed {value}" for value in seed)
    return f"python -m stages.seeds{chosen}" + (f" --precision {precision}" if precision else "")


if __name__ == "__main__":
    common.run(seeds)
