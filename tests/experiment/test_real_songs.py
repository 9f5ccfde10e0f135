"""Two real songs through everything, alone and beside the embedded recordings.

They are in MUSDB18's stem format (five AAC streams) and become DSD100's layout. Their licence
(CC BY-NC-SA) keeps them, and anything made of them, out of the repository.
"""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from pipeline import params
from pipeline.datasets import inventory as inventories
from pipeline.datasets.readers import READERS
from pipeline.evaluation.bss_eval import energy_ratios
from pipeline.evaluation.judge import TOLERANCE, museval_sources
from pipeline.features.store import FeatureFile
from pipeline.separation.separator import Separator
from stages import compare, download, evaluate, preprocess, split, train
from tests.helpers.experiment import small_params, write_params
from tests.helpers.places import inside
from tests.helpers.whole_tracks import read_sources

STREAMS = ("mixture", "drums", "bass", "other", "vocals")
STEMS = STREAMS[1:]
PLACES = {
    "Music Delta - 80s Rock": "Dev/101 - Music Delta - 80s Rock",
    "The Easton Ellises - Falcon 69": "Test/102 - The Easton Ellises - Falcon 69",
}
IDS = [Path(place).name for place in PLACES.values()]


def decode(song: Path, stream: int, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", song, "-map", f"0:{stream}", "-c:a", "pcm_s16le", target],
        check=True,
    )


def lay_out_as_dsd100(songs: Path, root: Path) -> None:
    for name, place in PLACES.items():
        for number, stream in enumerate(STREAMS):
            parent = root / ("Mixtures" if stream == "mixture" else "Sources") / place
            decode(songs / f"{name}.stem.mp4", number, parent / f"{stream}.wav")


@pytest.fixture
def songs(real_songs: Path, tmp_path: Path, one_process: None) -> Path:
    """The songs as a user's copy of DSD100."""
    lay_out_as_dsd100(real_songs, tmp_path / "raw/DSD100")
    return tmp_path


