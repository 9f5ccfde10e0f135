"""A model that is given away works alone, and its network is the same without torch."""

import json
import re
import shutil
from dataclasses import replace
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
from pipeline.evaluation.metrics import MEASURED
from pipeline.evaluation.scoring import Score
from pipeline.evaluation.track_scores import NO_SEED, load_tracks, save_tracks, tracks_frame
from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.report import card
from pipeline.report.export import export_model
from pipeline.roles import COLUMNS, save_split
from pipeline.separation.model_folder import CONFIG, WEIGHTS, digest
from pipeline.separation.onnx_network import ONNX, load_onnx
from pipeline.separation.separator import Separator
from pipeline.separation.songs import separate_files
from pipeline.tracks import TrackName
from tests.helpers import rendered
from tests.helpers.small_recordings import music, put
from tests.helpers.small_separators import SIGNAL, noise, small_separator, with_bias


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


def test_a_level_is_given_away_with_the_model(model: Path, tmp_path: Path) -> None:
    """In the configuration, the ONNX file and the card; with onnxruntime the estimates are the same."""
    replace(Separator.load(model), level=0.1).save(tmp_path / "V", {"model": "V"})
    export_model(tmp_path / "V", tmp_path / "given", tmp_path)
    onnx_file = tmp_path / "given" / ONNX
    without, with_torch = (
        load_onnx(tmp_path / "given", onnx_file),
        Separator.load(tmp_path / "given"),
    )
    assert without.level == with_torch.level == 0.1
    waveform = noise(20_000)
    found = without.estimate(waveform / np.float32(100)) * 100
    np.testing.assert_allclose(found, with_torch.estimate(waveform), atol=1e-4)
    told = onnxruntime.InferenceSession(str(onnx_file)).get_modelmeta().custom_metadata_map
    assert told["level"] == "0.1"
    assert "brought to -20.0 dB" in (tmp_path / "given/README.md").read_text(encoding="utf-8")


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
    assert "results/tracks was not there" in card
    assert "data/split.csv was not there" in card
    assert "demonstration" not in card
    assert "dB of full scale" not in card


def scores_of(weights: Path, tracks: Path, dataset: str = "iKala") -> None:
    """The files of results/tracks: two seeds of V, and these weights as its second."""
    for row, seeds in (("mixture", (NO_SEED,)), ("V", (1, 2)), ("oracle", (NO_SEED,))):
        lines = [
            (seed, TrackName(dataset, "a"), [Score(s, dict.fromkeys(MEASURED, 10.0 * k + seed), "")
                                             for k, s in enumerate(("accompaniment", "vocals"))])
            for seed in seeds
        ]  # fmt: skip
        save_tracks(tracks_frame(lines), tracks / f"{row}.csv")
    (tracks / "V.sha256").write_text(
        f"{'0' * 64}  models/V/seed-1/{WEIGHTS}\n{digest(weights)}  models/V/seed-2/{WEIGHTS}\n"
    )


