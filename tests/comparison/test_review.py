"""What a reviewer is told of two revisions; curves and scores as DVC plots them."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from dvc.repo import Repo
from numpy.typing import NDArray
from scipy import stats

from pipeline.comparison import aggregation, differences, review
from pipeline.comparison.differences import Results
from pipeline.comparison.revisions import Change
from pipeline.errors import UserError, printable
from pipeline.evaluation import metrics
from pipeline.evaluation.metrics import MEASURED, Metric
from pipeline.evaluation.scoring import SILENT_REFERENCE
from pipeline.evaluation.track_scores import NO_SEED, save_tracks
from pipeline.files import write_text
from pipeline.params import REFERENCE_ROWS
from pipeline.tracks import TrackName
from tests.helpers import rendered, score_tables
from tests.helpers.places import TOP, inside
from tests.helpers.revision_control import git

pytestmark = pytest.mark.usefixtures("quiet_git")

NEWER = ["SI-SDR", "SNR", "SDR-v4", "uSDR"]
"""Metrics that older revisions do not have."""
GOLDEN = Path(__file__).parent / "golden/review.md"
SETS = {"DSD100": 8, "iKala": 6}
LEVELS = {"mixture": 0.0, "baseline": 3.0, "V": 4.0, "VA": 4.2}
ARTISTS = {
    TrackName(name, f"{k:02}"): f"{name} {min(k, 5)}" for name, n in SETS.items() for k in range(n)
}
MODELS: dict[str, dict[str, Any]] = {
    "baseline": {"critics": [], "alpha": 0.0},
    "V": {"critics": ["vocals"], "alpha": 0.001},
    "VA": {"critics": ["vocals", "accompaniment"], "alpha": 0.001},
}
PIPELINE = """
stages:
  score:
    matrix:
      model: ${models}
    cmd: python score.py ${item.model}
    deps: [score.py]
    params: ["models.${item.model}"]
    outs:
      - results/tracks/${item.model}.csv: {cache: false, persist: true}
  compare:
    cmd: python compare.py
    deps: [results/tracks]
    metrics:
      - results/metrics.json: {cache: false, persist: true}
