"""Level 1: up to 4096 points of one key, in the order (step, writer, seq)."""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arwx.points import _codec, _hash
from arwx.points._codec import Corrupt
from arwx.points._types import Floats, Ints

BLOCK_POINTS = 512

# What charts know of a stretch of points without decoding it. Of several points at one step only the newest is drawn,
# and only drawn points are counted here. `low` and `high` are the smallest and largest value. `is_timely`: the ts of
# the drawn points never fall.
BLOCK = np.dtype(
    [
        ("count", "<u4"),
        ("is_timely", "<u4"),
        ("first_step", "<i8"),
        ("last_step", "<i8"),
        ("low_step", "<i8"),
        ("high_step", "<i8"),
        ("first_ts", "<f8"),
        ("last_ts", "<f8"),
        ("low_ts", "<f8"),
        ("high_ts", "<f8"),
        ("first", "<f8"),
        ("last", "<f8"),
        ("low", "<f8"),
        ("high", "<f8"),
    ]
)

_VERSION = 1
_HEAD = struct.Struct("<BBI")


@dataclass(frozen=True)
class Points:
    """Points of one key as columns. `writers` are numbers of writers in the run."""

    steps: Ints
    ts: Floats
    writers: Ints
    seqs: Ints
    values: Floats

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, which: slice | npt.NDArray[Any]) -> "Points":
        return Points(self.steps[which], self.ts[which], self.writers[which], self.seqs[which], self.values[which])

    def in_order(self) -> "Points":
        """These points by (step, writer, seq)."""
        if (self.steps[1:] > self.steps[:-1]).all():
            return self
        return self[np.lexsort((self.seqs, self.writers, self.steps))]

    def checksum(self, key: str) -> int:
        values = _hash.of_values(_hash.of_key(key), self.values)
        return _hash.total(_hash.of_points(_hash.of_places(self.steps, self.ts), values))


def join(parts: list[Points]) -> Points:
    """The points of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Points(
        np.concatenate([part.steps for part in parts]),
        np.concatenate([part.ts for part in parts]),
        np.concatenate([part.writers for part in parts]),
        np.concatenate([part.seqs for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


@dataclass(frozen=True)
class Axis:
    """The packed columns that the points of several keys may share: those that come from one `log()` call."""

    steps: bytes
    rest: bytes


def pack_axis(points: Points) -> Axis:
    rest = _codec.pack_moments(points.ts) + _codec.pack_ints(points.writers) + _codec.pack_ints(points.seqs)
    return Axis(_codec.pack_ints(points.steps), rest)


def encode(axis: Axis, values: Floats) -> bytes:
    """The payload of a chunk. Steps and values come first: they are what charts read."""
    return _HEAD.pack(_VERSION, 0, len(values)) + axis.steps + _codec.pack_floats(values) + axis.rest


def decode_drawing(payload: bytes) -> tuple[Ints, Floats]:
    """Steps and values alone. Raises `Corrupt`."""
    count = _count(payload)
    raw, at = _codec.expand(payload, _HEAD.size)
    steps = _codec.unpack_ints(raw, count)
    return steps, _codec.unpack_floats(_codec.expand(payload, at)[0], count)


def decode(payload: bytes) -> Points:
    """All columns. Raises `Corrupt`."""
    count = _count(payload)
    raw, at = _codec.expand(payload, _HEAD.size)
    steps = _codec.unpack_ints(raw, count)
    raw, at = _codec.expand(payload, at)
    values = _codec.unpack_floats(raw, count)
    ts = _codec.unpack_moments(payload, at, count)
    at = _codec.skip(payload, at + 1)
    raw, at = _codec.expand(payload, at)
    writers = _codec.unpack_ints(raw, count)
    seqs = _codec.unpack_ints(_codec.expand(payload, at)[0], count)
    return Points(steps, ts, writers, seqs, values)


def _count(payload: bytes) -> int:
    try:
        version, _, count = _HEAD.unpack_from(payload)
    except struct.error as error:
        raise Corrupt("a chunk has no head") from error
    if version != _VERSION or count < 1:
        raise Corrupt("a chunk is of an unknown version")
    return int(count)


def drawn(steps: Ints) -> npt.NDArray[np.bool_]:
    """Which points are drawn: of those at one step, the last in the order (step, writer, seq)."""
    keep = np.ones(len(steps), np.bool_)
    np.not_equal(steps[1:], steps[:-1], out=keep[:-1])
    return keep


def blocks(steps: Ints, ts: Floats, values: Floats, size: int = BLOCK_POINTS) -> npt.NDArray[Any]:
    """The drawn points of ordered ones as blocks of `size` points."""
    keep = drawn(steps)
    if not keep.all():
        steps, ts, values = steps[keep], ts[keep], values[keep]
    starts = np.arange(0, len(steps), size)
    ends = np.append(starts[1:], len(steps))
    found = np.empty(len(starts), BLOCK)
    low = np.array([start + int(values[start:end].argmin()) for start, end in zip(starts, ends, strict=True)])
    high = np.array([start + int(values[start:end].argmax()) for start, end in zip(starts, ends, strict=True)])
    falls = np.zeros(len(steps), np.int64)
    np.less(ts[1:], ts[:-1], out=falls[1:], casting="unsafe")
    falls[starts] = 0
    found["count"] = ends - starts
    found["is_timely"] = np.add.reduceat(falls, starts) == 0
    for name, at in (("first", starts), ("last", ends - 1), ("low", low), ("high", high)):
        found[f"{name}_step"], found[f"{name}_ts"], found[name] = steps[at], ts[at], values[at]
    return found


def singles(points: Points) -> npt.NDArray[Any]:
    """Every one of these points as a block of its own."""
    found = np.empty(len(points), BLOCK)
    found["count"] = found["is_timely"] = 1
    for name in ("first", "last", "low", "high"):
        found[f"{name}_step"], found[f"{name}_ts"], found[name] = points.steps, points.ts, points.values
    return found


def brief(parts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The blocks of a chunk as one block."""
    whole = np.empty(1, BLOCK)
    whole["count"] = parts["count"].sum()
    whole["is_timely"] = parts["is_timely"].all() and (parts["first_ts"][1:] >= parts["last_ts"][:-1]).all()
    for name, at in (("first", 0), ("last", -1), ("low", parts["low"].argmin()), ("high", parts["high"].argmax())):
        whole[f"{name}_step"], whole[f"{name}_ts"], whole[name] = (
            parts[f"{name}_step"][at],
            parts[f"{name}_ts"][at],
            parts[name][at],
        )
    return whole
