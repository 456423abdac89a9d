"""The table of karpathy/autoresearch, results.tsv: read into a project, and written out of one."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from arwx import experiments, ids, projects
from arwx.access import Scope
from arwx.errors import Invalid
from arwx.frontier import CRASH, DROP, KEEP
from arwx.models import Experiment, Project

METRIC = "val_bpb"
COLUMNS = ("commit", METRIC, "memory_gb", "status", "description")
_MEMORY = "memory_gb"
_STATUSES = {"keep": KEEP, "discard": DROP, "crash": CRASH}
_WORDS = {status: word for word, status in _STATUSES.items()}
_HASH = re.compile(r"[0-9a-f]{8,64}\Z")
_LONGEST = {"commit": 64, "description": 65_536}


@dataclass(frozen=True)
class Row:
    """One line of the table. A crash has no score, however it is written."""

    commit: str
    score: float | None
    memory_gb: float
    status: str
    description: str


@dataclass(frozen=True)
class Imported:
    """How many lines became experiments, and how many were here already."""

    new: int
    known: int


def read(text: str) -> list[Row]:
    """The rows of the table; `Invalid` with the number of the first line that is none."""
    lines = text.removeprefix("\ufeff").split("\n")
    if tuple(lines[0].rstrip("\r").split("\t")) != COLUMNS:
        raise Invalid(f"line 1: the columns must be {', '.join(COLUMNS)}, separated by tabs")
    return [_row(number, line.rstrip("\r")) for number, line in enumerate(lines[1:], 2) if line.strip()]


def store(scope: Scope, name: str, rows: list[Row]) -> Imported:
    """Make the rows experiments of the project with their verdicts, in order. The same row again changes nothing.

    The project is made when it is not there; one without a goal gets the goal to minimize val_bpb.
    """
    project, _ = projects.ensure(scope, name)
    if project.objective_metric is None:
        projects.change(project, {"objective_metric": METRIC, "lower_is_better": True})
    session, _ = experiments.open_session(scope, project, {"id": _id("ses", project), "tag": "results.tsv"})
    seen: Counter[Row] = Counter()
    new = 0
    for row in rows:
        # The same line twice is two tries; which of them it is belongs to its identity.
        seen[row] += 1
        fields = {
            "id": _id("exp", project, row, seen[row]),
            "note": row.description,
            "commit": row.commit,
            "config": {_MEMORY: row.memory_gb},
        }
        experiment, is_new = experiments.record(scope, session, fields)
        if is_new:
            experiments.decide(scope, experiment, row.status, row.score, METRIC, None)
            new += 1
    return Imported(new, len(rows) - new)


def write(scope: Scope, project: Project) -> Iterator[str]:
    """The table of the project, line by line: every experiment that was judged by the objective, in order."""
    yield "\t".join(COLUMNS) + "\n"
    query = scope.experiments().where(Experiment.project_id == project.id)
    configs = {row.id: row.config for row in scope.db.scalars(query)}
    for step in experiments.progress(scope, project).steps:
        tried, verdict = step.tried, step.tried.verdict
        if verdict is None or verdict.metric != project.objective_metric:
            continue
        memory = (configs.get(tried.experiment_id) or {}).get(_MEMORY)
        is_number = isinstance(memory, int | float) and not isinstance(memory, bool)
        commit = tried.commit or ""
        cells = (
            commit[:7] if _HASH.match(commit) else _cell(commit),
            f"{verdict.score or 0.0:.6f}",
            f"{memory if is_number else 0.0:.1f}",
            _WORDS[verdict.status],
            _cell(tried.note or ""),
        )
        yield "\t".join(cells) + "\n"


def _row(number: int, line: str) -> Row:
    cells = line.split("\t")
    if len(cells) != len(COLUMNS):
        raise Invalid(f"line {number}: {len(cells)} columns instead of {len(COLUMNS)}")
    commit, score_text, memory_text, word, description = (cell.strip() for cell in cells)
    status = _STATUSES.get(word)
    if status is None:
        raise Invalid(f"line {number}: status must be keep, discard or crash, not {word!r}")
    for name, text in (("commit", commit), ("description", description)):
        if len(text) > _LONGEST[name] or "\x00" in text:
            raise Invalid(f"line {number}: {name} must have at most {_LONGEST[name]:,} characters, and no NUL")
    if commit and not ids.is_commit(commit):
        raise Invalid(f"line {number}: commit must be a hash or a ref, not {commit!r}")
    score, memory = _number(number, METRIC, score_text), _number(number, _MEMORY, memory_text)
    # 0.000000 is how the table says that there is no score.
    if status == KEEP and not score:
        raise Invalid(f"line {number}: what is kept needs its {METRIC}")
    return Row(commit, None if status == CRASH or not score else score, memory, status, description)


def _number(line: int, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Invalid(f"line {line}: {name} must be a number, not {text!r}")
    return value


def _cell(text: str) -> str:
    """The text in one cell: without tabs and line ends, which would make more of it."""
    return " ".join(text.split())


def _id(kind: str, project: Project, *parts: object) -> str:
    """The same id for the same thing at every import."""
    return f"{kind}_tsv_{hashlib.sha256(repr((project.id, *parts)).encode(errors='surrogatepass')).hexdigest()[:32]}"
