"""What a run knows of its metrics without its points: one small blob, renewed by every append."""

import msgspec
import numpy as np
import zstandard

from arwx.points._batch import Columns
from arwx.points._chunk import Points
from arwx.points._ranges import Range
from arwx.points._types import Ints, MetricSummary

_PLAIN, _ZSTD = b"\x00", b"\x01"
_LARGE = 2048

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[str, MetricSummary])

EMPTY = _PLAIN + _encoder.encode({})


def pack(metrics: dict[str, MetricSummary]) -> bytes:
    raw = _encoder.encode(metrics)
    return _ZSTD + zstandard.compress(raw, 1) if len(raw) > _LARGE else _PLAIN + raw


def unpack(stored: bytes) -> dict[str, MetricSummary]:
    return _decoder.decode(zstandard.decompress(stored[1:]) if stored[:1] == _ZSTD else stored[1:])


def add(metrics: dict[str, MetricSummary], batch: Columns, writer: int, first_seq: int, new: list[Range]) -> None:
    """Add the entries in the ranges `new` (positions in the batch), whose first has the number `first_seq + start`."""
    for start, end in new:
        if batch.key_index is None:
            _add_dense(metrics, batch, writer, first_seq, start, end)
        else:
            _add_sparse(metrics, batch, writer, first_seq, start, end)
    for skip in batch.skips:
        if any(start <= skip.entry < end for start, end in new):
            _add_skip(metrics, skip.key, int(batch.steps[skip.entry]))


def add_points(metrics: dict[str, MetricSummary], key: str, points: Points) -> None:
    """Add points of one key that are in the order (step, writer, seq)."""
    low, high = float(points.values.min()), float(points.values.max())
    at = (int(points.steps[-1]), float(points.ts[-1]), int(points.writers[-1]), int(points.seqs[-1]))
    _add_points(metrics, key, len(points), low, high, float(points.values[-1]), at)


def add_skips(metrics: dict[str, MetricSummary], key: str, count: int, first_step: int, last_step: int) -> None:
    """Add values of one key that were no finite numbers."""
    known = metrics.setdefault(key, MetricSummary())
    known.nonfinite, known.nonfinite_first, known.nonfinite_last = count, first_step, last_step


def _add_dense(
    metrics: dict[str, MetricSummary], batch: Columns, writer: int, first_seq: int, start: int, end: int
) -> None:
    width = len(batch.keys)
    table = batch.values.reshape(-1, width)[start:end]
    lows, highs = table.min(axis=0).tolist(), table.max(axis=0).tolist()
    last = _last(batch.steps[start:end])
    at = (int(batch.steps[start + last]), float(batch.ts[start + last]), writer, first_seq + start + last)
    for key, low, high, value in zip(batch.keys, lows, highs, table[last].tolist(), strict=True):
        _add_points(metrics, key, end - start, low, high, value, at)


def _add_sparse(
    metrics: dict[str, MetricSummary], batch: Columns, writer: int, first_seq: int, start: int, end: int
) -> None:
    low, high = int(batch.offsets[start]), int(batch.offsets[end])
    if batch.key_index is None or low == high:
        return
    keys, values = batch.key_index[low:high], batch.values[low:high]
    entries = np.repeat(np.arange(start, end), np.diff(batch.offsets[start : end + 1]))
    order = np.argsort(keys, kind="stable")
    keys, values, entries = keys[order], values[order], entries[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    ends = np.append(starts[1:], len(keys))
    lows, highs = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    for i, (first, after) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        last = first + _last(batch.steps[entries[first:after]])
        entry = int(entries[last])
        at = (int(batch.steps[entry]), float(batch.ts[entry]), writer, first_seq + entry)
        _add_points(
            metrics, batch.keys[keys[first]], after - first, float(lows[i]), float(highs[i]), float(values[last]), at
        )


def _last(steps: Ints) -> int:
    """The position of the greatest step, of equals the last."""
    return len(steps) - 1 - int(steps[::-1].argmax())


def _add_points(
    metrics: dict[str, MetricSummary],
    key: str,
    count: int,
    low: float,
    high: float,
    value: float,
    at: tuple[int, float, int, int],
) -> None:
    step, ts, writer, seq = at
    known = metrics.get(key)
    if known is None:
        known = metrics[key] = MetricSummary()
    if known.count == 0:
        known.min, known.max = low, high
    else:
        known.min, known.max = min(known.min, low), max(known.max, high)
    # Deliveries come in any order; what is the last value must not depend on it.
    if known.count == 0 or (step, writer, seq) > (known.step, known.writer, known.seq):
        known.step, known.ts, known.value, known.writer, known.seq = step, ts, value, writer, seq
    known.count += count


def _add_skip(metrics: dict[str, MetricSummary], key: str, step: int) -> None:
    known = metrics.get(key)
    if known is None:
        known = metrics[key] = MetricSummary()
    known.nonfinite += 1
    known.nonfinite_first = step if known.nonfinite_first is None else min(known.nonfinite_first, step)
    known.nonfinite_last = step if known.nonfinite_last is None else max(known.nonfinite_last, step)
