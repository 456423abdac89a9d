"""Level 1: up to 4096 points of one key, in the order (step, writer, seq).

A chunk is values and an axis: the steps, moments, writers and sequence numbers of the entries that the values come from.
Keys that are logged together have the axis in common, and it is stored once for all of them, in a row of its own; a key
that is logged alone carries its axis in its payload.
"""

import struct
from collections.abc import Sequence
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

# A chunk with its own axis, one that shares an axis, and such an axis.
_OWN, _SHARED, _AXIS = 1, 2, 3
_HEAD = struct.Struct("<BBI")


@dataclass(frozen=True, eq=False)
class Axis:
    """The entries that points come from, as columns. `writers` are numbers of writers in the run.

    Keys that are logged together have one and the same axis, so an axis is known by what it is, not by what is in it.
    """

    steps: Ints
    ts: Floats
    writers: Ints
    seqs: Ints

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, which: slice | npt.NDArray[Any]) -> "Axis":
        return Axis(self.steps[which], self.ts[which], self.writers[which], self.seqs[which])

    def order(self) -> npt.NDArray[np.intp] | None:
        """The order by (step, writer, seq); None when it is that already."""
        if (self.steps[1:] > self.steps[:-1]).all():
            return None
        return np.lexsort((self.seqs, self.writers, self.steps))


@dataclass(frozen=True, eq=False)
class Points:
    """Points of one key: the entries that they come from, and their values."""

    axis: Axis
    values: Floats

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, which: slice | npt.NDArray[Any]) -> "Points":
        return Points(self.axis[which], self.values[which])

    @property
    def steps(self) -> Ints:
        return self.axis.steps

    @property
    def ts(self) -> Floats:
        return self.axis.ts

    @property
    def writers(self) -> Ints:
        return self.axis.writers

    @property
    def seqs(self) -> Ints:
        return self.axis.seqs

    def in_order(self) -> "Points":
        """These points by (step, writer, seq)."""
        order = self.axis.order()
        return self if order is None else self[order]

    def checksum(self, key: str) -> int:
        values = _hash.of_values(_hash.of_key(key), self.values)
        return _hash.total(_hash.of_points(_hash.of_places(self.steps, self.ts), values))


def join_axes(parts: Sequence[Axis]) -> Axis:
    """The entries of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Axis(
        np.concatenate([part.steps for part in parts]),
        np.concatenate([part.ts for part in parts]),
        np.concatenate([part.writers for part in parts]),
        np.concatenate([part.seqs for part in parts]),
    )


def join(parts: list[Points]) -> Points:
    """The points of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Points(join_axes([part.axis for part in parts]), np.concatenate([part.values for part in parts]))


@dataclass(frozen=True)
class PackedAxis:
    """An axis as bytes: equal ones are equal. Steps come first and by themselves: they are what charts read."""

    count: int
    steps: bytes
    rest: bytes

    def payload(self) -> bytes:
        """The bytes of an axis that is stored once for several chunks."""
        return _HEAD.pack(_AXIS, 0, self.count) + self.steps + self.rest


class Axes(dict[PackedAxis, Axis]):
    """Axes by their bytes, each decoded once however many chunks have it. Raises `Corrupt` for one that cannot be."""

    def __missing__(self, packed: PackedAxis) -> Axis:
        found = self[packed] = unpack_axis(packed)
        return found


def pack_axis(axis: Axis) -> PackedAxis:
    rest = _codec.pack_moments(axis.ts) + _codec.pack_ints(axis.writers) + _codec.pack_ints(axis.seqs)
    return PackedAxis(len(axis), _codec.pack_ints(axis.steps), rest)


def unpack_axis(packed: PackedAxis) -> Axis:
    """Undo `pack_axis`. Raises `Corrupt`."""
    ts = _codec.unpack_moments(packed.rest, 0, packed.count)
    raw, at = _codec.expand(packed.rest, _codec.skip(packed.rest, 1))
    writers = _codec.unpack_ints(raw, packed.count)
    seqs = _codec.unpack_ints(_codec.expand(packed.rest, at)[0], packed.count)
    return Axis(unpack_steps(packed), ts, writers, seqs)


def unpack_steps(packed: PackedAxis) -> Ints:
    """The steps alone. Raises `Corrupt`."""
    return _codec.unpack_ints(_codec.expand(packed.steps)[0], packed.count)


def encode(values: Floats, axis: PackedAxis | None = None) -> bytes:
    """The payload of a chunk: its values and, unless it shares an axis with others, its own axis around them."""
    if axis is None:
        return _HEAD.pack(_SHARED, 0, len(values)) + _codec.pack_floats(values)
    return _HEAD.pack(_OWN, 0, len(values)) + axis.steps + _codec.pack_floats(values) + axis.rest


