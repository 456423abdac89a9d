"""The metric store: what was logged, stored once each, quick to read, and provable.

A batch goes into the durability ledger as columns, in one row, and can be read at once (level 0). Every so often the
points move into chunks, one metric each (level 1). The receipt compares what the ledger acknowledged with what the
chunks and batches hold. Nobody outside knows the tables.

`unload` gives out all that the store knows of a run, and `Loading` takes it in elsewhere.

All functions take a session and never commit; `export` and `columns` take the database and read by themselves.
"""

from arwx.points import _tables as _tables  # the tables belong to the metadata once this is imported
from arwx.points._append import append, compact, finish
from arwx.points._carry import BatchRecord, EntryRecord, Loading, Outline, Record, RunRecord, outline, unload
from arwx.points._history import columns, export, history
from arwx.points._read import SYSTEM
from arwx.points._receipt import receipt
from arwx.points._series import series
from arwx.points._smooth import smoothed
from arwx.points._stream import create, erase, last_seen, live, pending
from arwx.points._types import (
    LAST_STEP,
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
    Smoothing,
    WriterReceipt,
)

__all__ = [
    "LAST_STEP",
    "SYSTEM",
    "Appended",
    "Batch",
    "BatchRecord",
    "Entry",
    "EntryRecord",
    "Expected",
    "HistoryEntry",
    "HistoryPage",
    "Live",
    "Loading",
    "MetricSummary",
    "Outline",
    "Receipt",
    "Record",
    "RunKey",
    "RunRecord",
    "Series",
    "Smoothing",
    "WriterReceipt",
    "append",
    "columns",
    "compact",
    "create",
    "erase",
    "export",
    "finish",
    "history",
    "last_seen",
    "live",
    "outline",
    "pending",
    "receipt",
    "series",
    "smoothed",
    "unload",
]
