"""The research loop for agents: a Model Context Protocol server on stdin and stdout, `python -m arwandb mcp`.

JSON-RPC 2.0, one message a line. Nothing but messages goes to stdout. A tool that fails says so in its result, so that
the agent can do something about it; a message that is wrong is answered with an error of the protocol.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from . import __version__, notice
from . import autoresearch as ar
from .desk import checked_id, desk
from .errors import Error, UsageError
from .server import quoted

VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
_MAX_LINE = 16 << 20
_MOST_ITEMS = 100

Document = dict[str, Any]

_INSTRUCTIONS = """arwx keeps what was tried in a research project, and what became of it. Begin with `context`. For each \
change: make it, call `record_experiment` (the commit and the uncommitted diff are captured), run it, then `decide` with \
the score. When `record_experiment` answers with `prior`, the same was tried before: read that verdict first. Keep only \
what is strictly better than the running best of `frontier`, unless the code gets simpler."""


class ProtocolError(Exception):
    """A message that cannot be served."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


# Tools.


def _text(description: str, **more: Any) -> Document:
    return {"type": "string", "description": description, **more}


_PROJECT = _text("The project; the one of ARWANDB_PROJECT if left out")
_EXPERIMENT = _text("The id of an experiment, such as exp_01k…")
_LIMIT = {"type": "integer", "minimum": 1, "maximum": _MOST_ITEMS, "default": 20}
_FOLDER = _text("The working folder of the code; where this server was started if left out")


def _context(project: str | None = None, limit: int = 5, max_chars: int | None = None, since: str | None = None) -> Any:
    return ar.context(project, limit, max_chars=max_chars, since=since, format="markdown")


def _frontier(project: str | None = None, session_id: str | None = None) -> Any:
    return ar.frontier(session_id, project=project)


def _list_experiments(project: str | None = None, limit: int = 20, cursor: str | None = None) -> Any:
    return _page("experiments", project, limit, cursor)


def _get_experiment(experiment_id: str, with_diff: bool = True) -> Any:
    path = f"/v1/experiments/{checked_id(experiment_id, 'experiment_id')}"
    found = desk.get(path)
    if with_diff and found.get("diff_sha"):
        found = {**found, "diff": desk.reachable.read(f"{path}/diff").decode("utf-8", "replace")}
    return found


def _list_runs(project: str | None = None, limit: int = 20, cursor: str | None = None, q: str | None = None) -> Any:
    return _page("runs", project, limit, cursor, q=q)