def table_cells(card: str) -> list[list[str]]:
    lines = [line for line in card.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_no_name_in_a_card_becomes_markup(tmp_path: Path) -> None:
    """A model folder is anybody's, and so are the names in results, split and inventories."""
    name, other = "`V` | @user\n# <b>", "[x](https://e.org)"
    # Those of inventories and of the split are refused as they are read.
    folder, data = tmp_path / "models/V", tmp_path / "data"
    small_separator().save(folder, {"model": name, "critics": ["vocals"]})
    scores_of(folder / WEIGHTS, tmp_path / "results/tracks", other)
    save_split(
        pd.DataFrame([["x", "x", "x", "test", True, None]], columns=COLUMNS), data / "split.csv"
    )
    text = card.card(folder, Separator.load(folder), tmp_path / "results").split("## Made with")[0]
    assert rendered.lines(text)[0] == printable(name)
    assert rendered.codes(text).count(other) == 6


def test_scores_are_those_of_the_weights_whatever_the_model_is_called(tmp_path: Path) -> None:
    folder, results = tmp_path / "models/given away", tmp_path / "results"
    separator = small_separator()
    separator.save(folder, {"model": "VA", "critics": ["vocals"]})
    none_yet = card.card(folder, separator, results)
    assert "None: results/tracks was not there when this was written." in none_yet
    scores_of(folder / WEIGHTS, results / "tracks")
    text = card.card(folder, separator, results)
    assert [
        "test set",
        "metric",
        "tracks",
        "mixture",
        "seed 2",
        "2 seeds",
        "oracle",
    ] in table_cells(text)
    assert ["iKala", "SDR", "1", "-1.00", "2.00", "1.50", "-1.00"] in table_cells(text)
    assert ["all", "SAR", "1", "9.00", "12.00", "11.50", "9.00"] in table_cells(text)
    assert "`2 seeds`: the mean over all that V was trained with" in text


def test_weights_that_results_do_not_know_have_no_scores(tmp_path: Path) -> None:
    """Trained again, or another model's folder under the name of one that was scored."""
    folder, results = tmp_path / "models/V/seed-2", tmp_path / "results"
    separator = small_separator()
    separator.save(folder, {"model": "V", "critics": ["vocals"]})
    scores_of(folder / WEIGHTS, results / "tracks")
    save_split(
        pd.DataFrame([["iKala", "a", "x", "test", True, None]], columns=COLUMNS),
        tmp_path / "data/split.csv",
    )
    assert "10.00" not in (known := card.card(folder, separator, results))
    assert "12.00" in known
    assert "is not known" not in known
    with_bias(separator, 0.5).save(folder, {"model": "V", "critics": ["vocals"]})
    text = card.card(folder, separator, results)
    assert "None: no scores in results/tracks are of these weights." in text
    assert "12.00" not in text
    assert "whether this model was trained with it is not known." in text


def test_sums_of_a_seed_without_scores(tmp_path: Path) -> None:
    folder, results = tmp_path / "models/V/seed-2", tmp_path / "results"
    separator = small_separator()
    separator.save(folder, {"model": "V"})
    scores_of(folder / WEIGHTS, results / "tracks")
    once = load_tracks(results / "tracks/V.csv")
    save_tracks(once[once["seed"] == 1], results / "tracks/V.csv")
    text = card.card(folder, separator, results)
    assert "None: results/tracks has no scores of V with seed 2." in text


def test_the_card_of_an_experiment(experiment: Path, tmp_path: Path) -> None:
    """Means over all seeds are those of the table; of its own seed those of its rows in the CSV."""
    export_model(experiment / "models/VA", tmp_path / "VA", experiment / "results")
    card = (tmp_path / "VA/README.md").read_text(encoding="utf-8")
    cells = table_cells(card)
    metrics = json.loads((experiment / "results/metrics.json").read_text())
    seed = json.loads((tmp_path / f"VA/{CONFIG}").read_text())["seed"]
    own = pd.read_csv(experiment / "results/tracks/VA.csv").query(f"seed == {seed}")
    header = ["test set", "metric", "tracks", "mixture", f"seed {seed}", "2 seeds", "oracle"]
    heads = [number for number, line in enumerate(cells) if line == header]
    for source, first in zip(("accompaniment", "vocals"), heads, strict=True):
        found = {
            tuple(line[:2]): line[2:] for line in cells[first + 2 : first + 2 + 3 * len(metrics)]
        }
        for test_set, rows in metrics.items():
            tracks, mixture, of_seed, of_all, oracle = found[test_set, "SDR"]
            known = {row: rows[row].get(f"SDR_{source}") for row in ("mixture", "VA", "oracle")}
            expected = ["–" if one is None else f"{one:.2f}" for one in known.values()]
            assert [mixture, of_all, oracle] == expected
            assert tracks == str(rows["VA"]["tracks"])
            scores = own[(own["dataset"] == test_set) & (own["source"] == source)]["SDR"].dropna()
            if len(scores):
                assert float(of_seed) == pytest.approx(scores.mean(), abs=0.0051)
    split = (experiment / "data/split.csv").read_text(encoding="utf-8").splitlines()
    for dataset in ("DSD100", "iKala"):
        listed = [line for line in split if line.startswith(f"{dataset},")]
        roles = ("supervised", "unlabelled", "validation", "test")
        assert [
            dataset,
            *(str(sum(f",{role}," in line for line in listed)) for role in roles),
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


def test_damaged_sums(model: Path, tmp_path: Path) -> None:
    (tmp_path / "tracks").mkdir()
    (tmp_path / "tracks/V.sha256").write_text("[1]\n")
    with pytest.raises(UserError, match=r"V\.sha256: expected .*; delete it and run"):
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
