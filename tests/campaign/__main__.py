"""python -m tests.campaign: an hour of accidents, with the seed that repeats them."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import typer

from tests.campaign.damages import SUITES, damage, suite
from tests.campaign.kills import Campaign, Tally, stages
from tests.helpers.experiment import run_stages, small_params, write_params
from tests.helpers.fuzz_targets import TARGETS


def main(
    minutes: float = typer.Option(40, help="of stopping stages; each is stopped at least once"),
    inputs: int = typer.Option(500, min=0, help="damaged files of each kind"),
    seed: int | None = typer.Option(None, help="[default: another one each time]"),
    only: str = typer.Option("", help="one line of the table, such as `train VA`"),
) -> None:
    """Stop every stage at random moments, damage every file, lack what a machine may lack.

    What a stopped stage leaves in the end is held against an uninterrupted run.
    """
    seed = int.from_bytes(os.urandom(4)) if seed is None else seed
    scratch = Path(mkdtemp(prefix="campaign-"))
    typer.echo(f"seed {seed}, in {scratch}")
    experiment = scratch / "experiment"
    experiment.mkdir()
    write_params(small_params(), experiment)
    run_stages(experiment, "report")
    tallies = [
        *stopped(Campaign(experiment, scratch, seed, typer.echo), minutes, only),
        *(damage(experiment, scratch, one, seed, inputs) for one in TARGETS if only in ("", one)),
        *(suite(title, scratch) for title in SUITES if only in ("", title)),
    ]
    typer.echo("\n| what | runs or inputs | signals | failed |\n|---|---:|---:|---:|")
    for tally in tallies:
        signals = tally.stops or ""
        typer.echo(f"| {tally.title} | {tally.runs} | {signals} | {len(tally.failures)} |")
    failures = [failure for tally in tallies for failure in tally.failures]
    for failure in failures:
        typer.echo(f"- {failure}")
    sys.exit(bool(failures))


def stopped(campaign: Campaign, minutes: float, only: str) -> Iterator[Tally]:
    """Stop one stage after the other, again and again, until the time is over."""
    chosen = [stage for stage in stages() if only in ("", stage.title)]
    tallies = {stage.title: Tally(stage.title) for stage in chosen}
    end, number = time.monotonic() + 60 * minutes, 0
    while chosen and (number == 0 or time.monotonic() < end):
        for stage in chosen:
            if number == 0 or time.monotonic() < end:
                campaign.stop(stage, number, tallies[stage.title])
        number += 1
    yield from tallies.values()


if __name__ == "__main__":
    typer.run(main)
