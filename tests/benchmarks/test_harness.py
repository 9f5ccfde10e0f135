"""Turns, ratios, targets, and the tables made from them."""

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from benchmarks import __main__ as program
from benchmarks import harness, machine, material, parts, tables
from benchmarks.harness import LIMIT, OURS, STRAIGHTFORWARD, Options, Quantity, Result
from benchmarks.parts import memory, projection, training, validation, ways
from pipeline.errors import UserError
from pipeline.tracks import Role
from tests.helpers.places import TOP
from tests.helpers.whole_tracks import probe


def test_sides_take_turns_and_the_warm_up_does_not_count() -> None:
    order: list[str] = []
    sides = {name: lambda name=name: order.append(name) for name in (OURS, LIMIT)}
    times = harness.measure(sides, turns=2)
    assert order == [OURS, LIMIT] * 3
    assert {name: len(found) for name, found in times.items()} == {OURS: 2, LIMIT: 2}


def test_ratios_are_of_neighbours_in_time_not_of_medians() -> None:
    """A machine that grows ten times slower in the middle of it changes no ratio."""
    times = {OURS: [1.0, 10.0, 10.0], STRAIGHTFORWARD: [3.0, 30.0, 30.0], LIMIT: [0.5, 5.0, 5.0]}
    assert harness.speed_up(times).values == [3.0, 3.0, 3.0]
    assert harness.of_limit(times, factor=0.5).median == 0.25
    assert harness.per("real-time factor", times, 100, "").values == [0.01, 0.1, 0.1]


@pytest.mark.parametrize(
    ("bounds", "reached"),
    [({}, None), ({"at_least": 2}, True), ({"at_least": 2.1}, False), ({"at_most": 1.9}, False)],
)
def test_a_median_reaches_its_target_or_misses_it(bounds: dict[str, Any], reached: bool) -> None:
    quantity = Quantity("speed-up", [1, 2, 9], **bounds)
    assert quantity.reached is reached
    assert quantity.as_json()["quartiles"] == [1.5, 5.5]


def example() -> dict[str, Any]:
    """A machine's record with a target that is reached and one that is missed."""
    times = {OURS: [2.0, 2.0], STRAIGHTFORWARD: [6.0, 10.0]}
    result = Result(
        "batches",
        [harness.speed_up(times, at_least=20), harness.per("time", times, 1, "s", at_most=2.5)],
        times, 64, "excerpts a second", "two of them",
    )  # fmt: skip
    return {"machine": machine.describe(), "parts": {"batches": program.entry([result])}}


def test_tables_say_what_missed_its_target() -> None:
    found = tables.results(example())
    text = tables.table(found)
    assert "| batches | speed-up | 4.00 | 3.50 to 4.50 | 2 | at least 20 | **missed** |" in text
    assert "| batches | time | 2.00 s | 2.00 to 2.00 | 2 | at most 2.5 s | reached |" in text
    assert "| batches | excerpts a second | 32.0 | 8.00 |  |" in tables.rates(found)
    assert list(tables.missed(found)) == ["batches: speed-up is 4.00, must be at least 20"]


def test_parts_that_were_not_measured_again_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    monkeypatch.setattr(program, "TOP", tmp_path)
    monkeypatch.setattr(program, "DOCUMENT", document)
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    first, second = example(), example()
    second["parts"] = {"startup": second["parts"]["batches"]}
    for record in (first, second):
        program.save(record, tmp_path / "machine.json")
    assert set(json.loads((tmp_path / "machine.json").read_text())["parts"]) == {
        "batches", "startup",
    }  # fmt: skip
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert text.count("| batches | speed-up |") == 2


def test_the_document_shows_the_committed_results() -> None:
    text = (TOP / "docs/performance.md").read_text(encoding="utf-8")
    assert text == tables.fill(text, tables.document(TOP / "benchmarks/results"))


def test_the_machine_is_named_by_what_it_is() -> None:
    facts = {"cpu": "Intel(R) Xeon(R) Gold 6330 @ 2.0GHz", "cores": 8, "gpu": "NVIDIA H200"}
    assert machine.name(facts, "cpu") == "intel-xeon-gold-6330-2-0ghz-8-cores"
    assert machine.name(facts, "cuda") == "nvidia-h200"


