"""The page itself: a folder with index.html, sound and pictures, that opens from the disk."""

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from pipeline.comparison import aggregation, markdown, minutes, revisions
from pipeline.comparison.aggregation import ALL, UNSEEN
from pipeline.comparison.ways_in_words import in_words
from pipeline.critique import critic_table
from pipeline.evaluation.metrics import HEADLINE, REPORTED, named
from pipeline.files import atomic_path
from pipeline.parallel.workers import worker_count
from pipeline.params import REFERENCE_ROWS, table_rows
from pipeline.report import critics, excerpts, finished_run, pictures, plots, tables, words
from pipeline.report.excerpts import Excerpt
from pipeline.report.finished_run import Run
from pipeline.report.pictures import Picture
from pipeline.tracks import TrackName
from pipeline.ways import Model

TEMPLATES = Path(__file__).with_name("templates")
MINUTES = {
    minutes.PAIRED: "minutes of paired recordings",
    minutes.UNPAIRED: "minutes of unpaired recordings",
}
RANGE = 70.0
"""dB below the loudest cell of the mixture that a spectrogram shows."""


@dataclass(frozen=True)
class Heard:
    """One waveform of an excerpt as the page shows it."""

    source: str
    what: str
    picture: Picture
    audio: str


def write(run: Run, target: Path, top: Path = Path(), say: Callable[[str], None] = print) -> None:
    """Write the report as the folder `target`, as a whole.

    top: where git is asked for the commit; say: where one-line messages go. Raises UserError when
    features or a model is missing, or a file cannot be written.
    """
    began = time.monotonic()
    with atomic_path(target) as folder:
        folder.mkdir()
        models, colours = list(run.params.models), (critics.SEQUENTIAL, critics.DIVERGING)
        numbers = excerpts.numbers(run.scores)
        choices = excerpts.choose(run)
        heard = {TrackName(one.dataset, one.track): one.label for one in choices}
        shown = []
        for number, excerpt in enumerate(excerpts.cut(run, choices), 1):
            shown.append((excerpt, show(excerpt, number, folder)))
            say(f"report: {TrackName(excerpt.choice.dataset, excerpt.choice.track)}")
        context = {
            "run": run,
            "units": {metric: named(metric).unit for metric in REPORTED},
            "aggregates": {metric: named(metric).aggregate for metric in REPORTED},
            "medians": [metric for metric in REPORTED if named(metric).aggregate == "median"],
            "headline_metric": HEADLINE,
            "rows": table_rows(models),
            "references": REFERENCE_ROWS,
            "headline": words.headline(run),
            "confidence": words.confidence(run),
            "means": tables.all_means(run),
            "paper": bool(finished_run.paper_values(run)),
            "scored": tables.scored_rows(run),
            "tracks": tables.track_rows(run, numbers, heard),
            "numbers": numbers,
            "distributions": distributions(run, numbers),
            "swatches": {name: plots.swatch(models, name) for name in models},
            "ways": way_plots(run),
            "way_of": in_words(run.params.models),
            "alphas": alpha_plots(run),
            "gains": gain_plots(run),
            "curves": curve_plots(run),
            "excerpts": shown,
            "excerpts_asked": critic_table.EXCERPTS,
            "critic_rows": tables.critic_rows(run),
            "likeness_rows": tables.likeness_rows(run),
            "wishes": critics.wishes(run, choices, folder),
            "counts": finished_run.split_counts(run),
            "parameters": parameters_yaml(run),
            "versions": finished_run.versions(),
            "hardware": finished_run.hardware(),
            "commit": revisions.checked_out(top),
            "bars": {name: ", ".join(pictures.stops(name)) for name in colours},
            "range": RANGE,
            "whisker": plots.WHISKER,
            "plot": (pictures.WIDTH, pictures.HEIGHT),
        }
        text = render({**context, "seconds": round(time.monotonic() - began)})
        (folder / "index.html").write_text(text, encoding="utf-8", newline="\n")


