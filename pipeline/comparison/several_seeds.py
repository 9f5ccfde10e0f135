"""The same experiment with several seeds: what is the method and what is luck."""

from collections.abc import Mapping, Sequence

import pandas as pd

from pipeline.comparison.aggregation import ALL, means
from pipeline.comparison.markdown import grid
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
    rows = []
    for test_set in test_sets:
        for model in (name for name in first[test_set] if name != MIXTURE):
            for source in sources:
                for metric in MEASURED:
                    key = f"{metric}_{source}"
                    row: dict[str, object] = {
                        "test_set": test_set, "model": model, "source": source, "metric": metric,
                    }  # fmt: skip
                    values = pd.Series(
                        {f"seed_{seed}": m[test_set][model][key] for seed, m in by_seed.items()}
                    )
                    row |= {str(seed): value for seed, value in values.items()}
                    row |= {"mean": values.mean(), "std": values.std()}
                    if baseline is not None and model != baseline:
                        difference = values - pd.Series(
                            {f"seed_{s}": m[test_set][baseline][key] for s, m in by_seed.items()}
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


def as_markdown(table: pd.DataFrame, command: str = "make seeds") -> str:
    """The headline part of `over_seeds` as Markdown: mean and standard deviation over the seeds.

    command: what made it.
    """
    shown = table[table["metric"] == HEADLINE]
    seeds = [column for column in table.columns if column.startswith("seed_")]
    rows = [
        [
            *(str(row[name]) for name in ("test_set", "source", "model")),
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
            f" datasets without supervised tracks. Made by `{command}`.",
            "",
            *grid([*header, "mean ± std", "difference to baseline"], rows, text_columns=3),
            "",
        ]
    )


def _difference(row: "pd.Series[float]") -> str:
    return f"{row['difference']:+.2f} ± {row['difference_std']:.2f}"
