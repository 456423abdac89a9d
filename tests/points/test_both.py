"""SQLite and PostgreSQL side by side: the same random calls, and the same answers to each of them, errors included.

Only what a clock says may differ. With ARWX_FULL=1 it runs 2,000 examples.
"""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy.orm import Session

from arwx import points, schema
from arwx.db import Database
from arwx.errors import ArwxError
from arwx.points import Batch, Entry, Expected, RunKey, _compact
from tests.points import build
from tests.points.test_model import small_store

IS_FULL = os.environ.get("ARWX_FULL") == "1"
RUNS = [RunKey(1, "one"), RunKey(1, "two"), RunKey(2, "one"), RunKey(1, "never made")]
# Capitals, letters past ASCII and past 16 bits: databases would sort and fold them in ways of their own.
KEYS = ["loss", "Loss", "a/b", "a/B", "été", "z", "Ω", "🙂", "system/cpu", "system/GPU"]
PREFIXES = ["a/*", "system/*", "*"]
NAMES = ["w", "W", "ä", "🙂"]

runs = st.sampled_from(RUNS)
steps = st.integers(0, 20) | st.sampled_from([2**31, 2**53 - 1])
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 5e-324, 1.7976931348623157e308])
values = numbers | st.booleans() | st.integers(-(2**70), 2**70) | st.sampled_from([None, "NaN", math.nan, 10**400])
moments = st.none() | st.integers(0, 9).map(lambda n: 1e9 + n / 4) | st.floats(0, 1e16)
nonfinite = st.just([]) | st.lists(st.sampled_from(KEYS), max_size=2)
good = st.builds(
    Entry,
    step=steps,
    metrics=st.dictionaries(st.sampled_from(KEYS), numbers, min_size=1, max_size=4)
    | st.dictionaries(st.sampled_from(KEYS), values, max_size=4),
    ts=moments,
    nonfinite=nonfinite,
)
strange = st.builds(
    Entry,
    step=steps | st.just(2**53),
    metrics=st.dictionaries(st.sampled_from(["loss", "", "a\0b", "x" * 300, "\ud800"]), values, max_size=2),
    ts=moments | st.just(math.inf),
    nonfinite=nonfinite,
)
batches = st.lists(good, max_size=5) | st.lists(good | strange, max_size=3)
chosen = st.none() | st.lists(st.sampled_from([*KEYS, *PREFIXES, "nothing"]), max_size=3)
cursors = st.sampled_from(["0.0.0", "3.1.2", "9007199254740991.0.0", "x", "-1.0.0", "1.2"])
bounds = st.none() | st.integers(-1, 21) | st.just(2**53)