def render(context: dict[str, Any]) -> str:
    """index.html from the templates; style and script are in it."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["joined"] = words.joined
    environment.filters["parts"] = markdown.parts
    return environment.get_template("index.html").render(context)


def show(excerpt: Excerpt, number: int, folder: Path) -> list[Heard]:
    """Write sound and picture of every waveform of an excerpt; all on one scale and at one gain."""
    rate, played = excerpt.signal.sample_rate, excerpts.gain(excerpt)
    loudest = float(excerpts.decibels(excerpt.mixture, excerpt.signal).max())
    bounds, seconds = (loudest - RANGE, loudest), (excerpt.start, excerpt.start + excerpt.seconds)
    found = []
    (folder / "audio").mkdir(exist_ok=True)
    # encoders compute outside Python, beside the pictures
    with ThreadPoolExecutor(worker_count()) as encoders:
        written = []
        for source, what, waveform in excerpt.waveforms():
            heard = [source] if what == source else [source, what]
            name = "-".join([f"{number:02}", *heard])
            audio = f"audio/{name}.mp3"
            sound = waveform * np.float32(played)
            written.append(encoders.submit(excerpts.write_mp3, sound, rate, folder / audio))
            cells = excerpts.decibels(waveform, excerpt.signal)
            file, alt = f"figures/{name}.png", "Spectrogram: " + ", ".join(heard)
            picture = pictures.draw(
                cells, bounds, critics.SEQUENTIAL, folder, file, alt, seconds, (0, rate / 2)
            )
            found.append(Heard(source, what, picture, audio))
        for one in written:
            one.result()
    return found


def distributions(run: Run, numbers: dict[TrackName, int]) -> dict[str, dict[str, str]]:
    """SVG by source and test set; no entry where a test set has no scores."""
    found: dict[str, dict[str, str]] = {}
    models = list(run.params.models)
    for source in run.params.sources:
        found[source], limits = {}, tables.limits(run, source)
        for dataset in dict.fromkeys(map(str, run.scores["dataset"])):
            if own := tables.points(run, numbers, dataset, source):
                name = f"{source} {dataset}"
                found[source][dataset] = plots.distribution(own, models, limits, name)
    return found


def way_plots(run: Run) -> list[tuple[str, str]]:
    """(what it is, SVG) of every model's difference to the baseline, seen and unseen kinds."""
    table = run.table[run.table["metric"] == HEADLINE]
    table = table[table["model"].isin(list(run.params.models)) & table["difference"].notna()]
    ends = table[["difference", "difference_low", "difference_high"]].to_numpy(float)
    if table["model"].nunique() < 2 or np.isnan(ends).all():
        return []
    limits = min(float(np.nanmin(ends)), 0.0), max(float(np.nanmax(ends)), 0.0)
    margin = 0.05 * (limits[1] - limits[0]) or 0.5
    unseen = aggregation.unseen_datasets(run.split)
    kinds = [name for name in dict.fromkeys(table["test_set"]) if name not in (ALL, *unseen)]
    drawn = []
    for source in run.params.sources:
        for kind in kinds or [ALL]:
            rows = table[(table["source"] == source) & (table["test_set"] == kind)]
            span = (limits[0] - margin, limits[1] + margin)
            svg = plots.differences(rows, list(run.params.models), span, f"way {source} {kind}")
            what = "unseen kinds" if kind == UNSEEN else f"{kind}, seen in pairs"
            drawn.append((f"{source}: {what if kinds else 'all'}", svg))
    return drawn


def alpha_plots(run: Run) -> list[tuple[str, str]]:
    """(what it is, SVG) of the difference to the baseline by alpha: models that differ in it alone."""
    kinds: dict[str, dict[str, Model]] = {}
    for name, model in run.params.models.items():
        if model.critics:
            rest = model.model_dump_json(exclude={"alpha", "fraction"})
            kinds.setdefault(rest, {})[name] = model
    drawn = []
    for models in kinds.values():
        fixed = {name: own.alpha for name, own in models.items() if own.alpha not in ("auto", 0)}
        if len(set(fixed.values())) < 2:
            continue
        words = {name: f"auto, {own.fraction:g}" for name, own in models.items() if own.fraction}
        table = run.table[(run.table["metric"] == HEADLINE) & run.table["model"].isin(list(models))]
        way = next(iter(models.values())).way
        for (test_set, source), rows in table.groupby(["test_set", "source"], sort=False):
            svg = plots.alphas(rows, fixed, words, f"alpha {way} {test_set} {source}")
            drawn.append((f"{way}, {test_set}, {source}", svg))
    return drawn


def gain_plots(run: Run) -> dict[str, list[tuple[str, str]]]:
    """[(what it is, SVG)] of gains against minutes of recordings, by which minutes were varied."""
    ways = list(dict.fromkeys(run.gains["way"]))
    drawn: dict[str, list[tuple[str, str]]] = {}
    for over, other in ((minutes.PAIRED, minutes.UNPAIRED), (minutes.UNPAIRED, minutes.PAIRED)):
        # of the other kind as many as in the longest sweep; of equally long ones the most
        lengths = run.gains.groupby(other)[over].nunique()
        if lengths.max() < 2 or lengths.empty:
            continue
        fixed = lengths[lengths == lengths.max()].index.max()
        rows = run.gains[run.gains[other] == fixed]
        label = MINUTES[over]
        for (test_set, source), own in rows.groupby(["test_set", "source"], sort=False):
            svg = plots.gains(own, over, ways, label, f"{over} {test_set} {source}")
            drawn.setdefault(label, []).append(
                (f"Gain, {test_set}, {source}; {fixed:g} {MINUTES[other]}", svg)
            )
    return drawn


def curve_plots(run: Run) -> list[tuple[str, str]]:
    """(what it is, SVG) of every training curve that any model has."""
    best = {name: float(own.best.steps) for name, own in run.configs.items() if own.best}
    drawn = []
    for name, label in tables.curve_names(run):
        series = {model: own[name] for model, own in run.histories.items() if name in own}
        kept = best if name.startswith("validation/") else {}
        bottom = 0.0 if name.endswith("L_s") or "penalty" in name else None
        svg = plots.curve(series, kept, list(run.params.models), label, name, bottom)
        drawn.append((label, svg))
    return drawn


def parameters_yaml(run: Run) -> str:
    """The run's parameters as YAML."""
    yaml, buffer = YAML(), io.StringIO()
    yaml.default_flow_style = None
    yaml.width = 100
    yaml.dump(run.params.model_dump(exclude_none=True), buffer)
    return buffer.getvalue()
