"""A change of results as Markdown: what a reviewer of a pull request has to know."""

import re
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path

from pipeline.comparison import differences, revisions
from pipeline.comparison.aggregation import ALL
from pipeline.comparison.differences import CONFIDENCE, MAIN_SHARE, Difference, Results, ordered
from pipeline.comparison.markdown import as_code, escaped, grid, interval, number
from pipeline.comparison.revisions import Change
from pipeline.errors import UserError, listing
from pipeline.evaluation.metrics import HEADLINE, MEASURED, TABLED, named
from pipeline.evaluation.track_scores import NO_SEED
from pipeline.params import REFERENCE_ROWS

LIMIT = 65_000
"""Bytes; a comment on GitHub has at most 65,536 characters."""

ROWS = 300
"""Rows of all tables of scores together, before the full list."""

SHOWN = [name for name in TABLED if name in MEASURED]
"""The columns of a table of scores."""

WORKING_TREE = "the working tree"


def review(base: str, head: str | None) -> str:
    """What changed from `base` to `head` (None: the working tree), as Markdown of LIMIT bytes at most.

    Of the experiment at the top, then of each one under experiments/ that the change touches.
    Differences are held against what other seeds and artists would give, from results/tracks of both.
    Files of the user stay as they are. Raises UserError for an unknown revision, one without results,
    and outside a repository of git and DVC.
    """
    repository = revisions.top()
    old_commit = revisions.commit(repository, base)
    new_commit = revisions.commit(repository, head) if head else None
    with (
        revisions.files_of(repository, old_commit) as old_folder,
        revisions.files_of(repository, new_commit) as new_folder,
    ):
        parameters = revisions.parameter_changes(repository, old_commit, new_commit)
        title = f"{_short(base)} → {_short(head) if head else WORKING_TREE}"
        names = base, head or WORKING_TREE
        text = _of_experiment(
            old_folder, new_folder, names, parameters.get("params.yaml", {}), title
        )
        for name in revisions.touched_experiments(old_folder, new_folder):
            place = f"experiments/{name}"
            changed = parameters.get(f"{place}/params.yaml", {})
            section = _beside(old_folder / place, new_folder / place, names, changed, title, name)
            text = _joined(text, f"\n## {_code(place)}\n\n{section}")
    return text


def _of_experiment(
    old: Path,
    new: Path,
    names: tuple[str, str],
    parameters: Mapping[str, Change],
    title: str,
    again: str = "make repro",
) -> str:
    """The review of one experiment, whose folder in both revisions has results; `again` makes them."""
    before, after = (
        differences.load(folder, name, again)
        for folder, name in zip((old, new), names, strict=True)
    )
    return as_markdown(before, after, parameters, revisions.behind(new), title, again)


def _beside(
    old: Path,
    new: Path,
    names: tuple[str, str],
    parameters: Mapping[str, Change],
    title: str,
    experiment: str,
) -> str:
    """The same of one under experiments/, which a revision may lack, or have without results."""
    there = [(folder / differences.METRICS_FILE).exists() for folder in (old, new)]
    if all(there):
        try:
            again = f"make experiment NAME={experiment}"
            return _of_experiment(old, new, names, parameters, title, again)
        except UserError as error:  # says so, and the others have their review
            return f"Cannot be compared: {escaped(str(error))}\n"
    if there == [False, True]:
        return "**New results**, with nothing to compare them with: see its `results/table.md`.\n"
    if there == [True, False]:
        return "**Its results are gone.**\n"
    return "Changed, and not run: there are no results.\n"


def _joined(text: str, section: str) -> str:
    """Both, or a word in place of the section where a comment has no room for it."""
    if len((text + section).encode()) <= LIMIT:
        return text + section
    cut = "\n".join([*section.split("\n")[:3], "Cut: too long for a comment.", ""])
    return text + cut if len((text + cut).encode()) <= LIMIT else text


