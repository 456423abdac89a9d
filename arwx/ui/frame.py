"""What stands around the lenses of a project: its head. Every page of a project shows it."""

from dataclasses import dataclass
from datetime import datetime

from flask import g

from arwx import artifacts, clock, experiments, projects
from arwx.models import Project
from arwx.projects import Standing


@dataclass(frozen=True)
class Head(Standing):
    """A project as its head shows it."""

    run_count: int
    artifact_count: int
    may_write: bool
    opened_at: datetime


def head(project: Project) -> Head:
    """The head of the project, in three short queries whatever its size."""
    return Head(
        name=project.name,
        description=project.description,
        objective_metric=project.objective_metric,
        lower_is_better=project.lower_is_better,
        target=project.target,
        experiment_count=project.experiment_count,
        steps=experiments.bests(g.scope, [project]).get(project.id, []),
        run_count=projects.run_count(g.scope, project),
        artifact_count=artifacts.count(g.scope, project),
        may_write=g.scope.allows("write"),
        opened_at=clock.now(),
    )
