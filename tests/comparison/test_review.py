"""What a reviewer is told of two revisions; curves and scores as DVC plots them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from dvc.repo import Repo
from scipy import stats

from pipeline.comparison import aggregation, differences, review
from pipeline.comparison.differences import Results
from pipeline.comparison.revisions import Change
from pipeline.errors import UserError, printable
from pipeline.evaluation import metrics
from pipeline.evaluation.metrics import MEASURED, Metric
from pipeline.evaluation.scoring import SILENT_REFERENCE
from pipeline.evaluation.track_scores import save_tracks
from tests.helpers import rendered, score_tables
from tests.helpers.places import TOP, inside
from tests.helpers.revision_control import git

pytestmark = pytest.mark.usefixtures("quiet_git")

GOLDEN = Path(__file__).parent / "golden/review.md"
SETS = {"DSD100": 8, "iKala": 6}
LEVELS = {"mixture": 0.0, "baseline": 3.0, "V": 4.0, "VA": 4.2}
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


def scored(models: Mapping[str, float], sets: Mapping[str, int]) -> Frames:
    """Scores of every model on the same songs, models at their levels in dB and a little apart."""
    songs = np.random.default_rng(1).normal(3, 2, (20, 2, 3))
    frames = {}
    for name, level in models.items():
        own = np.random.default_rng(list(name.encode())).normal(level, 0.5, songs.shape)
        values = (songs + own).round(2)
        tracks = [(dataset, f"{k:02}") for dataset, count in sets.items() for k in range(count)]
        frames[name] = score_tables.frame(
            {track: tuple(map(tuple, values[k])) for k, track in enumerate(tracks)}
        )
    return frames


def shifted(frame: pd.DataFrame, source: str, by: float, spread: float = 0.0) -> pd.DataFrame:
    """SDR and SIR of one source of every track, `by` dB higher, more and less so in turns."""
    frame, rows = frame.copy(), frame["source"] == source
    away = np.resize([spread, -spread], rows.sum())
    for metric in ("SDR", "SIR"):
        frame.loc[rows, metric] = (frame.loc[rows, metric] + by + away).round(2)
    return frame


def means(frames: Frames) -> aggregation.Means:
    return aggregation.means(
        aggregation.combine(frames, score_tables.SOURCES), score_tables.SOURCES
    )


def write_results(folder: Path, frames: Frames) -> None:
    shutil.rmtree(folder / "results", ignore_errors=True)
    for name, frame in frames.items():
        save_tracks(frame, folder / f"results/tracks/{name}.csv")
    aggregation.save_means(means(frames), folder / "results/metrics.json")


# --------------------------------------------------------------------------------- without git, DVC


def told(before: Frames, after: Frames, parameters: Mapping[str, Change] | None = None) -> str:
    """The Markdown; DVC's part is taken from the two metric files."""
    old, new = (
        Results(means(frames), differences.scored_rows(frames)) for frames in (before, after)
    )
    flat = [
        {f"{s}.{m}.{k}": v for s, ms in side.means.items() for m, ks in ms.items() for k, v in ks.items()}
        for side in (old, new)
    ]  # fmt: skip
    values = {key: Change(flat[0].get(key), flat[1].get(key)) for key in flat[0] | flat[1]}
    return review.as_markdown(old, new, values, parameters or {}, [], "old → new")


@pytest.fixture
def before() -> Frames:
    return scored(LEVELS, SETS)


def test_nothing_changed(before: Frames) -> None:
    assert told(before, before) == "**Nothing changed**: parameters and results are the same.\n"


def test_parameters_alone(before: Frames) -> None:
    text = told(before, before, {"models.V.alpha": Change(0.1, 0.2), "a|b": Change(None, "<x>")})
    assert text.startswith("**No score changed**; 2 parameters did.\n")
    assert "| `models.V.alpha` | 0.1 | 0.2   |" in text
    assert r"| `a\|b`           | –   | `<x>` |" in text
    assert "### Scores" not in text


def test_noise_is_not_called_a_change(before: Frames) -> None:
    text = told(before, before | {"V": shifted(before["V"], "vocals", 0.02, spread=1)})
    assert text.startswith("**No difference outside the noise** (")
    assert not re.search(r"\*\*[+-]\d", text)
    assert "**Better" not in text


def test_a_difference_on_every_track_is_outside_the_noise(before: Frames) -> None:
    after = before | {"V": shifted(before["V"], "vocals", -0.3, spread=0.2)}
    text = told(before, after)
    assert text.startswith("**Worse**: `V` on vocals by 0.30 dB. (SDR; ")
    assert "**Better" not in text
    assert "No score changed of `mixture`, `baseline`, `VA`." in text


def test_of_a_metric_that_is_an_error_less_is_better(
    before: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Metric(
        "SDR", lambda compared: compared.bss_eval["SDR"], unit="%", higher_is_better=False
    )
    monkeypatch.setattr(metrics, "METRICS", (entry, *metrics.METRICS[1:]))
    text = told(before, before | {"V": shifted(before["V"], "vocals", -0.3, spread=0.2)})
    assert text.startswith("**Better**: `V` on vocals by 0.30 %. (SDR; ")


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


def test_the_interval_is_that_of_another_bootstrap(before: Frames) -> None:
    after = before | {"V": shifted(before["V"], "vocals", 0.1, spread=0.6)}
    old, new = (
        Results(means(frames), differences.scored_rows(frames)) for frames in (before, after)
    )
    mine = next(
        difference
        for difference in differences.between(old, new, {})
        if (difference.test_set, difference.model) == ("all", "V")
        and (difference.metric, difference.source) == ("SDR", "vocals")
    )
    rows = after["V"]["source"] == "vocals"
    paired = (after["V"].loc[rows, "SDR"] - before["V"].loc[rows, "SDR"]).to_numpy()
    theirs = stats.bootstrap((paired,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    assert mine.pairs == 14
    assert mine.low == pytest.approx(theirs.confidence_interval.low, abs=0.02)
    assert mine.high == pytest.approx(theirs.confidence_interval.high, abs=0.02)


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
        )
        for each in (frames, after | {"new :smile:": frames["V"]})
    )
    flat = [
        {f"{s}.{m}.{k}": v for s, ms in side.means.items() for m, ks in ms.items() for k, v in ks.items()}
        for side in (old, new)
    ]  # fmt: skip
    values = {key: Change(flat[0].get(key), flat[1].get(key)) for key in flat[0] | flat[1]}
    parameters = {name: Change("@a", name) for name in HOSTILE}
    title = f"{review._short('x/@user')} → {review._short('#1')}"
    text = review.as_markdown(old, new, values, parameters, HOSTILE, title)
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
            " run `make repro` and commit results/"
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
