"""Delivering one stream: which request comes next, and what its answer means. No thread, no clock, no socket of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from . import notice
from .http import Request, Response, is_nobody_there, to_json
from .late import loading
from .papers import Document, Papers
from .records import Entry
from .stream import Stream

BATCH_POINTS = 500
_BATCH_ENTRIES = 1000
_BATCH_BYTES = 1 << 20
_STREAM_FROM = 4000
_STREAM_MAX = 100_000
_STREAM_MIN = 2 * _BATCH_ENTRIES
_MAX_LINE = 1 << 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _HURRIED_PAUSE_S = 0.5, 30.0, 1.0
_REFUSED_PAUSE_S = 60.0
_DENIED_PAUSE_S = 15.0
_BEAT_S = 60.0
_PATCH_TRIES = 3
NEVER = float("inf")

Send = Callable[[Request], Response]


class Sender:
    """Brings the entries of a stream, and the papers of its run, to the server, in order and as often as it takes.

    `step(now)` makes at most one request and returns when it wants to be called again. `is_closing` says that no more
    entries will come; then `is_done` becomes true once the server has everything. Nothing is forgotten before the server
    has answered in a way that only an arwx server that stored it would.

    `run` is what the server answered to the registration, and `was_known` whether it had the run before.

    Of what goes wrong it tells: `trouble`, the reason of the current pause; `is_denied`, that it is the key; `refusal`, that
    the server does not want the run; `away_since`, since when nobody listens.
    """

    def __init__(
        self, stream: Stream, papers: Papers, send: Send, *, chance: Callable[[], float] | None = None, flush_interval: float = 1.0,
        is_registered: bool = False, has_beat: bool = True,
    ) -> None:  # fmt: skip
        self.stream, self.papers = stream, papers
        self._send = send
        self._chance = chance or _chance
        self._flush_interval = flush_interval
        self._has_beat = has_beat
        self.is_registered = is_registered
        self.is_closing = False
        self.is_done = False
        self.run: Document = {}
        self.was_known = False
        self.refusal: str | None = None
        self.trouble: str | None = None
        self.is_denied = False
        self.away_since: float | None = None
        self._hurry = False
        self._failures = 0
        self._paused_until = 0.0
        self._due = NEVER
        self._sent_at: float | None = None
        self._papers_version = 0
        self._was_refused_whole = False
        self._patch_tries = 0
        self._may_be_registered = False
        self._sent_points = 0
        # How many entries a request may hold: shrinks by half while the server refuses, grows again when it does not.
        self._span = _BATCH_ENTRIES
        self._stream_span = _STREAM_MAX

    def hurry(self) -> None:
        """From now on do not gather batches, and wait only briefly between attempts: somebody waits for the end."""
        self._hurry = True
        self._paused_until = 0.0

    @property
    def has_batch(self) -> bool:
        """Whether enough has gathered for a request."""
        return self.stream.points - self._sent_points >= BATCH_POINTS

    def step(self, now: float) -> float:
        """Make the next request, if one is due. Returns the moment of the next, which may be now."""
        if self.is_done:
            return NEVER
        if now < self._paused_until:
            return self._paused_until
        self._sent_at = now if self._sent_at is None else self._sent_at
        try:
            due = self._advance(now)
        except OSError as error:
            if not is_nobody_there(error):
                self.away_since = None
                # The request may have arrived, and its answer was lost.
                self._may_be_registered |= not self.is_registered
            elif self.away_since is None:
                self.away_since = now
            return self._pause(now, f"{type(error).__name__}: {error}")
        return due

    def _advance(self, now: float) -> float:
        if not self.is_registered:
            return self._register(now)
        if self.stream.backlog:
            if not (self._hurry or self.is_closing or self.has_batch):
                if self._due == NEVER:
                    self._due = now + self._flush_interval
                if now < self._due:
                    return self._due
            self._due = NEVER
            return self._deliver(now)
        version, changes = self.papers.changes()
        if version != self._papers_version:
            if changes:
                return self._tell(now, version, changes)
            self._papers_version = version
        if self.papers.patch is not None:
            return self._send_patch(now, self.papers.patch)
        if self.is_closing:
            if self.papers.finish is not None:
                return self._finish(now)
            self.is_done = True
            return NEVER
        if self._has_beat and now >= self._sent_at_or(now) + _BEAT_S:
            return self._ingest(now, [])
        return self._sent_at_or(now) + _BEAT_S if self._has_beat else NEVER

    def _sent_at_or(self, now: float) -> float:
        return now if self._sent_at is None else self._sent_at

    # What an answer means.

    def _is_fit(self, response: Response, now: float, name: str = "run_id") -> dict[str, Any] | None:
        """The document of a success that speaks of our run. A captive portal says 200 as well, but not that."""
        document = response.json()
        if response.status in (200, 201) and document.get(name) == self.stream.identity.run:
            self._failures = 0
            self._sent_at = now
            self.trouble, self.is_denied = None, False
            return document
        return None

    def _pause(self, now: float, reason: str, *, seconds: float | None = None, kind: str = "network") -> float:
        """Try again later: with growing, spread pauses, or as long as the server asked for."""
        self._failures += 1
        self.trouble, self.is_denied = reason, kind == "key"
        longest = _HURRIED_PAUSE_S if self._hurry else _LONGEST_PAUSE_S
        if seconds is None:
            seconds = 0.05 + self._chance() * min(longest, _FIRST_PAUSE_S * 2 ** min(self._failures, 10))
        self._paused_until = now + (min(seconds, longest) if self._hurry else seconds)
        if self._failures >= 3 or kind != "network":
            notice.once(kind, f"cannot deliver for now, points are kept in {self.stream.folder} ({reason})")
        return self._paused_until

    def _judge(self, response: Response, now: float) -> float | None:
        """The pause that this answer asks for; None if it is a verdict on what was sent."""
        status = response.status
        if status == 401 or (status == 403 and response.is_problem):
            reason = response.json().get("detail") or status
            return self._pause(now, f"the API key is refused: {reason}", seconds=_DENIED_PAUSE_S, kind="key")
        if status in (408, 425, 429) or status >= 500:
            return self._pause(now, f"the server answers {status}", seconds=_retry_after(response))
        if response.is_problem and response.json().get("code") != "truncated_body":
            return None
        if status == 413:
            return None
        return self._pause(
            now, f"the answer {status} did not come from an arwx server", kind="stranger" if status < 400 else "network"
        )

    # The requests.

    def _register(self, now: float) -> float:
        body = dict(self.papers.registration)
        if self._may_be_registered and body.get("resume") == "never":
            del body["resume"]  # an earlier attempt of ours may have made the run that the server would refuse
        if self._was_refused_whole:
            body = {name: body[name] for name in ("project", "id", "resume") if name in body}
        response = self._request("POST", "/v1/runs", to_json(body))
        document = self._is_fit(response, now, "id")
        if document is not None:
            self.is_registered, self.run, self.refusal = True, document, None
            self.was_known = response.status == 200 and not self._may_be_registered
            return now
        pause = self._judge(response, now)
        if pause is not None:
            self._may_be_registered |= response.status >= 500 or response.status < 400
            return pause
        reason = str(response.json().get("detail") or f"status {response.status}")
        if not self._was_refused_whole and response.status in (413, 422):
            self._was_refused_whole = True
            notice.once("registration", f"the server refuses the run's description, going on without it: {reason}")
            return now
        self.refusal = reason
        return self._pause(now, f"the run is refused: {reason}", seconds=_REFUSED_PAUSE_S, kind="run")

    def _deliver(self, now: float) -> float:
        start = self.stream.acked
        if self.stream.backlog >= _STREAM_FROM and self._span >= _BATCH_ENTRIES and self._stream_span >= _STREAM_MIN:
            return self._send_stream(now, start)
        end = self.stream.next_seq  # before reading: what comes in the meantime is not part of this look
        entries = _without_gap(self.stream.read(start, self._span, _BATCH_BYTES))
        if not entries:
            # Nothing is left of what was written there: the receipt will show the gap.
            self.stream.ack(end)
            return now
        return self._ingest(now, entries)

    def _ingest(self, now: float, entries: list[Entry]) -> float:
        first = entries[0][0] if entries else self.stream.next_seq
        head = to_json({**self._who(), "first_seq": first})
        body = head[:-1] + b',"points":[' + b",".join([entry[2] for entry in entries]) + b"]}"
        response = self._request("POST", "/v1/ingest", body)
        if self._is_stored(response, now, len(entries), sum(entry[1] for entry in entries)):
            self._span = min(self._span * 2, _BATCH_ENTRIES)
            if entries:
                self.stream.ack(entries[-1][0] + 1)
            return now if self.stream.backlog else self._wake(now)
        if self._is_unknown_run(response):
            return self._forget_run(now)
        pause = self._judge(response, now)
        if pause is not None:
            return pause
        self._sent_at = now
        if len(entries) > 1:
            self._span = len(entries) // 2
            return now
        if response.status == 413 and not response.is_problem:
            return self._pause(now, "something on the way refuses even small requests, 413")
        for entry in entries:
            reason = str(response.json().get("detail") or response.status)
            notice.once(
                "quarantine",
                f"the server refuses an entry, it is put aside in {self.stream.folder}/quarantine: {reason}",
            )
            self.stream.put_aside(entry, reason)
            self.stream.ack(entry[0] + 1)
        return now

    def _send_stream(self, now: float, start: int) -> float:
        sent = [0, 0, start]
        response = self._request("POST", "/v1/ingest/stream", self._lines(start, sent), "application/x-ndjson")
        if self._is_stored(response, now, sent[0], sent[1]) and sent[0]:
            self._stream_span = min(self._stream_span * 2, _STREAM_MAX)
            self.stream.ack(sent[2])
            return now if self.stream.backlog else self._wake(now)
        # Whatever came of it, the entries go again; a lost answer cannot store them twice.
        self._stream_span //= 2
        if not sent[0]:
            self._span = _BATCH_ENTRIES // 2
            return now
        if self._is_unknown_run(response):
            return self._forget_run(now)
        pause = self._judge(response, now)
        if pause is not None:
            return pause
        self._span = _BATCH_ENTRIES // 2  # find the culprit with batches
        return now

    def _lines(self, start: int, sent: list[int]) -> Iterator[bytes]:
        """The body of a stream, made as it is sent; `sent` becomes the count of entries, of points, and what is next."""
        parts: list[bytes] = []
        size = 0
        for seq, points, payload in self.stream.iterate(start):
            if sent[0] == 0:
                parts.append(to_json({**self._who(), "first_seq": seq}))
                sent[2] = seq
            if seq != sent[2] or sent[0] >= self._stream_span or len(payload) >= _MAX_LINE:
                break
            parts.append(payload)
            sent[0], sent[1], sent[2] = sent[0] + 1, sent[1] + points, seq + 1
            size += len(payload)
            if size >= 128 << 10:
                yield b"\n".join(parts) + b"\n"
                parts, size = [], 0
        parts.append(to_json({"end": sent[0]}))
        yield b"\n".join(parts) + b"\n"

    def _tell(self, now: float, version: int, changes: Document) -> float:
        response = self._request("PATCH", self._run_path(), to_json(changes))
        document = self._is_fit(response, now, "id")
        if document is not None:
            self._papers_version, self.run = version, document
            return now
        if self._is_unknown_run(response):
            return self._forget_run(now)
        pause = self._judge(response, now)
        if pause is not None:
            return pause
        reason = str(response.json().get("detail") or response.status)
        notice.once("papers", f"the server refuses a change of the run's description, it is left out: {reason}")
        self._papers_version = version
        return now

    def _send_patch(self, now: float, patch: str) -> float:
        """Bring the uncommitted changes, which the run names by their hash. They are never worth holding up its end."""
        sha = self.papers.registration.get("diff_sha")
        if self.run and self.run.get("diff_sha") != sha:
            self.papers.patch = None  # another process registered the run, with changes of its own
            return now
        response = self._request("POST", "/v1/blobs", patch.encode(), "application/octet-stream")
        self._patch_tries += 1
        if response.status in (200, 201) and response.json().get("sha") == sha:
            self.papers.patch = None
            self._sent_at = now
            return now
        if response.status in (401, 403) or (response.status >= 500 and self._patch_tries < _PATCH_TRIES):
            pause = self._judge(response, now)
            if pause is not None:
                return pause
        reason = str(response.json().get("detail") or f"status {response.status}")
        notice.once("patch", f"the server does not take the uncommitted changes, only their hash is known: {reason}")
        self.papers.patch = None
        return now

    def _finish(self, now: float) -> float:
        response = self._request("POST", self._run_path() + "/finish", to_json(self.papers.finish))
        document = self._is_fit(response, now, "id")
        if document is None:
            if self._is_unknown_run(response):
                return self._forget_run(now)
            pause = self._judge(response, now)
            if pause is not None:
                return pause
            self.refusal = str(response.json().get("detail") or response.status)
            notice.once("finish", f"the server refuses the end of the run: {self.refusal}")
        else:
            self.run = document
        self.is_done = True
        return NEVER

    def _request(self, method: str, path: str, body: Any, kind: str = "application/json") -> Response:
        response = self._send(Request(method, path, body, kind))
        self.away_since = None
        return response

    def _who(self) -> Document:
        who = self.stream.identity
        return {"run_id": who.run, "writer_id": who.writer, "epoch": who.epoch}

    def _run_path(self) -> str:
        return f"/v1/runs/{self.stream.identity.run}"

    def _is_stored(self, response: Response, now: float, entries: int, points: int) -> bool:
        """Whether this is the receipt for these entries: it must name the run and account for every point of them."""
        document = self._is_fit(response, now)
        if document is None:
            return False
        accepted, skipped = document.get("accepted"), document.get("skipped", 0)
        if (
            not isinstance(accepted, int)
            or not isinstance(skipped, int)
            or not isinstance(document.get("next_seq"), int)
        ):
            return False
        if accepted > points or accepted + skipped < points or (entries and document["next_seq"] < 0):
            return False
        self._sent_points += points
        return True

    @staticmethod
    def _is_unknown_run(response: Response) -> bool:
        return response.status == 404 and response.is_problem

    def _forget_run(self, now: float) -> float:
        """The server does not know the run: it was restored from an older backup, or is another one. Register again."""
        self.is_registered = False
        return self._pause(now, "the server does not know the run", kind="run") if self.run else now

    def _wake(self, now: float) -> float:
        return now if self.is_closing or self._hurry else now + self._flush_interval


def _chance() -> float:
    """A random number from 0 to 1, to spread retries. The module `random` would load four more for this."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


def _without_gap(entries: list[Entry]) -> list[Entry]:
    """As many of the entries as have consecutive numbers."""
    for index, entry in enumerate(entries):
        if entry[0] != entries[0][0] + index:
            return entries[:index]
    return entries


def _retry_after(response: Response) -> float | None:
    """The pause in seconds that the server asks for, at most five minutes."""
    given = response.headers.get("retry-after")
    if not given:
        return None
    try:
        seconds = float(given)
    except ValueError:
        with loading:
            from email.utils import parsedate_to_datetime

        try:
            seconds = parsedate_to_datetime(given).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.05), 300.0) if seconds == seconds else None
