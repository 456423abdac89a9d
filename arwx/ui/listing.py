"""Which runs a view of a project lists, in the order of the view, one by one or grouped by what they have in common."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field

from flask import g

from arwx import clock, criteria, runs
from arwx.errors import ArwxError, NotFound
from arwx.models import Project
from arwx.runs import RunView, Wanted
from arwx.ui.filters import plain
from arwx.ui.view import View

MOST_GROUPED, _MOST_GROUPS = 2000, 100
# Lines of a grouped chart are means of at most so many runs, the newest: their points must all be read.
MOST_IN_MEANS = 200
_EXPRESSION = re.compile(r"[<>=~()\"'`]|\b(?:and|or|not|in)\b|^[a-z]+\.\w")


@dataclass(frozen=True)
class Group:
    """Runs with one value of the field by which a view groups."""

    id: str
    name: str
    runs: list[RunView] = field(default_factory=list)

    @property
    def states(self) -> Counter[str]:
        return Counter(run.status for run in self.runs)


@dataclass(frozen=True)
class Listing:
    """The runs of a page of the table. `fault` says why a filter could not be understood: then nothing is listed."""

    runs: list[RunView]
    next: str | None = None
    groups: list[Group] | None = None
    group_count: int = 0  # more than are listed, where a field has very many values
    fault: ArwxError | None = None

    @property
    def ids(self) -> set[str]:
        """What the rows of the table are called: runs, or groups."""
        return {one.id for one in (self.runs if self.groups is None else self.groups)}


def of(project: Project, view: View) -> Listing:
    """What the view asks for, or the fault in its words."""
    try:
        asked = wanted(view)
        if view.by:
            return _grouped(project, view, asked)
        page = runs.page(g.scope, project, cursor=view.cursor, asked=asked)
    except ArwxError as error:
        return Listing([], fault=error)
    return Listing(page.items, page.next)


def one(project: Project, run_id: str) -> RunView:
    """The run of this project; one of another project is not there."""
    row = g.scope.run(run_id)
    if row.project_id != project.id:
        raise NotFound("No such run.")
    return runs.views(g.scope, project.name, [row])[0]


def wanted(view: View) -> Wanted:
    """The view's words as the domain takes them. Words that are no condition are searched for in names."""
    is_condition = bool(_EXPRESSION.search(view.q))
    return runs.wanted(
        status=view.status,
        tag=view.tag,
        q=view.q if is_condition else None,
        search=None if is_condition else view.q,
        sort=view.sort,
        archived=view.is_archived,
    )


def _grouped(project: Project, view: View, asked: Wanted) -> Listing:
    read = criteria.reader(view.by, "by")
    found = runs.sifted(g.scope, project, asked, MOST_GROUPED)
    now = clock.now()
    groups: dict[str, Group] = {}
    for run in found:
        name = _named(read(run, now))
        group_id = "grp_" + hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
        groups.setdefault(group_id, Group(group_id, name)).runs.append(run)
    ordered = sorted(groups.values(), key=lambda group: _natural(group.name))
    return Listing(found, groups=ordered[:_MOST_GROUPS], group_count=len(ordered))


def _named(value: object) -> str:
    """What a group is called by the value that its runs have in common."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else plain(value)


def _natural(name: str) -> tuple[int, float, str]:
    try:
        return (0, float(name), "")
    except ValueError:
        return (1, 0.0, name)
