"""The job that erases what was deleted, for good: `arwx gc`.

It works through both groups of tables in small transactions. It may be stopped at any moment and run any number of times:
what it has not finished it finds again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import ColumnElement, Table, delete, exists, select, update
from sqlalchemy.orm import Session

from arwx import blobs, clock, logins, points, throttle
from arwx.blobstore import Store
from arwx.db import Database
from arwx.deletion import UNDO
from arwx.models import (
    ArtifactLink,
    ArtifactVersion,
    Base,
    Blob,
    Experiment,
    File,
    Login,
    Membership,
    Organization,
    Project,
    Run,
    User,
)

_AT_ONCE = 200
Id = TypeVar("Id", str, int)


@dataclass
class Swept:
    """What a call of the job took away."""

    organizations: int = 0
    accounts: int = 0
    projects: int = 0
    runs: int = 0
    blobs: int = 0


def everything(database: Database, store: Store) -> Swept:
    """Erase what was deleted and can no longer be taken back."""
    swept = Swept()
    ended = clock.now() - UNDO
    with database.reading() as db:
        found = list(db.scalars(select(Organization).order_by(Organization.id)))
    for org in found:
        if org.deleted_at is not None and org.deleted_at > ended:
            continue
        if org.deleted_at is not None:
            _erase_organization(database, store, org.id, swept)
            continue
        with database.reading(org.id) as db:
            deleted = (Project.org_id == org.id, Project.deleted_at <= ended)
            doomed = db.scalars(select(Project.id).where(*deleted)).all()
        for project_id in doomed:
            swept.runs += erase_project(database, org.id, project_id)
            swept.projects += 1
        # A run of its own goes at once; those of a project that can be taken back go or stay with it.
        waiting = select(Project.id).where(Project.org_id == org.id, Project.deleted_at.is_not(None))
        alone = Run.deleted_at.is_not(None) & Run.project_id.not_in(waiting)
        swept.runs += _erase_runs(database, org.id, alone)
        swept.blobs += _erase_unused_blobs(database, store, org.id)
    store.sweep(clock.now() - blobs.LEASE)
    with database.writing() as db:
        throttle.sweep(db)
        logins.sweep(db)
    return swept


def _erase_runs(database: Database, org_id: int, which: ColumnElement[bool]) -> int:
    """Erase these runs: first their points, in a transaction each, then what the catalogue knows of them."""
    count = 0
    while True:
        with database.reading(org_id) as db:
            run_ids = db.scalars(select(Run.id).where(Run.org_id == org_id, which).limit(_AT_ONCE)).all()
        if not run_ids:
            return count
        for run_id in run_ids:
            with database.writing(org_id) as db:
                points.erase(db, points.RunKey(org_id, run_id))
        with database.writing(org_id) as db:
            db.execute(delete(File).where(File.org_id == org_id, File.run_id.in_(run_ids)))
            db.execute(delete(ArtifactLink).where(*_linked(org_id, "run", run_ids)))
            named = (Experiment.org_id == org_id, Experiment.run_id.in_(run_ids))
            db.execute(update(Experiment).where(*named).values(run_id=None))
            db.execute(delete(Run).where(Run.org_id == org_id, Run.id.in_(run_ids)))
        count += len(run_ids)


def erase_project(database: Database, org_id: int, project_id: str) -> int:
    """Erase the project and what hangs off it; answers how many runs."""
    count = _erase_runs(database, org_id, Run.project_id == project_id)
    with database.writing(org_id) as db:
        mine = (Experiment.org_id == org_id, Experiment.project_id == project_id)
        tried = db.scalars(select(Experiment.id).where(*mine)).all()
        for some in _batches(tried):
            db.execute(delete(ArtifactLink).where(*_linked(org_id, "experiment", some)))
    for table in _org_tables():
        hanging = _hangs_off(table, org_id, project_id)
        if hanging is not None:
            with database.writing(org_id) as db:
                db.execute(delete(table).where(hanging))
    with database.writing(org_id) as db:
        db.execute(delete(Project).where(Project.org_id == org_id, Project.id == project_id))
    return count


def _erase_organization(database: Database, store: Store, org_id: int, swept: Swept) -> None:
    swept.runs += _erase_runs(database, org_id, Run.id.is_not(None))
    swept.blobs += _erase_blobs(database, store, org_id)
    for table in _org_tables():
        with database.writing(org_id) as db:
            # The option says that even the audit log goes: nothing else may take a row of it.
            db.execute(delete(table).where(table.c.org_id == org_id).execution_options(arwx_erases=True))
    with database.writing(org_id) as db:
        was_here = select(Membership.user_id).where(Membership.org_id == org_id)
        # Locked, so that nobody becomes a member elsewhere in the same moment, and is lost.
        people = db.scalars(select(User.id).where(User.id.in_(was_here)).order_by(User.id).with_for_update()).all()
        db.execute(delete(Login).where(Login.org_id == org_id))
        db.execute(delete(Membership).where(Membership.org_id == org_id))
        for some in _batches(people):
            homeless = ~exists().where(Membership.user_id == User.id)
            gone = db.scalars(delete(User).where(User.id.in_(some), homeless).returning(User.id)).all()
            swept.accounts += len(gone)
        db.execute(delete(Organization).where(Organization.id == org_id))
    swept.organizations += 1


def _erase_blobs(database: Database, store: Store, org_id: int) -> int:
    """Erase all bytes of the organization: those first, then the rows that know of them."""
    count = 0
    while True:
        with database.reading(org_id) as db:
            shas = db.scalars(select(Blob.sha).where(Blob.org_id == org_id).limit(_AT_ONCE)).all()
        if not shas:
            return count
        for sha in shas:
            store.erase(org_id, sha, clock.now())
        with database.writing(org_id) as db:
            db.execute(delete(Blob).where(Blob.org_id == org_id, Blob.sha.in_(shas)))
        count += len(shas)


def _erase_unused_blobs(database: Database, store: Store, org_id: int) -> int:
    """Erase the blobs that nothing refers to any more, a day after somebody last sent them or asked for them."""
    before = clock.now()
    with database.reading(org_id) as db:
        unused = set(db.scalars(select(Blob.sha).where(*_stale(org_id, before))))
        if unused:
            unused -= _referred_to(db, org_id)
    count = 0
    for some in _batches(sorted(unused)):
        with database.writing(org_id) as db:
            # Whoever refers to one of them since then has leased it, or has it locked and will have.
            stale = select(Blob.sha).where(*_stale(org_id, before), Blob.sha.in_(some)).order_by(Blob.sha)
            doomed = db.scalars(stale.with_for_update()).all()
            db.execute(delete(Blob).where(Blob.org_id == org_id, Blob.sha.in_(doomed)))
        # The row goes first, so that none is without its bytes. What is sent anew meanwhile is younger, and stays.
        for sha in doomed:
            store.erase(org_id, sha, before)
        count += len(doomed)
    return count


def _stale(org_id: int, before: datetime) -> tuple[ColumnElement[bool], ...]:
    return Blob.org_id == org_id, Blob.leased_at < before - blobs.LEASE


def _referred_to(db: Session, org_id: int) -> set[str]:
    """The hashes that files, snapshots, versions of artifacts, and records of uncommitted changes name."""
    found: set[str] = set()
    for column in (File.sha, Run.diff_sha, Experiment.diff_sha):
        found.update(db.scalars(select(column).where(column.class_.org_id == org_id, column.is_not(None)).distinct()))
    for tree in (Experiment.tree, ArtifactVersion.entries):
        rows = select(tree).where(tree.class_.org_id == org_id, tree.is_not(None))
        for entries in db.scalars(rows.execution_options(yield_per=100)):
            found.update(entry["sha"] for entry in entries or ())
    return found


def _org_tables() -> list[Table]:
    """The tables that are spread by organization, children before their parents."""
    return [table for table in reversed(Base.metadata.sorted_tables) if table.info.get("group") == "org"]


def _hangs_off(table: Table, org_id: int, project_id: str) -> ColumnElement[bool] | None:
    """Which rows belong to the project: those that name it, and those whose parent does. None when none can."""
    at_home = table.c.org_id == org_id
    if "project_id" in table.c:
        return at_home & (table.c.project_id == project_id)
    for key in table.foreign_key_constraints:
        parent = key.referred_table
        inner = _hangs_off(parent, org_id, project_id) if parent.info.get("group") == "org" else None
        if inner is not None:
            mine, theirs = next((e.parent, e.column) for e in key.elements if e.parent.name != "org_id")
            return at_home & mine.in_(select(theirs).where(inner))
    return None


def _linked(org_id: int, kind: str, ids: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    return ArtifactLink.org_id == org_id, ArtifactLink.kind == kind, ArtifactLink.target_id.in_(ids)


def _batches(ids: Sequence[Id]) -> Iterator[Sequence[Id]]:
    for start in range(0, len(ids), _AT_ONCE):
        yield ids[start : start + _AT_ONCE]
