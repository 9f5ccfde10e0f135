"""The same experiment with several seeds: what is the method and what is luck."""

from collections.abc import Mapping, Sequence

import pandas as pd

from pipeline.comparison.aggregation import metrics
from pipeline.comparison.markdown import grid

UNSEEN = "unseen"
"""Test set: the tracks of all datasets that have no supervised role (paper, section 5: the corpora
that only unpaired recordings were taken from)."""
MEASURES = ("SDR", "SIR", "SAR")


def summary(
    scores: Mapping[int, pd.DataFrame],
    unseen: Sequence[str],
    sources: Sequence[str],
    baseline: str | None,
) -> pd.DataFrame:
    """One row per test set, model, source and metric; dB.

    scores: seed to the rows of `comparison.collect`; unseen: the datasets of the test set of that
    name. Columns: a mean over tracks for each seed, their mean and sample standard deviation, and the
    same for the difference to the baseline of the same seed.
    """
    means = {
        seed: metrics(frame, sources)
        | {UNSEEN: metrics(frame[frame["dataset"].isin(unseen)], sources)["all"]}
        for seed, frame in scores.items()
    }
    first = next(iter(means.values()))
    test_sets = ["all", UNSEEN, *[name for name in first if name not in ("all", UNSEEN)]]
    rows = []
    for test_set in test_sets:
        for model in (name for name in first[test_set] if name != "mixture"):
            for source in sources:
                for metric in MEASURES:
                    key = f"{metric}_{source}"
                    row: dict[str, object] = {
                        "test_set": test_set, "model": model, "source": source, "metric": metric,
                    }  # fmt: skip
                    values = pd.Series(
                        {f"seed_{seed}": m[test_set][model][key] for seed, m in means.items()}
                    )
                    row |= {str(seed): value for seed, value in values.items()}
                    row |= {"mean": values.mean(), "std": values.std()}
                    if baseline is not None and model != baseline:
                        difference = values - pd.Series(
                            {f"seed_{s}": m[test_set][baseline][key] for s, m in means.items()}
                        )
                        row |= {
                            "difference": difference.mean(),
                            "difference_std": difference.std(),
                            "seeds_above": int((difference > 0).sum()),
                        }
                    rows.append(row)
    table = pd.DataFrame(rows).round(2)
    if "seeds_above" in table:
        table["seeds_above"] = table["seeds_above"].astype("Int64")
    return table


def markdown(table: pd.DataFrame, command: str = "make seeds") -> str:
    """The SDR part of `summary` as Markdown: mean and standard deviation over the seeds.

    command: what made it.
    """
    seeds = [column for column in table.columns if column.startswith("seed_")]
    rows = [
        [
            *(str(row[name]) for name in ("test_set", "source", "model")),
            *(f"{row[seed]:.2f}" for seed in seeds),
            f"{row['mean']:.2f} ± {row['std']:.2f}",
            "" if pd.isna(row.get("difference")) else _difference(row),
        ]
        for (_, _), group in table[table["metric"] == "SDR"].groupby(
            ["test_set", "source"], sort=False
        )
        for _, row in group.iterrows()
    ]
    header = ["test set", "source", "model", *(seed.replace("_", " ") for seed in seeds)]
    return "\n".join(
        [
            "# SDR over seeds",
            "",
            "Means over test tracks in dB; ± is the standard deviation over seeds. `unseen`: the"
            f" datasets without supervised tracks. Made by `{command}`.",
            "",
            *grid([*header, "mean ± std", "difference to baseline"], rows, text_columns=3),
            "",
        ]
    )


def _difference(row: "pd.Series[float]") -> str:
    return f"{row['difference']:+.2f} ± {row['difference_std']:.2f}"
