"""Sessions, experiments and decisions: the story of what was tried, why, and what became of it."""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, case, func, or_, select, update

from arwx import clock, ids, pages
from arwx.access import Scope
from arwx.errors import Conflict, invalid
from arwx.frontier import CRASH, DROP, KEEP, Noise, Step, Tried, Verdict, frontier, is_reached, noise, staircase
from arwx.models import Decision, Experiment, Project, ResearchSession

_REASON = 300  # characters of a note that say why, in a list
_STATUSES = {"keep": KEEP, "drop": DROP, "discard": DROP, "crash": CRASH}
_TEXT_LIMITS = {"note": 65_536, "tag": 128, "branch": 255, "diff": 2**24}


@dataclass(frozen=True)
class Progress:
    """The story of a project, or of one of its sessions, in order of arrival."""

    project: str
    metric: str | None
    lower_is_better: bool
    target: float | None
    steps: list[Step]
    noise: Noise | None

    @property
    def best(self) -> Step | None:
        """The step that holds the running best."""
        return next((step for step in reversed(self.steps) if step.is_best), None)

    @property
    def is_target_reached(self) -> bool:
        best = self.best
        return is_reached(best.best if best else None, self.target, lower_is_better=self.lower_is_better)

    @property
    def counts(self) -> dict[str, int]:
        found = dict.fromkeys((KEEP, DROP, CRASH, "undecided"), 0)
        for step in self.steps:
            found[step.tried.verdict.status if step.tried.verdict else "undecided"] += 1
        return found

    @property
    def frontier(self) -> list[Step]:
        return frontier(self.steps)


def open_session(scope: Scope, project: Project, fields: dict[str, Any]) -> tuple[ResearchSession, bool]:
    """A new session, or the stored one with this id; and whether it was made just now."""
    session_id = ids.chosen(fields.get("id"), "ses")
    known = scope.db.get(ResearchSession, (scope.org_id, session_id))
    if known is not None:
        _same_project(known.project_id, project)
        return known, False
    session = ResearchSession(
        org_id=scope.org_id,
        id=session_id,
        project_id=project.id,
        tag=_text(fields, "tag"),
        branch=_text(fields, "branch"),
        created_by=scope.actor,
        created_at=clock.now(),
    )
    scope.db.add(session)
    scope.db.flush()
    return session, True


def sessions(scope: Scope, project: Project, limit: int, cursor: str | None) -> pages.Page[ResearchSession]:
    """The sessions of a project, newest first."""
    query = scope.sessions().where(ResearchSession.project_id == project.id)
    return pages.newest(scope.db, query, ResearchSession, limit, cursor)


def record(scope: Scope, session: ResearchSession, fields: dict[str, Any]) -> tuple[Experiment, bool]:
    """A new experiment with the next true number, or the stored one with this id; and whether it is new."""
    experiment_id = ids.chosen(fields.get("id"), "exp")
    known = scope.db.get(Experiment, (scope.org_id, experiment_id))
    if known is not None:
        if known.project_id != session.project_id:
            raise Conflict("This id belongs to an experiment of another project.")
        return known, False
    diff = _text(fields, "diff") or None
    diff_sha = fields.get("diff_sha") or (hashlib.sha256(diff.encode()).hexdigest() if diff else None)
    commit, config = _text(fields, "commit"), fields.get("config")
    key = repro_key(commit, diff_sha, config)
    if fields.get("repro_key") not in {None, key}:
        raise invalid("repro_key", f"does not follow from commit, diff and config, which give {key}")
    if fields.get("run_id"):
        scope.run(fields["run_id"])
    if fields.get("parent_id"):
        scope.experiment(fields["parent_id"])
    experiment = Experiment(
        org_id=scope.org_id,
        id=experiment_id,
        project_id=session.project_id,
        session_id=session.id,
        index=_next_index(scope, session.project_id),
        note=_text(fields, "note"),
        commit=commit,
        parent=_text(fields, "parent"),
        parent_id=fields.get("parent_id"),
        run_id=fields.get("run_id"),
        config=config,
        diff=diff,
        diff_sha=diff_sha,
        repro_key=key,
        decision_count=0,
        created_by=scope.actor,
        created_at=clock.now(),
    )
    scope.db.add(experiment)
    scope.db.flush()
    return experiment, True


def repro_key(commit: str | None, diff_sha: str | None, config: Any) -> str:
    """What makes two experiments the same: SHA-256 over canonical JSON of commit, SHA-256 of the full diff, and config.

    Canonical: keys sorted, no white space, UTF-8, numbers as Python writes them.
    """
    identity = {"commit": commit, "config": config, "diff_sha256": diff_sha}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


# The key of all experiments of which nothing was recorded: they have that in common, and are no repeats of each other.
_NOTHING = repro_key(None, None, None)


