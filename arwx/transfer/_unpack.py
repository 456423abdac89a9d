"""A file, made a project."""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from arwx import audit, blobs, blobstore, clock, experiments, files, ids, points, sweep, trees
from arwx.access import Scope
from arwx.blobstore import Store
from arwx.db import Database
from arwx.errors import Conflict, Invalid
from arwx.models import Artifact, ArtifactMove, Decision, Experiment, File, Project, ResearchSession, Run
from arwx.transfer._archive import Reading
from arwx.transfer._form import (
    PARTS,
    ArtifactLine,
    DecisionLine,
    ExperimentLine,
    FileLine,
    Line,
    LinkLine,
    Part,
    ProjectLine,
    RefLine,
    RunLine,
    VersionLine,
    points_part,
)
from arwx.transfer._pack import rows

_AT_ONCE = 500
# Rows of one transaction, in bytes of memory, roughly.
_BYTES_AT_ONCE, _ROW_WEIGHT, _ENTRY_WEIGHT = 2**24, 2**13, 400
_POINTS_AT_ONCE = 100_000
_HIDDEN = "importing/"
_KINDS: dict[str, Any] = {
    "run": Run,
    "session": ResearchSession,
    "experiment": Experiment,
    "decision": Decision,
    "file": File,
    "artifact": Artifact,
    "move": ArtifactMove,
}


@dataclass
class Unpacked:
    """What became of the file. `notes` are things that are not as they were, a line each."""

    project: str
    is_new: bool
    runs: int
    points: int
    blobs: int
    notes: list[str] = field(default_factory=list)


@dataclass
class _Names:
    """The ids in the file, and what they are here: themselves, or others where something else has them."""

    own: dict[str, set[str]]
    given: dict[tuple[str, str], str] = field(default_factory=dict)
    left_out: int = 0

    def here(self, kind: str, id_: str) -> str | None:
        """What has this id here; None for what is not in the file."""
        return self.given.get((kind, id_), id_) if id_ in self.own[kind] else None


def unpack(database: Database, store: Store, org_id: int, path: Path, name: str | None = None) -> Unpacked:
    """Make the project of the file, under its own name or another one. Nothing is shown before all of it is there.

    The same file again changes nothing. Raises `Invalid` for a file that is not as it was written or contradicts
    itself, and `Conflict` when the name belongs to something else.
    """
    reading = Reading(path)
    try:
        reading.verify()
        lines = list(reading.lines(PARTS[0].name, ProjectLine))
        if len(lines) != 1:
            raise Invalid("the file must have one project")
        target = ids.check_name(name or lines[0].name, "project")
        own = _own_ids(reading)
        told = reading.manifest
        done = Unpacked(target, True, told.runs, told.points, told.blobs)
        with database.reading(org_id) as session:
            scope = Scope(session, org_id, "admin", "cli")
            known = session.scalar(scope.projects().where(Project.name == target))
            if known is not None:
                done.is_new = False
                _compare(scope, reading, lines[0], known, own)
                return done
        _Import(database, store, org_id, reading, lines[0], own, done).run()
        return done
    finally:
        reading.close()


def _own_ids(reading: Reading) -> dict[str, set[str]]:
    """The ids that the file gives, by what they are of."""
    found: dict[str, set[str]] = {"project": set()}
    for part in PARTS:
        kind = part.refs.get("id")
        if kind is None:
            continue
        of_kind: set[str] = set()
        for line in reading.lines(part.name, part.line):
            id_: str = line.id  # type: ignore[attr-defined]
            if id_ in of_kind:
                raise Invalid(f"{part.name}: {id_} comes twice")
            of_kind.add(id_)
        found[kind] = of_kind
    return found


def _derived(id_: str, *where: str) -> str:
    """Another id for something whose own is taken: the same at every import into the same place."""
    digest = hashlib.sha256("/".join((id_, *where)).encode()).hexdigest()[:12]
    return f"{id_[:51]}-{digest}"


