"""Inline SVG for the page: scores per track, and training curves.

Text and axes take the page's colour, so that they read in light and dark mode. A model is told by
its colour (Okabe and Ito's, made to be told apart without full colour vision), and by a marker and
a line style that nobody else has.
"""

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vPX*"
Line = str | tuple[int, tuple[int, ...]]
LINES: tuple[Line, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
INK, FAINT = "#010203", "#040506"
"""Stand for the page's own colours."""
WHISKER = 1.5
WIDTH = 3.5
"""Inches; 72 of the page's units each."""
LEGEND = {"handlelength": 2.4, "handletextpad": 0.5, "columnspacing": 1.0}
ENTRY, LETTER = 0.46, 0.066
"""Inches that an entry of such a legend takes, and a letter of it."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.7,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Point:
    """A track's score in a distribution."""

    model: str
    value: float
    """dB."""
    title: str
    """Shown when the pointer rests on it."""
    link: str
    """Where an outlier leads to."""


def look(models: Sequence[str]) -> dict[str, tuple[str, str, Line]]:
    """Colour, marker and line style of each model."""
    looks = zip(cycle(COLOURS), cycle(MARKERS), cycle(LINES), strict=False)
    return dict(zip(models, islice(looks, len(models)), strict=True))


def outliers(values: Sequence[float]) -> list[bool]:
    """Which values lie more than 1.5 interquartile ranges outside the box; and both extremes."""
    found = np.asarray(values, dtype=float)
    low, high = np.percentile(found, [25, 75])
    reach = WHISKER * (high - low)
    far = (found < low - reach) | (found > high + reach)
    far[[int(found.argmin()), int(found.argmax())]] = True
    return [bool(one) for one in far]


def distribution(
    points: Sequence[Point], models: Sequence[str], limits: tuple[float, float], name: str
) -> str:
    """A row per model: a point per track, the box of the middle half, a line at the median."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure((WIDTH, 0.55 + 0.42 * len(models)), layout="constrained")
        axes = figure.add_subplot()
        kept: list[tuple[Point, bool]] = []
        for row, (model, (colour, marker, _)) in enumerate(look(models).items()):
            own = [point for point in points if point.model == model]
            if own:
                _draw_row(axes, row, own, colour, marker, kept)
        axes.set_yticks(range(len(models)), list(models))
        axes.set_ylim(len(models) - 0.45, -0.55)
        axes.set_xlim(*limits)
        axes.set_xlabel("SDR, dB")
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        return _with_titles(_svg(figure), kept)


def _draw_row(
    axes: Axes, row: int, own: Sequence[Point], colour: str, marker: str,
    kept: list[tuple[Point, bool]],
) -> None:  # fmt: skip
    values = [point.value for point in own]
    low, middle, high = np.percentile(values, [25, 50, 75])
    axes.fill_betweenx([row - 0.3, row + 0.3], low, high, color=colour, alpha=0.16, lw=0)
    axes.plot([middle, middle], [row - 0.3, row + 0.3], color=INK, lw=1.4, solid_capstyle="butt")
    # A fixed pattern, not chance: neighbours in value lie apart, and a rerun looks the same.
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    heights = row + 0.44 * ((order * 0.618034) % 1 - 0.5)
    far = outliers(values)
    for linked in (False, True):
        places = [k for k, one in enumerate(far) if one == linked]
        if not places:
            continue
        urls = [f"point:{len(kept) + n}" for n in range(len(places))]
        kept += [(own[k], linked) for k in places]
        shown = axes.scatter(
            [values[k] for k in places], heights[places], s=[34.0 if linked else 13.0] * len(places),
            marker=marker, color=colour, edgecolors=INK if linked else "none",
            linewidths=0.9 if linked else 0, alpha=1.0 if linked else 0.7, zorder=3, clip_on=False,
        )  # fmt: skip
        shown.set_urls(urls)


def curve(
    series: Mapping[str, pd.DataFrame],
    best: Mapping[str, float],
    models: Sequence[str],
    label: str,
    name: str,
    bottom: float | None = None,
) -> str:
    """One quantity against separator steps, a line per model that has it; a ring at its best step.

    series: columns step, value; best: the step that was kept; bottom: the axis starts there.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        columns = max(min(int(WIDTH / (ENTRY + LETTER * max(map(len, series), default=0))), 4), 1)
        lines = math.ceil(len(series) / columns)
        figure = Figure((WIDTH, 2.08 + 0.17 * lines), layout="constrained")
        axes = figure.add_subplot()
        for model, (colour, marker, line) in look(models).items():
            if model not in series:
                continue
            points = series[model]
            axes.plot(
                points["step"], points["value"], color=colour, ls=line, lw=1.6, label=model,
                marker=marker, ms=4, markevery=max(len(points) // 12, 1),
            )  # fmt: skip
            kept = points[points["step"] == best.get(model)]
            axes.plot(kept["step"], kept["value"], ls="", marker="o", ms=10, mfc="none", mec=INK)
        axes.set_xlabel("separator steps")
        axes.set_ylabel(label)
        if bottom is not None:
            axes.set_ylim(bottom=bottom)
        axes.grid()
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        figure.legend(loc="outside upper center", ncols=columns, **LEGEND)
        return _svg(figure)


def gains(points: pd.DataFrame, over: str, ways: Sequence[str], label: str, name: str) -> str:
    """Gains over the supervised model against minutes of recordings, a line per way with intervals.

    points: rows of `minutes.COLUMNS`, of one test set and source; over: the column on the axis.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure((WIDTH, 2.25), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0, color=INK, lw=0.7)
        shift = 1.0
        for way, (colour, marker, line) in look(ways).items():
            own = points[points["way"] == way].sort_values(over)
            if own.empty:
                continue
            reach = [own["gain"] - own["low"], own["high"] - own["gain"]]
            axes.errorbar(
                own[over] * shift, own["gain"], yerr=reach, color=colour, ls=line, lw=1.6,
                marker=marker, ms=5, capsize=3, elinewidth=1.0, label=way,
            )  # fmt: skip
            shift *= 1.04  # intervals side by side, not on top of each other
        axes.set_xscale("log")
        ticks = sorted(set(points[over]))
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel(label)
        axes.set_ylabel("gain in SDR, dB")
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        figure.legend(loc="outside upper center", ncols=1, handlelength=3)
        return _svg(figure)


ENDS = ("difference", "difference_low", "difference_high")


def differences(
    rows: pd.DataFrame, models: Sequence[str], limits: tuple[float, float], name: str
) -> str:
    """A row per model: its difference to the baseline, with the interval where there is one.

    rows: of results/table.csv, of one test set, source and metric; limits: of the axis, dB.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        shown = rows[rows["difference"].notna()].set_index("model")
        figure = Figure((WIDTH, 0.55 + 0.3 * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0, color=INK, lw=0.7)
        kept = [(one, own) for one, own in look(models).items() if one in shown.index]
        for row, (model, (colour, marker, _)) in enumerate(kept):
            own = shown.loc[[model]].iloc[0]
            middle, low, high = (float(own[end]) for end in ENDS)
            axes.plot([low, high], [row, row], color=colour, lw=1.6, solid_capstyle="butt")
            axes.plot([middle], [row], color=colour, marker=marker, ms=6)
        axes.set_yticks(range(len(kept)), [model for model, _ in kept])
        axes.set_ylim(len(kept) - 0.4, -0.6)
        axes.set_xlim(*limits)
        axes.set_xlabel("SDR less the baseline's, dB")
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        return _svg(figure)


def alphas(
    rows: pd.DataFrame, fixed: Mapping[str, Any], words: Mapping[str, str], name: str
) -> str:
    """Differences to the baseline against alpha; where alpha is found in training, lines across.

    rows: of results/table.csv, of one test set, source and metric; fixed: alpha of some models; words:
    what is written at the lines of others.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        shown = rows.set_index("model")
        figure = Figure((WIDTH, 2.25), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0, color=INK, lw=0.7)
        own = shown.loc[sorted((one for one in fixed if one in shown.index), key=fixed.__getitem__)]
        middle, low, high = (own[end].to_numpy(float) for end in ENDS)
        reach = np.nan_to_num(np.stack([middle - low, high - middle]))
        looks = list(look(["fixed", *words]).values())
        colour, marker, line = looks[0]
        axes.errorbar(
            [float(fixed[one]) for one in own.index], middle, yerr=reach, color=colour, ls=line,
            lw=1.6, marker=marker, ms=5, capsize=3, elinewidth=1.0, label="fixed",
        )  # fmt: skip
        for (model, said), (colour, _, line) in zip(words.items(), looks[1:], strict=True):
            found = shown.loc[[model]].iloc[0]
            axes.axhline(float(found["difference"]), color=colour, ls=line, lw=1.6, label=said)
            ends = [float(found[end]) for end in ENDS[1:]]
            if not np.isnan(ends).any():
                axes.axhspan(*ends, color=colour, alpha=0.12, lw=0)
        axes.set_xscale("log")
        axes.set_xlabel("alpha")
        axes.set_ylabel("difference in SDR, dB")
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        figure.legend(loc="outside upper center", ncols=3, handlelength=3)
        return _svg(figure)


def swatch(models: Sequence[str], model: str) -> str:
    """A model's marker on its line, small enough for a line of text."""
    colour, marker, line = look(models)[model]
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"swatch {model}"}):
        figure = Figure((0.42, 0.17))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.plot([0, 1, 2], [0, 0, 0], color=colour, ls=line, lw=1.6)
        axes.plot([1], [0], color=colour, marker=marker, ms=6)
        axes.set_xlim(0, 2)
        axes.axis("off")
        return _svg(figure)


def _svg(figure: Figure) -> str:
    """The figure as an element to stand in a page: no header, no date, the page's colours."""
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>\s*|<style[^>]*>.*?</style>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # every figure has the same ones
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r'\s*xmlns(:xlink)?="[^"]*"', "", text)
    text = text.replace("xlink:href=", "href=").replace("<svg", '<svg aria-hidden="true"', 1)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    # places, not the numbers that are written at an axis
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"\d+\.\d{4,}", _short, tag[0]), text)
    return re.sub(r"\n\s*", "\n", text.replace(INK, "currentColor").replace(FAINT, "var(--grid)"))


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}"


def _with_titles(svg: str, kept: Sequence[tuple[Point, bool]]) -> str:
    """Points that say what they are; the outliers are links."""

    def replaced(match: re.Match[str]) -> str:
        point, linked = kept[int(match[1])]
        title = f"<title>{html.escape(point.title)}</title>"
        if not linked:
            return f"<g>{title}{match[2]}</g>"
        where, said = html.escape(point.link), html.escape(point.title)
        return f'<a href="{where}" aria-label="{said}" class="outlier">{title}{match[2]}</a>'

    svg = svg.replace('<svg aria-hidden="true"', '<svg role="group"', 1)
    return re.sub(r'<a href="point:(\d+)"[^>]*>\s*(.*?)\s*</a>', replaced, svg, flags=re.S)
