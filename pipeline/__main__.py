"""`python -m pipeline`: what people do with a trained model and with results, outside the stages.

The one place in the package that parses arguments. Everything is imported when it is asked for, so
that `--help` comes at once.
"""

from pathlib import Path

import typer

from pipeline.errors import UserError, shortages_named
from pipeline.parallel import machine

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def about() -> None:
    """Separate recordings, export a model, review a change of results."""
    machine.require_resources()


@app.command()
def separate(
    songs: list[Path] = typer.Argument(help="files and folders of any audio"),
    model: Path = typer.Option(help="a model folder, for example models/VA"),
    out: Path = typer.Option(help="where the separated sources go"),
    format: str = typer.Option("wav", help="wav or flac"),
    rate: str = typer.Option(
        "model", help="model: its rate, mono; input: the song's rate and channels"
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="replace what is there already"),
    salvage: bool = typer.Option(
        False, "--salvage", help="of a damaged song, take what is there, in its place in time"
    ),
    device: str = typer.Option("auto", help="auto, cpu or cuda"),
    precision: str = typer.Option(
        "", help="float32 or bfloat16 [default: the one that the model was trained in]"
    ),
    onnx: Path | None = typer.Option(None, help="use this exported network with onnxruntime"),
) -> None:
    """Separate songs into their sources: OUT/<song>/<source>.wav."""
    from pipeline.parallel.allocator import keep_freed_memory

    keep_freed_memory()
    from pipeline.separation.songs import separate_files

    raise typer.Exit(
        separate_files(
            songs,
            model,
            out,
            format=format,
            rate=rate,
            overwrite=overwrite,
            salvage=salvage,
            device=device,
            precision=precision,
            onnx=onnx,
        )
    )


@app.command()
def export(
    model: Path = typer.Argument(help="a model folder, for example models/VA"),
    out: Path = typer.Option(help="a new folder for the model as it is given away"),
    results: Path = typer.Option(Path("results"), help="where metrics.json is"),
) -> None:
    """Write a model as it is given away: weights, configuration, model card, ONNX."""
    from pipeline.report.export import export_model

    export_model(model, out, results)


@app.command()
def review(
    base: str = typer.Argument(help="a revision, for example main"),
    head: str = typer.Argument("", help="another revision [default: the working tree]"),
) -> None:
    """Print what changed in parameters and results between two revisions, as Markdown."""
    from pipeline.comparison.review import review as review_of

    typer.echo(review_of(base, head or None))


def main() -> None:
    """Run; a UserError, and what the machine does not give, is one line and status 1."""
    machine.open_standard_streams()
    try:
        with shortages_named():
            app()
    except UserError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
