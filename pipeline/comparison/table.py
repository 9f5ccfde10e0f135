"""The table for people: Markdown that reads well on GitHub and in a terminal."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from pipeline.comparison import turns
from pipeline.comparison.aggregation import ALL
from pipeline.comparison.long_table import distinct
from pipeline.comparison.markdown import as_code, escaped, grid, interval, number, references
from pipeline.datasets.inventory import Inventory
from pipeline.evaluation.metrics import HEADLINE, IMPROVEMENTS, TABLED
from pipeline.evaluation.scoring import CEILING, SILENT_ESTIMATE, UNSCORED
from pipeline.params import DATASETS, FOLDER
from pipeline.tracks import Role


def as_markdown(
    frame: pd.DataFrame,
    long: pd.DataFrame,
    sources: Sequence[str],
    *,
    baseline: str | None,
    confidence: float,
    filter_length: int,
    sample_rate: int,
    budget: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> str:
    """results/table.md from what `combine` and `long_table` of `aggregation` gave.

    Per source a table: blocks of test sets, a row per model between the two reference rows, a column
    per metric, in bold the models that cannot be told from the best. Then the differences to the
    baseline (none when it is None or alone), what each row has seen (`budget`), and what the means leave
    out. `notes` are further lines for the end.
    """
    improvements = "".join(
        f" {name} is the {of} less that of the mixture." for name, of in IMPROVEMENTS.items()
    )
    seeds = int(long["seeds"].max())
    lines = [
        "# Comparison of the models",
        "",
        f"{_what_a_cell_is(seeds, confidence)} BSS Eval v3, sources, {filter_length} taps, over whole"
        f" tracks, mono, {sample_rate} Hz; a ratio above {CEILING:g} dB counts as {CEILING:g}."
        f"{improvements} {references()}. {', '.join(turns.PANEL[:-1])} and {turns.PANEL[-1]} are in"
        " table.csv (docs/metrics.md).",
        "",
    ]
    for source in sources:
        lines += [f"## {escaped(source)}", "", *_scores(long[long["source"] == source]), ""]
    compared = long[(long["metric"] == HEADLINE) & long["difference"].notna()]
    if baseline is not None and len(compared):
        lines += [
            f"## Difference in {HEADLINE} to {escaped(baseline)}",
            "",
            *_difference_rows(compared, confidence),
            "",
            *_about_differences(compared, confidence),
            "",
        ]
    if budget:
        lines += ["## What each model has seen", "", *budget, ""]
    lines += ["## Notes", ""]
    told = (*turns.as_line(long), *_left_out(frame), _silent_estimates(frame), *notes)
    lines += [f"- {line}" for line in told]
    return "\n".join(lines) + "\n"


def _what_a_cell_is(seeds: int, confidence: float) -> str:
    if seeds == 1:
        return (
            f"Means over tracks in dB; ± is the {confidence:.0%} interval over other artists. **Each"
            " model was trained once, with one seed: the intervals do not cover retraining**, which"
            " can move a mean by more. So nothing is bold, and no difference is tested."
        )
    return (
        f"Means over {seeds} seeds and the tracks in dB; ± is the {confidence:.0%} interval over"
        " other seeds and other artists (docs/statistics.md). Bold: every model that cannot be told"
        " from the best one (Holm's correction over the models of a block)."
    )


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


def about_training(
    validation: str, split: pd.DataFrame, processors: Mapping[str, Mapping[str, Sequence[int]]]
) -> list[str]:
    """Lines for the notes: what chose the epochs, and models whose seeds are not from one machine.

    validation: `training.validation`; processors: by model as `histories.processors` has them.
    """
    supervised = split.loc[split["role"] == Role.SUPERVISED, "dataset"].unique()
    tracks = split[split["role"] == Role.VALIDATION]
    chosen = tracks if validation == "all" else tracks[tracks["dataset"].isin(supervised)]
    whose = ", ".join(map(escaped, chosen["dataset"].unique()))
    others = (
        "paired recordings of all corpora, as in the paper"
        if validation == "all"
        else "no paired recording of another corpus had a part in it"
    )
    lines = [
        "The epoch of each run was chosen by L_s on the validation tracks of"
        f" {whose} ({len(chosen)} tracks, each counting the same): {others}."
    ]
    for model, found in processors.items():
        if len(found) > 1:
            listed = "; ".join(
                f"{escaped(name)}: {', '.join(map(str, seeds))}" for name, seeds in found.items()
            )
            lines.append(
                f"The seeds of {escaped(model)} were trained on several machines: {listed}."
            )
    return lines


def _scores(long: pd.DataFrame) -> list[str]:
    """Of one source: a row per test set and model."""
    rows = []
    for test_set, block in long.groupby("test_set", sort=False):
        head = [escaped(str(test_set)), _count(block)]
        for model, cells in block.groupby("model", sort=False):
            shown = [_cell(cells[cells["metric"] == metric].iloc[0]) for metric in TABLED]
            rows.append([head[0], escaped(str(model)), head[1], *shown])
            head = ["", ""]
    return grid(["test set", "model", "tracks (artists)", *TABLED], rows, text_columns=2)


def _count(block: pd.DataFrame) -> str:
    tracks, artists = int(block["tracks"].max()), int(block["artists"].max())
    return f"{tracks} ({artists})"


def _cell(row: "pd.Series[float]") -> str:
    mean, half = number(row["mean"]), row["high"] - row["mean"]
    shown = f"**{mean}**" if row["best"] == 1 else mean
    return shown if pd.isna(half) else f"{shown} ± {half:.2f}"


def _difference_rows(compared: pd.DataFrame, confidence: float) -> list[str]:
    rows = [
        [
            *(escaped(str(row[name])) for name in ("test_set", "source", "model")),
            number(row["difference"], "+"),
            interval(row["difference_low"], row["difference_high"]),
            *("–" if pd.isna(row[name]) else f"{row[name]:.2g}" for name in ("p_value", "p_holm")),
        ]
        for row in compared.to_dict("records")
    ]
    header = ["test set", "source", "model", "mean", f"{confidence:.0%} interval", "p", "Holm's p"]
    return grid(header, rows, text_columns=3)


def _about_differences(compared: pd.DataFrame, confidence: float) -> list[str]:
    """What the columns are, and what difference can be seen at all."""
    if not (tested := len(distinct(compared))):
        return ["Mean difference in dB over tracks; too few seeds or artists for an interval."]
    seen = compared[compared["test_set"] == ALL].groupby("source", sort=False)["detectable"].max()
    told = " and ".join(
        [f"{amount:.2f} dB on {escaped(str(name))}" for name, amount in seen.items()]
    )
    return [
        "Mean difference in dB (the same tracks, seeds unpaired), its interval over other seeds and"
        f" other artists, the p-value of a t test, and the same after Holm's correction over the"
        f" {tested} differences of this table.",
        "",
        f"**What can be seen**: with these seeds and tracks, a true difference over all tracks of"
        f" {told} would have a corrected p below {1 - confidence:.2g} in 80 % of repetitions.",
    ]


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
    return (
        "Silent estimates, scored as noise and part of the means (tracks, all seeds together):"
        f" {listed}."
    )
