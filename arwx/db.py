"""The engine, the unit of work, and every difference between SQLite and PostgreSQL."""

import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask, current_app, g, request
from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from arwx.config import Settings
from arwx.errors import Unavailable

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCK_PATIENCE_S = 20.0
_NOTE_PATIENCE_S = 0.25
_STATEMENT_TIMEOUT_MS = 20_000

# Connection trouble, the server going down, no resources, serialization failures and deadlocks, lock and statement
# time-outs, and a unique key that somebody else took a moment ago.
_PASSING_SQLSTATES = ("08", "57P", "53", "40", "55P03", "57014", "23505")
_PASSING_SQLITE = (
    "SQLITE_BUSY",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_CONSTRAINT_UNIQUE",
    "SQLITE_CONSTRAINT_PRIMARYKEY",
)


_log = logging.getLogger("arwx.error")


class Database:
    """One database. Sessions are of two kinds: reading ones see one unmoving snapshot, writing ones may lock rows."""

    def __init__(self, url: str) -> None:
        self.is_sqlite = url.startswith("sqlite")
        self.engine = _sqlite_engine(url) if self.is_sqlite else _postgres_engine(url)
        self._reads = self.engine
        self._writes = self.engine.execution_options(arwx_writes=True)

    def session(self, org_id: int | None = None, *, is_writing: bool, patience_s: float = _LOCK_PATIENCE_S) -> Session:
        """A session that begins its transaction at its first statement. The caller commits and closes it.

        A writer waits for others as long as its patience lasts, then fails in a way that goes by.
        """
        engine = self._writes if is_writing else self._reads
        if patience_s != _LOCK_PATIENCE_S:
            engine = engine.execution_options(arwx_patience_s=patience_s)
        # On PostgreSQL each session has options of its own, in which it says for which organization it is.
        session = Session(engine if self.is_sqlite else engine.execution_options(), expire_on_commit=False)
        if org_id is not None:
            enter(session, org_id)
        return session

    @contextmanager
    def reading(self, org_id: int | None = None) -> Iterator[Session]:
        """A short read of its own. Rows of an organization are there for who names it, or makes a Scope of it."""
        with self.session(org_id, is_writing=False) as session:
            yield session

    @contextmanager
    def writing(self, org_id: int | None = None, *, patience_s: float = _LOCK_PATIENCE_S) -> Iterator[Session]:
        """A transaction of its own: committed at the end of the block, rolled back when it raises."""
        with self.session(org_id, is_writing=True, patience_s=patience_s) as session:
            yield session
            session.commit()

    @contextmanager
    def noting(self, org_id: int | None = None) -> Iterator[Session]:
        """A transaction for what is good to know and keeps nobody waiting, such as when a key was last used.

        It is given up while others write for long, and where the disk is full: who only reads must not notice.
        """
        try:
            with self.writing(org_id, patience_s=_NOTE_PATIENCE_S) as session:
                yield session
        except (DBAPIError, Unavailable):
            _log.warning("something was not noted", exc_info=True)

    def forget_connections(self) -> None:
        """Drop the pool without closing its sockets: they belong to the parent process after a fork."""
        self.engine.dispose(close=False)


class Arwx(Flask):
    """The application: a handler runs in one unit of work, which commits before the answer leaves."""

    def preprocess_request(self) -> Any:
        with _trouble_told():
            return super().preprocess_request()

    def dispatch_request(self) -> Any:
        with _trouble_told():
            answer = super().dispatch_request()
            g.db.commit()
        return answer


@contextmanager
def _trouble_told() -> Iterator[None]:
    """Trouble of the database that goes by becomes `Unavailable`, wherever in a request it comes up."""
    try:
        yield
    except DBAPIError as error:
        if is_passing(error):
            raise Unavailable("The database is busy or away for a moment. Send the request again.") from error
        raise


def init_app(app: Flask, settings: Settings) -> None:
    """Give every request its session, `g.db`: reading for GET, writing for the rest."""
    database = Database(settings.database_url)
    app.extensions["arwx.db"] = database

    @app.before_request
    def open_session() -> None:
        g.db = database.session(is_writing=request.method not in SAFE_METHODS)

    @app.teardown_request
    def close_session(_: BaseException | None) -> None:
        if "db" in g:
            g.db.close()  # rolls back what was not committed


