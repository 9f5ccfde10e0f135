"""The feature store: a file that cannot be used is one line."""

import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest

from pipeline.errors import UserError
from pipeline.features.store import FORMAT, FeatureFile


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_by_text(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\n")


def forget_attributes(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.attrs.clear()


def forget_sources(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file.attrs["sources"]


def forget_index(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["index/silent"]


def another_format(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.attrs["format"] = FORMAT + 1


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (delete, r"no such file; run `dvc repro preprocess`"),
        (truncate, r"damaged \(.*\); delete it and run `dvc repro`"),
        (replace_by_text, r"damaged \(.*\); delete it and run `dvc repro`"),
        (forget_attributes, r"damaged \(.*\); delete it and run `dvc repro`"),
        (forget_sources, r"damaged \(.*\); delete it and run `dvc repro`"),
        (forget_index, r"damaged \(.*\); delete it and run `dvc repro`"),
        (another_format, rf"feature format {FORMAT + 1}, expected {FORMAT}"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    with_features: Path, tmp_path: Path, harm: Any, said: str
) -> None:
    path = tmp_path / "iKala.h5"
    shutil.copy2(with_features / "data/features/iKala.h5", path)
    harm(path)
    with pytest.raises(UserError) as caught:
        FeatureFile.open(path)
    assert re.fullmatch(re.escape(f"{path}: ") + said, str(caught.value))


def test_a_track_that_is_not_in_the_file_is_named(with_features: Path) -> None:
    store = FeatureFile.open(with_features / "data/features/iKala.h5")
    names = store.index.index.tolist()
    assert store.rows([names[2], names[0]]) == [2, 0]
    with pytest.raises(UserError, match=r"iKala\.h5: no features of 'elsewhere'; run `dvc repro`"):
        store.rows([names[0], "elsewhere"])
