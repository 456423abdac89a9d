"""The store against a dict: random deliveries, kills and compactions, and after each the same answers.

Each run of the suite tries other examples. With ARWX_FULL=1 it is the same 20,000 each time, from the seeds below; with
`-n 2` they are spread over two processes. A red run prints the steps that lead to it.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy import Connection, event

from arwx import errors, points
from arwx.db import Database
from arwx.points import _compact
from tests.points import build

IS_FULL = os.environ.get("ARWX_FULL") == "1"
SEEDS = (20_261_125, 20_261_126) if IS_FULL else (None,)
KEYS = ["loss", "lr", "system/cpu"]

numbers = st.sampled_from([0.0, -0.0, 1.0, -2.5, 1e308, 5e-324]) | st.floats(allow_nan=False, allow_infinity=False)
values = (
    numbers | st.booleans() | st.integers(-(2**60), 2**60) | st.sampled_from([None, "1", math.nan, math.inf, 10**400])
)
entries = st.builds(
    points.Entry,
    step=st.integers(0, 12) | st.just(2**53 - 1),
    metrics=st.fixed_dictionaries({"loss": numbers}) | st.dictionaries(st.sampled_from(KEYS), values, max_size=3),
    ts=st.integers(0, 50).map(lambda n: 1000 + n / 4),
    nonfinite=st.just([]) | st.lists(st.sampled_from(KEYS), max_size=1),
)
# Batches whose entries all have the same keys are kept in another way than those in which they vary.
together = st.sampled_from([KEYS[:1], KEYS[:2], KEYS]).flatmap(
    lambda keys: st.lists(
        st.builds(
            points.Entry,
            step=st.integers(0, 40),
            metrics=st.fixed_dictionaries(dict.fromkeys(keys, numbers)),
            ts=st.integers(0, 50).map(lambda n: 1000 + n / 4),
        ),
        min_size=1,
        max_size=6,
    )
)
batches = st.lists(entries, min_size=1, max_size=6) | together


def finite(entry: points.Entry) -> dict[str, float]:
    """What of an entry is to be stored."""
    found = {}
    for name, value in entry.metrics.items():
        if isinstance(value, bool | int | float):
            try:
                number = float(value)
            except OverflowError:
                continue
            if math.isfinite(number):
                found[name] = number
    return found


def skipped(entry: points.Entry) -> int:
    return len(entry.metrics) - len(finite(entry)) + len(entry.nonfinite)


@dataclass
class Written:
    """One epoch of a writer: what it logged, and what of that was acknowledged."""

    number: int | None = None
    log: list[points.Entry] = field(default_factory=list)
    acked: dict[int, points.Entry] = field(default_factory=dict)
    duplicates: int = 0
    conflicts: int = 0
    expected: tuple[int, int] | None = None

    @property
    def next_seq(self) -> int:
        seq = 0
        while seq in self.acked:
            seq += 1
        return seq

    @property
    def gaps(self) -> list[tuple[int, int]]:
        end = max([0, *(seq + 1 for seq in self.acked)])
        end = max(end, self.expected[1] if self.expected else 0)
        missing = [seq for seq in range(end) if seq not in self.acked]
        found: list[tuple[int, int]] = []
        for seq in missing:
            if found and found[-1][1] == seq - 1:
                found[-1] = (found[-1][0], seq)
            else:
                found.append((seq, seq))
        return found


class Killed(BaseException):
    """The process is gone."""


@contextmanager
def killed_at(database: Database, count: int) -> Iterator[None]:
    """After so many statements, of which the commit is the last, the connection breaks and nothing more happens."""
    left = count

    def strike(connection: Connection, *_: object) -> None:
        nonlocal left
        if left == 0:
            connection.invalidate()  # closed as it is: nobody rolls back, nobody says goodbye
            raise Killed
        left -= 1

    for moment in ("before_execute", "commit"):
        event.listen(database.engine, moment, strike)
    try:
        yield
    finally:
        for moment in ("before_execute", "commit"):
            event.remove(database.engine, moment, strike)


class Store(RuleBasedStateMachine):
    """Rules for all that writers, operators and accidents do to a run; `database` is replaced whenever a process ends."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.key = build.run(self.database)
        self.writers: dict[tuple[str, str], Written] = {}
        self.tokens: dict[str, list[points.Entry]] = {}

    def of(self, who: tuple[str, str]) -> Written:
        """The model of a writer. The store numbers writers in the order in which they come."""
        known = self.writers.setdefault(who, Written())
        if known.number is None:
            known.number = sum(other.number is not None for other in self.writers.values())
        return known

    writers_st = st.tuples(st.sampled_from(["w0", "w1"]), st.sampled_from(["a", "b"]))

    @rule(who=writers_st, new=batches)
    def log_and_send(self, who: tuple[str, str], new: list[points.Entry]) -> None:
        writer = self.writers.setdefault(who, Written())
        start = len(writer.log)
        writer.log += new
        self.deliver(who, start, start + len(new))

    @rule(who=writers_st, new=batches)
    def log_without_sending(self, who: tuple[str, str], new: list[points.Entry]) -> None:
        self.writers.setdefault(who, Written()).log += new

    @precondition(lambda self: any(writer.log for writer in self.writers.values()))
    @rule(data=st.data())
    def send_any_part_again(self, data: st.DataObject) -> None:
        """Whole, cut, or merged with others, whatever batches it came in before; parts that never came among it."""
        who, start, end = self.any_part(data)
        self.deliver(who, start, end)

    @precondition(lambda self: any(writer.log for writer in self.writers.values()))
    @rule(data=st.data())
    def send_in_pieces_out_of_order(self, data: st.DataObject) -> None:
        who, start, end = self.any_part(data)
        cuts = data.draw(st.sets(st.integers(start, end), max_size=3))
        edges = [start, *sorted(cuts - {start, end}), end]
        pieces = list(itertools.pairwise(edges))
        for low, high in data.draw(st.permutations(pieces)):
            self.deliver(who, low, high)

    @precondition(lambda self: any(writer.log for writer in self.writers.values()))
    @rule(data=st.data(), other=entries)
    def send_something_else_under_a_number(self, data: st.DataObject, other: points.Entry) -> None:
        who, start, end = self.any_part(data)
        self.deliver(who, start, end, changed=(data.draw(st.integers(start, end - 1)), other))

    @precondition(lambda self: any(writer.log for writer in self.writers.values()))
    @rule(data=st.data())
    def crash_before_the_commit(self, data: st.DataObject) -> None:
        (writer, epoch), start, end = self.any_part(data)
        log = self.writers[writer, epoch].log
        with self.database.session(is_writing=True) as db:
            points.append(db, self.key, points.Batch(writer, epoch, start, log[start:end]), build.NOW)
            points.compact(db, self.key)
            db.rollback()

    @rule(new=batches, token=st.none() | st.sampled_from(["t1", "t2"]))
    def send_without_numbers(self, new: list[points.Entry], token: str | None) -> None:
        name = token or repr([(e.step, e.ts, sorted(finite(e).items()), skipped(e)) for e in new])
        known = self.tokens.get(name)
        batch = points.Batch("plain", None, None, new, token)
        if known is not None and [_content(e) for e in known] != [_content(e) for e in new]:
            with self.database.writing() as db, pytest.raises(errors.Conflict):
                points.append(db, self.key, batch, build.NOW)
            return
        with self.database.writing() as db:
            done = points.append(db, self.key, batch, build.NOW)
        writer = self.of(("plain", ""))
        count = sum(len(finite(e)) for e in new)
        if known is None:
            self.tokens[name] = new
            writer.acked.update(enumerate(new, len(writer.acked)))
            assert (done.stored, done.duplicates) == (count, 0)
        else:
            writer.duplicates += count
            assert (done.stored, done.duplicates) == (0, count)
        assert done.next_seq == len(writer.acked)

    @rule()
    def compact(self) -> None:
        build.compact(self.database, self.key)

    @rule(who=writers_st, new=batches, count=st.sampled_from(range(1, 13)))
    def kill_during_compaction(self, who: tuple[str, str], new: list[points.Entry], count: int) -> None:
        self.log_and_send(who, new)  # so that there is something to compact
        self.survive(count, lambda: build.compact(self.database, self.key))

    @precondition(lambda self: any(writer.log for writer in self.writers.values()))
    @rule(data=st.data(), count=st.integers(0, 12))
    def kill_while_a_batch_comes_in(self, data: st.DataObject, count: int) -> None:
        """Before its commit, and in the compaction that it may have brought about."""
        who, start, end = self.any_part(data)
        self.survive(count, lambda: self.deliver(who, start, end))

    @rule(who=writers_st, points_=st.integers(0, 12), next_seq=st.integers(0, 8), count=st.integers(0, 10))
    def kill_while_it_finishes(self, who: tuple[str, str], points_: int, next_seq: int, count: int) -> None:
        self.survive(count, lambda: self.finish(who, points_, next_seq))

    @rule()
    def open_again(self) -> None:
        """What a new process does: all that it knows, it knows from the database."""
        self.database.engine.dispose()
        type(self).database = Database(self.database.engine.url.render_as_string(hide_password=False))

    @rule(who=writers_st, points_=st.integers(0, 12), next_seq=st.integers(0, 8))
    def finish(self, who: tuple[str, str], points_: int, next_seq: int) -> None:
        build.finish(self.database, self.key, points.Expected(*who, points_, next_seq))
        self.of(who).expected = (points_, next_seq)

    @rule()
    def erase(self) -> None:
        with self.database.writing() as db:
            points.erase(db, self.key)
            points.create(db, self.key, build.NOW)
        self.writers, self.tokens = {}, {}

    @rule()
    def compare(self) -> None:
        """Ask everything; run after some steps and at the end."""
        self.compare_receipt()
        self.compare_history()
        self.compare_summary()
        self.compare_series()

    def teardown(self) -> None:
        try:
            self.compare()
        finally:
            with self.database.writing() as db:
                points.erase(db, self.key)

    def any_part(self, data: st.DataObject) -> tuple[tuple[str, str], int, int]:
        who = data.draw(st.sampled_from(sorted(who for who, writer in self.writers.items() if writer.log)))
        start = data.draw(st.integers(0, len(self.writers[who].log) - 1))
        return who, start, data.draw(st.integers(start + 1, len(self.writers[who].log)))

    def survive(self, count: int, work: Callable[[], None]) -> None:
        """Do it in a process that is killed after so many statements, if it takes so many; then ask a new process.

        The model hears of the work only when it came to its end.
        """
        with suppress(Killed), killed_at(self.database, count):
            work()
        self.open_again()
        self.compare_receipt()

    def deliver(
        self, who: tuple[str, str], start: int, end: int, changed: tuple[int, points.Entry] | None = None
    ) -> None:
        sent = {seq: self.writers[who].log[seq] for seq in range(start, end)}
        if changed is not None:
            sent[changed[0]] = changed[1]
        done = build.send(self.database, self.key, list(sent.values()), writer=who[0], epoch=who[1], first_seq=start)
        writer = self.of(who)
        stored = duplicates = skips = 0
        conflicts = []
        for seq, entry in sent.items():
            known = writer.acked.get(seq)
            if known is not None and _content(known) != _content(entry):
                conflicts.append(seq)
                continue
            skips += skipped(entry)
            if known is None:
                writer.acked[seq] = entry
                stored += len(finite(entry))
            else:
                duplicates += len(finite(entry))
        if changed is not None and writer.acked[changed[0]] is changed[1]:
            writer.log[changed[0]] = changed[1]  # it came first, so it is what this number stands for
        writer.duplicates += duplicates
        writer.conflicts += len(conflicts)
        assert (done.accepted, done.stored, done.duplicates) == (stored + duplicates, stored, duplicates)
        assert done.skipped == skips
        assert [seq for low, high in done.conflicts for seq in range(low, high + 1)] == conflicts
        assert done.next_seq == writer.next_seq

    def stored(self) -> list[tuple[int, int, int, points.Entry, str]]:
        """All entries with points: (step, writer, seq, entry, writer_id), in order."""
        return sorted(
            (
                (entry.step, writer.number, seq, entry, who[0])
                for who, writer in self.writers.items()
                for seq, entry in writer.acked.items()
                if writer.number is not None and finite(entry)
            ),
            key=lambda row: row[:3],
        )

    def compare_receipt(self) -> None:
        receipt = build.receipt(self.database, self.key)
        known = sorted((w for w in self.writers.items() if w[1].number is not None), key=lambda w: w[1].number or 0)
        counts = [sum(len(finite(e)) for e in writer.acked.values()) for _, writer in known]
        duplicates = sum(writer.duplicates for _, writer in known)
        conflicts = sum(writer.conflicts for _, writer in known)
        assert (receipt.points_stored, receipt.lost) == (sum(counts), 0)
        assert (receipt.duplicates_collapsed, receipt.conflicts) == (duplicates, conflicts)
        assert receipt.points_committed == sum(counts) + duplicates
        assert receipt.checksum_committed == receipt.checksum_stored
        assert receipt.skipped_nonfinite == sum(skipped(e) for _, w in known for e in w.acked.values())
        assert [(w.writer_id, w.epoch, w.points, w.next_seq, w.gaps, w.expected) for w in receipt.writers] == [
            (*who, count, w.next_seq, w.gaps, w.expected[0] if w.expected else None)
            for (who, w), count in zip(known, counts, strict=True)
        ]
        is_met = all(not w.expected or count >= w.expected[0] for (_, w), count in zip(known, counts, strict=True))
        assert receipt.intact == (is_met and not conflicts and not any(w.gaps for _, w in known))

    def compare_history(self) -> None:
        for keys, limit in ((None, 3), (["loss"], 100), (["system/*", "lr"], 7)):
            wanted = []
            for step, _, _, entry, writer_id in self.stored():
                chosen = {
                    name: number
                    for name, number in finite(entry).items()
                    if (
                        not name.startswith("system/") if keys is None else name in {*keys, "system/cpu"} - {"system/*"}
                    )
                    and (keys != ["loss"] or name == "loss")
                }
                if chosen:
                    wanted.append((step, entry.ts, writer_id, _bits(chosen)))
            found = build.history(self.database, self.key, keys=keys, limit=limit)
            assert [(e.step, e.ts, e.writer_id, _bits(e.metrics)) for e in found] == wanted

    def compare_summary(self) -> None:
        found = build.metrics(self.database, self.key)
        rows: dict[str, list[tuple[int, float | None, float]]] = {}
        for step, _, _, entry, _ in self.stored():
            for name, number in finite(entry).items():
                rows.setdefault(name, []).append((step, entry.ts, number))
        assert {name for name, metric in found.items() if metric.count} == rows.keys()
        for name, known in rows.items():
            metric = found[name]
            assert (metric.count, (metric.step, metric.ts, metric.value)) == (len(known), known[-1])
            assert (metric.min, metric.max) == (min(n for _, _, n in known), max(n for _, _, n in known))

    def compare_series(self) -> None:
        for name in KEYS:
            drawn: dict[int, float] = {}
            for step, _, _, entry, _ in self.stored():
                if name in finite(entry):
                    drawn[step] = finite(entry)[name]
            found = build.series(self.database, [self.key], name, samples=50)
            assert (found[0].count if found else 0) == len(drawn)
            if found:
                assert dict(zip(found[0].steps.tolist(), found[0].values.tolist(), strict=True)) == drawn
                assert (np.diff(found[0].steps) > 0).all()