def enter(session: Session, org_id: int) -> None:
    """See this organization alone from now on: PostgreSQL shows and takes no rows of another, whatever is asked.

    SQLite has no such second lock; there the conditions of the statements stand alone.
    """
    engine = session.get_bind().engine
    if engine.dialect.name == "sqlite" or engine.get_execution_options().get("arwx_org_id") == org_id:
        return
    if session.in_transaction():
        session.connection().exec_driver_sql(_inside(org_id))
    # And in the transactions that the session begins later.
    engine.update_execution_options(arwx_org_id=org_id)


def protect(connection: Connection, tables: Iterable[Table]) -> None:
    """Put the tables behind the second lock: without an organization said there is nothing in them, for their owner too."""
    for table in tables:
        name = connection.dialect.identifier_preparer.format_table(table)
        connection.exec_driver_sql(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
        connection.exec_driver_sql(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY")
        known = "SELECT 1 FROM pg_policies WHERE tablename = %s AND policyname = 'of_organization'"
        if connection.exec_driver_sql(known, (table.name,)).first() is None:
            mine = "org_id = nullif(current_setting('arwx.org_id', true), '')::bigint"
            connection.exec_driver_sql(f"CREATE POLICY of_organization ON {name} USING ({mine}) WITH CHECK ({mine})")


def current() -> Database:
    """The database of the running application."""
    database: Database = current_app.extensions["arwx.db"]
    return database


def is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def insert(session: Session, table: Any) -> Any:
    """An INSERT of the session's own dialect, which knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return (sqlite if is_sqlite(session) else postgresql).insert(table)


def is_passing(error: DBAPIError) -> bool:
    """Whether the same request may simply be sent again: the trouble goes by, or a race has been decided by now."""
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorname", "").startswith(_PASSING_SQLITE)
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # the driver itself could not reach the server
        return isinstance(error, OperationalError)
    return bool(state.startswith(_PASSING_SQLSTATES))


def _inside(org_id: int) -> str:
    # A literal, for the transaction alone: a bound value or a longer setting would not travel to other nodes.
    return f"SET LOCAL arwx.org_id = '{int(org_id)}'"


def _begin_postgres(connection: Connection) -> None:
    """Begin as asked and say for which organization, in one message to the server: it costs no time of its own."""
    options = connection.get_execution_options()
    if options.get("isolation_level") == "AUTOCOMMIT":
        return
    # Charts and receipts read in several statements; compaction must not move rows between them.
    begin = "BEGIN" if options.get("arwx_writes") else "BEGIN ISOLATION LEVEL REPEATABLE READ"
    if (patience_s := options.get("arwx_patience_s")) is not None:
        begin = f"{begin}; SET LOCAL lock_timeout = {int(patience_s * 1000)}"
    if (org_id := options.get("arwx_org_id")) is not None:
        begin = f"{begin}; {_inside(org_id)}"
    connection.exec_driver_sql(begin, execution_options={"no_parameters": True})


def _leave_beginning_to_us(connection: Any, _: object) -> None:
    connection.autocommit = True


def _postgres_engine(url: str) -> Engine:
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=24,
        pool_timeout=10,
        connect_args={
            "connect_timeout": 5,
            "application_name": "arwx",
            "options": f"-c statement_timeout={_STATEMENT_TIMEOUT_MS} -c idle_in_transaction_session_timeout=60000 "
            # Spread over several machines, what `SET LOCAL` says must reach them; one machine takes no notice.
            "-c citus.propagate_set_commands=local",
        },
    )
    event.listen(engine, "connect", _leave_beginning_to_us)
    event.listen(engine, "begin", _begin_postgres)
    return engine


def _sqlite_engine(url: str) -> Engine:
    # The driver must not begin transactions by itself: we say when, and of which kind.
    engine = create_engine(url, connect_args={"check_same_thread": False, "isolation_level": None, "timeout": 5})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    # FULL: an acknowledged point must survive a power cut, and the client deletes its copy on our word.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "journal_size_limit=67108864",
        "cache_size=-16384",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _begin_sqlite(connection: Connection) -> None:
    """Begin as asked. A writer waits for its turn here, and lets other greenlets and threads run meanwhile.

    SQLite's own busy handler sleeps inside C, where it would stop every other request of a gevent worker.
    """
    driver: Any = connection.connection.driver_connection
    options = connection.get_execution_options()
    if not options.get("arwx_writes"):
        driver.execute("BEGIN")
        return
    driver.execute("PRAGMA busy_timeout=0")
    try:
        deadline = time.monotonic() + options.get("arwx_patience_s", _LOCK_PATIENCE_S)
        pause = 0.0002
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise Unavailable("The database is busy. Send the request again.") from error
            time.sleep(pause)
            pause = min(pause * 1.5, 0.01)
    finally:
        driver.execute("PRAGMA busy_timeout=5000")
