"""Blobs: which bytes an organization has uploaded. The bytes themselves are in `arwx.blobstore`.

An organization sees only what it uploaded itself: to know a hash gives nobody the bytes, and whether somebody else has
them cannot be told from outside.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import update

from arwx import blobstore, clock, db, trees
from arwx.access import Scope
from arwx.blobstore import Content, Store
from arwx.errors import Conflict, FieldError, Invalid, invalid
from arwx.models import Blob
from arwx.trees import Entry

MOST_ASKED = 1000
# Bigger files are not compared as text.
MAX_TEXT_BYTES = 256 * 1024
MAX_COMPARED_BYTES = 16 * 2**20
# What was sent, or said to be here, may not be swept for a day; that is noted at most once an hour.
LEASE = timedelta(hours=24)
_LEASE_NOTED_EACH = timedelta(hours=1)
_MANY = 1000


def put(scope: Scope, content: Content) -> tuple[Blob, bool]:
    """Make the received bytes visible to the organization; and whether they were not before.

    Call it after `blobstore.receive`, so that no transaction is open while bytes flow and no row is without its bytes.
    """
    now = clock.now()
    made = scope.db.scalar(
        db.insert(scope.db, Blob)
        .values(
            org_id=scope.org_id,
            sha=content.sha,
            size=content.size,
            blocks=content.blocks,
            created_by=scope.actor,
            created_at=now,
            leased_at=now,
        )
        .on_conflict_do_nothing(index_elements=["org_id", "sha"])
        .returning(Blob.sha)
    )
    if made is None:
        _lease(scope, [content.sha])
    return scope.blob(content.sha), made is not None


def missing(scope: Scope, shas: Sequence[str]) -> list[str]:
    """Of these hashes, those that the organization has not uploaded, in the order asked. The others are leased."""
    if len(shas) > MOST_ASKED:
        raise invalid("shas", f"must have at most {MOST_ASKED:,} items")
    for number, sha in enumerate(shas):
        if not trees.is_sha(sha):
            raise invalid(f"shas[{number}]", "must be a SHA-256: 64 digits of lower-case hexadecimal")
    found = set(scope.db.scalars(scope.blobs().where(Blob.sha.in_(shas)).with_only_columns(Blob.sha)))
    _lease(scope, found)
    return [sha for sha in dict.fromkeys(shas) if sha not in found]


def require(scope: Scope, entries: Sequence[Entry]) -> None:
    """Raise `Conflict` with `missing` unless the organization uploaded every blob of the tree, `Invalid` for a wrong
    size. Until the transaction ends nobody can take the blobs away.
    """
    sizes: dict[str, int] = {}
    # Locked in the order of their hashes, so that two trees with the same files never wait for each other in a circle.
    shas = sorted({entry.sha for entry in entries})
    for start in range(0, len(shas), _MANY):
        rows = (
            scope.blobs()
            .where(Blob.sha.in_(shas[start : start + _MANY]))
            .with_only_columns(Blob.sha, Blob.size)
            .order_by(Blob.sha)
            .with_for_update(read=True, key_share=True)
        )
        sizes.update((row.sha, row.size) for row in scope.db.execute(rows))
        # A sweep that began before this tree is stored finds the lease, or waits for the rows and finds it then.
        _lease(scope, shas[start : start + _MANY])
    absent = list(dict.fromkeys(entry.sha for entry in entries if entry.sha not in sizes))
    if absent:
        raise Conflict("Upload these blobs first.", code="missing_blobs", missing=absent)
    wrong = [
        FieldError(entry.path, f"has {sizes[entry.sha]:,} bytes, not {entry.size:,}")
        for entry in entries
        if entry.size != sizes[entry.sha]
    ]
    if wrong:
        raise Invalid(f"{wrong[0].field} {wrong[0].message}", wrong[:100])


def content(blob: Blob) -> Content:
    """What the blob store needs to give out the bytes of a blob."""
    return Content(blob.sha, blob.size, blob.blocks)


def stream(store: Store, blob: Blob, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The verified bytes from `start` up to `stop`, which need no transaction.

    The first of them are read at once, so that a damaged or unreachable blob can still be answered as a failure.
    """
    parts = blobstore.read(store, blob.org_id, content(blob), start, blob.size if stop is None else stop)
    first = next(parts, b"")

    def rest() -> Iterator[bytes]:
        yield first
        yield from parts

    return rest()


def texts(scope: Scope, store: Store, seconds: float = 5.0) -> Callable[[Entry], str | None]:
    """A reader for `trees.diff`: the text of a blob, None for binary or big ones, and for all once time is up or 16 MiB
    were read.
    """
    deadline, left = time.monotonic() + seconds, MAX_COMPARED_BYTES

    def read_text(entry: Entry) -> str | None:
        nonlocal left
        if entry.size > min(MAX_TEXT_BYTES, left) or time.monotonic() > deadline:
            return None
        left -= entry.size
        raw = b"".join(stream(store, scope.blob(entry.sha)))
        if b"\0" in raw:
            return None
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return None

    return read_text


def _lease(scope: Scope, shas: Iterable[str]) -> None:
    """Keep these from being swept for a while."""
    now = clock.now()
    due: Any = (
        scope.blobs()
        .where(Blob.sha.in_(list(shas)), Blob.leased_at < now - _LEASE_NOTED_EACH)
        .with_only_columns(Blob.sha)
        # Whoever writes to a row now writes the same. Whoever only holds it for a tree does not stand in the way.
        .with_for_update(skip_locked=True, key_share=True)
    )
    if stale := scope.db.scalars(due).all():
        scope.db.execute(update(Blob).where(Blob.org_id == scope.org_id, Blob.sha.in_(stale)).values(leased_at=now))