def _bits(metrics: dict[str, float]) -> dict[str, str]:
    return {name: number.hex() for name, number in metrics.items()}


def _content(entry: points.Entry) -> Any:
    return entry.step, entry.ts, _bits(finite(entry)), skipped(entry)


@contextmanager
def small_store() -> Iterator[None]:
    """Chunks, blocks and thresholds so small that a few entries go through everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_compact, "CHUNK_POINTS", 8)
        patch.setattr(_compact, "PENDING_BATCHES", 5)
        patch.setattr(_compact, "_TIERS", (2, 4, 8))
        patch.setattr(_compact, "_TIER_WIDTH", 3)
        patch.setattr(_compact, "ROW_ENTRIES", 7)
        patch.setattr("arwx.points._append.ROW_ENTRIES", 7)
        patch.setattr("arwx.points._chunk.blocks.__defaults__", (2,))
        yield


@pytest.mark.parametrize("start", SEEDS)
def test_the_store_says_what_a_dict_would_say(database: Database, start: int | None) -> None:
    Store.database = database
    count = 20_000 // len(SEEDS) if IS_FULL else 40
    with small_store():
        run_state_machine_as_test(
            Store if start is None else seed(start)(Store),
            settings=settings(
                max_examples=count,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
                database=None,
            ),
        )
    Store.database.engine.dispose()