class Both(RuleBasedStateMachine):
    """Each rule asks both; what is answered must be one."""

    databases: tuple[Database, Database]

    def __init__(self) -> None:
        super().__init__()
        self.now = build.NOW
        for key in RUNS:
            self.write(lambda db, key=key: points.erase(db, key))  # type: ignore[misc]
        for key in RUNS[:3]:
            self.write(lambda db, key=key: points.create(db, key, self.now))  # type: ignore[misc]

    @initialize(first=st.lists(good, min_size=2, max_size=8), second=st.lists(good, min_size=2, max_size=8))
    def begin(self, first: list[Entry], second: list[Entry]) -> None:
        self.append(RUNS[0], "w", "e", 0, first, None)
        self.append(RUNS[1], "w", "e", 1, second, None)

    @rule(
        key=runs,
        writer=st.sampled_from([*NAMES, "", "new\nline"]),
        epoch=st.sampled_from(["e", "E", "é", ""]) | st.none(),
        first_seq=st.none() | st.integers(0, 8) | st.sampled_from([-1, 10**9, 2**53 - 1]),
        new=batches,
        token=st.none() | st.sampled_from(["t", "T"]),
    )
    def append(
        self, key: RunKey, writer: str, epoch: str | None, first_seq: int | None, new: list[Entry], token: str | None
    ) -> None:
        self.now += timedelta(seconds=1)
        self.write(lambda db: points.append(db, key, Batch(writer, epoch, first_seq, new, token), self.now))

    @rule(key=runs, writer=st.sampled_from(NAMES), first_seq=st.integers(0, 8), new=st.lists(good, min_size=1))
    def append_what_can_be(self, key: RunKey, writer: str, first_seq: int, new: list[Entry]) -> None:
        self.append(key, writer, "e", first_seq, new, None)

    @rule(key=runs, new=st.lists(good, min_size=1, max_size=2), token=st.none() | st.sampled_from(["t", "T"]))
    def append_without_numbers(self, key: RunKey, new: list[Entry], token: str | None) -> None:
        for _ in range(2):
            self.append(key, "plain", None, None, new, token)

    @rule(key=runs)
    def compact(self, key: RunKey) -> None:
        self.write(lambda db: points.compact(db, key))

    @rule(
        key=runs,
        claims=st.lists(
            st.builds(
                Expected,
                writer_id=st.sampled_from(NAMES),
                epoch=st.sampled_from(["e", "E", ""]),
                points=st.integers(0, 20) | st.just(2**53 - 1),
                next_seq=st.integers(0, 20),
            ),
            max_size=2,
        ),
    )
    def finish(self, key: RunKey, claims: list[Expected]) -> None:
        self.write(lambda db: points.finish(db, key, claims))

    @rule(is_made_again=st.sampled_from([True, True, False]))
    def erase(self, is_made_again: bool) -> None:
        self.write(lambda db: points.erase(db, RUNS[1]))
        if is_made_again:
            self.write(lambda db: points.create(db, RUNS[1], self.now))

    @rule(key=runs, keys=chosen, low=bounds, high=bounds, limit=st.integers(1, 5), cursor=st.none() | cursors)
    def history(
        self,
        key: RunKey,
        keys: list[str] | None,
        low: int | None,
        high: int | None,
        limit: int,
        cursor: str | None,
    ) -> None:
        wanted: dict[str, Any] = {"keys": keys, "min_step": low, "max_step": high}
        page = self.read(lambda db: points.history(db, key, limit=limit, after=cursor, **wanted))
        while page is not None and page.next is not None:
            after = page.next
            page = self.read(lambda db: points.history(db, key, limit=limit, after=after, **wanted))
        self.ask(lambda database: list(points.export(database, key, **wanted)))
        self.ask(lambda database: points.columns(database, key, keys))

    @rule(
        keys=st.lists(runs.filter(lambda key: key.org_id == 1), max_size=3),
        metrics=st.lists(st.sampled_from([*KEYS, "nothing"]), max_size=3),
        x=st.sampled_from(["step", "time", "relative"]),
        samples=st.sampled_from([2, 3, 4, 7, 50]),
        since_step=bounds,
        low=bounds,
        high=bounds,
    )
    def series(
        self,
        keys: list[RunKey],
        metrics: list[str],
        x: str,
        samples: int,
        since_step: int | None,
        low: int | None,
        high: int | None,
    ) -> None:
        wanted: dict[str, Any] = {"since_step": since_step, "min_step": low, "max_step": high}
        self.read(lambda db: points.series(db, keys, metrics, x=x, samples=samples, **wanted))

    @rule(org_id=st.sampled_from([1, 2, 3]), run_ids=st.lists(runs.map(lambda key: key.run_id), max_size=3))
    def latest_and_receipts(self, org_id: int, run_ids: list[str]) -> None:
        self.read(lambda db: points.live(db, org_id, run_ids))
        self.read(lambda db: points.last_seen(db, org_id, run_ids))
        self.read(lambda db: sorted(points.pending(db, org_id, run_ids)))
        for run_id in run_ids:
            self.read(lambda db, run_id=run_id: points.receipt(db, RunKey(org_id, run_id)))  # type: ignore[misc]

    def teardown(self) -> None:
        for key in RUNS:
            self.history(key, None, None, None, 3, None)
        self.latest_and_receipts(1, ["one", "two", "never made"])
        self.series([RUNS[0], RUNS[1]], KEYS, "step", 50, None, None, None)

    def write(self, call: Callable[[Session], Any]) -> Any:
        def committed(database: Database) -> Any:
            with database.writing() as db:
                return call(db)

        return self.ask(committed)

    def read(self, call: Callable[[Session], Any]) -> Any:
        def answered(database: Database) -> Any:
            with database.reading() as db:
                return call(db)

        return self.ask(answered)

    def ask(self, call: Callable[[Database], Any]) -> Any:
        """The answer of both, or None when both refused with the same words."""
        answers = [_answer(call, database) for database in self.databases]
        assert told(answers[0]) == told(answers[1])
        return None if isinstance(answers[0], ArwxError) else answers[0]


def _answer(call: Callable[[Database], Any], database: Database) -> Any:
    try:
        return call(database)
    except ArwxError as error:
        return error


def told(answer: Any) -> Any:
    """All that an answer says, every number bit for bit; only when it was checked is left out."""
    match answer:
        case ArwxError():
            return (
                type(answer).__name__,
                answer.code,
                answer.status,
                str(answer),
                told(answer.errors),
                told(answer.extra),
            )
        case bool() | int() | str() | None:
            return answer
        case float():
            return answer.hex()
        case np.ndarray():
            return answer.dtype.str, answer.tobytes()
        case dict():
            return sorted((key, told(value)) for key, value in answer.items())
        case list() | tuple():
            return [told(item) for item in answer]
        case msgspec.Struct():
            names = [name for name in answer.__struct_fields__ if name != "checked_at"]
            return type(answer).__name__, [(name, told(getattr(answer, name))) for name in names]
        case _ if is_dataclass(answer):
            return type(answer).__name__, [(field.name, told(getattr(answer, field.name))) for field in fields(answer)]
    return answer


@pytest.fixture
def both(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[tuple[Database, Database]]:
    """A fresh database of each kind."""
    try:
        cluster = request.getfixturevalue("postgres")
    except RuntimeError as error:
        pytest.skip(f"SQLite beside PostgreSQL: {error}")
    databases = Database(f"sqlite:///{tmp_path / 'both.db'}"), Database(cluster.create("both"))
    for database in databases:
        schema.upgrade(database)
    yield databases
    for database in databases:
        database.engine.dispose()


def test_both_databases_give_the_same_answers(both: tuple[Database, Database]) -> None:
    Both.databases = both
    with small_store(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_compact, "PENDING_BATCHES", 3)
        run_state_machine_as_test(
            Both,
            settings=settings(
                max_examples=2_000 if IS_FULL else 20,
                stateful_step_count=40 if IS_FULL else 25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
                database=None,
            ),
        )
