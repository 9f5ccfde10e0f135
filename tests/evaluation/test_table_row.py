"""Scores of a row: what it reads and what its model gives are what they should be, or one line."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.evaluation.table_row import TableRow, compared_waveforms, score
from pipeline.features.store import FeatureFile
from pipeline.separation.level import level_of
from pipeline.separation.separator import Separator
from pipeline.tracks import TrackName
from tests.helpers.small_separators import small_separator, with_bias


@pytest.fixture
def features(with_features: Path, tmp_path: Path) -> FeatureFile:
    """A feature file to be harmed."""
    shutil.copy(with_features / "data/features/iKala.h5", tmp_path)
    return FeatureFile.open(tmp_path / "iKala.h5")


def test_a_damaged_reference_is_not_scored(features: FeatureFile, tmp_path: Path) -> None:
    first, second = features.index.index[:2]
    with features.path.open("r+b") as file:
        file.seek(features.samples_of(1, "vocals").offset + 6)
        file.write(b"\x7f")
    row = TableRow("mixture", tmp_path, tmp_path, 8)
    assert len(score(TrackName("iKala", first), row)) == 2
    damaged = f"{features.path}: {second}, vocals: damaged (its checksum is another); run "
    with pytest.raises(UserError, match=f"^{re.escape(damaged)}"):
        score(TrackName("iKala", second), row)


def test_a_model_whose_estimates_are_no_sound_is_named(
    features: FeatureFile, tmp_path: Path
) -> None:
    with_bias(small_separator(), 1000.0).save(tmp_path / "VA/seed-3", {})
    track = TrackName("iKala", str(features.index.index[0]))
    with pytest.raises(UserError) as caught:
        score(track, TableRow("VA", tmp_path, tmp_path, 8, (3,)), 3)
    said = (
        f"{track}: {tmp_path / 'VA/seed-3'}: its estimates are infinite or no numbers, of a mixture"
    )
    assert str(caught.value).startswith(said)


def test_a_model_is_scored_at_its_own_level(features: FeatureFile, tmp_path: Path) -> None:
    """By hand: the mixture brought there, separated as it is then, and brought back."""
    replace(small_separator(), level=0.03).save(tmp_path / "VA/seed-3", {})
    track = str(features.index.index[0])
    found = compared_waveforms(TrackName("iKala", track), TableRow("VA", tmp_path, tmp_path, 8), 3)
    mixture = features.waveforms(0).sum(axis=0)
    gain = np.float32(0.03 / level_of(mixture, 8000))
    recorded = replace(Separator.load(tmp_path / "VA/seed-3"), level=None)
    expected = recorded.estimate(mixture * gain) / gain
    assert gain < 0.8
    np.testing.assert_allclose(found.estimates, expected, atol=1e-5)
