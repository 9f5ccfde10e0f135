"""results/critics.csv: critics whose answers are known, and the same numbers by another way."""

from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from pipeline import params, roles
from pipeline.critique import critic_table, groups, opinions
from pipeline.critique.critic_table import ALL
from pipeline.errors import UserError
from pipeline.features.store import FeatureFile
from pipeline.networks.gradients import correlation
from pipeline.networks.interfaces import CriticNetwork
from pipeline.separation.model_folder import load_critics
from pipeline.separation.separator import Separator
from pipeline.tracks import MIXTURE

GROUP = ["model", "seed", "critic", "role", "dataset", "estimates"]


class Linear(nn.Module):
    """A critic that scores by a weighted sum of what it sees: bins 1 and up, all frames."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, excerpts: Tensor) -> Tensor:
        return (excerpts * self.weights).flatten(1).sum(dim=1, keepdim=True)

    def view(self, excerpts: Tensor) -> Tensor:
        return excerpts[:, None, 1:]


def critic(weights: Tensor) -> CriticNetwork:
    return cast(CriticNetwork, Linear(weights))


def test_a_critic_that_asks_for_exactly_what_lacks() -> None:
    torch.manual_seed(1)
    lack = torch.randn(4, 3)
    real = torch.rand(70, 5, 3)
    fake = real.clone()
    fake[:, 1:] -= lack
    distance, correlation = opinions.opinion(critic(lack), real, fake, paired=True)
    assert correlation == pytest.approx(1, abs=1e-6)
    assert distance == pytest.approx(float((lack**2).sum()), rel=1e-5)
    assert opinions.opinion(critic(-lack), real, fake, paired=True) == pytest.approx(
        (-distance, -1), rel=1e-5
    )


def test_unpaired_recordings_have_a_distance_and_no_correlation() -> None:
    """And another number of real excerpts than of estimates."""
    torch.manual_seed(2)
    weights, real, fake = torch.randn(4, 3), torch.rand(40, 5, 3), torch.rand(33, 5, 3)
    distance, correlation = opinions.opinion(critic(weights), real, fake, paired=False)
    difference = real[:, 1:].mean(dim=0) - fake[:, 1:].mean(dim=0)
    assert distance == pytest.approx(float((weights * difference).sum()), rel=1e-4)
    assert np.isnan(correlation)


def test_excerpts_that_lack_nothing_ask_for_nothing() -> None:
    """A correlation with a constant is undefined, and does not count."""
    real = torch.rand(3, 5, 3)
    fake = real.clone()
    fake[1, 1:] -= torch.arange(12.0).view(4, 3)
    _, correlation = opinions.opinion(
        critic(torch.arange(12.0).view(4, 3)), real, fake, paired=True
    )
    assert correlation == pytest.approx(1, abs=1e-6)
    assert np.isnan(opinions.opinion(critic(torch.ones(4, 3)), real, real, paired=True)[1])


def test_correlations_are_numpys() -> None:
    torch.manual_seed(3)
    a, b = torch.randn(5, 1, 7, 2), torch.randn(5, 1, 7, 2)
    b += a
    expected = [np.corrcoef(x.flatten(), y.flatten())[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(correlation(a, b), expected, rtol=1e-9)


def table_of(experiment: Path) -> pd.DataFrame:
    return critic_table.load(experiment / "results/critics.csv", "again", "absent")


def test_every_critic_is_asked_about_everything(experiment: Path) -> None:
    settings = params.load(experiment / "params.yaml")
    found = table_of(experiment)
    tested = roles.load_split(experiment / "data/split.csv").query("role == 'test' and has_vocals")
    sets = [("unlabelled", ALL), *(("test", str(name)) for name in tested["dataset"].unique())]
    expected = [
        (model, seed, source, *group, whose)
        for model, one in settings.models.items()
        for seed in settings.seeds
        for source in one.critics
        for group in sets
        for whose in (model, "baseline")
    ]
    assert list(found[GROUP].itertuples(index=False, name=None)) == expected
    assert found["correlation"].abs().max() <= 1
    assert not found.isna().any(axis=None)


def test_the_numbers_are_those_of_the_networks_by_hand(experiment: Path) -> None:
    """Excerpts cut from the feature file, the gradient by autograd, one after the other."""
    dataset, folder = "CCMixter", experiment / "models/V/seed-2"
    separator, found = Separator.load(experiment / "models/baseline/seed-2"), load_critics(folder)
    judge, context = found["vocals"], separator.network.context
    length = separator.network.valid_frames(66)
    split = roles.load_split(experiment / "data/split.csv")
    tested = split[(split["dataset"] == dataset) & (split["role"] == "test") & split["has_vocals"]]
    file = FeatureFile.open(experiment / f"data/features/{dataset}.h5")
    real, scores, correlations = [], [], []
    for row in file.rows(tested["track"].tolist()):
        mixture, vocals = (one.T for one in file.spectrogram(row, [MIXTURE, "vocals"]))
        frames = mixture.shape[1]
        starts = [min(start, frames - length) for start in range(0, frames, length)]
        for start in starts:
            padded = np.pad(mixture, ((0, 0), (context, context)))
            seen = torch.from_numpy(padded[None, :, start : start + length + 2 * context])
            estimate = separator.network(seen)[:, separator.sources.index("vocals")]
            fake = judge.view(estimate).detach().requires_grad_()
            score = judge(fake).sum()
            score.backward()
            assert fake.grad is not None
            truth = judge.view(torch.from_numpy(vocals[None, :, start : start + length].copy()))
            real.append(float(judge(truth).detach()))
            scores.append(float(score.detach()))
            lack = (truth - fake).detach().numpy().ravel()
            correlations.append(np.corrcoef(fake.grad.numpy().ravel(), lack)[0, 1])
    rows = table_of(experiment)
    ((_, own),) = rows[
        (rows[GROUP] == ["V", 2, "vocals", "test", dataset, "baseline"]).all(axis=1)
    ].iterrows()
    assert own["excerpts"] == len(scores)
    assert own["distance"] == pytest.approx(np.mean(real) - np.mean(scores), rel=1e-3, abs=1e-6)
    assert own["correlation"] == pytest.approx(np.mean(correlations), abs=1e-3)


def test_places_are_spread_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "EXCERPTS", 4)
    assert groups.spread(torch.arange(10)).tolist() == [0, 2, 5, 7]
    assert groups.spread(torch.arange(3)).tolist() == [0, 1, 2]


def test_a_file_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    rows = [
        ("V", 123456, "vocals", "test", "iKala", "V", 8, 1.25, -0.5),
        ("V", 1, "vocals", "unlabelled", ALL, "V", 8, -12345.678, float("nan")),
    ]
    path = tmp_path / "critics.csv"
    critic_table.save(pd.DataFrame(rows, columns=critic_table.COLUMNS), path)
    assert path.read_text().splitlines()[1:] == [
        "V,123456,vocals,test,iKala,V,8,1.25,-0.5",
        "V,1,vocals,unlabelled,all,V,8,-1.235e+04,",
    ]
    found = critic_table.load(path, "again", "absent")
    assert found["distance"].tolist() == [1.25, -12350.0]
    assert np.isnan(found["correlation"][1])
    critic_table.save(pd.DataFrame(columns=critic_table.COLUMNS), path)
    assert critic_table.load(path, "again", "absent").empty
    path.write_text(path.read_text() + "V,1,vocals,test,iKala,V,8,loud,0.1\n")
    with pytest.raises(
        UserError, match=r"critics\.csv: distance: expected numbers .*loud.*; again"
    ):
        critic_table.load(path, "again", "absent")
