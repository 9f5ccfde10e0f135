"""A user's own networks through the experiment: trained by every kind of row, applied, given away."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from pipeline import params, roles
from pipeline.errors import UserError
from pipeline.features.store import FeatureFile
from pipeline.params import Params
from pipeline.report.export import export_model
from pipeline.separation.model_folder import load_critics
from pipeline.separation.onnx_network import ONNX
from pipeline.separation.separator import Separator
from pipeline.separation.songs import separate_files
from pipeline.training.fingerprint import fingerprints
from pipeline.training.run import longest_track
from stages import train
from tests.helpers.command_line import failing
from tests.helpers.experiment import small_params, start_repository, write_params
from tests.helpers.places import TOP, inside
from tests.helpers.places import fingerprints as contents
from tests.helpers.small_recordings import music, put
from tests.helpers.training import trained

MINE, CRITIC = "networks/mine.py", "networks/example_critic.py"
EXAMPLE = (TOP / "networks/example.py").read_text(encoding="utf-8")


def small(**changes: Any) -> dict[str, Any]:
    data = small_params()
    data["separator"] = {"network": MINE, "width": 4}
    data["critic"] = {"network": CRITIC, "width": 4}
    data["training"] |= {"max_epochs": 2, "steps_per_epoch": 2, "critic_steps": 1}
    return data | changes


def parsed(**changes: Any) -> Params:
    return params.parse(small(**changes), "params.yaml")


@pytest.fixture
def folder(with_features: Path, own_networks: Path, tmp_path: Path) -> Path:
    """An experiment with recordings, split and features, and networks/mine.py."""
    (own_networks / "mine.py").write_text(EXAMPLE, encoding="utf-8")
    here = tmp_path / "experiment"
    here.mkdir()
    for name in ("data/features", "data/split.csv"):
        place = here / name
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(with_features / name)
    return here


@pytest.fixture
def model(folder: Path) -> Path:
    trained(folder, parsed(), "VA")
    return folder / "models/VA/seed-1"


@pytest.mark.parametrize("row", ["baseline", "V", "VA"])
def test_a_row_is_trained_and_separates_a_song(folder: Path, tmp_path: Path, row: str) -> None:
    trained(folder, parsed(), row)
    model = folder / "models" / row / "seed-1"
    loaded = Separator.load(model)
    assert type(loaded.network).__name__ == "Masks"
    assert len(load_critics(model)) == {"baseline": 0, "V": 1, "VA": 2}[row]
    put(tmp_path / "song.wav", music(2, 60_000))
    with inside(tmp_path):  # wherever one is
        assert separate_files([Path("song.wav")], model, Path("out")) == 0
    sound = np.random.default_rng(1).standard_normal(40_000).astype(np.float32)
    whole, pieces = loaded.estimate(sound), loaded.estimate(sound, frames=7)
    np.testing.assert_allclose(pieces, whole, atol=1e-5)


def test_the_same_file_is_the_same_run_and_another_one_another(
    folder: Path, own_networks: Path
) -> None:
    split = roles.load_split(folder / "data/split.csv")

    def runs() -> list[str]:
        return [
            fingerprints(parsed(), name, split, folder / "data/features")[1]
            for name in ("baseline", "VA")
        ]

    before = runs()
    (own_networks / "unused.py").write_text("a new one\n")
    assert runs() == before
    (own_networks / "example_critic.py").write_text("x = 1\n")
    after = runs()
    assert after[0] == before[0], "the baseline has no critic"
    assert after[1] != before[1]
    (own_networks / "mine.py").write_text(f"{EXAMPLE}\n# another\n", encoding="utf-8")
    assert not set(runs()) & set(before + after)


def load(model: Path) -> None:
    Separator.load(model)
    load_critics(model)


def refused(model: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_of_another_version_are_refused_and_the_named_command_mends_it(
    model: Path, own_networks: Path
) -> None:
    mine, critic = own_networks / "mine.py", own_networks / "example_critic.py"
    # it would say so if it were run
    mine.write_text("raise SystemExit('run')\n")
    said = refused(model)
    assert said.startswith(f"{model}: needs {MINE}: its source here (SHA-256 ")
    assert said.endswith("train again: `dvc repro train@VA`")
    subprocess.run(said.split("`")[1], shell=True, check=True)
    Separator.load(model)
    mine.unlink()
    said = refused(model)
    assert f"needs {MINE}: no such file in {own_networks}; read {model}/{MINE}" in said
    subprocess.run(said.split("`")[1], shell=True, check=True)
    critic.write_text(f"{critic.read_text()}\n")
    assert f"{model}: needs {CRITIC}: its source here" in refused(model)
    shutil.rmtree(model / "networks")
    assert f"; put that version into {own_networks}; or" in refused(model)


def test_no_code_that_came_with_a_model_is_run(
    model: Path, own_networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from its folder, not from the working directory, not under another name."""
    (model / MINE).write_text(f"raise SystemExit('run')\n{EXAMPLE}")
    shutil.copytree(model / "networks", tmp_path / "elsewhere/networks")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    with inside(tmp_path / "elsewhere"):
        Separator.load(model)
    config = json.loads((model / "config.json").read_text())
    config.pop("config_sha256")
    for name in ("../../models/VA/networks/mine.py", str(model / MINE), "os:system"):
        config["separator"] = {"network": name, "version": "1"}
        (model / "config.json").write_text(json.dumps(config))
        assert "config.json: separator" in refused(model) or "no package os" in refused(model)


