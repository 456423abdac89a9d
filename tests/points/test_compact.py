"""Compaction: how often a point is written until it rests, and that nobody needs to wait for it to finish."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arwx import points
from arwx.db import Database
from arwx.points import _append, _compact
from tests.points import build
from tests.points.build import entry, losses


class Written:
    """What was written: points on both levels, and bytes of chunks and axes."""

    def __init__(self) -> None:
        self.points = self.bytes = 0

    def note(self, rows: tuple[dict[str, Any], ...]) -> None:
        for row in rows:
            is_chunk, is_axis = "key" in row, "count" in row and "key" not in row
            # A row of the ledger that was merged has its points elsewhere by now, and an axis has none itself.
            if is_chunk or (not is_axis and row["payload"] is not None):
                self.points += row["count"] if is_chunk else row["points"]
            if is_chunk or is_axis:
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

    for statement in (_append._INSERT_ROWS, _compact._INSERT_ROWS, _compact._INSERT_CHUNKS, _compact._INSERT_AXES):
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
        "SELECT (SELECT SUM(LENGTH(payload) + LENGTH(blocks) + LENGTH(brief)) FROM chunks WHERE run_id = :r) "
        "+ (SELECT COALESCE(SUM(LENGTH(payload)), 0) FROM axes WHERE run_id = :r)",
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
        "_INSERT_AXES",
        "_INSERT_CHUNKS",
        "_DELETE_CHUNKS",
        "_DELETE_AXES",
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
        build.axes(database, key)
    build.compact(database, key)
    assert build.history(database, key) == before
    receipt = build.receipt(database, key)
    assert (receipt.points_stored, receipt.intact) == (1200, True)


def test_keys_that_are_logged_together_have_one_axis(database: Database) -> None:
    key = build.run(database)
    log = losses(10_000, lr=0.5, norm=1.5)
    for start in range(0, 10_000, 1000):
        build.send(database, key, log[start : start + 1000], first_seq=start)
        if start % 3000 == 0:
            build.compact(database, key)
            assert set(map(frozenset, build.axes(database, key).values())) == {frozenset({"loss", "lr", "norm"})}
    build.finish(database, key)
    assert len(build.axes(database, key)) == 3
    build.send(database, key, [entry(20_000, alone=1.0)], first_seq=10_000)
    build.compact(database, key)
    assert len(build.axes(database, key)) == 3  # what is logged alone keeps its axis to itself


def test_keys_that_come_in_the_same_entries_of_mixed_batches_have_one_axis(database: Database) -> None:
    key = build.run(database)
    log = [
        entry(n, 100.0 + n, train=1 / (n + 1), lr=n / 2, **({"val": n / 3, "acc": n / 5} if n % 10 == 0 else {}))
        for n in range(600)
    ]
    for start in range(0, 600, 75):
        build.send(database, key, log[start : start + 75], first_seq=start)
    build.compact(database, key)
    assert sorted(map(sorted, build.axes(database, key).values())) == [["acc", "val"], ["lr", "train"]]
    assert [(e.step, e.metrics) for e in build.history(database, key)] == [(e.step, e.metrics) for e in log]


def test_a_key_that_stops_keeps_its_axis_and_the_others_go_on_with_theirs(database: Database) -> None:
    key = build.run(database)
    build.send(database, key, losses(500, lr=0.5, norm=1.5))
    build.compact(database, key)
    (old,) = build.axes(database, key)
    for start in range(500, 2500, 500):
        build.send(database, key, losses(500, start, lr=0.5), first_seq=start)
        build.compact(database, key)
    shared = build.axes(database, key)
    assert shared.pop(old) == {"norm"}
    assert set(map(frozenset, shared.values())) == {frozenset({"loss", "lr"})}
    assert build.receipt(database, key).intact
    # When the last of them moves on, the axis goes.
    build.send(database, key, losses(500, 2500, lr=0.5, norm=1.5), first_seq=2500)
    build.compact(database, key)
    assert old not in build.axes(database, key)
    assert build.receipt(database, key).intact


def test_chunks_from_before_there_were_axes_are_read_and_merged_with_new_ones(database: Database) -> None:
    key = build.run(database)
    log = losses(5000, lr=0.5)
    build.send(database, key, log[:4500])
    build.compact(database, key)
    build.give_chunks_axes_of_their_own(database, key)
    assert build.axes(database, key) == {}
    assert build.receipt(database, key).intact
    (before,) = build.series(database, [key], "loss", samples=5000)
    assert before.values.tolist() == [e.metrics["loss"] for e in log[:4500]]

    build.send(database, key, log[4500:], first_seq=4500)
    build.compact(database, key)
    # The full chunks stay as they were; the others are one axis and its chunks now.
    assert list(build.axes(database, key).values()) == [{"loss", "lr"}]
    counts = build.tables(database, "SELECT count, axis IS NULL FROM chunks WHERE run_id = :r", r=key.run_id)
    assert sorted((count, bool(is_old)) for count, is_old in counts) == [(904, False)] * 2 + [(4096, True)] * 2
    assert build.receipt(database, key).intact
    assert [(e.step, e.ts, e.metrics) for e in build.history(database, key)] == [(e.step, e.ts, e.metrics) for e in log]
    (after,) = build.series(database, [key], "lr", samples=5000)
    assert after.count == 5000


def test_steps_that_run_backwards_in_a_batch_are_put_in_order(database: Database) -> None:
    key = build.run(database)
    log = losses(900, lr=0.5)[::-1]
    build.send(database, key, log)
    build.compact(database, key)
    assert [(e.step, e.metrics) for e in build.history(database, key)] == [(e.step, e.metrics) for e in log[::-1]]
    assert build.receipt(database, key).intact


keys = st.sets(st.sampled_from("abcd"), min_size=1).map(sorted)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.lists(keys, min_size=1, max_size=12), st.sampled_from(["", "", "compact", "age"]))))
def test_whatever_comes_together_and_parts_no_axis_is_left_over(
    database: Database, deliveries: list[tuple[list[list[str]], str]]
) -> None:
    """Batches of entries with any keys, compacted now and then, in part on chunks of before there were axes."""
    key = build.run(database)
    log: list[points.Entry] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_compact, "CHUNK_POINTS", 8)
        patch.setattr(_compact, "_TIERS", (2, 4, 8))
        patch.setattr(_compact, "_TIER_WIDTH", 3)
        for number, (batch, then) in enumerate(deliveries):
            entries = [
                entry(step, 100.0 + step, **{name: float(np.sin(step)) for name in names})
                for step, names in enumerate(batch, len(log) // (1 + number % 2))
            ]
            build.send(database, key, entries, first_seq=len(log))
            log += entries
            if then:
                build.compact(database, key)
                build.axes(database, key)
            if then == "age":
                build.give_chunks_axes_of_their_own(database, key)
        build.finish(database, key)
    build.axes(database, key)
    assert build.receipt(database, key).intact
    wanted = sorted(enumerate(log), key=lambda one: (one[1].step, one[0]))
    assert [(e.step, e.metrics) for e in build.history(database, key)] == [(e.step, e.metrics) for _, e in wanted]
    for name in "abcd":
        drawn = {e.step: e.metrics[name] for _, e in wanted if name in e.metrics}
        for found in build.series(database, [key], name, samples=5000):
            assert dict(zip(found.steps.tolist(), found.values.tolist(), strict=True)) == drawn


def test_the_end_of_a_run_is_the_end_of_its_axes(database: Database) -> None:
    key = build.run(database)
    build.send(database, key, losses(10, lr=0.5))
    build.compact(database, key)
    assert build.axes(database, key)
    with database.writing() as db:
        points.erase(db, key)
    assert build.tables(database, "SELECT 1 FROM axes WHERE run_id = :r", r=key.run_id) == []


def test_what_is_written_takes_the_room_of_what_it_replaces(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("PostgreSQL makes room in its own time")
    key = build.run(database)
    for number in range(60):
        build.send(database, key, [entry(number, **{f"k{n}": 1 / (n + 1) for n in range(300)})], first_seq=number)
        if number % 4 == 3:
            build.compact(database, key)
    build.finish(database, key)
    ((free, pages),) = build.tables(
        database, "SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count"
    )
    assert free < pages / 10
