"""What did not change is not read again."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import files
from pipeline.audio import decoding, reading
from pipeline.datasets import survey
from pipeline.datasets.inspection import InspectionCache
from pipeline.datasets.inventory import Inventory
from tests.helpers.small_copies import SOURCES, noise, put, reasons, song


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_PROCESSES", "1")


class Reads:
    """Which tracks were looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tracks: list[str] = []

        def in_turn(function: Any, items: Any, *_: str) -> Iterator[Any]:
            for item in items:
                self.tracks.append(item[0].id)
                yield function(item)

        monkeypatch.setattr(survey, "parallel_map", in_turn)

    def __call__(self) -> list[str]:
        seen, self.tracks = self.tracks, []
        return seen


def test_only_what_is_new_or_changed_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, memory = tmp_path / "raw", tmp_path / "work/CCMixter.txt"
    reads = Reads(monkeypatch)
    for number, name in enumerate(["a_-_b", "c_-_d", "e_-_f"]):
        song(root, name, noise(2, 2000, number))
    (song(root, "g_-_h") / "source-01.wav").unlink()

    def take(names: tuple[str, ...] = SOURCES) -> Inventory:
        found = survey.take("CCMixter", "local", root, names, memory=memory)
        assert found == survey.take("CCMixter", "local", root, names)
        # the second one has no memory and reads everything
        del reads.tracks[-4 if (root / "ccmixter_corpus/e_-_f").exists() else -3 :]
        return found

    first = take()
    assert reads() == ["a_-_b", "c_-_d", "e_-_f", "g_-_h"]
    assert take() == first
    assert reads() == ["g_-_h"]  # a rejected track may have been mended
    put(root / "ccmixter_corpus/c_-_d/source-02.wav", noise(2, 2000, 77))
    changed = take()
    assert reads() == ["c_-_d", "g_-_h"]
    assert changed != first
    os.utime(root / "ccmixter_corpus/a_-_b/source-01.wav", ns=(1, 1))
    assert take() == changed
    assert reads() == ["a_-_b", "g_-_h"]
    shutil.rmtree(root / "ccmixter_corpus/e_-_f")
    take()
    assert reads() == ["g_-_h"]
    assert len(memory.read_text().splitlines()) == 1 + 2
    take(("vocals",))
    assert reads() == ["a_-_b", "c_-_d", "g_-_h"]


def test_another_decoder_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file has another length for it, and what was remembered would say the old one."""
    root, memory = tmp_path / "raw", tmp_path / "CCMixter.txt"
    song(root, "a_-_b")
    reads = Reads(monkeypatch)

    def samples() -> list[int]:
        found = survey.take("CCMixter", "local", root, SOURCES, memory=memory)
        return [recording.samples for recording in found.recordings]

    (whole,) = samples()
    assert reads() == ["a_-_b"]
    assert samples() == [whole]
    assert reads() == []
    monkeypatch.setattr(decoding, "VERSIONS", "PyAV 99")
    stream = reading.stream_sources
    monkeypatch.setattr(
        reading, "stream_sources", lambda *given: (block[:, :, 9:] for block in stream(*given))
    )
    assert samples() == [whole - 9]
    assert reads() == ["a_-_b"]
    assert samples() == [whole - 9]
    assert reads() == []


@pytest.mark.parametrize("moment", ["while it is read", "before it is remembered"])
def test_a_file_that_is_replaced_in_the_meantime_is_not_remembered_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Else the next run would believe the old content, and preprocess refuse the new one, for ever."""
    root, memory = tmp_path / "raw", tmp_path / "CCMixter.txt"
    song(root, "a_-_b")
    song(root, "c_-_d", noise(2, 2000, 1))
    vocals = root / "ccmixter_corpus/a_-_b/source-02.wav"
    reads = Reads(monkeypatch)

    def replace(track: str) -> None:
        if track == "a_-_b":
            put(vocals, noise(2, 2000, 78))

    def take() -> Inventory:
        return survey.take("CCMixter", "local", root, SOURCES, memory=memory)

    with monkeypatch.context() as patch:
        if moment == "while it is read":
            stream = reading.stream_sources

            def replaced(*given: Any) -> Iterator[Any]:
                yield from stream(*given)
                replace(given[0].id)

            patch.setattr(reading, "stream_sources", replaced)
        else:
            remember = InspectionCache.remember

            def late(*given: Any) -> None:
                replace(given[1].recording.track.id)
                remember(*given)

            patch.setattr(InspectionCache, "remember", late)
        first = take()
    if moment == "while it is read":
        assert "changed while it was read" in reasons(first)["a_-_b"]
    reads()
    assert take().files[f"{vocals.relative_to(root)}"].md5 == files.md5(vocals)
    assert reads() == ["a_-_b"]


def test_a_track_that_is_linked_elsewhere_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: None
) -> None:
    """A hard link (DVC's cache, a copy with `cp --link`) moves the inode's time of change alone."""
    root = tmp_path / "raw"
    song(root, "a_-_b")
    vocals = root / "ccmixter_corpus/a_-_b/source-02.wav"
    stream, link = reading.stream_sources, tmp_path / "link.wav"

    def linked(*given: Any) -> Iterator[Any]:
        yield from stream(*given)
        if not link.exists():
            link.hardlink_to(vocals)

    monkeypatch.setattr(reading, "stream_sources", linked)
    found = survey.take("CCMixter", "local", root, SOURCES)
    assert [recording.track.id for recording in found.recordings] == ["a_-_b"]
    assert link.exists()


@pytest.mark.parametrize("harm", ["", "0\n", "version\nkey\t{}\n", "half a li"])
def test_a_damaged_memory_is_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    root, memory = tmp_path / "raw", tmp_path / "CCMixter.txt"
    song(root, "a_-_b")
    expected = survey.take("CCMixter", "local", root, SOURCES, memory=memory)
    version, line = memory.read_text().splitlines()
    memory.write_text(harm.replace("version", version).replace("key", line.split("\t")[0]))
    reads = Reads(monkeypatch)
    assert survey.take("CCMixter", "local", root, SOURCES, memory=memory) == expected
    assert reads() == ["a_-_b"]
