"""`arwx fsck` finds what is damaged, and nothing where nothing is."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from sqlalchemy import text

from arwx import cli, clock, runs
from arwx.config import Settings
from tests.conftest import SECRET_KEY
from tests.make import Caller, point

RAW = b"weights" * 1000
SHA = hashlib.sha256(RAW).hexdigest()


@pytest.fixture
def check(ada: Caller, settings: Settings) -> Any:
    """The command, beside a server with a run and a file: its exit code and what it says."""
    ada.run(id="r")
    ada.ingest("r", [point(step) for step in range(10)])
    assert ada.post("/v1/files/upload?project=char-lm&name=w.bin&run_id=r", data=RAW).status_code == 201
    environment = {
        "DATABASE_URL": settings.database_url,
        "ARWX_DATA_DIR": str(settings.data_dir),
        "SECRET_KEY": SECRET_KEY,
        "ARWX_BLOB_URL": settings.blobs_at,
    }

    def run() -> tuple[int, str]:
        done = CliRunner().invoke(cli.main, ["fsck"], env=environment)
        return done.exit_code, done.output

    return run


def test_nothing_is_found_where_all_is_well(check: Any) -> None:
    assert check() == (0, "Everything is as it was stored.\n")


def test_bytes_that_are_gone_are_named(app: Flask, ada: Caller, check: Any) -> None:
    assert app.extensions["arwx.blobs"].erase(ada.org_id, SHA, clock.now() + timedelta(days=1))
    code, said = check()
    assert (code, said.count("\n")) == (1, 1)
    assert f"blob {SHA}: The stored bytes are damaged or gone" in said


def test_a_file_without_its_blob_is_named(database: Any, ada: Caller, check: Any) -> None:
    with database.writing(ada.org_id) as session:
        session.execute(text("DELETE FROM blobs"))
    code, said = check()
    assert (code, said.count("\n")) == (1, 1)
    assert f"blob {SHA} is not there" in said


def test_points_that_are_gone_are_named(app: Flask, database: Any, ada: Caller, check: Any) -> None:
    assert runs.compact(app.extensions["arwx.db"]) == 1
    assert check()[0] == 0
    with database.writing(ada.org_id) as session:
        session.execute(text("DELETE FROM chunks"))
    code, said = check()
    assert (code, said.count("\n")) == (1, 1)
    assert "run r: " in said
