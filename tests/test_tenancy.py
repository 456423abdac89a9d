"""The second lock, on PostgreSQL: whatever a statement asks for, the server gives one organization its own rows."""

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from arwx import config, create_app, schema
from arwx.access import Scope
from arwx.db import Database
from arwx.models import Base
from tests.access.world import furnish
from tests.make import Maker
from tests.postgres import Postgres, admit_application, as_application, as_operator

TABLES = [table for table in Base.metadata.sorted_tables if schema.is_of_organizations(table)]


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    """Two organizations with everything in them; the address is that of the role with which a server works."""
    owner = postgres.create("tenancy")
    schema.upgrade(Database(owner))
    admit_application(owner)
    app = create_app(config.Settings(as_application(owner), Path("/nonexistent"), "x" * 40, blob_url="db:"))
    make = Maker(app)
    furnish(make.caller("Ada's lab", scope="admin"))
    furnish(make.caller("Elsewhere", scope="admin"), "HERS")
    app.extensions["arwx.db"].engine.dispose()
    return as_application(owner)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.engine.dispose()


@pytest.fixture
def unlocked(url: str) -> Iterator[psycopg.Connection]:
    """The same database past the lock, to see what is really there."""
    with psycopg.connect(as_operator(url).replace("+psycopg", "")) as connection:
        yield connection


def test_every_table_with_rows_of_organizations_is_locked(unlocked: psycopg.Connection) -> None:
    locked = unlocked.execute("SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity").fetchall()
    assert {name for (name,) in locked} == {table.name for table in TABLES}
    assert len(TABLES) > 15
    role = unlocked.execute("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = 'arwx_app'").fetchone()
    owned = unlocked.execute("SELECT count(*) FROM pg_tables WHERE tableowner = 'arwx_app'").fetchone()
    assert (role, owned) == ((False, False), (0,))


def test_without_an_organization_nothing_is_there(url: str, unlocked: psycopg.Connection) -> None:
    filled = 0
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        for table in TABLES:
            count = f'SELECT count(*) FROM "{table.name}"'
            assert connection.execute(count).fetchone() == (0,), table.name
            filled += unlocked.execute(count).fetchone() != (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "INSERT INTO projects (org_id, id, name, lower_is_better, created_at) VALUES (1, 'x', 'x', true, now())"
            )
    assert filled > 12  # the world has something nearly everywhere


def test_an_organization_sees_its_own_rows_and_writes_no_others(url: str) -> None:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("SET LOCAL arwx.org_id = '2'")
        for table in TABLES:
            assert connection.execute(f'SELECT count(*) FROM "{table.name}" WHERE org_id <> 2').fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
        assert connection.execute("UPDATE runs SET name = 'x' WHERE org_id = 1").rowcount == 0
        assert connection.execute("DELETE FROM decisions WHERE org_id = 1").rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("UPDATE runs SET org_id = 1")


def test_the_organization_ends_with_the_transaction(database: Database) -> None:
    said = text("SELECT current_setting('arwx.org_id', true)")
    for _ in range(3):
        with database.reading(1) as session:
            assert session.scalar(said) == "1"
        with database.reading() as session:
            assert session.scalar(said) in {None, ""}
    with database.writing() as session:
        assert session.scalar(said) in {None, ""}
        Scope(session, 2, "read", "test")  # in the middle of a transaction
        assert session.scalar(said) == "2"
        session.commit()
        assert session.scalar(said) == "2"  # and in those that the session begins later


def test_beginning_for_an_organization_costs_no_message_more(database: Database) -> None:
    """Everything that is sent before the first question goes with the beginning itself."""
    sent: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *seen: sent.append(seen[2]))
    with database.reading(1) as session:
        session.scalar(text("SELECT 1"))
    assert sent == ["BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL arwx.org_id = '1'", "SELECT 1"]


def test_a_thousand_requests_over_two_connections_mix_nothing_up(url: str) -> None:
    """Threads of two organizations share a pool of two; some fail half way, some ask for rows of others."""
    database = Database(url)
    database.engine.pool._pool.maxsize = 2  # type: ignore[attr-defined]
    database.engine.pool._max_overflow = 0  # type: ignore[attr-defined]
    foreign: list[object] = []
    seen = [0, 0]

    def ask(seed: int) -> None:
        chance = random.Random(seed)
        for number in range(125):
            org_id = 1 + (number + seed) % 2
            try:
                with database.session(org_id, is_writing=chance.random() < 0.5) as session:
                    # As raw text: the checker of statements, which is the first lock, does not look into it.
                    rows = session.execute(text("SELECT org_id, id FROM runs")).all()
                    foreign.extend(row for row in rows if row.org_id != org_id)
                    seen[0] += len(rows)
                    if chance.random() < 0.3:
                        session.execute(text("SELECT 1 / 0"))
                    session.execute(text("UPDATE runs SET notes = 'touched'"))
                    if chance.random() < 0.2:
                        raise RuntimeError("half way")
                    session.commit()
            except (DBAPIError, RuntimeError):
                seen[1] += 1

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.engine.dispose()
    assert foreign == []
    assert seen[0] == 1000
    assert 300 < seen[1] < 700


def test_the_owner_of_the_tables_is_held_by_the_lock_too(postgres: Postgres) -> None:
    """A host gives one role, which owns the tables and serves: everything works, and the lock holds."""
    with psycopg.connect(postgres.url("postgres", driver=False), autocommit=True) as connection:
        connection.execute("CREATE ROLE landlord LOGIN NOSUPERUSER NOBYPASSRLS")
        connection.execute("CREATE DATABASE hosted OWNER landlord")
    url = postgres.url("hosted").replace("//postgres@", "//landlord@")
    database = Database(url)
    schema.upgrade(database)
    schema.upgrade(database)
    app = create_app(config.Settings(url, Path("/nonexistent"), "x" * 40, blob_url="db:"))
    ada = Maker(app).caller("Ada's lab", scope="admin")
    names = furnish(ada)
    assert ada.get(f"/v1/runs/{names['run_id']}/integrity").json["intact"] is True
    with database.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM runs")) == 0
    with database.reading(ada.org_id) as session:
        assert session.scalar(text("SELECT count(*) FROM runs")) == 1
    app.extensions["arwx.db"].engine.dispose()
    database.engine.dispose()
