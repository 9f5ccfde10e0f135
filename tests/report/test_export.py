"""A model that is given away works alone, and its network is the same without torch."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pandas as pd
import pytest
import soundfile
import torch

from pipeline import files
from pipeline.comparison import revisions
from pipeline.errors import UserError, printable
from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.report import card
from pipeline.report.export import export_model
from pipeline.roles import COLUMNS, save_split
from pipeline.separation.model_folder import CONFIG, WEIGHTS
from pipeline.separation.onnx_network import ONNX, load_onnx
from pipeline.separation.separator import Separator
from pipeline.separation.songs import separate_files
from tests.helpers import rendered
from tests.helpers.small_recordings import music, put
from tests.helpers.small_separators import SIGNAL, noise, small_separator


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "V"
    details = {"model": "V", "critics": ["vocals"]}
    small_separator().save(folder, details)
    return folder


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "given"
    export_model(model, out, model / "no results")
    return out


def test_of_two_exports_one_makes_the_folder(model: Path, tmp_path: Path) -> None:
    with (
        files.claimed(tmp_path / "given", print),
        pytest.raises(UserError, match=r"given: process \d+ on .* is at work on it"),
    ):
        export_model(model, tmp_path / "given", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("samples", [1, 500, 5000, 256 * 64, 256 * 1024 + 1, 300_000])
def test_estimates_without_torch_are_the_same(model: Path, exported: Path, samples: int) -> None:
    with_torch, without = Separator.load(model), load_onnx(model, exported / ONNX)
    waveform = 0.3 * noise(samples)
    waveform[samples // 3 : samples // 2] = 0
    found = without.estimate(waveform)
    np.testing.assert_allclose(found, with_torch.estimate(waveform), atol=1e-4)


@pytest.mark.parametrize("samples", [1, 40_000])
def test_silence_without_torch(exported: Path, samples: int) -> None:
    silence = np.zeros(samples, np.float32)
    assert not load_onnx(exported, exported / ONNX).estimate(silence).any()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("at_least", [1, 17, 66, 500])
def test_the_file_takes_any_batch_and_any_valid_number_of_frames(
    model: Path, exported: Path, batch: int, at_least: int
) -> None:
    """By onnxruntime alone, with what the file itself says about sizes."""
    session = onnxruntime.InferenceSession(str(exported / ONNX))
    told = session.get_modelmeta().custom_metadata_map
    frames = int(told["smallest_frames"])
    while frames < at_least:
        frames += int(told["grid"])
    shape = (batch, 257, frames + 2 * int(told["context"]))
    mixture = np.random.default_rng(5).random(shape, np.float32) * 3
    (estimates,) = session.run(None, {"mixture": mixture})
    assert estimates.shape == (batch, 2, 257, frames)
    with torch.inference_mode():
        expected = Separator.load(model).network(torch.from_numpy(mixture)).numpy()
    np.testing.assert_allclose(estimates, expected, atol=1e-4)
    assert json.loads(told["sources"]) == ["accompaniment", "vocals"]
    assert json.loads(told["signal"]) == SIGNAL.model_dump()


def test_the_command_with_it(model: Path, exported: Path, tmp_path: Path) -> None:
    put(tmp_path / "song.wav", music(2, 60_000))
    for out, onnx_file in (("torch", None), ("onnx", exported / ONNX)):
        status = separate_files([tmp_path / "song.wav"], model, tmp_path / out, onnx=onnx_file)
        assert status == 0
    found, expected = (
        soundfile.read(tmp_path / out / "song/vocals.wav")[0] for out in ("onnx", "torch")
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_folder_needs_nothing_else(model: Path, exported: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(exported, tmp_path / "elsewhere")
    assert sorted(path.name for path in elsewhere.iterdir()) == [
        "README.md", CONFIG, ONNX, WEIGHTS,
    ]  # fmt: skip
    waveform = noise(9000)
    expected = Separator.load(model).estimate(waveform)
    np.testing.assert_array_equal(Separator.load(elsewhere).estimate(waveform), expected)
    load_onnx(elsewhere, elsewhere / ONNX)


def test_a_card_without_results_says_so(exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert "results/metrics.json was not there" in card
    assert "data/split.csv was not there" in card
    assert "demonstration" not in card


def test_no_name_in_a_card_becomes_markup(tmp_path: Path) -> None:
    """A model folder is anybody's, and so are the names in results, split and inventories."""
    name, other = "`V` | @user\n# <b>", "[x](https://e.org)"
    # Those of inventories and of the split are refused as they are read.
    folder, data = tmp_path / "models/V", tmp_path / "data"
    small_separator().save(folder, {"model": name, "critics": ["vocals"]})
    (tmp_path / "results").mkdir()
    cells = {"tracks": 3, "SDR_vocals": 1.0}
    rows = {"mixture": cells, name: cells, "oracle": cells}
    metrics = {"all": rows, other: rows}
    (tmp_path / "results/metrics.json").write_text(json.dumps(metrics))
    save_split(
        pd.DataFrame([["x", "x", "x", "test", True, None]], columns=COLUMNS), data / "split.csv"
    )
    text = card.card(folder, Separator.load(folder), tmp_path / "results").split("## Made with")[0]
    shown = printable(name)
    assert rendered.lines(text)[0] == shown
    assert rendered.codes(text).count(shown) == 3  # with the head of a table for each source
    assert rendered.codes(text).count(other) == 6


