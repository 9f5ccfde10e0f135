"""What is said of gradients in two precisions."""

from pathlib import Path

import pytest
import torch

from benchmarks import rounding
from pipeline import params, roles
from pipeline.training import run
from tests.helpers.experiment import small_params


def test_rounding_and_the_spread_over_batches_by_hand() -> None:
    """Two batches of two weights: rounding that cancels in the mean, and none that does not."""
    exact = torch.tensor([[3.0, 4.0], [5.0, 0.0]])
    rounded = exact + torch.tensor([[0.0, 0.5], [0.0, -0.5]])
    found = rounding.compare(exact, rounded)
    assert found.rounding == pytest.approx(0.1)
    assert found.together == 0
    # the two are (-1, 2) and (1, -2) from their mean
    assert found.batch == pytest.approx(10**0.5 / 5)
    assert rounding.compare(exact, 1.1 * exact).together == pytest.approx(0.1)


def test_every_network_has_a_row_and_no_weight_changes(with_features: Path) -> None:
    module = run.prepare(
        params.parse(small_params(), "test"), "VA", 1, roles.load_split(with_features / "data/split.csv"),
        with_features / "data/features", torch.device("cpu"),
    )  # fmt: skip
    module.manual_backward = torch.Tensor.backward  # type: ignore[method-assign]
    before = {name: value.clone() for name, value in module.state_dict().items()}
    first, again = (rounding.gradients(module, 0, "float32") for _ in range(2))
    assert set(first) == {"critic of vocals", "critic of accompaniment", "separator"}
    rows = list(rounding.table(module, "fresh", 2))
    assert [row.split(" | ")[1] for row in rows] == list(first)
    for name, value in first.items():
        assert torch.equal(value, again[name]), name
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
