"""An archive is unpacked whole, or refused in one line with nothing left behind."""

import io
import os
import random
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.datasets.download import unpack as module
from pipeline.datasets.download.unpack import unpack
from pipeline.errors import UserError
from tests.helpers.limits import small_files_only

FILES = {
    "Mixtures/Dev/001 - Ärzte - “Süß”/mixture.wav": random.Random(1).randbytes(1_200_000),
    "Sources/bass.wav": b"bass" * 100_000,
    "Sources/empty.txt": b"",
}
SUM = sum(map(len, FILES.values()))
FORMS = ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Its name says nothing about its form."""
    (tmp_path / "archives").mkdir()
    return tmp_path / "archives" / "songs.bin"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "Songs"


def info(name: str, size: int = 0, **attributes: Any) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    for key, value in attributes.items():
        setattr(entry, key, value)
    return entry


def pack(path: Path, form: str = "zip", files: dict[str, bytes] | None = None) -> None:
    files = FILES if files is None else files
    if form == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in files.items():
                packed.writestr(name, content)
    else:
        pack_tar(path, [(info(name, len(files[name])), files[name]) for name in files], form)


def pack_tar(
    path: Path, members: Sequence[tuple[tarfile.TarInfo, bytes]], form: str = "tar"
) -> None:
    mode: Any = f"w:{form.partition('.')[2]}"
    with tarfile.open(path, mode) as packed:
        for entry, content in members:
            packed.addfile(entry, io.BytesIO(content))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refusal(archive: Path, target: Path, **options: Any) -> str:
    """The one line in which it ends; neither at the target nor anywhere else is a trace of it."""
    top = archive.parents[1]
    before = sorted(top.rglob("*"))
    with pytest.raises(UserError) as caught:
        unpack(archive, target, **options)
    text = str(caught.value)
    assert text.isprintable()
    assert text.startswith(f"{archive}: ")
    assert text.endswith("delete it and run again")
    assert [path for path in sorted(top.rglob("*")) if path != target.parent] == before
    return text


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_is_unpacked(archive: Path, target: Path, form: str) -> None:
    pack(archive, form)
    before = os.umask(0o077)
    try:
        unpack(archive, target)
    finally:
        os.umask(before)
    assert contents(target) == FILES
    for path in (target, *target.rglob("*")):
        assert path.stat().st_mode & 0o7777 == (0o755 if path.is_dir() else 0o644)
    assert [*target.parent.iterdir()] == [target]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("form", FORMS)
def test_folders_and_modes_of_the_archive(archive: Path, target: Path, form: str) -> None:
    """Folders of their own, twice and empty; a mode that would lock the user out; "./" names."""
    if form == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for name in ("./", "a/", "a/empty/", "a/"):
                packed.writestr(zipfile.ZipInfo(name), b"")
            locked = zipfile.ZipInfo("./a/x")
            locked.external_attr = 0o100000 << 16
            packed.writestr(locked, b"x")
    else:
        names = ("./", "./a", "./a/empty", "a")
        folders = [info(name, type=tarfile.DIRTYPE, mode=0) for name in names]
        entries = [(entry, b"") for entry in folders]
        pack_tar(archive, [*entries, (info("./a/x", 1, mode=0o7000), b"x")], form)
    unpack(archive, target)
    assert contents(target) == {"a/x": b"x"}
    assert (target / "a" / "empty").stat().st_mode & 0o7777 == 0o755
    assert (target / "a" / "x").stat().st_mode & 0o7777 == 0o644


def test_long_names_and_large_numbers_of_every_tar(archive: Path, target: Path) -> None:
    name = "/".join(["long folder name" * 5] * 4) + "/ü.wav"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(archive, "w:gz", format=form) as packed:
            packed.addfile(info(name, 3), io.BytesIO(b"abc"))
        unpack(archive, target)
        assert contents(target) == {name: b"abc"}
        module.shutil.rmtree(target)  # type: ignore[attr-defined]


def test_an_empty_archive(archive: Path, target: Path) -> None:
    for form in FORMS:
        pack(archive, form, {})
        assert "holds no file" in refusal(archive, target)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/evil", "//evil", "C:/evil", "c:evil", "..\\evil", "a\\b", ".."],
)
def test_a_name_that_leads_out_is_refused(
    archive: Path, target: Path, form: str, name: str
) -> None:
    pack(archive, form, {"good.wav": b"good", name: b"evil"})
    assert "may lead out of its folder" in refusal(archive, target)


def test_a_name_that_is_cut_by_a_zero_is_refused(archive: Path, target: Path) -> None:
    pack(archive, files={"good.wavX/../evil": b"x"})
    archive.write_bytes(archive.read_bytes().replace(b"wavX", b"wav\0"))
    assert "may lead out" in refusal(archive, target)


def test_a_name_beyond_measure_is_refused(archive: Path, target: Path) -> None:
    for name in ("a/" * 1000 + "x", "n" * 5000):
        pack(archive, files={name: b"x"})
        assert "is too long" in refusal(archive, target)


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE],
)
@pytest.mark.parametrize("form", ["tar", "tar.gz"])
def test_a_link_or_a_device_in_a_tar_is_refused(
    archive: Path, target: Path, form: str, kind: bytes
) -> None:
    evil = info("evil", type=kind, linkname="/etc")
    pack_tar(archive, [(info("good", 4), b"good"), (evil, b""), (info("evil/x", 1), b"x")], form)
    assert "'evil' is a link or a device" in refusal(archive, target)


@pytest.mark.parametrize("mode", [0o120777, 0o010644, 0o020644, 0o140644])
def test_a_link_or_a_device_in_a_zip_is_refused(archive: Path, target: Path, mode: int) -> None:
    with zipfile.ZipFile(archive, "w") as packed:
        evil = zipfile.ZipInfo("evil")
        evil.external_attr = mode << 16
        packed.writestr(evil, "/etc/passwd")
    assert "'evil' is a link or a device" in refusal(archive, target)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a/x", "a/x"], "twice"),
        (["a/x", "a/./x"], "twice"),
        (["a/x", "a"], "twice"),
        (["a", "a/x"], "needs a folder"),
    ],
)
def test_two_members_at_one_place_are_refused(
    archive: Path, target: Path, form: str, names: list[str], words: str
) -> None:
    if form == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for name in names:
                packed.writestr(name, name)
    else:
        pack_tar(archive, [(info(name, 1), b"x") for name in names], form)
    assert words in refusal(archive, target)


EVIL = "\x1b[2J\x07\n\r\x9b31m\u202e\u2028"


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_names_reach_the_terminal_escaped(archive: Path, target: Path, form: str) -> None:
    """By whatever way a member is refused; `refusal` looks at the line."""
    for files in (
        {f"../{EVIL}": b"x"},
        {EVIL + "n" * 5000: b"x"},
        {EVIL: b"x", f"{EVIL}/y": b"x"},
        {EVIL: b"x", f"./{EVIL}": b"x"},
    ):
        pack(archive, form, files)
        assert "\\x1b[2J" in refusal(archive, target)
    pack(archive, form, {EVIL: random.Random(1).randbytes(2000)})
    archive.write_bytes(archive.read_bytes()[:700])
    refusal(archive, target)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.CHRTYPE])
def test_the_names_of_links_reach_the_terminal_escaped(
    archive: Path, target: Path, kind: bytes
) -> None:
    pack_tar(archive, [(info(EVIL, type=kind, linkname=EVIL), b"")])
    assert "\\x1b[2J" in refusal(archive, target)


def test_names_that_differ_in_case_are_two(archive: Path, target: Path) -> None:
    pack(archive, files={"a.wav": b"a", "A.wav": b"A"})
    unpack(archive, target)
    assert contents(target) == {"a.wav": b"a", "A.wav": b"A"}


@pytest.mark.parametrize("form", FORMS)
def test_the_limit_is_kept(archive: Path, target: Path, form: str) -> None:
    pack(archive, form)
    assert "would unpack to 1.6 MB or more" in refusal(archive, target, limit=SUM - 1)
    unpack(archive, target, limit=SUM)
    assert contents(target) == FILES


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_a_bomb_is_refused_by_its_size(
    archive: Path, target: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(module, "ALLOWANCE", 100_000)
    pack(archive, form, {"zeros": bytes(10_000_000)})
    assert archive.stat().st_size < 20_000
    assert "would unpack to 10.0 MB" in refusal(archive, target)


def test_a_bomb_is_refused_before_it_is_read(archive: Path, target: Path) -> None:
    """A header that promises a terabyte is enough; what follows it is a gigabyte, a second's work."""
    squeeze = zlib.compressobj(1, wbits=31)
    header = info("zeros", 1 << 40).tobuf()
    block = bytes(1 << 20)
    archive.write_bytes(squeeze.compress(header) + squeeze.compress(block) + squeeze.flush())
    start = time.thread_time()
    assert "would unpack to 1.1 TB" in refusal(archive, target)
    assert time.thread_time() - start < 1


