"""Every entry is stored once, however often and in whatever cut or order it is sent."""

from datetime import timedelta

import pytest

from arwx import errors, points
from arwx.db import Database
from tests.points import build
from tests.points.build import entry, losses


def test_a_batch_sent_again_stores_nothing_new(database: Database) -> None:
    key = build.run(database)
    first = build.send(database, key, losses(3, lr=0.1))
    again = build.send(database, key, losses(3, lr=0.1))

    assert (first.accepted, first.stored, first.duplicates, first.next_seq) == (6, 6, 0, 3)
    assert (again.accepted, again.stored, again.duplicates, again.next_seq) == (6, 0, 6, 3)
    assert len(build.history(database, key)) == 3


@pytest.mark.parametrize("is_compacted", [False, True])
def test_cuts_and_merges_of_what_was_sent_add_only_the_rest(database: Database, is_compacted: bool) -> None:
    key = build.run(database)
    log = losses(20)
    build.send(database, key, log[3:7], first_seq=3)
    build.send(database, key, log[10:12], first_seq=10)
    if is_compacted:
        build.compact(database, key)

    done = build.send(database, key, log[:15])
    assert (done.accepted, done.stored, done.duplicates, done.next_seq) == (15, 9, 6, 15)
    assert [e.step for e in build.history(database, key)] == list(range(15))
    assert build.receipt(database, key).intact


def test_the_watermark_waits_for_the_first_gap(database: Database) -> None:
    key = build.run(database)
    assert build.send(database, key, losses(5, 5), first_seq=5).next_seq == 0
    receipt = build.receipt(database, key)
    assert receipt.writers[0].gaps == [(0, 4)]
    assert not receipt.intact
    assert build.send(database, key, losses(5), first_seq=0).next_seq == 10
    assert build.receipt(database, key).intact


@pytest.mark.parametrize("is_compacted", [False, True])
def test_other_content_under_a_known_number_is_a_conflict_and_the_rest_is_stored(
    database: Database, is_compacted: bool
) -> None:
    key = build.run(database)
    build.send(database, key, losses(4))
    if is_compacted:
        build.compact(database, key)
    changed = losses(6)
    changed[1] = entry(1, 101.0, loss=9.0)
    changed[2] = entry(2, 102.0, loss=9.0)

    done = build.send(database, key, changed)
    assert done.conflicts == [(1, 2)]
    assert (done.accepted, done.stored, done.duplicates) == (4, 2, 2)
    assert [e.metrics["loss"] for e in build.history(database, key)] == [1 / (n + 1) for n in range(6)]
    receipt = build.receipt(database, key)
    assert receipt.conflicts == 2
    assert not receipt.intact
    assert any("taken by other content" in problem for problem in receipt.problems)


@pytest.mark.parametrize(
    "other",
    [
        entry(1, 101.0, loss=0.5),
        entry(0, 100.5, loss=0.5),
        entry(0, 100.0, loss=0.25),
        entry(0, 100.0, lost=0.5),
        entry(0, 100.0, loss=0.5, lr=0.1),
        entry(0, 100.0, ["grad"], loss=0.5),
        entry(0, None, loss=0.5),
        entry(0, 100.0, loss=-0.5),
        entry(0, 100.0),
    ],
)
def test_any_difference_between_entries_is_seen(database: Database, other: points.Entry) -> None:
    key = build.run(database)
    build.send(database, key, [entry(0, 100.0, loss=0.5)])
    assert build.send(database, key, [other]).conflicts == [(0, 0)]


def test_an_entry_without_ts_gets_the_moment_of_arrival_and_may_come_again_later(database: Database) -> None:
    key = build.run(database)
    build.send(database, key, [entry(0, None, loss=0.5)])
    again = build.send(database, key, [entry(0, None, loss=0.5)], now=build.NOW + timedelta(hours=1))
    assert (again.stored, again.conflicts) == (0, [])
    assert build.history(database, key)[0].ts == build.NOW.timestamp()


def test_writers_and_epochs_do_not_hide_each_other(database: Database) -> None:
    key = build.run(database)
    for writer, epoch in (("rank0", "a"), ("rank0", "b"), ("rank1", "a")):
        assert build.send(database, key, losses(5), writer=writer, epoch=epoch).stored == 5
    assert len(build.history(database, key)) == 15
    assert [(w.writer_id, w.epoch, w.points) for w in build.receipt(database, key).writers] == [
        ("rank0", "a", 5),
        ("rank0", "b", 5),
        ("rank1", "a", 5),
    ]


