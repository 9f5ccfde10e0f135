"""The headline claims what the interval supports, and nothing else."""

import math
from dataclasses import replace

import pytest

from pipeline import params
from pipeline.report import words
from pipeline.report.finished_run import Run
from tests.helpers.experiment import small_params


def with_vocals(run: Run, means: dict[str, float], *difference: float) -> Run:
    """The run with these mean SDRs of the vocals, and V's difference with its interval."""
    cells = {name: dict(values) for name, values in run.means["all"].items()}
    for model, mean in means.items():
        cells[model]["SDR_vocals"] = mean
    table = run.table.copy()
    row = (table[["test_set", "model", "source", "metric"]] == ["all", "V", "vocals", "SDR"]).all(
        axis=1
    )
    assert row.sum() == 1
    table.loc[row, ["difference", "difference_low", "difference_high"]] = difference
    return replace(run, means=run.means | {"all": cells}, table=table)


def vocals(run: Run) -> str:
    (sentence,) = [said for said in words.headline(run)[1] if said.startswith("Vocals")]
    return sentence


@pytest.mark.parametrize(
    ("means", "difference", "expected"),
    [
        ((5.0, 5.5), (0.5, 0.1, 0.9), "V has the highest mean SDR, 5.50 dB; it lies 0.50 dB above"),
        ((5.0, 5.5), (0.5, -0.1, 0.9), "it differs from baseline by +0.50 dB, which the tracks do"),
        ((5.0, 5.5), (0.5, 0.0, 0.9), "which the tracks do not tell from zero"),
        ((5.0, 4.5), (-0.5, -0.9, -0.1), "mean SDR, 5.00 dB; the next, V, lies 0.50 dB below"),
        ((5.0, 4.5), (-0.5, -0.9, 0.1), "which the tracks do not tell from zero"),
        ((5.0, 5.5), (0.5, math.nan, math.nan), "on too few tracks for an interval"),
        ((5.0, 5.0), (0.0, -0.1, 0.1), "baseline and V share the highest mean SDR, 5.00 dB"),
    ],
)  # fmt: skip
def test_a_claim_is_its_interval(
    run: Run, means: tuple[float, float], difference: tuple[float, ...], expected: str
) -> None:
    said = vocals(with_vocals(run, dict(zip(("baseline", "V"), means, strict=True)), *difference))
    assert expected in said
    claims = "above" in said or "below" in said
    assert claims == (difference[1] > 0 or difference[2] < 0)
    if not math.isnan(difference[1]) and means[0] != means[1]:
        assert all(words.signed(value) in said for value in difference[1:])


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
    assert "no supervised baseline" in said
    assert "above" not in said


def test_one_model_alone_and_none_scored(run: Run) -> None:
    cells = {name: values for name, values in run.means["all"].items() if name != "V"}
    assert "baseline has a mean SDR of" in vocals(replace(run, means={"all": cells}))
    empty: dict[str, dict[str, float | int]] = {name: {"tracks": 0} for name in cells}
    assert vocals(replace(run, means={"all": empty})) == "Vocals: no track has scores."


def test_lists_in_words() -> None:
    assert [words.joined(list(names)) for names in ("a", "ab", "abc")] == [
        "a",
        "a and b",
        "a, b and c",
    ]