"""

Frames = dict[str, pd.DataFrame]


def scored(
    models: Mapping[str, float], sets: Mapping[str, int], seeds: Sequence[int] = (1, 2, 3, 4)
) -> Frames:
    """Scores of every model on the same songs, models at their levels in dB and a little apart.

    A run is off by some 0.05 dB as a whole, and by 0.1 dB on a song.
    """
    songs = np.random.default_rng(1).normal(3, 2, (20, 2, 3))
    frames = {}
    for name, level in models.items():
        own = songs + np.random.default_rng(list(name.encode())).normal(level, 0.5, songs.shape)
        runs = {NO_SEED: own}
        if name not in REFERENCE_ROWS:
            runs = {seed: own + off(seed, name, songs.shape) for seed in seeds}
        parts = []
        for seed, values in runs.items():
            tracks = [(dataset, f"{k:02}") for dataset, count in sets.items() for k in range(count)]
            rows: score_tables.Tracks = {
                track: tuple(map(tuple, values[k].round(2))) for k, track in enumerate(tracks)
            }
            parts.append(score_tables.frame(rows, seeds=(seed,)))
        frames[name] = pd.concat(parts, ignore_index=True)
    return frames


def off(seed: int, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    rng = np.random.default_rng([seed, *name.encode()])
    return rng.normal(0, 0.05, (1, *shape[1:])) + rng.normal(0, 0.1, shape)


def shifted(frame: pd.DataFrame, source: str, by: float, spread: float = 0.0) -> pd.DataFrame:
    """SDR and SIR of one source of every track, `by` dB higher, more and less so in turns."""
    frame, rows = frame.copy(), frame["source"] == source
    away = np.where(frame.loc[rows, "track"].astype(int) % 2, -spread, spread)
    for metric in ("SDR", "SIR"):
        frame.loc[rows, metric] = (frame.loc[rows, metric] + by + away).round(2)
    return frame


def means(frames: Frames) -> aggregation.Means:
    return aggregation.means(aggregation.stacked(frames), score_tables.SOURCES)


def write_results(folder: Path, frames: Frames) -> None:
    shutil.rmtree(folder / "results", ignore_errors=True)
    for name, frame in frames.items():
        save_tracks(frame, folder / f"results/tracks/{name}.csv")
    aggregation.save_means(means(frames), folder / "results/metrics.json")
    rows = [(*track, artist, "test", True) for track, artist in ARTISTS.items()]
    columns = ["dataset", "track", "artist", "role", "has_vocals"]
    write_text(folder / "data/split.csv", pd.DataFrame(rows, columns=columns).to_csv(index=False))


# --------------------------------------------------------------------------------- without git, DVC


def results(frames: Frames) -> Results:
    return Results(means(frames), differences.scored_rows(frames), ARTISTS)


def told(before: Frames, after: Frames, parameters: Mapping[str, Change] | None = None) -> str:
    """The Markdown."""
    old, new = results(before), results(after)
    return review.as_markdown(old, new, parameters or {}, [], "old → new")


@pytest.fixture
def before() -> Frames:
    return scored(LEVELS, SETS)


def test_nothing_changed(before: Frames) -> None:
    assert told(before, before) == "**Nothing changed**: parameters and results are the same.\n"


def test_what_is_not_in_the_table_is_not_in_the_review(before: Frames) -> None:
    """Nor does it make the tests of what is there weaker: their number is that of before."""
    after = before | {"V": shifted(before["V"], "vocals", 0.5, spread=0.1)}
    moved = {name: frame.assign(**{"SI-SDR": frame["SI-SDR"] + 1}) for name, frame in after.items()}
    assert told(before, moved) == told(before, after)


def test_results_from_before_a_metric_are_read(before: Frames, tmp_path: Path) -> None:
    """A pull request that brings metrics is reviewed by those that both revisions have."""
    write_results(tmp_path, before)
    for path in (tmp_path / "results/tracks").iterdir():
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
        rows.drop(columns=NEWER).to_csv(path, index=False)
    old = differences.load(tmp_path, "old")
    after = before | {"V": shifted(before["V"], "vocals", 0.5, spread=0.1)}
    for new in (before, after):
        text = review.as_markdown(old, results(new), {}, [], "old → new")
        assert text == told(before, new)


def test_parameters_alone(before: Frames) -> None:
    text = told(before, before, {"models.V.alpha": Change(0.1, 0.2), "a|b": Change(None, "<x>")})
    assert text.startswith("**No score changed**; 2 parameters did.\n")
    assert "| `models.V.alpha` | 0.1 | 0.2   |" in text
    assert r"| `a\|b`           | –   | `<x>` |" in text
    assert "### Scores" not in text


def test_a_rerun_is_no_change(before: Frames) -> None:
    text = told(before, scored(LEVELS, SETS, seeds=(5, 6, 7, 8)))
    assert text.startswith("**No change beyond a rerun's** (")
    assert re.search(r"A change of 0\.\d\d dB would have been found in four of five cases\.", text)
    assert "**New**: seeds 5, 6, 7, 8. **Gone**: seeds 1, 2, 3, 4." in text
    assert not re.search(r"\*\*[+-]\d", text)
    assert "**Better" not in text


def test_the_same_seed_is_no_pair(before: Frames) -> None:
    """Which run has which seed changes nothing, and that every run moves alike says nothing."""
    after = scored(LEVELS, SETS, seeds=(5, 6, 7, 8))
    after = {
        name: frame.replace({"seed": {5: 1, 6: 2, 7: 3, 8: 4}}) for name, frame in after.items()
    }
    other = {name: frame.replace({"seed": {1: 9}}) for name, frame in after.items()}
    other = {name: frame.replace({"seed": {3: 1}}) for name, frame in other.items()}
    other = {name: frame.replace({"seed": {9: 3}}) for name, frame in other.items()}
    text = told(before, after)
    assert text == told(before, other)
    assert text.startswith("**No change beyond a rerun's** (")
    apart = {name: wide_apart(frame) for name, frame in before.items()}
    text = told(apart, apart | {"V": shifted(apart["V"], "vocals", 0.5)})
    assert text.startswith("**No change beyond a rerun's** (9 scores changed, by at most 0.50 dB).")


def wide_apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Runs a decibel apart."""
    by = frame["seed"].clip(lower=0)
    return frame.assign(SDR=frame["SDR"] + by, SIR=frame["SIR"] + by)


