"""How fast one key may ask, and how many bytes of blobs one organization may keep; the same for all processes.

A key has a bucket of tokens in the database, one for each request. A process takes a handful at a time and spends them
from memory, so that one request in ten touches the database. Points always come in: an ingest takes no token, and the
quota of bytes is about blobs alone.
"""

import logging
import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from arwx import clock
from arwx.access import Scope
from arwx.db import Database, insert
from arwx.errors import ArwxError, OverQuota, TooMany
from arwx.models import Allowance, Blob

# How many seconds of its rate a key may save up, and how many of them a process takes at once.
BURST_S, HANDFUL_S = 10.0, 0.1
_MOST_REMEMBERED = 10_000
_USAGE_KNOWN_FOR_S = 5.0
# Who waits longer for a bucket is not limited.
_PATIENCE_S = 1.0
_log = logging.getLogger("arwx.error")


@dataclass
class Left:
    """What a key may still ask for, as far as this process knows. `reset_s` is when the bucket is full again."""

    limit: int
    tokens: float = 0.0
    shared: float = 0.0
    waits_until: float = 0.0

    @property
    def remaining(self) -> int:
        return max(0, int(self.tokens + self.shared))

    @property
    def reset_s(self) -> int:
        return math.ceil(BURST_S * (1 - self.remaining / self.limit))


@dataclass
class Quotas:
    """The limits of the server, 0 for none, and what this process has taken of them."""

    database: Database
    per_second: float = 0
    bytes_of_blobs: int = 0
    _left: OrderedDict[tuple[int, str], Left] = field(default_factory=OrderedDict)
    _usage: dict[int, tuple[float, int]] = field(default_factory=dict)

    def take(self, org_id: int, key_id: str) -> Left | None:
        """Take a token of the key, or `TooMany` with the time to wait. None when there is no limit."""
        if not self.per_second:
            return None
        left = self._left.setdefault((org_id, key_id), Left(int(self.per_second * BURST_S)))
        self._left.move_to_end((org_id, key_id))
        while len(self._left) > _MOST_REMEMBERED:
            self._left.popitem(last=False)
        now = time.monotonic()
        if left.tokens < 1 and now >= left.waits_until:
            self._fetch(org_id, key_id, left)
        if left.tokens < 1:
            wait_s = max(1, math.ceil(left.waits_until - now))
            raise TooMany(f"This key may ask {self.per_second:g} times a second. Wait {wait_s} s and go on.", wait_s)
        left.tokens -= 1
        return left

    def _fetch(self, org_id: int, key_id: str, left: Left) -> None:
        """Move a handful of tokens from the bucket into this process; note how long to wait when there are none."""
        handful = max(1.0, self.per_second * HANDFUL_S)
        mine = (Allowance.org_id == org_id, Allowance.key_id == key_id)
        now = clock.now()
        try:
            with self.database.writing(org_id, patience_s=_PATIENCE_S) as db:
                full = {"org_id": org_id, "key_id": key_id, "tokens": float(left.limit), "filled_at": now}
                db.execute(insert(db, Allowance).values(full).on_conflict_do_nothing())
                bucket = db.scalars(select(Allowance).where(*mine).with_for_update()).one()
                passed_s = max(0.0, (now - bucket.filled_at).total_seconds())
                tokens = min(float(left.limit), bucket.tokens + passed_s * self.per_second)
                taken = min(handful, math.floor(tokens))
                bucket.tokens, bucket.filled_at = tokens - taken, now
        except (SQLAlchemyError, ArwxError):
            # A limiter that is away limits nobody: the request will see for itself whether the database is there.
            _log.warning("the rates of keys cannot be counted now", exc_info=True)
            taken, tokens = handful, handful
        left.tokens += taken
        left.shared = tokens - taken
        if not taken:
            left.waits_until = time.monotonic() + (1 - tokens) / self.per_second

    def admit_bytes(self, scope: Scope, size: int) -> None:
        """Raise `OverQuota` when the organization would keep more bytes of blobs than it may."""
        if not self.bytes_of_blobs:
            return
        now = time.monotonic()
        counted_at, used = self._usage.get(scope.org_id, (-math.inf, 0))
        if now - counted_at > _USAGE_KNOWN_FOR_S:
            with self.database.reading(scope.org_id) as db:
                used = int(
                    db.scalar(select(func.coalesce(func.sum(Blob.size), 0)).where(Blob.org_id == scope.org_id)) or 0
                )
            counted_at = now
        # What is admitted counts at once in this process, and everywhere when it is stored.
        self._usage[scope.org_id] = (counted_at, used + size)
        if used + size > self.bytes_of_blobs:
            self._usage[scope.org_id] = (counted_at, used)
            raise OverQuota(
                f"The organization keeps {used:,} of the {self.bytes_of_blobs:,} bytes of blobs that it may. "
                "Metrics are still taken.",
                limit=self.bytes_of_blobs,
                used=used,
            )
