"""What a model folder holds is what was written, or a refusal that names the file."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.errors import UserError
from pipeline.networks.critics.dcgan import DCGANCritic
from pipeline.separation.model_folder import CONFIG, OWN, WEIGHTS, load_critics, save_critic
from pipeline.separation.separator import Separator
from tests.helpers.limits import small_files_only
from tests.helpers.small_separators import small_separator

CRITIC = "critic-vocals.safetensors"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with a critic, as training writes it."""
    folder = tmp_path / "VA"
    folder.mkdir()
    torch.manual_seed(3)
    save_critic(folder, "vocals", DCGANCritic(filters=2))
    details = {"critics": ["vocals"], "critic": {"network": "dcgan", "filters": 2}}
    small_separator().save(folder, details)
    return folder


def load(model: Path) -> None:
    Separator.load(model)
    load_critics(model)


def refused(model: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(model)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_a_whole_folder_is_loaded_and_one_without_digests_too(model: Path) -> None:
    load(model)
    config = json.loads((model / CONFIG).read_text())
    assert sorted(config.pop("sha256")) == [CRITIC, WEIGHTS]
    del config[OWN]
    (model / CONFIG).write_text(json.dumps(config))
    load(model)


@pytest.mark.parametrize("name", [WEIGHTS, CRITIC])
@pytest.mark.parametrize("position", [-1, -4000, 0.5])
def test_a_changed_byte_is_noticed(model: Path, name: str, position: float) -> None:
    content = bytearray((model / name).read_bytes())
    content[int(position * len(content)) if position == 0.5 else int(position)] ^= 1
    (model / name).write_bytes(content)
    said = refused(model)
    assert said.startswith(f"{model / name}: ")
    assert "SHA-256 differs" in said
    assert "`dvc repro -f train@VA`; otherwise copy the folder again" in said
    assert "dvc checkout" not in said


@pytest.mark.parametrize("name", [WEIGHTS, CRITIC])
def test_another_models_weights_of_the_same_shapes_are_noticed(model: Path, name: str) -> None:
    weights = load_file(model / name)
    save_file({key: value * 2 for key, value in weights.items()}, model / name)
    assert f"{model / name}: not the weights that were written with {CONFIG}" in refused(model)


@pytest.mark.parametrize(
    ("key", "value"),
    [("sources", ["vocals", "accompaniment"]), ("critics", []), ("sha256", {}),
     ("signal", {"sample_rate": 16000, "fft_size": 512, "hop_size": 256})],
)  # fmt: skip
def test_a_configuration_that_was_changed_is_refused(model: Path, key: str, value: Any) -> None:
    """Each is one that could be: the estimates would have the wrong names, or rate."""
    config = json.loads((model / CONFIG).read_text())
    (model / CONFIG).write_text(json.dumps(config | {key: value}))
    assert refused(model).startswith(
        f"{model / CONFIG}: not what was written (its SHA-256 differs); "
    )
    (model / CONFIG).write_text(json.dumps(config))  # how it is laid out says nothing
    load(model)


@pytest.mark.parametrize("name", [WEIGHTS, CRITIC])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(model: Path, name: str, value: float) -> None:
    """Also in a folder without digests."""
    config = json.loads((model / CONFIG).read_text())
    del config["sha256"], config[OWN]
    (model / CONFIG).write_text(json.dumps(config))
    weights = load_file(model / name)
    key = sorted(key for key in weights if weights[key].is_floating_point())[-1]
    weights[key].view(-1)[-1] = value
    save_file(weights, model / name)
    assert refused(model).startswith(f"{model / name}: {key} holds values that are not finite; ")


def separator_folder(folder: Path, network: nn.Module) -> None:
    separator = small_separator()
    separator.network.load_state_dict(network.state_dict())  # type: ignore[attr-defined]
    separator.save(folder, {})


@pytest.mark.parametrize(
    ("network", "save"),
    [(small_separator().network, separator_folder),
     (DCGANCritic(filters=2), lambda folder, network: save_critic(folder, "vocals", network))],
)  # fmt: skip
def test_weights_that_are_not_finite_are_not_written(
    tmp_path: Path, network: nn.Module, save: Callable[[Path, nn.Module], None]
) -> None:
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(UserError, match=r"\.safetensors: not written: .* not finite"):
        save(tmp_path, network)
    assert list(tmp_path.iterdir()) == []


def test_the_digests_are_of_the_files(model: Path) -> None:
    """By another program than ours."""
    lines = [
        f"{digest}  {name}"
        for name, digest in json.loads((model / CONFIG).read_text())["sha256"].items()
    ]
    (model / "sums").write_text("\n".join(lines) + "\n")
    subprocess.run(["sha256sum", "--check", "--quiet", "sums"], cwd=model, check=True)


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    """What writes the folder turns it into one line; safetensors' own error would get by."""
    with small_files_only(1000), pytest.raises(OSError, match="File too large"):
        small_separator().save(tmp_path, {})
