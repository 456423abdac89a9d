"""Compaction: how often a point is written until it rests, and that nobody needs to wait for it to finish."""

from collections.abc import Iterator
from typing import Any

import pytest

from arwx.db import Database
from arwx.points import _append, _compact
from tests.points import build
from tests.points.build import entry, losses


class Written:
    """What was written: points on both levels, and bytes of chunks."""

    def __init__(self) -> None:
        self.points = self.bytes = 0

    def note(self, rows: tuple[dict[str, Any], ...]) -> None:
        for row in rows:
            # A row of the ledger that was merged has its points elsewhere by now.
            if "count" in row or row["payload"] is not None:
                self.points += row["count"] if "count" in row else row["points"]
            if "count" in row:
                self.bytes += sum(len(value) for value in row.values() if isinstance(value, bytes))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    found = Written()

    def watch(statement: Any) -> None:
        run = statement.run

        def noted(db: Any, *rows: dict[str, Any]) -> None:
            found.note(rows)
            run(db, *rows)

        monkeypatch.setattr(statement, "run", noted)

    for statement in (_append._INSERT_ROWS, _compact._INSERT_ROWS, _compact._INSERT_CHUNKS):
        watch(statement)
    return found


@pytest.mark.parametrize(
    ("keys", "batches", "size"),
    [(1000, 40, 1), (200, 1100, 1), (1, 300, 7), (5, 120, 500)],
    ids=["1,000 keys, few points", "many keys, one entry at a time", "one key, small batches", "the usual"],
)
def test_a_point_is_written_at_most_four_times(
    database: Database, written: Written, keys: int, batches: int, size: int
) -> None:
    key = build.run(database)
    names = [f"layer{n}/norm" for n in range(keys)]
    for number in range(batches):
        log = [
            entry(
                step, 1e9 + step, **{name: (step * 7919 + n * 104_729) % 1_000_003 / 7 for n, name in enumerate(names)}
            )
            for step in range(number * size, (number + 1) * size)
        ]
        build.send(database, key, log, first_seq=number * size)
    build.finish(database, key)
    receipt = build.receipt(database, key)
    assert (receipt.points_stored, receipt.intact) == (keys * batches * size, True)
    assert written.points <= 4 * receipt.points_stored
    ((stored,),) = build.tables(
        database,
        "SELECT SUM(LENGTH(payload) + LENGTH(blocks) + LENGTH(brief)) FROM chunks WHERE run_id = :r",
        r=key.run_id,
    )
    assert written.bytes <= 4 * int(stored)


def test_a_long_clean_history_is_remembered_in_two_bytes_an_entry(database: Database) -> None:
    key = build.run(database)
    for start in range(0, 40_000, 800):
        build.send(database, key, losses(800, start), first_seq=start)
    build.finish(database, key)
    rows = build.tables(database, "SELECT entries, LENGTH(digests) FROM ledger WHERE run_id = :r", r=key.run_id)
    assert len(rows) <= 16
    assert sum(digests for _, digests in rows) == 2 * sum(entries for entries, _ in rows) == 80_000
    ((ranges, next_seq),) = build.tables(
        database, "SELECT LENGTH(ranges), next_seq FROM writers WHERE run_id = :r", r=key.run_id
    )
    assert (ranges, next_seq) == (1, 40_000)


def test_a_compaction_that_is_killed_in_the_middle_leaves_everything_as_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it stops: after each statement that it runs, the connection goes away without a commit."""
    key = build.run(database)
    build.send(database, key, losses(300, lr=0.5))
    build.compact(database, key)
    build.send(database, key, losses(300, 300, lr=0.5), first_seq=300)
    before = build.history(database, key)
    for statement in (
        "_PENDING",
        "_PARTIAL",
        "_CHUNK_PAYLOAD",
        "_DELETE_CHUNKS",
        "_INSERT_CHUNKS",
        "_DELETE_ROWS",
        "_EMPTY_ROW",
    ):
        with monkeypatch.context() as patch:

            def killed(*_: object, name: str = statement) -> None:
                raise KeyboardInterrupt(name)

            patch.setattr(getattr(_compact, statement), "_run", killed)
            try:
                build.compact(database, key)
            except KeyboardInterrupt:
                pass
            else:
                continue  # this compaction had no need of the statement, and is done
        database.engine.dispose()
        assert build.history(database, key) == before
        assert build.receipt(database, key).intact
    build.compact(database, key)
    assert build.history(database, key) == before
    receipt = build.receipt(database, key)
    assert (receipt.points_stored, receipt.intact) == (1200, True)
