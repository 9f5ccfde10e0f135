"""What each row has seen: counted by hand for one update, and over a run's updates."""

import pandas as pd
import pytest

from pipeline import params
from pipeline.comparison import budgets, histories
from pipeline.ways import Model

CRITICS = {"critics": ["vocals", "accompaniment"], "alpha": 0.1, "beta": 0.1}
WAYS = {
    # of a batch of 8, with 5 updates of the critics: supervised, mixed anew, mixtures, alone
    "plain": ({}, (8, 0, 0, 0)),
    "L_add": ({"beta": 0.1}, (8, 0, 8, 0)),
    "VA": (CRITICS, (8, 0, 8 + 5 * 8, 5 * 8 * 2)),
    "mixing": ({"augmentation": {"mix": 0.5}}, (8, 4, 0, 0)),
    "louder": ({"augmentation": {"gain": [0.5, 2.0]}}, (8, 0, 0, 0)),
    "solo": ({"solo_mixing": {"sources": ["vocals"], "share": 0.25}}, (8, 2, 0, 2)),
    "both": (
        {
            "augmentation": {"mix": 0.5},
            "solo_mixing": {"sources": ["vocals", "accompaniment"], "share": 0.5},
        },
        (8, 6, 0, 8),
    ),
    "teacher": ({"teacher": {"kind": "average", "weight": 1.0, "decay": 0.9}}, (8, 0, 8, 0)),
    "RemixIT": ({"teacher": {"kind": "remix", "weight": 1.0, "decay": 0.9}}, (8, 0, 8, 0)),
    "MixIT": ({"mixit": 1.0}, (8, 0, 16, 0)),
}


@pytest.mark.parametrize("name", WAYS)
def test_an_update_by_hand(name: str) -> None:
    own, expected = WAYS[name]
    settings = params.load()
    training = settings.training.model_copy(update={"batch_size": 8, "critic_steps": 5})
    models = {"it": Model.model_validate(own)}
    settings = settings.model_copy(update={"models": models, "training": training})
    steps = [("it", 1, 60), ("it", 1, 120), ("it", 2, 60)]  # the second seed has stopped earlier
    rows = [(model, seed, "training/L_s", step, 0.1) for model, seed, step in steps]
    curves = pd.DataFrame([*rows, ("it", 1, "training/L", 999, 0.1)], columns=histories.COLUMNS)
    found = budgets.budgets(curves, settings)
    assert list(found.loc["it"]) == [90, *(90 * one for one in expected)]
    line = budgets.as_lines(found, settings, 2)[-1]
    name, way, *numbers = (cell.strip() for cell in line.strip("|").split("|"))
    assert (name, way.strip("`")) == ("it", models["it"].way)
    assert numbers == [str(one) for one in found.loc["it"]]


def test_a_model_without_curves_has_no_row() -> None:
    curves = pd.DataFrame([("V", 1, "training/L_s", 60, 0.1)], columns=histories.COLUMNS)
    assert list(budgets.budgets(curves, params.load()).index) == ["V"]
