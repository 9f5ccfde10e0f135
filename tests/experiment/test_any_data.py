"""Whatever a person has: parts of the datasets, folders of unpaired audio, MUSDB18, four sources."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile
from ruamel.yaml import YAML

from pipeline.datasets import catalogue
from pipeline.features.store import FeatureFile
from pipeline.params import table_rows
from stages import compare, download, evaluate, preprocess, split, train
from tests.helpers.command_line import failing
from tests.helpers.experiment import TRACKS, run_stages, small_params, write_params
from tests.helpers.places import inside
from tests.helpers.server import Answer, serving

BRIEF = {"max_epochs": 1, "steps_per_epoch": 2, "batch_size": 4}
STEMS = ("vocals", "drums", "bass", "other")


def changed(**sections: Any) -> dict[str, Any]:
    """The small parameters with whole sections replaced; training is a matter of seconds."""
    data = small_params() | sections
    data["training"] |= BRIEF
    return data


def musdb18_hq(experiment: Path, root: Path, names: Iterable[str]) -> None:
    """The embedded DSD100 songs, each at a level of its own, in MUSDB18-HQ's layout and names."""
    folders = sorted((experiment / "data/synthetic/DSD100/Sources").glob("*/*"))
    partitions = {song.track: song.partition for song in catalogue.musdb18()}
    for number, name in enumerate(names):
        target = root / partitions[name] / name
        target.mkdir(parents=True)
        mixture = 0
        for stem in STEMS:
            data, rate = soundfile.read(folders[number % len(folders)] / f"{stem}.wav")
            data = data * (1 - number / 50)
            soundfile.write(target / f"{stem}.wav", data, rate)
            mixture = mixture + data
        soundfile.write(target / "mixture.wav", mixture, rate)


def stems_files(hq: Path, root: Path) -> None:
    """MUSDB18-HQ's layout as MUSDB18's: five AAC streams in one file."""
    for song in sorted(hq.glob("*/*")):
        target = root / song.parent.name / f"{song.name}.stem.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        names = ("mixture", "drums", "bass", "other", "vocals")
        inputs = [argument for name in names for argument in ("-i", str(song / f"{name}.wav"))]
        maps = [argument for number in range(5) for argument in ("-map", str(number))]
        subprocess.run(
            ["ffmpeg", "-v", "error", *inputs, *maps, "-c:a", "aac", "-b:a", "256k", str(target)],
            check=True,
        )


# Their places in the authors' lists: of DSD100, 50 are supervised, 25 for validation and 25 for test;
# of MedleyDB, 40 are unlabelled, 40 for validation, the others for test.
NAMES = [
    "Actions - Devil's Words",  # DSD100 3, supervised
    "Actions - South Of The Water",  # DSD100 4, supervised
    "Actions - One Minute Smile",  # DSD100 53, validation
    "Drumtracks - Ghost Bitch",  # DSD100 90, test
    "Auctioneer - Our Future Faces",  # MedleyDB 3, unlabelled
    "AvaLuna - Waterduct",  # MedleyDB 4, unlabelled
    "A Classic Education - NightOwl",  # MedleyDB 71, validation
    "Music Delta - 80s Rock",  # MedleyDB 90, test
    "PR - Oh No",  # of neither
]


# ------------------------------------------------------------------------------- parts of datasets


SUBSETS = [list(part) for n in range(1, 5) for part in combinations(TRACKS, n)]


@pytest.mark.parametrize("present", SUBSETS, ids=lambda part: "+".join(part))
@pytest.mark.usefixtures("one_process")
def test_any_part_of_the_datasets_is_split_or_says_what_it_lacks(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], present: list[str]
) -> None:
    data = small_params()
    data["datasets"] = {name: {"origin": "synthetic"} for name in present}
    write_params(data, tmp_path)
    shutil.copytree(experiment / "data/inventory", tmp_path / "data/inventory")
    with inside(tmp_path):
        if "DSD100" in present and len(present) > 1:
            split.split()
            frame = pd.read_csv("data/split.csv")
            assert list(dict.fromkeys(frame["dataset"])) == present
            whole = pd.read_csv(experiment / "data/split.csv")
            pd.testing.assert_frame_equal(frame, whole.merge(frame, how="inner"))
            return
        line = failing(split.split, [], capsys)
        lacking = "unlabelled" if "DSD100" in present else "supervised"
        assert f"no track is {lacking} in {', '.join(present)}: " in line
        assert not Path("data/split.csv").exists()


