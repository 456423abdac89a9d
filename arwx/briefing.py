"""Where the research stands, short: what an agent should know before its next step, or what is new since it last asked."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from arwx import clock, experiments, projects, runs
from arwx.access import Scope
from arwx.experiments import Progress
from arwx.frontier import Noise, Step
from arwx.lessons import DeadEnd, NearMiss, dead_ends, near_misses, short
from arwx.models import Decision, Experiment, Project
from arwx.runs import RunView
from arwx.since import News, Since

DEFAULT_LIMIT, MOST = 5, 100
_SHORTEST_CHAIN = 10
_MOST_PROJECTS = 50
# For how long a run that fell silent for good is reported.
_CRASH_IS_NEWS = timedelta(days=1)


@dataclass(frozen=True)
class Move:
    """A step that moved the running best, and by how much. `within_noise`: repeats differ by as much."""

    index: int
    experiment_id: str
    score: float | None
    gain: float | None
    within_noise: bool
    note: str | None
    commit: str | None


@dataclass(frozen=True)
class Judgement:
    """A verdict as it was given: what was tried, and why it was judged so."""

    index: int
    experiment_id: str
    status: str
    score: float | None
    metric: str
    note: str | None
    reason: str | None
    decided_at: str


@dataclass(frozen=True)
class OpenExperiment:
    """An experiment that waits for its verdict, with its run."""

    index: int
    experiment_id: str
    note: str | None
    run_id: str | None
    run_status: str | None
    recorded_at: str


@dataclass(frozen=True)
class RunNews:
    """A run that goes on, fell silent, or ended since; with its newest value of the objective."""

    id: str
    name: str
    status: str
    value: float | None
    step: int | None
    last_seen_at: str


@dataclass(frozen=True)
class ProjectLine:
    """A project on one line."""

    name: str
    metric: str | None
    lower_is_better: bool
    target: float | None
    best: float | None
    gap: float | None
    target_reached: bool
    experiments: int
    runs: int
    live_runs: int


@dataclass(frozen=True)
class Briefing:
    """The state of a project. Each list begins with what matters most; `left_out` counts what is not told, by list.

    `changed` is False when nothing happened since the cursor that was given.
    """

    project: str
    description: str | None
    metric: str | None
    lower_is_better: bool
    target: float | None
    best: float | None
    best_index: int | None
    target_reached: bool
    counts: dict[str, int]
    noise: Noise | None
    cursor: str
    changed: bool
    chain: list[Move]
    decisions: list[Judgement]
    dead_ends: list[DeadEnd]
    near_misses: list[NearMiss]
    open: list[OpenExperiment]
    runs: list[RunNews]
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def gap(self) -> float | None:
        """How much is missing to the target; 0 once it is reached."""
        if self.best is None or self.target is None:
            return None
        return 0.0 if self.target_reached else abs(self.best - self.target)


@dataclass(frozen=True)
class Overview:
    """All projects of an organization, one line each, the newest first."""

    cursor: str
    changed: bool
    projects: list[ProjectLine]
    left_out: dict[str, int] = field(default_factory=dict)


def of_project(scope: Scope, project: Project, limit: int = DEFAULT_LIMIT, asked: Since | None = None) -> Briefing:
    """The state of the project, with at most `limit` things a list; since an earlier answer, what is new alone."""
    story = experiments.progress(scope, project)
    news = News(asked, repr((project.objective_metric, project.lower_is_better, project.target, project.description)))
    new = {step.tried.index for step in story.steps if _is_judged_anew(news, step)}
    lately = _judgements(scope, project, story, news, asked, limit)
    shown: dict[str, list[Any]] = {
        "chain": [_move(step) for step in reversed(story.frontier) if step.tried.index in new],
        "decisions": lately,
        "dead_ends": [end for end in dead_ends(story, {one.index for one in lately}) if new.intersection(end.indexes)],
        "near_misses": [miss for miss in near_misses(story) if miss.index in new],
        "open": _open(scope, project, news),
        "runs": _runs(scope, project, news, asked),
    }
    best = story.best
    most = {"chain": max(limit, _SHORTEST_CHAIN)}
    cut = {name: found[: most.get(name, limit)] for name, found in shown.items()}
    return Briefing(
        project=project.name,
        description=short(project.description),
        metric=story.metric,
        lower_is_better=story.lower_is_better,
        target=story.target,
        best=best.best if best else None,
        best_index=best.tried.index if best else None,
        target_reached=story.is_target_reached,
        counts=story.counts,
        noise=story.noise,
        cursor=news.cursor(),
        changed=news.has_new_goal or any(shown.values()),
        left_out={name: gone for name, found in shown.items() if (gone := len(found) - len(cut[name]))},
        **cut,
    )


def of_all(scope: Scope, asked: Since | None = None) -> Overview:
    """A line for each project; since an earlier answer, for those in which something happened."""
    page = projects.page(scope, _MOST_PROJECTS, None)
    counted = scope.db.execute(scope.projects().with_only_columns(func.count())).scalar_one()
    goals = [(card.name, card.objective_metric, card.lower_is_better, card.target) for card in page.items]
    news = News(asked, repr(goals))
    last = _last_activity(scope)
    lines = []
    for card in page.items:
        moments = [card.created_at, card.last_seen_at, *last.get(card.name, [])]
        is_new = [news.is_news(moment, f"{card.name}@{moment}") for moment in moments if moment]
        if news.has_new_goal or any(is_new):
            lines.append(_line(card))
    gone = counted - len(page.items)
    return Overview(news.cursor(), bool(lines), lines, {"projects": gone} if gone else {})


def _is_judged_anew(news: News, step: Step) -> bool:
    verdict = step.tried.verdict
    return verdict is not None and news.is_news(verdict.decided_at, f"{step.tried.experiment_id}@{verdict.decided_at}")


def _judgements(
    scope: Scope, project: Project, story: Progress, news: News, asked: Since | None, limit: int
) -> list[Judgement]:
    """The last `limit` verdicts, newest first; since an earlier answer, all that came after it."""
    query = scope.decisions().where(Decision.project_id == project.id)
    query = query.limit(limit) if asked is None else query.where(Decision.created_at >= asked.moment).limit(500)
    rows = scope.db.scalars(
        query.order_by(Decision.created_at.desc(), Decision.number.desc(), Decision.id.desc())
    ).all()
    by_id = {step.tried.experiment_id: step.tried for step in story.steps}
    return [
        Judgement(
            index=by_id[row.experiment_id].index,
            experiment_id=row.experiment_id,
            status=row.status,
            score=row.score,
            metric=row.metric,
            note=short(by_id[row.experiment_id].note),
            reason=short(row.note),
            decided_at=clock.rfc3339(row.created_at),
        )
        for row in rows
        if news.is_news(row.created_at, f"{row.experiment_id}@{row.created_at}")
    ]


def _open(scope: Scope, project: Project, news: News) -> list[OpenExperiment]:
    query = scope.experiments().where(Experiment.project_id == project.id, Experiment.decision_count == 0)
    rows = [
        row
        for row in scope.db.scalars(query.order_by(Experiment.index.desc()).limit(500))
        if news.is_news(row.created_at, row.id)
    ]
    states = {view.id: view.status for view in runs.known(scope, project, [row.run_id for row in rows if row.run_id])}
    return [
        OpenExperiment(
            index=row.index,
            experiment_id=row.id,
            note=short(row.note),
            run_id=row.run_id,
            run_status=states.get(row.run_id or ""),
            recorded_at=clock.rfc3339(row.created_at),
        )
        for row in rows
    ]


def _runs(scope: Scope, project: Project, news: News, asked: Since | None) -> list[RunNews]:
    """Runs that go on or fell silent, newest first; since an earlier answer, those that began, fell silent or ended."""
    now = clock.now()
    found = []
    for view in runs.unfinished(scope, project, asked.moment if asked else None):
        if view.status == "crashed" and now - view.last_seen_at > _CRASH_IS_NEWS:
            continue
        if news.is_news(_turned_at(view), f"{view.id} {view.status}"):
            found.append(view)
    return [_run_news(view, project.objective_metric) for view in found]


def _turned_at(view: RunView) -> datetime:
    """Since when the run is in its state."""
    if view.status == "silent":
        return view.last_seen_at + runs.SILENT_AFTER
    if view.status == "crashed":
        return view.last_seen_at + runs.CRASHED_AFTER
    return view.finished_at or view.created_at


def _run_news(view: RunView, objective: str | None) -> RunNews:
    latest = view.latest.get(objective or "")
    value, step = (latest.value, latest.step) if latest and latest.count else (None, None)
    return RunNews(view.id, view.name, view.status, value, step, clock.rfc3339(view.last_seen_at))


def _move(step: Step) -> Move:
    tried = step.tried
    return Move(
        tried.index, tried.experiment_id, step.best, step.gain, step.is_within_noise, short(tried.note), tried.commit
    )


def _line(card: projects.Card) -> ProjectLine:
    return ProjectLine(
        name=card.name,
        metric=card.objective_metric,
        lower_is_better=card.lower_is_better,
        target=card.target,
        best=card.best,
        gap=card.gap,
        target_reached=card.is_reached,
        experiments=card.experiment_count,
        runs=card.run_count,
        live_runs=card.live_count,
    )


def _last_activity(scope: Scope) -> dict[str, list[datetime]]:
    """By the name of the project, when the newest experiment was recorded and the newest verdict given."""
    names = {project.id: project.name for project in scope.db.scalars(scope.projects())}
    found: dict[str, list[datetime]] = {}
    for kind in (Experiment, Decision):
        newest = select(kind.project_id, func.max(kind.created_at)).where(kind.org_id == scope.org_id)
        for project_id, moment in scope.db.execute(newest.group_by(kind.project_id)):
            found.setdefault(names.get(project_id, ""), []).append(moment)
    return found
