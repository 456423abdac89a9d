"""Axes: what the chunks of keys that are logged together have in common, stored once. Older chunks stay as they are."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "axes",
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("checksum", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "run_id", "number", name="pk_axes"),
        sa.ForeignKeyConstraint(
            ["org_id", "run_id"], ["streams.org_id", "streams.run_id"], name="fk_axes_streams", ondelete="CASCADE"
        ),
        sa.CheckConstraint("count BETWEEN 1 AND 4096", name="ck_axes_count"),
    )
    # A plain ALTER on both databases: the chunks are not copied.
    op.add_column("chunks", sa.Column("axis", sa.BigInteger(), nullable=True))
    op.drop_index("ix_chunks_partial", "chunks")
    op.create_index(
        "ix_chunks_partial",
        "chunks",
        ["org_id", "run_id", "key", "number", "count", "axis"],
        sqlite_where=sa.text("count < 4096"),
        postgresql_where=sa.text("count < 4096"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE axes ALTER COLUMN payload SET STORAGE EXTERNAL")
