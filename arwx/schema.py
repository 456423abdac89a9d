"""The version of the database schema: what it is, what it should be, and the way there."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from arwx.config import CannotStart
from arwx.db import Database

_MIGRATIONS = Path(__file__).parents[1] / "migrations"


def upgrade(database: Database) -> None:
    """Bring the database to the schema of this version. A second call changes nothing."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["database"] = database
    command.upgrade(config, "head")


@cache
def head() -> str:
    """The revision that this version of the code stands on."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    revision = ScriptDirectory.from_config(config).get_current_head()
    if revision is None:
        raise CannotStart("There are no migrations beside this code.")
    return revision


def trouble(session: Session) -> str | None:
    """Why the database cannot be used now, in one line; None when it can."""
    try:
        revision = MigrationContext.configure(session.connection()).get_current_revision()
    except SQLAlchemyError:
        return "The database cannot be reached."
    if revision is None:
        return "The database is empty. Run: arwx migrate"
    if revision != head():
        return "The database has the schema of another version. Run: arwx migrate"
    return None
