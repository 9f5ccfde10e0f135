"""A web server on this machine that fails as it is told to, and notes what it was asked for."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.helpers.waiting import LONG_ENOUGH

BLOCK = 16_384


@dataclass(frozen=True)
class Answer:
    """How one request is answered: without options, correctly."""

    status: int | None = None
    """Nothing but this status, and `headers`."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Instead of the file's content."""
    etag: str | None = '"v1"'
    modified: str | None = None
    ranges: bool = True
    """Whether Range is understood."""
    if_range: bool = True
    """Whether If-Range is understood."""
    content_range: str | None = None
    """Instead of the true one."""
    drop: int | None = None
    """Bytes of the body after which the connection is closed."""
    length: int | None = None
    """Instead of the true Content-Length."""
    no_length: bool = False
    chunked: bool = False
    stall: int | None = None
    """Bytes of the body after which nothing more comes; the connection stays open."""
    hold: int | None = None
    """Bytes of the body after which the rest waits until the test sets `Server.go`."""


@dataclass
class Request:
    """What was asked, and how many bytes of the body were sent."""

    path: str
    headers: dict[str, str]
    sent: int = 0

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


class Server:
    """Files by path, and how the next requests for each are answered; the last answer is repeated."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.content: dict[str, bytes] = {}
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[Request] = []
        self.go = threading.Event()
        self.stop = threading.Event()

    def serve(self, path: str, content: bytes, *answers: Answer) -> str:
        """Put a file there; returns its address."""
        self.content[path] = content
        self.answers[path] = list(answers) or [Answer()]
        return self.address + path

    def next_answer(self, path: str) -> Answer:
        answers = self.answers.get(path, [Answer(404)])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    @property
    def ranges(self) -> list[str | None]:
        return [request.range for request in self.requests]

    @property
    def sent(self) -> list[int]:
        return [request.sent for request in self.requests]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Server

    def do_GET(self) -> None:
        self.close_connection = True
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.path, headers)
        self.site.requests.append(request)
        answer = self.site.next_answer(self.path)
        with contextlib.suppress(ConnectionError):
            self._answer(request, answer)

    def _answer(self, request: Request, answer: Answer) -> None:
        content = self.site.content.get(self.path, b"") if answer.body is None else answer.body
        start = self._start(request, answer)
        status = answer.status or (200 if start is None else 206)
        head = {"Connection": "close"}
        if answer.etag:
            head["ETag"] = answer.etag
        if answer.modified:
            head["Last-Modified"] = answer.modified
        if answer.status is None and start is not None and start >= len(content):
            status, body = 416, b""
            head["Content-Range"] = f"bytes */{len(content)}"
        elif answer.status is not None:
            body = answer.body or b""
        else:
            body = content[start or 0 :]
            if status == 206:
                head["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if answer.content_range and status == 206:
            head["Content-Range"] = answer.content_range
        if answer.chunked:
            head["Transfer-Encoding"] = "chunked"
        elif not answer.no_length:
            head["Content-Length"] = str(len(body) if answer.length is None else answer.length)
        if answer.stall is None or answer.stall > 0:
            self.send_response(status)
            for name, value in {**head, **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
        self._send(request, answer, body)

    def _start(self, request: Request, answer: Answer) -> int | None:
        """Where the asked range starts; None when all is sent."""
        if request.range is None or not answer.ranges:
            return None
        validator = request.headers.get("if-range")
        if validator and answer.if_range and validator not in (answer.etag, answer.modified):
            return None
        return int(request.range.removeprefix("bytes=").removesuffix("-"))

    def _send(self, request: Request, answer: Answer, body: bytes) -> None:
        end = min(len(body) if cut is None else cut for cut in (answer.drop, answer.stall))
        for position in range(0, end, BLOCK):
            if answer.hold is not None and position >= answer.hold:
                self.site.go.wait(LONG_ENOUGH)
            block = body[position : min(position + BLOCK, end)]
            framed = b"%x\r\n%s\r\n" % (len(block), block) if answer.chunked else block
            # Counted first: who has read the last byte may ask before this thread goes on.
            request.sent += len(block)
            self.wfile.write(framed)
        if answer.stall is not None:
            self.site.stop.wait(LONG_ENOUGH)
        elif answer.chunked and answer.drop is None:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port of the loopback, as long as the block lasts."""

    class Handler(_Handler):
        """A class a server: its attributes are all that a handler is given."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        site = Handler.site = Server(f"http://127.0.0.1:{http.server_address[1]}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            site.go.set()
            site.stop.set()
            http.shutdown()
            thread.join()


Conversation = Callable[[socket.socket], None]
"""What is done with one connection; it is closed afterwards."""


@contextmanager
def talking(conversation: Conversation) -> Iterator[str]:
    """The address of a server that need not speak HTTP: each connection gets a `conversation`."""

    def talk(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            conversation(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):  # the listening socket is shut down
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def dripping(start: bytes, drop: bytes, every: float = 0.02) -> Conversation:
    """`start` at once, then `drop` again and again until the other end has had enough."""

    def conversation(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(start)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(drop)
                connection.settimeout(every)
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(65_536):
                        return

    return conversation


def saying(answer: bytes, *, reset: bool = False) -> Conversation:
    """These bytes, whatever is asked; then the end, or with `reset` a connection reset by peer."""

    def conversation(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(answer)
        if reset:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    return conversation
