"""Every kind of file of ours that is text, with what the stages do with it."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from pipeline import params, roles
from pipeline.comparison import aggregation, differences, histories, long_table, table
from pipeline.datasets import duplicates, inventory, rendered, split
from pipeline.datasets.download import transfer
from pipeline.datasets.inspection import Expected, InspectionCache
from pipeline.datasets.readers import medleydb
from pipeline.evaluation import scored_weights
from pipeline.evaluation.metrics import MEASURED
from pipeline.evaluation.track_scores import load_tracks, save_tracks
from pipeline.features.writing import Layout
from pipeline.networks.builders import build_critic, build_separator
from pipeline.report import card, finished_run, tables, words
from pipeline.separation import model_folder
from pipeline.text_files import remembered
from stages import common
from tests.helpers.fuzzing import Target

ROWS = tuple(params.table_rows(("baseline", "V", "VA")))


def use_params() -> None:
    found = params.load()
    assert params.parse(found.model_dump(), "again") == found
    json.dumps(found.model_dump(), allow_nan=False)
    with torch.device("meta"):
        build_separator(found.separator.model_dump(), found.signal, len(found.sources))
        build_critic(found.critic.model_dump(), found.signal, found.training.excerpt)
    for name, entry in found.datasets.items():
        common.recordings_root(name, entry).is_dir()
        common.features_path(name).is_file()


def use_inventory() -> None:
    found = inventory.load(Path("data/inventory/iKala.json"))
    copy = Path("work/copy/iKala.json")
    inventory.save(found, copy)
    assert inventory.load(copy) == found
    layout = Layout.of(found, found.kinds, params.load().signal)
    assert 0 <= layout.bytes < 2**63
    table.about_data([found])
    given = split.assign([found], "by_artist", 1)
    split.notices(duplicates.without(given, duplicates.find(given, [found])), [found], "by_artist")


def use_split() -> None:
    found = roles.load_split(Path("data/split.csv"))
    roles.save_split(found, Path("work/copy.csv"))
    assert roles.load_split(Path("work/copy.csv")).equals(found)


def use_sums() -> None:
    found = scored_weights.load(Path("results/tracks/V.csv"))
    assert all(seed >= 0 and len(bytes.fromhex(one)) == 32 for seed, one in found.items())


def use_scores() -> None:
    path = Path("results/tracks/V.csv")
    found = load_tracks(path)
    copy = Path("work/V.csv")
    save_tracks(found, copy)
    rounded = load_tracks(copy)
    assert rounded.drop(columns=MEASURED).equals(found.drop(columns=MEASURED))
    save_tracks(rounded, copy)
    assert load_tracks(copy).equals(rounded)
    settings = params.load()
    card._scores(path.parent, ("V", 1), settings.sources, None)
    frames = {row: load_tracks(Path(f"results/tracks/{row}.csv")) for row in ROWS}
    scores = aggregation.combine(frames, settings.sources)
    split = roles.load_split(Path("data/split.csv"))
    means = aggregation.means(scores, settings.sources, aggregation.unseen_datasets(split))
    aggregation.save_means(means, Path("work/metrics.json"))
    assert aggregation.load_means(Path("work/metrics.json"), "", rows=ROWS) == means
    long = long_table.long_table(scores, settings.sources, split, "baseline", 0.95)
    table.as_markdown(
        scores, long, settings.sources, baseline="baseline", confidence=0.95,
        filter_length=512, sample_rate=8000,
    )  # fmt: skip


def use_history() -> None:
    found = histories.all_curves(Path("models"), ["V"], [1, 2])
    if found is not None:
        histories.save(found, Path("work/curves.csv"))


def use_config() -> None:
    found = model_folder.read_config(Path("models/VA/seed-1"))
    with torch.device("meta"):
        build_separator(found.separator.model_dump(), found.signal, len(found.sources))
        if found.critic:
            build_critic(found.critic.model_dump(), found.signal, found.excerpt)


@cache
def whole() -> finished_run.Run:
    """The run before anything is damaged (`prepare`): to read all of it each time takes too long."""
    return finished_run.load(
        common.PARAMS, Path("data"), common.MODELS, common.RESULTS, common.TIMINGS
    )


def use_metrics() -> None:
    path = Path("results/metrics.json")
    means = aggregation.load_means(path, "", rows=ROWS)
    run = replace(whole(), means=means)
    words.headline(run)
    tables.mean_rows(run, "vocals", "SDR")
    differences.load(Path(), "HEAD")


def use_table() -> None:
    run = replace(whole(), table=long_table.load_long_table(Path("results/table.csv"), "", ""))
    words.headline(run)
    tables.mean_rows(run, "vocals", "SDR")


def use_notes() -> None:
    finished_run._notes(Path("results/table.md"), "")


def use_rendered() -> None:
    rendered.load(Path("work/rendered")).intact(Path("work/rendered"))


def use_state() -> None:
    partial = transfer.Transfer(Path("work/archive.zip"))
    length, validator = partial._kept("https://example.org/archive.zip")
    assert length in (0, 3)
    assert validator is None or validator.isascii()


def use_inspected() -> None:
    found = InspectionCache.load(Path("work/inspected/iKala.txt"))
    tracks = inventory.load(Path("data/inventory/iKala.json")).recordings
    for recording in tracks:
        found.recall(recording.track, Expected(), Path("data/synthetic/iKala"), None)


def use_timings() -> None:
    found = remembered(common.TIMINGS, finished_run.Timings) or {}
    assert all(0 <= value < math.inf for value in found.values())
    common._note_time("stages.split", [], 1.0)


def use_metadata() -> None:
    medleydb._parse(Path("work/A_METADATA.yaml"))


def prepare() -> None:
    """What a finished experiment has not, or not in this place."""
    work = Path("work")
    work.mkdir(exist_ok=True)
    (work / "timings.json").write_text(json.dumps({"split": 1.5, "train V": 60.0}))
    (work / "rendered").mkdir(exist_ok=True)
    marker = {
        "made_from": {"dataset": "iKala", "seed": 7},
        "files": {"a.wav": "0" * 32, "b.wav": "1" * 32},
    }
    (work / "rendered/.rendered.json").write_text(json.dumps(marker))
    (work / "archive.zip.partial").write_text("abc")
    state = {"url": "https://example.org/archive.zip", "validator": '"5f1"'}
    (work / "archive.zip.state.partial").write_text(json.dumps(state))
    (work / "A_METADATA.yaml").write_text(
        "artist: A\nstems:\n  S01: {component: melody, filename: A_STEM_01.wav, instrument: female"
        " singer}\n  S02:\n    filename: A_STEM_02.wav\n    instrument: [drum set, 'no']\n"
    )
    whole()


_ALL: dict[str, tuple[str, str, Callable[[], object]]] = {
    "params": ("params.yaml", "yaml", use_params),
    "inventory": ("data/inventory/iKala.json", "json", use_inventory),
    "split": ("data/split.csv", "csv", use_split),
    "scores": ("results/tracks/V.csv", "csv", use_scores),
    "sums": ("results/tracks/V.sha256", "bytes", use_sums),
    "history": ("models/V/seed-1/history/validation/L_s.tsv", "tsv", use_history),
    "config": ("models/VA/seed-1/config.json", "json", use_config),
    "metrics": ("results/metrics.json", "json", use_metrics),
    "table": ("results/table.csv", "csv", use_table),
    "notes": ("results/table.md", "bytes", use_notes),
    "metadata": ("work/A_METADATA.yaml", "yaml", use_metadata),
}
_FORGIVING: dict[str, tuple[str, str, Callable[[], object]]] = {
    "timings": ("work/timings.json", "json", use_timings),
    "rendered": ("work/rendered/.rendered.json", "json", use_rendered),
    "state": ("work/archive.zip.state.partial", "json", use_state),
    "inspected": ("work/inspected/iKala.txt", "bytes", use_inspected),
}
TARGETS = {name: Target(*of) for name, of in _ALL.items()} | {
    name: Target(*of, forgiving=True) for name, of in _FORGIVING.items()
}
