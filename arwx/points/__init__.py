"""The metric store: what was logged, once each, provably."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from arwx.db import Database
from arwx.points._types import (
    Appended,
    Batch,
    Entry,
    Expected,
    HistoryEntry,
    HistoryPage,
    Live,
    MetricSummary,
    Receipt,
    RunKey,
    Series,
    WriterReceipt,
)

__all__ = [
    "Appended",
    "Batch",
    "Entry",
    "Expected",
    "HistoryEntry",
    "HistoryPage",
    "Live",
    "MetricSummary",
    "Receipt",
    "RunKey",
    "Series",
    "WriterReceipt",
]


def create(db: Session, key: RunKey, now: datetime) -> None: ...
def append(db: Session, key: RunKey, batch: Batch, now: datetime) -> Appended: ...
def finish(db: Session, key: RunKey, expected: list[Expected]) -> None: ...
def live(db: Session, org_id: int, run_ids: Sequence[str]) -> dict[str, Live]: ...
def last_seen(db: Session, org_id: int, run_ids: Sequence[str]) -> dict[str, datetime]: ...
def history(
    db: Session,
    key: RunKey,
    *,
    keys: list[str] | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
    limit: int,
    after: str | None = None,
) -> HistoryPage: ...
def export(
    database: Database, key: RunKey, *, keys: list[str] | None = None, min_step: int | None = None, max_step: int | None = None
) -> Iterator[list[HistoryEntry]]: ...
def columns(database: Database, key: RunKey, keys: list[str] | None = None) -> list[str]: ...
def series(
    db: Session,
    runs: Sequence[RunKey],
    metrics: str | Sequence[str],
    *,
    x: str = "step",
    samples: int = 500,
    since_step: int | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
) -> dict[str, list[Series]]: ...
def receipt(db: Session, key: RunKey) -> Receipt: ...
def compact(db: Session, key: RunKey) -> None: ...
def erase(db: Session, key: RunKey) -> None: ...
