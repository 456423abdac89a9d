"""The databases, the application and the cast.

The suite runs on SQLite, and on PostgreSQL with ARWX_TEST_DATABASE=postgres. Every test gets a fresh, migrated
database: a copy of one that was migrated once.
"""

import os
import shutil
import tracemalloc  # noqa: F401  (early: pytest imports it in the middle of a collection, and met it half imported)
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from flask import Flask
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy import Engine, event

from arwx import config, create_app, schema
from arwx.db import Database
from arwx.models import Base
from tests.make import Caller, Maker
from tests.postgres import Postgres, admit_application, as_application
from tests.promises import Promises
from tests.rules import statement_problems

KIND = os.environ.get("ARWX_TEST_DATABASE", "sqlite")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SECRET_KEY = "only-for-tests-" + "x" * 32


@pytest.fixture(scope="session", autouse=True)
def one_schema() -> Iterator[None]:
    """No statement of the whole suite may reach for rows without saying where they are."""

    def check(_connection: object, statement: object, *_: object) -> None:
        if problems := statement_problems(statement):
            raise AssertionError(f"{problems}: {statement}")

    event.listen(Engine, "before_execute", check)
    yield
    event.remove(Engine, "before_execute", check)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a database that was migrated once. On SQLite it is copied, on PostgreSQL emptied."""
    if KIND == "postgres":
        url: str = request.getfixturevalue("postgres").create("arwx")
    else:
        url = f"sqlite:///{tmp_path_factory.mktemp('migrated') / 'arwx.db'}"
    database = Database(url)
    schema.upgrade(database)
    database.engine.dispose()
    if KIND == "postgres":
        admit_application(url)
    return url


@pytest.fixture
def database_url(migrated: str, tmp_path: Path) -> str:
    """The address of a fresh, migrated database."""
    if KIND == "postgres":
        tables = ", ".join(f'"{table}"' for table in Base.metadata.tables)
        with psycopg.connect(migrated.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
        return as_application(migrated)
    shutil.copy(migrated.removeprefix("sqlite:///"), tmp_path / "arwx.db")
    return f"sqlite:///{tmp_path / 'arwx.db'}"


@pytest.fixture
def database(database_url: str, migrated: str) -> Iterator[Database]:
    """The database as its operator sees it: on PostgreSQL past the second lock, which holds the application."""
    database = Database(migrated if KIND == "postgres" else database_url)
    yield database
    database.engine.dispose()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> config.Settings:
    return config.Settings(database_url=database_url, data_dir=tmp_path, secret_key=SECRET_KEY)


@pytest.fixture
def app(settings: config.Settings) -> Iterator[Flask]:
    app = create_app(settings)
    app.testing = False  # failures must take the same way as in production
    promises = Promises(app)
    yield app
    app.extensions["arwx.db"].engine.dispose()
    assert promises.broken == []


@pytest.fixture
def make(app: Flask) -> Maker:
    return Maker(app)


@pytest.fixture
def ada(make: Maker) -> Caller:
    """Ada owns the organization; her key may do everything."""
    return make.caller("Ada's lab", scope="admin")


@pytest.fixture
def ben(make: Maker, ada: Caller) -> Caller:
    """Ben is on Ada's team; his key writes."""
    return make.caller("Ada's lab", scope="write")


@pytest.fixture
def mallory(make: Maker) -> Caller:
    """Mallory is from elsewhere; her key may do everything, there."""
    return make.caller("Elsewhere", scope="admin")


@pytest.fixture
def queries(app: Flask) -> Iterator[list[str]]:
    """The statements that the database was sent, in order."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    engine = app.extensions["arwx.db"].engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium of the system; it talks to nobody but our servers."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGUMENTS)
        yield found
        found.close()


def chromium() -> str:
    """The system's Chromium. `make test` installs it where it can."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    raise RuntimeError("The browser tests need Chromium: install your system's chromium package.")
