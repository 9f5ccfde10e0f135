"""Scores know the weights that they are of, as sha256sum reads it too."""

import subprocess
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.evaluation import scored_weights
from pipeline.evaluation.metrics import MEASURED
from pipeline.evaluation.scoring import Score
from pipeline.evaluation.track_scores import load_tracks, tracks_frame
from pipeline.params import of_seed
from pipeline.separation.model_folder import WEIGHTS
from pipeline.tracks import TrackName
from tests.helpers.places import inside

VALUES = dict.fromkeys(MEASURED, 1.0)
SCORES = tracks_frame([(1, TrackName("iKala", "a"), [Score("vocals", VALUES, "")])])
TRACKS = Path("results/tracks")


def put_weights(model: str, **contents: bytes) -> list[Path]:
    """Models' folders, relative as the stages have them; keyword: s1 for seed 1."""
    folders = []
    for seed, content in contents.items():
        folders.append(of_seed(Path("models") / model, int(seed[1:])))
        folders[-1].mkdir(parents=True, exist_ok=True)
        (folders[-1] / WEIGHTS).write_bytes(content)
    return folders


def save(model: str, folders: list[Path]) -> None:
    scored_weights.save(SCORES, TRACKS / f"{model}.csv", scored_weights.sums_of(folders))


def test_scores_are_found_by_weights_whatever_the_models_are_called(tmp_path: Path) -> None:
    with inside(tmp_path):
        v = put_weights("V", s1=b"one", s12=b"twelve")
        va = put_weights("VA", s1=b"another")
        save("V", v)
        save("VA", va)
        given = put_weights("given away", s7=b"twelve")[0] / WEIGHTS
        assert scored_weights.scored_as(given, TRACKS) == ("V", 12)
        assert scored_weights.scored_as(va[0] / WEIGHTS, TRACKS) == ("VA", 1)
        (v[0] / WEIGHTS).write_bytes(b"trained again")
        assert scored_weights.scored_as(v[0] / WEIGHTS, TRACKS) is None
        assert list(scored_weights.load(TRACKS / "V.csv")) == [1, 12]
        scored_weights.check(Path("models/V"), 12, TRACKS / "V.csv")
        scored_weights.check(Path("models/V"), 2, TRACKS / "V.csv")  # its absence is others' affair
        with pytest.raises(
            UserError, match=r"^models/V/seed-1/model\.safetensors: not the weights"
        ):
            scored_weights.check(Path("models/V"), 1, TRACKS / "V.csv")


def test_sha256sum_says_whether_the_models_are_those_that_were_scored(tmp_path: Path) -> None:
    with inside(tmp_path):
        folders = put_weights("V", s1=b"one", s2=b"two")
        save("V", folders)
        check = ["sha256sum", "--check", "--status", "results/tracks/V.sha256"]
        assert subprocess.run(check).returncode == 0
        (folders[1] / WEIGHTS).write_bytes(b"other")
        assert subprocess.run(check).returncode == 1


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    with inside(tmp_path):
        folders = put_weights("V", s1=b"one", s2=b"two")
        save("V", folders)
        before = (TRACKS / "V.sha256").read_bytes()
        save("V", folders)
        assert (TRACKS / "V.sha256").read_bytes() == before


def test_who_is_killed_in_between_leaves_scores_of_unknown_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with inside(tmp_path):
        folders = put_weights("V", s1=b"one")
        save("V", folders)
        (folders[0] / WEIGHTS).write_bytes(b"other")

        def killed(path: Path, text: str) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(scored_weights, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            save("V", folders)
        assert len(load_tracks(TRACKS / "V.csv")) == 1
        assert scored_weights.scored_as(folders[0] / WEIGHTS, TRACKS) is None
        with pytest.raises(UserError, match=r"V\.sha256: no such file; run `dvc repro evaluate@V`"):
            scored_weights.load(TRACKS / "V.csv")


def test_a_row_without_weights_has_no_sums(tmp_path: Path) -> None:
    with inside(tmp_path):
        save("V", put_weights("V", s1=b"one"))
        save("V", [])
        assert sorted(path.name for path in TRACKS.iterdir()) == ["V.csv"]


SUM = "0" * 64


@pytest.mark.parametrize(
    "text",
    [
        "{}\n",
        f"{SUM}  models/V/{WEIGHTS}\n",
        f"{SUM[1:]}  models/V/seed-1/{WEIGHTS}\n",
        f"{SUM}  models/V/seed-x/{WEIGHTS}\n",
        f"{SUM}  models/V/seed-1/other\n",
        f"{SUM}  models/V/seed-1/{WEIGHTS}\n" * 2,
        "\n",
    ],
)
def test_damaged_sums_are_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "V.sha256").write_text(text)
    with pytest.raises(UserError, match="expected a SHA-256 and the weights of a seed") as caught:
        scored_weights.load(tmp_path / "V.csv")
    assert str(caught.value).endswith("; delete it and run `dvc repro evaluate@V`")
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{tmp_path}: not a model folder: no {WEIGHTS}$"):
        scored_weights.sums_of([tmp_path])
