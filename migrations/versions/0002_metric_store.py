"""The metric store: streams, writers, ledger, tokens, chunks."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from arwx.models import Moment

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "streams",
        *_run(),
        sa.Column("last_seen_at", Moment(), nullable=False),
        sa.Column("first_ts", sa.Float(53), nullable=True),
        sa.Column("next_writer", sa.Integer(), nullable=False),
        sa.Column("next_chunk", sa.BigInteger(), nullable=False),
        sa.Column("pending_batches", sa.Integer(), nullable=False),
        sa.Column("pending_points", sa.BigInteger(), nullable=False),
        sa.Column("summary", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "run_id", name="pk_streams"),
        sa.CheckConstraint("pending_batches >= 0 AND pending_points >= 0", name="ck_streams_pending"),
    )
    op.create_table(
        "writers",
        *_run(),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("writer_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Text(), nullable=False),
        sa.Column("next_seq", sa.BigInteger(), nullable=False),
        sa.Column("ranges", sa.LargeBinary(), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), nullable=False),
        sa.Column("conflicts", sa.BigInteger(), nullable=False),
        sa.Column("expected_points", sa.BigInteger(), nullable=True),
        sa.Column("expected_next_seq", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("org_id", "run_id", "number", name="pk_writers"),
        _of_stream("writers"),
        sa.UniqueConstraint("org_id", "run_id", "writer_id", "epoch", name="uq_writers_org_id_run_id_writer_id_epoch"),
        sa.CheckConstraint("next_seq >= 0 AND duplicates >= 0 AND conflicts >= 0", name="ck_writers_counts"),
    )
    op.create_table(
        "ledger",
        *_run(),
        sa.Column("writer", sa.Integer(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("skipped", sa.BigInteger(), nullable=False),
        sa.Column("checksum", sa.BigInteger(), nullable=False),
        sa.Column("committed_at", Moment(), nullable=False),
        sa.Column("digests", sa.LargeBinary(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("org_id", "run_id", "writer", "first_seq", name="pk_ledger"),
        _of_stream("ledger"),
        sa.CheckConstraint("entries BETWEEN 1 AND 4096", name="ck_ledger_entries"),
        sa.CheckConstraint("first_seq >= 0 AND points >= 0 AND skipped >= 0", name="ck_ledger_counts"),
    )
    op.create_index(
        "ix_ledger_pending",
        "ledger",
        ["org_id", "run_id"],
        sqlite_where=sa.text("payload IS NOT NULL"),
        postgresql_where=sa.text("payload IS NOT NULL"),
    )
    op.create_table(
        "tokens",
        *_run(),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "run_id", "token", name="pk_tokens"),
        _of_stream("tokens"),
    )
    op.create_table(
        "chunks",
        *_run(),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_step", sa.BigInteger(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("checksum", sa.BigInteger(), nullable=False),
        sa.Column("brief", sa.LargeBinary(), nullable=False),
        sa.Column("blocks", sa.LargeBinary(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "run_id", "key", "number", name="pk_chunks"),
        _of_stream("chunks"),
        sa.CheckConstraint("count BETWEEN 1 AND 4096", name="ck_chunks_count"),
        sa.CheckConstraint("first_step >= 0 AND first_step <= last_step", name="ck_chunks_steps"),
    )
    op.create_index(
        "ix_chunks_partial",
        "chunks",
        ["org_id", "run_id"],
        sqlite_where=sa.text("count < 4096"),
        postgresql_where=sa.text("count < 4096"),
    )
    if op.get_bind().dialect.name == "postgresql":
        # These are compressed already, or too dense to gain; PostgreSQL must not try again.
        for table, column in (
            ("ledger", "payload"),
            ("ledger", "digests"),
            ("chunks", "payload"),
            ("chunks", "blocks"),
            ("streams", "summary"),
        ):
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")


def _run() -> tuple[sa.Column[Any], sa.Column[Any]]:
    return sa.Column("org_id", sa.BigInteger(), nullable=False), sa.Column("run_id", sa.Text(), nullable=False)


def _of_stream(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["org_id", "run_id"], ["streams.org_id", "streams.run_id"], name=f"fk_{table}_streams", ondelete="CASCADE"
    )
