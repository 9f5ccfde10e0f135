"""A file arrives whole and checked, or not at all."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.errors import UserError
from pipeline.files import human, require_space
from tests.helpers.limits import small_files_only
from tests.helpers.loading import (
    CONTENT,
    HALF,
    MD5,
    OTHER,
    SHA256,
    SIZE,
    Fetch,
    another_process,
    failure,
    interrupted,
    only,
)
from tests.helpers.places import TOP
from tests.helpers.server import Answer, Server


@pytest.mark.parametrize("checksum", [MD5, SHA256, SHA256.upper(), None])
@pytest.mark.parametrize("answer", [Answer(), Answer(chunked=True), Answer(no_length=True)])
def test_a_file_is_loaded(
    server: Server, get: Fetch, target: Path, answer: Answer, checksum: str | None
) -> None:
    url = server.serve("/songs.zip", CONTENT, answer)
    before = os.umask(0o022)
    os.umask(before)
    assert get(url, checksum=checksum, size=SIZE) == target
    assert only(target)
    assert target.stat().st_mode & 0o777 == 0o666 & ~before
    assert server.ranges == [None]
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_nothing_but_progress_is_printed(
    server: Server, get: Fetch, capfd: pytest.CaptureFixture[str]
) -> None:
    get(server.serve("/x", CONTENT))
    out, err = capfd.readouterr()
    assert out == ""
    assert "songs.zip: 100%" in err
    assert "300k/300k" in err
    assert "SHA256" not in err


def test_what_is_there_is_used(server: Server, get: Fetch, target: Path, said: list[str]) -> None:
    url = server.serve("/x", OTHER)
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    for options in ({"checksum": MD5}, {"checksum": SHA256}, {"size": SIZE}, {}):
        assert get(url, **options) == target
    assert only(target)
    assert server.requests == []
    assert said == [f"{target}: is there already, nothing is loaded"] * 4


def test_what_is_there_and_wrong_is_an_error(server: Server, get: Fetch, target: Path) -> None:
    url = server.serve("/x", CONTENT)
    target.parent.mkdir()
    target.write_bytes(OTHER[:-1])
    found = hashlib.md5(OTHER[:-1]).hexdigest()
    expected = f"{target}: wrong checksum: found md5:{found}, expected {MD5}; delete it"
    with pytest.raises(UserError, match=f"^{expected} to load it again$"):
        get(url, checksum=MD5)
    with pytest.raises(UserError, match=r"found 299999 bytes, expected 300000; delete it"):
        get(url, size=SIZE)
    assert target.read_bytes() == OTHER[:-1]
    target.unlink()
    target.mkdir()
    with pytest.raises(UserError, match="not a file; delete it"):
        get(url, checksum=MD5)
    assert server.requests == []


@pytest.mark.parametrize("checksum", ["md5:abc", "sha1:" + "0" * 40, "0" * 32, "md5:" + "g" * 32])
def test_a_checksum_that_is_none_is_an_error(get: Fetch, checksum: str) -> None:
    with pytest.raises(UserError, match=r"checksum '.*': expected md5:"):
        get("http://127.0.0.1:1/x", checksum=checksum)


def test_all_is_here_as_the_published_size_says(server: Server, get: Fetch, target: Path) -> None:
    """Killed while the checksum was computed: nothing needs to be asked for."""
    url = interrupted(server, get, target)
    target.with_name("songs.zip.partial").write_bytes(CONTENT)
    get(url, checksum=MD5, size=SIZE)
    assert server.requests == []
    assert only(target)


def test_wrong_bytes_are_one_line(server: Server, get: Fetch, target: Path) -> None:
    url = server.serve("/x", OTHER)
    found = hashlib.sha256(OTHER).hexdigest()
    assert f"found sha256:{found}, expected {SHA256}" in failure(get, url, checksum=SHA256)
    assert [*target.parent.iterdir()] == []
    assert len(server.requests) == 1
    get(url, server.serve("/y", CONTENT), checksum=MD5)
    assert only(target)


def test_wrong_bytes_after_a_resume_are_loaded_once_more(
    server: Server, get: Fetch, target: Path, said: list[str]
) -> None:
    url = interrupted(server, get, target)
    target.with_name("songs.zip.partial").write_bytes(OTHER[:HALF])
    get(url, checksum=MD5)
    assert only(target)
    assert server.ranges == [f"bytes={HALF}-", None]
    assert any("once" in line or "again" in line for line in said)


def test_wrong_bytes_twice_are_an_error(server: Server, get: Fetch, target: Path) -> None:
    drops = [Answer(drop=HALF), Answer(), Answer(drop=HALF), Answer()]
    url = server.serve("/x", OTHER, *drops)
    assert "wrong checksum" in failure(get, url, checksum=MD5)
    assert len(server.requests) == 4
    assert [*target.parent.iterdir()] == []


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}"])
def test_a_file_of_this_machine_is_used_where_it_lies(
    tmp_path: Path, get: Fetch, target: Path, form: str
) -> None:
    path = tmp_path / "my songs.zip"
    path.write_bytes(CONTENT)
    name = str(path).replace(" ", "%20") if "file" in form else str(path)
    assert get(form.format(name), checksum=MD5, size=SIZE) == path
    assert not target.exists()
    text = failure(get, form.format(name), checksum="md5:" + "0" * 32)
    assert f"found {MD5}, expected md5:000" in text
    assert "found 300000 bytes, expected 7" in failure(get, form.format(name), size=7)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["/no/such/file.zip", "file:///no/such/file.zip", "zenodo.org/x"])
def test_a_missing_file_of_this_machine(get: Fetch, url: str) -> None:
    assert f"{url}: no such file" in failure(get, url)


def test_addresses_of_other_kinds(get: Fetch) -> None:
    text = failure(get, "ftp://example.org/x", "file://elsewhere/x", "http://", "http://a b:c/")
    assert "ftp://example.org/x: No connection adapters" in text
    assert "no address is known" in failure(get)


def test_two_at_the_same_time_load_it_once(
    server: Server, get: Fetch, target: Path, said: list[str]
) -> None:
    url = server.serve("/x", CONTENT, Answer(hold=HALF))

    def say(line: str) -> None:
        said.append(line)
        server.go.set()

    with another_process(url, target) as process:
        get(url, checksum=MD5, say=say)
        assert process.wait() == 0
    assert only(target)
    assert server.sent == [SIZE]
    assert "is at work on it: waiting" in said[0]
    assert "is there already" in said[1]


def test_a_full_disk_keeps_what_arrived(server: Server, get: Fetch, target: Path) -> None:
    url = server.serve("/x", CONTENT)
    with small_files_only(100_000), pytest.raises(UserError, match="File too large") as caught:
        get(url)
    assert "\n" not in str(caught.value)
    assert "run again" in str(caught.value)
    kept = target.with_name("songs.zip.partial").read_bytes()
    assert kept == CONTENT[: len(kept)]
    assert len(kept) > 50_000
    get(url)
    assert only(target)
    assert server.ranges == [None, f"bytes={len(kept)}-"]


def test_a_place_that_cannot_be_written(server: Server, get: Fetch, target: Path) -> None:
    target.parent.write_text("a file where a folder is needed")
    with pytest.raises(UserError, match="cannot be written: ") as caught:
        get(server.serve("/x", CONTENT))
    assert "\n" not in str(caught.value)


def test_killed_in_the_middle_and_run_again(server: Server, get: Fetch, target: Path) -> None:
    url = server.serve("/x", CONTENT, Answer(stall=HALF))
    with another_process(url, target) as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    partial = target.with_name("songs.zip.partial")
    assert not target.exists()
    kept = partial.stat().st_size
    assert 60_000 < kept <= HALF
    assert json.loads(target.with_name("songs.zip.state.partial").read_text())["url"] == url
    server.requests.clear()
    server.answers["/x"] = [Answer()]
    get(url, checksum=MD5)
    assert only(target)
    assert server.ranges == [f"bytes={kept}-"]
    assert server.sent == [SIZE - kept]


def test_killed_while_the_checksum_is_computed(server: Server, get: Fetch, target: Path) -> None:
    """What took hours to load is not loaded again, and no copy of it is forgotten."""
    script = (
        "import os, sys; from pathlib import Path; from pipeline.datasets.download import fetch\n"
        "fetch.hashlib.new = lambda *a, **k: os._exit(9)\n"
        "fetch.fetch([sys.argv[1]], Path(sys.argv[2]), checksum=sys.argv[3])\n"
    )
    url = server.serve("/x", CONTENT)
    command = [sys.executable, "-c", script, url, str(target), MD5]
    assert subprocess.run(command, cwd=TOP).returncode == 9
    assert not target.exists()
    assert target.with_name("songs.zip.partial").read_bytes() == CONTENT
    get(url, checksum=MD5)
    assert only(target)
    assert server.sent == [SIZE, 0]


def test_pooch_is_not_needed(tmp_path: Path) -> None:
    """It comes with librosa, and reports its own errors in its own words."""
    script = (
        "import sys; from pathlib import Path; from pipeline.datasets.download.fetch import fetch\n"
        "fetch([sys.argv[1]], Path(sys.argv[2])); sys.exit('pooch' in sys.modules)\n"
    )
    (tmp_path / "x").write_bytes(CONTENT)
    command = [sys.executable, "-c", script, str(tmp_path / "x"), str(tmp_path / "y")]
    assert subprocess.run(command, cwd=TOP).returncode == 0


def test_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=2_500_000)
    monkeypatch.setattr("pipeline.files.shutil.disk_usage", lambda _: usage)
    require_space(tmp_path / "not" / "yet" / "there", 2_500_000, "songs")
    with pytest.raises(UserError, match=r"x: no room for songs: 14\.7 GB needed, 2\.5 MB free; "):
        require_space(tmp_path / "x", 14_700_000_000, "songs")


def test_human() -> None:
    sizes = [0, 999, 1000, 14_700_000_000, 5e12, 5e15]
    expected = ["0 bytes", "999 bytes", "1.0 kB", "14.7 GB", "5.0 TB", "5000.0 TB"]
    assert [human(size) for size in sizes] == expected
