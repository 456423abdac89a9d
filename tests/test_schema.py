"""Migrations give what the models say, and the one-schema rules hold. The checkers are themselves checked."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import g
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    ForeignKeyConstraint,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    delete,
    event,
    select,
    update,
)

import arwx.points  # noqa: F401 - its tables belong to the metadata
from arwx import schema
from arwx.config import CannotStart
from arwx.db import Database
from arwx.models import ORG, REFERENCE, RUN, Base, Project, Run
from tests.make import Caller, point
from tests.rules import schema_problems, statement_problems

ROOT = Path(__file__).parents[1]


def test_the_tables_keep_the_one_schema_rules() -> None:
    assert schema_problems(Base.metadata) == []


def test_migrations_give_what_the_models_say(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrations_are_one_line_of_numbers() -> None:
    script = ScriptDirectory(str(ROOT / "migrations"))
    assert script.get_heads() == [schema.head()]
    for revision in script.walk_revisions():
        assert Path(revision.path).name.startswith(f"{revision.revision}_")


def test_migrating_twice_changes_nothing(database: Database) -> None:
    schema.upgrade(database)
    with database.reading() as session:
        assert schema.trouble(session) is None


def test_an_empty_database_and_a_strange_one_are_told_apart(database: Database) -> None:
    for revision, said in (("0001", "older version. Run: arwx migrate"), ("9999", "newer version")):
        with database.writing() as session:
            session.connection().exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
        with database.reading() as session:
            assert said in str(schema.trouble(session))
    with pytest.raises(CannotStart, match="newer version"):
        schema.upgrade(database)
    with database.writing() as session:
        session.connection().exec_driver_sql("DELETE FROM alembic_version")
    with database.reading() as session:
        assert "arwx migrate" in str(schema.trouble(session))
    with database.writing() as session:
        session.connection().exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{schema.head()}')")


def test_the_table_checker_finds_what_is_wrong() -> None:
    bad = MetaData()
    Table("undeclared", bad, Column("id", BigInteger, primary_key=True))
    Table("homeless", bad, Column("id", BigInteger, primary_key=True), info=ORG)
    Table(
        "globally_unique",
        bad,
        Column("org_id", BigInteger, nullable=False),
        Column("id", Text, primary_key=True),
        info=ORG,
    )
    Table(
        "maybe", bad, Column("org_id", BigInteger), Column("id", Text), PrimaryKeyConstraint("id", name="pk"), info=ORG
    )
    Table("owners", bad, Column("org_id", BigInteger, primary_key=True), Column("id", Text, primary_key=True), info=ORG)
    Table(
        "crossing",
        bad,
        Column("org_id", BigInteger, primary_key=True),
        Column("run_id", Text, primary_key=True),
        Column("owner_id", Text),
        ForeignKeyConstraint(["org_id", "owner_id"], ["owners.org_id", "owners.id"], name="fk", ondelete="SET NULL"),
        info=RUN,
    )
    Table(
        "cold",
        bad,
        Column("id", BigInteger, primary_key=True),
        Column("org_id", BigInteger),
        Column("owner_id", Text),
        ForeignKeyConstraint(["org_id", "owner_id"], ["owners.org_id", "owners.id"]),
        info=REFERENCE,
    )
    problems = schema_problems(bad)
    for expected in (
        "undeclared: no placement declared",
        "homeless: no column org_id",
        "globally_unique: None lacks org_id",
        "maybe.org_id: nullable",
        "maybe: pk lacks org_id",
        "crossing: foreign key to owners crosses groups",
        "crossing: ON DELETE SET NULL",
        "cold: foreign key to owners has no name",
        "cold: foreign key from a reference table to owners, which is spread",
    ):
        assert expected in problems, problems


@pytest.mark.parametrize(
    ("statement", "is_good"),
    [
        (select(Run).where(Run.org_id == 1, Run.id == "r"), True),
        (select(Run).where(Run.id == "r"), False),
        (select(Run).where(Run.org_id.in_([1, 2])), True),
        (select(Run).where(Run.org_id.in_([1, 2])).with_for_update(), False),
        (update(Run).where(Run.id == "r").values(name="x"), False),
        (update(Run).where(Run.org_id == 1).values(name="x"), True),
        (delete(Project).where(Project.name == "x"), False),
        (select(Run, Project).where(Run.org_id == 1, Project.org_id == Run.org_id), False),
    ],
)
def test_the_statement_checker_finds_what_is_wrong(statement: object, is_good: bool) -> None:
    assert (statement_problems(statement) == []) is is_good


def test_an_ingest_touches_the_run_group_alone(ada: Caller) -> None:
    run = ada.run()
    touched: set[str] = set()

    def watch(_connection: object, statement: object, *_: object) -> None:
        for table in Base.metadata.tables.values():
            # The key check has a session of its own, before there is a scope.
            if g.get("scope") and table.name in str(statement).replace('"', "").split():
                touched.add(table.name)

    event.listen(Engine, "before_execute", watch)
    try:
        assert ada.ingest(run["id"], [point(0), point(1)], first_seq=0).status_code == 200
    finally:
        event.remove(Engine, "before_execute", watch)
    assert touched
    assert {Base.metadata.tables[name].info["group"] for name in touched} == {"run"}
