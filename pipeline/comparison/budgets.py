"""What each row of the table has seen when it was trained: nobody wins by training longer."""

from collections.abc import Sequence

import pandas as pd

from pipeline.comparison.markdown import escaped, grid
from pipeline.comparison.ways_in_words import in_words
from pipeline.params import Params

COLUMNS = ["updates", "supervised", "mixed", "mixtures", "alone"]
"""Updates of the separator, then excerpts: supervised ones, those of them that were mixed anew,
unlabelled mixtures (of the critics' updates too), and recordings of a source alone."""
CURVE = "training/L_s"
"""A curve that every run has; its last step is the number of updates."""


def budgets(curves: pd.DataFrame, params: Params) -> pd.DataFrame:
    """COLUMNS by model, of one seed: the mean over seeds of the updates, times what an update takes.

    curves: results/curves.csv. Of a model that it does not have there is no row.
    """
    own = curves[curves["curve"] == CURVE]
    steps = own.groupby(["model", "seed"], sort=False)["step"].max()
    rows = {}
    for name, model in params.models.items():
        if name not in steps.index.get_level_values("model"):
            continue
        settings, updates = params.training, float(steps.loc[name].mean())
        size, critics = settings.batch_size, settings.critic_steps if model.critics else 0
        solo, mix = model.solo_mixing, model.augmentation.mix if model.augmentation else 0.0
        share = solo.share if solo else 0.0
        remixes = model.teacher is not None and model.teacher.kind == "remix"
        mixtures = model.as_they_are + critics + remixes + 2 * (model.mixit > 0)
        alone = critics * len(model.critics) + (share * len(solo.sources) if solo else 0.0)
        mixed = 1 - (1 - share) * (1 - mix)
        counts = (1.0, mixed, mixtures, alone)
        rows[name] = (updates, *(updates * size * one for one in counts))
    return pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS).round().astype(int)


def as_lines(budget: pd.DataFrame, params: Params, seeds: int) -> list[str]:
    """The table as Markdown, with how each row learns."""
    head = [
        "model", "learns by", "updates", "supervised excerpts", "of these mixed anew",
        "unlabelled mixtures", "recordings of a source alone",
    ]  # fmt: skip
    ways = in_words(params.models)
    rows: list[Sequence[str]] = [
        [escaped(name), escaped(ways[name]), *map(str, budget.loc[name])]
        for name in map(str, budget.index)
    ]
    mean = f", means over {seeds} seeds" if seeds > 1 else ""
    return [
        f"What a run of each has seen{mean}, in excerpts; of unlabelled mixtures those that the critics"
        " see are counted too.",
        "",
        *grid(head, rows, 2),
    ]
