"""Bytes in the database, in rows of a mebibyte: for hosts that lose their disk at every start."""

import contextlib
from datetime import datetime

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from arwx import clock, db, ids
from arwx.blobstore._store import BLOCK, Lost
from arwx.models import BlobChunk, BlobContent, Organization

# Chunks that go into one transaction: as many as a reader takes at once.
_GROUP = 4


class Rows:
    """A store in the tables `blob_chunks` and `blob_contents`. No transaction is open while bytes flow."""

    reach = _GROUP * BLOCK

    def __init__(self, database: db.Database) -> None:
        self._database = database

    def begin(self, org_id: int, declared: str | None) -> "RowsUpload":
        return RowsUpload(self._database, org_id)

    def read(self, org_id: int, sha: str, start: int, stop: int) -> bytes:
        first = start // BLOCK
        with self._database.reading(org_id) as session:
            upload_id = session.scalar(
                select(BlobContent.upload_id).where(BlobContent.org_id == org_id, BlobContent.sha == sha)
            )
            chunks = session.scalars(
                select(BlobChunk.data)
                .where(
                    BlobChunk.org_id == org_id,
                    BlobChunk.upload_id == upload_id,
                    BlobChunk.number.between(first, (stop - 1) // BLOCK),
                )
                .order_by(BlobChunk.number)
            ).all()
        if upload_id is None:
            raise Lost(sha)
        return b"".join(chunks)[: stop - start]

    def erase(self, org_id: int, sha: str, before: datetime) -> bool:
        is_young = exists().where(
            BlobChunk.org_id == org_id, BlobChunk.upload_id == BlobContent.upload_id, BlobChunk.created_at >= before
        )
        with self._database.writing(org_id) as session:
            removed = session.scalar(
                delete(BlobContent)
                .where(BlobContent.org_id == org_id, BlobContent.sha == sha, ~is_young)
                .returning(BlobContent.upload_id),
                execution_options={"synchronize_session": False},
            )
            if removed is not None:
                _remove(session, org_id, removed)
        return removed is not None

    def sweep(self, before: datetime) -> int:
        with self._database.reading() as session:
            org_ids = session.scalars(select(Organization.id)).all()
        swept: set[tuple[int, str]] = set()
        for org_id in org_ids:
            is_published = exists().where(BlobContent.org_id == org_id, BlobContent.upload_id == BlobChunk.upload_id)
            with self._database.writing(org_id) as session:
                removed = session.scalars(
                    delete(BlobChunk)
                    .where(BlobChunk.org_id == org_id, BlobChunk.created_at < before, ~is_published)
                    .returning(BlobChunk.upload_id),
                    execution_options={"synchronize_session": False},
                )
                swept |= {(org_id, upload_id) for upload_id in removed}
        return len(swept)

    def trouble(self) -> str | None:
        return None  # whoever asks has asked the database itself


class RowsUpload:
    """Chunks under an upload id that nobody knows yet. They go in by groups, each in a short transaction of its own."""

    def __init__(self, database: db.Database, org_id: int) -> None:
        self._database, self._org_id = database, org_id
        self._id = ids.new("upl")
        self._began_at = clock.now()
        self._held: list[bytes] = []
        self._stored = 0

    def write(self, block: bytes) -> None:
        self._held.append(block)
        if len(self._held) == _GROUP:
            self._flush()

    def publish(self, sha: str) -> None:
        self._flush()
        known = select(BlobContent).where(BlobContent.org_id == self._org_id, BlobContent.sha == sha)
        with self._database.writing(self._org_id) as session:
            session.execute(
                db.insert(session, BlobContent)
                .values(org_id=self._org_id, sha=sha, upload_id=self._id)
                .on_conflict_do_nothing(index_elements=["org_id", "sha"])
            )
            content = session.scalars(known.with_for_update()).one()
            if content.upload_id != self._id:
                # The same bytes are there, but may be damaged, and their age does not protect them from being erased.
                _remove(session, self._org_id, content.upload_id)
                content.upload_id = self._id

    def abandon(self) -> None:
        self._held.clear()
        # `sweep` finds later what stays now; the failure that led here is the one to tell.
        with contextlib.suppress(Exception), self._database.writing(self._org_id) as session:
            _remove(session, self._org_id, self._id)

    def _flush(self) -> None:
        if not self._held:
            return
        rows = [
            {
                "org_id": self._org_id,
                "upload_id": self._id,
                "number": self._stored + i,
                "created_at": self._began_at,
                "data": block,
            }
            for i, block in enumerate(self._held)
        ]
        with self._database.writing(self._org_id) as session:
            session.execute(db.insert(session, BlobChunk), rows)
        self._stored += len(rows)
        self._held.clear()


def _remove(session: Session, org_id: int, upload_id: str) -> None:
    session.execute(
        delete(BlobChunk).where(BlobChunk.org_id == org_id, BlobChunk.upload_id == upload_id),
        execution_options={"synchronize_session": False},
    )
