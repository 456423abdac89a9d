"""The buffer: takes what `log()` was given, in memory alone, and hands it to the spool as entries."""

from __future__ import annotations

import threading
import time
from collections import deque

from . import notice
from .spool import Spool
from .values import Encoder, Metrics

Logged = tuple[Metrics, "int | None", float] | tuple[Metrics, "int | None", float, bool]
"""One `log()`: settled metrics, step, Unix time; a fourth item marks system metrics, which have their own step axis."""

_ROOM = 1024
MAX_POINTS = 400_000
_DRAIN = 1000
# A spool thread that works, but is slower than the loop that logs, may hold up one call this long, and after it last
# took something all calls together.
_WAIT_S, _PATIENCE_S = 0.005, 0.5


class Buffer:
    """What was logged and not yet spooled.

    Training threads append to `queue` directly while it is shorter than `room`; beyond it they call `put`, which looks
    at how many points wait. So the bound is one of points, and costs a length comparison a call.
    """

    def __init__(self, next_step: int = 0) -> None:
        self.queue: deque[Logged] = deque()
        self.room = _ROOM
        self.dropped = 0
        self.encoder = Encoder(next_step)
        self._lock = threading.Lock()
        self._waiting = 0
        self._drained = self._drained_seen = 0
        self._patience_s = _PATIENCE_S

    def put(self, logged: Logged) -> None:
        """Append what was logged, or count its points as dropped: when the bound is reached and nobody drains."""
        if self._make_room() or self._await_headway():
            self.queue.append(logged)
            return
        with self._lock:
            self.dropped += len(logged[0])
        notice.once(
            "memory",
            "points come faster than they can be written and memory for them is full: new ones are dropped and counted",
        )

    def _make_room(self) -> bool:
        """Grant the next stretch of room, unless the points that wait have reached their bound."""
        with self._lock:
            if len(self.queue) < self.room:
                return True
            if self._waiting >= MAX_POINTS:
                return False
            # The newest stretch stands for what was granted last; older ones were counted when they were the newest.
            # Each seventh is looked at, so that no call takes long.
            try:
                self._waiting += 7 * sum(len(self.queue[-1 - back][0]) for back in range(0, _ROOM, 7))
            except IndexError:
                return True  # the spool took them meanwhile, so there is room
            self.room += _ROOM
            return True

    def _await_headway(self) -> bool:
        """Give way to the spool thread for some milliseconds; is there still hope that it makes room?

        A loop that does nothing but log is faster than the thread that encodes what it logs, and would starve it. Where
        that thread is stuck, nobody goes on waiting for it.
        """
        if self._drained != self._drained_seen:
            self._drained_seen, self._patience_s = self._drained, _PATIENCE_S
        if self._patience_s <= 0.0:
            return False
        start = time.monotonic()
        while len(self.queue) > self.room - _ROOM // 2 and time.monotonic() < start + _WAIT_S:
            time.sleep(0.001)
        self._patience_s -= time.monotonic() - start
        return True  # so the bound is passed by a call each time, a hundred at most

    def drain(self, spool: Spool, limit: int = _DRAIN) -> bool:
        """Encode up to `limit` logged entries into the spool; True if more are waiting."""
        queue, encode = self.queue, self.encoder.encode
        entries: list[tuple[int, bytes]] = []
        count = min(limit, len(queue))
        for _ in range(count):
            logged = queue.popleft()
            try:
                entries += encode(logged[0], logged[1], logged[2], is_system=len(logged) == 4)
            except Exception as error:  # noqa: BLE001 - a name may be any object; the entries beside it must not suffer
                self.encoder.skipped += len(logged[0])
                notice.once("name", f"log() could not take a name: {type(error).__name__}: {error}")
        spool.add(entries)
        self._drained += count
        if queue:
            return True
        if self.room != _ROOM:
            with self._lock:
                self.room, self._waiting = _ROOM, 0
        return False
