"""A copy of the whole server in a folder: the database as of one moment, and every blob that it names.

The database is copied first and the blobs after it, so that none is missing; the copy takes the place of the one before
only when all of them are there. So a backup that is stopped leaves the one before. Blobs are known by their hash: those
that an earlier backup into the folder has copied are not copied again.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.orm import Session

from arwx import blobs, blobstore, clock, dumps, durable, organizations, schema
from arwx.access import Scope
from arwx.blobstore import Store
from arwx.config import CannotStart, Settings
from arwx.db import Database
from arwx.errors import ArwxError, NotFound
from arwx.models import Blob

MANIFEST = "backup.json"
_BLOBS, _SECRET, _LOCK = "blobs", "secret_key", ".lock"
_TRIES = 5


@dataclass(frozen=True)
class _Named:
    """A blob that the copied database names."""

    org_id: int
    sha: str
    size: int

    def path(self, folder: Path) -> Path:
        return folder / str(self.org_id) / self.sha[:2] / self.sha


@dataclass
class Kept:
    """What is in the folder now. `problems` are the blobs that the server itself has lost, a line each."""

    blobs: int = 0
    copied: int = 0
    problems: list[str] = field(default_factory=list)


def make(database: Database, store: Store, settings: Settings, folder: Path) -> Kept:
    """Bring the folder to the present state of the server, which goes on serving.

    Raises `CannotStart` when that cannot be; then the folder keeps the database that it had.
    """
    try:
        _check_place(settings, folder, dumps.name(database))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(folder):
            return _make(database, store, settings, folder)
    except OSError as error:
        raise CannotStart(f"{folder} cannot be used: {error.strerror}.") from error


def _make(database: Database, store: Store, settings: Settings, folder: Path) -> Kept:
    manifest = {"format": "arwx backup", "version": 1, "finished_at": None}
    if not (folder / MANIFEST).exists():
        _write(folder / MANIFEST, manifest)
    final = folder / dumps.name(database)
    fresh = folder / f".{final.name}.partial"
    # The copy of a database that keeps the blobs has them too.
    are_apart = settings.blobs_at != "db:"
    try:
        for _ in range(_TRIES):
            named = dumps.take(database, fresh, _named) if are_apart else dumps.take(database, fresh, lambda _: [])
            kept = _copy(database, store, folder / _BLOBS, named)
            if kept is not None:
                break
        else:
            raise CannotStart("Blobs are being taken away all the time: try again when arwx gc is done.")
        if settings.is_sqlite:
            _copy_secret(settings.data_dir, folder)
        for end in ("-wal", "-shm"):
            final.with_name(final.name + end).unlink(missing_ok=True)  # of the one before, and empty
        fresh.replace(final)
        durable.sync(folder)
    finally:
        dumps.forget(fresh)
    told = {"finished_at": clock.now().isoformat(), "database": final.name, "schema": schema.head()}
    _write(folder / MANIFEST, {**manifest, **told, "blobs": kept.blobs if are_apart else "in the database"})
    _prune(folder / _BLOBS, {one.path(folder / _BLOBS) for one in named})
    return kept


def _check_place(settings: Settings, folder: Path, name: str) -> None:
    """Raise `CannotStart` where a backup would destroy something else."""
    place = folder.resolve()
    live = {settings.data_dir.resolve()}
    if settings.is_sqlite:
        live.add(Path(make_url(settings.database_url).database or "").resolve().parent)
    if settings.blobs_at.startswith("file:"):
        kept = blobstore.folder(settings.blobs_at).resolve()
        if place == kept or kept in place.parents or place / _BLOBS == kept:
            raise CannotStart(f"{folder} belongs to the server itself: name another folder.")
    if place in live:
        raise CannotStart(f"{folder} belongs to the server itself: name another folder.")
    if place.is_dir() and not (place / MANIFEST).is_file() and any(place.iterdir()):
        raise CannotStart(f"{folder} holds something else than a backup: name an empty folder.")
    log = place / f"{name}-wal"
    if log.exists() and log.stat().st_size:
        raise CannotStart(f"{folder / name} is in use: a server was started on it. Name another folder.")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second backup out of the folder. The lock ends with the process."""
    with os.fdopen(os.open(folder / _LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(f"Another backup into {folder} is running.") from None
        yield


def _named(session: Session) -> list[_Named]:
    """The blobs of the organizations that are there. What `arwx gc` still has to take away is not needed."""
    found = []
    for org_id in organizations.all_ids(session):
        rows = Scope(session, org_id, "read", "cli").blobs().with_only_columns(Blob.sha, Blob.size).order_by(Blob.sha)
        found += [_Named(org_id, sha, size) for sha, size in session.execute(rows.execution_options(yield_per=1000))]
    return found


def _copy(database: Database, store: Store, folder: Path, named: list[_Named]) -> Kept | None:
    """Copy what is not in the folder yet. None when something is gone since: a database of now does not name it."""
    kept = Kept(blobs=len(named))
    copies = blobstore.open_store(folder.absolute().as_uri(), database)
    for one in named:
        try:
            if one.path(folder).stat().st_size == one.size:
                continue
        except FileNotFoundError:
            pass
        try:
            blobstore.receive(copies, one.org_id, blobs.stream(store, _row(database, one)), one.sha)
            kept.copied += 1
        except ArwxError as error:
            try:
                _row(database, one)
            except NotFound:
                return None
            kept.problems.append(f"organization {one.org_id}: blob {one.sha}: {error.message}")
    return kept


def _row(database: Database, one: _Named) -> Blob:
    with database.reading(one.org_id) as session:
        return Scope(session, one.org_id, "read", "cli").blob(one.sha)


def _copy_secret(data_dir: Path, folder: Path) -> None:
    """The key that signs cookies and links, when it is kept in the data folder."""
    with contextlib.suppress(FileNotFoundError):
        key = (data_dir / _SECRET).read_bytes()
        _replace(folder / _SECRET, key)


def _prune(folder: Path, named: set[Path]) -> None:
    """Remove blobs that the database names no longer, and what a stopped backup left."""
    for path in folder.glob("*/*/*"):
        if path not in named:
            path.unlink()


def _write(path: Path, told: dict[str, object]) -> None:
    _replace(path, json.dumps(told, indent=2).encode() + b"\n")


def _replace(path: Path, content: bytes) -> None:
    """Put a file in its place, whole and durable, or leave the one that is there."""
    fresh = path.with_name(f".{path.name}.partial")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    durable.sync(path.parent)