def test_dsd100_alone_is_enough_for_the_baseline(
    experiment: Path, tmp_path: Path, one_process: None
) -> None:
    models = {"baseline": small_params()["models"]["baseline"]}
    data = changed(datasets={"DSD100": {"origin": "synthetic"}}, models=models, seeds=[1])
    write_params(data, tmp_path)
    shutil.copytree(experiment / "data", tmp_path / "data", copy_function=os.link)
    with inside(tmp_path):
        split.split()
        train.train("baseline", 1, device="cpu", features_in="auto", jobs=0)
        for row in table_rows(["baseline"]):
            evaluate.evaluate(row, role="test", out=None, device="cpu")
        compare.main()
        assert "Not part of this experiment (params.yaml): MedleyDB, CCMixter, iKala." in Path(
            "results/table.md"
        ).read_text(encoding="utf-8")
        assert list(json.loads(Path("results/metrics.json").read_text())) == ["all", "DSD100"]


def test_a_dataset_that_is_missing_is_left_out_loudly(
    experiment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    one_process: None,
) -> None:
    """iKala cannot be had any more: everything goes its way without, and nobody overlooks it."""
    recordings = tmp_path / "recordings"
    for name in ("DSD100", "CCMixter"):
        shutil.copytree(
            experiment / "data/synthetic" / name, recordings / name, copy_function=os.link,
            ignore=shutil.ignore_patterns(".rendered.json"),
        )  # fmt: skip
    (recordings / "MedleyDB").mkdir()  # an empty folder is no dataset either
    monkeypatch.setenv("DATA_ROOT", str(recordings))
    data = changed(datasets={name: {"origin": "local"} for name in TRACKS})
    data["models"], data["seeds"] = {"V": data["models"]["V"]}, [1]
    write_params(data, tmp_path)
    with inside(tmp_path):
        download.download("iKala")
        said = capsys.readouterr().out
        assert "iKala: LEFT OUT: no recordings at DATA_ROOT/iKala" in said
        assert "to get it: withdrawn by its makers" in said
        download.download("MedleyDB")
        assert "zenodo.org/record/1649325" in capsys.readouterr().out
        run_stages(tmp_path)
        frame = pd.read_csv("data/split.csv")
        assert set(frame["dataset"]) == {"DSD100", "CCMixter"}
        text = Path("results/table.md").read_text(encoding="utf-8")
        for name in ("iKala", "MedleyDB"):
            assert f"- LEFT OUT: {name}: `no recordings at DATA_ROOT/{name} when" in text
        assert str(tmp_path) not in text
        assert list(json.loads(Path("results/metrics.json").read_text())) == [
            "all", "unseen", "DSD100", "CCMixter",
        ]  # fmt: skip


@pytest.mark.parametrize("entry", [{"origin": "local"}, {"origin": "folder", "holds": "vocals"}])
def test_a_path_in_params_that_leads_nowhere_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: dict[str, str]
) -> None:
    name = "mine" if entry["origin"] == "folder" else "iKala"
    write_params(changed(datasets={name: entry | {"path": "no/where"}}), tmp_path)
    with inside(tmp_path):
        assert "no/where: no such folder" in failing(download.download, [name], capsys)
        assert not Path("data").exists()


# ------------------------------------------------------------------------------------ download


