"""The stages on the fixture experiment: the table, bad recordings, and what a user can get wrong."""

import csv
import hashlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import museval
import numpy as np
import pandas as pd
import pytest
import soundfile

from pipeline.features import FeatureFile
from pipeline.separation import Separator
from stages import common, compare, download, evaluate, preprocess, split, train
from tests.conftest import ROWS, TOP, inside, small_params, write_params

SETS = ("all", "DSD100", "MedleyDB", "CCMixter", "iKala")
SOURCES = ("accompaniment", "vocals")
RATE = 44_100

Cells = dict[str, dict[str, dict[str, float]]]


# --------------------------------------------------------------------------------------- the table


@pytest.fixture(scope="module")
def metrics(experiment: Path) -> Cells:
    return json.loads((experiment / "results/metrics.json").read_text())  # type: ignore[no-any-return]


def track_scores(folder: Path, row: str) -> list[dict[str, str]]:
    with (folder / f"results/tracks/{row}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_metrics_have_exactly_the_promised_keys(metrics: Cells) -> None:
    keys = [f"{metric}_{source}" for metric in ("SDR", "SIR", "SAR", "NSDR") for source in SOURCES]
    assert tuple(metrics) == SETS
    for cells in metrics.values():
        assert tuple(cells) == ROWS
        for values in cells.values():
            assert list(values) == [*keys, "tracks"]
            assert all(round(value, 2) == value for value in values.values())


def test_the_reference_rows_frame_the_table(metrics: Cells) -> None:
    for cells in metrics.values():
        for source in SOURCES:
            assert cells["mixture"][f"NSDR_{source}"] == 0
            assert cells["oracle"][f"SDR_{source}"] > cells["mixture"][f"SDR_{source}"] + 3
            for values in cells.values():
                gain = values[f"SDR_{source}"] - cells["mixture"][f"SDR_{source}"]
                assert values[f"NSDR_{source}"] == pytest.approx(gain, abs=0.011)


def test_instrumental_tracks_are_left_out_and_listed(experiment: Path, metrics: Cells) -> None:
    tested = pd.read_csv(experiment / "data/split.csv").query("role == 'test'")
    instrumental = tested[~tested["has_vocals"]]
    assert set(instrumental["dataset"]) == {"MedleyDB"}
    for name in SETS:
        expected = tested[tested["has_vocals"] & ((tested["dataset"] == name) | (name == "all"))]
        for cells in metrics[name].values():
            assert cells["tracks"] == len(expected) > 0
    table = (experiment / "results/table.md").read_text()
    (line,) = [line for line in table.splitlines() if "silent reference" in line]
    for name in tested["track"]:
        assert (f"`{name}`" in line) == (name in set(instrumental["track"]))


def test_the_long_table_agrees_with_the_scores_per_track(experiment: Path, metrics: Cells) -> None:
    with (experiment / "results/table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "test_set", "model", "source", "metric", "tracks", "mean", "median", "std", "low", "high",
        "difference", "difference_low", "difference_high", "p_value",
    ]  # fmt: skip
    assert len(rows) == len(SETS) * len(ROWS) * len(SOURCES) * 4
    for row in rows:
        cell = metrics[row["test_set"]][row["model"]]
        assert float(row["mean"]) == cell[f"{row['metric']}_{row['source']}"]
        compared = row["model"] in ("V", "VA")
        assert bool(row["difference"]) == compared
        if row["metric"] == "NSDR":
            continue
        scores = [
            float(score[row["metric"]])
            for score in track_scores(experiment, row["model"])
            if score["source"] == row["source"] and score["note"] != "silent reference"
            and row["test_set"] in ("all", score["dataset"])
        ]  # fmt: skip
        assert int(row["tracks"]) == len(scores)
        assert float(row["mean"]) == pytest.approx(statistics.mean(scores), abs=0.0051)
        assert float(row["median"]) == pytest.approx(statistics.median(scores), abs=0.0051)
        if len(scores) > 1:
            assert float(row["std"]) == pytest.approx(statistics.stdev(scores), abs=0.0051)
            assert float(row["low"]) <= float(row["mean"]) <= float(row["high"])


@pytest.mark.parametrize("model", ["mixture", "V"])
def test_scores_equal_those_computed_by_hand(experiment: Path, model: str) -> None:
    """Separate one track and give the waveforms to museval."""
    tested = [row for row in track_scores(experiment, model) if row["dataset"] == "CCMixter"]
    store = FeatureFile.open(experiment / "data/features/CCMixter.h5")
    references = store.waveforms(store.index.index.tolist().index(tested[0]["track"]))
    estimates = np.stack([references.sum(axis=0)] * 2)
    if model != "mixture":
        estimates = Separator.load(experiment / "models" / model).separate(estimates[0])
    assert estimates.shape == references.shape
    sdr, sir, _, _ = museval.metrics.bss_eval_sources(
        references, estimates, compute_permutation=False
    )
    assert [row["source"] for row in tested] == list(SOURCES)
    for number, row in enumerate(tested):
        assert float(row["SDR"]) == pytest.approx(sdr[number], abs=0.0051)
        assert float(row["SIR"]) == pytest.approx(sir[number], abs=0.0051)


@pytest.mark.usefixtures("one_process")
def test_a_fourth_model_is_a_fourth_row_without_code(copied: Path) -> None:
    data = small_params()
    data["models"]["A"] = {"critics": ["accompaniment"], "alpha": 0.02, "beta": 0.0}
    data["training"] |= {"max_epochs": 1, "steps_per_epoch": 2}
    write_params(data, copied)
    before = json.loads((copied / "results/metrics.json").read_text())
    with inside(copied):
        train.train("A", device="cpu")
        evaluate.evaluate("A", role="test", out=None, device="cpu")
        compare.main()
    config = json.loads((copied / "models/A/config.json").read_text())
    assert (config["critics"], config["alpha"], config["beta"]) == (["accompaniment"], 0.02, 0.0)
    assert (copied / "models/A/critic-accompaniment.safetensors").exists()
    assert not (copied / "models/A/critic-vocals.safetensors").exists()
    after = json.loads((copied / "results/metrics.json").read_text())
    for name in SETS:
        assert list(after[name]) == ["mixture", "baseline", "V", "VA", "A", "oracle"]
        fourth = after[name].pop("A")
        assert set(fourth) == set(before[name]["VA"])
    assert after == before
    table = (copied / "results/table.md").read_text()
    header = next(line for line in table.splitlines() if line.startswith("| test set"))
    assert re.split(r"\s*\|\s*", header.strip("| ")) == [
        "test set", "metric", "tracks", "mixture", "baseline", "V", "VA", "A", "oracle",
    ]  # fmt: skip
    assert "| A " in table[table.index("## Difference in SDR to baseline") :]


# ---------------------------------------------------------------------------------- bad recordings

Harm = Callable[[Path], None]


def change(path: Path, samples: Callable[[Any], Any], rate: int = RATE, **options: Any) -> None:
    data = soundfile.read(path, always_2d=True)[0]
    path.unlink()  # it may be a hard link
    soundfile.write(path, samples(data), rate, **options)


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


def with_a_nan(data: Any) -> Any:
    data[3000, 0] = np.nan
    return data


# What is done to the files of a track that was sound: {name of the track: {file: harm}}, and what
# the stage must say about it.
HARMS: dict[str, tuple[dict[str, Harm], str]] = {
    "Truncated": (
        {"source-01": truncate},
        r"Bad_-_Truncated/source-01\.wav: truncated: .*; copy or download it again",
    ),
    "Not a Number": (
        {"source-02": lambda path: change(path, with_a_nan, subtype="FLOAT")},
        r"Bad_-_Not a Number/source-02\.wav: NaN or infinite samples, the first at 0\.068 s",
    ),
    "Unequal Lengths": (
        {"source-02": lambda path: change(path, lambda data: data[:-10])},
        r"source-02\.wav: \d+ samples, but source-01\.wav has \d+ samples",
    ),
    "Unequal Rates": (
        {"source-02": lambda path: change(path, lambda data: data, rate=48_000)},
        r"source-02\.wav: 48000 Hz, but source-01\.wav has 44100 Hz",
    ),
    "Unequal Channels": (
        {"source-02": lambda path: change(path, lambda data: data[:, 0])},
        r"source-02\.wav: 1 channels, but source-01\.wav has 2 channels",
    ),
    "No Samples": (
        {"source-01": lambda path: change(path, lambda data: data[:0])},
        r"source-01\.wav: holds no samples",
    ),
    "Missing": ({"source-01": Path.unlink}, r"source-01\.wav: no such file"),
    "Silent": (
        {name: lambda path: change(path, np.zeros_like) for name in ("source-01", "source-02")},
        r"silent from beginning to end",
    ),
}

# Sound, but not easy: 0.3 s long; sorted so that each has another role. The last is in another
# Unicode form (decomposed) than the id that it gets.
ODD = {
    "!Björk's_-_“Première” & Größe (feat. Ω), #1 100%": "unlabelled",
    "Am'_-_日本語 のうた": "validation",
    "Édith_-_C'est fini": "test",
}
ODD_SONG = "099 - Motörhead's, (Live) & Ünplugged - Wo bist Du… nicht?"


def lay_out(experiment: Path, recordings: Path) -> None:
    """The fixture's recordings as a user's own, with bad and odd ones among them."""
    shutil.copytree(
        experiment / "data/synthetic", recordings, copy_function=os.link,
        ignore=shutil.ignore_patterns(".rendered.json"),
    )  # fmt: skip
    corpus = recordings / "CCMixter/ccmixter_corpus"
    sound = next(corpus.iterdir())
    for name, (harms, _) in HARMS.items():
        folder = corpus / f"Bad_-_{name}"
        shutil.copytree(sound, folder, copy_function=os.link)
        for stem, harm in harms.items():
            harm(folder / f"{stem}.wav")
    for name in ODD:
        shutil.copytree(sound, corpus / name, copy_function=os.link)
        for file in (corpus / name).iterdir():
            change(file, lambda data: data[RATE : RATE + RATE * 3 // 10])
    song = recordings / "DSD100/Sources/Dev" / ODD_SONG
    shutil.copytree(next((recordings / "DSD100/Sources/Dev").iterdir()), song)
    for file in song.iterdir():
        change(file, lambda data: data[RATE : RATE + RATE * 3 // 10])
    clip = next((recordings / "iKala/Wavfile").iterdir())
    shutil.copyfile(clip, clip.with_name("Bad_mono.wav"))
    change(clip.with_name("Bad_mono.wav"), lambda data: data[:, 0])


@pytest.fixture
def odd(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: None
) -> Iterator[Path]:
    """An experiment on a user's own recordings, of which some are bad; nothing has run yet."""
    lay_out(experiment, tmp_path / "my recordings")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "my recordings"))
    data = small_params()
    data["datasets"] = {name: {"origin": "local"} for name in ("DSD100", "CCMixter", "iKala")}
    data["models"] = {"V": data["models"]["V"]}
    data["training"] |= {"max_epochs": 1, "steps_per_epoch": 2, "batch_size": 8}
    write_params(data, tmp_path)
    with inside(tmp_path):
        yield tmp_path


def test_bad_recordings_are_listed_and_the_others_go_all_the_way(
    odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download.download("CCMixter")
    *_, count, heading = capsys.readouterr().out.split("  ")[0].splitlines()
    assert count.startswith("CCMixter: 6 tracks can be used")
    assert heading == f"CCMixter: {len(HARMS)} tracks cannot:"
    download.download("CCMixter")
    listed = capsys.readouterr().out.splitlines()[-len(HARMS) :]
    for name, (_, said) in HARMS.items():
        (line,) = [line for line in listed if line.startswith(f"  Bad_-_{name}: ")]
        assert re.search(said, line), line
    download.download("iKala")
    assert capsys.readouterr().out.splitlines()[-1] == (
        "  Bad_mono: Wavfile/Bad_mono.wav: 1 channel, expected 2 (left accompaniment, right"
        " vocals); copy or download it again"
    )
    download.download("DSD100")

    split.split()
    roles = pd.read_csv("data/split.csv").set_index("track")
    assert not [name for name in roles.index if "Bad" in name]
    for name, role in ODD.items():
        assert roles.loc[name, "role"] == role
    assert roles.loc[ODD_SONG, "role"] == "supervised"
    assert roles.loc[ODD_SONG, "artist"] == "Motörhead's, (Live) & Ünplugged"

    for dataset in ("DSD100", "CCMixter", "iKala"):
        preprocess.preprocess(dataset)
    store = FeatureFile.open(odd / "data/features/CCMixter.h5")
    assert store.index.loc[list(ODD), "samples"].tolist() == [2400] * 3

    train.train("V", device="cpu")
    for row in ("mixture", "V", "oracle"):
        evaluate.evaluate(row, role="test", out=None, device="cpu")
    compare.main()
    for row in ("mixture", "V", "oracle"):
        scores = [row for row in track_scores(odd, row) if row["track"] == "Édith_-_C'est fini"]
        assert len(scores) == 2
        assert all(np.isfinite(float(score["SDR"])) for score in scores)
    assert json.loads(Path("results/metrics.json").read_text())["CCMixter"]["V"]["tracks"] == 2


def test_a_recording_that_breaks_later_stops_preprocess(
    odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download.download("iKala")
    preprocess.preprocess("iKala")
    before = fingerprints(odd)
    clip = next(Path("my recordings/iKala/Wavfile").glob("9*.wav"))
    truncate(clip)
    said = failing(preprocess.preprocess, ["iKala"], capsys)
    assert re.search(rf"{clip.name}: truncated: .*; copy or download it again", said)
    after = fingerprints(odd)
    assert before.pop(str(clip)) != after.pop(str(clip))
    assert after == before


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (None, r"recordings/iKala: no such folder; put the dataset there as Wavfile/.*DATA_ROOT"),
        ("iKala", r"recordings/iKala: no tracks in this folder; expected Wavfile/.*DATA_ROOT"),
        ("iKala/Wavfile", r"recordings/iKala: no tracks in this folder; expected Wavfile/"),
        ("iKala/Wavfile/a_verse.wav", r"recordings/iKala: .*a_verse\.wav"),
    ],
)
@pytest.mark.usefixtures("one_process")
def test_data_root_without_the_dataset(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str | None,
    said: str,
) -> None:
    """Not there, empty, an empty folder in it, nothing but a file of no bytes."""
    data = small_params()
    data["datasets"] = {"iKala": {"origin": "local"}}
    write_params(data, tmp_path)
    root = tmp_path / "recordings"
    if place and place.endswith(".wav"):
        (root / place).parent.mkdir(parents=True)
        (root / place).touch()
    elif place:
        (root / place).mkdir(parents=True)
    monkeypatch.setenv("DATA_ROOT", str(root))
    with inside(tmp_path):
        before = fingerprints(tmp_path)
        assert re.search(said, failing(download.download, ["iKala"], capsys))
        assert fingerprints(tmp_path) == before


def test_without_data_root_recordings_are_expected_below_data_raw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small_params()
    data["datasets"] = {"iKala": {"origin": "local"}}
    write_params(data, tmp_path)
    monkeypatch.delenv("DATA_ROOT", raising=False)
    with inside(tmp_path):
        said = failing(download.download, ["iKala"], capsys)
    assert said.startswith("error: data/raw/iKala: no such folder")


# -------------------------------------------------------------------------------- a user's mistakes


def fingerprints(folder: Path) -> dict[str, str]:
    """Every file below a folder with a hash of its content."""
    with inside(folder):
        return {
            str(path): hashlib.md5(path.read_bytes()).hexdigest()
            for path in Path().rglob("*")
            if path.is_file()
        }


def failing(
    command: Callable[..., None], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> str:
    """The one line that a stage's command line says when it ends with status 1."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["stage", *arguments])
        with pytest.raises(SystemExit) as ended:
            common.run(command)
    said = capsys.readouterr()
    assert ended.value.code == 1
    lines = said.err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def remove(path: str) -> Callable[[], None]:
    return lambda: shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()


def damage(path: str) -> Callable[[], None]:
    def halve() -> None:
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: len(content) // 2])

    return halve


def nothing() -> None:
    pass


def empty_test_role() -> None:
    frame = pd.read_csv("data/split.csv")
    frame.loc[frame["role"] == "test", "role"] = "validation"
    frame.to_csv("data/split.csv", index=False)


def forget_a_track() -> None:
    """As after the split of another corpus."""
    frame = pd.read_csv("data/split.csv")
    frame.loc[frame["role"] == "test", "track"] += " (demo)"
    frame.to_csv("data/split.csv", index=False)


MISTAKES: list[tuple[Callable[..., None], list[str], Callable[[], None], str]] = [
    (download.download, ["Musdb"], nothing, "params.yaml: datasets: expected one of DSD100, .*'Musdb'"),
    (preprocess.preprocess, ["ikala"], nothing, "params.yaml: datasets: expected one of .*'ikala'"),
    (train.train, ["v"], nothing, "params.yaml: models: expected one of baseline, V, VA, found 'v'"),
    (evaluate.evaluate, ["v"], nothing, "params.yaml: models: expected one of baseline, V, VA"),
    (evaluate.evaluate, ["V", "--role", "tset"], nothing, "--role tset: expected one of supervised"),
    (evaluate.evaluate, ["V", "--role", "validation"], nothing, "--role validation: .* --out"),
    (train.train, ["V", "--device", "tpu"], nothing, "--device tpu: expected auto, cpu or cuda"),
    (preprocess.preprocess, ["iKala"], remove("data/inventory/iKala.json"),
     r"data/inventory/iKala\.json: no such file; run `python -m stages.download iKala` first"),
    (split.split, [], remove("data/inventory/iKala.json"), r"data/inventory/iKala\.json: no such file"),
    (split.split, [], damage("data/inventory/iKala.json"),
     r"data/inventory/iKala\.json: not a valid inventory"),
    (preprocess.preprocess, ["iKala"], nothing, r"data/synthetic/iKala/Wavfile/.*\.wav: no such file"),
    (train.train, ["V"], remove("data/features"), r"data/features/\w+\.h5: no such file; run `dvc repro"),
    (train.train, ["V"], remove("data/split.csv"), r"data/split\.csv: no such file; run"),
    (evaluate.evaluate, ["oracle"], remove("data/features"), r"data/features/DSD100\.h5: no such file"),
    (evaluate.evaluate, ["oracle"], remove("data/split.csv"), r"data/split\.csv: no such file"),
    (evaluate.evaluate, ["oracle"], forget_a_track, r"\.h5: no features of '.* \(demo\)'"),
    (evaluate.evaluate, ["oracle"], empty_test_role, r"data/split\.csv: no track has the role test"),
    (evaluate.evaluate, ["V"], remove("models/V"), "models/V: not a model folder: no config.json"),
    (compare.main, [], remove("results/tracks/VA.csv"), r"results/tracks/VA\.csv: no such file; run"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "arguments", "mistake", "said"), MISTAKES)
@pytest.mark.usefixtures("one_process")
def test_a_users_mistake_is_one_line_and_leaves_no_output(
    copied: Path,
    capsys: pytest.CaptureFixture[str],
    command: Callable[..., None],
    arguments: list[str],
    mistake: Callable[[], None],
    said: str,
) -> None:
    with inside(copied):
        mistake()
        before = fingerprints(copied)
        line = failing(command, arguments, capsys)
        assert re.match(f"error: .*{said}", line), line
        assert fingerprints(copied) == before


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (download.download, ["iKala"]),
        (split.split, []),
        (preprocess.preprocess, ["iKala"]),
        (train.train, ["V"]),
        (evaluate.evaluate, ["mixture"]),
        (compare.main, []),
    ],
)
def test_without_parameters_every_stage_says_so(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: Callable[..., None],
    arguments: list[str],
) -> None:
    with inside(tmp_path):
        line = failing(command, arguments, capsys)
    assert line == "error: params.yaml: no such file; run from the top of the repository"
    assert not list(tmp_path.iterdir())


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["stage"])
    with pytest.raises(ZeroDivisionError):
        common.run(broken)


# ------------------------------------------------------------------------- as processes of their own


def command_line(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (["download", "Musdb"], "params.yaml: datasets: expected one of .* found 'Musdb'"),
        (["split"], r"data/inventory/DSD100\.json: no such file"),
        (["compare"], r"results/tracks/mixture\.csv: no such file; run"),
    ],
)
def test_a_process_ends_with_one_line_and_status_1(
    tmp_path: Path, stage: list[str], said: str
) -> None:
    write_params(small_params(), tmp_path)
    done = command_line(tmp_path, "-m", f"stages.{stage[0]}", *stage[1:])
    assert done.returncode == 1
    assert re.fullmatch(f"error: {said}.*\n", done.stderr)
    assert not done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


HELP = """
import contextlib, io, runpy, sys
for name in ("dvc", "dvclive"):
    sys.modules[name] = None  # importing it fails
for stage in sys.argv[1:]:
    sys.argv, text = [stage, "--help"], io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        runpy.run_module(f"stages.{stage}", run_name="__main__")
    assert "Usage: " in text.getvalue(), stage
    print(stage)
slow = {"torch", "pandas", "lightning", "museval"} & set(sys.modules)
assert not slow, slow
"""


def test_every_stage_explains_itself_without_dvc(tmp_path: Path) -> None:
    stages = sorted(path.stem for path in (TOP / "stages").glob("*.py"))
    stages = [name for name in stages if name not in ("__init__", "common")]
    assert {"download", "split", "preprocess", "train", "evaluate", "compare"} <= set(stages)
    done = command_line(tmp_path, "-c", HELP, *stages)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == stages


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_help_comes_at_once(tmp_path: Path, stage: str) -> None:
    """Time of the processor, which what else runs on the machine hardly changes."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = command_line(tmp_path, "-m", f"stages.{stage}", "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert statistics.median(times) < 1.5


def test_a_wrong_setting_of_the_machine_is_one_line(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIPELINE_PROCESSES", "all")
    with inside(copied):
        line = failing(evaluate.evaluate, ["mixture"], capsys)
    assert line == "error: PIPELINE_PROCESSES: expected a number of processes, found 'all'"


def test_what_is_printed_is_the_table(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = fingerprints(copied)
    with inside(copied):
        compare.main()
    assert capsys.readouterr().out == (copied / "results/table.md").read_text() + "\n"
    assert fingerprints(copied) == before  # the same bytes again
