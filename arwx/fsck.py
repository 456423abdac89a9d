"""Whether what is stored is what was stored: blobs by their hash, trees and files against blobs, ledgers against points."""

import hashlib
from collections.abc import Iterator

from sqlalchemy import select

from arwx import blobs, organizations, points
from arwx.access import Scope
from arwx.blobstore import Store
from arwx.db import Database
from arwx.errors import ArwxError
from arwx.models import ArtifactVersion, Blob, Experiment, File, Run

_AT_ONCE = 500


def findings(database: Database, store: Store) -> Iterator[str]:
    """What is wrong, a line each. Reads every byte and every point; safe while serving, and changes nothing."""
    with database.reading() as session:
        org_ids = organizations.all_ids(session)
    for org_id in org_ids:
        known: set[str] = set()
        yield from _blobs(database, store, org_id, known)
        yield from _references(database, org_id, known)
        yield from _runs(database, org_id)


def _blobs(database: Database, store: Store, org_id: int, known: set[str]) -> Iterator[str]:
    """Read each blob whole and compare its hash; `known` learns which there are."""
    last = ""
    while True:
        # A short read for each page: bytes may flow for hours, and no transaction is open meanwhile.
        with database.reading(org_id) as session:
            page = select(Blob).where(Blob.org_id == org_id, Blob.sha > last).order_by(Blob.sha).limit(_AT_ONCE)
            rows = session.scalars(page).all()
        if not rows:
            return
        last = rows[-1].sha
        for row in rows:
            known.add(row.sha)
            whole = hashlib.sha256()
            try:
                for part in blobs.stream(store, row):
                    whole.update(part)
            except ArwxError as error:
                yield f"organization {org_id}: blob {row.sha}: {error.message}"
                continue
            if whole.hexdigest() != row.sha:
                yield f"organization {org_id}: blob {row.sha}: its bytes have another hash, {whole.hexdigest()}"


def _references(database: Database, org_id: int, known: set[str]) -> Iterator[str]:
    """Trees, versions and files whose blobs are not there."""
    with database.reading(org_id) as session:
        for id_, tree in session.execute(
            select(Experiment.id, Experiment.tree).where(Experiment.org_id == org_id, Experiment.tree_sha.is_not(None))
        ).yield_per(50):
            yield from _absent(org_id, f"the code of experiment {id_}", [entry["sha"] for entry in tree or []], known)
        versions = select(ArtifactVersion.artifact_id, ArtifactVersion.number, ArtifactVersion.entries)
        for artifact, number, entries in session.execute(versions.where(ArtifactVersion.org_id == org_id)).yield_per(
            50
        ):
            yield from _absent(org_id, f"artifact {artifact} v{number}", [entry["sha"] for entry in entries], known)
        for id_, sha in session.execute(
            select(File.id, File.sha).where(File.org_id == org_id, File.sha.is_not(None), File.uri.is_(None))
        ).yield_per(_AT_ONCE):
            yield from _absent(org_id, f"file {id_}", [sha or ""], known)


def _absent(org_id: int, what: str, shas: list[str], known: set[str]) -> Iterator[str]:
    for sha in sorted(set(shas) - known):
        yield f"organization {org_id}: {what}: blob {sha} is not there"


def _runs(database: Database, org_id: int) -> Iterator[str]:
    """Runs of which the store holds less than the ledger acknowledged, or something else."""
    with database.reading(org_id) as session:
        run_ids = session.scalars(select(Run.id).where(Run.org_id == org_id, Run.deleted_at.is_(None))).all()
    for run_id in run_ids:
        # Points and ledger of one moment: each receipt has a snapshot of its own.
        with database.reading(org_id) as session:
            try:
                found = points.receipt(session, Scope(session, org_id, "admin", "cli").stream(run_id))
            except ArwxError as error:
                yield f"organization {org_id}: run {run_id}: {error.message}"
                continue
        # Gaps and what a client says it had sent are matters of the sender; here it is about what is kept.
        if found.lost or found.checksum_committed != found.checksum_stored:
            yield f"organization {org_id}: run {run_id}: {'; '.join(found.problems)}"
