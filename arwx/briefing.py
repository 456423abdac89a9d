"""Where the research stands, short: what an agent should know before its next step, or what is new since it last asked."""

import hashlib
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from arwx import clock, experiments, projects, runs
from arwx.access import Scope
from arwx.errors import invalid
from arwx.experiments import Progress
from arwx.frontier import CRASH, DROP, KEEP, Noise, Step
from arwx.models import Decision, Experiment, Project
from arwx.runs import RunView

DEFAULT_LIMIT, MOST = 5, 100
# What is given out at a moment may lack what was being committed just then: it is looked at once more.
_SETTLED_AFTER = timedelta(seconds=2)
_MOST_SEEN = 40
_SHORTEST_CHAIN = 10
_MOST_PROJECTS = 50
_LONGEST_NOTE = 240
# How long a run that broke off without a word is still told of.
_MOURNED = timedelta(days=1)
_CURSOR = re.compile(r"([0-9a-f]{1,13})-([0-9a-f]{4})-((?:[0-9a-f]{4})*)\Z")
_WORD = re.compile(r"[^\W\d_][\w-]+")
# Words that say nothing of what was tried.
_EMPTY = frozenset(
    "a add added adding again also an and any as at back be bit but by change changed changing configuration "
    "decrease decreased decreasing do down drop dropped experiment fewer first for from get gives go higher if in "
    "increase increased increasing into is it its just keep kept larger less lower made make makes many model more "
    "most much new no not now of off on one only or other our out over per raise raised reduce reduced remove "
    "removed replace replaced run same set setting short should slightly small smaller so some step steps still "
    "test than that the then this three to too train training tried try trying two up use used using value very "
    "was we when which while wide with without".split()
)


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
class NearMiss:
    """An experiment that was dropped though its score is close. `behind` is by how much the best is better."""

    index: int
    experiment_id: str
    score: float
    behind: float
    note: str | None


@dataclass(frozen=True)
class DeadEnd:
    """What did not work: experiments whose notes share a word, that are the same, or one alone."""

    words: str
    kind: str
    indexes: list[int]
    crashed: int
    best_score: float | None


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


@dataclass(frozen=True)
class Since:
    """What an earlier answer had told: everything up to a moment, a few things around it, and the goal."""

    moment: datetime
    goal: str
    seen: frozenset[str]

    def is_news(self, when: datetime, what: str) -> bool:
        return when >= self.moment and _mark(what) not in self.seen


class _Ears:
    """Listens to what happened: tells what is news, and makes the cursor of this answer."""

    def __init__(self, since: Since | None, goals: str) -> None:
        self._since, self._goals, self._now = since, _mark(goals), clock.now()
        self._fresh: list[str] = []

    @property
    def has_new_goal(self) -> bool:
        return self._since is None or self._since.goal != self._goals

    def is_news(self, when: datetime, what: str) -> bool:
        """Whether this was not told before. Something without a date in the answer counts from when it happened."""
        if when >= self._now - _SETTLED_AFTER:
            self._fresh.append(_mark(what))
        return self._since is None or self._since.is_news(when, what)

    def cursor(self) -> str:
        micros = int((self._now - _SETTLED_AFTER).timestamp() * 1_000_000)
        return f"{micros:x}-{self._goals}-{''.join(list(dict.fromkeys(self._fresh))[:_MOST_SEEN])}"


def since(cursor: str | None) -> Since | None:
    """What the cursor of an earlier answer says; `Invalid` when this server cannot have made it."""
    if cursor is None:
        return None
    match = _CURSOR.match(cursor)
    if match is None:
        raise invalid("since", "is not a cursor that this server made")
    moment = datetime.fromtimestamp(int(match[1], 16) / 1_000_000, UTC)
    return Since(moment, match[2], frozenset(re.findall("....", match[3])))


