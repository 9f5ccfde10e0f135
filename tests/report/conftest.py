"""A run without a disk: scores of many tracks, everything else as the parameters say."""

import pandas as pd
import pytest

from pipeline import params
from pipeline.comparison import aggregation, budgets, minutes
from pipeline.critique import critic_table
from pipeline.datasets.inventory import Inventory
from pipeline.params import DATASETS
from pipeline.report.finished_run import Run
from pipeline.separation.model_folder import Description
from tests.helpers.experiment import small_params
from tests.helpers.score_tables import SOURCES, many_tracks, table_of

CONFIG = Description.model_validate({
    "format": 1, "sources": SOURCES, "separator": {"filters": 2, "depth": 2},
    "signal": {"sample_rate": 8000, "fft_size": 512, "hop_size": 256},
})  # fmt: skip


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Twelve tracks of CCMixter, models baseline and V."""
    data, nowhere = small_params(), tmp_path_factory.mktemp("run")
    data["models"].pop("VA")
    scores = many_tracks(12)
    return Run(
        params=params.parse(data, "params.yaml"),
        scores=aggregation.over_seeds(scores),
        means=aggregation.means(scores, SOURCES),
        table=table_of(scores),
        gains=pd.DataFrame(columns=minutes.COLUMNS),
        critics=pd.DataFrame(columns=critic_table.COLUMNS),
        likeness=pd.DataFrame(columns=critic_table.LIKENESS),
        budget=pd.DataFrame(columns=budgets.COLUMNS),
        split=pd.DataFrame({"dataset": ["CCMixter"] * 3, "role": ["test", "test", "unlabelled"]}),
        inventories=tuple(Inventory(dataset=name, origin="download") for name in DATASETS),
        configs=dict.fromkeys(data["models"], CONFIG),
        histories={name: {} for name in data["models"]},
        notes=(),
        folders={},
        features=nowhere / "features",
    )
