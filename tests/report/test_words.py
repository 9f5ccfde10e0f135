"""The headline claims what the interval supports, and nothing else."""

import math
from dataclasses import replace

import pandas as pd
import pytest

from pipeline import params
from pipeline.comparison.long_table import CELL
from pipeline.report import words
from pipeline.report.finished_run import Run
from tests.helpers.experiment import small_params


def with_vocals(run: Run, difference: tuple[float, ...], p_holm: float, model: str = "V") -> Run:
    """The run with a model's difference to the baseline on the vocals, its interval and corrected p."""
    table = run.table.copy()
    row = (table[CELL] == ["all", model, "vocals", "SDR"]).all(axis=1)
    assert row.sum() == 1
    table.loc[row, [*words.OF_DIFFERENCE, "p_holm"]] = [*difference, p_holm]
    return replace(run, table=table)


def vocals(run: Run) -> str:
    (sentence,) = [said for said in words.headline(run)[1] if said.startswith("Vocals:")]
    return sentence


NAN = math.nan


@pytest.mark.parametrize(
    ("difference", "p_holm", "expected"),
    [
        ((0.5, 0.1, 0.9), 0.01, "V lies 0.50 dB above it (95\xa0% interval +0.10 to +0.90)."),
        ((-0.5, -0.9, -0.1), 0.01, "V lies 0.50 dB below it (95\xa0% interval −0.90 to −0.10)."),
        ((0.5, -0.1, 0.9), 0.2, "V cannot be told from it (+0.50 dB, 95\xa0% interval −0.10 to +0.90)."),
        ((-0.5, -0.9, 0.1), 0.2, "V cannot be told from it (−0.50 dB, 95\xa0% interval −0.90 to +0.10)."),
        ((0.5, 0.0, 0.9), 0.05, "V cannot be told from it"),
        ((0.5, 0.1, 0.9), 0.06, "+0.90), but not if all comparisons of the table are counted."),
        ((0.5, NAN, NAN), NAN, "V differs by +0.50 dB, with too few seeds or artists for an interval."),
        ((NAN, NAN, NAN), NAN, "V cannot be compared with it track by track."),
    ],
)  # fmt: skip
def test_a_claim_is_its_interval(
    run: Run, difference: tuple[float, ...], p_holm: float, expected: str
) -> None:
    said = vocals(with_vocals(run, difference, p_holm))
    assert said.startswith("Vocals: baseline has a mean SDR of ")
    assert expected in said
    claims = "above" in said or "below" in said
    assert claims == (difference[1] > 0 or difference[2] < 0)


def test_of_many_models_those_that_cannot_be_told_share_a_sentence(run: Run) -> None:
    """Two differ, one of them after the correction too; one cannot be compared, two are unclear."""
    found = {
        "V": ((0.5, 0.1, 0.9), 0.01), "W": ((-0.5, -0.9, -0.1), 0.2), "X": ((0.5, -0.1, 0.9), 1.0),
        "Y": ((0.5, NAN, NAN), NAN), "Z": ((0.1, -0.1, 0.3), 1.0),
    }  # fmt: skip
    tables, means = [run.table], dict(run.means["all"])
    for name in list(found)[1:]:
        tables.append(run.table[run.table["model"] == "V"].assign(model=name))
        means[name] = means["V"]
    many = replace(
        run, table=pd.concat(tables, ignore_index=True), means=run.means | {"all": means}
    )
    for name, (difference, p_holm) in found.items():
        many = with_vocals(many, difference, p_holm, name)
    assert vocals(many).split("dB; ", 1)[1] == (
        "V lies 0.50 dB above it (95\xa0% interval +0.10 to +0.90);"
        " W lies 0.50 dB below it (95\xa0% interval −0.90 to −0.10);"
        " Y differs by +0.50 dB, with too few seeds or artists for an interval;"
        " X and Z cannot be told from it."
        " If all comparisons of the table are counted, W cannot be told either."
    )


def test_data_that_training_has_not_seen_in_pairs_have_sentences_of_their_own(run: Run) -> None:
    table = run.table.assign(test_set=run.table["test_set"].replace("CCMixter", "unseen"))
    unseen = replace(run, table=table, means=run.means | {"unseen": run.means["CCMixter"]})
    said = words.headline(unseen)[1]
    assert [one.split(": ")[0] for one in said] == [
        "Accompaniment", "Vocals", "Accompaniment, unseen", "Vocals, unseen",
    ]  # fmt: skip
    assert words.headline(unseen)[0] == words.headline(run)[0]


def test_what_was_compared(run: Run) -> None:
    assert words.headline(run)[0] == "baseline and V were tested on 12 test tracks of CCMixter."
    found = tuple(one.model_copy(update={"origin": "synthetic"}) for one in run.inventories)
    assert "embedded synthetic recordings" in words.headline(replace(run, inventories=found))[0]


def test_without_a_supervised_model_nothing_is_compared(run: Run) -> None:
    data = small_params()
    data["models"] = {
        name: {"critics": ["vocals"], "alpha": 1.0, "beta": 1.0} for name in ("baseline", "V")
    }
    said = vocals(replace(run, params=params.parse(data, "params.yaml")))
    assert "dB of baseline and" in said
    assert said.endswith("there is no supervised baseline to compare with.")
    assert "above" not in said


def test_one_model_alone_and_none_scored(run: Run) -> None:
    cells = {name: values for name, values in run.means["all"].items() if name != "V"}
    mean = words.plain(cells["baseline"]["SDR_vocals"])
    alone = vocals(replace(run, means={"all": cells}))
    assert alone == f"Vocals: mean SDR {mean} dB of baseline."
    empty: dict[str, dict[str, float | int]] = {name: {"tracks": 0} for name in cells}
    assert vocals(replace(run, means={"all": empty})) == "Vocals: no track has scores."


def test_lists_in_words() -> None:
    assert [words.joined(list(names)) for names in ("a", "ab", "abc")] == [
        "a",
        "a and b",
        "a, b and c",
    ]
