"""The tables of the metric store. All of them are spread by run: every key begins with (org_id, run_id)."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Float,
    ForeignKeyConstraint,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    and_,
    literal_column,
)

from arwx.models import RUN, Base, Moment

# The most entries of a row of the ledger and points of a chunk. Readers count on it.
ROW_ENTRIES = 4096
CHUNK_POINTS = 4096


def _table(name: str, *parts: Any) -> Table:
    return Table(
        name,
        Base.metadata,
        Column("org_id", BigInteger, primary_key=True, autoincrement=False),
        Column("run_id", Text, primary_key=True),
        *parts,
        info=RUN,
    )


def _of_stream() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["org_id", "run_id"], ["streams.org_id", "streams.run_id"], ondelete="CASCADE")


# One row a run, made with it: its row lock, and everything that lists and liveness need without reading points.
streams = _table(
    "streams",
    Column("last_seen_at", Moment, nullable=False),
    Column("first_ts", Float(53), nullable=True),
    Column("next_writer", Integer, nullable=False),
    Column("next_chunk", BigInteger, nullable=False),
    Column("pending_batches", Integer, nullable=False),
    Column("pending_points", BigInteger, nullable=False),
    Column("summary", LargeBinary, nullable=False),
    CheckConstraint("pending_batches >= 0 AND pending_points >= 0", name="ck_streams_pending"),
)

# One row an epoch of a writer: which sequence numbers came (all below next_seq, and the few ranges above it).
writers = _table(
    "writers",
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("writer_id", Text, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("next_seq", BigInteger, nullable=False),
    Column("ranges", LargeBinary, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("conflicts", BigInteger, nullable=False),
    Column("expected_points", BigInteger, nullable=True),
    Column("expected_next_seq", BigInteger, nullable=True),
    _of_stream(),
    UniqueConstraint("org_id", "run_id", "writer_id", "epoch"),
    CheckConstraint("next_seq >= 0 AND duplicates >= 0 AND conflicts >= 0", name="ck_writers_counts"),
)

# What was acknowledged, for ever: a row is one contiguous range of entries of one epoch. `digests` holds 16 bits an
# entry, to tell a repeat from a conflict. `payload` is level 0, the points themselves, until compaction moves them.
ledger = _table(
    "ledger",
    Column("writer", Integer, primary_key=True, autoincrement=False),
    Column("first_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("entries", Integer, nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("skipped", BigInteger, nullable=False),
    Column("checksum", BigInteger, nullable=False),
    Column("committed_at", Moment, nullable=False),
    Column("digests", LargeBinary, nullable=False),
    Column("payload", LargeBinary, nullable=True),
    _of_stream(),
    CheckConstraint(f"entries BETWEEN 1 AND {ROW_ENTRIES}", name="ck_ledger_entries"),
    CheckConstraint("first_seq >= 0 AND points >= 0 AND skipped >= 0", name="ck_ledger_counts"),
)
Index(
    "ix_ledger_pending",
    ledger.c.org_id,
    ledger.c.run_id,
    sqlite_where=ledger.c.payload.is_not(None),
    postgresql_where=ledger.c.payload.is_not(None),
)

# Batches that came without sequence numbers: what they are known by, and what was in them.
tokens = _table(
    "tokens",
    Column("token", LargeBinary, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    _of_stream(),
)

# What the chunks of keys that are logged together have in common: steps, ts, writers and seqs of their entries, once for
# all of them. `checksum` is that of the payload's bytes. It goes with the last chunk that names it. Axes and chunks are
# numbered in one line, the axis right before its chunks.
axes = _table(
    "axes",
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("count", Integer, nullable=False),
    Column("checksum", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    _of_stream(),
    CheckConstraint(f"count BETWEEN 1 AND {CHUNK_POINTS}", name="ck_axes_count"),
)

# Level 1: points of one key in the order (step, writer, seq). `brief` is the chunk as one block and `blocks` its
# blocks of 512 points, both arrays of `_chunk.BLOCK`: they let charts pass over the payload. `axis` is the number of
# the axis that the chunk shares with others; without one the payload has its own. It is named by no foreign key, since
# nothing but compaction and the end of the run removes axes, and the receipt looks for missing ones.
chunks = _table(
    "chunks",
    Column("key", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("count", Integer, nullable=False),
    Column("first_step", BigInteger, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("checksum", BigInteger, nullable=False),
    Column("brief", LargeBinary, nullable=False),
    Column("blocks", LargeBinary, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("axis", BigInteger, nullable=True),
    _of_stream(),
    CheckConstraint(f"count BETWEEN 1 AND {CHUNK_POINTS}", name="ck_chunks_count"),
    CheckConstraint("first_step >= 0 AND first_step <= last_step", name="ck_chunks_steps"),
)

_is_partial = chunks.c.count < literal_column(str(CHUNK_POINTS))
# All that compaction asks of chunks that are not full, so that it does not touch the rows: `axis` lies behind the payload.
Index(
    "ix_chunks_partial",
    *(chunks.c.org_id, chunks.c.run_id, chunks.c.key, chunks.c.number, chunks.c.count, chunks.c.axis),
    sqlite_where=_is_partial,
    postgresql_where=_is_partial,
)


def with_axes(*where: ColumnElement[bool]) -> FromClause:
    """The chunks, each with the axis that it shares with others, if it does; `where` says in which runs the axes are."""
    return chunks.outerjoin(
        axes,
        and_(
            axes.c.org_id == chunks.c.org_id,
            axes.c.run_id == chunks.c.run_id,
            axes.c.number == chunks.c.axis,
            *where,
        ),
    )