def test_from_layout_to_scores(
    songs: Path, experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = songs / "raw/DSD100"
    tracks, rejected, _ = READERS["DSD100"].list_tracks(root)
    assert [track.id for track in tracks] == IDS
    assert [track.partition for track in tracks] == ["Dev", "Test"]
    assert [track.artist for track in tracks] == ["Music Delta", "The Easton Ellises"]
    assert not rejected
    for track, place in zip(tracks, PLACES.values(), strict=True):
        sources, rate = read_sources(track, root, ("accompaniment", "vocals"))
        mixture = soundfile.read(root / "Mixtures" / place / "mixture.wav", always_2d=True)[0].T
        assert rate == 44_100
        assert sources.shape[1:] == mixture.shape
        # five lossy streams, the mixture's clipped: alike, not equal
        assert np.corrcoef(sources.sum(axis=0).ravel(), mixture.ravel())[0, 1] > 0.98

    data = small_params()
    data["datasets"] = {"DSD100": {"origin": "local"}}
    data["models"], data["seeds"] = {"V": data["models"]["V"]}, [1]
    write_params(data, songs)
    monkeypatch.setenv("DATA_ROOT", str(songs / "raw"))
    with inside(songs):
        download.download("DSD100")
        preprocess.preprocess("DSD100")
        shutil.copytree(experiment / "models/V", "models/V")
        pd.DataFrame(
            {
                "dataset": "DSD100", "track": IDS, "artist": "x", "role": "test", "has_vocals": True,
                "weight": None,
            }
        ).to_csv("data/split.csv", index=False)  # fmt: skip
        for row in params.table_rows(["V"]):
            evaluate.evaluate(row, role="test", out=None, device="cpu")
        compare.main()
    found = inventories.load(songs / "data/inventory/DSD100.json")
    assert not found.rejected
    assert all(recording.silent == () for recording in found.recordings)

    tables = {
        model: pd.read_csv(songs / f"results/tracks/{model}.csv")
        for model in params.table_rows(["V"])
    }
    store = FeatureFile.open(songs / "data/features/DSD100.h5")
    separator = Separator.load(experiment / "models/V/seed-1")
    for number, recording in enumerate(found.recordings):
        references = store.waveforms(number)
        assert references.shape == (2, round(recording.samples * 8000 / 44_100))
        estimates = separator.estimate(references.sum(axis=0))
        assert estimates.shape == references.shape
        assert np.isfinite(estimates).all()
        assert all(
            np.isfinite(ratios).all() for ratios in energy_ratios(references, estimates, 512)
        )
        minute = references[:, : 60 * 8000], estimates[:, : 60 * 8000]
        np.testing.assert_allclose(
            energy_ratios(*minute, 512), museval_sources(*minute, 512), rtol=0, atol=TOLERANCE
        )
        scores = {
            model: frame[frame["track"] == recording.track.id] for model, frame in tables.items()
        }
        for frame in scores.values():
            assert frame["source"].tolist() == ["accompaniment", "vocals"]
            assert np.isfinite(frame[["SDR", "SIR", "SAR"]].to_numpy()).all()
        gain = scores["oracle"]["SDR"].to_numpy() - scores["mixture"]["SDR"].to_numpy()
        assert (gain > 5).all()
        assert (scores["oracle"]["SDR"].to_numpy() > 5).all()
        assert (scores["oracle"]["SDR"].to_numpy() > scores["V"]["SDR"].to_numpy()).all()
    table = (songs / "results/table.md").read_text()
    assert "synthetic" not in table  # nothing embedded is in this table


def test_beside_the_embedded_recordings(
    songs: Path, experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = songs / "experiment"
    shutil.copytree(experiment / "data", folder / "data")
    shutil.copytree(songs / "raw/DSD100", folder / "data/synthetic/DSD100", dirs_exist_ok=True)
    data = small_params()
    data["models"], data["seeds"] = {"baseline": data["models"]["baseline"]}, [1]
    data["training"] |= {"max_epochs": 1, "steps_per_epoch": 2}
    settings = write_params(data, folder)
    with inside(folder):
        for name in settings.datasets:
            download.download(name)
        assert f"{8 + 2} tracks can be used" in capsys.readouterr().out
        split.split()
        preprocess.preprocess("DSD100")
        train.train("baseline", 1, device="cpu", features_in="auto", jobs=0)
        for row in params.table_rows(["baseline"]):
            evaluate.evaluate(row, role="test", out=None, device="cpu")
        compare.main()

    roles = pd.read_csv(folder / "data/split.csv").set_index("track")["role"]
    assert roles[IDS[0]] == "supervised"
    assert roles[IDS[1]] in ("validation", "test")
    before = pd.read_csv(experiment / "data/split.csv").set_index("track")["role"]
    pd.testing.assert_series_equal(roles.drop(IDS).sort_index(), before.sort_index())

    found = json.loads((folder / "data/inventory/DSD100.json").read_text())["files"]
    for place in PLACES.values():
        for stem in STEMS:
            path = f"Sources/{place}/{stem}.wav"
            content = (songs / "raw/DSD100" / path).read_bytes()
            assert found[path] == {"bytes": len(content), "md5": hashlib.md5(content).hexdigest()}
    embedded = [entry for path, entry in found.items() if not any(name in path for name in IDS)]
    assert len(embedded) == 8 * 4
    assert all("md5" not in entry for entry in embedded)

    scored = pd.read_csv(folder / "results/tracks/oracle.csv")
    assert (IDS[1] in set(scored["track"])) == (roles[IDS[1]] == "test")
    assert params.load(folder / "params.yaml") == settings
    metrics = json.loads((folder / "results/metrics.json").read_text())
    tested = (roles == "test").sum()
    assert metrics["all"]["baseline"]["tracks"] == tested - 1  # one is instrumental
