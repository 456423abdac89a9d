"""The Runs lens of a project: the table of runs beside their charts."""

from dataclasses import dataclass

from flask import Response, g, request

from arwx import charts, projects
from arwx.runs import STATES, RunView
from arwx.ui import bp, columns, figures, frame, listing, page_or_part, view
from arwx.ui.columns import Cell
from arwx.ui.listing import Group


@dataclass(frozen=True)
class Row:
    """A line of the run table: a run, or a group of runs, whose id is then the group's."""

    id: str
    name: str
    cells: list[Cell]
    is_shown: bool
    run: RunView | None = None
    group: Group | None = None


@bp.get("/p/<name>")
def project(name: str) -> Response:
    """The Runs lens: the table of runs, and a chart for every metric of those that are shown."""
    found = g.scope.project(name)
    choice = view.read(request.args)
    listed = listing.of(found, choice)
    choice = choice.within(listed.ids)
    shown = figures.shown_of(found, choice, listed)
    shape = columns.of(listed.runs, found, choice)
    sections, metrics_fault = figures.sections(shown, found.objective_metric)
    head = frame.head(found)
    return page_or_part(
        "runs/page.html",
        "runs/_lens.html",
        head=head,
        archived_count=0 if head.run_count else projects.run_count(g.scope, found, is_archived=True),
        rows=_rows(listed, shape, choice),
        listed=listed,
        columns=shape,
        choices=columns.choices(listed.runs, shape),
        groupable=columns.groupable(listed.runs, choice),
        orders=columns.orders(shape, choice.sort),
        states=STATES,
        shown=shown,
        sections=sections,
        metrics_fault=metrics_fault,
        metrics=charts.keys(listed.runs),
        is_live=any(run.is_live for run in listed.runs),
        view=choice,
    )


def _rows(listed: listing.Listing, shape: list[columns.Column], choice: view.View) -> list[Row]:
    if listed.groups is not None:
        return [
            Row(group.id, group.name, columns.group_cells(shape, group), choice.shows(group.id), group=group)
            for group in listed.groups
        ]
    return [Row(run.id, run.name, columns.cells(shape, run), choice.shows(run.id), run=run) for run in listed.runs]