def archived(folder: Path, target: Path) -> bytes:
    """A folder as its zip file's bytes."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    return target.read_bytes()


def test_a_public_dataset_is_downloaded_checked_and_used(
    experiment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    one_process: None,
) -> None:
    """From a server that breaks off in the middle; the second time nothing is loaded."""
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "raw"))
    corpus = experiment / "data/synthetic/CCMixter/ccmixter_corpus"
    content = archived(corpus, tmp_path / "corpus.zip")
    with serving() as server:
        url = server.serve("/ccmixter_corpus.zip", content, Answer(drop=300_000), Answer())
        entry = {
            "origin": "download",
            "url": url,
            "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
        }
        write_params(changed(datasets={"CCMixter": entry}), tmp_path)
        with inside(tmp_path):
            download.download("CCMixter")
            said = capsys.readouterr().out
            inventory = json.loads(Path("data/inventory/CCMixter.json").read_text("utf-8"))
            ready = Path("data/ready/CCMixter").read_text()
            assert server.ranges[0] is None
            assert str(server.ranges[1]).startswith("bytes=")
            asked = len(server.requests)
            download.download("CCMixter")
            assert len(server.requests) == asked
            assert Path("data/ready/CCMixter").read_text() == ready
    assert "licence: not stated" in said
    assert "please cite: A. Liutkus" in said
    assert len(inventory["recordings"]) == TRACKS["CCMixter"]
    assert all(file["md5"] for file in inventory["files"].values())


def test_a_download_that_fails_leaves_the_inventory_as_it_was(
    experiment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "raw"))
    shutil.copytree(experiment / "data/inventory", tmp_path / "data/inventory")
    with serving() as server, inside(tmp_path):
        url = server.serve("/DSD100.zip", b"", Answer(status=404))
        entry = {"origin": "download", "url": url, "checksum": "md5:" + "0" * 32}
        write_params(changed(datasets={"DSD100": entry}), tmp_path)
        before = Path("data/inventory/DSD100.json").read_bytes()
        line = failing(download.download, ["DSD100"], capsys)
        assert url in line
        assert "404" in line
        assert Path("data/inventory/DSD100.json").read_bytes() == before
        assert not Path("raw/DSD100").exists()


# ------------------------------------------------------------------------------------ unpaired


def encoded(experiment: Path, target: Path, dataset: str, stem: str, endings: list[str]) -> None:
    """Recordings of one kind out of the embedded ones, in formats that people have."""
    files = sorted((experiment / "data/synthetic" / dataset).rglob(f"{stem}.wav"))
    assert files
    for number, ending in enumerate(endings):
        place = target / f"album {number % 2}" / f"take {number}.{ending}"
        place.parent.mkdir(parents=True, exist_ok=True)
        gain = f"volume={1 - number / 10}"
        subprocess.run(
            ["ffmpeg", "-v", "error", "-i", str(files[number % len(files)]), "-af", gain, str(place)],
            check=True,
        )  # fmt: skip


def test_folders_of_unpaired_audio_feed_the_critics(
    experiment: Path, tmp_path: Path, one_process: None
) -> None:
    """Instead of the datasets' thirds: no track of a dataset is unlabelled here.

    What is a test or validation track of them once more is left out, with a word.
    """
    encoded(experiment, tmp_path / "radio", "iKala", "*", ["mp3", "m4a", "flac", "ogg"])
    encoded(experiment, tmp_path / "singing", "MedleyDB", "*_STEM_01", ["opus", "wma", "mp3"])
    encoded(experiment, tmp_path / "radio/copies", "CCMixter", "mix", ["mp3"] * 3)
    encoded(experiment, tmp_path / "singing/copies", "CCMixter", "source-02", ["opus"] * 3)
    (tmp_path / "singing/cover.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "singing/broken.mp3").write_bytes(b"not audio at all")
    data = changed()
    data["datasets"] = {
        "DSD100": {"origin": "synthetic"},
        "CCMixter": {"origin": "synthetic", "roles": ["validation", "test"]},
    } | YAML(typ="safe", pure=True).load(
        "radio: {origin: folder, path: radio, holds: mixture, weight: 0.5}\n"
        "DAMP: {origin: folder, path: singing, holds: vocals}\n"
    )
    data["models"], data["seeds"] = {"V": data["models"]["V"]}, [1]
    write_params(data, tmp_path)
    shutil.copytree(
        experiment / "data/synthetic", tmp_path / "data/synthetic", copy_function=os.link
    )
    run_stages(tmp_path, "critics")
    asked = pd.read_csv(tmp_path / "results/critics.csv").set_index(["role", "dataset"])
    # mixtures of one folder and voices of another are no pairs, and no model here is supervised alone
    assert list(asked.index) == [("unlabelled", "all"), ("test", "DSD100"), ("test", "CCMixter")]
    assert set(asked["estimates"]) == {"V"}
    assert asked["distance"].notna().all()
    assert list(asked["correlation"].isna()) == [True, False, False]
    frame = pd.read_csv(tmp_path / "data/split.csv")
    unlabelled = frame[frame["role"] == "unlabelled"]
    # CCMixter's third that has no role here may be learned from
    copies = unlabelled["track"].str.startswith("copies/")
    assert dict(unlabelled[~copies]["dataset"].value_counts()) == {"radio": 4, "DAMP": 3}
    assert dict(unlabelled[copies]["dataset"].value_counts()) == {"radio": 1, "DAMP": 1}
    assert set(unlabelled.loc[unlabelled["dataset"] == "radio", "weight"]) == {0.5}
    for name, signal in (("radio", "mixture"), ("DAMP", "vocals")):
        store = FeatureFile.open(tmp_path / f"data/features/{name}.h5")
        assert (store.kinds, store.sounds) == ((signal,), (signal,))
        assert (store.index["frames"] > 100).all()
    config = json.loads((tmp_path / "models/V/seed-1/config.json").read_text())
    assert config["critics"] == ["vocals"]
    assert (tmp_path / "models/V/seed-1/critic-vocals.safetensors").exists()
    text = (tmp_path / "results/table.md").read_text(encoding="utf-8")
    assert "- radio: 7 unpaired recordings (mixture), unlabelled." in text
    assert "- DAMP: 6 unpaired recordings (vocals), unlabelled." in text
    for role in ("test", "validation"):
        (song,) = frame.loc[(frame["dataset"] == "CCMixter") & (frame["role"] == role), "track"]
        for folder in ("radio", "DAMP"):
            copy = rf"- {folder}: `copies/album \d/take \d\.\w+` is the {role} track"
            assert re.search(rf"{copy} `CCMixter/{song}` once more; left out\.", text)
    assert "- radio: weight 0.5: its recordings are drawn, all together, 0.5 times as often" in text
    assert "1 tracks that cannot be used (`data/inventory/DAMP.json`)" in text


def test_a_critic_without_recordings_stops_before_anything_is_computed(
    experiment: Path, tmp_path: Path, one_process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    encoded(experiment, tmp_path / "radio", "CCMixter", "mix", ["flac"])
    data = changed()
    data["datasets"] = {
        "DSD100": {"origin": "synthetic"},
        "radio": {"origin": "folder", "path": "radio", "holds": "mixture"},
    }
    write_params(data, tmp_path)
    shutil.copytree(experiment / "data/inventory", tmp_path / "data/inventory")
    with inside(tmp_path):
        download.download("radio")
        line = failing(split.split, [], capsys)
    assert "models.V: no unlabelled track has a recording of vocals" in line


# ------------------------------------------------------------------- MUSDB18, four sources


@pytest.mark.slow
def test_four_sources_out_of_musdb18_through_everything(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: None
) -> None:
    """A critic for any subset of the sources; DSD100's and MedleyDB's songs from one collection."""
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "recordings"))
    musdb18_hq(experiment, tmp_path / "recordings/MUSDB18-HQ", NAMES)
    entry = {"origin": "local", "collection": "MUSDB18-HQ"}
    entries = {"DSD100": entry, "MedleyDB": entry}
    data = changed(sources=list(STEMS), datasets=entries, seeds=[1])
    data["models"] = {
        "baseline": {"critics": [], "alpha": 0.0, "beta": 0.0},
        "two": {"critics": ["drums", "other"], "alpha": 0.001, "beta": 0.01},
        "four": {"critics": list(STEMS), "alpha": 0.001, "beta": 0.01},
    }
    write_params(data, tmp_path)
    run_stages(tmp_path)
    frame = pd.read_csv(tmp_path / "data/split.csv").groupby(["dataset", "role"]).size()
    assert dict(frame) == {
        ("DSD100", "supervised"): 2, ("DSD100", "test"): 1, ("DSD100", "validation"): 1,
        ("MedleyDB", "unlabelled"): 2, ("MedleyDB", "test"): 1, ("MedleyDB", "validation"): 1,
    }  # fmt: skip
    store = FeatureFile.open(tmp_path / "data/features/MedleyDB.h5")
    assert store.kinds == ("mixture", *STEMS)
    cells = json.loads((tmp_path / "results/metrics.json").read_text())["all"]
    for row in table_rows(data["models"]):
        assert set(cells[row]) == {
            *(f"{metric}_{stem}" for metric in ("SDR", "SIR", "SAR", "NSDR") for stem in STEMS),
            "seeds",
            "tracks",
        }
    for stem in STEMS:
        assert cells["oracle"][f"SDR_{stem}"] > cells["mixture"][f"SDR_{stem}"] + 3
    text = (tmp_path / "results/table.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("## ")][:4] == [
        f"## {stem}" for stem in STEMS
    ]
    assert "- DSD100: 4 of its songs, read from MUSDB18-HQ." in text
    critics = {path.name for path in (tmp_path / "models/two/seed-1").glob("critic-*")}
    assert critics == {"critic-drums.safetensors", "critic-other.safetensors"}


def test_the_compressed_musdb18_gives_nearly_the_same_features(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: None
) -> None:
    recordings = tmp_path / "recordings"
    monkeypatch.setenv("DATA_ROOT", str(recordings))
    musdb18_hq(experiment, recordings / "MUSDB18-HQ", NAMES[:2])
    stems_files(recordings / "MUSDB18-HQ", recordings / "MUSDB18")
    found = []
    for collection in ("MUSDB18-HQ", "MUSDB18"):
        folder = tmp_path / collection
        folder.mkdir()
        entry = {"origin": "local", "collection": collection}
        models = {"baseline": small_params()["models"]["baseline"]}
        data = changed(sources=list(STEMS), datasets={"DSD100": entry}, models=models)
        write_params(data, folder)
        with inside(folder):
            download.download("DSD100")
            preprocess.preprocess("DSD100")
        found.append(FeatureFile.open(folder / "data/features/DSD100.h5"))
    assert found[0].index.index.tolist() == found[1].index.index.tolist()
    for row in range(2):
        exact, coded = (store.waveforms(row) for store in found)
        samples = min(exact.shape[1], coded.shape[1])
        assert coded.shape[1] >= exact.shape[1]  # whole AAC frames
        for number in range(4):
            error = coded[number, :samples] - exact[number, :samples]
            assert (error**2).sum() < 1e-2 * (exact[number] ** 2).sum()