def test_an_unknown_part_is_an_error_of_one_line() -> None:
    with pytest.raises(UserError, match="nothing: no such part; there are preprocess, batches"):
        program.check(["training", "nothing"])
    assert all(callable(parts.find(name)) for name in parts.ALL)


def test_every_row_is_measured_beside_the_baseline(with_features: Path) -> None:
    baseline, *others = ways.rows(with_features, Options(quick=True))
    assert [one.what for one in (baseline, *others)] == [
        "update, baseline",
        "update, V",
        "update, VA",
    ]
    assert baseline.quantities[0].values == [1.0, 1.0]
    # two more passes of the separator and a critic: whatever else the machine does, it costs more
    assert all(one.quantities[0].median > 1 for one in others)


def test_rows_are_not_measured_without_features(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((TOP / "params.yaml").read_bytes())
    with pytest.raises(UserError, match="data/features: no such folder; run `make repro`"):
        list(ways.rows(tmp_path, Options(quick=True)))


def test_the_papers_sizes_are_those_of_the_catalogue() -> None:
    """19.6 hours; the paper's numbers of tracks in each role."""
    lengths = material.paper_seconds()
    assert sum(map(sum, lengths.values())) / 3600 == pytest.approx(19.6, abs=0.1)
    assert {role: len(found) for role, found in lengths.items()} == {
        Role.SUPERVISED: 50, Role.UNLABELLED: 140, Role.VALIDATION: 165, Role.TEST: 169,
    }  # fmt: skip


@pytest.mark.parametrize(("precision", "suffix"), [("float32", ""), ("bfloat16", ", bfloat16")])
def test_the_projection_adds_up_what_was_measured(precision: str, suffix: str) -> None:
    """A second a step: 3 x 40,000 of them. Nothing is projected from other batches than the paper's."""

    def measured(batch: float) -> list[Result]:
        work = {validation.NAME: 1e6, f"whole-track separation{suffix}": 1e9, "evaluation": 1e9}
        steps = [
            Result(f"training step, {name}{suffix}", [], {OURS: [1.0]}, batch)
            for name in training.MODELS
        ]
        return steps + [Result(name, [], {OURS: [1.0]}, amount) for name, amount in work.items()]

    assert projection.project(measured(16), precision) is None
    projected = projection.project(measured(64), precision)
    assert projected is not None
    hours = {one.name: one.median for one in projected.quantities}
    assert hours["training VA"] == pytest.approx(40_000 / 3600)
    excerpts = 40 * 3 * sum(material.paper_seconds()[Role.VALIDATION]) * 31.25 / 66
    assert hours["validation passes"] == pytest.approx(excerpts / 1e6 / 3600)
    assert hours["all"] == pytest.approx(sum(hours.values()) / 2)


def test_recordings_of_holes_are_sound_files(tmp_path: Path) -> None:
    """Of the published length, audible, and hardly any room on the disk."""
    memory.write_wav(tmp_path / "a.wav", 600.5, 2, (1, 0))
    assert probe(tmp_path / "a.wav") == (44100, 2, round(600.5 * 44100))
    assert (tmp_path / "a.wav").stat().st_blocks * 512 < 1e6


def test_the_clock_of_a_turn_is_in_seconds() -> None:
    product = torch.ones(300, 300)
    took = harness.seconds(lambda: [product @ product for _ in range(20)])
    assert 0 < took < 60
    assert Options(quick=True).turns(9) == 2
    assert Options(runs=5).turns(9) == 5


def leave_the_setting(path: Path, fails: bool) -> harness.Side:
    """A side that writes what its process has of the memory settings, or ends it."""
    if fails:
        os._exit(3)
    setting = os.environ.get("THP_MEM_ALLOC_ENABLE", "default")
    return lambda: path.write_text(f"{os.getpid()} {setting}")


def test_a_side_apart_has_the_systems_settings_and_ends_with_its_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "1")
    with closing(harness.Apart(leave_the_setting, tmp_path / "said", False)) as side:
        assert not (tmp_path / "said").exists()
        harness.measure({"side": side}, 1)
        process, setting = (tmp_path / "said").read_text().split()
    assert setting == "default"
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "1"
    assert int(process) != os.getpid()
    assert not psutil.pid_exists(int(process))


def test_a_side_apart_that_ends_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="straightforward way has ended"):
        harness.Apart(leave_the_setting, tmp_path / "said", True)