def of_project(scope: Scope, project: Project, limit: int = DEFAULT_LIMIT, asked: Since | None = None) -> Briefing:
    """The state of the project, with at most `limit` things a list; since an earlier answer, what is new alone."""
    story = experiments.progress(scope, project)
    ears = _Ears(asked, repr((project.objective_metric, project.lower_is_better, project.target, project.description)))
    new = {step.tried.index for step in story.steps if _is_judged_anew(ears, step)}
    lately = _judgements(scope, project, story, ears, asked, limit)
    shown: dict[str, list[Any]] = {
        "chain": [_move(step) for step in reversed(story.frontier) if step.tried.index in new],
        "decisions": lately,
        "dead_ends": [end for end in dead_ends(story, {one.index for one in lately}) if new.intersection(end.indexes)],
        "near_misses": [miss for miss in near_misses(story) if miss.index in new],
        "open": _open(scope, project, ears),
        "runs": _runs(scope, project, ears, asked),
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
        cursor=ears.cursor(),
        changed=ears.has_new_goal or any(shown.values()),
        left_out={name: gone for name, found in shown.items() if (gone := len(found) - len(cut[name]))},
        **cut,
    )


def of_all(scope: Scope, asked: Since | None = None) -> Overview:
    """A line for each project; since an earlier answer, for those in which something happened."""
    page = projects.page(scope, _MOST_PROJECTS, None)
    counted = scope.db.execute(scope.projects().with_only_columns(func.count())).scalar_one()
    goals = [(card.name, card.objective_metric, card.lower_is_better, card.target) for card in page.items]
    ears = _Ears(asked, repr(goals))
    last = _last_words(scope)
    lines = []
    for card in page.items:
        moments = [card.created_at, card.last_seen_at, *last.get(card.name, [])]
        news = [ears.is_news(moment, f"{card.name}@{moment}") for moment in moments if moment]
        if ears.has_new_goal or any(news):
            lines.append(_line(card))
    gone = counted - len(page.items)
    return Overview(ears.cursor(), bool(lines), lines, {"projects": gone} if gone else {})


def near_misses(story: Progress) -> list[NearMiss]:
    """Dropped experiments that are hardly behind the best, or even before it; the closest to it first.

    Hardly: by no more than chance does (the noise floor), or than the median of the gains that were made.
    """
    best = story.best
    if best is None or best.best is None:
        return []
    gains = [step.gain for step in story.frontier if step.gain]
    margin = max(statistics.median(gains) if gains else abs(best.best) / 100, story.noise.floor if story.noise else 0.0)
    found = []
    for step in story.steps:
        verdict = step.tried.verdict
        if verdict is None or verdict.status != DROP or verdict.metric != story.metric or verdict.score is None:
            continue
        behind = verdict.score - best.best if story.lower_is_better else best.best - verdict.score
        if behind <= margin:
            tried = step.tried
            found.append(NearMiss(tried.index, tried.experiment_id, verdict.score, behind, short(tried.note)))
    return sorted(found, key=lambda miss: (miss.behind, -miss.index))


