"""A small, strict model of the server side of the wire: every entry once by (run, writer, epoch, seq), for ever."""

import json
import threading
from typing import Any

PROBLEM = "application/problem+json"
Answer = tuple[int, dict[str, str], bytes]
KEY = "arwx_live_" + "k" * 30


def _json(status: int, document: dict[str, Any], kind: str = "application/json") -> Answer:
    return status, {"Content-Type": kind}, json.dumps(document).encode()


def problem(status: int, code: str, detail: str = "") -> Answer:
    return _json(status, {"type": "about:blank", "status": status, "code": code, "detail": detail}, PROBLEM)


class Model:
    """Runs and their entries, as dicts. `poison` names metrics that make an entry invalid; `max_entries` is a 413."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.entries: dict[tuple[str, str, str, int], dict[str, Any]] = {}
        self.deliveries = 0
        self.duplicates = 0
        self.conflicts = 0
        self.requests: list[tuple[str, str]] = []
        self.batches: list[int] = []
        self.poison: set[str] = set()
        self.max_entries = 10**9
        self.keys = {KEY}
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, key: str | None, body: bytes) -> Answer:
        """What the server says to a request; one after another."""
        with self._lock:
            return self._answer(method, path, key, body)

    def _answer(self, method: str, path: str, key: str | None, body: bytes) -> Answer:
        self.requests.append((method, path))
        if key not in self.keys:
            return problem(401, "unauthorized")
        parts = path.strip("/").split("/")
        if path == "/v1/runs" and method == "POST":
            return self._register(json.loads(body))
        if path == "/v1/ingest":
            return self._ingest(json.loads(body))
        if path == "/v1/ingest/stream":
            lines = [json.loads(line) for line in body.splitlines()]
            if lines[-1] != {"end": len(lines) - 2}:
                return problem(400, "truncated_body")
            return self._ingest({**lines[0], "points": lines[1:-1]})
        if len(parts) >= 3 and parts[:2] == ["v1", "runs"]:
            return self._run(method, parts[2], parts[3:], json.loads(body) if body else {})
        return problem(404, "not_found")

    def _register(self, body: dict[str, Any]) -> Answer:
        unknown = set(body) - {
            "project", "id", "name", "config", "tags", "group", "job_type", "notes", "resume", "host", "commit",
            "diff_sha", "experiment_id", "started_at",
        }  # fmt: skip
        if unknown or not body.get("project"):
            return problem(422, "invalid_field", f"unknown field {unknown}")
        known = self.runs.get(body["id"])
        if known is None:
            self.runs[body["id"]] = {"config": {}, "summary": {}, "status": "running", "name": "quiet-heron-1", **body}
            return _json(201, self.runs[body["id"]])
        if known["project"] != body["project"] or body.get("resume") == "never":
            return problem(409, "conflict", "the run is there already")
        return _json(200, known)

    def _ingest(self, body: dict[str, Any]) -> Answer:
        run, points = body["run_id"], body["points"]
        if run not in self.runs:
            return problem(404, "not_found")
        if len(points) > self.max_entries:
            return problem(413, "too_large", f"at most {self.max_entries} entries")
        for point in points:
            if set(point) - {"step", "ts", "metrics", "nonfinite"} or self.poison & set(point["metrics"]):
                return problem(422, "invalid_field", "a metric is poison")
        self.batches.append(len(points))
        accepted = stored = duplicates = skipped = conflicts = 0
        for index, point in enumerate(points):
            where = (run, body["writer_id"], body["epoch"], body["first_seq"] + index)
            size = len(point["metrics"])
            self.deliveries += size
            accepted += size
            skipped += len(point.get("nonfinite", []))
            if where not in self.entries:
                self.entries[where] = point
                stored += size
            elif self.entries[where] == point:
                duplicates += size
            else:
                conflicts += 1
        self.duplicates += duplicates
        self.conflicts += conflicts
        if conflicts:
            return problem(409, "sequence_conflict", f"{conflicts} entries are known with other content")
        return _json(200, {
            "run_id": run, "accepted": accepted, "stored": stored, "duplicates": duplicates, "skipped": skipped,
            "next_seq": body["first_seq"] + len(points),
        })  # fmt: skip

    def _run(self, method: str, run: str, rest: list[str], body: dict[str, Any]) -> Answer:
        known = self.runs.get(run)
        if known is None:
            return problem(404, "not_found")
        if method == "PATCH":
            for name in ("config", "summary"):
                known[name].update(body.get(name, {}))
            known.update({name: body[name] for name in ("name", "notes", "tags") if name in body})
        elif rest == ["finish"]:
            known["status"] = body.get("status", "finished")
            known["summary"].update(body.get("summary", {}))
            known.setdefault("expected", []).extend(body.get("expected", []))
        elif rest == ["integrity"]:
            return _json(200, self.receipt(run))
        return _json(200, known)

    def receipt(self, run: str) -> dict[str, Any]:
        writers: dict[tuple[str, str], list[int]] = {}
        points: dict[tuple[str, str], int] = {}
        for (owner, writer, epoch, seq), point in self.entries.items():
            if owner == run:
                writers.setdefault((writer, epoch), []).append(seq)
                points[writer, epoch] = points.get((writer, epoch), 0) + len(point["metrics"])
        intact = self.conflicts == 0
        for numbers in writers.values():
            intact = intact and sorted(numbers) == list(range(len(numbers)))
        for expected in self.runs[run].get("expected", []):
            key = expected["writer_id"], expected["epoch"]
            intact = intact and expected["points"] == points.get(key, 0)
            intact = intact and expected["next_seq"] == len(writers.get(key, []))
        total = sum(points.values())
        return {
            "run_id": run, "points_committed": self.deliveries, "points_stored": total,
            "duplicates_collapsed": self.duplicates, "lost": 0, "intact": intact,
        }  # fmt: skip

    def points(self, run: str, writer: str | None = None) -> list[dict[str, Any]]:
        """The stored entries of a run in order of writer, epoch and number."""
        found = [item for item in self.entries.items() if item[0][0] == run and writer in (None, item[0][1])]
        return [point for _, point in sorted(found, key=lambda item: item[0])]

    def values(self, run: str, key: str) -> list[float]:
        """The stored values of one metric."""
        return [point["metrics"][key] for point in self.points(run) if key in point["metrics"]]