def test_a_change_of_every_run_is_beyond_a_rerun(before: Frames) -> None:
    after = before | {"V": shifted(before["V"], "vocals", -0.5, spread=0.1)}
    text = told(before, after)
    assert text.startswith("**Worse**: `V` on vocals by 0.50 dB. (SDR; ")
    assert "**Better" not in text
    assert "No score changed of `mixture`, `baseline`, `VA`." in text


def test_bold_is_what_survives_the_correction(before: Frames) -> None:
    """A cell is bold for the sake of all that were tested, not for its own interval."""
    after = before | {"V": shifted(before["V"], "vocals", 0.3, spread=0.4)}
    old, new = results(before), results(after)
    found = [d for d in differences.between(old, new) if d.tested]
    assert any(d.low > 0 and not d.beyond for d in found)
    text = review.as_markdown(old, new, {}, [], "old → new")
    assert f"over {len(found)} tests" in text
    assert len(re.findall(r"\*\*[+-]\d", text)) == sum(d.beyond for d in found)
    # By hand: Holm's largest p-value of a family is multiplied by one, its smallest by their number.
    rest = [d for d in found if not d.main]
    share = 1 - differences.MAIN_SHARE
    first = min(rest, key=lambda d: d.p_value)
    assert first.corrected == pytest.approx(min(1, first.p_value * len(rest) / share))


def test_only_what_was_trained_again_is_tested(before: Frames) -> None:
    found = differences.between(
        results(before), results(before | {"V": shifted(before["V"], "vocals", 0.5)})
    )
    assert {(d.model, d.source) for d in found if d.tested} == {("V", "vocals")}


@pytest.mark.parametrize("swapped", [False, True])
def test_one_run_is_no_method(before: Frames, swapped: bool) -> None:
    """Nor are results from before seeds, which are one run of each model."""
    one = {name: frame[frame["seed"].isin([NO_SEED, 1])] for name, frame in before.items()}
    far = {name: shifted(frame, "vocals", 2.0) for name, frame in before.items()}
    far["mixture"] = before["mixture"]
    unknown = {name: frame.assign(seed=NO_SEED) for name, frame in one.items()}
    for few, words in ((one, "of one seed"), (unknown, "from before seeds")):
        text = told(*((far, few) if swapped else (few, far)))
        word = "new" if swapped else "old"
        assert text.startswith(
            f"**Retraining is not covered**: the {word} scores are {words}. Another seed changes scores"
            " too, so nothing is called better or worse. 72 scores changed, by at most 2."
        )
        assert not re.search(r"\*\*Better|\*\*Worse|a rerun's\*\*", text)
        assert not re.search(r"\*\*[+-]\d", text)
        assert re.search(r"\| all +\| V +\| <sub>\d\.\d\d → \d\.\d\d [+-][12]\.\d\d</sub>", text)
        assert ("seeds 2, 3, 4" in text) == (few is one)


def test_one_run_of_one_model(before: Frames) -> None:
    far = {name: shifted(frame, "vocals", 2.0) for name, frame in before.items()}
    far["mixture"] = before["mixture"]
    far["V"] = far["V"][far["V"]["seed"] == 1]
    text = told(before, far)
    assert text.startswith(
        "**Retraining is not covered** of `V`: the new scores are of one seed. Another seed changes"
        " scores too, so none of them is called better or worse. **Better**: `baseline` on vocals by 2.00"
    )
    assert "`V` on" not in text.splitlines()[0]


def test_both_sides_have_one_run(before: Frames) -> None:
    one = {name: frame[frame["seed"].isin([NO_SEED, 1])] for name, frame in before.items()}
    text = told(one, one | {"V": shifted(one["V"], "vocals", 2.0)})
    assert text.startswith(
        "**Retraining is not covered**: the old scores are of one seed and the new scores are of one"
        " seed. "
    )
    assert told(one, one).startswith("**Nothing changed**")


def test_seeds_are_added_and_removed(before: Frames) -> None:
    text = told(before, scored(LEVELS, SETS, seeds=(2, 3, 4, 5, 60)))
    assert text.startswith("**No change beyond a rerun's** (")
    assert "**New**: seeds 5, 60. **Gone**: seed 1.\n" in text
    assert "other seeds (4 old, 5 new, unpaired)" in text


def test_tracks_of_one_artist_show_nothing(before: Frames) -> None:
    after = before | {"V": shifted(before["V"], "vocals", 0.5)}
    old, new = (
        Results(each.means, each.scores, dict.fromkeys(ARTISTS, "the same"))
        for each in map(results, (before, after))
    )
    text = review.as_markdown(old, new, {}, [], "old → new")
    assert text.startswith("9 scores changed, by at most 0.50 dB. Too few artists to call ")


