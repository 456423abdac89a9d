"""One file that holds the whole database as it was at one moment, taken while others write: SQLite's own backup, or
`pg_dump`.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import make_url, text
from sqlalchemy.orm import Session

from arwx.config import CannotStart
from arwx.db import Database

T = TypeVar("T")

_SEES_ALL = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
# PostgreSQL ends a transaction that says nothing for a minute.
_SIGN_OF_LIFE_S = 10


def name(database: Database) -> str:
    """What the file is called: an SQLite database, or an archive for `pg_restore`."""
    return "arwx.db" if database.is_sqlite else "arwx.dump"


def take(database: Database, path: Path, see: Callable[[Session], T]) -> T:
    """Write the file, durably, and answer what `see` finds in the very state that was written.

    Raises `CannotStart` with one plain line when it cannot be.
    """
    forget(path)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return (_copy if database.is_sqlite else _dump)(database, path, see)


def forget(path: Path) -> None:
    """Remove what a dump that was stopped left under this name."""
    for end in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _copy(database: Database, path: Path, see: Callable[[Session], T]) -> T:
    source = make_url(str(database.engine.url)).database
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{Path(source or '').absolute().as_uri()}?mode=rw", uri=True)) as old,
            contextlib.closing(sqlite3.connect(path)) as new,
        ):
            # All pages in one step: a reader of the write-ahead log stands in nobody's way, and nobody in his.
            old.backup(new)
            if (found := new.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise CannotStart(f"The database is damaged: {' '.join(found.split())}")
    except sqlite3.Error as error:
        raise CannotStart(f"The database cannot be copied: {error}") from error
    copy = Database(f"sqlite:///{path}")
    try:
        with copy.reading() as session:
            found = see(session)
    finally:
        copy.engine.dispose()
    # One file without companions: it may be opened from where nothing can be written.
    with contextlib.closing(sqlite3.connect(path)) as new:
        new.execute("PRAGMA journal_mode=DELETE").fetchall()
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return found


def _dump(database: Database, path: Path, see: Callable[[Session], T]) -> T:
    program = shutil.which("pg_dump")
    if program is None:
        raise CannotStart("There is no pg_dump here: install the PostgreSQL client of the server's version.")
    with database.reading() as session:
        if not session.scalar(text(_SEES_ALL)):
            raise CannotStart("The role in DATABASE_URL does not see all rows: back up with one that has BYPASSRLS.")
        moment = session.scalar(text("SELECT pg_export_snapshot()"))
        found = see(session)
        url = database.engine.url.set(drivername="postgresql")
        # The password goes by the environment: arguments are for everybody to see.
        environment = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
        where = url.set(password=None).difference_update_query(["password"]).render_as_string()
        arguments = ["--format=custom", "--no-password", f"--snapshot={moment}", f"--file={path}", f"--dbname={where}"]
        with subprocess.Popen(  # noqa: S603 - the arguments are ours
            [program, *arguments], env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                said = _outcome(process, session)
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise CannotStart(f"pg_dump refused: {_reason(said)}")
    return found


def _outcome(process: "subprocess.Popen[str]", session: Session) -> str:
    """What the program said on its way to the end. The moment that it copies stays open until then."""
    while True:
        try:
            return process.communicate(timeout=_SIGN_OF_LIFE_S)[1]
        except subprocess.TimeoutExpired:
            session.execute(text("SELECT 1"))


def _reason(said: str) -> str:
    lines = [line.removeprefix("pg_dump: ").removeprefix("error: ") for line in said.strip().splitlines()]
    return " ".join(lines[:2]) or "it gave no reason"
