"""What the report is made from: everything that the stages before it left on the disk."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from pipeline import params
from pipeline.comparison import aggregation, budgets, histories, long_table, minutes
from pipeline.comparison.aggregation import ALL, Means
from pipeline.critique import critic_table
from pipeline.datasets import inventory
from pipeline.datasets.inventory import Inventory
from pipeline.errors import UserError
from pipeline.evaluation import scored_weights
from pipeline.evaluation.scoring import UNSCORED
from pipeline.evaluation.track_scores import KEY, load_tracks
from pipeline.parallel import machine
from pipeline.params import Params, table_rows
from pipeline.roles import load_split
from pipeline.separation import model_folder
from pipeline.separation.model_folder import Description
from pipeline.text_files import read_text, remembered
from pipeline.tracks import Role

PAPER = Path(__file__).with_name("paper.csv")
PAPER_TRACKS = {"DSD100": 25, "MedleyDB": 20, "CCMixter": 18, "iKala": 84}
"""Test tracks behind the paper's means: 22 more of MedleyDB have no vocals."""
PAPER_CRITICS = {"baseline": (), "V": ("vocals",), "VA": ("accompaniment", "vocals")}
PACKAGES = (
    *("torch", "torchaudio", "lightning", "numpy", "scipy", "pandas"),
    *("museval", "librosa", "soxr", "h5py", "dvc", "matplotlib"),
)

Timings = dict[str, Annotated[float, Field(ge=0, le=1e9)]]
"""Seconds by stage."""
COMPARE = "run `dvc repro compare`"
CRITICS = "run `dvc repro critics`"

History = dict[str, pd.DataFrame]
"""Curve name, for example training/L_s, to its points: columns step, value."""


