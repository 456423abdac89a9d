"""The research loop: a goal, sessions of experiments, decisions on them, and what was made on the way.

    from arwandb import autoresearch as ar

    ar.goal(metric="val_bpb", lower_is_better=True, target=2.45)
    ar.session(tag="tune-warmup")
    exp = ar.experiment(note="lr too hot early; added 200-step warmup", snapshot=".")
    ar.decision(experiment_id=exp["id"], status="keep", score=2.41)
    v = ar.artifact("char-lm", "out/model", type="model", produced_by=exp["id"])
    ar.promote("char-lm", "winner", version=v["version"])

Calls that cannot work raise `UsageError`, what the server refuses raises `ApiError`. When the server is away (20 seconds
long), and with ARWANDB_MODE=offline, what is written is kept in the spool and delivered by the next call that reaches the
server or by `python -m arwandb sync`; what is read raises `Unreachable`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable
from typing import Any

from . import code, notice
from .artifacts import Version, artifact, artifacts, get_artifact, promote, used_by
from .desk import Document, checked_id, checked_text, desk
from .documents import as_mapping, plain
from .errors import UsageError
from .runs import new_id
from .server import ApiError, NotFound, Unreachable, quoted
from .transfer import Damaged
from .trees import Changed
from .values import number

__all__ = [
    "ApiError", "Changed", "Damaged", "NotFound", "Unreachable", "UsageError", "Version", "artifact", "artifacts",
    "context", "decision", "download", "experiment", "frontier", "get_artifact", "goal", "progress", "promote",
    "session", "used_by",
]  # fmt: skip

_STATUSES = {
    "keep": "keep", "kept": "keep", "drop": "drop", "dropped": "drop", "discard": "drop", "discarded": "drop",
    "reject": "drop", "crash": "crash", "crashed": "crash",
}  # fmt: skip
_MAX_DIFF = 1 << 24


def goal(
    metric: str,
    lower_is_better: bool = True,
    target: float | None = None,
    *,
    project: str | None = None,
    description: str | None = None,
) -> Document:
    """Set what the project is after: a metric, its direction, and a target if there is one."""
    if not isinstance(metric, str) or not 1 <= len(metric) <= 255:
        raise UsageError(f"metric must be a name of 1 to 255 characters, not {metric!r}")
    body = {
        "name": desk.the_project(project), "objective_metric": metric, "lower_is_better": bool(lower_is_better),
        "target": _finite(target, "target"), "description": checked_text(description, "description", 65_536),
    }  # fmt: skip
    answer = desk.tell(f"goal of {body['name']}", "POST", "/v1/projects", body)
    if project is not None:
        desk.project = project
    return answer if answer is not None else {**body, "spooled": True}


def session(
    tag: str | None = None, branch: str | None = None, *, id: str | None = None, project: str | None = None
) -> Document:
    """Open a line of inquiry; it becomes the active one of this process. The branch of Git is noted by itself."""
    if branch is None:
        branch = code.branch(os.getcwd())
    body = {
        "project": desk.the_project(project), "id": checked_id(id, "id") if id else new_id("ses"),
        "tag": checked_text(tag, "tag", 128), "branch": checked_text(branch, "branch", 255),
    }  # fmt: skip
    answer = desk.tell(f"session {body['id']}", "POST", "/v1/sessions", body)
    desk.session, desk.project, desk.experiment = str(body["id"]), str(body["project"]), None
    return answer if answer is not None else {**body, "spooled": True}


def experiment(
    commit: str | None = None,
    note: str | None = None,
    diff: str | None = None,
    snapshot: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    *,
    config: Any = None,
    run_id: Any = None,
    parent: str | None = None,
    parent_id: Any = None,
    session_id: Any = None,
    id: str | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Document:
    """Record one tried change under the active session.

    Inside a Git repository commit, parent and the uncommitted diff (untracked files included) are captured; what is given
    comes first, and `diff=""` keeps the diff out. `snapshot="."` stores the code as well; what goes wrong with it is said
    and never raised. Config and run are those of the active run. The answer has the `id`, the true `index`, the
    `repro_key` over commit, diff and config, and in `prior` earlier experiments that tried the same.
    """
    run = desk.run
    if config is None and run is not None:
        config = run.config.as_dict()
    if run_id is None and run is not None:
        run_id = run.id
    try:
        settled = plain(as_mapping(config)) or None
    except TypeError as error:
        raise UsageError(str(error)) from None
    body: Document = {
        "session_id": desk.the_session(session_id), "id": checked_id(id, "id") if id else new_id("exp"),
        "note": checked_text(note, "note", 65_536), "config": settled,
        "run_id": checked_id(run_id, "run_id") if run_id is not None else None,
        "parent_id": checked_id(parent_id, "parent_id") if parent_id is not None else None,
    }  # fmt: skip
    body.update(_code(commit, diff, parent, os.path.abspath(folder or os.getcwd())))
    body["repro_key"] = repro_key(body["commit"], body["diff_sha"], settled)
    files = _snapshot(snapshot) if snapshot is not None else []
    answer = desk.tell(f"experiment {body['id']}", "POST", "/v1/experiments", body)
    desk.experiment = str(body["id"])
    done = answer if answer is not None else {**body, "index": None, "prior": [], "spooled": True}
    if files:
        done = {**done, **_send_tree(str(body["id"]), files)}
    for tried in (done.get("prior") or [])[-1:]:
        score = "" if tried.get("score") is None else f" {tried['score']:g}"
        notice.say(f"this was tried before: experiment {tried.get('index')} ({tried.get('status')}{score})")
    return done


def decision(
    experiment_id: Any, status: str = "keep", score: Any = None, metric: str | None = None, *, note: str | None = None
) -> Document:
    """Judge an experiment: `keep` (with the score that it reached), `drop`, or `crash` (without a score).

    The metric is the objective unless named; another one is stored and does not move the frontier. Saying the same again
    changes nothing, another verdict is added, and the last one counts.
    """
    word = _STATUSES.get(str(status).lower())
    if word is None:
        raise UsageError(f"status must be keep, drop or crash, not {status!r}")
    value = _finite(score, "score")
    if word == "keep" and value is None:
        raise UsageError("to keep an experiment takes its score")
    if word == "crash" and value is not None:
        raise UsageError("a crash has no score")
    body = {
        "status": word, "score": value, "metric": checked_text(metric, "metric", 255),
        "note": checked_text(note, "note", 65_536),
    }  # fmt: skip
    found = checked_id(experiment_id, "experiment_id")
    answer = desk.tell(f"decision on {found}", "POST", f"/v1/experiments/{found}/decision", body)
    return answer if answer is not None else {**body, "experiment_id": found, "spooled": True}


def progress(session_id: Any = None, *, project: str | None = None) -> Document:
    """Every experiment in order of arrival, with the running best: of the project, or of one session."""
    return _story("progress", session_id, project)


def frontier(session_id: Any = None, *, project: str | None = None) -> Document:
    """The steps that moved the running best, alone: of the project, or of one session."""
    return _story("frontier", session_id, project)


def context(
    project: str | None = None, limit: int = 5, *, max_chars: int | None = None, since: str | None = None,
    format: str = "json",
) -> Any:  # fmt: skip
    """What one should know before the next step, short: the goal and the gap to it, the best, what was tried last, what
    failed. With `format="markdown"` as a text.
    """
    if format not in {"json", "markdown"}:
        raise UsageError(f"format must be json or markdown, not {format!r}")
    if desk.mode == "disabled":
        return {} if format == "json" else ""
    query = {
        "project": desk.known_project(project), "limit": limit, "max_chars": max_chars, "since": since,
        "format": None if format == "json" else format,
    }  # fmt: skip
    if format == "json":
        return desk.get("/v1/agent/context", query)
    return desk.reachable.read("/v1/agent/context", query).decode("utf-8", "replace")


def download(
    name: str, ref: Any = "latest", dir: str | os.PathLike[str] | None = None, *, project: str | None = None
) -> str:
    """Put the files of a version into `dir` and return that folder; the same as `get_artifact(name, ref).download(dir)`."""
    return get_artifact(name, ref, project=project).download(dir)


def repro_key(commit: str | None, diff_sha: str | None, config: Any) -> str:
    """What makes two experiments the same: SHA-256 over canonical JSON of commit, SHA-256 of the full diff, and config."""
    identity = {"commit": commit, "config": config, "diff_sha256": diff_sha}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _story(kind: str, session_id: Any, project: str | None) -> Document:
    if desk.mode == "disabled":
        return {"project": desk.the_project(project), "counts": {}, "items": [], "best": None, "target_reached": False}
    if session_id is not None:
        return desk.get(f"/v1/sessions/{checked_id(session_id, 'session_id')}/{kind}")
    return desk.get(f"/v1/projects/{quoted(desk.the_project(project))}/{kind}")


def _code(commit: str | None, diff: str | None, parent: str | None, folder: str) -> Document:
    """Commit, parent and diff: what was given, and what the repository says for the rest."""
    from .worktree import capture

    base = checked_text(commit, "commit", 64) or None
    if diff is not None:
        text = checked_text(diff, "diff", _MAX_DIFF) or None
        sha = hashlib.sha256(text.encode()).hexdigest() if text else None
    found = capture(folder, desk.settings.max_diff_bytes, base=base, with_diff=diff is None)
    if diff is None:
        text, sha = found.diff, found.diff_sha
        if found.trouble:
            notice.once("diff", f"the uncommitted changes could not be captured: {found.trouble}")
    return {
        "commit": found.commit or base, "parent": checked_text(parent, "parent", 64) or found.parent, "diff": text,
        "diff_sha": sha,
    }  # fmt: skip


def _snapshot(what: Any) -> list[Any]:
    """The files of a snapshot. It never breaks an experiment: what goes wrong is said."""
    from .snapshot import take

    try:
        found = take(what, desk.settings.snapshot_max_file)
    except Exception as error:  # noqa: BLE001 - whatever it is, the experiment is recorded
        notice.say(f"no snapshot: {error}")
        return []
    if found.left_out:
        more = f" and {len(found.left_out) - 3} more" if len(found.left_out) > 3 else ""
        notice.once("snapshot", f"left out of the snapshot: {'; '.join(found.left_out[:3])}{more}")
    if not found.files:
        notice.say("no snapshot: there is no code in it")
    return found.files


def _send_tree(experiment_id: str, files: list[Any]) -> Document:
    """Upload what is missing of a snapshot and attach its tree."""
    body = {"entries": [file.entry for file in files]}
    try:
        answer = desk.tell(
            f"snapshot of {experiment_id}", "PUT", f"/v1/experiments/{experiment_id}/tree", body, files=lambda: files
        )
    except Exception as error:  # noqa: BLE001 - as above
        notice.say(f"no snapshot: {error}")
        return {}
    return {name: answer[name] for name in ("tree_sha",) if answer and answer.get(name)}


def _finite(value: Any, name: str) -> float | int | None:
    if value is None:
        return None
    found = None if isinstance(value, bool) else number(value)
    if found is None or not math.isfinite(found):
        raise UsageError(f"{name} must be a finite number, not {value!r}")
    return found
