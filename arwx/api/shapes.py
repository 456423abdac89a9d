"""What the answers of /v1 look like."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from flask import Response, g, url_for
from werkzeug.exceptions import HTTPException

from arwx import clock, digest, points, web
from arwx.api import answers
from arwx.artifacts import ArtifactView, VersionView
from arwx.briefing import Briefing, Overview
from arwx.errors import ArwxError, SequenceConflict, TooMany
from arwx.experiments import Progress
from arwx.frontier import Step, Tried, Verdict
from arwx.lineage import PRODUCER, Lineage
from arwx.models import ApiKey, Artifact, ArtifactMove, Decision, Embed, Experiment, File, Organization, ResearchSession
from arwx.pages import Page
from arwx.points import SYSTEM
from arwx.projects import Card
from arwx.runs import RunView
from arwx.snapshots import Snapshot

_encoder = msgspec.json.Encoder(enc_hook=lambda value: value.tolist())  # numpy arrays and scalars
# In place of the framework's own sentences.
_REFUSALS = {404: "There is nothing at this address.", 405: "This address takes the methods of the Allow header alone."}


def answer(fields: Any, status: int = 200) -> Response:
    """The fields as a JSON response."""
    return Response(_encoder.encode(fields), status, mimetype="application/json")


def page(found: Page[Any], shape: Callable[[Any], object]) -> Response:
    """A list with its cursor; 304 when the caller has the same one."""
    return web.conditional(answer({"items": [shape(item) for item in found.items], "next": found.next}))


def problem(error: ArwxError) -> Response:
    """RFC 9457 problem+json."""
    response = answer(
        {
            "type": "about:blank",
            "title": error.title,
            "status": error.status,
            "code": error.code,
            "detail": error.message,
            **({"errors": [{"field": e.field, "message": e.message} for e in error.errors]} if error.errors else {}),
            **error.extra,
            "request_id": g.get("request_id"),
        },
        error.status,
    )
    response.mimetype = "application/problem+json"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.status in {429, 503}:
        response.headers["Retry-After"] = str(error.retry_after_s if isinstance(error, TooMany) else 1)
    if g.get("must_close"):
        response.headers["Connection"] = "close"
    return response


def http_problem(error: HTTPException) -> Response:
    """What Flask itself refuses, in the same form: unknown addresses, wrong methods."""
    is_ours = error.description != type(error).description
    said = error.description if is_ours else _REFUSALS.get(error.code or 500, error.description)
    named = ArwxError(said or error.name)
    named.status, named.title = error.code or 500, error.name
    named.code = error.name.lower().replace(" ", "_")
    response = problem(named)
    for name, value in error.get_headers():
        if name in {"Allow", "Content-Range"}:
            response.headers[name] = value
    return response


def project(card: Card) -> answers.Project:
    return {
        "name": card.name,
        "description": card.description,
        "objective_metric": card.objective_metric,
        "lower_is_better": card.lower_is_better,
        "target": card.target,
        "created_at": clock.rfc3339(card.created_at),
        "runs": card.run_count,
        "live_runs": card.live_count,
        "experiments": card.experiment_count,
        "best": card.best,
        "target_reached": card.is_reached,
        "last_seen_at": clock.rfc3339(card.last_seen_at) if card.last_seen_at else None,
        "url": web.base_url() + url_for("ui.project", name=card.name),
    }


def bootstrap(org: Organization, cards: Page[Card], newest: Iterable[RunView]) -> answers.Bootstrap:
    """What a dashboard shows first."""
    return {
        "organization": {"name": org.name, "slug": org.slug},
        "projects": [project(card) for card in cards.items],
        "next": cards.next,
        "runs": [run(view) for view in newest],
    }


def run(view: RunView) -> answers.Run:
    return {
        "id": view.id,
        "project": view.project,
        "name": view.name,
        "status": view.status,
        "config": view.config,
        "summary": view.summary,
        "latest": latest(view),
        "tags": view.tags,
        "group": view.group,
        "job_type": view.job_type,
        "notes": view.notes,
        "host": view.host,
        "commit": view.commit,
        "diff_sha": view.diff_sha,
        "experiment_id": view.experiment_id,
        "exit_code": view.exit_code,
        "created_at": clock.rfc3339(view.created_at),
        "started_at": clock.rfc3339(view.started_at),
        "last_seen_at": clock.rfc3339(view.last_seen_at),
        "finished_at": clock.rfc3339(view.finished_at) if view.finished_at else None,
        "archived_at": clock.rfc3339(view.archived_at) if view.archived_at else None,
        "url": web.base_url() + url_for("ui.run", name=view.project, run_id=view.id),
    }


def latest(view: RunView) -> dict[str, answers.Latest]:
    """The newest value of each metric; `system/*` has its own charts."""
    return {
        key: {"step": metric.step, "value": metric.value, "ts": metric.ts}
        for key, metric in view.latest.items()
        if metric.count and not key.startswith(SYSTEM)
    }


def appended(run_id: str, done: points.Appended) -> Response:
    """What became of a batch. A conflict is loud, but what was new in the batch is stored by now all the same."""
    g.appended = done
    counts: answers.Ingested = {
        "run_id": run_id,
        "accepted": done.accepted,
        "stored": done.stored,
        "duplicates": done.duplicates,
        "skipped": done.skipped,
        "next_seq": done.next_seq,
    }
    if not done.conflicts:
        return answer(counts)
    error = SequenceConflict("These sequence numbers are taken by other content; the first content stays.")
    error.extra = {"conflicts": done.conflicts, **counts}
    return problem(error)


def receipt(found: points.Receipt, commit: str | None, diff_sha: str | None) -> answers.Receipt:
    answer: answers.Receipt = msgspec.to_builtins(found)
    answer["commit"], answer["diff_sha"] = commit, diff_sha
    return answer


def series(found: Iterable[points.Series], x: str) -> list[answers.Line]:
    return [_line(line, x) for line in found]


def _line(line: points.Series, x: str) -> answers.Line:
    answer: answers.Line = {
        "run_id": line.run_id,
        "count": line.count,
        "steps": line.steps,
        "values": line.values,
        "min": line.lows,
        "max": line.highs,
    }
    if x != "step":
        answer["x"] = line.xs
    return answer


def session(row: ResearchSession, project: str) -> answers.Session:
    return {
        "id": row.id,
        "project": project,
        "tag": row.tag,
        "branch": row.branch,
        "created_by": row.created_by,
        "created_at": clock.rfc3339(row.created_at),
    }


def experiment(row: Experiment, project: str, verdict: Verdict | None) -> answers.Experiment:
    return {
        "id": row.id,
        "index": row.index,
        "project": project,
        "session_id": row.session_id,
        "note": row.note,
        "commit": row.commit,
        "parent": row.parent,
        "parent_id": row.parent_id,
        "diff_sha": row.diff_sha,
        "config": row.config,
        "run_id": row.run_id,
        "repro_key": row.repro_key,
        "tree_sha": row.tree_sha,
        "decision": _verdict(verdict),
        "created_by": row.created_by,
        "created_at": clock.rfc3339(row.created_at),
    }


def _verdict(found: Verdict | None) -> answers.Verdict | None:
    if found is None:
        return None
    return {
        "status": found.status,
        "score": found.score,
        "metric": found.metric,
        "lower_is_better": found.lower_is_better,
        "decided_by": found.decided_by,
        "decided_at": clock.rfc3339(found.decided_at),
    }


def tried(found: Iterable[Tried]) -> list[answers.Tried]:
    """Experiments that were tried before, with their verdicts."""
    return [
        {
            "experiment_id": one.experiment_id,
            "index": one.index,
            "session_id": one.session_id,
            "note": one.note,
            "status": one.verdict.status if one.verdict else "undecided",
            "score": one.verdict.score if one.verdict else None,
        }
        for one in found
    ]


def tree(experiment: Experiment, found: Snapshot) -> answers.Tree:
    """The files of an experiment's code."""
    return {"experiment_id": experiment.id, "tree_sha": found.sha, "entries": msgspec.to_builtins(found.entries)}


