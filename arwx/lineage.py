"""Lineage: which runs and experiments made a version of an artifact, and which used it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select, tuple_

from arwx import clock, db, experiments, ids
from arwx.access import Scope
from arwx.errors import NotFound, invalid
from arwx.frontier import Verdict
from arwx.models import ArtifactLink, ArtifactVersion, Experiment, Run

PRODUCER, CONSUMER = "producer", "consumer"
MOST = 200  # versions in one graph
_MANY = 500


@dataclass(frozen=True)
class Link:
    """A run or an experiment (`kind`) that made or used a version."""

    kind: str
    id: str


@dataclass(frozen=True)
class Lineage:
    """The graph around an artifact: its versions, and the runs and experiments that made or used them."""

    versions: list[ArtifactVersion]
    refs: dict[int, list[str]]
    experiments: dict[str, Experiment]
    runs: dict[str, Run]
    links: list[ArtifactLink]


def maker(scope: Scope, target_id: str, name: str) -> Link:
    """The experiment of this id, or else the run."""
    ids.check(target_id, name)
    try:
        return Link("experiment", scope.experiment(target_id).id)
    except NotFound:
        pass
    try:
        return Link("run", scope.run(target_id).id)
    except NotFound:
        raise NotFound("No such experiment or run.") from None


def tie(scope: Scope, version: ArtifactVersion, role: str, link: Link) -> bool:
    """Note who made or used the version; and whether that is new."""
    made = (
        db.insert(scope.db, ArtifactLink)
        .values(
            org_id=version.org_id,
            artifact_id=version.artifact_id,
            version=version.number,
            role=role,
            kind=link.kind,
            target_id=link.id,
            created_by=scope.actor,
            created_at=clock.now(),
        )
        .on_conflict_do_nothing(index_elements=["org_id", "artifact_id", "version", "role", "kind", "target_id"])
        .returning(ArtifactLink.target_id)
    )
    return scope.db.scalar(made) is not None


def use(scope: Scope, version: ArtifactVersion, run_id: str | None, experiment_id: str | None) -> bool:
    """Note that a run or an experiment used the version; and whether that is new."""
    if (run_id is None) == (experiment_id is None):
        raise invalid("run_id", "or experiment_id must be given, and not both")
    user = Link("run", scope.run(run_id).id) if run_id else Link("experiment", scope.experiment(experiment_id or "").id)
    return tie(scope, version, CONSUMER, user)


def links(scope: Scope, versions: Iterable[ArtifactVersion]) -> list[ArtifactLink]:
    """Who made and who used these versions."""
    which = [(version.artifact_id, version.number) for version in versions]
    return list(
        scope.db.scalars(
            select(ArtifactLink)
            .where(
                ArtifactLink.org_id == scope.org_id, tuple_(ArtifactLink.artifact_id, ArtifactLink.version).in_(which)
            )
            .order_by(ArtifactLink.version, ArtifactLink.created_at, ArtifactLink.target_id)
        )
    )


def scores(scope: Scope, links: Iterable[ArtifactLink]) -> dict[tuple[str, int], Verdict]:
    """The score of each version, by artifact id and number: the newest decision on an experiment that produced it,
    itself or by its run.
    """
    made = [link for link in links if link.role == PRODUCER]
    runs = _rows(scope, scope.runs(), Run.id, {link.target_id for link in made if link.kind == "run"})
    wanted: dict[tuple[str, int], set[str]] = {}
    for link in made:
        experiment_id = (
            link.target_id if link.kind == "experiment" else getattr(runs.get(link.target_id), "experiment_id", None)
        )
        if experiment_id:
            wanted.setdefault((link.artifact_id, link.version), set()).add(experiment_id)
    rows = _rows(scope, scope.experiments(), Experiment.id, set().union(*wanted.values())).values()
    found = experiments.verdicts(scope, rows)
    judged = {which: [found[one] for one in ids if one in found] for which, ids in wanted.items()}
    return {which: max(some, key=lambda one: one.decided_at) for which, some in judged.items() if some}


def titles(scope: Scope, links: Iterable[Link]) -> dict[Link, str]:
    """What people call those who made or used a version: `#12` an experiment, a run its name. Those that are gone
    are missing.
    """
    links = set(links)
    named = {kind: {link.id for link in links if link.kind == kind} for kind in ("experiment", "run")}
    tried = _rows(scope, scope.experiments(), Experiment.id, named["experiment"])
    ran = _rows(scope, scope.runs(), Run.id, named["run"])
    return {
        **{Link("experiment", row.id): f"#{row.index}" for row in tried.values()},
        **{Link("run", row.id): row.name for row in ran.values()},
    }


def graph(scope: Scope, versions: list[ArtifactVersion], refs: dict[int, list[str]]) -> Lineage:
    """The versions of an artifact, and who made and who used them."""
    found = links(scope, versions)
    named = {kind: {link.target_id for link in found if link.kind == kind} for kind in ("experiment", "run")}
    return Lineage(
        versions,
        refs,
        _rows(scope, scope.experiments(), Experiment.id, named["experiment"]),
        _rows(scope, scope.runs(), Run.id, named["run"]),
        found,
    )


def _rows(scope: Scope, query: Select[Any], column: Any, wanted: Collection[str]) -> dict[str, Any]:
    """Rows by id, asked for in parts: a version may be used by thousands of runs."""
    ordered = sorted(wanted)
    return {
        row.id: row
        for start in range(0, len(ordered), _MANY)
        for row in scope.db.scalars(query.where(column.in_(ordered[start : start + _MANY])))
    }
