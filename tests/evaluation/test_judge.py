"""museval as the judge: of scores computed now, and of those in results/tracks."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation import judge
from pipeline.evaluation.bss_eval import energy_ratios
from pipeline.evaluation.judge import COLUMNS, TOLERANCE, confirm, objections, summary
from pipeline.evaluation.metrics import MEASURED, Compared
from pipeline.evaluation.scoring import CEILING, SILENT_REFERENCE
from pipeline.evaluation.table_row import TableRow
from pipeline.evaluation.track_scores import NO_SEED, load_tracks, save_tracks
from pipeline.tracks import TrackName
from tests.helpers import programs
from tests.helpers.command_line import failing
from tests.helpers.experiment import ROWS
from tests.helpers.places import TOP, inside

SCRIPT = TOP / "scripts/confirm-scores"


@pytest.fixture(autouse=True)
def in_turn(one_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(function: Any, items: Sequence[Any], *_: Any) -> Iterator[Any]:
        yield from map(function, items)

    monkeypatch.setattr(judge, "parallel_map", work)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return programs.load("confirm-scores")


# ------------------------------------------------------------------------------------- the judge


def test_museval_gives_ratios_by_source() -> None:
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((500, 4)))[0].T
    estimates = basis[:2] + 0.5 * basis[1::-1] + 0.1 * basis[2:]
    sdr, sir, sar = judge.museval_sources(basis[:2], estimates, 1)
    np.testing.assert_allclose(sdr, [-10 * np.log10(0.26)] * 2)
    np.testing.assert_allclose(sir, [-10 * np.log10(0.25)] * 2)
    np.testing.assert_allclose(sar, [10 * np.log10(1.25 / 0.01)] * 2)


def test_museval_solves_dependent_references_with_this_numpy() -> None:
    references = np.zeros((2, 100))
    references[:, 5] = 2.0**20
    estimates = references + 2.0**17 * np.random.default_rng(0).standard_normal((2, 100))
    with np.errstate(divide="ignore"):
        ratios = judge.museval_sources(references, estimates, 1)
    np.testing.assert_allclose(ratios[0], energy_ratios(references, estimates, 1)[0])


@pytest.mark.slow
def test_without_ffmpeg_one_line_says_what_to_install(tmp_path: Path) -> None:
    """To the judge; our scores need no ffmpeg."""
    program = (
        "import numpy, pipeline.evaluation.judge as c, pipeline.evaluation.bss_eval as b\n"
        "from pipeline.errors import UserError\n"
        "b.energy_ratios(numpy.eye(2), numpy.eye(2), 1)\n"
        "try: c.museval_sources(numpy.eye(2), numpy.eye(2), 1)\n"
        "except UserError as error: print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        cwd=TOP,
    )
    assert "install ffmpeg" in result.stdout
    assert result.stdout.count("\n") == 1


# ------------------------------------------------------------------------------ scores computed now


@pytest.mark.parametrize("row", ["mixture", "V", "irm", "magnitude", "oracle"])
def test_every_scored_track_of_a_row_is_compared(with_scores: Path, row: str) -> None:
    committed = load_tracks(with_scores / f"results/tracks/{row}.csv")
    split = pd.read_csv(with_scores / "data/split.csv")
    features, models = with_scores / "data/features", with_scores / "models"
    seeds = (1, 2) if row == "V" else (NO_SEED,)
    found = confirm(TableRow(row, features, models, 512, seeds), split)
    assert list(found.columns) == COLUMNS
    scored = committed[committed["note"] != SILENT_REFERENCE]
    assert 0 < len(scored) < len(committed)
    assert len(found) == len(MEASURED) * len(scored)
    assert found["difference"].abs().max() < TOLERANCE
    np.testing.assert_allclose(found["difference"], found["ours"] - found["judge"])
    if row == "mixture":
        assert (found.loc[found["metric"] == "SAR", ["ours", "judge"]] == CEILING).all(axis=None)
    assert objections(found, committed) == []
    assert summary(found).startswith(
        f"{len(scored) // 2 // len(seeds)} tracks, largest difference "
    )


def test_museval_judges_a_track_with_a_silent_stem(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    references = rng.standard_normal((4, 600)) * [[1], [0], [1], [1]]
    estimates = references + 0.5 * rng.standard_normal((4, 600))
    stems = Compared(references, estimates, ["vocals", "drums", "bass", "other"], 8, 250)
    monkeypatch.setattr(judge, "compared_waveforms", lambda track, row, seed: stems)
    found = judge.confirm_track((1, TrackName("DSD100", "a")), TableRow("V", Path(), Path(), 8))
    assert [row[3] for row in found[:: len(MEASURED)]] == ["vocals", "bass", "other"]
    assert [row[4] for row in found[: len(MEASURED)]] == MEASURED
    ours, judged = np.array([row[5:] for row in found]).T
    np.testing.assert_allclose(ours, judged, atol=TOLERANCE)


# -------------------------------------------------------------------------------------- objections


OTHERS = {"SI-SDR": 0.5, "SNR": -1.0, "SDR-v4": np.nan, "uSDR": 3.0}
"""One of which no frame counts."""


def compared(changes: dict[str, float] | None = None) -> pd.DataFrame:
    values = {"SDR": 1.0, "SIR": np.inf, "SAR": -2.345} | OTHERS | (changes or {})
    rows = [(3, "iKala", "a", "vocals", name, value, value, 0.0) for name, value in values.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def filed(tmp_path: Path, sdr: float = 1.0, sar: float = -2.35) -> pd.DataFrame:
    nothing = [np.nan] * len(MEASURED)
    rows = [(3, "iKala", "a", "vocals", sdr, np.inf, sar, *OTHERS.values(), ""),
            (3, "iKala", "b", "vocals", *nothing, SILENT_REFERENCE)]  # fmt: skip
    columns = ["seed", "dataset", "track", "source", *MEASURED, "note"]
    save_tracks(pd.DataFrame(rows, columns=columns), tmp_path / "V.csv")
    return load_tracks(tmp_path / "V.csv")


def test_nothing_to_object_to(tmp_path: Path) -> None:
    assert objections(compared(), filed(tmp_path)) == []
    assert objections(compared(), filed(tmp_path, sar=-2.34)) == []  # a boundary of rounding
    assert objections(compared({"SDR": 1.0050002}), filed(tmp_path)) == []  # near one
    assert (
        objections(compared({"SIR": CEILING}), filed(tmp_path)) == []
    )  # a rounding error, and none


@pytest.mark.parametrize("score", [1.0052, 0.9948, np.inf, -np.inf, np.nan])
def test_a_file_that_holds_another_score(tmp_path: Path, score: float) -> None:
    (said,) = objections(compared({"SDR": score}), filed(tmp_path))
    assert said.startswith("seed 3, iKala/a: SDR of vocals is 1.00 dB in the file, by museval ")


@pytest.mark.parametrize("score", [1.00011, -np.inf, np.nan])
def test_a_score_that_is_not_musevals(tmp_path: Path, score: float) -> None:
    table = compared()
    table.loc[0, ["ours", "difference"]] = score, score - 1.0
    (said,) = objections(table, filed(tmp_path))
    assert said.startswith("seed 3, iKala/a: SDR of vocals is ")
    assert said.endswith(" dB, by museval 1.0000000 dB")


@pytest.mark.parametrize("metric", ["SI-SDR", "SNR", "uSDR", "SDR-v4"])
def test_each_metric_has_its_judge(tmp_path: Path, metric: str) -> None:
    by = "museval" if metric == "SDR-v4" else "torchmetrics"
    (said,) = objections(compared({metric: 2.0}), filed(tmp_path))
    assert f"{metric} of vocals is " in said
    assert f" dB in the file, by {by} 2.0000000 dB" in said


def test_a_file_of_other_tracks(tmp_path: Path) -> None:
    table, file = compared(), filed(tmp_path)
    assert len(objections(table.assign(track="b"), file)) == 2 * len(MEASURED)
    assert objections(table.iloc[:0], file)[0].endswith("of a track without scores")
    assert (
        objections(table, file.iloc[1:])[0] == "seed 3, iKala/a: SAR of vocals is not in the file"
    )
    assert summary(table.iloc[:0]) == "no track has scores"


# -------------------------------------------------------------------------------------- the command


def test_all_rows_that_are_there(
    script: ModuleType, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copied / "models/VA")
    (copied / "results/tracks/baseline.csv").unlink()
    with inside(copied):
        script.confirm_scores([], device="cpu")
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == list(ROWS)
    assert lines["baseline"] == "left out, without results/tracks/baseline.csv"
    assert lines["VA"] == "left out, without models/VA"
    assert all("largest difference" in lines[row] for row in set(ROWS) - {"baseline", "VA"})


def test_a_wrong_digit_is_found(
    script: ModuleType, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied / "results/tracks/mixture.csv"
    frame = load_tracks(path)
    place = int(frame["SIR"].notna().argmax())
    frame["SIR"] += np.where(frame.index == place, 0.01, 0.0)
    save_tracks(frame, path)
    with inside(copied):
        said = failing(script.confirm_scores, ["mixture"], capsys)
    row = frame.iloc[place]
    track = f"{row['dataset']}/{row['track']}"
    assert said.startswith(
        f"error: 1 score is not what its judge says: results/tracks/mixture.csv: {track}:"
        f" SIR of {row['source']} is {row['SIR']:.2f} dB in the file, by museval"
    )


def test_rows_that_cannot_be_compared(
    script: ModuleType, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copied / "results/tracks")
    with inside(copied):
        said = failing(script.confirm_scores, ["W"], capsys)
        assert said == f"error: W: no row of the table, which has {', '.join(ROWS)}"
        said = failing(script.confirm_scores, ["V"], capsys)
        assert said.startswith("error: results/tracks/V.csv: no such file; run `dvc repro`")
        said = failing(script.confirm_scores, [], capsys)
        assert said.startswith("error: results/tracks: no row to compare")