def as_markdown(
    old: Results,
    new: Results,
    parameters: Mapping[str, Change],
    behind: Sequence[str],
    title: str,
    again: str = "make repro",
) -> str:
    """The text of `review` from what it collected.

    behind: why dvc.lock is not current; again: the command that makes it so.
    """
    found = differences.between(old, new)
    moved = [score for score in found if score.moved]
    sections = [[verdict(found, parameters, old, new), ""]]
    if behind:
        sections += [[*_warning(behind, again), ""]]
    if parameters:
        sections += [["### Parameters", "", *_parameters(parameters), ""]]
    if moved:
        sections += [[f"### Scores: {title}", "", *_scores(found)], [*_notes(found, old, new), ""]]
    lines = _fitting(sections)
    if moved:
        lines = _with_full_list(lines, moved)
    return "\n".join(lines).rstrip() + "\n"


def _fitting(sections: Sequence[Sequence[str]]) -> list[str]:
    """The lines of the sections that a comment has room for, and a word in place of the others."""
    lines: list[str] = []
    for section in sections:
        fits = len("\n".join([*lines, *section]).encode()) < LIMIT - 1000
        lines += section if fits else ["Cut: too long for a comment.", ""]
    return lines


# ------------------------------------------------------------------------------------- the verdict


def verdict(
    found: Sequence[Difference], parameters: Mapping[str, Change], old: Results, new: Results
) -> str:
    """The first line: what got better and worse by more than a rerun does, what is new and gone."""
    moved = [score for score in found if score.moved]
    news = _new_and_gone(found, old, new)
    if not moved and not news:
        if not parameters:
            return "**Nothing changed**: parameters and results are the same."
        return f"**No score changed**; {_count(len(parameters), 'parameter')} did."
    uncovered = _uncovered(moved, old, new)
    said = [*uncovered, *_better_and_worse(moved), *_within(moved, not uncovered), *news]
    if moved and not any(score.rescored for score in moved):
        said.append("On the tracks that both have, no score is another one.")
    if rows := [row for row in REFERENCE_ROWS if any(s.model == row and s.rescored for s in moved)]:
        said.append(
            f"The scores of {' and '.join(map(_code, rows))}, which no model is part of, changed:"
            " the recordings, the split or the scoring are not the same."
        )
    return " ".join(said)


def _is_compared(score: Difference) -> bool:
    """Whether it is a trained model's score that is another one on tracks that both have."""
    return score.model not in REFERENCE_ROWS and score.rescored


def _within(moved: Sequence[Difference], covered: bool) -> list[str]:
    """What changed when nothing is called better or worse, and what would have been seen.

    covered: whether each side has the seeds that it takes.
    """
    trained = [score for score in moved if _is_compared(score)]
    if not trained or any(score.beyond for score in trained):
        return []
    most = max(abs(score.by or 0) for score in trained)
    changed = f"{_count(len(trained), 'score')} changed, by at most {most:.2f} dB"
    if not any(score.tested for score in trained):
        few = " Too few artists to call anything better or worse." if covered else ""
        return [f"{changed[0].upper()}{changed[1:]}.{few}"]
    seen = max((score.visible for score in trained if score.main and score.tested), default=0)
    power = (
        f" A change of {seen:.2f} dB would have been found in four of five cases." if seen else ""
    )
    return [f"**No change beyond a rerun's** ({changed}).{power}"]


def _uncovered(moved: Sequence[Difference], old: Results, new: Results) -> list[str]:
    """Of which models nothing can be said, because one run of them is all there is on a side."""
    models = list(dict.fromkeys(s.model for s in moved if _is_compared(s)))
    few: set[str] = set()
    sides: list[str] = []
    for word, side in (("old", old), ("new", new)):
        if alone := [model for model in models if len(side.seeds(model)) == 1]:
            few |= set(alone)
            before = any(NO_SEED in side.seeds(model) for model in alone)
            sides.append(
                f"the {word} scores are {'from before seeds' if before else 'of one seed'}"
            )
    if not few:
        return []
    every = len(few) == len(models)
    names = "" if every else f" of {listing(map(_code, sorted(few)), limit=6)}"
    whom = "nothing" if every else "none of them"
    return [
        f"**Retraining is not covered**{names}: {' and '.join(sides)}. Another seed changes scores"
        f" too, so {whom} is called better or worse."
    ]