def test_runs_and_organizations_do_not_meet(database: Database) -> None:
    key = build.run(database)
    stranger = points.RunKey(2, key.run_id)
    with pytest.raises(errors.NotFound):
        build.send(database, stranger, losses(1))
    with database.writing() as db:
        points.create(db, stranger, build.NOW)
    build.send(database, stranger, losses(2))
    build.send(database, key, losses(1))
    assert len(build.history(database, key)) == 1
    assert len(build.history(database, stranger)) == 2


def test_without_numbers_the_same_content_is_stored_once(database: Database) -> None:
    key = build.run(database)
    plain = {"epoch": None, "first_seq": None}
    assert build.send(database, key, losses(3, lr=1), **plain).stored == 6
    again = build.send(database, key, losses(3, lr=1.0), **plain, now=build.NOW + timedelta(days=1))
    assert (again.stored, again.duplicates) == (0, 6)
    assert build.send(database, key, losses(3, lr=2), **plain).stored == 6
    assert build.send(database, key, losses(3, lr=1), writer="other", **plain).stored == 6
    receipt = build.receipt(database, key)
    assert receipt.intact
    assert receipt.points_committed == receipt.points_stored + receipt.duplicates_collapsed == 24


def test_an_idempotency_key_stands_for_its_batch(database: Database) -> None:
    key = build.run(database)
    plain = {"epoch": None, "first_seq": None}
    assert build.send(database, key, losses(3), **plain, token="a").stored == 3
    assert build.send(database, key, losses(3), **plain, token="a").stored == 0
    assert build.send(database, key, losses(3), **plain, token="b").stored == 3
    with pytest.raises(errors.Conflict):
        build.send(database, key, losses(4), **plain, token="a")
    assert build.receipt(database, key).points_stored == 6


@pytest.mark.parametrize(
    "value", [None, "1.5", "NaN", float("nan"), float("inf"), -float("inf"), [1], {"a": 1}, 10**400]
)
def test_what_is_no_finite_number_is_skipped_and_counted(database: Database, value: object) -> None:
    key = build.run(database)
    done = build.send(database, key, [entry(7, loss=value, lr=0.1), entry(9, loss=0.5, lr=0.1, nonfinite=["grad"])])
    assert (done.accepted, done.stored, done.skipped) == (3, 3, 2)
    found = build.metrics(database, key)
    assert (found["loss"].count, found["loss"].nonfinite, found["loss"].nonfinite_first) == (1, 1, 7)
    assert (found["grad"].count, found["grad"].nonfinite, found["grad"].nonfinite_last) == (0, 1, 9)
    receipt = build.receipt(database, key)
    assert (receipt.skipped_nonfinite, receipt.intact) == (2, True)


def test_booleans_and_integers_are_numbers(database: Database) -> None:
    key = build.run(database)
    build.send(database, key, [entry(0, yes=True, no=False, big=2**53, huge=2**70)])
    assert build.history(database, key)[0].metrics == {"yes": 1.0, "no": 0.0, "big": 2.0**53, "huge": 2.0**70}


@pytest.mark.parametrize(
    "bad",
    [
        entry(-1, loss=1.0),
        entry(2**53, loss=1.0),
        entry(2**70, loss=1.0),
        entry(0, -1.0, loss=1.0),
        entry(0, float("nan"), loss=1.0),
        entry(0, float("inf"), loss=1.0),
        points.Entry(step=0, metrics={"": 1.0}),
        points.Entry(step=0, metrics={"a\nb": 1.0}),
        points.Entry(step=0, metrics={"k" * 256: 1.0}),
        points.Entry(step=0, metrics={"ok": 1.0, "a\x00b": None}),
        points.Entry(step=0, metrics={}, nonfinite=["\x7f"]),
    ],
)
def test_what_cannot_be_is_refused_whole_and_named(database: Database, bad: points.Entry) -> None:
    key = build.run(database)
    with pytest.raises(errors.Invalid) as caught:
        build.send(database, key, [entry(0, loss=1.0), bad])
    assert caught.value.errors[0].field.startswith("points[1].")
    assert build.receipt(database, key).points_committed == 0