def test_of_a_metric_that_is_an_error_less_is_better(
    before: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Metric(
        "SDR", lambda compared: compared.bss_eval["SDR"], unit="%", higher_is_better=False
    )
    monkeypatch.setattr(metrics, "METRICS", (entry, *metrics.METRICS[1:]))
    text = told(before, before | {"V": shifted(before["V"], "vocals", -0.5, spread=0.1)})
    assert text.startswith("**Better**: `V` on vocals by 0.50 %. (SDR; ")


def test_a_test_set_against_the_whole_is_named(before: Frames) -> None:
    ahead = shifted(before["V"], "vocals", 1.0)
    ikala = ahead["dataset"] == "iKala"
    ahead.loc[ikala, "SDR"] = before["V"].loc[ikala, "SDR"] - 0.2 * (ahead["source"] == "vocals")
    first = told(before, before | {"V": ahead}).splitlines()[0]
    assert "**Better**: `V` on vocals by 0.49 dB" in first or "by 0.48 dB" in first
    assert "**Worse**: `V` on vocals in iKala by 0.20 dB." in first
    assert "in DSD100" not in first


def test_a_model_is_added_and_another_removed(before: Frames) -> None:
    after = scored({k: v for k, v in LEVELS.items() if k != "VA"} | {"V2": 6.0}, SETS)
    text = told(before, after)
    sdr = means(after)["all"]["V2"]
    named = (
        f"model `V2` (SDR in dB: accompaniment {sdr['SDR_accompaniment']:.2f},"
        f" vocals {sdr['SDR_vocals']:.2f})"
    )
    assert text.startswith(f"**New**: {named}. **Gone**: model `VA` (SDR in dB: ")
    assert re.search(rf"\| all +\| V2 +\| +– → {sdr['SDR_vocals']:.2f} \|", text)
    assert re.search(r"\| all +\| VA +\| +\d\.\d\d → – \|", text)


def test_a_test_set_is_removed(before: Frames) -> None:
    text = told(before, scored(LEVELS, {"DSD100": 8}))
    assert text.startswith(
        "**Gone**: test set iKala (6 tracks). On the tracks that both have, no score is another one."
    )
    assert "**The tracks are not the same**: 14 old, 8 new, 8 in both." in text


def test_a_track_without_scores_is_no_track(before: Frames) -> None:
    after = {name: frame.copy() for name, frame in before.items()}
    for frame in after.values():
        lost = (frame["dataset"] == "iKala") & (frame["track"] == "03")
        frame.loc[lost, MEASURED] = score_tables.NONE
        frame.loc[lost, "note"] = SILENT_REFERENCE
    text = told(before, after)
    assert "**The tracks are not the same**: 14 old, 13 new, 13 in both." in text
    assert "On the tracks that both have, no score is another one." in text


def test_other_recordings_are_noticed(before: Frames) -> None:
    after = {name: shifted(frame, "vocals", 0.5) for name, frame in before.items()}
    assert "the recordings, the split or the scoring are not the same" in told(before, after)


def test_the_interval_is_that_of_seeds_and_artists(before: Frames) -> None:
    """In closed form where runs differ by a constant, and songs differ alike in every run."""
    songs = before["V"][before["V"]["seed"] == 1].drop(columns="seed")
    runs = {"old": [0.0, 0.1, 0.3, 0.4], "new": [0.6, 0.7, 1.1]}
    sides = [
        before
        | {
            "V": pd.concat(
                [songs.assign(seed=k, SDR=songs["SDR"] + by) for k, by in enumerate(off)]
            )
        }
        for off in runs.values()
    ]
    mine = next(
        d for d in differences.between(*map(results, sides))
        if (d.test_set, d.model, d.metric, d.source) == ("all", "V", "SDR", "vocals")
    )  # fmt: skip
    error = np.sqrt(sum(np.var(off, ddof=1) / len(off) for off in runs.values()))
    assert mine.by == 0.6
    assert mine.error == pytest.approx(error)
    half = stats.t.ppf(0.975, mine.freedom) * error
    assert (mine.low, mine.high) == pytest.approx((0.6 - half, 0.6 + half))
    assert 2 <= mine.freedom <= 5


def test_a_comment_has_room_for_it() -> None:
    many = {f"m{k:080}": float(k % 7) for k in range(80)} | {"mixture": 0.0}
    frames = scored(many, SETS)
    after = {name: shifted(frame, "vocals", 0.3) for name, frame in frames.items()}
    parameters = {f"models.m{k}.alpha": Change(k, "x" * 300) for k in range(250)}
    text = told(frames, after, parameters)
    assert 40_000 < len(text.encode()) <= review.LIMIT
    assert "Cut: the rest is in `dvc metrics diff`." in text
    assert "and 150 more: `dvc params diff`" in text
    assert text.endswith("</details>\n")


HOSTILE = ("@user", "o/r#1", "`|\\", "<!--", "[x](https://e.org)", "deadbeef", "\n# $x$")


def test_no_name_becomes_markup(before: Frames) -> None:
    """Of models, test sets, sources, parameters, values, stages and revisions."""
    frames = {**before, **dict.fromkeys(HOSTILE, before["V"])}
    frames = {
        name: frame.replace({"dataset": {"iKala": HOSTILE[0]}, "source": {"vocals": HOSTILE[2]}})
        for name, frame in frames.items()
    }
    after = frames | {name: shifted(frames[name], HOSTILE[2], 0.5, 0.1) for name in HOSTILE[:3]}
    sources = ["accompaniment", HOSTILE[2]]
    old, new = (
        Results(
            aggregation.means(aggregation.combine(each, sources), sources),
            differences.scored_rows(each),
            {},
        )
        for each in (frames, after | {"new :smile:": frames["V"]})
    )
    parameters = {name: Change("@a", name) for name in HOSTILE}
    title = f"{review._short('x/@user')} → {review._short('#1')}"
    text = review.as_markdown(old, new, parameters, HOSTILE, title)
    shown = set(rendered.codes(text))
    assert set(map(printable, HOSTILE)) <= shown
    assert {"x/@user", "#1", "new :smile:"} <= shown
    assert len(text.encode()) < review.LIMIT


def test_long_names_leave_room_for_the_rest(before: Frames) -> None:
    letters = 20_000
    long = {"東" * letters + str(k): before["V"] for k in range(9)}
    after = {name: shifted(frame, "vocals", 0.5, 0.1) for name, frame in long.items()}
    parameters = {f"{'東' * letters}{k}": Change(k, "東" * letters) for k in range(200)}
    text = told(before | long, before | after, parameters)
    assert len(text.encode()) <= review.LIMIT
    assert text.startswith("**Better**: `東")
    assert "Cut: " in text
    assert {"東" * 99 + "…"} <= set(rendered.codes(text))


def test_a_review_needs_no_heavy_library() -> None:
    """The workflow installs few of them: scripts/review-locally."""
    script = (TOP / "scripts/review-locally").read_text(encoding="utf-8")
    asked = "import pipeline.comparison.review, sys; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", asked], cwd=TOP, capture_output=True, text=True)
    here = set(loaded.stdout.split())
    assert (
        here & {"torch", "torchaudio", "lightning", "librosa", "museval", "h5py", "onnx"} == set()
    )
    for name in here & {"numpy", "pandas", "pydantic", "scipy", "soundfile", "soxr", "requests"}:
        assert re.search(rf"\b{name}\b", script) or name == "requests"  # DVC brings requests


