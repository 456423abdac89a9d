"""Runs the migrations on the database that the caller brings, in one transaction."""

from alembic import context
from sqlalchemy import text

import arwx.points  # noqa: F401 - its tables belong to the metadata
from arwx.db import Database
from arwx.models import Base

database: Database = context.config.attributes["database"]

with database.engine.execution_options(arwx_writes=True).connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transaction_per_migration=False,
        render_as_batch=database.is_sqlite,
    )
    with context.begin_transaction():
        if not database.is_sqlite:
            # Plain PostgreSQL takes both lines; spread over several machines it needs the first one, and of two
            # releases that start at once the second waits at the lock.
            connection.execute(text("SET LOCAL citus.multi_shard_modify_mode = 'sequential'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(7242001)"))
        context.run_migrations()