def dead_ends(story: Progress, told: Iterable[int] = ()) -> list[DeadEnd]:
    """What was dropped or crashed, the same tries first, then by the word that most of the notes share, then alone.

    A word of a step that moved the best leads to no dead end. Near misses are none either, and what is `told`
    elsewhere is not repeated when it stands alone.
    """
    near = {miss.index for miss in near_misses(story)}
    failed = [
        step
        for step in story.steps
        if step.tried.verdict and step.tried.verdict.status in {DROP, CRASH} and step.tried.index not in near
    ]
    found = []
    for group in _same(failed):
        found.append(_dead_end(group, short(group[-1].tried.note, 80) or "the same code and config", "same", story))
        failed = [step for step in failed if step not in group]
    alive = {word for step in story.steps if _is_kept(step) for word in _words(step.tried.note)}
    by_index = {step.tried.index: _words(step.tried.note) - alive for step in failed}
    while counts := Counter(word for words in by_index.values() for word in words):
        word, count = min(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        if count < 2:
            break
        group = [step for step in failed if word in by_index.get(step.tried.index, ())]
        found.append(_dead_end(group, word, "word", story))
        for step in group:
            del by_index[step.tried.index]
    silent = set(told)
    for step in reversed(failed):
        if step.tried.index in by_index and step.tried.index not in silent and step.tried.note:
            found.append(_dead_end([step], short(step.tried.note, 80) or "", "single", story))
    return sorted(found, key=lambda end: (-len(end.indexes), -end.indexes[-1]))


def short(text: str | None, most: int = _LONGEST_NOTE) -> str | None:
    """The text on one line, cut where it gets long; None when it says nothing."""
    if text is None or not (line := " ".join(text.split())):
        return None
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def _is_judged_anew(ears: _Ears, step: Step) -> bool:
    verdict = step.tried.verdict
    return verdict is not None and ears.is_news(verdict.decided_at, f"{step.tried.experiment_id}@{verdict.decided_at}")


def _judgements(
    scope: Scope, project: Project, story: Progress, ears: _Ears, asked: Since | None, limit: int
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
        if ears.is_news(row.created_at, f"{row.experiment_id}@{row.created_at}")
    ]


def _open(scope: Scope, project: Project, ears: _Ears) -> list[OpenExperiment]:
    query = scope.experiments().where(Experiment.project_id == project.id, Experiment.decision_count == 0)
    rows = [
        row
        for row in scope.db.scalars(query.order_by(Experiment.index.desc()).limit(500))
        if ears.is_news(row.created_at, row.id)
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


def _runs(scope: Scope, project: Project, ears: _Ears, asked: Since | None) -> list[RunNews]:
    """Runs that go on or fell silent, newest first; since an earlier answer, those that began, fell silent or ended."""
    now = clock.now()
    found = []
    for view in runs.unfinished(scope, project, asked.moment if asked else None):
        if view.status == "crashed" and now - view.last_seen_at > _MOURNED:
            continue
        if ears.is_news(_turned_at(view), f"{view.id} {view.status}"):
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


def _is_kept(step: Step) -> bool:
    return step.tried.verdict is not None and step.tried.verdict.status == KEEP


def _same(failed: Sequence[Step]) -> Iterator[list[Step]]:
    """Groups of failed experiments with the same code and config."""
    groups: dict[str, list[Step]] = {}
    for step in failed:
        # Without commit, diff and config there is nothing in which they could be the same.
        if step.tried.repro_key is not None:
            groups.setdefault(step.tried.repro_key, []).append(step)
    return (group for group in groups.values() if len(group) > 1)


def _words(note: str | None) -> set[str]:
    return {word for word in _WORD.findall((note or "").lower()) if word not in _EMPTY}


def _dead_end(group: Sequence[Step], words: str, kind: str, story: Progress) -> DeadEnd:
    verdicts = [step.tried.verdict for step in group if step.tried.verdict]
    scores = [one.score for one in verdicts if one.score is not None and one.metric == story.metric]
    best = min if story.lower_is_better else max
    crashed = sum(one.status == CRASH for one in verdicts)
    return DeadEnd(words, kind, [step.tried.index for step in group], crashed, best(scores, default=None))


def _line(card: projects.Card) -> ProjectLine:
    return ProjectLine(
        name=card.name,
        metric=card.objective_metric,
        lower_is_better=card.lower_is_better,
        target=card.target,
        best=card.best,
        gap=0.0 if card.is_reached else card.gap,
        target_reached=card.is_reached,
        experiments=card.experiment_count,
        runs=card.run_count,
        live_runs=card.live_count,
    )


def _last_words(scope: Scope) -> dict[str, list[datetime]]:
    """By the name of the project, when the newest experiment was recorded and the newest verdict given."""
    names = {project.id: project.name for project in scope.db.scalars(scope.projects())}
    found: dict[str, list[datetime]] = {}
    for kind in (Experiment, Decision):
        newest = select(kind.project_id, func.max(kind.created_at)).where(kind.org_id == scope.org_id)
        for project_id, moment in scope.db.execute(newest.group_by(kind.project_id)):
            found.setdefault(names.get(project_id, ""), []).append(moment)
    return found


def _mark(what: str) -> str:
    return hashlib.blake2b(what.encode(errors="surrogatepass"), digest_size=2).hexdigest()
