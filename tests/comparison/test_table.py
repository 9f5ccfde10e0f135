"""The Markdown table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.comparison import aggregation, long_table, table
from pipeline.datasets.inventory import FileEntry, Inventory
from pipeline.datasets.readers.base import Rejected
from pipeline.datasets.survey import absent
from pipeline.evaluation.metrics import MEASURED, TABLED
from pipeline.evaluation.scoring import SILENT_ESTIMATE, SILENT_REFERENCE
from pipeline.params import DATASETS
from pipeline.tracks import Part, Recording, Track
from tests.helpers import rendered
from tests.helpers.score_tables import SOURCES, many_tracks, markdown, split_of

ROOT = Path(__file__).parents[2]


def cells_of(text: str, heading: str) -> list[list[str]]:
    lines = text.split(f"## {heading}\n\n")[1].split("\n\n")[0].splitlines()
    assert len({len(line) for line in lines}) == 1, "columns are aligned"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_markdown(collected: pd.DataFrame) -> None:
    text = markdown(collected)
    header, _, *rows = cells_of(text, "vocals")
    assert header == ["test set", "model", "tracks (artists)", *TABLED]
    assert [row[0] for row in rows[::5]] == ["all", "unseen", "DSD100", "iKala"]
    assert [row[1] for row in rows[:5]] == list(collected["model"].unique())
    assert [row[2] for row in rows[:6]] == ["4 (4)", "", "", "", "", "2 (2)"]
    # The best alone is in bold where all others can be told from it; equals all are; the oracle never.
    assert [row[3].split(" ± ")[0] for row in rows[:5]] == [
        "4.25",
        "6.25",
        "**7.25**",
        "6.75",
        "13.25",
    ]
    assert [row[4].split(" ± ")[0] for row in rows[:5]] == ["3.25", *["**3.25**"] * 3, "3.25"]
    # by hand: the tracks' vocals, alike with both seeds, less the level
    half = stats.t.ppf(0.975, 3) * np.std([0, 9, 8, 0.01], ddof=1) / 2
    assert float(rows[2][3].split(" ± ")[1]) == pytest.approx(half, abs=0.0051)
    first = cells_of(text, "Difference in SDR to baseline")[2]
    assert first == ["all", "accompaniment", "V", "+1.00", "+1.00 to +1.00", "0", "0"]
    assert "after Holm's correction over the 4 differences of this table" in text
    assert "What can be seen" in text
    assert "silent reference): 1 of DSD100: `no vocals`." in text
    assert "No estimate was silent." in text
    assert text.endswith("- a note\n")


def test_what_chose_the_epochs_is_a_note() -> None:
    """And models whose seeds come from several machines, which round otherwise."""
    roles = ["supervised", "validation", "validation", "validation", "test"]
    datasets = ["DSD100", "DSD100", "iKala", "iKala", "iKala"]
    split = pd.DataFrame({"dataset": datasets, "role": roles})
    two = {"V": {"AMD EPYC": [1, 3], "NVIDIA H200": [2]}, "VA": {"AMD EPYC": [1, 2, 3]}}
    first, second = table.about_training("supervised", split, two)
    assert "validation tracks of DSD100 (1 tracks, each counting the same)" in first
    assert "no paired recording of another corpus had a part in it" in first
    assert second == (
        "The seeds of V were trained on several machines: `AMD EPYC`: 1, 3; `NVIDIA H200`: 2."
    )
    (first,) = table.about_training("all", split, {"V": {}})
    assert "of DSD100, iKala (3 tracks" in first
    assert "as in the paper" in first


def test_no_name_becomes_markup(frames: dict[str, pd.DataFrame]) -> None:
    """Of models, datasets, sources and tracks; what is shown is the name to the letter."""
    track, model = "a`b`` | [x](https://e.org) @user <b>", "#1"
    renamed = {"track": {"no vocals": track}, "dataset": {"iKala": "www.e.org"}}
    hostile = {
        name: frame.replace({**renamed, "source": {"vocals": "<i>"}})
        for name, frame in {**frames, model: frames["V"]}.items()
    }
    hostile[model].loc[hostile[model]["note"] == "", "note"] = SILENT_ESTIMATE
    sources = ["accompaniment", "<i>"]
    collected = aggregation.combine(hostile, sources)
    long = long_table.long_table(collected, sources, split_of(collected), "baseline", 0.95)
    notes = table.about_data([absent("iKala", "local", "|"), absent("DSD100", "local", "$x$")])
    text = table.as_markdown(
        collected, long, sources, baseline="baseline", confidence=0.95, filter_length=512,
        sample_rate=8000, notes=notes,
    )  # fmt: skip
    codes = rendered.codes(text)
    assert {track, model, "www.e.org", "<i>"} <= set(codes)
    assert any("$x$" in code for code in codes)
    assert f"Left out of all means (silent reference): 1 of DSD100: {track}." in rendered.lines(
        text
    )


def test_markdown_counts_silent_estimates(frames: dict[str, pd.DataFrame]) -> None:
    dead = frames["VA"].copy()
    dead.loc[(dead["source"] == "vocals") & (dead["note"] == ""), "note"] = SILENT_ESTIMATE
    text = markdown(aggregation.combine({**frames, "VA": dead}, SOURCES))
    assert "part of the means (tracks, all seeds together): VA vocals: 8." in text


def test_the_notes_say_of_which_sources_a_track_has_no_scores(
    frames: dict[str, pd.DataFrame],
) -> None:
    for frame in frames.values():
        silent = (frame["track"] == "a") & (frame["source"] == "vocals")
        frame[MEASURED] = frame[MEASURED].mask(silent)
        frame["note"] = frame["note"].mask(silent, SILENT_REFERENCE)
    text = markdown(aggregation.combine(frames, SOURCES))
    assert "- Left out of all means (silent reference): 1 of DSD100: `no vocals`.\n" in text
    assert "- Left out of the means of vocals (silent reference): 1 of iKala: `a`.\n" in text
    assert text.count("Left out of") == 2


def test_one_model_is_not_the_best_of_anything(frames: dict[str, pd.DataFrame]) -> None:
    few = {model: frames[model] for model in ("mixture", "baseline", "oracle")}
    text = markdown(aggregation.combine(few, SOURCES))
    assert "**" not in text
    assert "Difference" not in text


def test_one_seed_claims_nothing() -> None:
    text = markdown(many_tracks(6, seeds=(4,)))
    assert "the intervals do not cover retraining**" in text
    assert "**" not in text.split("## accompaniment")[1]
    rows = cells_of(text, "Difference in SDR to baseline")[2:]
    assert {tuple(row[4:]) for row in rows} == {("–", "–", "–")}
    assert "too few seeds or artists" in text
    assert "What can be seen" not in text


def test_the_notes_say_what_the_numbers_were_made_from() -> None:
    def song(dataset: str, name: str) -> Recording:
        track = Track(dataset=dataset, id=name, artist="x", sources={"vocals": (Part(file="x"),)})
        return Recording(track=track, sample_rate=8000, channels=1, samples=9)

    files = {"x": FileEntry(bytes=9)}
    lines = table.about_data(
        [
            Inventory(
                dataset="DSD100", origin="download", collection="MUSDB18", files=files,
                recordings=(song("DSD100", "x"),),
            ),
            absent("iKala", "local"),
            Inventory(
                dataset="MedleyDB", origin="local", files=files, missing=("a", "b"),
                recordings=(song("MedleyDB", "x"),),
                rejected=(Rejected(track="y", reason="truncated"),),
            ),
            Inventory(
                dataset="DAMP", origin="folder", files=files,
                recordings=(song("DAMP", "x"), song("DAMP", "y")),
            ),
        ]
    )  # fmt: skip
    assert lines == [
        "LEFT OUT: iKala: `no recordings at DATA_ROOT/iKala when the experiment was run`.",
        "Not part of this experiment (params.yaml): CCMixter.",
        "DSD100: 1 of its songs, read from MUSDB18.",
        "MedleyDB: incomplete: 2 published tracks missing, 1 tracks that cannot be used"
        " (`data/inventory/MedleyDB.json`).",
        "DAMP: 2 unpaired recordings (vocals), unlabelled.",
    ]
    (line,) = table.about_data([Inventory(dataset=name, origin="synthetic") for name in DATASETS])
    assert line.startswith("Embedded synthetic recordings in the layout of DSD100, MedleyDB, CCM")
