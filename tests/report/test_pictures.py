"""Pictures and plots: pixels, ticks, links."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.report import pictures, plots
from pipeline.report.plots import Point


def test_a_pixel_is_a_cell_and_low_frequencies_lie_below(tmp_path: Path) -> None:
    values = np.zeros((4, 3))
    values[0, 2], values[3, 0], values[1, 1] = 10.0, -10.0, 99.0
    shown = pictures.draw(
        values,
        (-10.0, 10.0),
        "RdBu_r",
        tmp_path,
        "figures/x.png",
        "what it shows",
        (1, 4),
        (0, 4000),
    )
    image = Image.open(tmp_path / "figures/x.png")
    assert image.size == (3, 4)
    pixels = np.asarray(image.convert("RGB")).astype(int)
    red, blue, middle, beyond = pixels[3, 2], pixels[0, 0], pixels[3, 0], pixels[2, 1]
    assert red[0] > red[2] + 50  # most positive: red, at the bottom
    assert blue[2] > blue[0] + 50
    assert middle.min() > 225  # nothing is asked for: nearly white
    assert (beyond == red).all()
    assert (shown.file, shown.alt) == ("figures/x.png", "what it shows")
    assert [tick.text for tick in shown.frequencies] == ["0", "1", "2", "3", "4"]
    assert shown.frequencies[0].at == pictures.HEIGHT
    assert shown.frequencies[-1].at == 0


ENDS = [(0, 10), (42.3, 52.3), (0.0078, 2.0), (3.1, 5.1), (0, 0.4)]


@pytest.mark.parametrize(("low", "high"), ENDS)
def test_ticks_are_round_and_in_place(low: float, high: float) -> None:
    marks = pictures.ticks(low, high)
    assert 2 <= len(marks) <= 7
    for place, text in marks:
        assert 0 <= place <= 1
        assert low + place * (high - low) == pytest.approx(float(text), abs=1e-6)
        assert "-" not in text


def points(model: str, values: list[float]) -> list[Point]:
    return [Point(model, v, f"<{model}> & {k}", f"#track-{k}") for k, v in enumerate(values)]


def test_outliers_are_tukeys_and_both_ends() -> None:
    assert plots.outliers([1, 2, 3, 4, 5]) == [True, False, False, False, True]
    assert plots.outliers([1, 2, 3, 4, 5, 30, 40]) == [True, *[False] * 5, True]
    assert plots.outliers([0, 0.1, 0.2, 0.3, 0.4, 0.5, 8, 9]) == [True, *[False] * 5, True, True]
    assert plots.outliers([7]) == [True]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_outliers_are_links_and_every_point_says_what_it_is(count: int) -> None:
    own = points("V", [float(k) for k in range(count)]) + points("baseline", [3.0])
    svg = plots.distribution(own, ["baseline", "V"], (-1, 10), "x")
    tree = ElementTree.fromstring(svg)
    titles = [node.text for node in tree.iter() if node.tag == "title"]
    assert sorted(map(str, titles)) == sorted(point.title for point in own)
    links = {(node.get("href"), node.get("aria-label")) for node in tree.iter() if node.tag == "a"}
    ends = {0, count - 1}
    assert links == {(f"#track-{k}", f"<V> & {k}") for k in ends} | {("#track-0", "<baseline> & 0")}
    assert {"baseline", "V"} <= {node.text for node in tree.iter() if node.tag == "text"}


def test_a_plot_takes_the_pages_colours_and_is_the_same_again() -> None:
    own = points("V", [1.0, 2.0, 9.0])
    one, two = (plots.distribution(own, ["V"], (0, 10), "x") for _ in range(2))
    assert one == two
    assert plots.INK not in one
    assert plots.FAINT not in one
    assert "currentColor" in one
    assert "var(--grid)" in one
    other = plots.distribution(own, ["V"], (0, 10), "another")
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_curves_name_their_models_without_colour() -> None:
    series = {name: pd.DataFrame({"step": [1, 2, 3], "value": [3.0, k, 1.0]})
              for k, name in enumerate(("baseline", "VA"))}  # fmt: skip
    svg = plots.curve(series, {"VA": 2}, ["baseline", "V", "VA"], "L_s", "x", 0.0)
    tree = ElementTree.fromstring(svg)
    assert {"baseline", "VA", "L_s"} <= {node.text for node in tree.iter() if node.tag == "text"}
    assert "V" not in {node.text for node in tree.iter() if node.tag == "text"}
    assert "stroke-dasharray" in svg
    looks = plots.look(["a", "b", "c", "d", "e"])
    for part in range(3):
        assert len({look[part] for look in looks.values()}) == 5


def texts(svg: str) -> list[ElementTree.Element]:
    return [node for node in ElementTree.fromstring(svg).iter() if node.tag == "text"]


def test_the_numbers_at_an_axis_are_where_they_stand() -> None:
    """Steps of 0.0005: with places, which are shortened, the numbers must not be."""
    series = {"MixIT": pd.DataFrame({"step": [1, 2], "value": [0.1201, 0.1225]})}
    svg = plots.curve(series, {}, ["MixIT"], "L_mixit", "x")
    ticks = [
        float(node.text or "") for node in texts(svg) if re.fullmatch(r"0\.1\d+", node.text or "")
    ]
    assert len(ticks) > 3
    assert np.allclose(np.diff(ticks), 0.0005, atol=1e-9)


def test_the_names_of_many_models_stay_inside_the_figure() -> None:
    names = [f"mixing-VA-{k}" for k in range(11)]
    series = {name: pd.DataFrame({"step": [1, 2], "value": [3.0, 1.0]}) for name in names}
    svg = plots.curve(series, {}, names, "L_s", "x")
    _, _, width, _ = map(float, svg.split('viewBox="')[1].split('"')[0].split())
    places = [
        float(re.findall(r"translate\(([-\d.]+)", node.get("transform", ""))[0])
        if "translate" in node.get("transform", "")
        else float(node.get("x", "nan"))
        for node in texts(svg)
        if node.text in names
    ]
    assert len(places) == 11
    assert min(places) > 0
    # a name of twelve letters is some 50 units wide
    assert max(places) < width - 50
