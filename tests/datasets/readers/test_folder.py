"""Folders as people keep them: links, loops, odd names, odd files; nothing is opened."""

import os
import socket
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.datasets.readers import folder
from pipeline.datasets.readers.base import Listing, in_words
from pipeline.errors import UserError
from pipeline.tracks import Part


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "music").mkdir()
    return tmp_path / "music"


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def touch_bytes(root: Path, name: bytes) -> None:
    path = root / os.fsdecode(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError:
        pytest.skip("this file system refuses such names")


def read(root: Path) -> Listing:
    return folder.list_tracks(root, "mine", "vocals")


def ids(root: Path) -> list[str]:
    """The ids of a folder in which nothing is rejected."""
    tracks, rejected, _ = read(root)
    assert rejected == []
    return [track.id for track in tracks]


def reasons(root: Path) -> dict[str, str]:
    """Why which files are rejected, without the folder that all reasons begin with."""
    rejected = read(root).rejected
    for entry in rejected:
        assert entry.reason.startswith(f"{root}/{entry.track}: ")
        assert len(entry.reason.splitlines()) == 1
    return {entry.track: entry.reason.split(": ", 1)[1] for entry in rejected}


# ---------------------------------------------------------------------------------- what is a track


def test_tracks(root: Path) -> None:
    touch(root, "Björk/Debut/01 Human.flac", "Björk/x.wav", "loose.take.2.ogg")
    tracks, rejected, _ = folder.list_tracks(root, "mine", "mixture")
    assert rejected == []
    assert [(track.id, track.artist) for track in tracks] == [
        ("Björk/Debut/01 Human.flac", "Björk"),
        ("Björk/x.wav", "Björk"),
        ("loose.take.2.ogg", "loose.take.2"),
    ]
    for track in tracks:
        assert track.dataset == "mine"
        assert track.partition is None
        assert track.sources == {"mixture": (Part(file=track.id),)}


@pytest.mark.parametrize(
    "name",
    ["a.WAV", "a.Flac", "a.MP3", "a.m4a", "a.opus", "a.stem.mp4", "a.MKV", "a.webm", "a.wma"],
)
def test_suffixes(root: Path, name: str) -> None:
    touch(root, name, "a.txt", "a.jpg", "a.mid", "a.cue", "wav", "flac.", "a.wav.part")
    assert ids(root) == [name]


def test_hidden_files_resource_forks_and_litter(root: Path) -> None:
    touch(root, "a/1.wav", "a/._1.wav", "._2.wav", ".Trash/2.wav", "a/.cache/3.wav")
    touch(root, "__MACOSX/a/1.wav", "a/__MACOSX/1.wav", "@eaDir/1.wav", ".ds_store", "Thumbs.db")
    touch(root, ".Trash-1000/files/1.wav", "a/1.wav.partial", "a/one.jpg", "a/Two.JPG", "a/README")
    tracks, rejected, skipped = read(root)
    assert [track.id for track in tracks] == ["a/1.wav"]
    assert rejected == []
    assert skipped == {
        "._*": 2, ".Trash": 1, ".cache": 1, "__MACOSX": 2, "@eaDir": 1, ".DS_Store": 1,
        "Thumbs.db": 1, ".Trash-*": 1, "*.partial": 1, "*.jpg": 2, "without a suffix": 1,
    }  # fmt: skip
    assert in_words(skipped, 3) == "2 *.jpg, 2 ._*, 2 __MACOSX and 8 more"


def test_dots_alone_make_no_litter(root: Path) -> None:
    names = [
        "...Baby One More Time.wav", "...And You Will Know Us/...wav", ".38 Special/.wav",
        ".38 Special/Hold On.flac", ". . .mp3", "a/....wav", "a /. /b.wav", "a\n/\u202eb\r\x85.wav",
    ]  # fmt: skip
    touch(root, *names)
    names[-1] = r"a\n/\u202eb\r\x85.wav"
    assert sorted(ids(root)) == sorted(names)
    artists = {track.id: track.artist for track in read(root).tracks}
    assert artists["...Baby One More Time.wav"] == "...Baby One More Time"
    assert artists[".38 Special/.wav"] == ".38 Special"
    for track in read(root).tracks:
        assert (root / track.sources["vocals"][0].file).is_file()


def test_a_folder_with_an_audio_suffix_is_a_folder(root: Path) -> None:
    touch(root, "live.wav/1.wav")
    assert ids(root) == ["live.wav/1.wav"]


def test_the_order_does_not_depend_on_the_file_system(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(root, *(f"{folder}/{number}.wav" for folder in "bac" for number in (2, 10, 1)), "b.wav")
    (root / "d").symlink_to(root / "a")
    (root / "e").symlink_to(root.parent)
    touch(root.parent, "outside.wav", "z/1.wav")
    expected = ids(root)
    assert expected == sorted(expected)
    monkeypatch.setattr(os, "scandir", reverse_scandir(os.scandir))
    assert ids(root) == expected


def reverse_scandir(real: object) -> object:
    class Reversed:
        def __init__(self, path: Path) -> None:
            with real(path) as entries:  # type: ignore[operator]
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

    return Reversed


# -------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_ids_do_not_depend_on_how_the_file_system_spells(root: Path, form: str) -> None:
    name = unicodedata.normalize(form, "Björk/Jóga.wav")  # type: ignore[arg-type]
    touch(root, name)
    (track,) = read(root).tracks
    assert track.id == "Björk/Jóga.wav"
    assert track.artist == "Björk"
    assert (root / track.sources["vocals"][0].file).is_file()


def test_both_spellings_are_two_tracks_of_one_id(root: Path) -> None:
    """Which of them is meant is the inventory's question."""
    touch(root, unicodedata.normalize("NFC", "Jóga.wav"), unicodedata.normalize("NFD", "Jóga.wav"))
    tracks = read(root).tracks
    if len(tracks) == 1:
        pytest.skip("this file system knows one spelling only")
    assert len({track.id for track in tracks}) == 1
    files = [track.sources["vocals"][0].file for track in tracks]
    assert files == sorted(set(files))


def test_a_file_whose_name_is_not_utf8_is_rejected_alone(root: Path) -> None:
    touch(root, "a/1.wav")
    touch_bytes(root, b"a/Bj\xf6rk.wav")
    touch_bytes(root, b"a/Bj\xf6rk.txt")
    assert [track.id for track in read(root).tracks] == ["a/1.wav"]
    assert reasons(root) == {r"a/Bj\xf6rk.wav": "the name is not valid UTF-8; rename it"}


def test_a_folder_whose_name_is_not_utf8_is_rejected_once(root: Path) -> None:
    touch(root, "a/1.wav")
    for number in (b"1", b"2"):
        touch_bytes(root, b"Bj\xf6rk/" + number + b".wav")
    assert reasons(root) == {r"Bj\xf6rk": "the name is not valid UTF-8; rename it"}


def test_control_characters_do_not_break_a_line(root: Path) -> None:
    (root / "a\nb.wav").symlink_to(root / "nowhere")
    assert list(reasons(root)) == [r"a\nb.wav"]


# -------------------------------------------------------------------------------------------- links


def test_links_are_followed(root: Path, tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/deep/1.wav", "single.wav")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "one.wav").symlink_to(tmp_path / "single.wav")
    (root / "notes.txt").symlink_to(tmp_path / "single.wav")
    assert ids(root) == ["linked/deep/1.wav", "one.wav"]


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "../../a/b"])
def test_a_loop_ends(root: Path, target: str) -> None:
    touch(root, "a/b/1.wav")
    (root / "a/b/loop").symlink_to(root / "a/b" / target)
    assert ids(root) == ["a/b/1.wav"]


def test_a_loop_of_several_links_ends(root: Path, tmp_path: Path) -> None:
    touch(tmp_path, "x/1.wav", "y/2.wav", "z/3.wav")
    for link, target in (("x/on", "y"), ("y/on", "z"), ("z/on", "x")):
        (tmp_path / link).symlink_to(tmp_path / target)
    (root / "in").symlink_to(tmp_path / "x")
    assert ids(root) == ["in/1.wav", "in/on/2.wav", "in/on/on/3.wav"]


def test_links_that_lead_to_each_other_lead_nowhere(root: Path) -> None:
    touch(root, "1.wav")
    (root / "a.wav").symlink_to(root / "b.wav")
    (root / "b.wav").symlink_to(root / "a.wav")
    nowhere = "a link that leads nowhere; mend or remove it"
    assert reasons(root) == {"a.wav": nowhere, "b.wav": nowhere}


def test_what_is_reached_twice_is_listed_once_by_its_own_path(root: Path, tmp_path: Path) -> None:
    touch(root, "real/1.wav")
    (root / "a folder").symlink_to(root / "real")
    (root / "a file.wav").symlink_to(root / "real/1.wav")
    assert ids(root) == ["real/1.wav"]
    touch(tmp_path, "outside/2.wav")
    for name in ("c", "b"):
        (root / name).symlink_to(tmp_path / "outside")
        (root / f"{name}.wav").symlink_to(tmp_path / "outside/2.wav")
    assert ids(root) == ["b/2.wav", "real/1.wav"]


def test_a_file_behind_two_links_is_listed_once(root: Path, tmp_path: Path) -> None:
    touch(tmp_path, "outside.wav")
    for name in ("b.wav", "a.wav"):
        (root / name).symlink_to(tmp_path / "outside.wav")
    assert ids(root) == ["a.wav"]


def test_links_into_a_hidden_store_count(root: Path) -> None:
    """As git-annex keeps its files."""
    touch(root, ".git/annex/objects/0a1b", ".git/annex/objects/x.wav")
    (root / "a.wav").symlink_to(root / ".git/annex/objects/0a1b")
    (root / "b.wav").symlink_to(root / ".git/annex/objects/x.wav")
    assert ids(root) == ["a.wav", "b.wav"]


def test_broken_links(root: Path) -> None:
    touch(root, "1.wav")
    for name in ("a.wav", "singers", "notes.txt"):
        (root / name).symlink_to(root / "nowhere")
    nowhere = "a link that leads nowhere; mend or remove it"
    assert reasons(root) == {"a.wav": nowhere, "singers": nowhere}
    assert len(read(root).tracks) == 1


def test_links_of_bad_names(root: Path, tmp_path: Path) -> None:
    touch(root, "1.wav")
    touch(tmp_path, "outside/2.wav")
    touch_bytes(tmp_path, b"\xf6.wav")
    for name, target in ((b"\xf6.wav", "outside/2.wav"), (b"\xf6", "outside")):
        (root / os.fsdecode(name)).symlink_to(tmp_path / target)
    assert set(reasons(root)) == {r"\xf6.wav", r"\xf6"}


# ------------------------------------------------------------------------------------- other things


def test_what_is_no_regular_file_is_not_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(root, "1.wav")
    os.mkfifo(root / "pipe.wav")
    os.mkfifo(root / "pipe")
    (root / "link.wav").symlink_to(root / "pipe.wav")
    monkeypatch.chdir(root)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.flac")
        no_file = "not a regular file; remove it"
        assert reasons(root) == dict.fromkeys(("link.wav", "pipe.wav", "socket.flac"), no_file)
    assert [track.id for track in read(root).tracks] == ["1.wav"]


def test_a_folder_that_cannot_be_listed_is_rejected(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(root, "open/1.wav", "shut/2.wav", "shut/below/3.wav")
    deny(monkeypatch, root / "shut")
    assert [track.id for track in read(root).tracks] == ["open/1.wav"]
    assert reasons(root) == {"shut": "cannot be listed: Permission denied; make it readable"}
    (root / "open.wav").symlink_to(root / "shut/2.wav")
    assert [track.id for track in read(root).tracks] == ["open.wav", "open/1.wav"]


def deny(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Root may list everything, so a mode cannot be relied on."""
    scandir = os.scandir

    def denied(path: Path) -> object:
        if path == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)


# -------------------------------------------------------------------------------- no folder, no audio


def test_a_missing_folder(root: Path) -> None:
    with pytest.raises(UserError, match=r"music/x: no such folder; create it, or name the folder"):
        read(root / "x")


def test_a_file_instead_of_a_folder(root: Path) -> None:
    touch(root, "1.wav")
    with pytest.raises(UserError, match=r"1\.wav: not a folder; name the folder that holds"):
        read(root / "1.wav")
    with pytest.raises(UserError, match=r"x: cannot be read: Not a directory"):
        read(root / "1.wav/x")


def test_a_folder_that_cannot_be_listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deny(monkeypatch, root)
    with pytest.raises(UserError, match=r"music: cannot be listed: Permission denied; make it"):
        read(root)


def test_no_audio_at_all(root: Path) -> None:
    with pytest.raises(UserError, match=r"music: no audio file in this folder or below; put"):
        read(root)
    touch(root, "a/1.PDF", "a/2.pdf", "README", "1.f", "1.b", "1.c", "1.d", "1.e", "._1.wav")
    with pytest.raises(UserError) as error:
        read(root)
    said = "or below, only 2 *.pdf, 1 *.b, 1 *.c, 1 *.d, 1 *.e and 3 more; put recordings"
    assert said in str(error.value)


def test_only_rejected_files_are_said_to_be_there(root: Path) -> None:
    """The inventory then says the reason of the first."""
    (root / "a.wav").symlink_to(root / "nowhere")
    assert read(root).tracks == []
    assert list(reasons(root)) == ["a.wav"]