# ------------------------------------------------------------------------------ with git and with DVC


def write_params(folder: Path, models: dict[str, Any]) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump({"models": models, "seeds": [1]}))


def record(folder: Path, message: str) -> None:
    """Results as `dvc repro` leaves them, in a commit."""
    with inside(folder), Repo() as repo:
        repo.commit(force=True)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, quiet_git: None) -> Path:
    """A first commit without results, `main` with them, and `change`, which moves V."""
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    Repo.init(str(folder)).close()
    for name in ("score.py", "compare.py"):
        (folder / name).touch()
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "no results")
    git(folder, "tag", "empty")
    (folder / "dvc.yaml").write_text(PIPELINE)
    write_params(folder, MODELS)
    frames = scored(LEVELS, SETS)
    write_results(folder, frames)
    record(folder, "first")
    git(folder, "checkout", "--quiet", "-b", "change")
    write_params(folder, MODELS | {"V": {"critics": ["vocals"], "alpha": 0.003}})
    frames["V"] = shifted(shifted(frames["V"], "vocals", 0.5, 0.4), "accompaniment", -0.2, 0.1)
    frames["VA"] = shifted(frames["VA"], "vocals", 0.01, 0.5)
    write_results(folder, frames)
    record(folder, "alpha of V")
    git(folder, "checkout", "--quiet", "main")
    return folder