def test_the_card_of_an_experiment(experiment: Path, tmp_path: Path) -> None:
    export_model(experiment / "models/VA", tmp_path / "VA", experiment / "results")
    card = (tmp_path / "VA/README.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.splitlines()]
    metrics = json.loads((experiment / "results/metrics.json").read_text())
    for source in ("accompaniment", "vocals"):
        for test_set, rows in metrics.items():
            numbers = [
                f"{rows[row][f'SDR_{source}']:.2f}" if f"SDR_{source}" in rows[row] else "–"
                for row in ("mixture", "VA", "oracle")
            ]
            assert [test_set, "SDR", str(rows["VA"]["tracks"]), *numbers] in cells
    split = (experiment / "data/split.csv").read_text(encoding="utf-8").splitlines()
    for dataset in ("DSD100", "iKala"):
        own = [line for line in split if line.startswith(f"{dataset},")]
        roles = ("supervised", "unlabelled", "validation", "test")
        assert [
            dataset,
            *(str(sum(f",{role}," in line for line in own)) for role in roles),
        ] in cells
    assert "**This model is a demonstration.** It was trained on synthetic recordings" in card
    assert "critics for: vocals, accompaniment" in card
    assert "- iKala: synthetic" in card


def test_real_recordings_keep_their_terms(experiment: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in ("models/V", "data/inventory"):
        shutil.copytree(experiment / name, copy / name)
    shutil.copyfile(experiment / "data/split.csv", copy / "data/split.csv")
    for path in (copy / "data/inventory").glob("*.json"):
        known = json.loads(path.read_text())
        known |= {"origin": "local"}
        if path.stem == "DSD100":
            known |= {"collection": "MUSDB18"}
        path.write_text(json.dumps(known))
    export_model(copy / "models/V", tmp_path / "V", copy / "results")
    card = (tmp_path / "V/README.md").read_text(encoding="utf-8")
    assert "demonstration" not in card
    assert "- DSD100: MUSDB18; no commercial use" in card
    assert "- MedleyDB: MedleyDB; CC BY-NC-SA 4.0" in card


def test_what_is_there_is_not_replaced(model: Path, exported: Path) -> None:
    with pytest.raises(UserError, match="is there already"):
        export_model(model, exported, model / "results")


def test_damaged_metrics(model: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("[1]")
    with pytest.raises(UserError, match=r"metrics\.json: expected .*; delete it and run"):
        export_model(model, tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_network_of_other_weights(exported: Path, tmp_path: Path) -> None:
    Separator(SpectrogramUNet(257, filters=2), ("accompaniment", "vocals"), SIGNAL).save(
        tmp_path / "other", {}
    )
    with pytest.raises(UserError, match="not exported from the weights in"):
        load_onnx(tmp_path / "other", exported / ONNX)


def test_files_that_are_no_network(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_onnx(model, tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("no")
    with pytest.raises(UserError, match="not a network") as caught:
        load_onnx(model, tmp_path / "text.onnx")
    assert "\n" not in str(caught.value)


def test_without_torch_too_estimates_that_are_no_sound_name_the_file(
    model: Path, exported: Path
) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(str(exported / ONNX))}: its estimates are"):
        load_onnx(model, exported / ONNX).estimate(np.full(9000, 3e38, np.float32))


def test_the_file_is_valid(exported: Path) -> None:
    onnx.checker.check_model(onnx.load(str(exported / ONNX)), full_check=True)


def test_a_card_that_is_written_without_git_says_so(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(revisions, "checked_out", lambda _: "unknown (no git)")
    text = card.card(model, Separator.load(model), tmp_path / "results")
    assert "Exported by commit unknown (no git); Python " in text
