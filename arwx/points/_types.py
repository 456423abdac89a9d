"""What goes into the metric store and what comes out of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

LAST_STEP = 2**53 - 1

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class RunKey(NamedTuple):
    """Where a run's points are: the two columns that begin every key of the store."""

    org_id: int
    run_id: str


class Entry(Struct, forbid_unknown_fields=True, gc=False):
    """One `log()` call, straight from the wire. `ts` is Unix seconds; without it, the moment of arrival counts.

    A value of `metrics` that is not a finite number is skipped and counted, and so is every name in `nonfinite`.
    """

    step: Annotated[int, Meta(ge=0, le=LAST_STEP)]
    metrics: dict[str, Any]
    ts: Annotated[float, Meta(ge=0)] | None = None
    nonfinite: list[str] = []


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries of one writer: entry i has the sequence number `first_seq + i` in this epoch, one life of the writer.

    Without epoch and first_seq, the batch is known by `token` (an Idempotency-Key), or else by its content.
    """

    writer_id: str
    epoch: str | None
    first_seq: int | None
    entries: list[Entry]
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch, in points: `accepted` = `stored` + `duplicates`.

    `next_seq` is the first sequence number of the writer's epoch that is not stored yet. `conflicts` are the ranges
    (first and last, both included) of sequence numbers that were known with other content: their first content stays.
    """

    accepted: int
    stored: int
    duplicates: int
    skipped: int
    next_seq: int
    conflicts: list[tuple[int, int]]


class Expected(Struct, forbid_unknown_fields=True):
    """What a writer itself says at the end that it has logged in one epoch."""

    writer_id: str
    epoch: str
    points: Annotated[int, Meta(ge=0, le=LAST_STEP)]
    next_seq: Annotated[int, Meta(ge=0, le=LAST_STEP)]


class MetricSummary(Struct, array_like=True):
    """One metric of a run: what is known of it without touching a point.

    `step`, `ts` and `value` are those of the last point: the greatest step and, of equals, the one that was logged
    last, by `writer` (its number in the run) as its `seq`. They mean nothing while `count` is 0. `nonfinite` counts
    the values that were skipped, from step `nonfinite_first` to step `nonfinite_last`.
    """

    count: int = 0
    step: int = -1
    ts: float = 0.0
    value: float = 0.0
    min: float = 0.0
    max: float = 0.0
    nonfinite: int = 0
    nonfinite_first: int | None = None
    nonfinite_last: int | None = None
    writer: int = -1
    seq: int = -1


@dataclass(frozen=True, slots=True)
class Live:
    """The last sign of life of a run, and its metrics by key."""

    last_seen_at: datetime
    metrics: dict[str, MetricSummary]


class HistoryEntry(Struct, gc=False):
    """One `log()` call as it was stored, with the metrics that were asked for."""

    step: int
    ts: float
    writer_id: str
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of the history in step order. `next` is the cursor of the following page, None at the end."""

    entries: list[HistoryEntry]
    next: str | None


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one run, ready to draw: arrays of equal length, ordered by `xs`.

    `count` is the number of points in the range before downsampling. A drawn point is a stored point; `lows` and
    `highs` hold the smallest and largest value of the stretch that it stands for, and `soft` the average around it
    where one was asked for.
    """

    run_id: str
    count: int
    steps: Ints
    xs: Floats
    values: Floats
    lows: Floats
    highs: Floats
    soft: Floats | None = None


@dataclass(frozen=True, slots=True)
class Smoothing:
    """How series are smoothed: `weight` from 0 to 0.99, in a chart that is `width` wide in x (None: as wide as they).

    Points before the range count too, from the step `since` on.
    """

    weight: float
    width: float | None = None
    since: int | None = None


class WriterReceipt(Struct):
    """One epoch of one writer: `gaps` are ranges (both ends included) of sequence numbers that never came.

    `next_seq` is the first number that is not stored yet; `expected` the points that the writer itself has counted.
    """

    writer_id: str
    epoch: str
    points: int
    next_seq: int
    gaps: list[tuple[int, int]]
    expected: int | None


class Receipt(Struct):
    """The ledger against the store. `intact` can fail, and `problems` says in plain words why it did.

    The checksums are 16 hexadecimal digits.
    """

    run_id: str
    points_committed: int
    points_stored: int
    duplicates_collapsed: int
    lost: int
    intact: bool
    skipped_nonfinite: int
    conflicts: int
    checksum_committed: str
    checksum_stored: str
    writers: list[WriterReceipt]
    problems: list[str]
    checked_at: datetime