def test_the_review_of_two_commits_is_the_golden_file(repository: Path) -> None:
    """To renew it: REGENERATE=1 pytest tests/comparison/test_review.py -k golden; read the diff."""
    state = git(repository, "status", "--porcelain", "--ignored")
    with inside(repository):
        text = review.review("main", "change")
    assert git(repository, "status", "--porcelain", "--ignored") == state
    assert git(repository, "worktree", "list").count("\n") == 0
    if os.environ.get("REGENERATE"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_the_line_ends_of_a_checkout_are_no_change(repository: Path, tmp_path: Path) -> None:
    """In a worktree of a clone for Windows, detached, in a folder of any name."""
    clone, folder = tmp_path / "clone", tmp_path / "a 'wörk' [tree]"
    crlf = ["-c", "core.autocrlf=true"]
    git(tmp_path, *crlf, "clone", "--quiet", *crlf, str(repository), str(clone))
    git(clone, "worktree", "add", "--quiet", "--detach", str(folder), "origin/change")
    assert b"\r\n" in (folder / "params.yaml").read_bytes()
    with inside(folder):
        text = review.review("origin/main", "HEAD")
    title = "### Scores: `origin/main` → HEAD\n"
    golden = GOLDEN.read_text(encoding="utf-8")
    assert text == golden.replace("### Scores: main → change\n", title)


@pytest.mark.slow
def test_the_script_names_what_is_wrong(repository: Path, tmp_path: Path) -> None:
    """scripts/review-locally, in a stand-in for a clone that has the code, and in an archive."""
    folder = tmp_path / "a clone"
    git(tmp_path, "clone", "--quiet", str(repository), str(folder))
    (folder / "scripts").mkdir()
    shutil.copy(TOP / "scripts/review-locally", folder / "scripts")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(TOP)}

    def said(*given: str) -> str:
        command = ["scripts/review-locally", *given]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 1
        return done.stderr.strip()

    assert said("change") == "error: change: no branch of that name here; is origin/change meant?"
    assert said("nonsense").startswith("error: nonsense: no such revision; ")
    git(folder, "checkout", "--quiet", "--orphan", "alone")
    git(folder, "commit", "--quiet", "--message", "of no common origin")
    assert said().startswith("error: main: no common revision with HEAD; fetch it")
    shutil.rmtree(folder / ".git")
    assert said().endswith("a downloaded archive has no revisions")


def test_results_from_before_seeds_are_read(repository: Path, tmp_path: Path) -> None:
    """Of a commit whose files have neither seeds nor all of today's columns."""
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repository), str(folder))
    for path in (folder / "results/tracks").iterdir():
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
        rows = rows[rows["seed"].isin(["", "1"])].drop(columns=["seed", *NEWER])
        rows.to_csv(path, index=False)
    metrics_file = folder / "results/metrics.json"
    means = json.loads(metrics_file.read_text())
    for cells in (cells for rows in means.values() for cells in rows.values()):
        del cells["seeds"]
    metrics_file.write_text(json.dumps(means))
    split = folder / "data/split.csv"
    pd.read_csv(split).drop(columns="has_vocals").to_csv(split, index=False)
    git(folder, "commit", "--quiet", "--all", "--message", "as it was")
    with inside(folder):
        first, *_ = review.review("HEAD", "origin/change").splitlines()
    assert first.startswith("**Retraining is not covered**: the old scores are from before seeds. ")
    assert "**New" not in first


def test_results_that_are_behind_their_parameters(repository: Path, tmp_path: Path) -> None:
    """In a commit, and in a working tree that is mended afterwards."""
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repository), str(folder))
    write_params(folder, MODELS | {"V": {"critics": ["vocals"], "alpha": 0.5}})
    git(folder, "commit", "--quiet", "--all", "--message", "forgot make repro")
    with inside(folder):
        text = review.review("origin/main", "HEAD")
        assert text.startswith("**No score changed**; 1 parameter did.\n\n> [!WARNING]\n")
        assert "> - `score@V: models.V`\n" in text
        assert "score@VA" not in text
        with Repo() as repo:
            repo.commit(force=True)
        assert "WARNING" not in review.review("origin/main", None)
        assert "WARNING" in review.review("origin/main", "HEAD")