def _better_and_worse(moved: Sequence[Difference]) -> list[str]:
    """HEADLINE over all tracks; then what single test sets say against it or in its place."""
    beyond = [score for score in moved if score.beyond]
    main = [s for s in beyond if s.metric == HEADLINE]
    overall = {(s.model, s.source): s for s in main if s.test_set == ALL}

    def is_news(score: Difference) -> bool:
        whole = overall.get((score.model, score.source))
        return whole is None or whole.better != score.better

    told = [s for s in main if s.test_set == ALL or is_news(s)]
    if told:
        scope = f"({HEADLINE}; the mean over all tracks where no test set is named.)"
        return [*_sentences(told), scope]
    return _sentences([s for s in beyond if s.test_set == ALL] or beyond)


def _sentences(scores: Sequence[Difference]) -> list[str]:
    return [
        f"**{word}**: {listing(chosen, limit=6)}."
        for word, better in (("Better", True), ("Worse", False))
        if (chosen := [_in_words(score) for score in scores if score.better == better])
    ]


def _in_words(score: Difference) -> str:
    where = "" if score.test_set == ALL else f" in {_name(score.test_set)}"
    metric = "" if score.metric == HEADLINE else f" in {score.metric}"
    amount = f"by {abs(score.by or 0):.2f} {named(score.metric).unit}"
    return f"{_code(score.model)} on {_name(score.source)}{where}{metric} {amount}"


def _new_and_gone(found: Sequence[Difference], old: Results, new: Results) -> list[str]:
    said, unit = [], named(HEADLINE).unit
    for word, here, there, value in (
        ("New", new, old, attrgetter("new")),
        ("Gone", old, new, attrgetter("old")),
    ):
        names = [
            f"test set {_name(name)} ({_count(len(here.tracks(name)), 'track')})"
            for name in here.means
            if name not in there.means
        ]
        for model in here.means.get(ALL, {}):
            if model not in there.means.get(ALL, {}):
                scores = [
                    f"{_name(score.source)} {value(score):.2f}"
                    for score in found
                    if (score.test_set, score.model, score.metric) == (ALL, model, HEADLINE)
                ]
                names.append(f"model {_code(model)} ({HEADLINE} in {unit}: {', '.join(scores)})")
        seeds = [set(side.scores["seed"]) - {NO_SEED} for side in (here, there)]
        if all(seeds) and (more := seeds[0] - seeds[1]):
            names.append(f"seed{'s' * (len(more) > 1)} {listing(map(str, sorted(more)))}")
        if names:
            said.append(f"**{word}**: {listing(names, limit=6)}.")
    return said


# ---------------------------------------------------------------------------------- what it is from


def _warning(behind: Sequence[str], again: str, limit: int = 10) -> list[str]:
    lines = [
        "> [!WARNING]",
        "> **These results do not belong to this code and these parameters**: `dvc.lock` is not"
        f" current. Run `{again}` and commit what it changes. What changed since:",
        ">",
    ]
    lines += [f"> - {_code(reason, 300)}" for reason in behind[:limit]]
    more = len(behind) - limit
    return lines + ([f"> - and {_count(more, 'stage')} more"] if more > 0 else [])


def _parameters(parameters: Mapping[str, Change], limit: int = 100) -> list[str]:
    rows = [
        [_code(name), _value(change.old), _value(change.new)]
        for name, change in sorted(parameters.items())
    ]
    more = len(rows) - limit
    lines = grid(["parameter", "old", "new"], rows[:limit], text_columns=3)
    return lines + (["", f"and {more} more: `dvc params diff`"] if more > 0 else [])


def _value(value: object, limit: int = 80) -> str:
    return "–" if value is None else _name(str(value), limit)


# -------------------------------------------------------------------------------------- the scores


def _scores(found: Sequence[Difference]) -> list[str]:
    """A table per source: the rows in which something changed, measured metrics side by side."""
    lines = []
    sources = list(dict.fromkeys(score.source for score in found))
    limit = ROWS // len(sources)
    for source in sources:
        by_row: dict[tuple[str, str], dict[str, Difference]] = {}
        for score in found:
            if score.source == source and score.metric in SHOWN:
                by_row.setdefault((score.test_set, score.model), {})[score.metric] = score
        rows = [
            [_name(test_set), _name(model), *(_cell(cells.get(metric)) for metric in SHOWN)]
            for (test_set, model), cells in by_row.items()
            if any(score.moved for score in cells.values())
        ]
        if rows:
            header = ["test set", "model", *SHOWN]
            lines += [f"**{_name(source)}** (dB)", "", *grid(header, rows[:limit], 2), ""]
        if len(rows) > limit:
            lines += [f"and {len(rows) - limit} more rows", ""]
    return lines


