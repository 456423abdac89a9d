"""What was logged comes back bit for bit, in step order, page by page."""

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arwx import errors, points
from arwx.db import Database
from tests.points import build
from tests.points.build import entry, losses


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


moments = st.one_of(
    st.floats(min_value=0, allow_nan=False, allow_infinity=False),
    st.integers(0, 2**40).map(lambda ms: ms / 1000),
    st.integers(0, 2**40).map(float),
)
logged = st.lists(
    st.tuples(
        st.integers(0, 2**53 - 1) | st.integers(0, 5),
        moments,
        st.dictionaries(
            st.text(min_size=1, max_size=8).filter(lambda key: key.isprintable()) | st.sampled_from(["loss", "lr"]),
            st.floats(allow_nan=False, allow_infinity=False),
            max_size=4,
        ),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logged, st.integers(1, 7))
def test_any_number_comes_back_bit_for_bit(
    database: Database, log: list[tuple[int, float, dict[str, float]]], cut: int
) -> None:
    key = build.run(database)
    entries = [points.Entry(step=step, ts=ts, metrics=dict(metrics)) for step, ts, metrics in log]
    for start in range(0, len(entries), cut):
        build.send(database, key, entries[start : start + cut], first_seq=start)
        if start % 3 == 0:
            build.compact(database, key)
    found = build.history(database, key, limit=7)
    in_order = sorted(range(len(log)), key=lambda at: (log[at][0], at))
    wanted = [log[at] for at in in_order if any(not name.startswith("system/") for name in log[at][2])]
    assert [e.step for e in found] == [step for step, _, _ in wanted]
    assert [bits(e.ts) for e in found] == [bits(ts) for _, ts, _ in wanted]
    assert [{k: bits(v) for k, v in e.metrics.items()} for e in found] == [
        {k: bits(v) for k, v in metrics.items()} for _, _, metrics in wanted
    ]
    assert build.receipt(database, key).intact


@pytest.mark.parametrize("is_compacted", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 10, 1000])
def test_pages_put_entries_together_again(database: Database, is_compacted: bool, limit: int) -> None:
    key = build.run(database)
    log = [
        entry(n, 100.0 + n, train=float(n), **({"val": n / 2} if n % 5 == 0 else {}))
        for n in [*range(20), *range(15, 40)]
    ]
    build.send(database, key, log[:30])
    if is_compacted:
        build.compact(database, key)
    build.send(database, key, log[30:], first_seq=30)
    build.send(database, key, [entry(n, 500.0, train=-1.0) for n in range(10, 30, 4)], writer="other")

    found = build.history(database, key, limit=limit)
    mine = [e for e in found if e.writer_id == "w"]
    assert [e.step for e in found] == sorted(e.step for e in found)
    assert len(found) == 50
    assert [(e.step, e.ts, e.metrics) for e in mine] == [
        (e.step, e.ts, e.metrics) for e in sorted(log, key=lambda e: e.step)
    ]


def test_keys_and_bounds_choose(database: Database) -> None:
    key = build.run(database)
    log = [
        points.Entry(step=n, ts=1.0, metrics={"a/x": 1.0, "a/y": 2.0, "b": 3.0, "system/cpu": 4.0}) for n in range(9)
    ]
    log.append(points.Entry(step=9, ts=1.0, metrics={"system/cpu": 5.0}))
    build.send(database, key, log)
    for _ in range(2):
        assert {name for e in build.history(database, key) for name in e.metrics} == {"a/x", "a/y", "b"}
        assert [e.step for e in build.history(database, key)] == list(range(9))
        assert {name for e in build.history(database, key, keys=["a/*"]) for name in e.metrics} == {"a/x", "a/y"}
        assert len(build.history(database, key, keys=["system/*"])) == 10
        assert build.history(database, key, keys=["system/cpu", "b"], min_step=8)[0].metrics == {
            "b": 3.0,
            "system/cpu": 4.0,
        }
        assert [e.step for e in build.history(database, key, min_step=3, max_step=5, limit=2)] == [3, 4, 5]
        assert build.history(database, key, keys=["nothing"]) == []
        assert build.history(database, key, keys=[]) == []
        assert build.history(database, key, min_step=50, max_step=40) == []
        assert points.columns(database, key) == ["a/x", "a/y", "b"]
        assert points.columns(database, key, ["system/*", "b"]) == ["b", "system/cpu"]
        build.compact(database, key)


@pytest.mark.parametrize(
    "cursor", ["", "1", "1.2", "a.b.c", "1.2.3.4", "-1.0.0", "1.2.3\n", "٣.1.1", "9" * 40 + ".1.1"]
)
def test_a_strange_cursor_is_refused(database: Database, cursor: str) -> None:
    key = build.run(database)
    build.send(database, key, losses(3))
    with database.reading() as db, pytest.raises(errors.Invalid):
        points.history(db, key, limit=1, after=cursor)


def test_an_export_is_all_of_it_while_points_come_in(database: Database) -> None:
    key = build.run(database)
    build.send(database, key, losses(45_000))
    parts = points.export(database, key)
    first = next(parts)
    build.compact(database, key)
    build.send(database, key, losses(10, 45_000), first_seq=45_000)
    steps = [e.step for part in (first, *parts) for e in part]
    assert steps == list(range(45_010))


def test_many_keys_do_not_make_a_page_enormous(database: Database) -> None:
    key = build.run(database)
    names = [f"layer/{n}" for n in range(600)]
    log = [points.Entry(step=n * 1000, ts=1.0, metrics=dict.fromkeys(names, float(n))) for n in range(1200)]
    for start in range(0, 1200, 400):
        build.send(database, key, log[start : start + 400], first_seq=start)
    with database.reading() as db:
        page = points.history(db, key, limit=100_000)
    assert page.next is not None
    assert sum(len(e.metrics) for e in page.entries) < 700_000
    assert sum(len(part) for part in points.export(database, key)) == 1200