def prior(scope: Scope, experiment: Experiment) -> list[Tried]:
    """Earlier experiments of the project with the same code and config, or the same tree: "you already tried this"."""
    same = [Experiment.repro_key == experiment.repro_key] if experiment.repro_key != _NOTHING else []
    if experiment.tree_sha is not None:
        same.append(Experiment.tree_sha == experiment.tree_sha)
    if not same:
        return []
    query = scope.experiments().where(
        Experiment.project_id == experiment.project_id, Experiment.index < experiment.index, or_(*same)
    )
    return _tried(scope, query.order_by(Experiment.index))


def page(scope: Scope, project: Project, limit: int, cursor: str | None) -> pages.Page[Experiment]:
    """The experiments of a project, newest first."""
    query = scope.experiments().where(Experiment.project_id == project.id)
    return pages.newest(scope.db, query, Experiment, limit, cursor)


@dataclass(frozen=True)
class Found:
    """An experiment that a search came upon, with the name of its project and the verdict that counts."""

    experiment: Experiment
    project: str
    verdict: Verdict | None


def find(scope: Scope, words: str, limit: int = 20) -> list[Found]:
    """The experiments of all projects whose note or id holds the words, or whose commit begins so: by note, then newest first."""
    is_noted = Experiment.note.icontains(words, autoescape=True)
    holds = or_(
        is_noted,
        Experiment.id.icontains(words, autoescape=True),
        Experiment.commit.istartswith(words, autoescape=True),
    )
    order = (case((is_noted, 0), else_=1), Experiment.created_at.desc(), Experiment.id.desc())
    found = scope.db.scalars(scope.experiments().where(holds).order_by(*order).limit(limit)).all()
    names, judged = scope.project_names({one.project_id for one in found}), verdicts(scope, found)
    return [Found(one, names[one.project_id], judged.get(one.id)) for one in found]


def verdicts(scope: Scope, experiments: Iterable[Experiment]) -> dict[str, Verdict]:
    """The decision that counts of each of these experiments; those without one are missing."""
    query = scope.decisions().where(Decision.experiment_id.in_([one.id for one in experiments]))
    return {row.experiment_id: _verdict(row) for row in scope.db.scalars(query.order_by(Decision.number))}


def decide(
    scope: Scope, experiment: Experiment, status: str, score: float | None, metric: str | None, note: str | None
) -> tuple[Decision, bool]:
    """Append a verdict, and whether it is new: one that says the same as the last is a no-op.

    Keep needs a score, a crash has none. The metric is the objective unless named; another one does not move the
    frontier. The direction is copied from the goal, so that changing the goal later does not rewrite history.
    """
    status = _status(status, score)
    project = scope.project_of(experiment)
    metric, note = _metric(metric, project), note or None
    # Two verdicts at once on one experiment wait for each other here.
    scope.db.refresh(experiment, with_for_update=True)
    last = scope.db.scalar(
        scope.decisions().where(Decision.experiment_id == experiment.id).order_by(Decision.number.desc()).limit(1)
    )
    if last is not None and (last.status, last.score, last.metric, last.note) == (status, score, metric, note):
        return last, False
    experiment.decision_count += 1
    decision = Decision(
        org_id=scope.org_id,
        id=ids.new("dec"),
        project_id=experiment.project_id,
        experiment_id=experiment.id,
        number=experiment.decision_count,
        status=status,
        score=score,
        metric=metric,
        lower_is_better=project.lower_is_better,
        note=None if note is None else ids.check_text(note, "note", _TEXT_LIMITS["note"]),
        created_by=scope.actor,
        created_at=clock.now(),
    )
    scope.db.add(decision)
    scope.db.flush()
    return decision, True


def _status(word: str, score: float | None) -> str:
    """The status that the word means, when a verdict of it can have this score."""
    if word not in _STATUSES:
        raise invalid("status", "must be keep, drop or crash")
    status = _STATUSES[word]
    if status == KEEP and score is None:
        raise invalid("score", "is required to keep an experiment")
    if status == CRASH and score is not None:
        raise invalid("score", "must be absent for a crash: it reached none")
    if score is not None and not math.isfinite(score):
        raise invalid("score", "must be a finite number")
    return status


def _metric(named: str | None, project: Project) -> str:
    """The metric of a score: the one that was named, or else the objective of the project."""
    metric = named or project.objective_metric
    if metric is None:
        raise invalid("metric", "is required as long as the project has no objective metric")
    if not ids.is_metric_key(metric):
        raise invalid("metric", "must be 1 to 255 characters without control characters")
    return metric


def decisions(scope: Scope, experiment: Experiment) -> list[Decision]:
    """Every verdict that was given, the one that counts last."""
    query = scope.decisions().where(Decision.experiment_id == experiment.id).order_by(Decision.number)
    return list(scope.db.scalars(query))