class _Import:
    """One import: hidden rows in small transactions, and one that shows them."""

    def __init__(
        self,
        database: Database,
        store: Store,
        org_id: int,
        reading: Reading,
        project: ProjectLine,
        own: dict[str, set[str]],
        done: Unpacked,
    ) -> None:
        self._database, self._store, self._org_id = database, store, org_id
        self._reading, self._line, self._done = reading, project, done
        self._names = _Names(own)
        self._id = project.id
        # Nobody may ask for such a name, and whoever finds another one in its place has been overtaken.
        self._hidden_name = f"{_HIDDEN}{secrets.token_hex(8)}"
        # Hidden like what was deleted, which `arwx gc` leaves alone for a day.
        self._hidden_at = clock.now()

    def run(self) -> None:
        with self._database.reading(self._org_id) as session:
            abandoned = self._choose_id(session)
        if abandoned:
            sweep.erase_project(self._database, self._org_id, self._id)
        with self._database.reading(self._org_id) as session:
            self._give_ids(session)
        try:
            with self._database.writing(self._org_id) as session:
                session.execute(insert(Project), [self._project_row()])
            for sha in self._reading.shas:
                self._keep(sha)
            for part in PARTS[1:]:
                self._rows(part)
            for run_id in sorted(self._names.own["run"]):
                self._points(run_id)
            self._show()
        except BaseException as error:
            self._undo()
            if isinstance(error, IntegrityError):
                raise Invalid("the rows of the file contradict each other") from error
            raise
        if moved := len(self._names.given):
            self._done.notes.append(f"{moved} ids are taken here and were given anew, such as {self._example()}.")
        if self._names.left_out:
            self._done.notes.append(f"{self._names.left_out} references to other projects were left out.")

    def _example(self) -> str:
        (kind, old), new = next(iter(self._names.given.items()))
        return f"{kind} {old}: {new}"

    def _choose_id(self, session: Session) -> bool:
        """Settle the id of the project; answers whether a stopped import has it."""
        for id_ in (self._line.id, _derived(self._line.id, self._done.project)):
            holder = session.get(Project, (self._org_id, id_))
            if holder is None or holder.name.startswith(_HIDDEN):
                self._id = id_
                return holder is not None
        raise Conflict("The project was deleted here and is not yet taken away. Run: arwx gc")

    def _give_ids(self, session: Session) -> None:
        """Give new ids in place of those that something else has."""
        for kind, model in _KINDS.items():
            wanted = sorted(self._names.own[kind])
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                taken = select(model.id).where(model.org_id == self._org_id, model.id.in_(some))
                for id_ in sorted(session.scalars(taken)):
                    self._names.given[kind, id_] = _derived(id_, self._id)
        if self._id != self._line.id:
            self._names.given["project", self._line.id] = self._id

    def _project_row(self) -> dict[str, Any]:
        fields = {**_fields(self._line), "id": self._id, "name": self._hidden_name}
        return {**fields, "org_id": self._org_id, "deleted_at": self._hidden_at}

    def _keep(self, sha: str) -> None:
        content = blobstore.receive(self._store, self._org_id, self._reading.blob(sha), sha)
        with self._database.writing(self._org_id) as session:
            blobs.put(Scope(session, self._org_id, "admin", "cli"), content)

    def _rows(self, part: Part) -> None:
        held: list[dict[str, Any]] = []
        weight = 0
        for line in self._reading.lines(part.name, part.line):
            self._check(part, line)
            fields = _renamed(part, line, self._names)
            if fields is None:
                if not isinstance(line, LinkLine):
                    raise Invalid(f"{part.name}: a line belongs to something that is not in the file")
                continue
            held.append(self._row(part, line, fields))
            weight += _ROW_WEIGHT + _ENTRY_WEIGHT * len(fields.get("tree") or fields.get("entries") or ())
            weight += len(fields.get("diff") or "")
            if weight >= _BYTES_AT_ONCE:
                self._insert(part.model, held)
                held, weight = [], 0
        self._insert(part.model, held)

    def _row(self, part: Part, line: Line, fields: dict[str, Any]) -> dict[str, Any]:
        fields["org_id"] = self._org_id
        if "created_by" in fields:
            fields["created_by"] = f"import:{fields['created_by']}"
        if hasattr(part.model, "project_id"):
            fields["project_id"] = self._id
        if isinstance(line, RunLine):
            fields["deleted_at"] = self._hidden_at
        for name in ("tree", "entries"):
            if fields.get(name) is not None:
                fields[name] = [msgspec.to_builtins(entry) for entry in fields[name]]
        return fields

    def _insert(self, model: Any, some: list[dict[str, Any]]) -> None:
        if some:
            self._piece(lambda session: session.execute(insert(model), some))

    def _points(self, run_id: str) -> None:
        here = self._names.here("run", run_id) or run_id
        loading = points.Loading(points.RunKey(self._org_id, here))
        with _named(points_part(run_id)):
            held: list[points.Record] = []
            count = 0
            for record in self._reading.records(run_id):
                held.append(record)
                count += len(record.metrics) if isinstance(record, points.EntryRecord) else 1
                if count >= _POINTS_AT_ONCE:
                    self._take(loading, held)
                    held, count = [], 0
            self._take(loading, held)
            self._piece(loading.close)

    def _take(self, loading: points.Loading, held: list[points.Record]) -> None:
        self._piece(lambda session: loading.take(session, held))

    def _piece(self, work: Callable[[Session], object]) -> None:
        """One transaction, as long as nobody has begun the same import anew."""
        with self._database.writing(self._org_id) as session:
            self._mine(session)
            work(session)

    def _mine(self, session: Session) -> Project:
        mine = select(Project).where(
            Project.org_id == self._org_id, Project.id == self._id, Project.name == self._hidden_name
        )
        project = session.scalar(mine.with_for_update(key_share=True))
        if project is None:
            raise Conflict("Another import of the same project has begun.")
        return project

    def _show(self) -> None:
        try:
            with self._database.writing(self._org_id) as session:
                project = self._mine(session)
                project.name, project.deleted_at = self._done.project, None
                mine = (Run.org_id == self._org_id, Run.project_id == self._id, Run.deleted_at == self._hidden_at)
                session.execute(update(Run).where(*mine).values(deleted_at=None))
                audit.record(Scope(session, self._org_id, "admin", "cli"), "project.imported", self._done.project)
        except IntegrityError as error:
            raise Conflict(f"There is a project {self._done.project} since a moment ago.") from error

    def _undo(self) -> None:
        """Take away what was made, unless somebody else is at it."""
        with self._database.reading(self._org_id) as session:
            found = session.get(Project, (self._org_id, self._id))
            is_mine = found is not None and found.name == self._hidden_name
        if is_mine:
            sweep.erase_project(self._database, self._org_id, self._id)

    def _check(self, part: Part, line: Line) -> None:
        """Raise `Invalid` for what no server would have stored."""
        with _named(part.name):
            for name, value in _fields(line).items():
                if isinstance(value, str) and "\x00" in value:
                    raise Invalid(f"{name} has a NUL")
            if isinstance(line, ExperimentLine):
                self._check_experiment(line)
            elif isinstance(line, VersionLine):
                self._check_tree(line.entries, line.digest)
                if (line.file_count, line.size) != (len(line.entries), sum(entry.size for entry in line.entries)):
                    raise Invalid("a version has other files than it says")
            elif isinstance(line, FileLine):
                trees.check_path(line.name, "name")
                files.check_type(line.content_type)
                if line.uri is not None:
                    files.check_uri(line.uri)
                elif line.sha is None or self._reading.shas.get(line.sha) != line.size:
                    raise Invalid(f"the blob of the file {line.id} is not in the export")
            elif isinstance(line, DecisionLine):
                if line.status != "drop" and (line.score is None) != (line.status == "crash"):
                    raise Invalid(f"the score of decision {line.id} does not go with its status")
            elif isinstance(line, ArtifactLine | RefLine):
                ids.check_name(line.name)

    def _check_experiment(self, line: ExperimentLine) -> None:
        if line.index > self._line.experiment_count:
            raise Invalid(f"experiment {line.id} has a number that the project never gave")
        if line.repro_key != experiments.repro_key(line.commit, line.diff_sha, line.config):
            raise Invalid(f"the repro_key of experiment {line.id} does not follow from commit, diff and config")
        if (line.tree is None) != (line.tree_sha is None):
            raise Invalid(f"experiment {line.id} has a tree without a hash, or a hash without a tree")
        if line.tree is not None and line.tree_sha is not None:
            self._check_tree(line.tree, line.tree_sha)

    def _check_tree(self, entries: list[trees.Entry], sha: str) -> None:
        if trees.check(entries) != entries or trees.digest(entries) != sha:
            raise Invalid(f"the tree {sha} has another hash")
        for entry in entries:
            if self._reading.shas.get(entry.sha) != entry.size:
                raise Invalid(f"the blob of {entry.path} is not in the export")


