"""Write the report: what came out, to read, see and hear, as one page that opens from the disk."""

import json
from pathlib import Path

import typer

from stages import common

MADE_FROM = ("metrics.json", "table.csv", "table.md")


def report(
    out: Path = typer.Option(common.RESULTS / "report", help="the folder to write"),
) -> None:
    """Results, models, features and split -> results/report/index.html, audio/ and figures/."""
    from pipeline import files
    from pipeline.features.store import check_features
    from pipeline.report import finished_run, page
    from pipeline.tracks import Role

    run = finished_run.load(
        common.PARAMS, common.SPLIT.parent, common.MODELS, common.RESULTS, common.TIMINGS
    )
    tested = run.split.loc[run.split["role"] == Role.TEST, "dataset"].unique()
    check_features(common.FEATURES, tested, run.params.sources, run.params.signal)
    with common.claim(out):
        page.write(run, out, say=typer.echo)
        # What DVC tracks in place of the page, which names commit, machine and times.
        inputs = [common.SPLIT, *(common.RESULTS / name for name in MADE_FROM)]
        hashes = {path.as_posix(): files.md5(path) for path in inputs}
        files.write_text(out / "made-from.json", json.dumps(hashes, indent=1) + "\n")
    typer.echo(f"{out / 'index.html'}")


if __name__ == "__main__":
    common.run(report)
