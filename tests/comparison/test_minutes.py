"""results/minutes.csv: gains by the minutes of recordings, against the differences by themselves."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.comparison import intervals, minutes
from pipeline.datasets.inventory import Inventory
from pipeline.errors import UserError
from pipeline.tracks import Recording, Role, Track
from pipeline.ways import Model
from tests.helpers.score_tables import SOURCES, many_tracks, split_of

ALL = {Role.SUPERVISED: 8.2, Role.UNLABELLED: 17.44}


def learning(critics: list[str], beta: float = 0.01, **minutes: float) -> Model:
    own = {"critics": critics, "alpha": 0.001 if critics else 0.0, "beta": beta}
    return Model.model_validate(own | minutes)


@pytest.fixture(scope="module")
def sweep() -> pd.DataFrame:
    """Five models: `few` and `V_few` have less of the pairs, `V_less` less of the unpaired recordings."""
    names = {"baseline": ["baseline", "few"], "V": ["V", "V_few", "V_less"], "mixture": ["mixture"]}
    found = many_tracks(8, seeds=(1, 2, 3))
    rng = np.random.default_rng(5)
    parts = []
    for old, new in names.items():
        for name in new:
            part = found[found["model"] == old].assign(model=name)
            part["SDR"] = (part["SDR"] + rng.normal(0, 0.5, len(part))).round(2)
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


MODELS = {
    "baseline": learning([], 0.0),
    "few": learning([], 0.0, supervised_minutes=2.0),
    "V": learning(["vocals"]),
    "V_few": learning(["vocals"], supervised_minutes=2.0),
    "V_less": learning(["vocals"], unlabelled_minutes=5.0),
}


def test_each_gain_is_the_difference_to_the_model_with_the_same_pairs(sweep: pd.DataFrame) -> None:
    found = minutes.gains(sweep, MODELS, SOURCES, split_of(sweep), ALL, 0.9)
    assert set(found["test_set"]) == {"all", "CCMixter"}
    one = found[(found["test_set"] == "all") & (found["source"] == "vocals")].set_index("model")
    assert one[["baseline", "supervised_minutes", "unlabelled_minutes"]].to_dict("index") == {
        "V": {"baseline": "baseline", "supervised_minutes": 8.2, "unlabelled_minutes": 17.4},
        "V_few": {"baseline": "few", "supervised_minutes": 2.0, "unlabelled_minutes": 17.4},
        "V_less": {"baseline": "baseline", "supervised_minutes": 8.2, "unlabelled_minutes": 5.0},
    }
    vocals = sweep[sweep["source"] == "vocals"].pivot(
        index="track", columns=["model", "seed"], values="SDR"
    )
    for model, row in one.iterrows():
        new, old = (vocals[name].to_numpy().T[:, :, None] for name in (str(model), row["baseline"]))
        expected = intervals.difference(new, old, range(8), 0.9)
        assert row["gain"] == pytest.approx(expected.mean[0], abs=0.00501)
        assert row["low"] == pytest.approx(expected.low[0], abs=0.00501)
        assert row["high"] == pytest.approx(expected.high[0], abs=0.00501)
        assert (row["seeds"], row["tracks"], row["artists"]) == (3, 8, 8)


def test_there_are_no_gains_without_a_sweep(sweep: pd.DataFrame) -> None:
    whole = {name: MODELS[name] for name in ("baseline", "V")}
    assert minutes.gains(sweep, whole, SOURCES, split_of(sweep), ALL, 0.9).empty


def test_a_model_without_a_supervised_one_of_the_same_pairs_has_no_gain(
    sweep: pd.DataFrame,
) -> None:
    models = {name: one for name, one in MODELS.items() if name != "few"}
    found = minutes.gains(sweep, models, SOURCES, split_of(sweep), ALL, 0.9)
    assert set(found["model"]) == {"V", "V_less"}


def test_pairs_of_other_roles_are_not_the_same_pairs() -> None:
    """What pairing the unlabelled recordings would give is no gain of unpaired ones."""
    models = {
        "baseline": Model(),
        "V": learning(["vocals"]),
        "ceiling": Model(supervised=["supervised", "unlabelled"]),
    }
    assert minutes.counterparts(models) == {"V": "baseline"}


def test_minutes_of_a_role_are_those_of_its_recordings() -> None:
    recordings = tuple(
        Recording(
            track=Track(dataset="songs", id=name, artist=name, sources={}),
            sample_rate=100,
            channels=1,
            samples=6000 * number,
        )
        for number, name in enumerate("abc", 1)
    )
    found = Inventory(dataset="songs", origin="local", recordings=recordings)
    split = pd.DataFrame(
        [("songs", "a", "test"), ("songs", "b", "supervised"), ("songs", "c", "supervised")],
        columns=["dataset", "track", "role"],
    )
    assert minutes.minutes_of(split, [found]) == {
        Role.SUPERVISED: 5, Role.UNLABELLED: 0, Role.VALIDATION: 0, Role.TEST: 1,
    }  # fmt: skip


def test_gains_survive_the_file(sweep: pd.DataFrame, tmp_path: Path) -> None:
    found = minutes.gains(sweep, MODELS, SOURCES, split_of(sweep), ALL, 0.9)
    path = tmp_path / "minutes.csv"
    minutes.save(found, path)
    pd.testing.assert_frame_equal(minutes.load(path, "again", "absent"), found, check_dtype=False)
    minutes.save(found[:0], path)
    assert minutes.load(path, "again", "absent").empty
    path.write_text("model\n")
    with pytest.raises(UserError, match=r"minutes\.csv.*; again"):
        minutes.load(path, "again", "absent")
