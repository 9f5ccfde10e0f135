"""The lowest speed at which a server is listened to, whatever it sends in place of the file."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests
from requests import Response
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

LOWEST_SPEED = 10_000
"""Bytes a second of the file, on average over WINDOW, below which a connection is ended."""
WINDOW = 60.0
"""Seconds. All that comes before the first byte of the file has to be over in this time, too."""


class Pace:
    """Ends the connections of one attempt when the file comes too slowly, in any of their phases.

    A timeout of a socket is not enough: each byte starts it again, and TLS, header lines, redirects
    and `100 Continue` can be sent byte by byte, for ever.
    """

    def __init__(self) -> None:
        self.arrived = 0
        """Bytes of the file; who reads it counts them here."""
        self.too_slow = False
        self._connections: list[socket.socket] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def keep(self, connection: socket.socket) -> None:
        """End this connection, too, when it is too slow."""
        # A handle of our own: TLS takes the other one over, and shutdown means what both stand for.
        self._connections.append(connection.dup())

    def end(self) -> None:
        """Watch no longer."""
        self._over.set()
        self._thread.join()
        for connection in self._connections:
            connection.close()

    def _watch(self) -> None:
        before = 0
        while not self._over.wait(WINDOW):
            if self.arrived - before < LOWEST_SPEED * WINDOW:
                self.too_slow = True
                for connection in list(self._connections):
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)
            before = self.arrived


@contextmanager
def kept() -> Iterator[Pace]:
    """A pace to be kept as long as the block lasts. Raises requests.Timeout when it was not."""
    pace = Pace()
    try:
        yield pace
    except (requests.RequestException, HTTPError):
        if not pace.too_slow:
            raise
    finally:
        pace.end()
    if pace.too_slow:
        speed = f"{LOWEST_SPEED:,} bytes a second"
        raise requests.Timeout(f"too slow: less than {speed} for {WINDOW:.0f} s")


class Session(requests.Session):
    """Opens connections that keep a pace, and follows no redirect.

    To follow one, requests would first read the body that comes with it, however long it is.
    """

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(pace))

    def get_redirect_target(self, resp: Response) -> str | None:
        return None


class _Adapter(HTTPAdapter):
    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self.pace = pace

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        kind: Any = pool.ConnectionCls
        pace = self.pace

        class Connection(kind):
            def _new_conn(self) -> socket.socket:
                opened: socket.socket = super()._new_conn()
                pace.keep(opened)
                return opened

        pool.ConnectionCls = Connection
        return pool
