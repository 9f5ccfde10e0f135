"""The curves of training as one table, and as DVC plots them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from dvc.repo import Repo

from pipeline.comparison import histories
from pipeline.errors import UserError
from pipeline.params import of_seed
from stages import compare
from tests.helpers.places import TOP, inside
from tests.helpers.revision_control import git


def write_history(models: Path, model: str, curve: str, rows: list[tuple[int, float]]) -> None:
    path = of_seed(models / model, 1) / f"history/{curve}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"step\t{path.stem}", *(f"{step}\t{value}" for step, value in rows)]
    path.write_text("\n".join(lines) + "\n")


def test_curves_of_all_models_are_one_table(tmp_path: Path) -> None:
    write_history(tmp_path, "V", "training/L_add", [(5, -1.23456789), (5, -2.0), (10, 1e-9)])
    for compares_nothing in ("L", "L_u"):
        write_history(tmp_path, "V", f"training/{compares_nothing}", [(5, 9.0)])
    write_history(tmp_path, "V", "validation/L_s", [(5, 0.5)])
    write_history(tmp_path, "baseline", "validation/L_s", [(5, 0.25)])
    table = histories.all_curves(tmp_path, ["baseline", "V"], [1])
    assert table is not None
    histories.save(table, tmp_path / "curves.csv")
    assert (tmp_path / "curves.csv").read_text().splitlines() == [
        "model,seed,curve,step,value",
        "baseline,1,validation/L_s,5,0.25",
        "V,1,validation/L_s,5,0.5",
        "V,1,training/L_add,5,-2",
        "V,1,training/L_add,10,1e-09",
    ]
    assert histories.all_curves(tmp_path, ["baseline", "V", "absent"], [1]) is None
    assert histories.all_curves(tmp_path, ["baseline", "V"], [1, 2]) is None
    (tmp_path / "V/seed-1/history/training/L_add.tsv").write_text("step\tother\n1\t2\n")
    with pytest.raises(UserError, match=r"training/L_add.tsv: expected columns step, L_add"):
        histories.all_curves(tmp_path, ["V"], [1])


def test_what_trained_which_seed(tmp_path: Path) -> None:
    """Where nothing is said, or what is said is damaged, the machine decides nothing or is unknown."""
    said = {1: '{"computed_on": "A"}', 2: '{"computed_on": "B"}', 3: '{"computed_on": null}',
            4: "{", 5: '{"computed_on": "A"}'}  # fmt: skip
    for seed, text in said.items():
        folder = of_seed(tmp_path / "V", seed)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(text)
    assert histories.processors(tmp_path, "V", range(1, 9)) == {"A": [1, 5], "B": [2]}


@pytest.mark.parametrize(
    "text",
    [
        "step\tL_s\n1\tx\n",
        "step\n1\n",
        "step\tother\n1\t2\n",
        "step\tL_s\n1\tnan\n",
        "step\tL_s\n-1\t1\n",
    ],
)
def test_a_damaged_curve_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "V/seed-1/history/L_s.tsv"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match="expected") as error:
        histories.read(tmp_path / "V/seed-1")
    assert str(error.value).startswith(f"{path}: ")
    assert "train@V" in str(error.value)
    assert "\n" not in str(error.value)


def plots(folder: Path, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """Vega-Lite specifications by plot, from the real command line."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "plots", *arguments, "--json"],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert not answer.get("errors"), answer
    return answer["data"]  # type: ignore[no-any-return]


@pytest.mark.slow
def test_dvc_plots_show_every_curve_and_score(copied: Path, quiet_git: None) -> None:
    """dvc.yaml's plots on the fixture experiment, alone and against another revision."""
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(TOP / name, copied)
    git(copied, "init", "--quiet", "--initial-branch", "main")
    Repo.init(str(copied)).close()
    shutil.copytree(TOP / ".dvc/plots", copied / ".dvc/plots")
    with inside(copied):
        compare.main()
    git(copied, "add", "results", "dvc.yaml", "params.yaml", ".dvc", ".dvcignore")
    git(copied, "commit", "--quiet", "--message", "results")

    written = pd.read_csv(copied / "results/curves.csv")
    for path in copied.glob("models/*/seed-*/history/*/*.tsv"):
        model, seed, curve = path.parts[-5], path.parts[-4], f"{path.parts[-2]}/{path.stem}"
        rows = (written["model"] == model) & ("seed-" + written["seed"].astype(str) == seed)
        own = written.loc[rows & (written["curve"] == curve), "value"].to_numpy()
        recorded = pd.read_csv(path, sep="\t")[path.stem].to_numpy()
        assert path.stem in histories.UNPLOTTED or own == pytest.approx(recorded, rel=1e-5)

    shown = plots(copied, "show")
    assert set(shown) == {"curves", "scores"}
    for name, fields in {
        "curves": {"model", "seed", "curve", "step", "value", "rev"},
        "scores": {"model", "test_set", "source", "metric", "mean", "low", "high", "rev"},
    }.items():
        spec = shown[name][0]["content"]
        assert "<DVC_METRIC" not in json.dumps(spec)
        rows = spec["data"]["values"]
        assert fields <= set(rows[0])
        used = set(re.findall(r'"field": "(\w+)"', json.dumps(spec)))
        assert used <= fields, "an encoding names a column that is not there"
    assert len(shown["curves"][0]["content"]["data"]["values"]) == len(written)

    lower = (copied / "results/curves.csv").read_text().replace(",0.", ",0.0")
    (copied / "results/curves.csv").write_text(lower)
    compared = plots(copied, "diff", "main")["curves"][0]["content"]["data"]["values"]
    assert {row["rev"] for row in compared} == {"main", "workspace"}
    assert len(compared) == 2 * len(written)
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "plots", "diff", "main", "--out", "plots"],
        cwd=copied,
        check=True,
    )
    assert done.returncode == 0
    assert (copied / "plots/index.html").read_text().count("vegaEmbed(") == 2
