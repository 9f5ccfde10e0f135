"""python -m tests.campaign: an hour of accidents, with the seed that repeats them."""

import os
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

import typer

from tests.campaign.kills import Campaign, Tally, stages
from tests.helpers.experiment import run_stages, small_params, write_params


def main(
    minutes: float = typer.Option(60, help="of stopping stages; each is stopped at least once"),
    seed: int | None = typer.Option(None, help="[default: another one each time]"),
    only: str = typer.Option("", help="a stage, such as `train VA`"),
) -> None:
    """Stop every stage at random moments, and hold what it leaves against an uninterrupted run."""
    seed = int.from_bytes(os.urandom(4)) if seed is None else seed
    scratch = Path(mkdtemp(prefix="campaign-"))
    typer.echo(f"seed {seed}, in {scratch}")
    experiment = scratch / "experiment"
    experiment.mkdir()
    write_params(small_params(), experiment)
    run_stages(experiment, "report")
    campaign = Campaign(experiment, scratch, seed, typer.echo)
    chosen = [stage for stage in stages() if only in ("", stage.title)]
    tallies = {stage.title: Tally(stage.title) for stage in chosen}
    end, number = time.monotonic() + 60 * minutes, 0
    while number == 0 or time.monotonic() < end:
        for stage in chosen:
            if number == 0 or time.monotonic() < end:
                campaign.stop(stage, number, tallies[stage.title])
        number += 1
    typer.echo("\n| stage | runs stopped | signals | failed |\n|---|---|---|---|")
    for tally in tallies.values():
        typer.echo(f"| {tally.title} | {tally.runs} | {tally.stops} | {len(tally.failures)} |")
    failures = [failure for tally in tallies.values() for failure in tally.failures]
    for failure in failures:
        typer.echo(f"- {failure}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    typer.run(main)