def attached(experiment: Experiment, found: Snapshot, prior: Iterable[Tried]) -> answers.AttachedTree:
    """What was attached, and what was tried before that is the same."""
    return {
        "experiment_id": experiment.id,
        "tree_sha": found.sha,
        "files": len(found.entries),
        "size": found.size,
        "prior": tried(prior),
    }


def embed(row: Embed) -> answers.Embed:
    return {
        "id": row.id,
        "kind": row.kind,
        "created_by": row.created_by,
        "created_at": clock.rfc3339(row.created_at),
    }


def fresh_embed(row: Embed, project: str, token: str) -> answers.FreshEmbed:
    """An embed with its address. The Markdown leads from the picture to the project."""
    url, markdown = web.embedded(project, row.kind, token)
    return {**embed(row), "url": url, "markdown": markdown}


def file(row: File, project: str) -> answers.File:
    return {
        "id": row.id,
        "project": project,
        "name": row.name,
        "run_id": row.run_id,
        "experiment_id": row.experiment_id,
        "uri": row.uri,
        "sha": row.sha,
        "size": row.size,
        "content_type": row.content_type,
        "created_by": row.created_by,
        "created_at": clock.rfc3339(row.created_at),
    }


def artifact(view: ArtifactView) -> answers.Artifact:
    newest = view.newest
    return {
        "name": view.artifact.name,
        "project": view.project,
        "type": view.artifact.type,
        "version_count": view.artifact.version_count,
        "refs": view.refs,
        "latest": {
            "version": newest.number,
            "label": f"v{newest.number}",
            "digest": newest.digest,
            "files": newest.file_count,
            "size": newest.size,
            "created_at": clock.rfc3339(newest.created_at),
        },
        "created_by": view.artifact.created_by,
        "created_at": clock.rfc3339(view.artifact.created_at),
    }