def test_gaps_beyond_measure_are_refused_until_some_are_filled(database: Database) -> None:
    key = build.run(database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("arwx.points._ranges.MOST", 3)
        for seq in (2, 4, 6):
            assert build.send(database, key, losses(1, seq), first_seq=seq).stored == 1
        with pytest.raises(errors.TooManyGaps) as caught:
            build.send(database, key, losses(1, 8), first_seq=8)
        assert caught.value.extra["next_seq"] == 0
        assert build.send(database, key, losses(4), first_seq=0).next_seq == 5
        assert build.send(database, key, losses(1, 8), first_seq=8).stored == 1
    assert [e.step for e in build.history(database, key)] == [0, 1, 2, 3, 4, 6, 8]


def test_half_a_numbering_is_refused(database: Database) -> None:
    key = build.run(database)
    for epoch, first_seq in (("e", None), (None, 0), ("", 0), ("e", -1), ("e", 2**53)):
        with pytest.raises(errors.Invalid):
            build.send(database, key, losses(1), epoch=epoch, first_seq=first_seq)
    with pytest.raises(errors.Invalid):
        build.send(database, key, losses(1), writer="")
    with pytest.raises(errors.Invalid):
        build.send(database, key, losses(1), writer="a\x00")


def test_a_batch_without_entries_is_a_sign_of_life(database: Database) -> None:
    key = build.run(database)
    build.send(database, key, losses(2))
    later = build.NOW + timedelta(minutes=5)
    done = build.send(database, key, [], first_seq=2, now=later)
    assert (done.accepted, done.next_seq) == (0, 2)
    with database.reading() as db:
        assert points.last_seen(db, key.org_id, [key.run_id]) == {key.run_id: later}
        assert points.live(db, key.org_id, [key.run_id])[key.run_id].last_seen_at == later
    build.send(database, key, [], writer="silent", first_seq=0)
    assert len(build.receipt(database, key).writers) == 1


def test_a_batch_far_longer_than_a_row_of_the_ledger_is_stored(database: Database) -> None:
    key = build.run(database)
    log = losses(10_000)
    assert build.send(database, key, log).stored == 10_000
    assert build.send(database, key, log[4000:9000], first_seq=4000).duplicates == 5000
    log[4096] = entry(4096, 0.0, loss=0.0)
    assert build.send(database, key, log).conflicts == [(4096, 4096)]


def test_the_summary_does_not_depend_on_the_order_of_delivery(database: Database) -> None:
    log = [entry(step % 7, 100.0 + step, loss=(step * 37 % 11) - 5.0) for step in range(20)]
    forward, backward = build.run(database), build.run(database)
    for start in range(0, 20, 5):
        build.send(database, forward, log[start : start + 5], first_seq=start)
    for start in range(15, -1, -5):
        build.send(database, backward, log[start : start + 5], first_seq=start)
    assert build.metrics(database, forward) == build.metrics(database, backward)
    found = build.metrics(database, forward)["loss"]
    assert (found.step, found.value, found.count, found.min, found.max) == (6, log[13].metrics["loss"], 20, -5.0, 5.0)


def test_an_erased_run_is_gone_and_the_others_stay(database: Database) -> None:
    gone, kept = build.run(database), build.run(database)
    for key in (gone, kept):
        build.send(database, key, losses(5))
        build.compact(database, key)
        build.send(database, key, losses(5, 5), first_seq=5)
    for _ in range(2):
        with database.writing() as db:
            points.erase(db, gone)
    with pytest.raises(errors.NotFound):
        build.receipt(database, gone)
    for table in ("streams", "writers", "ledger", "tokens", "chunks"):
        assert build.tables(database, f"SELECT * FROM {table} WHERE run_id = :r", r=gone.run_id) == []
    assert build.receipt(database, kept).points_stored == 10


def test_points_out_of_order_under_keys_that_always_come_together_are_compacted(database: Database) -> None:
    key = build.run(database)
    build.send(database, key, losses(6, 6, lr=0.5), writer="rank1")
    build.send(database, key, losses(6, lr=0.25), writer="rank0")
    before = build.history(database, key)
    build.compact(database, key)
    assert build.history(database, key) == before
    assert [e.step for e in before] == list(range(12))
    assert build.receipt(database, key).intact
