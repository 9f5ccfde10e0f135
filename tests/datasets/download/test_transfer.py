"""Whatever the server and the network do: the whole file, or one line."""

import gzip
import ssl
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import requests

from pipeline.datasets.download import pace, transfer
from tests.helpers.loading import (
    CONTENT,
    HALF,
    MD5,
    OTHER,
    SIZE,
    Fetch,
    failure,
    interrupted,
    only,
)
from tests.helpers.server import Answer, Server

DATE = "Sun, 01 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize("validator", [{}, {"etag": None, "modified": DATE}])
def test_a_dropped_connection_is_resumed(
    server: Server, get: Fetch, target: Path, validator: dict[str, Any]
) -> None:
    drops = [Answer(drop=count, **validator) for count in (100_000, 0, 50_000)]
    get(server.serve("/x", CONTENT, *drops, Answer(**validator)))
    assert only(target)
    assert server.ranges == [None, "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    assert server.sent == [100_000, 0, 50_000, 150_000]
    expected = validator.get("modified") or '"v1"'
    assert [request.headers.get("if-range") for request in server.requests[1:]] == [expected] * 3


def test_a_chunked_body_that_breaks_off_is_resumed(
    server: Server, get: Fetch, target: Path
) -> None:
    get(server.serve("/x", CONTENT, Answer(chunked=True, drop=HALF), Answer(chunked=True)))
    assert only(target)
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_a_later_process_goes_on(
    server: Server, get: Fetch, target: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = interrupted(server, get, target)
    capfd.readouterr()
    get(url, checksum=MD5)
    assert only(target)
    assert server.ranges == [f"bytes={HALF}-"]
    assert server.sent == [SIZE - HALF]
    assert "50%" in capfd.readouterr().err


def test_progress_resets_the_count(
    server: Server, get: Fetch, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "LOWEST_SPEED", 1)  # whatever else the machine does
    drops = [Answer(drop=count) for count in (20_000, 0) * 10]
    get(server.serve("/x", CONTENT, *drops, Answer()), attempts=2)
    assert only(target)
    assert len(server.requests) == 21


def test_a_server_that_always_drops_ends_in_one_line(
    server: Server, get: Fetch, target: Path
) -> None:
    text = failure(get, server.serve("/x", CONTENT, Answer(drop=HALF, ranges=False)))
    assert f"{HALF}" in text
    assert "3 attempts" in text
    assert not target.exists()
    assert len(server.requests) == 4  # one that got further than before, three that did not


def test_a_server_without_ranges_starts_over(server: Server, get: Fetch, target: Path) -> None:
    url = interrupted(server, get, target)
    server.answers["/songs.zip"] = [Answer(ranges=False)]
    get(url)
    assert only(target)
    assert server.ranges == [f"bytes={HALF}-"]  # in the same response
    assert server.sent == [SIZE]


def test_another_version_starts_over(server: Server, get: Fetch, target: Path) -> None:
    """The first half was of another file: its bytes must not be in the result."""
    server.serve("/songs.zip", OTHER, Answer(drop=HALF, etag='"old"'), Answer(404))
    url = server.address + "/songs.zip"
    failure(get, url)
    server.requests.clear()
    server.serve("/songs.zip", CONTENT)
    get(url)
    assert only(target)
    assert server.requests[0].headers["if-range"] == '"old"'
    assert server.sent == [SIZE]


def test_another_version_where_if_range_is_ignored(
    server: Server, get: Fetch, target: Path
) -> None:
    url = server.serve("/x", OTHER, Answer(drop=HALF, etag='"old"'), Answer(404))
    failure(get, url)
    server.serve("/x", CONTENT, Answer(if_range=False))
    get(url)
    assert only(target)
    assert server.ranges[-2:] == [f"bytes={HALF}-", None]


@pytest.mark.parametrize("validator", [None, 'W/"weak"'])
def test_without_a_validator_only_a_checksum_allows_to_resume(
    server: Server, get: Fetch, target: Path, validator: str | None
) -> None:
    url = interrupted(server, get, target, etag=validator)
    get(url)
    assert only(target)
    assert server.ranges == [None]
    target.unlink()
    url = interrupted(server, get, target, etag=validator)
    get(url, checksum=MD5)
    assert only(target)
    assert server.ranges == [f"bytes={HALF}-"]
    assert "if-range" not in server.requests[0].headers


@pytest.mark.parametrize("state", [None, "{", "[]", "{}"])
def test_bytes_of_unknown_origin_are_not_used(
    server: Server, get: Fetch, target: Path, state: str | None
) -> None:
    target.parent.mkdir()
    target.with_name("songs.zip.partial").write_bytes(OTHER[:HALF])
    if state is not None:
        target.with_name("songs.zip.state.partial").write_text(state)
    get(server.serve("/x", CONTENT))
    assert only(target)
    assert server.ranges == [None]


@pytest.mark.parametrize("content_range", ["bytes 5-299999/300000", "bytes x", "lines 1-2/3"])
def test_another_part_than_asked_for_starts_over(
    server: Server, get: Fetch, target: Path, content_range: str
) -> None:
    url = interrupted(server, get, target)
    server.answers["/songs.zip"] = [Answer(content_range=content_range)]
    get(url)
    assert only(target)
    assert server.ranges == [f"bytes={HALF}-", None]


def test_an_unasked_part_is_an_error(server: Server, get: Fetch, target: Path) -> None:
    answer = Answer(status=206, body=CONTENT, headers={"Content-Range": "bytes 9-300008/400000"})
    assert "another part" in failure(get, server.serve("/x", CONTENT, answer))
    assert not target.exists()


@pytest.mark.parametrize("checksum", [None, MD5])
def test_416_when_all_is_here(
    server: Server, get: Fetch, target: Path, checksum: str | None
) -> None:
    url = interrupted(server, get, target)
    target.with_name("songs.zip.partial").write_bytes(CONTENT)
    get(url, checksum=checksum)
    assert only(target)
    assert server.ranges == [f"bytes={SIZE}-"]
    assert server.sent == [0]


@pytest.mark.parametrize("checksum", [None, MD5])
@pytest.mark.parametrize("size", [None, SIZE])
def test_when_more_is_here_than_the_whole_it_starts_over(
    server: Server, get: Fetch, target: Path, checksum: str | None, size: int | None
) -> None:
    url = interrupted(server, get, target)
    target.with_name("songs.zip.partial").write_bytes(CONTENT + b"x")
    get(url, checksum=checksum, size=size)
    assert only(target)
    # The published size tells at once, else the server's 416.
    assert server.ranges == ([None] if size else [f"bytes={SIZE + 1}-", None])


def test_a_kill_when_it_starts_over_leaves_no_mixture(
    server: Server, get: Fetch, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old bytes are gone before the note says that those here are of the new version."""
    url = interrupted(server, get, target)
    server.answers["/songs.zip"] = [Answer(etag='"new"')]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        get(url)
    assert [*target.parent.iterdir()] == []


@pytest.mark.parametrize("status", [401, 403, 404, 410, 418, 204, 304])
def test_a_refusal_tries_the_next_address_at_once(
    server: Server, get: Fetch, target: Path, status: int
) -> None:
    bad = server.serve("/bad", CONTENT, Answer(status))
    good = server.serve("/good", CONTENT)
    get(bad, good, checksum=MD5)
    assert only(target)
    assert [request.path for request in server.requests] == ["/bad", "/good"]
    target.unlink()
    assert f"HTTP {status}" in failure(get, bad)


def test_a_second_address_goes_on_where_the_first_stopped(
    server: Server, get: Fetch, target: Path
) -> None:
    """Only with a checksum, which says whether it is the same file."""
    first = server.serve("/first", CONTENT, Answer(drop=HALF), Answer(404))
    second = server.serve("/second", CONTENT, Answer(etag='"other"'))
    get(first, second, checksum=MD5)
    assert only(target)
    assert server.ranges == [None, f"bytes={HALF}-", f"bytes={HALF}-"]
    assert server.sent[-1] == SIZE - HALF
    target.unlink()
    server.answers["/first"] = [Answer(drop=HALF), Answer(404)]
    get(first, second)
    assert only(target)
    assert server.ranges[-1] is None


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_trouble_is_retried(
    server: Server, get: Fetch, target: Path, status: int
) -> None:
    url = server.serve("/x", CONTENT, Answer(status), Answer(status), Answer())
    get(url)
    assert only(target)
    assert len(server.requests) == 3


def test_a_lasting_trouble_ends_in_one_line(server: Server, get: Fetch, target: Path) -> None:
    url = server.serve("/x", CONTENT, Answer(503))
    assert "HTTP 503 Service Unavailable (3 attempts)" in failure(get, url)
    assert len(server.requests) == 3
    assert [*target.parent.iterdir()] == []


def test_waits_grow_and_the_server_may_ask_for_longer_ones(
    server: Server, get: Fetch, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("pipeline.datasets.download.transfer.time.sleep", waits.append)
    date = formatdate(time.time() + 30, usegmt=True)
    asked = [{"Retry-After": text} for text in ("7", "3600", date, "soon", "-1")]
    answers = [Answer(503, headers=headers) for headers in ({}, {}, {}, *asked)]
    get(server.serve("/x", CONTENT, *answers, Answer()), attempts=9, wait=1.0)
    assert all(0.5 * most <= wait <= most for most, wait in zip((1, 2, 4), waits, strict=False))
    assert waits[3:5] == [7.0, 60.0]
    assert 25 < waits[5] <= 30
    assert len(waits) == 8
    assert said[4].endswith("songs.zip: HTTP 503 Service Unavailable: again in 7 s")


def test_no_server_there(get: Fetch, target: Path) -> None:
    text = failure(get, "http://127.0.0.1:1/x", "http://127.0.0.1:1/y")
    assert "[Errno 111] Connection refused (3 attempts); http://127.0.0.1:1/y: " in text
    assert not target.exists()


def test_a_wrong_certificate_is_not_tried_again(
    get: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the server's nor a file of those to trust that is not there."""
    url = "https://127.0.0.1:1/x"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file")
    text = failure(get, url)
    assert "TLS CA certificate bundle" in text
    assert "attempts" not in text

    def refused(*_: object, **__: object) -> None:
        words = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed"
        raise requests.exceptions.SSLError(ssl.SSLCertVerificationError(1, words))

    monkeypatch.setattr(requests.Session, "get", refused)
    text = failure(get, url)
    assert f"{url}: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self" in text
    assert "attempts" not in text


@pytest.mark.parametrize("after", [0, HALF])
def test_a_server_that_stalls(
    server: Server, get: Fetch, target: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT", (10.0, 0.2))
    url = server.serve("/x", CONTENT, Answer(stall=after), Answer())
    get(url)
    assert only(target)
    assert server.ranges[1] == (f"bytes={HALF}-" if after else None)
    target.unlink()
    server.answers["/x"] = [Answer(stall=0)]
    assert "no answer in time (2 attempts)" in failure(get, url, attempts=2)


@pytest.mark.parametrize("location", ["/real", "{address}/real", "real?x=1"])
def test_redirects_are_followed(server: Server, get: Fetch, target: Path, location: str) -> None:
    real = Answer(drop=HALF), Answer()
    server.serve("/real", CONTENT, *real)
    server.serve("/real?x=1", CONTENT, *real)
    to = {"Location": location.format(address=server.address)}
    get(server.serve("/x", b"", Answer(302, headers=to)))
    assert only(target)
    assert [request.path[:5] for request in server.requests] == ["/x", "/real"] * 2
    assert server.ranges[2:] == [f"bytes={HALF}-"] * 2


@pytest.mark.parametrize(
    ("location", "words"),
    [("/x", "redirects more than 10 times"), ("file:///etc/passwd", "file:///"), ("http://[", "")],
)
def test_redirects_that_lead_nowhere(
    server: Server, get: Fetch, target: Path, location: str, words: str
) -> None:
    url = server.serve("/x", b"", Answer(301, headers={"Location": location}))
    assert words in failure(get, url)
    assert not target.exists()


def test_a_content_length_that_is_too_long(server: Server, get: Fetch, target: Path) -> None:
    """The rest that was promised does not exist: 416 tells."""
    get(server.serve("/x", CONTENT, Answer(length=SIZE + 500)))
    assert only(target)
    assert server.ranges == [None, f"bytes={SIZE}-"]


def test_a_content_length_that_is_too_short(server: Server, get: Fetch, target: Path) -> None:
    url = server.serve("/x", CONTENT, Answer(length=SIZE - 500))
    assert f"offers 299500 bytes, {SIZE} are published" in failure(get, url, size=SIZE)
    assert "wrong checksum" in failure(get, url, checksum=MD5)
    assert not target.exists()


def test_a_size_that_is_not_the_published_one_keeps_what_was_there(
    server: Server, get: Fetch, target: Path
) -> None:
    """The log-in page of a hotel's network says 200, too."""
    url = interrupted(server, get, target)
    server.answers["/songs.zip"] = [Answer(body=b"<html>", ranges=False)]
    assert "offers 6 bytes" in failure(get, url, size=SIZE)
    server.answers["/songs.zip"] = [Answer()]
    get(url, size=SIZE, checksum=MD5)
    assert only(target)
    assert server.sent[-1] == SIZE - HALF


@pytest.mark.parametrize("answer", [Answer(chunked=True), Answer(no_length=True)])
def test_more_bytes_than_published(
    server: Server, get: Fetch, target: Path, answer: Answer
) -> None:
    url = server.serve("/x", CONTENT, answer)
    assert "more than the 1000 bytes" in failure(get, url, size=1000)
    assert [*target.parent.iterdir()] == []


def test_fewer_bytes_than_published(server: Server, get: Fetch, target: Path) -> None:
    url = server.serve("/x", CONTENT, Answer(no_length=True, ranges=False))
    assert f"after {SIZE} of {SIZE + 1} bytes" in failure(get, url, size=SIZE + 1)
    assert not target.exists()


def test_an_encoded_body_is_kept_as_it_is(server: Server, get: Fetch, target: Path) -> None:
    packed = gzip.compress(CONTENT)
    answer = Answer(headers={"Content-Encoding": "gzip"})
    get(server.serve("/songs.tar.gz", packed, answer))
    assert target.read_bytes() == packed
