"""The process that serves: gunicorn's gevent worker, with an end that waits for requests alone."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
from gevent import monkey, socket
from gunicorn.workers.ggevent import GeventWorker

_Plain = monkey.get_original("socket", "socket")
# A request whose first bytes are there may have this long for the rest of its head.
_HEAD_LASTS_S = 0.5
# How long a connection that ends may go on sending, and how long nothing may come.
_LINGERS_S, _LINGERS_IDLE_S = 10.0, 2.0


class Worker(GeventWorker):  # type: ignore[misc]  # it comes without types
    """Asked to end, it serves who has asked, and hangs up on who only holds a connection.

    Clients keep connections for a minute or more. Waiting for all of them, each end would take as long as it may.
    A connection whose answer says `Connection: close` it ends too, once the caller could hear the answer.
    """

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._connections: dict[Any, Any] = {}
        self._waits_since: dict[Any, float] = {}
        self._is_ending: set[Any] = set()

    def load_wsgi(self) -> None:
        """Let the application end a connection: gunicorn drops what it says of that."""
        super().load_wsgi()
        app: Any = self.app.wsgi()
        inner = app.wsgi_app

        def wsgi_app(environ: dict[str, Any], start_response: Any) -> Any:
            def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
                if ("Connection", "close") in headers:
                    start_response.__self__.force_close()
                    self._is_ending.add(gevent.getcurrent())
                return start_response(status, headers, *more)

            return inner(environ, start)

        app.wsgi_app = wsgi_app

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        try:
            super().handle_request(listener_name, req, sock, addr)
        finally:
            if gevent.getcurrent() in self._is_ending:
                self._is_ending.remove(gevent.getcurrent())
                self._linger(sock)

    def _linger(self, sock: Any) -> None:
        """Take what is still on its way, for a while: closed at once, the system would throw the answer away with it."""
        ends = time.monotonic() + _LINGERS_S
        with suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(_LINGERS_IDLE_S)
            while self.alive and time.monotonic() < ends and sock.recv(1 << 16):
                pass

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        me = gevent.getcurrent()
        self._connections[me] = client
        try:
            super().handle(listener, client, addr)
        finally:
            del self._connections[me]

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Around the wait for the next request of a connection."""
        me = gevent.getcurrent()
        self._waits_since[me] = time.monotonic()
        try:
            with super().timeout_ctx():
                yield
        finally:
            del self._waits_since[me]

    def notify(self) -> None:
        """Each second: tell the master of our life, and at the end of it look who is left."""
        super().notify()
        if not self.alive:
            self._hang_up()

    def _hang_up(self) -> None:
        now = time.monotonic()
        for one, since in list(self._waits_since.items()):
            if now - since > _HEAD_LASTS_S:
                # Reading ends, but not before what has arrived is read: a request that came meanwhile is still served.
                # By a plain socket: gevent's own would break off whoever reads.
                with suppress(OSError), _Plain(fileno=os.dup(self._connections[one].fileno())) as connection:
                    connection.shutdown(socket.SHUT_RD)
