"""What is new since an earlier answer, by the cursor that came with it.

A cursor is a moment, a mark of the goal, and marks of what was told of the last seconds before it: what was being
committed at that moment may have been missed, so those seconds are looked at once more.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from arwx import clock
from arwx.errors import invalid

_SETTLED_AFTER = timedelta(seconds=2)
_MOST_SEEN = 40
_CURSOR = re.compile(r"([0-9a-f]{1,13})-([0-9a-f]{4})-((?:[0-9a-f]{4})*)\Z")


@dataclass(frozen=True)
class Since:
    """What an earlier answer had told: everything up to a moment, a few things around it, and the goal."""

    moment: datetime
    goal: str
    seen: frozenset[str]

    def is_news(self, when: datetime, what: str) -> bool:
        return when >= self.moment and _mark(what) not in self.seen


def read(cursor: str | None) -> Since | None:
    """What the cursor of an earlier answer says; `Invalid` when this server cannot have made it."""
    if cursor is None:
        return None
    match = _CURSOR.match(cursor)
    if match is None:
        raise invalid("since", "is not a cursor that this server made")
    moment = datetime.fromtimestamp(int(match[1], 16) / 1_000_000, UTC)
    return Since(moment, match[2], frozenset(re.findall("....", match[3])))


class News:
    """Tells what an answer has that earlier ones had not, and makes its cursor."""

    def __init__(self, since: Since | None, goals: str) -> None:
        self._since, self._goals, self._now = since, _mark(goals), clock.now()
        self._fresh: list[str] = []

    @property
    def has_new_goal(self) -> bool:
        return self._since is None or self._since.goal != self._goals

    def is_news(self, when: datetime, what: str) -> bool:
        """Whether this was not told before. Something without a date in the answer counts from when it happened."""
        if when >= self._now - _SETTLED_AFTER:
            self._fresh.append(_mark(what))
        return self._since is None or self._since.is_news(when, what)

    def cursor(self) -> str:
        micros = int((self._now - _SETTLED_AFTER).timestamp() * 1_000_000)
        return f"{micros:x}-{self._goals}-{''.join(list(dict.fromkeys(self._fresh))[:_MOST_SEEN])}"


def _mark(what: str) -> str:
    return hashlib.blake2b(what.encode(errors="surrogatepass"), digest_size=2).hexdigest()