def test_experiments_that_a_change_touches_have_a_section_each(
    repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repository), str(folder))

    def copy(*names: str) -> None:
        for name in names:
            target = folder / "experiments" / name
            for one in ("params.yaml", "dvc.yaml", "dvc.lock"):
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / one, target)
            for one in ("results", "data"):
                shutil.copytree(folder / one, target / one, dirs_exist_ok=True)

    copy("changed", "gone", "same")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "before")
    with inside(folder):
        alone = review.review("origin/main", "origin/change")
    git(folder, "checkout", "--quiet", "origin/change", "--", "results", "data")
    copy("changed", "new", "we ird")
    git(folder, "checkout", "--quiet", "HEAD", "--", "results", "data")
    shutil.rmtree(folder / "experiments/gone/results")
    (folder / "experiments/notes").mkdir()
    (folder / "experiments/notes/params.yaml").write_text("seeds: [1]\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "after")
    with inside(folder):
        top, *sections = review.review("HEAD~1", "HEAD").split("\n## ")
    assert top.startswith("**Nothing changed**")
    found = dict(section.split("\n\n", 1) for section in sections)
    assert list(found) == [f"`experiments/{name}`" for name in ("changed", "gone", "new", "notes")]
    assert found["`experiments/changed`"].splitlines()[0] == alone.splitlines()[0]
    assert found["`experiments/gone`"].startswith("**Its results are gone.**")
    assert found["`experiments/new`"].startswith("**New results**")
    assert found["`experiments/notes`"].startswith("Changed, and not run")


def test_what_a_comment_has_no_room_for_is_cut() -> None:
    room = "x" * (review.LIMIT - 100)
    assert review._joined(room, "\n## `a`\n\nshort") == room + "\n## `a`\n\nshort"
    cut = review._joined(room, "\n## `a`\n\n" + "y" * 200)
    assert cut == room + "\n## `a`\n\nCut: too long for a comment.\n"
    assert review._joined("x" * review.LIMIT, "\n## `a`\n\nz") == "x" * review.LIMIT


def failure(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_mistakes_are_one_line(repository: Path, tmp_path: Path) -> None:
    with inside(repository):
        said = failure(lambda: review.review("nonsense", None))
        assert said.startswith("nonsense: no such revision; ")
        assert "no such revision" in failure(lambda: review.review("--help", None))
        assert "no such revision" in failure(lambda: review.review("main", "nonsense"))
        assert failure(lambda: review.review("empty", "main")) == (
            "results/metrics.json: not in empty: no results to compare;"
            " run `make repro` and commit what it changes"
        )
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth", "1", repository.as_uri(), str(shallow))
    with inside(shallow):
        said = failure(lambda: review.review("empty", None))
        assert said.endswith(", in a workflow set `fetch-depth: 0`")
        subprocess.run(said.split("`")[1], shell=True, check=True, capture_output=True)
        assert "not in empty: no results to compare" in failure(
            lambda: review.review("empty", None)
        )
        said = failure(lambda: review.review("change", None))
        assert said == "change: no branch of that name here; is origin/change meant?"
    plain = tmp_path / "plain"
    plain.mkdir()
    with inside(plain):
        assert "run this in a clone" in failure(lambda: review.review("main", None))
        git(plain, "init", "--quiet")
        assert "not a DVC repository" in failure(lambda: review.review("main", None))


def test_broken_scores_are_named(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repository), str(folder))
    (folder / "results/tracks/V.csv").write_text("dataset,track\n")
    with inside(folder):
        said = failure(lambda: review.review("origin/main", None))
        assert said.startswith("the working tree: results/tracks/V.csv: ")
        git(folder, "restore", "results")
        (folder / "data/split.csv").write_text("dataset,track\n")
        said = failure(lambda: review.review("origin/main", None))
        assert said == (
            "the working tree: data/split.csv: no table with columns dataset, track, artist, role;"
            " run `make repro` and commit what it changes"
        )
        (folder / "data/split.csv").unlink()
        said = failure(lambda: review.review("origin/main", None))
        assert said.startswith("the working tree: data/split.csv: no such file; run `make repro`")