def version(view: VersionView, of: Artifact, project: str) -> answers.Version:
    """A version without its files. Its score is the newest decision on the experiment that made it."""
    row, verdict = view.version, view.verdict
    return {
        "name": of.name,
        "project": project,
        "type": of.type,
        "version": row.number,
        "label": f"v{row.number}",
        "digest": row.digest,
        "files": row.file_count,
        "size": row.size,
        "metadata": row.details,
        "refs": view.refs,
        "score": verdict.score if verdict else None,
        "metric": verdict.metric if verdict else None,
        "status": verdict.status if verdict else None,
        "produced_by": [{"kind": link.kind, "id": link.id} for link in view.producers],
        "used_by": [{"kind": link.kind, "id": link.id} for link in view.consumers],
        "created_by": row.created_by,
        "created_at": clock.rfc3339(row.created_at),
    }


def move(row: ArtifactMove) -> answers.Move:
    return {
        "ref": row.ref,
        "version": row.version,
        "previous": row.previous,
        "moved_by": row.created_by,
        "moved_at": clock.rfc3339(row.created_at),
    }


def lineage(found: Lineage, of: Artifact, project: str) -> answers.Lineage:
    """A graph. Edges lead from what made a version to it, and from it to what used it."""
    nodes: list[answers.Node] = [
        {
            "id": f"version:{row.number}",
            "kind": "version",
            "label": f"{of.name}:v{row.number}",
            "version": row.number,
            "digest": row.digest,
            "refs": found.refs.get(row.number, []),
        }
        for row in found.versions
    ]
    nodes += [
        {"id": f"experiment:{row.id}", "kind": "experiment", "label": row.note, "index": row.index}
        for row in found.experiments.values()
    ]
    nodes += [{"id": f"run:{row.id}", "kind": "run", "label": row.name} for row in found.runs.values()]
    known = {node["id"] for node in nodes}
    edges: list[answers.Edge] = []
    for link in found.links:
        ends = [f"{link.kind}:{link.target_id}", f"version:{link.version}"]
        if ends[0] in known:  # a run may have been deleted since
            start, end = ends if link.role == PRODUCER else reversed(ends)
            edges.append({"from": start, "to": end, "role": link.role})
    return {"name": of.name, "project": project, "nodes": nodes, "edges": edges}