def test_too_many_members_are_refused(
    archive: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_MEMBERS", 10)
    pack(archive, files={f"{number}": b"" for number in range(11)})
    assert "more than 10 files" in refusal(archive, target)


def test_a_long_name_of_gigabytes_is_not_read(archive: Path, target: Path) -> None:
    squeeze = zlib.compressobj(1, wbits=31)
    header = info("././@LongLink", 1 << 32, type=tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT)
    archive.write_bytes(squeeze.compress(header + bytes(1 << 20)) + squeeze.flush())
    assert "impossible length" in refusal(archive, target)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_negative_size_is_refused(archive: Path, target: Path, kind: bytes) -> None:
    """It leads the tar module in a circle."""
    header = info("x", -512, type=kind).tobuf(tarfile.GNU_FORMAT)
    archive.write_bytes(header * 3 + bytes(1024))
    refusal(archive, target)


def test_a_full_disk_is_seen_before(
    archive: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(archive)
    usage = SimpleNamespace(free=SUM - 1)
    monkeypatch.setattr("pipeline.files.shutil.disk_usage", lambda _: usage)
    with pytest.raises(
        UserError, match=r"Songs: no room for what songs\.bin holds: 1\.6 MB needed"
    ):
        unpack(archive, target)
    assert not target.parent.exists()


def test_a_disk_that_fills_up_meanwhile(archive: Path, target: Path) -> None:
    pack(archive)
    with small_files_only(500_000), pytest.raises(UserError, match="File too large") as caught:
        unpack(archive, target)
    assert str(caught.value).startswith(f"{target}: cannot be written: ")
    assert not [*target.parent.iterdir()]


def edit_zip(path: Path, edit: Callable[[bytearray, int, int], None]) -> None:
    """Change the first member's local header and its entry in the directory."""
    data = bytearray(path.read_bytes())
    edit(data, data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02"))
    path.write_bytes(data)


@pytest.mark.parametrize("claimed", [10, 99_999, 100_001, 200_000])
@pytest.mark.parametrize("right_crc", [False, True])
def test_a_zip_that_lies_about_a_size(
    archive: Path, target: Path, claimed: int, right_crc: bool
) -> None:
    content = b"x" * 100_000

    def lie(data: bytearray, local: int, entry: int) -> None:
        for place in (local + 22, entry + 24):
            struct.pack_into("<I", data, place, claimed)
        if right_crc:
            for place in (local + 14, entry + 16):
                struct.pack_into("<I", data, place, zlib.crc32(content[:claimed]))

    pack(archive, files={"x": content})
    edit_zip(archive, lie)
    if right_crc and claimed < len(content):
        unpack(archive, target)  # zipfile reads no more than is claimed
        assert contents(target) == {"x": content[:claimed]}
    else:
        refusal(archive, target)


def test_a_member_that_gives_more_than_it_claims(archive: Path, target: Path) -> None:
    """Whatever the library does: the bytes are counted."""
    member = module._Member("x", ("x",), 10, False, lambda: io.BytesIO(b"x" * 11))
    with pytest.raises(module._RefusedError, match="'x' is not of the 10 bytes"):
        list(module._content(member))


def test_another_name_in_the_local_header(archive: Path, target: Path) -> None:
    def rename(data: bytearray, local: int, entry: int) -> None:
        data[local + 30 : local + 34] = b"evil"

    pack(archive, files={"good": b"x"})
    edit_zip(archive, rename)
    assert "damaged" in refusal(archive, target)


def test_an_encrypted_zip(archive: Path, target: Path) -> None:
    def encrypt(data: bytearray, local: int, entry: int) -> None:
        data[local + 6] |= 1
        data[entry + 8] |= 1

    pack(archive)
    edit_zip(archive, encrypt)
    assert "is encrypted" in refusal(archive, target)


def test_a_zip_of_an_unknown_method(archive: Path, target: Path) -> None:
    def change(data: bytearray, local: int, entry: int) -> None:
        data[local + 8] = data[entry + 10] = 98

    pack(archive)
    edit_zip(archive, change)
    assert "compression" in refusal(archive, target)


def test_members_that_share_bytes_are_refused(archive: Path, target: Path) -> None:
    """Fifield's bomb, in small: every entry of the directory points to the same member."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a", bytes(100_000))
        first = packed.infolist()[0]
        for name in "bcd":
            twin = zipfile.ZipInfo(name)
            for key in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(twin, key, getattr(first, key))
            packed.filelist.append(twin)
            packed.NameToInfo[name] = twin
    assert "overlaps" in refusal(archive, target)


@pytest.mark.parametrize("form", FORMS)
def test_a_truncated_archive(archive: Path, target: Path, form: str) -> None:
    pack(archive, form)
    whole = archive.read_bytes()
    for length in (len(whole) // 2, len(whole) - 40 if form != "tar" else SUM, 700, 7):
        archive.write_bytes(whole[:length])
        refusal(archive, target)


def test_a_tar_that_is_cut_between_two_members(archive: Path, target: Path) -> None:
    """The tar module takes it for whole."""
    pack(archive, "tar")
    with tarfile.open(archive) as packed:
        cut = packed.getmember("Sources/bass.wav").offset
    archive.write_bytes(archive.read_bytes()[:cut])
    with tarfile.open(archive) as packed:
        assert len(packed.getnames()) == 1
    assert "damaged or cut off" in refusal(archive, target)


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_archive(archive: Path, target: Path, form: str) -> None:
    pack(archive, form)
    data = bytearray(archive.read_bytes())
    if form == "tar":  # a plain tar has no checksum but its headers'
        with tarfile.open(archive) as packed:
            place = packed.getmember("Sources/bass.wav").offset
    else:
        place = len(data) * 9 // 10
    data[place : place + 50] = b"\xff" * 50
    archive.write_bytes(data)
    assert "damaged or cut off" in refusal(archive, target)


@pytest.mark.parametrize("content", [b"", b"PK", b"<html>" * 1000, b"\x1f\x8b", b"PK\x03\x04" * 99])
def test_no_archive_at_all(archive: Path, target: Path, content: bytes) -> None:
    archive.write_bytes(content)
    refusal(archive, target)
    archive.unlink()
    with pytest.raises(UserError, match=r"songs\.bin: no such file; "):
        unpack(archive, target)


def test_one_tar_behind_another(archive: Path, target: Path) -> None:
    """Only the first would be unpacked."""
    pack(archive, "tar", {"a": bytes(20_000_000)})
    archive.write_bytes(archive.read_bytes() * 2)
    assert "goes on behind its end" in refusal(archive, target)


def test_what_is_at_the_target_stays(archive: Path, target: Path) -> None:
    pack(archive)
    target.mkdir(parents=True)
    (target / "mine.wav").write_text("irreplaceable")
    with pytest.raises(UserError, match="Songs: is there already and not empty"):
        unpack(archive, target)
    assert contents(target) == {"mine.wav": b"irreplaceable"}


def test_what_appears_at_the_target_meanwhile_stays(
    archive: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(*_: object) -> None:
        target.mkdir(parents=True)
        (target / "mine.wav").write_text("irreplaceable")

    pack(archive)
    monkeypatch.setattr(module, "require_space", copied)
    with pytest.raises(UserError, match="Songs: is there already and not empty"):
        unpack(archive, target)
    assert contents(target) == {"mine.wav": b"irreplaceable"}
    assert [*target.parent.iterdir()] == [target]


def test_an_empty_folder_or_a_link_to_one_is_filled(
    archive: Path, target: Path, tmp_path: Path
) -> None:
    pack(archive)
    (tmp_path / "large disk").mkdir()
    (tmp_path / "large disk" / ".keep").write_text("x")
    target.parent.mkdir()
    target.symlink_to(tmp_path / "large disk")
    unpack(archive, target)
    assert target.is_symlink()
    assert contents(tmp_path / "large disk") == {**FILES, ".keep": b"x"}
