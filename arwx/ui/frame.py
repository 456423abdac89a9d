"""What stands around the lenses of a project: its head. Every page of a project shows it."""

from dataclasses import dataclass

from flask import g

from arwx import artifacts, experiments, projects
from arwx.frontier import is_reached
from arwx.models import Project
from arwx.svg import spark


@dataclass(frozen=True)
class Head:
    """A project as its head shows it: `best` and `first` are those of the kept experiments."""

    name: str
    description: str | None
    objective_metric: str | None
    lower_is_better: bool
    target: float | None
    run_count: int
    experiment_count: int
    artifact_count: int
    first: float | None
    best: float | None
    spark: spark.Spark | None

    @property
    def is_reached(self) -> bool:
        return is_reached(self.best, self.target, lower_is_better=self.lower_is_better)

    @property
    def gap(self) -> float | None:
        """How much is missing to the target."""
        return None if self.best is None or self.target is None else abs(self.best - self.target)


def head(project: Project) -> Head:
    """The head of the project, in three short queries whatever its size."""
    bests = experiments.bests(g.scope, project)
    return Head(
        name=project.name,
        description=project.description,
        objective_metric=project.objective_metric,
        lower_is_better=project.lower_is_better,
        target=project.target,
        run_count=projects.run_count(g.scope, project),
        experiment_count=project.experiment_count,
        artifact_count=artifacts.count(g.scope, project),
        first=bests[0][1] if bests else None,
        best=bests[-1][1] if bests else None,
        spark=spark.draw(bests, project.experiment_count),
    )
