"""Which tracks are heard, which seconds of them, and that the sound is theirs."""

import math
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.evaluation.scoring import SILENT_REFERENCE
from pipeline.report import excerpts
from pipeline.report.finished_run import Run

RATE = 8000


def with_scores(run: Run, scores: dict[str, float]) -> Run:
    """One test set whose tracks have these SDRs of V's vocals; NaN: a silent reference."""
    rows = []
    for track, value in scores.items():
        note = SILENT_REFERENCE if math.isnan(value) else ""
        row = {"model": "V", "dataset": "iKala", "track": track, "source": "vocals", "note": note}
        # Besides what must not matter: another model and another source, the other way round.
        rows += [
            row | {"SDR": value},
            row | {"SDR": -value, "model": "baseline"},
            row | {"SDR": -value, "source": "accompaniment"},
        ]
    return replace(run, scores=pd.DataFrame(rows))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"a": 1.0, "b": 5.0, "c": 3.0}, {"b": "best", "c": "median", "a": "worst"}),
        ({"a": 1.0, "b": 5.0, "c": 3.0, "d": 2.0}, {"b": "best", "c": "median", "a": "worst"}),
        ({"a": 1.0, "b": 5.0}, {"b": "best", "a": "worst"}),
        ({"a": 1.0}, {"a": "the only track"}),
        ({"c": 2.0, "a": 2.0, "b": 2.0}, {"a": "best", "b": "median", "c": "worst"}),
        ({"a": math.nan, "b": 5.0, "c": math.inf}, {"b": "the only track"}),
        ({"a": math.nan}, {}),
    ],
)
def test_the_rule(run: Run, scores: dict[str, float], expected: dict[str, str]) -> None:
    chosen = excerpts.choose(with_scores(run, scores))
    assert {one.track: one.label for one in chosen} == expected
    assert [one.score for one in chosen] == [scores[one.track] for one in chosen]


def test_without_critics_the_last_source_ranks(run: Run) -> None:
    assert run.ranking == ("V", "vocals")
    models = {"baseline": run.params.models["baseline"]}
    plain = replace(run, params=run.params.model_copy(update={"models": models}))
    assert plain.ranking == ("baseline", plain.params.sources[-1])


def test_the_loudest_seconds_are_found_as_by_trying_all() -> None:
    sound = np.random.default_rng(1).standard_normal(5 * 1000).astype(np.float32)
    sound *= np.abs(np.sin(np.arange(5000) / 700)).astype(np.float32)
    energy = sound.astype(np.float64) ** 2
    tried = [float(energy[start : start + 1500].sum()) for start in range(0, 3501, 100)]
    assert excerpts.loudest(energy, 1500, 100) == 100 * int(np.argmax(tried))
    assert excerpts.loudest(energy, 9000, 100) == 0
    assert excerpts.loudest(np.zeros(5000), 1000, 100) == 0


def test_a_player_gives_the_sound_back(tmp_path: Path) -> None:
    seconds = np.arange(3 * RATE) / RATE
    sound = (0.5 * np.sin(2 * np.pi * 440 * seconds) * (seconds > 1)).astype(np.float32)
    for name in ("one.mp3", "two.mp3"):
        excerpts.write_mp3(sound, RATE, tmp_path / name)
    written = (tmp_path / "one.mp3").read_bytes()
    assert written == (tmp_path / "two.mp3").read_bytes()
    assert len(written) == pytest.approx(3 * 48_000 / 8, rel=0.1)
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", tmp_path / "one.mp3", "-f", "f32le", "-ar", str(RATE), "-"],
        capture_output=True, check=True,
    )  # fmt: skip
    heard = np.frombuffer(done.stdout, "<f4")
    assert len(heard) == pytest.approx(len(sound), abs=0.1 * RATE)
    onset = int(np.argmax(np.abs(heard) > 0.2))
    assert onset == pytest.approx(RATE, abs=0.08 * RATE)  # the encoder's delay
    tone = heard[onset + 800 : onset + 800 + RATE]
    assert np.abs(np.fft.rfft(tone)).argmax() == 440
    assert np.abs(tone).max() == pytest.approx(0.5, abs=0.05)


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"nowhere/x.mp3: cannot be written \(.*libsndfile"
    ) as error:
        excerpts.write_mp3(np.zeros(100, np.float32), RATE, tmp_path / "nowhere/x.mp3")
    assert "\n" not in str(error.value)


def test_a_tenth_of_a_second_and_less_can_be_heard(tmp_path: Path) -> None:
    for samples in (1, RATE // 10):
        excerpts.write_mp3(np.full(samples, 0.1, np.float32), RATE, tmp_path / "short.mp3")
        assert (tmp_path / "short.mp3").stat().st_size > 100