def test_a_model_is_given_away_with_its_file(
    model: Path, own_networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "given"
    export_model(model, out, tmp_path / "no results")
    assert sorted(str(one.relative_to(out)) for one in out.rglob("*") if one.is_file()) == [
        "README.md", "config.json", ONNX, "model.safetensors", MINE,
    ]  # fmt: skip
    assert (out / MINE).read_text(encoding="utf-8") == EXAMPLE
    assert f"It needs `{MINE}`, which is in this folder." in (out / "README.md").read_text()
    (own_networks / "mine.py").unlink()
    assert f"{out}: needs {MINE}" in refused(out)


@pytest.mark.parametrize(
    "change",
    [
        ("torch.expm1(middle))", "torch.fft.ifft(torch.fft.fft(torch.expm1(middle))).real)"),
        ("middle = mixture[", "size = len(mixture[0, 0].tolist())\n        middle = mixture["
         "..., :size]["),
        ("middle = mixture[", "mixture.tolist()\n        raise_if = bool(torch.jit.is_tracing()) and"
         " {}['traced']\n        middle = mixture["),
    ],
)  # fmt: skip
def test_what_onnx_cannot_express_is_given_away_without(
    folder: Path, own_networks: Path, tmp_path: Path, change: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (own_networks / "mine.py").write_text(EXAMPLE.replace(*change), encoding="utf-8")
    trained(folder, parsed(), "baseline")
    capsys.readouterr()
    export_model(folder / "models/baseline", tmp_path / "given", tmp_path / "no results")
    said = capsys.readouterr().err
    assert not (tmp_path / "given" / ONNX).exists()
    assert f"has no {ONNX}, for " in said
    assert len(said.splitlines()) == 1
    assert ONNX not in (tmp_path / "given/README.md").read_text()
    Separator.load(tmp_path / "given").estimate(np.zeros(3000, np.float32))


BAD: list[tuple[str, str, str]] = [
    ("return torch.log1p", "return torch.tensor(0.0) * torch.log1p", "do not depend on this frame"),
    ("middle = ", "middle = 1 / 0 # ", "line 38: forward of a mixture .*: ZeroDivisionError"),
    ("import torch\n", "import torch, no_such\n", "line 3: import: ModuleNotFoundError"),
    ("return at_least", "return max(at_least, 9999)", "needs excerpts of 9999 frames"),
    ("def build", "def built", "expected a function `build`"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD)
def test_a_bad_network_is_one_line_and_nothing_is_written(
    folder: Path, own_networks: Path, capsys: pytest.CaptureFixture[str],
    old: str, new: str, message: str,
) -> None:  # fmt: skip
    assert old in EXAMPLE
    (own_networks / "mine.py").write_text(EXAMPLE.replace(old, new, 1), encoding="utf-8")
    write_params(small(), folder)
    before = contents(folder)
    with inside(folder):
        said = failing(train.train, ["baseline", "--seed", "1", "--device", "cpu"], capsys)
    assert said.startswith(f"error: {MINE}")
    assert re.search(message, said), said
    after = {name for name in contents(folder) if not name.startswith("work/")}
    assert after == set(before)


def test_the_longest_track_is_one_that_is_trained_with(with_features: Path) -> None:
    split = roles.load_split(with_features / "data/split.csv")
    features = with_features / "data/features"
    found = {
        role: [
            FeatureFile.open(features / f"{name}.h5").index["frames"].loc[tracks["track"]].max()
            for name, tracks in split[split["role"] == role].groupby("dataset")
        ]
        for role in ("supervised", "unlabelled")
    }
    assert longest_track(split, ["supervised"], features) == max(found["supervised"])
    both = longest_track(split, ["supervised", "unlabelled"], features)
    assert both == max(found["supervised"] + found["unlabelled"])
    assert longest_track(split, ["no such role"], features) == 0


# -------------------------------------------------------------------------- by DVC and in experiments


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc-site"))
    monkeypatch.delenv("PYTHONPATH", raising=False)


def dvc(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["dvc", *arguments], cwd=folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
def test_dvc_sees_an_edit_of_the_file_and_trains_again(
    with_features: Path, tmp_path: Path, environment: None
) -> None:
    """In an experiment beside the top, whose networks are the top's."""
    start_repository(tmp_path)
    (tmp_path / MINE).write_text(EXAMPLE, encoding="utf-8")
    here = tmp_path / "experiments/own"
    here.mkdir(parents=True)
    data = small(seeds=[1])
    data["models"] = {"V": data["models"]["V"]}
    for place, values in ((here, data), (tmp_path, small_params())):
        with (place / "params.yaml").open("w", encoding="utf-8") as file:
            YAML().dump(values, file)
    for name in ("data/inventory", "data/features", "data/split.csv", "data/ready"):
        place = here / name
        copy = shutil.copytree if (with_features / name).is_dir() else shutil.copy
        place.parent.mkdir(exist_ok=True)
        copy(with_features / name, place)
    subprocess.run([tmp_path / "scripts/lay-out-experiments"], check=True)
    dvc(here, "repro", "--single-item", "train@V")
    with inside(here), Repo() as repo:
        assert "train@V" not in repo.status()
    before = json.loads((here / "models/V/seed-1/config.json").read_text())
    (tmp_path / MINE).write_text(f"{EXAMPLE}\n# another\n", encoding="utf-8")
    with inside(here), Repo() as repo:
        assert "train@V" in repo.status()
    command = [sys.executable, "-m", "stages.evaluate", "V"]
    done = subprocess.run(
        command, cwd=here, env=os.environ | {"PYTHONPATH": "../.."}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    line = done.stderr
    assert f"models/V/seed-1: needs {MINE}: its source here" in line
    assert "`dvc repro train@V` (in experiments/own)" in line
    dvc(here, "repro", "--single-item", "train@V")
    after = json.loads((here / "models/V/seed-1/config.json").read_text())
    assert before["code"].keys() == after["code"].keys() == {MINE, CRITIC}
    assert before["fingerprint"] != after["fingerprint"]
    assert before["code"][MINE] != after["code"][MINE]
    dvc(here, "repro", "--single-item", "evaluate@V")
    assert (here / "results/tracks/V.csv").is_file()
