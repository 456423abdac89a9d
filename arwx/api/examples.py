"""Examples for the documentation, made from the types: a field has the same example wherever its name occurs.

A new field needs a line here only when a bare `"…"`, `1` or `true` would say nothing. `Type.field` goes before
`field`, and serves types like NewType too.
"""

import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, Union, get_args, get_origin, get_type_hints

import msgspec

_WHEN = "2026-03-01T21:14:07.250000Z"
_SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_POINTS = [
    {"step": 0, "ts": 1764000000.25, "metrics": {"loss": 2.31, "lr": 0.0003}},
    {"step": 1, "ts": 1764000000.31, "metrics": {"loss": 2.29, "lr": 0.0003}, "nonfinite": ["grad_norm"]},
]

FIELDS: dict[str, Any] = {
    "project": "char-lm",
    "Project.name": "char-lm",
    "description": "A character-level language model of Shakespeare.",
    "objective_metric": "val/bpb",
    "Goal.metric": "val/bpb",
    "lower_is_better": True,
    "target": 1.9,
    "live_runs": 1,
    "Project.runs": 12,
    "Project.url": "https://arwx.example.org/p/char-lm",
    "id": "run_by-hand",
    "run_id": "run_by-hand",
    "name": "silver-fox-12",
    "Run.url": "https://arwx.example.org/p/char-lm/runs/run_by-hand",
    "config": {"lr": 0.0003, "layers": 6, "optimizer": {"name": "adamw"}},
    "summary": {"best_loss": 1.87},
    "host": {"hostname": "gpu-3", "python": "3.12.4"},
    "tags": ["baseline"],
    "group": "sweep-7",
    "job_type": "train",
    "notes": "Longer warm-up than before.",
    "resume": "allow",
    "commit": "4f2a9c1d8b7e6f50a1b2c3d4e5f60718293a4b5c",
    "parent": "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
    "diff_sha": _SHA,
    "diff": "--- a/train.py\n+++ b/train.py\n@@ -3 +3 @@\n-width = 256\n+width = 384\n",
    "Run.status": "running",
    "latest": {"loss": {"step": 1, "value": 2.29, "ts": 1764000000.31}},
    "exit_code": 0,
    "Finish.status": "finished",
    "points": 4000,
    "Ingest.points": _POINTS,
    "writer_id": "rank0",
    "epoch": "9f2c41d07ab35e68",
    "first_seq": 0,
    "next_seq": 2,
    "accepted": 4,
    "stored": 4,
    "duplicates": 0,
    "skipped": 1,
    "step": 0,
    "ts": 1764000000.25,
    "metrics": {"loss": 2.31, "lr": 0.0003},
    "nonfinite": [],
    "gaps": [],
    "expected": 4000,
    "Finish.expected": [{"writer_id": "rank0", "epoch": "9f2c41d07ab35e68", "points": 4, "next_seq": 2}],
    "points_committed": 4000,
    "points_stored": 4000,
    "duplicates_collapsed": 0,
    "lost": 0,
    "skipped_nonfinite": 1,
    "conflicts": 0,
    "checksum_committed": "5f1d0c9a83e2b746",
    "checksum_stored": "5f1d0c9a83e2b746",
    "problems": [],
    "samples": 500,
    "Charts.x": "step",
    "count": 4000,
    "series": {
        "loss": [
            {
                "run_id": "run_by-hand",
                "count": 4000,
                "steps": [0, 2000, 3999],
                "values": [2.31, 2.02, 1.87],
                "min": [2.1, 1.95, 1.87],
                "max": [2.4, 2.1, 1.9],
            }
        ]
    },
    "session_id": "ses_night-shift",
    "Session.id": "ses_night-shift",
    "tag": "night-shift",
    "branch": "autoresearch/night",
    "experiment_id": "exp_wider-mlp",
    "Experiment.id": "exp_wider-mlp",
    "parent_id": None,
    "index": 17,
    "note": "Widen the MLP to 384.",
    "repro_key": _SHA,
    "tree_sha": _SHA,
    "status": "keep",
    "Decision.id": "dec_01jd3x9k2mq8",
    "score": 1.87,
    "metric": "val/bpb",
    "prior": [],
    "counts": {"keep": 6, "drop": 9, "crash": 1, "undecided": 1},
    "Step.best": 1.87,
    "gain": 0.04,
    "within_noise": False,
    "deviation": 0.004,
    "floor": 0.011,
    "repeats": 5,
    "decided_by": "key:key_laptop",
    "created_by": "key:key_laptop",
    "moved_by": "key:key_laptop",
    "sha": _SHA,
    "sha256": _SHA,
    "shas": [_SHA],
    "missing": [_SHA],
    "digest": _SHA,
    "size": 482,
    "File.id": "file_sample",
    "File.name": "samples/step-900.txt",
    "NewFile.name": "data/shakespeare.txt",
    "NewFile.uri": "https://data.example.org/shakespeare.txt",
    "File.uri": None,
    "NewFile.experiment_id": None,
    "content_type": "text/plain",
    "Artifact.name": "char-lm-weights",
    "Version.name": "char-lm-weights",
    "Lineage.name": "char-lm-weights",
    "Artifact.type": "model",
    "Version.type": "model",
    "Version.refs": ["latest", "winner"],
    "refs": {"latest": 3, "winner": 3},
    "version": 3,
    "label": "v3",
    "files": 2,
    "version_count": 3,
    "metadata": {"layers": 6},
    "produced_by": [{"kind": "experiment", "id": "exp_wider-mlp"}],
    "NewVersion.produced_by": "exp_wider-mlp",
    "used_by": [{"kind": "run", "id": "run_by-hand"}],
    "Use.experiment_id": None,
    "deduped": False,
    "ref": "winner",
    "previous": 2,
    "path": "weights.npz",
    "mode": "100644",
    "nodes": [
        {"id": "version:3", "kind": "version", "label": "char-lm-weights:v3", "version": 3, "digest": _SHA, "refs": []},
        {"id": "experiment:exp_wider-mlp", "kind": "experiment", "label": "Widen the MLP to 384.", "index": 17},
    ],
    "edges": [{"from": "experiment:exp_wider-mlp", "to": "version:3", "role": "producer"}],
    "Embed.id": "emb_readme",
    "Embed.kind": "progress",
    "FreshEmbed.url": "https://arwx.example.org/embed/1_Zq3vXW0c9yTn4bKd7mRfLhQe/progress.svg",
    "markdown": "[![char-lm: progress](https://arwx.example.org/embed/1_Zq3vXW0c9yTn4bKd7mRfLhQe/progress.svg)]"
    "(https://arwx.example.org/p/char-lm/experiments)",
    "Key.id": "key_laptop",
    "Key.name": "laptop",
    "scope": "write",
    "prefix": "arwx_live_00001Xk3",
    "last_four": "9fQ2",
    "key": "arwx_live_00001Xk3…9fQ2",
    "SdkVersion.version": "1.3.1",
    "SdkVersion.url": "https://arwx.example.org/sdk/arwandb-1.3.1-py3-none-any.whl",
    "Health.status": "ok",
    "Readiness.status": "ready",
    "reason": None,
    "best_index": 17,
    "gap": 0.0,
    "words": "dropout",
    "kind": "word",
    "indexes": [4, 9, 12],
    "crashed": 0,
    "best_score": 1.95,
    "behind": 0.002,
    "recorded_at": _WHEN,
    "last_seen_at": _WHEN,
    "RunNews.status": "running",
    "run_status": "running",
    "Context.best": 1.87,
    "ProjectLine.best": 1.87,
    "Charts.left_out": [],
    "Project.best": 1.87,
    "target_reached": True,
    "Organization.name": "Ada's lab",
    "slug": "ada-s-lab",
    "Context.left_out": {"decisions": 3},
    "Context.description": "A character-level language model of Shakespeare.",
    "experiments": 17,
    "next": None,
    "request_id": "5d1f0c2b9a7e4638",
}

