"""Runs: made, renamed, finished, listed. Their points live in `arwx.points`; here is what the catalogue knows."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Select, Text, case, cast, or_, select

from arwx import audit, clock, criteria, db, ids, pages, points
from arwx.access import Scope
from arwx.criteria import Condition, Order
from arwx.errors import Conflict, FieldError, Invalid, NotFound, invalid
from arwx.models import Organization, Project, Run
from arwx.patterns import Fault, Pattern

ENDED_STATES = ("finished", "failed", "killed")
STORED_STATES = ("running", *ENDED_STATES)
STATES = (*STORED_STATES, "silent", "crashed")
SILENT_AFTER = timedelta(seconds=150)
CRASHED_AFTER = timedelta(minutes=30)
_AT_ONCE = 500
# How many runs are looked at one by one for a condition or an order that the database cannot answer.
MOST_SIFTED = 10_000
_PIECE = 1000
_TEXT_LIMITS = {
    "name": 255,
    "group": 255,
    "job_type": 255,
    "notes": 65_536,
    "diff_sha": 64,
    "experiment_id": 64,
}


@dataclass(frozen=True)
class RunView:
    """A run as people and programs see it: the catalogue's row and what the metric store knows of it."""

    id: str
    project: str
    name: str
    status: str
    config: dict[str, Any]
    summary: dict[str, Any]
    latest: dict[str, points.MetricSummary]
    tags: list[str]
    group: str | None
    job_type: str | None
    notes: str | None
    host: dict[str, Any]
    commit: str | None
    diff_sha: str | None
    experiment_id: str | None
    exit_code: int | None
    created_at: datetime
    started_at: datetime
    last_seen_at: datetime
    finished_at: datetime | None
    archived_at: datetime | None

    @property
    def is_live(self) -> bool:
        """Whether new points are to be expected."""
        return self.status in {"running", "silent"}


def key(run: Run) -> points.RunKey:
    """Where the run's points are."""
    return points.RunKey(run.org_id, run.id)


def create(scope: Scope, project: Project, fields: dict[str, Any], resume: str | None) -> tuple[Run, bool]:
    """The run with the id that was sent, or a new one; and whether it was made just now.

    An id that is known in the same project answers the stored run; with `resume` said out loud, a run that had ended is
    running again. `never` is a `Conflict` when the run is there, `must` is `NotFound` when it is not, another project's
    id is a `Conflict`.
    """
    if resume not in {None, "allow", "must", "never"}:
        raise invalid("resume", "must be allow, must or never")
    run_id = ids.chosen(fields.pop("id", None), "run")
    run = scope.db.get(Run, (scope.org_id, run_id))
    if run is None and resume == "must":
        raise NotFound("There is no run with this id to resume.")
    was_made = run is None and _insert(scope, project, run_id, fields)
    if was_made:
        points.create(scope.db, points.RunKey(scope.org_id, run_id), clock.now())
    run = scope.db.get_one(Run, (scope.org_id, run_id))
    if was_made:
        return run, True
    if run.project_id != project.id or run.deleted_at is not None:
        raise Conflict("This id belongs to another run.")
    if resume == "never":
        raise Conflict("There is a run with this id already, and resume is never.")
    if resume in {"allow", "must"}:
        run.status, run.finished_at, run.exit_code = "running", None, None
    return run, False


def change(run: Run, fields: dict[str, Any]) -> None:
    """Set the fields given; `config` and `summary` merge, None clears. `archived` puts away or takes back."""
    if "archived" in fields:
        is_archived = fields.pop("archived")
        run.archived_at = (run.archived_at or clock.now()) if is_archived else None
    for field, value in fields.items():
        if field in {"config", "summary"}:
            value = {} if value is None else {**getattr(run, field), **value}
        elif field == "tags":
            value = _tags(value or [])
        elif field == "name" and not value:
            value = ids.readable(run.id)
        elif value is not None:
            value = ids.check_text(value, field, _TEXT_LIMITS[field])
        setattr(run, field, value)


