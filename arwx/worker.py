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


class Worker(GeventWorker):  # type: ignore[misc]  # it comes without types
    """Asked to end, it serves who has asked, and hangs up on who only holds a connection.

    Clients keep connections for a minute or more. Waiting for all of them, each end would take as long as it may.
    """

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._connections: dict[Any, Any] = {}
        self._waits_since: dict[Any, float] = {}

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
