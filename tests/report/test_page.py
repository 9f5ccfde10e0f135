"""The page of the fixture experiment: whole, closed in itself, and the same again."""

import html
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.comparison import markdown, minutes
from pipeline.features.store import FeatureFile
from pipeline.params import table_rows
from pipeline.report import critics, excerpts, finished_run, page
from pipeline.report.finished_run import Run
from pipeline.separation.model_folder import load_critics
from stages import report
from tests.helpers.command_line import failing
from tests.helpers.places import fingerprints, inside

VOID = {"meta", "link", "input", "image", "rect", "path", "use", "br"}
LIMIT = 15_000_000


class Page(HTMLParser):
    """What the tests ask of the page: tags with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attributes}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.text += data if self.open and self.open[-1] not in ("script", "style") else ""

    def all(self, name: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def real(experiment: Path) -> Run:
    return finished_run.load(
        experiment / "params.yaml", experiment / "data", experiment / "models",
        experiment / "results",
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report as its stage writes it."""
    target = tmp_path_factory.mktemp("page") / "report"
    with inside(experiment):
        report.report(target)
    return target


@pytest.fixture(scope="module")
def shown(folder: Path) -> Page:
    found = Page((folder / "index.html").read_text(encoding="utf-8"))
    assert found.open == []
    return found


def test_every_file_is_used_and_every_use_is_a_file(folder: Path, shown: Page) -> None:
    used = {one["src"] for one in shown.all("audio")} | {one["href"] for one in shown.all("image")}
    there = set(fingerprints(folder))
    assert used == there - {"index.html", "made-from.json"}
    assert sum((folder / name).stat().st_size for name in there) < LIMIT
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert "://" not in re.sub(r"<pre.*?</pre>", "", text, flags=re.S)  # but for the parameters


def test_links_lead_somewhere_and_names_are_unique(shown: Page) -> None:
    names = [one["id"] for _, one in shown.tags if "id" in one]
    assert len(names) == len(set(names))
    leading = [one["href"] for one in shown.all("a")]
    assert len(leading) > 40
    assert {href[1:] for href in leading} <= set(names)
    assert all(href.startswith("#") for href in leading)
    referred = [name for _, one in shown.tags if (name := one.get("aria-labelledby"))]
    assert set(referred) <= set(names)