def _cell(score: Difference | None) -> str:
    """Old → new, difference: bold beyond a rerun's, small within it."""
    if score is None or (score.old is None and score.new is None):
        return "–"
    if not score.moved:
        return f"<sub>{score.new:.2f}</sub>"
    values = f"{number(score.old)} → {number(score.new)}"
    if score.old is None or score.new is None:
        return values
    if score.beyond:
        return f"{values} **{number(score.by, '+')}**"
    if score.model in REFERENCE_ROWS:
        return f"{values} {number(score.by, '+')}"
    return f"<sub>{values} {number(score.by, '+')}</sub>"


def _notes(found: Sequence[Difference], old: Results, new: Results) -> list[str]:
    before, after = old.tracks(ALL), new.tracks(ALL)
    both = before & after
    artists = {new.artist(name) for name in both}
    seeds = [len(set(side.scores["seed"]) - {NO_SEED}) or 1 for side in (old, new)]
    notes = ["Old → new, difference."]
    if tests := sum(score.tested for score in found):
        main = sum(score.tested and score.main for score in found)
        notes[0] += (
            " **Bold**: beyond what a rerun does; <sub>small</sub>: within it, or no change. A rerun has"
            f" other seeds ({seeds[0]} old, {seeds[1]} new, unpaired) and other artists ({len(artists)},"
            f" with {_count(len(both), 'track')}, paired). Corrected (Holm) over {_count(tests, 'test')},"
            f" {HEADLINE} over all tracks ({main}) with {MAIN_SHARE:.0%} of the level: of the reviews of"
            f" the same code at most {1 - CONFIDENCE:.0%} have anything bold."
        )
    moved = {score.model for score in found if score.moved}
    still = [_code(model) for model in ordered(new.means[ALL], {}) if model not in moved]
    if still:
        notes += ["", f"No score changed of {', '.join(still)}."]
    if before != after:
        notes += [
            "",
            f"**The tracks are not the same**: {len(before)} old, {len(after)} new,"
            f" {len(both)} in both. Where they differ, the difference is that of the tracks in both, old"
            " and new are the means over each revision's own tracks.",
        ]
    return notes


def _with_full_list(lines: Sequence[str], moved: Sequence[Difference]) -> list[str]:
    """All metrics and sources of the scores that changed, folded; cut to what LIMIT leaves."""
    rows = [
        [
            *(_name(name) for name in (s.test_set, s.model, s.source)),
            s.metric,
            " → ".join(number(value) for value in (s.old, s.new)),
            number(s.by, "+"),
            interval(s.low, s.high),
        ]
        for s in moved
    ]
    header = ["test set", "model", "source", "metric", "old → new", "difference"]
    table = grid([*header, f"{CONFIDENCE:.0%} interval"], rows, text_columns=4)
    start = ["<details>", f"<summary>All {len(rows)} scores that changed</summary>", ""]
    start += ["Each interval is that of its score alone, not corrected for their number.", ""]
    end = ["", "</details>"]
    note = "Cut: the rest is in `dvc metrics diff`."
    room = LIMIT - len("\n".join([*lines, *start, *end, "", note]).encode())
    width = max(len(line.encode()) for line in table) + 1
    fitting = max(0, room // width)
    if fitting < len(table):
        table = [*table[:fitting], "", note]
    return [*lines, *start, *table, *end]


def _short(revision: str) -> str:
    """A whole hash as git abbreviates it and GitHub links it; any other name as text."""
    return revision[:7] if re.fullmatch("[0-9a-f]{40}", revision) else _name(revision)


def _name(text: str, limit: int = 100) -> str:
    """A name or value as text; its beginning when it is long, for a comment has no room for it."""
    return escaped(_beginning(text, limit))


def _code(text: str, limit: int = 100) -> str:
    return as_code(_beginning(text, limit))


def _beginning(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