@dataclass(frozen=True, slots=True)
class Packed:
    """A chunk whose columns are apart and not decoded yet."""

    axis: PackedAxis
    frame: bytes

    def values(self) -> Floats:
        """Raises `Corrupt`."""
        return _codec.unpack_floats(_codec.expand(self.frame)[0], self.axis.count)


def split(payload: bytes, shared: bytes | None = None) -> Packed:
    """The columns of a chunk, from its payload and that of the axis which it shares, if it does. Raises `Corrupt`."""
    kind, count = _head(payload)
    if kind == _OWN and shared is None:
        at = _codec.skip(payload, _HEAD.size)
        end = _codec.skip(payload, at)
        return Packed(PackedAxis(count, payload[_HEAD.size : at], payload[end:]), payload[at:end])
    if kind != _SHARED:
        raise Corrupt("it has an axis of its own beside the one that it names")
    if shared is None:
        raise Corrupt("the axis that it shares with others is not there")
    axis = split_axis(shared)
    if axis.count != count:
        raise Corrupt("it has another length than the axis that it shares with others")
    return Packed(axis, payload[_HEAD.size :])


def split_axis(payload: bytes) -> PackedAxis:
    """The columns of an axis that chunks share. Raises `Corrupt`."""
    kind, count = _head(payload)
    if kind != _AXIS:
        raise Corrupt("an axis is of an unknown version")
    at = _codec.skip(payload, _HEAD.size)
    return PackedAxis(count, payload[_HEAD.size : at], payload[at:])


def decode(payload: bytes, shared: bytes | None = None) -> Points:
    """All columns of a chunk. Raises `Corrupt`."""
    packed = split(payload, shared)
    return Points(unpack_axis(packed.axis), packed.values())


def _head(payload: bytes) -> tuple[int, int]:
    """The kind of a payload, and how many points it has. Raises `Corrupt`."""
    try:
        kind, _, count = _HEAD.unpack_from(payload)
    except struct.error as error:
        raise Corrupt("a chunk has no head") from error
    if kind not in {_OWN, _SHARED, _AXIS} or count < 1:
        raise Corrupt("a chunk is of an unknown version")
    return int(kind), int(count)


def drawn(steps: Ints) -> npt.NDArray[np.bool_]:
    """Which points are drawn: of those at one step, the last in the order (step, writer, seq)."""
    keep = np.ones(len(steps), np.bool_)
    np.not_equal(steps[1:], steps[:-1], out=keep[:-1])
    return keep


def blocks(steps: Ints, ts: Floats, table: Floats, size: int = BLOCK_POINTS) -> npt.NDArray[Any]:
    """The drawn points as blocks of `size` points: a row of them for each row of `table`, the values of one key.

    All keys have the steps and ts in common, which are in order.
    """
    keep = drawn(steps)
    if not keep.all():
        steps, ts, table = steps[keep], ts[keep], table[:, keep]
    starts = np.arange(0, len(steps), size)
    ends = np.append(starts[1:], len(steps))
    found = np.empty((len(table), len(starts)), BLOCK)
    falls = np.zeros(len(steps), np.int64)
    np.less(ts[1:], ts[:-1], out=falls[1:], casting="unsafe")
    falls[starts] = 0
    found["count"] = ends - starts
    found["is_timely"] = np.add.reduceat(falls, starts) == 0
    for name, at in (("first", starts), ("last", ends - 1)):
        found[f"{name}_step"], found[f"{name}_ts"], found[name] = steps[at], ts[at], table[:, at]
    rows = np.arange(len(table))
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        part = table[:, start:end]
        for name, inside in (("low", part.argmin(axis=1)), ("high", part.argmax(axis=1))):
            column, at = found[:, index], start + inside
            column[f"{name}_step"], column[f"{name}_ts"], column[name] = steps[at], ts[at], table[rows, at]
    return found


def singles(points: Points) -> npt.NDArray[Any]:
    """Every one of these points as a block of its own."""
    found = np.empty(len(points), BLOCK)
    found["count"] = found["is_timely"] = 1
    for name in ("first", "last", "low", "high"):
        found[f"{name}_step"], found[f"{name}_ts"], found[name] = points.steps, points.ts, points.values
    return found


def brief(parts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The blocks of a chunk as one block; a row of blocks for each of several chunks."""
    whole = np.empty(len(parts), BLOCK)
    whole["count"] = parts["count"].sum(axis=1)
    is_timely = (parts["first_ts"][:, 1:] >= parts["last_ts"][:, :-1]).all(axis=1)
    whole["is_timely"] = parts["is_timely"].all(axis=1) & is_timely
    rows = np.arange(len(parts))
    low, high = parts["low"].argmin(axis=1), parts["high"].argmax(axis=1)
    for name, at in (("first", 0), ("last", -1), ("low", low), ("high", high)):
        for column in (f"{name}_step", f"{name}_ts", name):
            whole[column] = parts[column][rows, at]
    return whole