def reasons(scope: Scope, experiment_ids: Sequence[str]) -> dict[str, str]:
    """Why these experiments were judged as they were, as far as it was said: the beginning of the note that counts."""
    query = scope.decisions().where(Decision.experiment_id.in_(experiment_ids)).order_by(Decision.number)
    beginning = func.substr(Decision.note, 1, _REASON).label("why")
    rows = scope.db.execute(query.with_only_columns(Decision.experiment_id, beginning)).all()
    counts = {row.experiment_id: row.why for row in rows}  # the last one
    return {id_: why for id_, why in counts.items() if why}


def progress(scope: Scope, project: Project, session: ResearchSession | None = None) -> Progress:
    """The running best over the experiments of a project, or of one session alone."""
    query = scope.experiments().where(Experiment.project_id == project.id)
    if session is not None:
        query = query.where(Experiment.session_id == session.id)
    tried = _tried(scope, query.order_by(Experiment.index), project)
    chance = noise(tried, project.objective_metric)
    return Progress(
        project=project.name,
        metric=project.objective_metric,
        lower_is_better=project.lower_is_better,
        target=project.target,
        steps=staircase(tried, project.objective_metric, chance),
        noise=chance,
    )


def bests(scope: Scope, projects: Sequence[Project]) -> dict[str, list[tuple[int, float]]]:
    """The running best alone, for heads and cards, by project id: number and score of all that moved it, in order."""
    objectives = {project.id: project.objective_metric for project in projects if project.objective_metric}
    query = (
        select(Experiment.project_id, Experiment.index, Decision.metric, Decision.score, Decision.lower_is_better)
        .join(Decision, Decision.experiment_id == Experiment.id)
        .where(
            Experiment.org_id == scope.org_id,
            Decision.org_id == scope.org_id,
            Experiment.project_id.in_(objectives),
            Decision.project_id.in_(objectives),
            Decision.number == Experiment.decision_count,  # the last one counts
            Decision.status == KEEP,
        )
        .order_by(Experiment.index)
    )
    found: dict[str, list[tuple[int, float]]] = {project_id: [] for project_id in objectives}
    for project_id, index, metric, score, lower_is_better in scope.db.execute(query):
        if score is None or metric != objectives[project_id]:
            continue
        steps = found[project_id]
        if not steps or (score < steps[-1][1] if lower_is_better else score > steps[-1][1]):
            steps.append((index, score))
    return found


def tags(scope: Scope, project: Project) -> dict[str, str | None]:
    """The tags of the sessions of a project, by id."""
    query = scope.sessions().where(ResearchSession.project_id == project.id)
    rows = scope.db.execute(query.with_only_columns(ResearchSession.id, ResearchSession.tag))
    return {row.id: row.tag for row in rows}


def _tried(scope: Scope, query: Select[Experiment], project: Project | None = None) -> list[Tried]:
    """What the query finds, with the verdicts that count; `project` when it may be all of a project."""
    # Columns alone: to make objects of a thousand rows would take most of the time.
    rows = scope.db.execute(query.with_only_columns(*_TRIED)).all()
    decided = scope.decisions()
    if project is None:
        decided = decided.where(Decision.experiment_id.in_([row.id for row in rows]))
    else:  # by its id: the list of a thousand experiments would be a long statement
        decided = decided.where(Decision.project_id == project.id)
    judged = scope.db.execute(decided.order_by(Decision.number).with_only_columns(*_JUDGED))
    found = {row.experiment_id: _verdict(row) for row in judged}
    return [
        Tried(index, id_, session_id, note, commit, None if key == _NOTHING else key, found.get(id_))
        for index, id_, session_id, note, commit, key in rows
    ]


def _verdict(row: Any) -> Verdict:
    return Verdict(row.status, row.score, row.metric, row.lower_is_better, row.created_at, row.created_by)


# What `Tried` holds, in the order of its fields, and what a verdict is made of.
_TRIED = (
    Experiment.index,
    Experiment.id,
    Experiment.session_id,
    Experiment.note,
    Experiment.commit,
    Experiment.repro_key,
)
_JUDGED = (
    Decision.experiment_id,
    Decision.status,
    Decision.score,
    Decision.metric,
    Decision.lower_is_better,
    Decision.created_at,
    Decision.created_by,
)


def _next_index(scope: Scope, project_id: str) -> int:
    """The next true number of the project, taken so that no two experiments get the same."""
    counted = (
        update(Project)
        .where(Project.org_id == scope.org_id, Project.id == project_id)
        .values(experiment_count=Project.experiment_count + 1)
        .returning(Project.experiment_count)
    )
    return scope.db.execute(counted).scalar_one()


def _same_project(project_id: str, project: Project) -> None:
    if project_id != project.id:
        raise Conflict("This id belongs to another project.")


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and name in {"commit", "parent"}:
        return ids.check_commit(value, name)
    return None if value is None else ids.check_text(value, name, _TEXT_LIMITS[name])