def decision(row: Decision) -> answers.Decision:
    return {
        "id": row.id,
        "experiment_id": row.experiment_id,
        "status": row.status,
        "score": row.score,
        "metric": row.metric,
        "lower_is_better": row.lower_is_better,
        "note": row.note,
        "decided_by": row.created_by,
        "decided_at": clock.rfc3339(row.created_at),
    }


def progress(found: Progress, steps: Iterable[Step]) -> answers.Progress:
    """The running best. The counts are of the whole story, also when only the frontier's steps are shown."""
    best = found.best
    return {
        "project": found.project,
        "goal": {"metric": found.metric, "lower_is_better": found.lower_is_better, "target": found.target},
        "counts": found.counts,
        "items": [_step(step) for step in steps],
        "best": _step(best) if best else None,
        "target_reached": found.is_target_reached,
        "noise": msgspec.to_builtins(found.noise) if found.noise else None,
    }


def context(brief: Briefing, most: int | None) -> str:
    """Where the research stands, as JSON of no more than `most` characters."""

    def fields(of: Briefing) -> answers.Context:
        return {
            "project": of.project,
            "changed": of.changed,
            "goal": {"metric": of.metric, "lower_is_better": of.lower_is_better, "target": of.target},
            "best": of.best,
            "best_index": of.best_index,
            "gap": of.gap,
            "target_reached": of.target_reached,
            "chain": of.chain,
            "decisions": of.decisions,
            "dead_ends": of.dead_ends,
            "near_misses": of.near_misses,
            "open": of.open,
            "runs": of.runs,
            "counts": of.counts,
            "noise": of.noise,
            "description": of.description,
            "left_out": of.left_out,
            "cursor": of.cursor,
        }

    text = digest.fit(brief, most, lambda of: _text(fields(of)))
    return _text(digest.squeeze(msgspec.json.decode(text), most, lambda found: len(_text(found))))


def overview(found: Overview, most: int | None) -> str:
    """All projects, as JSON of no more than `most` characters."""

    def fields(of: Overview) -> answers.Context:
        return {"changed": of.changed, "projects": of.projects, "left_out": of.left_out, "cursor": of.cursor}

    return digest.fit_overview(found, most, lambda of: _text(fields(of)))


def _text(fields: Any) -> str:
    return _encoder.encode(fields).decode()


def _step(step: Step) -> answers.Step:
    one = step.tried
    return {
        "index": one.index,
        "experiment_id": one.experiment_id,
        "session_id": one.session_id,
        "note": one.note,
        "status": one.verdict.status if one.verdict else "undecided",
        "score": one.verdict.score if one.verdict else None,
        "metric": one.verdict.metric if one.verdict else None,
        "best": step.best,
        "is_best": step.is_best,
        "gain": step.gain,
        "within_noise": step.is_within_noise,
        "decided_at": clock.rfc3339(one.verdict.decided_at) if one.verdict else None,
        "commit": one.commit,
    }


def key(row: ApiKey) -> answers.Key:
    return {
        "id": row.id,
        "name": row.name,
        "scope": row.scope,
        "prefix": row.prefix,
        "last_four": row.last_four,
        "created_at": clock.rfc3339(row.created_at),
        "last_used_at": clock.rfc3339(row.last_used_at) if row.last_used_at else None,
    }