def _fields(line: Line) -> dict[str, Any]:
    return {name: getattr(line, name) for name in line.__struct_fields__}


def _renamed(part: Part, line: Line, names: _Names) -> dict[str, Any] | None:
    """The fields of the line with ids as they are here; None for what hangs on something that is not in the file."""
    fields = _fields(line)
    for name, kind in part.refs.items():
        old = fields[name]
        if old is None:
            continue
        fields[name] = names.here(line.kind if isinstance(line, LinkLine) and not kind else kind, old)
        if fields[name] is None:
            names.left_out += 1
            if name in {"session_id", "artifact_id", "target_id"} or isinstance(line, DecisionLine):
                return None
    return fields


def _compare(scope: Scope, reading: Reading, line: ProjectLine, known: Project, own: dict[str, set[str]]) -> None:
    """Raise `Conflict` unless the project that is here is the one in the file."""
    if known.id not in {line.id, _derived(line.id, known.name)}:
        raise Conflict(
            f"There is another project {known.name} here. Import this one under a name of its own: --project NAME."
        )
    names = _Names(own)
    for kind, model in _KINDS.items():
        for start in range(0, len(wanted := sorted(own[kind])), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            derived = {_derived(id_, known.id): id_ for id_ in some}
            found = select(model.id).where(model.org_id == scope.org_id, model.id.in_(derived))
            names.given |= {(kind, derived[id_]): id_ for id_ in scope.db.scalars(found)}
    names.given["project", line.id] = known.id
    here = _Names({kind: {names.here(kind, id_) or "" for id_ in some} for kind, some in own.items()})
    different = [
        part.name.removesuffix(".jsonl")
        for part in PARTS
        if _digests(part, reading.lines(part.name, part.line), names) != _digests(part, rows(scope, known, part), here)
    ]
    different += [
        f"points of {run_id}"
        for run_id in sorted(own["run"])
        if not different and not _has_points(scope, reading, run_id, names.here("run", run_id) or "")
    ]
    if different:
        raise Conflict(
            f"The project {known.name} is here already, but not as in the file ({', '.join(different[:3])}). "
            "Nothing was changed. Import it under a name of its own: --project NAME."
        )


def _digests(part: Part, lines: Iterable[Line], names: _Names) -> set[bytes]:
    """A hash of each line. Who did it is left out: accounts come and go."""
    found = set()
    for line in lines:
        fields = _renamed(part, line, names)
        if fields is None:
            found |= set() if isinstance(line, LinkLine) else {b"stray"}
            continue
        fields.pop("created_by", None)
        if part.model is Project:
            del fields["name"]
        found.add(hashlib.sha256(msgspec.json.encode(fields)).digest())
    return found


def _has_points(scope: Scope, reading: Reading, run_id: str, here: str) -> bool:
    with _named(points_part(run_id)):
        told = points.outline(reading.records(run_id))
    return told == points.outline(points.unload(scope.db, scope.stream(here)))


@contextmanager
def _named(part: str) -> Iterator[None]:
    """Say in which part of the file something is wrong."""
    try:
        yield
    except Invalid as error:
        raise error if error.message.startswith(part) else Invalid(f"{part}: {error.message}") from error
