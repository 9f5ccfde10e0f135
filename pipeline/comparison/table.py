"""The table for people: Markdown that reads well on GitHub and in a terminal."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from pipeline.comparison.aggregation import Means, winners
from pipeline.comparison.intervals import FEWEST_PAIRS
from pipeline.comparison.markdown import as_code, escaped, grid, interval, number, references
from pipeline.datasets.inventory import Inventory
from pipeline.evaluation.metrics import HEADLINE, IMPROVEMENTS, REPORTED
from pipeline.evaluation.scoring import CEILING, SILENT_ESTIMATE, UNSCORED
from pipeline.params import DATASETS, FOLDER


def as_markdown(
    frame: pd.DataFrame,
    means: Means,
    long: pd.DataFrame,
    sources: Sequence[str],
    *,
    baseline: str | None,
    confidence: float,
    filter_length: int,
    sample_rate: int,
    notes: Sequence[str] = (),
) -> str:
    """results/table.md from what `combine`, `means` and `long_table` of `aggregation` gave.

    Per source a table in the layout of the paper's Figure 2: blocks of test sets, a row per metric,
    the models side by side between the two reference rows, the best of them in bold. Then the
    differences to the baseline (none when it is None or alone), and what the means leave out.
    `notes` are further lines for the end.
    """
    improvements = "".join(
        f" {name} is the {of} less that of the mixture." for name, of in IMPROVEMENTS.items()
    )
    lines = [
        "# Comparison of the models",
        "",
        f"Means over tracks in dB. BSS Eval v3, sources, {filter_length} taps, over whole tracks,"
        f" mono, {sample_rate} Hz; a ratio above {CEILING:g} dB counts as {CEILING:g}."
        f"{improvements} Bold: the best model; {references()}.",
        "",
    ]
    for source in sources:
        lines += [f"## {escaped(source)}", "", *_scores(means, source), ""]
    compared = long[(long["metric"] == HEADLINE) & long["difference"].notna()]
    if baseline is not None and len(compared):
        lines += [
            f"## Difference in {HEADLINE} to {escaped(baseline)}",
            "",
            *_difference_rows(compared, confidence),
            "",
            f"Mean over tracks of the paired difference in dB, its {confidence:.0%} bootstrap"
            " interval, and the p-value of a two-sided Wilcoxon signed-rank test (none when fewer"
            f" than {FEWEST_PAIRS} tracks differ; not corrected for the number of tests).",
            "",
        ]
    lines += ["## Notes", ""]
    lines += [f"- {line}" for line in (*_left_out(frame), _silent_estimates(frame), *notes)]
    return "\n".join(lines) + "\n"


def about_data(inventories: Sequence[Inventory]) -> list[str]:
    """Lines for the notes: what the numbers were made from, and what was left out."""
    names = [found.dataset for found in inventories]
    lines = [
        f"LEFT OUT: {escaped(found.dataset)}: {escaped(found.absent)}."
        for found in inventories
        if found.absent
    ]
    unnamed = [name for name in DATASETS if name not in names]
    if unnamed:
        lines.append(f"Not part of this experiment (params.yaml): {', '.join(unnamed)}.")
    embedded = [escaped(found.dataset) for found in inventories if found.origin == "synthetic"]
    if embedded:
        lines.append(
            f"Embedded synthetic recordings in the layout of {', '.join(embedded)}: their numbers"
            " show that the pipeline works, not how well it separates real music."
        )
    for found in inventories:
        name, count = escaped(found.dataset), len(found.recordings)
        if found.origin == FOLDER:
            held = ", ".join(map(escaped, found.kinds))
            lines.append(f"{name}: {count} unpaired recordings ({held}), unlabelled.")
        elif found.collection and not found.absent:
            source = escaped(found.collection)
            lines.append(f"{name}: {count} of its songs, read from {source}.")
        lacking = {
            "published tracks missing": len(found.missing),
            "tracks that cannot be used": len(found.rejected),
        }
        if told := ", ".join(f"{number} {what}" for what, number in lacking.items() if number):
            file = as_code(f"data/inventory/{found.dataset}.json")
            lines.append(f"{name}: incomplete: {told} ({file}).")
    return lines


def _scores(means: Means, source: str) -> list[str]:
    models = list(next(iter(means.values())))
    rows = []
    for name, cells in means.items():
        tracks = str(max(cells[model]["tracks"] for model in models))
        for metric in REPORTED:
            values = {model: cells[model].get(f"{metric}_{source}") for model in models}
            head = (escaped(name), tracks) if metric == REPORTED[0] else ("", "")
            best = winners(metric, values)
            shown = (f"**{number(v)}**" if m in best else number(v) for m, v in values.items())
            rows.append([head[0], metric, head[1], *shown])
    header = ["test set", "metric", "tracks", *map(escaped, models)]
    return grid(header, rows, text_columns=2)


def _difference_rows(compared: pd.DataFrame, confidence: float) -> list[str]:
    rows = [
        [
            *(escaped(str(row[name])) for name in ("test_set", "source", "model", "tracks")),
            number(row["difference"], "+"),
            interval(row["difference_low"], row["difference_high"]),
            "–" if pd.isna(row["p_value"]) else f"{row['p_value']:.2g}",
        ]
        for row in compared.to_dict("records")
    ]
    header = ["test set", "source", "model", "tracks", "mean", f"{confidence:.0%} interval", "p"]
    return grid(header, rows, text_columns=3)


def _left_out(frame: pd.DataFrame) -> list[str]:
    """A line per reason, sources and dataset, with every track that has no scores of these."""
    lines, every = [], ", ".join(map(escaped, frame["source"].unique()))
    rows = frame[["dataset", "track", "source", "note"]].drop_duplicates()
    for note in UNSCORED:
        tracks = rows[rows["note"] == note].groupby(["dataset", "track"], sort=False)["source"]
        left = tracks.agg(lambda column: ", ".join(map(escaped, column))).reset_index()
        for (dataset, sources), part in left.groupby(["dataset", "source"], sort=False):
            means = "all means" if sources == every else f"the means of {sources}"
            names, count = ", ".join(map(as_code, part["track"])), len(part)
            lines.append(
                f"Left out of {means} ({note}): {count} of {escaped(str(dataset))}: {names}."
            )
    return lines or ["No track was left out of the means."]


def _silent_estimates(frame: pd.DataFrame) -> str:
    silent = frame[frame["note"] == SILENT_ESTIMATE]
    if silent.empty:
        return "No estimate was silent."
    counts = Counter(zip(silent["model"], silent["source"], strict=True))
    listed = ", ".join(
        f"{escaped(model)} {escaped(source)}: {count}" for (model, source), count in counts.items()
    )
    return f"Silent estimates, scored as noise and part of the means (tracks): {listed}."
