"""The version of the database schema: what it is, what it should be, and the way there."""

from functools import cache
from pathlib import Path

from sqlalchemy import Table, column, inspect, select, table, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

import arwx.points  # noqa: F401 - its tables belong to the metadata
from arwx.config import CannotStart
from arwx.db import Database, protect
from arwx.models import Base

_MIGRATIONS = Path(__file__).parents[1] / "migrations"
_VERSION = table("alembic_version", column("version_num"))


def upgrade(database: Database) -> None:
    """Bring the database to the schema of this version. A second call changes nothing.

    Raises `CannotStart` for one that a newer version has changed: there is no way back.
    """
    with database.reading() as session:
        if _is_newer(revision := _revision(session)):
            raise CannotStart(_newer(revision))
    # Only here, since a server that starts does not need it: it costs a tenth of a second and ten megabytes.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["database"] = database
    command.upgrade(config, "head")
    if not database.is_sqlite:
        _protect(database)


def _protect(database: Database) -> None:
    """Put each table with rows of organizations behind the second lock, those of later migrations too."""
    known = text("SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity")
    with database.writing() as session:
        locked = set(session.scalars(known))
        if bare := [one for one in Base.metadata.sorted_tables if is_of_organizations(one) and one.name not in locked]:
            session.execute(text("SET LOCAL citus.multi_shard_modify_mode = 'sequential'"))
            protect(session.connection(), bare)


def is_of_organizations(one: Table) -> bool:
    """Whether each row of the table belongs to an organization, which alone may see it."""
    return one.info["dist"] not in {"reference", "local"}


@cache
def head() -> str:
    """The revision that this version of the code stands on: migrations are numbered, each file by its revision."""
    return max(path.name.split("_", 1)[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def trouble(session: Session, *, in_detail: bool = False) -> str | None:
    """Why the database cannot be used now, in one line; None when it can.

    In detail, it says what the database itself said, which may name its address: for operators alone.
    """
    try:
        revision = _revision(session)
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return f"The database cannot be reached{f': {said}' if in_detail else ''}."
    if revision is None:
        return "The database is empty. Run: arwx migrate"
    if _is_newer(revision):
        return _newer(revision)
    if revision != head():
        return "The database has the schema of an older version. Run: arwx migrate"
    return None


def _revision(session: Session) -> str | None:
    is_there = inspect(session.connection()).has_table(_VERSION.name)
    return session.scalar(select(_VERSION.c.version_num)) if is_there else None


def _is_newer(revision: str | None) -> bool:
    return revision is not None and revision > head()


def _newer(revision: str | None) -> str:
    return f"The database has schema {revision} of a newer version; this one knows {head()}. Install the newer version."