def _get_run(run_id: str, keys: list[str] | None = None, points: int = 0) -> Any:
    path = f"/v1/runs/{checked_id(run_id, 'run_id')}"
    found = desk.get(path)
    if not points:
        return found
    names = ",".join(keys) if keys else None
    history = desk.get(f"{path}/metrics", {"keys": names, "limit": 100_000}).get("items") or []
    # First, last, and evenly between: the shape of a curve in few words.
    step = max(1, -(-len(history) // points))
    return {**found, "history": history[::step] + (history[-1:] if (len(history) - 1) % step else [])}


def _page(what: str, project: str | None, limit: int, cursor: str | None, **more: Any) -> Document:
    path = f"/v1/projects/{quoted(desk.the_project(project))}/{what}"
    return desk.get(path, {"limit": min(limit, _MOST_ITEMS), "cursor": cursor, **more})


def _open_session(tag: str | None = None, branch: str | None = None, project: str | None = None) -> Any:
    return ar.session(tag, branch, project=project)


def _record_experiment(
    note: str, session_id: str | None = None, config: Document | None = None, run_id: str | None = None,
    parent_id: str | None = None, commit: str | None = None, diff: str | None = None, snapshot: bool = False,
    folder: str | None = None, id: str | None = None,
) -> Any:  # fmt: skip
    if session_id is None and desk.session is None and not os.environ.get("ARWANDB_SESSION_ID"):
        ar.session()
    where = os.path.abspath(os.path.expanduser(folder or "."))
    if not os.path.isdir(where):
        raise UsageError(f"there is no folder {where}")
    found = ar.experiment(
        commit, note, diff, where if snapshot else None, config=config, run_id=run_id, parent_id=parent_id,
        session_id=session_id, id=id, folder=where,
    )  # fmt: skip
    return {name: value for name, value in found.items() if name != "diff"}


def _decide(
    experiment_id: str, status: str, score: float | None = None, metric: str | None = None, note: str | None = None
) -> Any:
    return ar.decision(experiment_id, status, score, metric, note=note)


def _log_artifact(
    name: str, paths: list[str], type: str | None = None, produced_by: str | None = None,
    metadata: Document | None = None, project: str | None = None,
) -> Any:  # fmt: skip
    found = ar.artifact(name, paths[0] if len(paths) == 1 else paths, type, produced_by, metadata, project=project)
    return {key: value for key, value in found.items() if key != "entries"}


def _promote(name: str, ref: str, version: Any, project: str | None = None) -> Any:
    return dict(ar.promote(name, ref, version, project=project))


def _list_artifacts(project: str | None = None, type: str | None = None) -> Any:
    return {"items": ar.artifacts(type, project=project)[:_MOST_ITEMS]}


# Each with what it does, its arguments (those that must be given end in "!"), and whether it only reads.
_TOOLS: dict[str, tuple[Callable[..., Any], str, Document, bool]] = {
    "context": (
        _context, "Where the research stands, short: goal, gap to the target, best, last decisions, near misses, dead "
        "ends, open experiments, live and silent runs. Read this first.",
        {"project": _PROJECT, "limit": {**_LIMIT, "default": 5, "description": "How many decisions"},
         "max_chars": {"type": "integer", "minimum": 200, "description": "The answer is no longer than this"},
         "since": _text("The cursor of an earlier answer: only what has changed")}, True),
    "frontier": (
        _frontier, "The experiments that moved the running best, with goal and counts.",
        {"project": _PROJECT, "session_id": _text("Of one session alone")}, True),
    "list_experiments": (
        _list_experiments, "The experiments of a project with their verdicts, newest first.",
        {"project": _PROJECT, "limit": _LIMIT, "cursor": _text("`next` of the page before")}, True),
    "get_experiment": (
        _get_experiment, "One experiment: note, config, all verdicts, what was tried before that is the same, its diff.",
        {"experiment_id!": _EXPERIMENT, "with_diff": {"type": "boolean", "default": True}}, True),
    "list_runs": (
        _list_runs, "The runs of a project with their config and latest values, newest first.",
        {"project": _PROJECT, "limit": _LIMIT, "cursor": _text("`next` of the page before"),
         "q": _text("A filter such as: config.lr > 1e-4 and latest.loss < 2")}, True),
    "get_run": (
        _get_run, "One run: config, summary, latest values, status; with `points`, a thinned history of its metrics.",
        {"run_id!": _text("The id of a run"),
         "keys": {"type": "array", "items": {"type": "string"}, "description": "Metrics of the history"},
         "points": {"type": "integer", "minimum": 0, "maximum": 500, "default": 0}}, True),
    "list_artifacts": (
        _list_artifacts, "Artifacts with their refs and newest version.",
        {"project": _PROJECT, "type": _text("Only those of this type")}, True),
    "open_session": (
        _open_session, "Open a line of inquiry; experiments that follow belong to it.",
        {"tag": _text("A few words"), "branch": _text("The Git branch"), "project": _PROJECT}, False),
    "record_experiment": (
        _record_experiment, "Record one change before it is run: commit, parent and the uncommitted diff of the working "
        "folder are captured. The answer has the id, the true number, and `prior`: earlier experiments that are the same.",
        {"note!": _text("What was wrong and what was changed, in a sentence"), "session_id": _text("The session; the one "
         "that is open if left out"), "config": {"type": "object", "description": "The settings that were tried"},
         "run_id": _text("The run that trains it, if there is one already"),
         "parent_id": _text("The experiment that it builds on"), "commit": _text("The commit, instead of the captured"),
         "diff": _text("The diff, instead of the captured; empty for none"),
         "snapshot": {"type": "boolean", "default": False, "description": "Store the code itself as well"},
         "folder": _FOLDER, "id": _text("An id of your own, to make a repeat harmless")}, False),
    "decide": (
        _decide, "Judge an experiment. keep needs the score that was measured; crash has none.",
        {"experiment_id!": _EXPERIMENT, "status!": _text("The verdict", enum=["keep", "drop", "crash"]),
         "score": {"type": "number"}, "metric": _text("The objective if left out"), "note": _text("Why")}, False),
    "log_artifact": (
        _log_artifact, "Store files as the next version of an artifact; the same files again are the same version.",
        {"name!": _text("Such as char-lm"), "paths!": {"type": "array", "items": {"type": "string"}, "minItems": 1},
         "type": _text("Such as model"), "produced_by": _text("The experiment that made it"),
         "metadata": {"type": "object"}, "project": _PROJECT}, False),
    "promote": (
        _promote, "Point a ref such as `winner` at a version of an artifact.",
        {"name!": _text("The artifact"), "ref!": _text("Such as winner"),
         "version!": {"type": ["integer", "string"], "description": "3, \"v3\" or another ref"}, "project": _PROJECT}, False),
}  # fmt: skip


def _described(name: str) -> Document:
    _, description, arguments, is_reading = _TOOLS[name]
    schema = {
        "type": "object",
        "properties": {argument.rstrip("!"): kind for argument, kind in arguments.items()},
        "required": [argument[:-1] for argument in arguments if argument.endswith("!")],
        "additionalProperties": False,
    }
    hints = {"readOnlyHint": is_reading, "destructiveHint": False, "openWorldHint": False, "idempotentHint": is_reading}
    return {"name": name, "description": description, "inputSchema": schema, "annotations": hints}


_KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
}  # fmt: skip


def _check_arguments(name: str, given: Document) -> None:
    """Hold the arguments to the schema of the tool; `UsageError` names the one that is wrong."""
    known = {argument.rstrip("!"): kind for argument, kind in _TOOLS[name][2].items()}
    for argument in _TOOLS[name][2]:
        if argument.endswith("!") and given.get(argument[:-1]) is None:
            raise UsageError(f"{name} needs {argument[:-1]}")
    for argument, value in given.items():
        schema = known.get(argument)
        if schema is None:
            raise UsageError(f"{name} has no argument {argument!r}; it has {', '.join(known)}")
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        is_number = isinstance(value, bool) and "boolean" not in kinds
        if is_number or not any(isinstance(value, _KINDS[kind]) for kind in kinds):
            raise UsageError(f"{argument} must be of the type {' or '.join(kinds)}, not {value!r}")
        if "enum" in schema and value not in schema["enum"]:
            raise UsageError(f"{argument} must be one of {', '.join(schema['enum'])}, not {value!r}")
        if "minimum" in schema and not schema["minimum"] <= value <= schema.get("maximum", value):
            raise UsageError(
                f"{argument} must be at least {schema['minimum']} and at most {schema.get('maximum', 'any')}"
            )
        if schema["type"] == "array" and (not all(isinstance(item, str) for item in value) or not value):
            raise UsageError(f"{argument} must be a list of texts")


# Messages.


def answer(message: Any) -> Document | None:
    """The answer to one message; None for a notification, or for an answer to us."""
    is_request = (
        isinstance(message, dict) and message.get("jsonrpc") == "2.0" and isinstance(message.get("method"), str)
    )
    number = message.get("id") if isinstance(message, dict) else None
    if not is_request:
        if isinstance(message, dict) and ("result" in message or "error" in message):
            return None
        return _failed(number, INVALID_REQUEST, "this is no JSON-RPC 2.0 request")
    if "id" not in message:
        return None
    if isinstance(number, bool) or not isinstance(number, (str, int, float)):
        return _failed(None, INVALID_REQUEST, "the id must be a text or a number")
    params = message.get("params", {})
    if not isinstance(params, dict):
        return _failed(number, INVALID_PARAMS, "params must be an object")
    try:
        return {"jsonrpc": "2.0", "id": number, "result": _result(message["method"], params)}
    except ProtocolError as error:
        return _failed(number, error.code, str(error))
    except Exception as error:  # noqa: BLE001 - one bad call must not end the session
        return _failed(number, INTERNAL_ERROR, f"{type(error).__name__}: {error}")


def _result(method: str, params: Document) -> Document:
    if method == "initialize":
        asked = params.get("protocolVersion")
        return {
            "protocolVersion": asked if asked in VERSIONS else VERSIONS[0],
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": {"name": "arwx", "title": "arwx experiment tracker", "version": __version__},
            "instructions": _INSTRUCTIONS,
        }
    if method == "ping":
        return {}
    if method == "tools/list":
        return {"tools": [_described(name) for name in _TOOLS]}
    if method == "tools/call":
        return _call(params)
    raise ProtocolError(METHOD_NOT_FOUND, f"there is no method {method}")


def _call(params: Document) -> Document:
    name, given = params.get("name"), params.get("arguments")
    if not isinstance(name, str) or name not in _TOOLS:
        raise ProtocolError(INVALID_PARAMS, f"there is no tool {name!r}")
    if given is not None and not isinstance(given, dict):
        raise ProtocolError(INVALID_PARAMS, "arguments must be an object")
    given = {key: value for key, value in (given or {}).items() if value is not None}
    try:
        _check_arguments(name, given)
        found = _TOOLS[name][0](**given)
    except Error as error:
        return {"content": [{"type": "text", "text": str(error)}], "isError": True}
    if isinstance(found, str):
        return {"content": [{"type": "text", "text": found}], "isError": False}
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return {"content": [{"type": "text", "text": text}], "structuredContent": found, "isError": False}


def _failed(number: Any, code: int, message: str) -> Document:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}