def finish(
    scope: Scope,
    run: Run,
    status: str | None,
    summary: dict[str, Any],
    exit_code: int | None,
    expected: list[points.Expected],
) -> None:
    """Close the run. Safe to repeat; points that come later are still taken.

    Without a status the exit code tells: another than 0 is that of a run that failed.
    """
    status = ("failed" if exit_code else "finished") if status is None else status.lower()
    if status not in ENDED_STATES:
        raise invalid("status", "must be finished, failed or killed")
    # The word of the process that failed stands against a later plain "finished", such as that of another rank.
    if run.status not in {"failed", "killed"} or status != "finished":
        run.status = status
    if exit_code is not None:
        run.exit_code = exit_code
    run.finished_at = run.finished_at or clock.now()
    run.summary = {**run.summary, **summary}
    points.finish(scope.db, key(run), expected)


def delete(scope: Scope, run: Run) -> None:
    """Take the run out of every list at once, and take no more points for it; `arwx gc` frees the rest of it."""
    run.deleted_at = clock.now()
    # Ingest asks the metric store alone: as long as the run is known there, it would say "stored" for nothing.
    points.erase(scope.db, key(run))
    audit.record(scope, "run.deleted", run.id)


@dataclass(frozen=True)
class Wanted:
    """Which runs of a project are asked for, and in which order; the newest first unless said otherwise."""

    statuses: frozenset[str] = frozenset()
    tag: str | None = None
    group: str | None = None
    search: Pattern | None = None
    condition: Condition | None = None
    order: Order | None = None
    archived: bool | None = False  # None: those that were put away and those that were not

    @property
    def is_plain(self) -> bool:
        """Whether the database alone can answer: nothing is asked that must be looked up run by run."""
        is_stored = not self.statuses or self.statuses.issubset(ENDED_STATES)
        return is_stored and not self.search and not self.condition and not self.order

    @property
    def text(self) -> str:
        """All of it in words: what differs asks for another list."""
        search, condition, order = (part.text if part else "" for part in (self.search, self.condition, self.order))
        return repr((sorted(self.statuses), self.tag, self.group, search, condition, order, self.archived))

    def holds(self, run: RunView, now: datetime) -> bool:
        return (
            (not self.statuses or run.status in self.statuses)
            and (self.search is None or self.search.search(run.name) or self.search.search(run.id))
            and (self.condition is None or self.condition.holds(run, now))
        )


def wanted(
    *,
    status: str | None = None,
    tag: str | None = None,
    group: str | None = None,
    search: str | None = None,
    q: str | None = None,
    sort: str | None = None,
    archived: bool | None = False,
) -> Wanted:
    """What these words ask for; `Invalid` with the field, and for `q` the position, of what cannot be understood."""
    statuses = frozenset(word for word in (status or "").split(",") if word)
    if not statuses <= set(STATES):
        raise invalid("status", f"must be one of {', '.join(STATES)}")
    try:
        pattern = Pattern(search) if search else None
    except Fault as error:
        raise Invalid(f"search: {error}", [FieldError("search", error.message)], position=error.position) from error
    return Wanted(
        statuses,
        tag,
        group,
        pattern,
        criteria.condition(q) if q else None,
        criteria.order(sort) if sort and sort not in {"-created", "-created_at"} else None,
        archived,
    )


def compact(database: db.Database) -> int:
    """Compact what runs left uncompacted, such as those that never finished; answers how many. Safe to stop."""
    count = 0
    with database.reading() as session:
        org_ids = list(session.scalars(select(Organization.id)))
    for org_id in org_ids:
        with database.reading(org_id) as session:
            run_ids = list(session.scalars(select(Run.id).where(Run.org_id == org_id)))
        for start in range(0, len(run_ids), _AT_ONCE):
            with database.reading(org_id) as session:
                found = points.pending(session, org_id, run_ids[start : start + _AT_ONCE])
            for one in found:
                with database.writing(org_id) as session:
                    points.compact(session, one)
            count += len(found)
    return count