def test_headings_are_in_order_and_pictures_and_players_have_names(shown: Page) -> None:
    levels = [int(tag[1]) for tag, _ in shown.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for tag in ("main", "header", "nav"):
        assert len(shown.all(tag)) == 1
    for one in [*shown.all("audio"), *(o for _, o in shown.tags if o.get("role") == "img")]:
        assert one["aria-label"]


def test_the_numbers_are_those_of_the_results(experiment: Path, shown: Page) -> None:
    means = json.loads((experiment / "results/metrics.json").read_text())
    values = [one["data-value"] for one in shown.all("td") if "data-value" in one]
    for cells in means.values():
        for one in cells.values():
            shown_here = {str(value) for name, value in one.items() if name != "seeds"}
            assert shown_here <= set(values)
    for note in (experiment / "results/table.md").read_text().split("## Notes\n")[1].splitlines():
        assert note.removeprefix("- ").replace("`", "") in shown.text
    assert "synthetic" in shown.text
    assert "paper " not in shown.text.split("Per track")[0]


def test_every_score_of_a_track_stands_below_its_model(folder: Path, real: Run) -> None:
    text = (folder / "index.html").read_text(encoding="utf-8")
    table = text.split("of every test track,", 1)[1].split("</table>", 1)[0]
    heads = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', table)
    groups = re.findall(r'<th scope="colgroup" colspan="(\d+)">(.*?)</th>', table)
    sources = [source for count, source in groups for _ in range(int(count))]
    columns = list(zip(sources, heads[2:-1], strict=True))
    scores = real.scores.set_index(["dataset", "track", "source", "model"])["SDR"]
    rows = table.split('<tr id="track-')[1:]
    assert len(rows) == len(real.scores.drop_duplicates(["dataset", "track"]))
    for row in rows:
        dataset = re.findall(r"<td>(.*?)</td>", row)[0]
        (track,) = re.findall(r'<th scope="row">(.*?)</th>', row)
        cells = [float(value) for value in re.findall(r'data-value="([^"]*)"', row)]
        expected = [scores[dataset, html.unescape(track), *column] for column in columns]
        np.testing.assert_array_equal(cells, expected)


def test_every_signal_of_every_chosen_track_is_heard(shown: Page, real: Run) -> None:
    chosen = excerpts.choose(real)
    assert {one.dataset for one in chosen} == set(real.params.datasets)
    signals = 1 + len(real.params.sources) * (1 + len(real.params.models))
    assert len(shown.all("audio")) == len(chosen) * signals
    pictured = sum(len(model.critics) for model in real.params.models.values())
    assert len(shown.all("image")) == len(chosen) * signals + 3 * pictured
    for one in chosen:
        assert f"{one.dataset}, {one.label}: {one.track}" in shown.text


def test_excerpts_are_cut_from_the_tracks(real: Run) -> None:
    choice = excerpts.choose(real)[0]
    (found,) = excerpts.cut(real, [choice])
    store = FeatureFile.open(real.features / f"{choice.dataset}.h5")
    whole = store.waveforms(store.rows([choice.track])[0])
    start = round(found.start * store.signal.sample_rate)
    part = whole[:, start : start + len(found.mixture)]
    np.testing.assert_array_equal(found.mixture, part.sum(axis=0))
    np.testing.assert_array_equal(np.stack(list(found.references.values())), part)
    assert list(found.estimates) == list(store.sounds)
    for estimates in found.estimates.values():
        assert list(estimates) == list(real.params.models)
        assert all(len(one) == len(found.mixture) for one in estimates.values())
    peak = max(np.abs(one).max() for _, _, one in found.waveforms())
    assert peak * excerpts.gain(found) == pytest.approx(excerpts.PEAK)


def test_written_again_it_is_the_same_but_for_the_time_it_took(
    experiment: Path, folder: Path, tmp_path: Path
) -> None:
    again = tmp_path / "report"
    with inside(experiment):
        report.report(again)
    one, two = fingerprints(folder), fingerprints(again)
    assert one.pop("index.html")
    assert two.pop("index.html")
    assert one == two
    texts = [(f / "index.html").read_text(encoding="utf-8") for f in (folder, again)]
    first, second = (re.sub(r"; \d+ s</dd>", "; s</dd>", text) for text in texts)
    assert first == second


def test_a_run_without_critics_curves_and_scores_has_a_page(real: Run, tmp_path: Path) -> None:
    models = {"baseline": real.params.models["baseline"]}
    rows = table_rows(models)
    plain = replace(
        real,
        params=real.params.model_copy(update={"models": models}),
        scores=real.scores[real.scores["model"].isin(rows)].assign(
            note="silent reference", SDR=float("nan")
        ),
        means={"all": {name: {"tracks": 0} for name in rows}},
        histories={"baseline": {}},
        notes=(),
    )
    page.write(plain, tmp_path / "report", say=lambda _: None)
    text = Page((tmp_path / "report/index.html").read_text(encoding="utf-8")).text
    for said in ("No test track has scores", "No model of this run has a critic",
                 "baseline has no training curves", "Vocals: no track has scores"):  # fmt: skip
        assert said in text


def test_a_note_shows_the_name_that_it_holds() -> None:
    """The table's Markdown as HTML: what is code there is code here, and nothing is markup."""
    note = "Left out: 1 of `#1`: ``<b>`x`` , `a`."
    loader = jinja2.FileSystemLoader(page.TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True)
    environment.filters["parts"] = markdown.parts
    template = (page.TEMPLATES / "run.html").read_text(encoding="utf-8")
    item = next(line for line in template.splitlines() if line.startswith("<li>"))
    assert environment.from_string(item).render(note=note) == (
        "<li>Left out: 1 of <code>#1</code>: <code>&lt;b&gt;`x</code> , <code>a</code>.</li>"
    )


def test_what_fails_halfway_leaves_the_last_report(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = copied / "results/report"
    shutil.rmtree(target)
    target.mkdir()
    (target / "index.html").write_text("the last one")
    (copied / "models/V/seed-1/critic-vocals.safetensors").unlink()
    monkeypatch.setattr(excerpts, "choose", lambda run: choices(run)[:1])
    with inside(copied):
        said = failing(report.report, [], capsys)
        assert "models/V/seed-1/critic-vocals.safetensors: critic cannot be read" in said
        shutil.rmtree("models/VA")
        assert "models/VA/seed-1/config.json: no such file" in failing(report.report, [], capsys)
    assert list(fingerprints(target)) == ["index.html"]
    assert [path.name for path in target.parent.glob("*.partial")] == []


choices = excerpts.choose


def test_the_track_of_figure_3_is_the_lowest_and_its_stretch_the_loudest(
    real: Run, tmp_path: Path
) -> None:
    chosen = excerpts.choose(real)
    wishes = critics.wishes(real, chosen, tmp_path)
    assert [(wish.model, wish.source) for wish in wishes] == [
        (name, source) for name, model in real.params.models.items() for source in model.critics
    ]
    assert {wish.choice.score for wish in wishes} == {min(one.score for one in chosen)}
    assert all(-1 <= wish.correlation <= 1 and wish.limit > 0 for wish in wishes)
    sound = torch.zeros(3, 100)
    sound[:, 40:60] = 1.0
    assert critics.loudest_frames(sound, 20) == 40
    assert critics.loudest_frames(sound, 200) == 0
    assert list(load_critics(real.folders["VA"])) == list(real.params.models["VA"].critics)


@pytest.mark.parametrize("name", ["metrics.json", "table.csv", "tracks/V.csv", "tracks/V.sha256"])
def test_a_missing_result_is_one_line(
    copied: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied / "results" / name).unlink()
    with inside(copied):
        said = failing(report.report, [], capsys)
    assert f"results/{name}: no such file; run `dvc repro" in said


def test_sound_of_other_weights_than_the_scores_is_no_report(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sums = copied / "results/tracks/V.sha256"
    sums.write_text(re.sub("^[0-9a-f]{64}", "0" * 64, sums.read_text()))
    with inside(copied):
        said = failing(report.report, [], capsys)
    assert said == (
        "error: models/V/seed-1/model.safetensors: not the weights whose scores are in"
        " results/tracks/V.csv; run `dvc repro report`"
    )


def sweep(*given: tuple[str, float, float, float]) -> pd.DataFrame:
    """results/minutes.csv with a way, paired and unpaired minutes and gain in each row."""
    rows = [
        (
            "iKala",
            "vocals",
            "SDR",
            way,
            "V",
            "b",
            paired,
            unpaired,
            5,
            9,
            4,
            gain,
            gain - 1,
            gain + 1,
        )
        for way, paired, unpaired, gain in given
    ]
    return pd.DataFrame(rows, columns=minutes.COLUMNS)


def test_gains_are_drawn_against_the_minutes_that_were_varied(run: Run) -> None:
    paired = [("critic", 2.0, 17.0, 3.0), ("critic", 8.0, 17.0, 2.0), ("L_add", 8.0, 17.0, 0.1)]
    unpaired = ("critic", 8.0, 5.0, 1.0)
    drawn = page.gain_plots(replace(run, gains=sweep(*paired)))
    assert list(drawn) == ["minutes of paired recordings"]
    ((what, svg),) = drawn["minutes of paired recordings"]
    assert what == "Gain, iKala, vocals; 17 minutes of unpaired recordings"
    for text in ("critic", "L_add", ">2<", ">8<", "minutes of paired recordings"):
        assert text in svg
    both = page.gain_plots(replace(run, gains=sweep(*paired, unpaired)))
    assert list(both) == ["minutes of paired recordings", "minutes of unpaired recordings"]
    ((_, svg),) = both["minutes of unpaired recordings"]
    assert ">5<" in svg
    assert ">17<" in svg
    # the sweep of unpaired minutes is at fewer pairs than there are
    more = page.gain_plots(
        replace(run, gains=sweep(*paired, unpaired, ("critic", 31.0, 17.0, 2.0)))
    )
    ((what, _),) = more["minutes of unpaired recordings"]
    assert what == "Gain, iKala, vocals; 8 minutes of paired recordings"
    assert page.gain_plots(replace(run, gains=sweep(paired[1], paired[2]))) == {}


def test_gains_without_intervals_are_drawn(run: Run) -> None:
    """With too few singers or seeds."""
    gains = sweep(("critic", 2.0, 17.0, 3.0), ("critic", 8.0, 17.0, 2.0))
    (svg,) = page.gain_plots(replace(run, gains=gains.assign(low=np.nan, high=np.nan))).values()
    assert ">8<" in svg[0][1]


def test_the_first_chart_has_every_row_beside_the_baseline(run: Run) -> None:
    """Of the only test set, whose mixtures are unlabelled: unseen in pairs."""
    drawn = page.way_plots(run)
    assert [what for what, _ in drawn] == [
        f"{source}: {kind}"
        for source in run.params.sources
        for kind in ("CCMixter, seen in pairs",)
    ] or all("unseen" in what for what, _ in drawn)
    for _, svg in drawn:
        assert ">V<" in svg
        assert ">baseline<" not in svg
    alone = run.table.assign(difference=np.nan, difference_low=np.nan, difference_high=np.nan)
    assert page.way_plots(replace(run, table=alone)) == []


def test_alpha_is_drawn_where_models_differ_in_nothing_else(run: Run) -> None:
    one = run.params.models["V"]
    models = {
        "V": one,
        "louder": one.model_copy(update={"alpha": 0.1}),
        "found": one.model_copy(update={"alpha": "auto", "fraction": 0.3}),
    }
    rows = run.table[run.table["model"] == "V"]
    table = pd.concat([rows.assign(model=name) for name in models])
    swept = replace(run, table=table, params=run.params.model_copy(update={"models": models}))
    drawn = page.alpha_plots(swept)
    assert {what.split(",")[0] for what, _ in drawn} == {"critic of vocals"}
    assert all("auto, 0.3" in svg for _, svg in drawn)
    other = models | {"louder": one.model_copy(update={"alpha": 0.1, "beta": 0.5})}
    swept = replace(run, table=table, params=run.params.model_copy(update={"models": other}))
    assert page.alpha_plots(swept) == []