def serve(source: BinaryIO | None = None, sink: BinaryIO | None = None) -> int:
    """Answer messages until the input ends."""
    lines, out = source or sys.stdin.buffer, sink or sys.stdout.buffer
    if sink is None:
        sys.stdout = sys.stderr  # whatever prints must not break the stream of messages
    notice.say(f"serving {desk.settings.base_url} to an agent on stdin and stdout")
    while True:
        line = lines.readline(_MAX_LINE + 1)
        if not line:
            return 0
        replies = _replies(line, is_whole=len(line) <= _MAX_LINE)
        if not line.endswith(b"\n"):
            while (rest := lines.readline(_MAX_LINE)) and not rest.endswith(b"\n"):
                pass
        if replies is None:
            continue
        try:
            out.write(json.dumps(replies, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n")
            out.flush()
        except BrokenPipeError:  # the agent has gone
            return 0


def _replies(line: bytes, *, is_whole: bool) -> Any:
    if not line.strip():
        return None
    if not is_whole:
        return _failed(None, INVALID_REQUEST, f"a message has at most {_MAX_LINE >> 20} MiB")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        return _failed(None, PARSE_ERROR, f"this is no JSON: {error}")
    if not isinstance(message, list):
        return answer(message)
    if not message:
        return _failed(None, INVALID_REQUEST, "the batch is empty")
    return [reply for reply in map(answer, message) if reply is not None] or None