def page(
    scope: Scope,
    project: Project,
    limit: int = pages.DEFAULT_LIMIT,
    cursor: str | None = None,
    asked: Wanted | None = None,
) -> pages.Page[RunView]:
    """The runs of a project, newest first unless asked for otherwise.

    What the database cannot decide is looked up among the newest `MOST_SIFTED` runs.
    """
    asked = asked or Wanted()
    if not asked.is_plain:
        return pages.slice_of(sifted(scope, project, asked), limit, cursor, asked.text)
    found = pages.newest(scope.db, _query(scope, project, asked), Run, limit, cursor)
    return pages.Page(views(scope, project.name, found.items), found.next)


def sifted(scope: Scope, project: Project, asked: Wanted, most: int = MOST_SIFTED) -> list[RunView]:
    """All runs that are asked for, in order, out of the newest `most`."""
    query = _query(scope, project, asked).order_by(Run.created_at.desc(), Run.id.desc())
    rows = scope.db.scalars(query.limit(most)).all()
    now = clock.now()
    found = [
        run
        for start in range(0, len(rows), _PIECE)
        for run in views(scope, project.name, rows[start : start + _PIECE])
        if asked.holds(run, now)
    ]
    return asked.order.arrange(found, now) if asked.order else found


def _query(scope: Scope, project: Project, asked: Wanted) -> Select[Run]:
    query = scope.runs().where(Run.project_id == project.id)
    if asked.archived is not None:
        query = query.where(Run.archived_at.is_not(None) if asked.archived else Run.archived_at.is_(None))
    if asked.statuses:
        stored = {status if status in STORED_STATES else "running" for status in asked.statuses}
        query = query.where(Run.status.in_(sorted(stored)))
    if asked.tag:
        # Tags are kept as JSON text, so a whole tag is its quoted form in there.
        quoted = msgspec.json.encode(asked.tag).decode()
        query = query.where(cast(Run.tags, Text).contains(quoted, autoescape=True))
    if asked.group:
        query = query.where(Run.group == asked.group)
    return query


def find(scope: Scope, words: str, limit: int = 50) -> list[RunView]:
    """The runs of all projects whose name or id holds the words, or whose commit begins so: by name, then newest first."""
    is_named = Run.name.icontains(words, autoescape=True)
    holds = or_(
        is_named,
        Run.id.icontains(words, autoescape=True),
        Run.commit.istartswith(words, autoescape=True),
    )
    # A few letters stand in many an id: what was named so must not be pushed out by them.
    return _of_all_projects(scope, scope.runs().where(holds).order_by(case((is_named, 0), else_=1)), limit)


def newest(scope: Scope, limit: int = pages.DEFAULT_LIMIT) -> list[RunView]:
    """The newest runs of all projects, without the archived ones."""
    return _of_all_projects(scope, scope.runs().where(Run.archived_at.is_(None)), limit)


def _of_all_projects(scope: Scope, query: Select[Run], limit: int) -> list[RunView]:
    found = scope.db.scalars(query.order_by(Run.created_at.desc(), Run.id.desc()).limit(limit)).all()
    names = scope.project_names({run.project_id for run in found})
    live = points.live(scope.db, scope.org_id, [run.id for run in found])
    now = clock.now()
    return [_view(run, names[run.project_id], live.get(run.id), now) for run in found]


def some(scope: Scope, project: Project, run_ids: list[str]) -> list[RunView]:
    """These runs of the project, in the order asked for. `NotFound` when one of them is not there."""
    found = {
        run.id: run for run in scope.db.scalars(scope.runs().where(Run.project_id == project.id, Run.id.in_(run_ids)))
    }
    if any(run_id not in found for run_id in run_ids):
        raise NotFound("No such run.")
    return views(scope, project.name, [found[run_id] for run_id in dict.fromkeys(run_ids)])


def known(scope: Scope, project: Project, run_ids: list[str]) -> list[RunView]:
    """Those of these runs that are there, in no order."""
    if not run_ids:
        return []
    rows = scope.db.scalars(scope.runs().where(Run.project_id == project.id, Run.id.in_(run_ids))).all()
    return views(scope, project.name, rows)