@dataclass(frozen=True)
class Run:
    """One run of the experiment."""

    params: Params
    scores: pd.DataFrame
    """`aggregation.over_seeds`: a row per model, track and source, the mean over seeds."""
    means: Means
    table: pd.DataFrame
    """results/table.csv: means, intervals and differences."""
    gains: pd.DataFrame
    """results/minutes.csv: gains by the minutes of recordings; no rows where nothing was swept."""
    critics: pd.DataFrame
    """results/critics.csv: what the critics have learned; no rows where no model has one."""
    likeness: pd.DataFrame
    """results/likeness.csv: how like real sources estimates are."""
    budget: pd.DataFrame
    """`budgets.budgets`: what each model has seen."""
    split: pd.DataFrame
    inventories: tuple[Inventory, ...]
    configs: Mapping[str, Description]
    """config.json of each model, of the folder that is shown."""
    histories: Mapping[str, History]
    """Training curves of each model, of the folder that is shown; empty where it has none."""
    notes: tuple[str, ...]
    """The notes of results/table.md."""
    folders: Mapping[str, Path]
    """Of each model the folder that is seen and heard: of its seeds the one with the lowest validation
    loss. Scores are of all seeds."""
    features: Path
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds that each stage took when it last ran here."""

    @property
    def baseline(self) -> str | None:
        """The model that the others are compared with."""
        return aggregation.baseline(self.params.models)

    @property
    def embedded(self) -> tuple[str, ...]:
        """The datasets whose recordings are synthetic."""
        return tuple(found.dataset for found in self.inventories if found.origin == "synthetic")

    @property
    def ranking(self) -> tuple[str, str]:
        """The model and source whose scores rank the test tracks."""
        name, model = list(self.params.models.items())[-1]
        return name, model.critics[0] if model.critics else self.params.sources[-1]


def load(
    params_file: Path, data: Path, models: Path, results: Path, timings: Path | None = None
) -> Run:
    """Read a finished run. Raises UserError naming what is missing or damaged.

    data: holds split.csv, inventory/ and features/; timings: what `stages.common` notes.
    """
    settings = params.load(params_file)
    rows = table_rows(settings.models)
    again = f"delete it and {COMPARE}"
    frames = {row: load_tracks(results / "tracks" / f"{row}.csv") for row in rows}
    collected = aggregation.combine(frames, settings.sources, settings.seeds)
    scores = aggregation.over_seeds(collected)
    split = load_split(data / "split.csv")
    tested = split.loc[split["role"] == Role.TEST, KEY[1:3]]
    if set(tested.itertuples(index=False)) != set(scores[KEY[1:3]].itertuples(index=False)):
        raise UserError(
            f"{results / 'tracks'}: not the scores of the test tracks in {data / 'split.csv'}; run"
            " `dvc repro compare`"
        )
    for name, seed in product(settings.models, settings.seeds):
        model_folder.read_trained(models / name, seed, settings)
        # sound of other weights than the scores would be two models in one row
        scored_weights.check(models / name, seed, results / "tracks" / f"{name}.csv")
    folders = {name: model_folder.chosen(models / name) for name in settings.models}
    return Run(
        params=settings,
        scores=scores,
        means=aggregation.load_means(results / "metrics.json", again, COMPARE, rows),
        table=long_table.load_long_table(results / "table.csv", again, COMPARE),
        gains=minutes.load(results / "minutes.csv", again, COMPARE),
        critics=critic_table.load(results / "critics.csv", f"delete it and {CRITICS}", CRITICS),
        likeness=critic_table.load(
            results / "likeness.csv",
            f"delete it and {CRITICS}",
            CRITICS,
            critic_table.LIKENESS,
        ),
        budget=budgets.budgets(histories.load(results / "curves.csv", again, COMPARE), settings),
        split=split,
        inventories=tuple(
            inventory.load(data / "inventory" / f"{name}.json") for name in settings.datasets
        ),
        configs={name: model_folder.read_config(folder) for name, folder in folders.items()},
        histories={name: histories.read(folder) for name, folder in folders.items()},
        notes=_notes(results / "table.md", again),
        folders=folders,
        features=data / "features",
        timings=(timings and remembered(timings, Timings)) or {},
    )


def paper_values(run: Run) -> dict[tuple[str, str, str, str], float]:
    """The paper's printed means by (test set, model, source, metric), where ours are of the same.

    The same are split, rate, BSS Eval's filter and the sources; the model's critics; and of each test
    set the published dataset, complete, with as many scored tracks. `all` takes all four of them.
    """
    settings, evaluation = run.params, run.params.evaluation
    found = settings.split.strategy, settings.signal.sample_rate, evaluation.filter_length
    if found != ("paper", 8000, 512) or set(settings.sources) != set(PAPER_CRITICS["VA"]):
        return {}
    published = [one.dataset for one in run.inventories if _as_published(one)]
    scored = run.scores[~run.scores["note"].isin(UNSCORED)].drop_duplicates(["dataset", "track"])
    counts = scored["dataset"].value_counts().to_dict()
    sets = {name for name in published if counts.get(name) == PAPER_TRACKS.get(name)}
    if counts == PAPER_TRACKS and sets == set(PAPER_TRACKS):
        sets.add(ALL)
    models = {
        name
        for name, critics in PAPER_CRITICS.items()
        if name in settings.models and set(settings.models[name].critics) == set(critics)
    }
    frame = pd.read_csv(PAPER, comment="#")
    frame = frame[frame["test_set"].isin(sets) & frame["model"].isin(models)]
    keys = frame[["test_set", "model", "source", "metric"]].astype(str)
    rows = keys.itertuples(index=False, name=None)
    return dict(zip(rows, frame["db"].astype(float), strict=True))


def _as_published(found: Inventory) -> bool:
    lacking = found.absent or found.missing or found.rejected
    return found.origin in ("local", "download") and not found.collection and not lacking


def split_counts(run: Run) -> pd.DataFrame:
    """Tracks by dataset and role; a dataset without any has a row of zeros."""
    counts = pd.crosstab(run.split["dataset"], run.split["role"])
    return counts.reindex(list(run.params.datasets), columns=list(Role), fill_value=0)


def versions() -> dict[str, str]:
    """Python and the packages that touch a number."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def hardware() -> list[str]:
    """The machine that wrote the report: processor, cores, accelerators."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return [f"{machine.processor()}, {cores} cores usable", *(gpus or ["no GPU"])]


def _notes(path: Path, again: str) -> tuple[str, ...]:
    """The list under "## Notes"."""
    _, _, notes = read_text(path, again, COMPARE).partition("\n## Notes\n")
    return tuple(line.removeprefix("- ") for line in notes.splitlines() if line.startswith("- "))
