"""A receipt that cannot fail is worthless: every way of losing, doubling or altering a point turns it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arwx import points
from arwx.db import Database
from arwx.points import _batch, _chunk, _codec, _hash
from tests.points import build
from tests.points.build import entry, losses

Tamper = Callable[[Database, points.RunKey], None]


@pytest.fixture
def key(database: Database) -> points.RunKey:
    """A run with points on both levels: steps 0 to 99 in chunks, 100 to 119 in batches."""
    key = build.run(database)
    build.send(database, key, losses(100, lr=0.1))
    build.compact(database, key)
    build.send(database, key, losses(10, 100, lr=0.1), first_seq=100)
    build.send(database, key, [*losses(9, 110, lr=0.1), entry(119, loss=1.0)], first_seq=110)
    assert build.receipt(database, key).intact
    return key


def chunk(database: Database, key: points.RunKey) -> tuple[int, _chunk.Points]:
    """The chunk of `loss`, whose axis is that of `lr` too, or its own when it is alone."""
    ((number, payload, shared),) = build.tables(
        database,
        "SELECT c.number, c.payload, a.payload FROM chunks c "
        "LEFT JOIN axes a ON a.run_id = c.run_id AND a.number = c.axis WHERE c.run_id = :r AND c.key = 'loss'",
        r=key.run_id,
    )
    return number, _chunk.decode(bytes(payload), shared and bytes(shared))


def put_chunk(database: Database, key: points.RunKey, number: int, changed: _chunk.Points) -> None:
    """Write a chunk as a clever forger would: with a count and checksum of its own that fit."""
    build.tables(
        database,
        "UPDATE chunks SET payload = :p, count = :c, checksum = :s, axis = NULL WHERE run_id = :r AND key = 'loss' AND number = :n",
        p=_chunk.encode(changed.values, _chunk.pack_axis(changed.axis)),
        c=len(changed),
        s=int(np.uint64(changed.checksum("loss")).astype(np.int64)),
        r=key.run_id,
        n=number,
    )


def delete_a_point(database: Database, key: points.RunKey) -> None:
    number, found = chunk(database, key)
    put_chunk(database, key, number, found[np.arange(len(found)) != 50])


def double_a_point(database: Database, key: points.RunKey) -> None:
    number, found = chunk(database, key)
    put_chunk(database, key, number, found[np.sort(np.append(np.arange(len(found)), 50))])


def with_column(found: _chunk.Points, column: str, changed: Any) -> _chunk.Points:
    if column == "values":
        return _chunk.Points(found.axis, changed)
    return _chunk.Points(replace(found.axis, **{column: changed}), found.values)


def alter(column: str) -> Tamper:
    def tamper(database: Database, key: points.RunKey) -> None:
        number, found = chunk(database, key)
        changed = getattr(found, column).copy()
        changed[50] = np.nextafter(changed[50], 9e9) if changed.dtype == np.float64 else changed[50] + 1
        put_chunk(database, key, number, with_column(found, column, changed))

    return tamper


def move_to_another_key(database: Database, key: points.RunKey) -> None:
    build.tables(database, "UPDATE chunks SET key = 'loss2' WHERE run_id = :r AND key = 'loss'", r=key.run_id)


def delete_a_chunk(database: Database, key: points.RunKey) -> None:
    build.tables(database, "DELETE FROM chunks WHERE run_id = :r AND key = 'lr'", r=key.run_id)


def double_a_chunk(database: Database, key: points.RunKey) -> None:
    columns = "count, first_step, last_step, checksum, brief, blocks, payload, axis"
    build.tables(
        database,
        f"INSERT INTO chunks (org_id, run_id, key, number, {columns}) "
        f"SELECT org_id, run_id, key, number + 1000, {columns} FROM chunks WHERE run_id = :r AND key = 'lr'",
        r=key.run_id,
    )


def break_a_chunk(database: Database, key: points.RunKey) -> None:
    build.tables(database, "UPDATE chunks SET payload = :p WHERE run_id = :r AND key = 'lr'", p=b"x", r=key.run_id)


def axis(database: Database, key: points.RunKey) -> _chunk.Axis:
    ((payload,),) = build.tables(database, "SELECT payload FROM axes WHERE run_id = :r", r=key.run_id)
    return _chunk.unpack_axis(_chunk.split_axis(bytes(payload)))


def put_axis(database: Database, key: points.RunKey, changed: _chunk.Axis, *, fits: bool = True) -> None:
    """Write the axis as a clever forger would: with a count and checksum that fit. A clumsy one leaves the checksum."""
    payload = _chunk.pack_axis(changed).payload()
    checksum = int(np.uint64(_hash.of_bytes(payload)).astype(np.int64))
    build.tables(
        database,
        "UPDATE axes SET payload = :p, count = :c, checksum = CASE WHEN :fits THEN :s ELSE checksum END "
        "WHERE run_id = :r",
        p=payload,
        c=len(changed),
        s=checksum,
        fits=fits,
        r=key.run_id,
    )


def alter_the_axis(column: str, *, fits: bool = True) -> Tamper:
    def tamper(database: Database, key: points.RunKey) -> None:
        found = axis(database, key)
        changed = getattr(found, column).copy()
        changed[50] += 1
        put_axis(database, key, replace(found, **{column: changed}), fits=fits)

    return tamper


def cut_the_axis(database: Database, key: points.RunKey) -> None:
    put_axis(database, key, axis(database, key)[:-1])


def break_the_axis(database: Database, key: points.RunKey) -> None:
    build.tables(database, "UPDATE axes SET payload = :p WHERE run_id = :r", p=b"x", r=key.run_id)


def delete_the_axis(database: Database, key: points.RunKey) -> None:
    build.tables(database, "DELETE FROM axes WHERE run_id = :r", r=key.run_id)


def double_the_axis(database: Database, key: points.RunKey) -> None:
    build.tables(
        database,
        "INSERT INTO axes (org_id, run_id, number, count, checksum, payload) "
        "SELECT org_id, run_id, number + 1000, count, checksum, payload FROM axes WHERE run_id = :r",
        r=key.run_id,
    )


def name_another_axis(database: Database, key: points.RunKey) -> None:
    build.tables(database, "UPDATE chunks SET axis = axis + 1 WHERE run_id = :r AND key = 'lr'", r=key.run_id)


def name_no_axis(database: Database, key: points.RunKey) -> None:
    build.tables(database, "UPDATE chunks SET axis = NULL WHERE run_id = :r AND key = 'lr'", r=key.run_id)


def batch(database: Database, key: points.RunKey, first_seq: int) -> _batch.Level0:
    ((payload,),) = build.tables(
        database, "SELECT payload FROM ledger WHERE run_id = :r AND first_seq = :f", r=key.run_id, f=first_seq
    )
    return _batch.decode(bytes(payload))


def put_batch(
    database: Database, key: points.RunKey, first_seq: int, steps: list[int], values: list[float], count: int = 1
) -> None:
    entries = [entry(step, 100.0 + step, loss=value, lr=0.1) for step, value in zip(steps, values, strict=True)]
    columns = _batch.columns(entries * count, 0.0)
    build.tables(
        database,
        "UPDATE ledger SET payload = :p WHERE run_id = :r AND first_seq = :f",
        p=columns.payload(0, len(columns.steps)),
        r=key.run_id,
        f=first_seq,
    )


def alter_a_batch(database: Database, key: points.RunKey) -> None:
    found = batch(database, key, 100)
    values = found.of_key(0)[1].tolist()
    put_batch(database, key, 100, found.steps.tolist(), [*values[:-1], values[-1] * 2])


def shorten_a_batch(database: Database, key: points.RunKey) -> None:
    found = batch(database, key, 100)
    put_batch(database, key, 100, found.steps.tolist()[1:], found.of_key(0)[1].tolist()[1:])


def double_a_batch(database: Database, key: points.RunKey) -> None:
    found = batch(database, key, 100)
    put_batch(database, key, 100, found.steps.tolist(), found.of_key(0)[1].tolist(), count=2)


def empty_a_batch(database: Database, key: points.RunKey) -> None:
    build.tables(database, "UPDATE ledger SET payload = NULL WHERE run_id = :r AND first_seq = 110", r=key.run_id)


def break_a_batch(database: Database, key: points.RunKey) -> None:
    build.tables(database, "UPDATE ledger SET payload = :p WHERE run_id = :r AND first_seq = 110", p=b"x", r=key.run_id)


def delete_a_row(first_seq: int) -> Tamper:
    def tamper(database: Database, key: points.RunKey) -> None:
        build.tables(database, "DELETE FROM ledger WHERE run_id = :r AND first_seq = :f", r=key.run_id, f=first_seq)

    return tamper


def cut_a_row(database: Database, key: points.RunKey) -> None:
    build.tables(database, "UPDATE ledger SET entries = entries - 1 WHERE run_id = :r AND first_seq = 0", r=key.run_id)


TAMPERS: dict[str, tuple[Tamper, str]] = {
    "delete a point": (delete_a_point, "1 acknowledged points are not in the store"),
    "double a point": (double_a_point, "1 points more than were acknowledged"),
    "alter a value": (alter("values"), "checksum"),
    "alter a ts": (alter("ts"), "checksum"),
    "alter a step": (alter("steps"), "checksum"),
    "alter a writer": (alter("writers"), "Of writer w 239 points were acknowledged, 238 are in the store"),
    "move to another key": (move_to_another_key, "checksum"),
    "delete a chunk": (delete_a_chunk, "100 acknowledged points are not in the store"),
    "double a chunk": (double_a_chunk, "100 points more than were acknowledged"),
    "break a chunk": (break_a_chunk, "A chunk of lr cannot be read"),
    "alter a step of the axis": (alter_the_axis("steps"), "A chunk of loss, steps 0 to 99, is not as it was written"),
    "alter a ts of the axis": (alter_the_axis("ts"), "A chunk of lr, steps 0 to 99, is not as it was written"),
    "alter a writer of the axis": (alter_the_axis("writers"), "239 points were acknowledged, 237 are in the store"),
    "alter a number of the axis": (alter_the_axis("seqs", fits=False), "steps 0 to 99, is not as it was written"),
    "cut the axis": (cut_the_axis, "it has another length than the axis that it shares with others"),
    "break the axis": (break_the_axis, "cannot be read: a chunk has no head"),
    "delete the axis": (delete_the_axis, "the axis that it shares with others is not there"),
    "double the axis": (double_the_axis, "no chunk has it"),
    "name another axis": (name_another_axis, "A chunk of lr cannot be read: the axis that it shares"),
    "name no axis": (name_no_axis, "A chunk of lr cannot be read: the axis that it shares"),
    "alter a batch": (alter_a_batch, "is not as it was acknowledged"),
    "shorten a batch": (shorten_a_batch, "2 acknowledged points are not in the store"),
    "double a batch": (double_a_batch, "20 points more than were acknowledged"),
    "empty a batch": (empty_a_batch, "19 acknowledged points are not in the store"),
    "break a batch": (break_a_batch, "cannot be read"),
    "delete a compacted row of the ledger": (delete_a_row(0), "never came"),
    "delete a pending row of the ledger": (delete_a_row(110), "never came"),
    "cut a row of the ledger": (cut_a_row, "1 entries of writer w never came, the first is 99"),
}


@pytest.mark.parametrize("what", TAMPERS)
def test_tampering_turns_the_receipt_and_it_says_why(database: Database, key: points.RunKey, what: str) -> None:
    tamper, why = TAMPERS[what]
    tamper(database, key)
    receipt = build.receipt(database, key)
    assert not receipt.intact
    assert any(why in problem for problem in receipt.problems), receipt.problems
    # Ingest goes on, and compaction does not make the damage good.
    assert build.send(database, key, losses(5, 120, lr=0.1), first_seq=120).stored == 10
    build.compact(database, key)
    assert not build.receipt(database, key).intact
    assert len(build.history(database, key)) >= 20


def test_a_damaged_batch_keeps_nobody_from_reading_the_rest(database: Database, key: points.RunKey) -> None:
    break_a_batch(database, key)
    assert [e.step for e in build.history(database, key)] == list(range(110))
    assert build.series(database, [key], "loss")[0].count == 110


def test_the_client_s_own_count_must_be_met(database: Database) -> None:
    key = build.run(database)
    build.send(database, key, losses(10, lr=0.1))
    build.finish(database, key, points.Expected("w", "e", 20, 10))
    receipt = build.receipt(database, key)
    assert (receipt.intact, receipt.writers[0].expected) == (True, 20)

    build.finish(database, key, points.Expected("w", "e", 24, 12), points.Expected("ghost", "e", 5, 2))
    receipt = build.receipt(database, key)
    assert not receipt.intact
    assert [writer.gaps for writer in receipt.writers] == [[(10, 11)], [(0, 1)]]
    assert any("Writer ghost logged 5 points, 0 were acknowledged" in problem for problem in receipt.problems)

    build.send(database, key, losses(2, 10, lr=0.1), first_seq=10)
    build.send(database, key, [entry(0, a=1, b=2), entry(1, a=1, b=2, c=3)], writer="ghost")
    assert build.receipt(database, key).intact


def test_an_empty_run_has_an_intact_receipt(database: Database) -> None:
    receipt = build.receipt(database, build.run(database))
    assert receipt.intact
    assert receipt.checksum_committed == receipt.checksum_stored == "0" * 16


def test_every_broken_byte_of_a_chunk_is_noticed(database: Database) -> None:
    """Either the payload cannot be read, or the checksum tells; nothing else escapes, whatever the byte."""
    key = build.run(database)
    build.send(database, key, [entry(s, 1e9 + s / 8, loss=(s * 7919 % 1000) / 7) for s in range(0, 900, 3)])
    build.compact(database, key)
    _, found = chunk(database, key)
    payload = _chunk.encode(found.values, _chunk.pack_axis(found.axis))
    good = found.checksum("loss")
    rng = np.random.default_rng(1)
    for at in np.unique(np.append(np.arange(64), rng.integers(0, len(payload), 300))).tolist():
        broken = payload[:at] + bytes([payload[at] ^ (1 << int(rng.integers(8)))]) + payload[at + 1 :]
        try:
            read = _chunk.decode(broken)
        except _codec.Corrupt:
            continue
        is_identity_alone = read.checksum("loss") == good and len(read) == len(found)
        # Sequence numbers are not in the checksum, and writers are counted; all that is drawn is in it.
        assert not is_identity_alone or np.array_equal(read.values, found.values)
