"""The buffer: takes what `log()` was given, in memory alone, and hands it to the spool as entries."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from .spool import Spool
from .values import Encoder, Metrics

Logged = tuple[Metrics, "int | None", float] | tuple[Metrics, "int | None", float, bool]
"""One `log()`: settled metrics, step, Unix time; a fourth item marks system metrics, which have their own step axis."""

_ROOM = 1024
MAX_POINTS = 400_000
_DRAIN = 1000


class Buffer:
    """What was logged and not yet spooled.

    Training threads append to `queue` directly while it is shorter than `room`; beyond it they ask `make_room`, which
    looks at how many points wait. So the bound is one of points, and costs a length comparison a call.
    """

    def __init__(self, next_step: int = 0) -> None:
        self.queue: deque[Logged] = deque()
        self.room = _ROOM
        self.dropped = 0
        self.encoder = Encoder(next_step)
        self._lock = threading.Lock()
        self._waiting = 0

    def make_room(self) -> bool:
        """Called when the queue has reached its room: grant more, or say that memory for it has run out."""
        with self._lock:
            if len(self.queue) < self.room:
                return True
            # The newest stretch stands for what was granted last; older ones were counted when they were the newest.
            try:
                self._waiting += sum(len(self.queue[-1 - back][0]) for back in range(min(_ROOM, len(self.queue))))
            except IndexError:
                return True  # the spool took them meanwhile, so there is room
            if self._waiting > MAX_POINTS:
                self._waiting = MAX_POINTS
                return False
            self.room += _ROOM
            return True

    def drain(self, spool: Spool, limit: int = _DRAIN) -> bool:
        """Encode up to `limit` logged entries into the spool; True if more are waiting."""
        queue, encode = self.queue, self.encoder.encode
        entries: list[tuple[int, bytes]] = []
        for _ in range(min(limit, len(queue))):
            logged = queue.popleft()
            entries += encode(logged[0], logged[1], logged[2], is_system=len(logged) == 4)
        spool.add(entries)
        if queue:
            return True
        if self.room != _ROOM:
            with self._lock:
                self.room, self._waiting = _ROOM, 0
        return False

    def status(self) -> dict[str, Any]:
        """How many calls wait here, and the points that were left out so far."""
        return {"waiting": len(self.queue), "skipped": self.encoder.skipped, "dropped": self.dropped}
