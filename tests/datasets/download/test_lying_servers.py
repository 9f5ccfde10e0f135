"""Servers that are slow, endless, or not what they say: one line each, fit for a terminal."""

import gzip
import json
import threading
from pathlib import Path

import pytest
import requests

from pipeline.datasets.download import pace, transfer
from pipeline.errors import UserError
from tests.helpers.loading import CONTENT, HALF, MD5, SIZE, Fetch, failure, interrupted, only
from tests.helpers.server import Answer, Conversation, Server, dripping, saying, talking

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: %d\r\n\r\n" % SIZE
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
PATIENCE = 60.0
"""Seconds after which a download that should have ended will not end any more."""


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rule in small: 10,000 bytes a second, looked at each tenth of a second."""
    monkeypatch.setattr(pace, "WINDOW", 0.1)


def ends(get: Fetch, url: str, **options: object) -> str:
    """The line in which a download ends that might never end by itself."""
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(failure(get, url, **options)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it is still waiting"
    (line,) = said
    return line


def whole_or_one_line(get: Fetch, url: str, **options: object) -> str | None:
    """The short line in which a download ends; None when it did not fail."""
    try:
        get(url, **options)
    except UserError as error:
        line = str(error)
    else:
        return None
    assert line.isprintable()
    assert len(line) < 1000
    return line


SLOW: dict[str, tuple[str, Conversation]] = {
    "TLS": ("https", dripping(b"\x16\x03\x03\x3f\xff\x02", b"\x00")),
    "a status line": ("http", dripping(b"HTTP/1.1 200 ", b"O")),
    "a header": ("http", dripping(OK + b"X-Long: ", b"x")),
    "headers": ("http", dripping(OK, b"X: y\r\n", every=0.05)),
    "continue": ("http", dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    "a body": ("http", dripping(WHOLE, b"x")),
    "a body without length": ("http", dripping(OK + b"\r\n", b"x")),
    "chunks": ("http", dripping(CHUNKED, b"1\r\nx\r\n")),
    "the length of a chunk": ("http", dripping(CHUNKED, b"0")),
    "trailers": ("http", dripping(CHUNKED + b"1\r\nx\r\n0\r\n", b"X: y\r\n")),
    "what comes with a redirect": ("http", dripping(
        b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", b"<html>" * 10_000)),
    "what comes with an error": ("http", dripping(b"HTTP/1.1 503 No\r\n\r\n", b"x")),
}  # fmt: skip


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("what", SLOW)
def test_a_server_that_is_too_slow_is_left(what: str, get: Fetch, target: Path) -> None:
    scheme, conversation = SLOW[what]
    with talking(conversation) as address:
        line = ends(get, f"{scheme}://{address}/x", attempts=2)
    first = {  # on a busy machine these may also take too long
        "what comes with a redirect": "redirects more than 10 times",
        "what comes with an error": "HTTP 503 No (2 attempts)",
    }
    too_slow = "too slow: less than 10,000 bytes a second for 0 s (2 attempts)"
    assert too_slow in line or first.get(what, too_slow) in line
    assert not target.exists()


@pytest.mark.usefixtures("hurried")
def test_what_a_slow_server_sent_is_kept_and_gone_on_with(
    server: Server, get: Fetch, target: Path
) -> None:
    # Several times, because a busy machine may be too slow for a first byte as well.
    url = server.serve("/x", CONTENT, *[Answer(stall=HALF)] * 4, Answer())
    get(url, checksum=MD5, attempts=99)
    assert only(target)
    assert any(server.ranges)


@pytest.mark.usefixtures("hurried")
def test_the_end_of_a_slow_body_without_length_is_not_taken_for_the_files(
    server: Server, get: Fetch, target: Path
) -> None:
    """Nobody could tell the rest that is missing: no length, no checksum."""
    url = server.serve("/x", CONTENT, Answer(no_length=True, stall=HALF, ranges=False))
    assert "too slow" in ends(get, url, attempts=1)
    assert not target.exists()


def test_a_byte_an_attempt_is_no_progress(server: Server, get: Fetch) -> None:
    """Each connection brings something new, and yet this would take years."""
    url = server.serve("/x", CONTENT, Answer(drop=1))
    assert "(4 attempts)" in ends(get, url, attempts=4, checksum=MD5)
    assert len(server.requests) == 4


def test_the_stated_pace() -> None:
    assert (pace.LOWEST_SPEED, pace.WINDOW, transfer.LARGEST) == (10_000, 60.0, 100_000_000_000)


# ------------------------------------------------------------------------------- sizes without end


@pytest.mark.parametrize("answer", [Answer(no_length=True), Answer(chunked=True), Answer()])
@pytest.mark.parametrize("checksum", [None, MD5])
def test_a_file_of_unknown_size_has_a_largest_size(
    server: Server, get: Fetch, target: Path, monkeypatch: pytest.MonkeyPatch,
    answer: Answer, checksum: str | None,
) -> None:  # fmt: skip
    monkeypatch.setattr(transfer, "LARGEST", SIZE - 1)
    url = server.serve("/x", CONTENT, answer)
    line = failure(get, url, checksum=checksum)
    assert "s more than 300.0 kB, the most that is loaded of a file of unknown size" in line
    assert [*target.parent.iterdir()] == []
    assert len(server.requests) == 1
    get(url, checksum=checksum, size=SIZE)  # the published size counts more than the cap
    assert only(target)


def test_a_file_of_unknown_size_leaves_room_on_the_disk(
    server: Server, get: Fetch, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 100_000})
    monkeypatch.setattr("pipeline.datasets.download.transfer.shutil.disk_usage", lambda _: usage)
    line = failure(get, server.serve("/x", CONTENT, Answer(chunked=True)), checksum=MD5)
    assert "sends more than 90.0 kB, 90% of what is free on this disk" in line
    assert [*target.parent.iterdir()] == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_bomb_of_an_encoding_is_not_unpacked(
    server: Server, get: Fetch, target: Path, encoding: str
) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    get(server.serve("/x", bomb, Answer(headers={"Content-Encoding": encoding})))
    assert target.read_bytes() == bomb


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_what_comes_with_a_redirect_is_not_read(
    server: Server, get: Fetch, target: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """It may be without end, and packed: requests by itself would keep all of it in memory."""

    def read(_: requests.Response) -> bytes:
        raise AssertionError("the whole body is read")

    monkeypatch.setattr(requests.Response, "content", property(read))
    headers = {"Location": "/real", "Content-Encoding": "gzip"}
    url = server.serve("/x", b"", Answer(status, headers=headers, body=gzip.compress(b"x")))
    server.serve("/real", CONTENT)
    get(url, checksum=MD5)
    assert only(target)


LENGTHS = ["9" * 400, "9" * 5000, "-5", "5, 6", "0x10", "", "\u00b2", "5 5"]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("size", [None, SIZE])
def test_a_content_length_that_makes_no_sense(
    length: str, size: int | None, get: Fetch, target: Path
) -> None:
    head = OK + b"Content-Length: " + length.encode("latin-1") + b"\r\n\r\n"
    with talking(saying(head + CONTENT)) as address:
        line = whole_or_one_line(get, f"http://{address}/x", size=size, checksum=MD5)
    assert only(target) if line is None else not target.exists()


RANGES = [
    "bytes 150000-299999/" + "9" * 5000, "bytes 150000-299999/" + "9" * 400, "bytes 150000-/",
    "bytes 150000-160000/300000", "bytes 150000-299999/200000", "bytes 150000-299999/999999",
    "bytes 150000-299999/*", "bytes */*", "bytes -1-5/9", "bytes 0-149999/300000", "150000", "",
]  # fmt: skip


@pytest.mark.parametrize("content_range", RANGES)
@pytest.mark.parametrize("known", [{}, {"checksum": MD5}])
def test_a_range_that_lies_never_makes_a_wrong_file(
    server: Server, get: Fetch, target: Path, content_range: str, known: dict[str, object]
) -> None:
    """Afterwards it is asked for the whole, or nothing is there; the bytes are never mixed."""
    url = interrupted(server, get, target)
    server.answers["/songs.zip"] = [Answer(content_range=content_range or "x"), Answer()]
    line = whole_or_one_line(get, url, **known)
    assert only(target) if line is None else not target.exists()


@pytest.mark.parametrize("status", [206, 416])
def test_several_ranges_in_one_are_not_taken_for_the_file(
    server: Server, get: Fetch, target: Path, status: int
) -> None:
    url = interrupted(server, get, target)
    kind = {"Content-Type": "multipart/byteranges; boundary=x"}
    parts = b"--x\r\nContent-Range: bytes 150000-299999/300000\r\n\r\n" + CONTENT[HALF:]
    server.answers["/songs.zip"] = [Answer(status, body=parts, headers=kind), Answer()]
    get(url)
    assert only(target)
    assert server.ranges == [f"bytes={HALF}-", None]


def test_an_etag_that_changes_at_each_answer_never_mixes_versions(
    server: Server, get: Fetch, target: Path
) -> None:
    drops = [Answer(drop=60_000, etag=f'"{number}"', if_range=False) for number in range(5)]
    url = server.serve("/x", CONTENT, *drops, Answer(etag='"last"'))
    get(url, attempts=9)
    assert only(target)
    assert server.ranges == [None, "bytes=60000-", None, "bytes=60000-", None, "bytes=60000-"]


@pytest.mark.parametrize("etag", ['"a\r\n b"', '"\x1b[31m"', '"\u00e9"'])
def test_a_validator_that_cannot_be_sent_back_is_none(
    server: Server, get: Fetch, target: Path, etag: str
) -> None:
    """Else every later run would end with the complaint that a header is not valid."""
    url = interrupted(server, get, target, etag=etag)
    note = json.loads(target.with_name("songs.zip.state.partial").read_text())
    assert note["validator"] in (None, '"a b"')  # folded lines are one line again
    get(url)
    assert only(target)


@pytest.mark.parametrize("validator", ["a\r\nb", 5, ["x"], "\u202e"])
def test_a_validator_that_was_damaged_is_none(
    server: Server, get: Fetch, target: Path, validator: object
) -> None:
    url = interrupted(server, get, target)
    note = {"url": url, "validator": validator}
    target.with_name("songs.zip.state.partial").write_text(json.dumps(note))
    get(url)
    assert only(target)


# --------------------------------------------------------------- what is no answer, and how it looks

EVIL = "\x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2028\x85\x00end"
LATIN = EVIL.encode("latin-1", "ignore")
UTF = EVIL.encode("utf-8")
ANSWERS: dict[str, bytes] = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-" + LATIN + b"\r\n",
    "a status line": b"HTTP/1.1 418 " + LATIN + b"\r\n\r\n",
    "a retried status line": b"HTTP/1.1 503 " + LATIN + b"\r\n\r\n",
    "a long status line": b"HTTP/1.1 418 " + b"x" * 60_000 + b"\r\n\r\n",
    "an endless status line": b"HTTP/1.1 418 " + b"x" * 100_000,
    "no number": b"HTTP/1.1 " + LATIN + b" OK\r\n\r\n",
    "another version": b"HTTP/7.5 200 OK\r\n\r\n",
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/" + UTF + b"\r\n\r\n",
    "a redirect's scheme": b"HTTP/1.1 302 Found\r\nLocation: file:///" + UTF + b"\r\n\r\n",
    "a redirect's port": b"HTTP/1.1 302 Found\r\nLocation: http://a:" + UTF + b"/\r\n\r\n",
    "a redirect's host": b"HTTP/1.1 302 Found\r\nLocation: http://" + UTF + b"/\r\n\r\n",
    "a redirect in no encoding": b"HTTP/1.1 302 Found\r\nLocation: /\xff\xfe" + b"\r\n\r\n",
    "a redirect into data": b"HTTP/1.1 302 Found\r\nLocation: data:,x" + b"\r\n\r\n",
    "a redirect to nowhere": b"HTTP/1.1 302 Found\r\n\r\n",
    "a page": OK + b"Content-Length: 40\r\n\r\n" + b"<HTML><title>" + LATIN.ljust(27, b"x"),
    "a name": OK + b'Content-Disposition: attachment; filename="' + LATIN + b'"\r\n\r\nx',
    "too many headers": OK + b"X: y\r\n" * 200 + b"\r\n",
    "a header too long": OK + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    "a header that is none": OK + LATIN + b"\r\n" + b"x y\r\n\r\nx",
    "an odd cookie": OK + b"Set-Cookie: " + LATIN + b"; expires=x; max-age=1e9\r\n\r\nx",
    "an odd chunk": CHUNKED + LATIN + b"\r\n",
    "a negative chunk": CHUNKED + b"-5\r\nxxxxx\r\n0\r\n\r\n",
    "a huge chunk": CHUNKED + b"f" * 5000 + b"\r\nx",
    "a wait": b"HTTP/1.1 503 No\r\nRetry-After: " + LATIN + b"\r\n\r\n",
}


@pytest.mark.parametrize("what", ANSWERS)
def test_what_a_server_says_is_one_plain_line(
    what: str, get: Fetch, target: Path, said: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with talking(saying(ANSWERS[what])) as address:
        line = failure(get, f"http://{address}/x", attempts=2, checksum=MD5)
    out, err = capfd.readouterr()
    for text in (line, *said):
        assert text.isprintable(), text
        assert len(text) < 1000
    assert all(part.isprintable() for part in err.replace("\r", "\n").split("\n")), err
    assert out == ""
    assert "Traceback" not in err
    assert not target.exists()
    if what == "a page":
        assert "(a web page)" in line


WAITS = [
    "9" * 400, "9" * 5000, "-1", "1e9", "Sun, 99 Nov 9999 99:99:99 GMT", "0 0 0 0 0", "\xb2", ",",
    "Sun, 01 Nov 99999999999999999999 10:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 +9999",
]  # fmt: skip


@pytest.mark.parametrize("asked", WAITS)
def test_an_absurd_wait_is_at_most_a_minute(
    server: Server, get: Fetch, target: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("pipeline.datasets.download.transfer.time.sleep", waits.append)
    headers = {"Retry-After": asked}
    get(server.serve("/x", CONTENT, Answer(429, headers=headers), Answer()), checksum=MD5)
    assert only(target)
    assert len(waits) == 1
    assert 0 <= waits[0] <= 60


RESETS = [b"", b"HTTP/1.1 20", OK + b"Content-Le", WHOLE, WHOLE + CONTENT[:HALF], CHUNKED + b"5"]


@pytest.mark.parametrize("before", RESETS, ids=len)
def test_a_reset_anywhere_is_tried_again(before: bytes, get: Fetch, target: Path) -> None:
    answers = [saying(before, reset=True), saying(before, reset=True), saying(WHOLE + CONTENT)]
    with talking(lambda connection: answers.pop(0)(connection)) as address:
        get(f"http://{address}/x", checksum=MD5)
    assert only(target)


def test_an_address_in_the_parameters_is_shown_escaped(get: Fetch, said: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        get(f"http://127.0.0.1:1/{EVIL}", f"/no/such/{EVIL}", f"file:///no/such/{EVIL}")
    assert str(caught.value).isprintable()
    assert all(line.isprintable() for line in said)
