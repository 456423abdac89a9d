"""Projects: a name and a goal, under which everything else hangs."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select

from arwx import clock, db, experiments, ids, pages, points
from arwx.access import Scope
from arwx.errors import invalid
from arwx.frontier import is_reached
from arwx.models import Decision, Experiment, Project, Run
from arwx.runs import CRASHED_AFTER

_LONGEST_DESCRIPTION = 65_536
# So many runs at most are asked whether they still live, of all projects of a page together.
_MOST_RUNNING = 500


@dataclass(frozen=True)
class Standing:
    """A project, its goal, and how far it has come: the number and score of every experiment that moved the best."""

    name: str
    description: str | None
    objective_metric: str | None
    lower_is_better: bool
    target: float | None
    experiment_count: int
    steps: list[tuple[int, float]]

    @property
    def first(self) -> float | None:
        return self.steps[0][1] if self.steps else None

    @property
    def best(self) -> float | None:
        return self.steps[-1][1] if self.steps else None

    @property
    def is_reached(self) -> bool:
        return is_reached(self.best, self.target, lower_is_better=self.lower_is_better)

    @property
    def gap(self) -> float | None:
        """How much is missing to the target; 0 once it is reached."""
        if self.best is None or self.target is None:
            return None
        return 0.0 if self.is_reached else abs(self.best - self.target)


@dataclass(frozen=True)
class Card(Standing):
    """A project as lists show it."""

    created_at: datetime
    run_count: int
    live_count: int
    last_seen_at: datetime | None


def ensure(scope: Scope, name: str, field: str = "project") -> tuple[Project, bool]:
    """The project of this name, and whether it was made just now. `field` is what the caller calls the name."""
    ids.check_name(name, field)
    project = scope.db.scalar(scope.projects().where(Project.name == name))
    if project is not None:
        return project, False
    # Of several writers that need a new project at once, one makes it and the rest find it.
    made = scope.db.scalar(
        db.insert(scope.db, Project)
        .values(org_id=scope.org_id, id=ids.new("prj"), name=name, lower_is_better=True, created_at=clock.now())
        .on_conflict_do_nothing(index_elements=["org_id", "name"])
        .returning(Project.id)
    )
    return scope.project(name), made is not None


def change(project: Project, fields: dict[str, Any]) -> None:
    """Set the fields given of goal and description; what is not given stays, None clears."""
    for field, value in fields.items():
        if field == "lower_is_better" and value is None:
            value = True
        elif field == "objective_metric" and value is not None and not ids.is_metric_key(value):
            raise invalid(field, "must be the name of a metric: 1 to 255 characters without control characters")
        elif field == "description" and value is not None:
            value = ids.check_text(value, field, _LONGEST_DESCRIPTION)
        setattr(project, field, value)


def page(scope: Scope, limit: int, cursor: str | None) -> pages.Page[Card]:
    """The projects, newest first, with counts."""
    found = pages.newest(scope.db, scope.projects(), Project, limit, cursor)
    return pages.Page(_cards(scope, found.items), found.next)


def card(scope: Scope, project: Project) -> Card:
    return _cards(scope, [project])[0]


def run_count(scope: Scope, project: Project, *, is_archived: bool = False) -> int:
    """How many runs the project has that are not archived, or that are."""
    is_meant = Run.archived_at.is_not(None) if is_archived else Run.archived_at.is_(None)
    counted = scope.runs().where(Run.project_id == project.id, is_meant).with_only_columns(func.count())
    return scope.db.execute(counted).scalar_one()


@dataclass(frozen=True)
class News:
    """How many runs, experiments and verdicts came to a project since some moment."""

    runs: int
    experiments: int
    verdicts: int


def news(scope: Scope, project: Project, since: datetime) -> News:
    """What came since then, counted in one query."""
    counted = [
        query.where(kind.project_id == project.id, kind.created_at > since)
        .with_only_columns(func.count())
        .scalar_subquery()
        for query, kind in _growing(scope)
    ]
    return News(*scope.db.execute(select(*counted)).one())


def moved_at(scope: Scope, project: Project) -> datetime | None:
    """When the last experiment or verdict came."""
    newest = [
        query.where(kind.project_id == project.id).with_only_columns(func.max(kind.created_at)).scalar_subquery()
        for query, kind in _growing(scope)[1:]
    ]
    return max((moment for moment in scope.db.execute(select(*newest)).one() if moment), default=None)


def _growing(scope: Scope) -> list[tuple[Select[Any], Any]]:
    return [(scope.runs(), Run), (scope.experiments(), Experiment), (scope.decisions(), Decision)]


def find(scope: Scope, words: str, limit: int = 20) -> list[Project]:
    """The projects whose name holds the words, newest first."""
    query = scope.projects().where(Project.name.icontains(words, autoescape=True))
    return list(scope.db.scalars(query.order_by(Project.created_at.desc()).limit(limit)))


def _cards(scope: Scope, projects: list[Project]) -> list[Card]:
    """The cards of these projects, in their order, in as many queries for one as for fifty."""
    project_ids = [project.id for project in projects]
    bests = experiments.bests(scope, projects)
    counts = _run_counts(scope, project_ids)
    seen = _seen_running(scope, project_ids)
    last = _newest([*_told(scope, project_ids), *seen])
    alive_since = clock.now() - CRASHED_AFTER
    live = Counter(project_id for project_id, moment in seen if moment > alive_since)
    return [
        Card(
            name=project.name,
            description=project.description,
            objective_metric=project.objective_metric,
            lower_is_better=project.lower_is_better,
            target=project.target,
            experiment_count=project.experiment_count,
            steps=bests.get(project.id, []),
            created_at=project.created_at,
            run_count=counts.get(project.id, 0),
            live_count=live[project.id],
            last_seen_at=last.get(project.id),
        )
        for project in projects
    ]


def _run_counts(scope: Scope, project_ids: list[str]) -> dict[str, int]:
    counted = (
        select(Run.project_id, func.count())
        .where(Run.org_id == scope.org_id, Run.project_id.in_(project_ids), Run.deleted_at.is_(None))
        .group_by(Run.project_id)
    )
    return dict(scope.db.execute(counted).all())


def _told(scope: Scope, project_ids: list[str]) -> list[tuple[str, datetime]]:
    """By project, when a run last began or ended, and when an experiment was last recorded."""
    ran = (
        select(Run.project_id, func.max(func.coalesce(Run.finished_at, Run.created_at)))
        .where(Run.org_id == scope.org_id, Run.project_id.in_(project_ids), Run.deleted_at.is_(None))
        .group_by(Run.project_id)
    )
    tried = (
        select(Experiment.project_id, func.max(Experiment.created_at))
        .where(Experiment.org_id == scope.org_id, Experiment.project_id.in_(project_ids))
        .group_by(Experiment.project_id)
    )
    return [(project_id, moment) for query in (ran, tried) for project_id, moment in scope.db.execute(query)]


def _seen_running(scope: Scope, project_ids: list[str]) -> list[tuple[str, datetime]]:
    """By project, when each of the newest runs that have not ended was last heard of."""
    running = (
        scope.runs()
        .where(Run.project_id.in_(project_ids), Run.status == "running")
        .order_by(Run.created_at.desc(), Run.id.desc())
        .limit(_MOST_RUNNING)
    )
    owner = {run.id: run.project_id for run in scope.db.scalars(running)}
    seen = points.last_seen(scope.db, scope.org_id, list(owner))
    return [(owner[run_id], moment) for run_id, moment in seen.items()]


def _newest(moments: list[tuple[str, datetime]]) -> dict[str, datetime]:
    """The last moment of each project."""
    last: dict[str, datetime] = {}
    for project_id, moment in moments:
        last[project_id] = max(moment, last.get(project_id, moment))
    return last
