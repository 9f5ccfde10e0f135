"""The same experiment with several seeds: what is the method and what is luck."""

from collections.abc import Mapping, Sequence

import pandas as pd

from pipeline.comparison.aggregation import ALL, means
from pipeline.comparison.markdown import as_code, escaped, grid
from pipeline.evaluation.metrics import HEADLINE, MEASURED
from pipeline.tracks import MIXTURE

UNSEEN = "unseen"
"""Test set: the tracks of all datasets that have no supervised role (paper, section 5: the corpora
that only unpaired recordings were taken from)."""


def over_seeds(
    scores: Mapping[int, pd.DataFrame],
    unseen: Sequence[str],
    sources: Sequence[str],
    baseline: str | None,
) -> pd.DataFrame:
    """One row per test set, model, source and metric; dB.

    scores: seed to the rows of `aggregation.combine`; unseen: the datasets of the test set of that
    name. Columns: a mean over tracks for each seed, their mean and sample standard deviation, and
    the same for the difference to the baseline of the same seed.
    """
    by_seed = {
        seed: means(frame, sources)
        | {UNSEEN: means(frame[frame["dataset"].isin(unseen)], sources)[ALL]}
        for seed, frame in scores.items()
    }
    first = next(iter(by_seed.values()))
    test_sets = [ALL, UNSEEN, *[name for name in first if name not in (ALL, UNSEEN)]]
    rows = [
        (test_set, model, source, metric)
        for test_set in test_sets
        for model in first[test_set]
        for source in sources
        for metric in MEASURED
        if model != MIXTURE
    ]
    values = pd.DataFrame(
        {
            f"seed_{seed}": [of[t][m][f"{metric}_{source}"] for t, m, source, metric in rows]
            for seed, of in by_seed.items()
        },
        pd.MultiIndex.from_tuples(rows, names=["test_set", "model", "source", "metric"]),
    )
    table = values.join(_mean_and_std(values))
    compared = [row for row in rows if baseline is not None and row[1] != baseline]
    if compared:
        its = values.loc[[(t, baseline, source, metric) for t, _, source, metric in compared]]
        difference = values.loc[compared] - its.to_numpy()
        spread = _mean_and_std(difference).set_axis(["difference", "difference_std"], axis=1)
        table = table.join(spread)
        table["seeds_above"] = (difference > 0).sum(axis=1).astype("Int64")
    return table.round(2).reset_index()


def _mean_and_std(values: pd.DataFrame) -> pd.DataFrame:
    # row by row: another order of the sum may round a mean to the other side
    rows = [(row.mean(), row.std()) for _, row in values.iterrows()]
    return pd.DataFrame(rows, values.index, ["mean", "std"])


def as_markdown(table: pd.DataFrame, command: str = "make seeds") -> str:
    """The headline part of `over_seeds` as Markdown: mean and standard deviation over the seeds.

    command: what made it.
    """
    shown = table[table["metric"] == HEADLINE]
    seeds = [column for column in table.columns if column.startswith("seed_")]
    rows = [
        [
            *(escaped(str(row[name])) for name in ("test_set", "source", "model")),
            *(f"{row[seed]:.2f}" for seed in seeds),
            f"{row['mean']:.2f} ± {row['std']:.2f}",
            "" if pd.isna(row.get("difference")) else _difference(row),
        ]
        for _, group in shown.groupby(["test_set", "source"], sort=False)
        for _, row in group.iterrows()
    ]
    header = ["test set", "source", "model", *(seed.replace("_", " ") for seed in seeds)]
    return "\n".join(
        [
            f"# {HEADLINE} over seeds",
            "",
            "Means over test tracks in dB; ± is the standard deviation over seeds. `unseen`: the"
            f" datasets without supervised tracks. Made by {as_code(command)}.",
            "",
            *grid([*header, "mean ± std", "difference to baseline"], rows, text_columns=3),
            "",
        ]
    )


def _difference(row: "pd.Series[float]") -> str:
    return f"{row['difference']:+.2f} ± {row['difference_std']:.2f}"