def unfinished(scope: Scope, project: Project, ended_since: datetime | None = None) -> list[RunView]:
    """The newest runs that nobody closed, and those that ended since that moment; without the archived ones."""
    is_told = Run.status == "running"
    if ended_since is not None:
        is_told = or_(is_told, Run.finished_at >= ended_since)
    query = scope.runs().where(Run.project_id == project.id, Run.archived_at.is_(None), is_told)
    rows = scope.db.scalars(query.order_by(Run.created_at.desc(), Run.id.desc()).limit(_AT_ONCE)).all()
    return views(scope, project.name, rows)


def view(scope: Scope, run: Run) -> RunView:
    return views(scope, scope.project_of(run).name, [run])[0]


def views(scope: Scope, project_name: str, runs: Iterable[Run]) -> list[RunView]:
    """The runs with what the metric store knows of them: one more query, however many."""
    runs = list(runs)
    live = points.live(scope.db, scope.org_id, [run.id for run in runs])
    now = clock.now()
    return [_view(run, project_name, live.get(run.id), now) for run in runs]


def _view(run: Run, project_name: str, live: points.Live | None, now: datetime) -> RunView:
    last_seen_at = live.last_seen_at if live else run.created_at
    return RunView(
        id=run.id,
        project=project_name,
        name=run.name,
        status=_status(run.status, last_seen_at, now),
        config=run.config,
        summary=run.summary,
        latest=live.metrics if live else {},
        tags=run.tags,
        group=run.group,
        job_type=run.job_type,
        notes=run.notes,
        host=run.host,
        commit=run.commit,
        diff_sha=run.diff_sha,
        experiment_id=run.experiment_id,
        exit_code=run.exit_code,
        created_at=run.created_at,
        started_at=run.started_at,
        last_seen_at=last_seen_at,
        finished_at=run.finished_at,
        archived_at=run.archived_at,
    )


def _status(stored: str, last_seen_at: datetime, now: datetime) -> str:
    """Silence is derived when it is read, and undoes itself when points come again."""
    if stored != "running":
        return stored
    silence = now - last_seen_at
    if silence > CRASHED_AFTER:
        return "crashed"
    return "silent" if silence > SILENT_AFTER else "running"


def _insert(scope: Scope, project: Project, run_id: str, fields: dict[str, Any]) -> bool:
    now = clock.now()
    name = fields.get("name")
    values = {
        "org_id": scope.org_id,
        "id": run_id,
        "project_id": project.id,
        "name": ids.check_text(name, "name", _TEXT_LIMITS["name"]) if name else ids.readable(run_id),
        "status": "running",
        "config": fields.get("config") or {},
        "summary": {},
        "tags": _tags(fields.get("tags") or []),
        "host": fields.get("host") or {},
        "created_at": now,
        "started_at": _started(fields.get("started_at")) or now,
        **{
            field: ids.check_text(fields[field], field, _TEXT_LIMITS[field])
            for field in ("group", "job_type", "notes", "diff_sha", "experiment_id")
            if fields.get(field) is not None
        },
        "commit": None if (commit := fields.get("commit")) is None else ids.check_commit(commit, "commit"),
    }
    # Ranks that share one run id register it at the same moment: one makes it, the rest find it.
    made = db.insert(scope.db, Run).values(values).on_conflict_do_nothing(index_elements=["org_id", "id"])
    return scope.db.scalar(made.returning(Run.id)) is not None


def _tags(tags: list[str]) -> list[str]:
    if len(tags) > 100:
        raise invalid("tags", "must have at most 100 items")
    for tag in tags:
        if not 1 <= len(tag) <= 128 or "\x00" in tag:
            raise invalid("tags", "must have 1 to 128 characters each")
    return list(dict.fromkeys(tags))


def _started(given: datetime | None) -> datetime | None:
    """The moment itself, or `Invalid` for one that no run can have begun at: not every one exists in every time zone."""
    if given is not None and not 1970 <= given.year < 9999:
        raise invalid("started_at", "must be from 1970 to 9998")
    return given
