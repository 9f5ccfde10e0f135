"""Short clips under published names of MIR-1K, and its archive made of them."""

import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest

from pipeline.datasets import catalogue
from pipeline.files import md5
from tests.helpers.small_recordings import music, put

CLIPS = ("Ani_1_01", "amy_1_01", "bug_1_07", "khair_1_01")
BESIDE = {
    "Lyrics": "txt", "LyricsWav": "wav", "PitchLabel": "pv", "UnvoicedFrameLabel": "unv",
    "vocal-nonvocalLabel": "vocal",
}  # fmt: skip
"""The folders of MIR-1K that have a file for each clip, and its ending."""


def put_clips(folder: Path, names: Sequence[str] = CLIPS) -> Path:
    """The clips in `folder`, a second long."""
    for number, name in enumerate(names):
        put(folder / f"{name}.wav", music(2, 16_000, 16_000, number), 16_000)
    return folder


def publish(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """The catalogue has the lengths and MD5s of the clips in `folder`, until `patch` is undone."""
    sums = {path.stem: md5(path) for path in folder.iterdir()}
    lengths = {name: catalogue.Facts(1.0, 2, 16_000) for name in sums}
    patch.setattr(catalogue, "checksums", lambda _: sums)
    patch.setattr(catalogue, "facts", lambda _: lengths)


def archived(folder: Path, around: str = "MIR-1K/", wavfile: str = "Wavfile/") -> bytes:
    """The zip of a whole MIR-1K in its published layout: the clips and what lies beside them.

    around: the folders above all others; wavfile: the one that holds the clips.
    """
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in CLIPS:
            archive.write(folder / f"{name}.wav", f"{around}{wavfile}{name}.wav")
            for beside, ending in BESIDE.items():
                archive.writestr(f"{around}{beside}/{name}.{ending}", f"{beside} of {name}\n")
            song = name.rpartition("_")[0]
            archive.writestr(f"{around}UndividedWavfile/{song}.wav", "all of the song\n")
    return content.getvalue()
