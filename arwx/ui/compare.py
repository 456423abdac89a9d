"""Two to twenty runs beside each other: what differs in their config first, then what they reached."""

from dataclasses import dataclass
from typing import Any

from flask import Response, g, request
from werkzeug.datastructures import MultiDict

from arwx import charts, code, downloads, runs
from arwx.models import Project
from arwx.runs import RunView
from arwx.ui import bp, columns, figures, frame, page_or_part, view

MOST = 20


@dataclass(frozen=True)
class Line:
    """A line of the comparison: one value for each run, and which of them is the best, if that can be said."""

    name: str
    values: list[Any]
    best: int | None = None

    @property
    def differs(self) -> bool:
        return len({repr(value) for value in self.values}) > 1


@bp.get("/p/<name>/compare")
def compare(name: str) -> Response:
    """The comparison of the runs in the address; too few or too many are told in words."""
    project = g.scope.project(name)
    ids = [
        one for text in (*request.args.getlist("runs"), *request.args.getlist("run")) for one in text.split(",") if one
    ]
    chosen = list(dict.fromkeys(ids))
    found = runs.some(g.scope, project, chosen) if 2 <= len(chosen) <= MOST else []
    choice = view.read(_named(chosen), carry=("runs",))
    # The form of the table sends along which runs it listed, and how: that is decided now.
    choice = choice.but(q="", status="", tag="", sort="", by="", is_archived=False, shown_columns=(), has_table=True)
    shown = figures.shown_runs(project, choice, found)
    sections, metrics_fault = figures.sections(shown, project.objective_metric)
    return page_or_part(
        "compare/page.html",
        "compare/_compare.html",
        head=frame.head(project),
        runs=found,
        chosen=len(chosen),
        most=MOST,
        config=_config(found),
        facts=_facts(found),
        reached=_reached(found, project),
        patches=code.patches(g.scope, downloads.store(), found),
        shown=shown,
        sections=sections,
        metrics=charts.keys(found),
        metrics_fault=metrics_fault,
        view=choice,
    )


def _named(chosen: list[str]) -> MultiDict[str, str]:
    """The query string with the runs as one text: forms name them one by one."""
    args = MultiDict(request.args)
    args.poplist("run")
    args.setlist("runs", [",".join(chosen)])
    return args


def _config(found: list[RunView]) -> list[Line]:
    """The config entries, differing ones first."""
    configs = [columns.flat(run.config) for run in found]
    names = dict.fromkeys(name for config in configs for name in config)
    lines = [Line(name, [config.get(name) for config in configs]) for name in names]
    return sorted(lines, key=lambda line: not line.differs)


def _facts(found: list[RunView]) -> list[Line]:
    return [
        Line("commit", [run.commit for run in found]),
        Line("uncommitted changes", [run.diff_sha for run in found]),
        Line("host", [run.host.get("hostname") or run.host.get("name") for run in found]),
        Line("group", [run.group for run in found]),
        Line("tags", [", ".join(run.tags) or None for run in found]),
        Line("exit code", [run.exit_code for run in found]),
    ]


def _reached(found: list[RunView], project: Project) -> list[Line]:
    """The last value of every metric; the objective first, with the best of the runs marked."""
    lines = []
    for key in charts.keys(found, project.objective_metric, with_system=False):
        summaries = [run.latest.get(key) for run in found]
        values = [one.value if one is not None and one.count else None for one in summaries]
        best = None
        if key == project.objective_metric and sum(value is not None for value in values) > 1:
            known = [(value, i) for i, value in enumerate(values) if value is not None]
            best = (min(known) if project.lower_is_better else max(known))[1]
        lines.append(Line(key, values, best))
    return lines