BODIES = {
    "application/octet-stream": "(bytes)",
    "*/*": "(bytes)",
    "application/zip": "(bytes)",
    "text/html": "<!doctype html>…",
    "image/svg+xml": '<svg xmlns="http://www.w3.org/2000/svg"/>',
    "text/plain": FIELDS["diff"],
    "text/markdown": "# char-lm\n\nGoal: minimize val/bpb, target 1.9.\n",
    "text/tab-separated-values": "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n",
    "text/csv": "step,ts,writer_id,loss\r\n0,1764000000.25,rank0,2.31\r\n",
    "application/x-ndjson": '{"run_id":"run_by-hand","writer_id":"rank0","epoch":"9f2c41d07ab35e68","first_seq":0}\n'
    '{"step":0,"ts":1764000000.25,"metrics":{"loss":2.31}}\n{"end":1}\n',
}


def of(kind: Any) -> Any:
    """An example of the type, all its fields included; or of a media type."""
    return BODIES[kind] if isinstance(kind, str) else _of(kind, {})


def _of(kind: Any, bound: Mapping[Any, Any]) -> Any:
    kind = bound.get(kind, kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in {Annotated, NotRequired}:
        meta = next((part for part in inner[1:] if isinstance(part, msgspec.Meta)), None)
        extra = (meta and meta.extra_json_schema) or {}
        if extra.get("format") == "date-time":
            return _WHEN
        return extra["enum"][0] if "enum" in extra else _of(inner[0], bound)
    if origin in {Union, types.UnionType}:
        return _of(inner[0], bound)
    if origin is list:
        return [_of(inner[0], bound)]
    if origin in {dict, tuple}:
        return {} if origin is dict else []
    base = origin or kind
    if isinstance(base, type) and hasattr(base, "__annotations__"):
        parameters = getattr(base, "__parameters__", ())
        bound = dict(zip(parameters, inner, strict=False))
        found = {
            name: _field(base, name, hint, bound) for name, hint in get_type_hints(base, include_extras=True).items()
        }
        return {name: value for name, value in found.items() if value is not None or name not in _optional(base)}
    return {str: "…", int: 1, float: 0.5, bool: True}.get(base)


def _field(base: type, name: str, hint: Any, bound: Mapping[Any, Any]) -> Any:
    for known in (*(f"{noun}.{name}" for noun in _family(base.__name__)), name):
        # An object is made from its own type, so that an example never lags behind it.
        if known in FIELDS and not (known == name and isinstance(hint, type) and hasattr(hint, "__annotations__")):
            return FIELDS[known]
    return _of(hint, bound)


def _family(name: str) -> list[str]:
    """The name of a type and the nouns at its end: what holds for a Run holds for NewRun and ChartedRun too."""
    words = re.findall(r"[A-Z][a-z]*", name)
    return ["".join(words[start:]) for start in range(len(words))]


def _optional(base: type) -> frozenset[str]:
    return getattr(base, "__optional_keys__", frozenset())
