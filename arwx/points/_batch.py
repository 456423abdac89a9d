"""Level 0: a batch as columns, with its digests and checksum, and as the payload of a row of the ledger."""

import math
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from arwx import ids
from arwx.errors import invalid
from arwx.points import _codec, _hash
from arwx.points._codec import Corrupt
from arwx.points._types import Entry, Floats, Ints

_VERSION = 1
_HEAD = struct.Struct("<BBII")
_DENSE, _SPARSE = 0, 1
# Stands for the ts of an entry that came without one. Its bits are those of a NaN, which no ts has.
_NO_TS = np.array([0x7FF8_0000_0000_0001], np.uint64).view(np.float64)[0]
_NONFINITE = attrgetter("nonfinite")
_NUMBERS = {float, int, bool}


@dataclass(frozen=True, slots=True)
class Skipped:
    """A value that was not a finite number: in which entry of the batch, under which key."""

    entry: int
    key: str


@dataclass(frozen=True)
class Columns:
    """Entries as columns. The values of entry i are `values[offsets[i]:offsets[i + 1]]`, in the order of the wire.

    `key_index` says which of `keys` a value has; it is None when every entry has all the keys, with values in their order.
    """

    keys: tuple[str, ...]
    steps: Ints
    ts: Floats
    sent_ts: Floats
    offsets: Ints
    key_index: Ints | None
    values: Floats
    skipped: Ints
    skips: list[Skipped]

    @cached_property
    def _value_hashes(self) -> _hash.Hashes:
        hashes = np.array([_hash.of_key(key) for key in self.keys], np.uint64)
        if self.key_index is None:
            return _hash.of_values(hashes, self.values.reshape(-1, len(hashes))).reshape(-1)
        return _hash.of_values(hashes[self.key_index], self.values)

    @cached_property
    def digests(self) -> npt.NDArray[np.uint16]:
        """16 bits an entry, the same whenever the same entry is sent, with or without a ts."""
        places = _hash.of_places(self.steps, self.sent_ts)
        return _hash.digests(places, self._by_entry(self._value_hashes), self.skipped)

    @cached_property
    def checksums(self) -> _hash.Hashes:
        """The checksum of the points of each entry."""
        places = _hash.of_places(self.steps, self.ts)
        if self.key_index is None:
            table = self._value_hashes.reshape(-1, len(self.keys))
            return _hash.row_sums(_hash.of_points(places[:, np.newaxis], table))
        return self._by_entry(_hash.of_points(np.repeat(places, np.diff(self.offsets)), self._value_hashes))

    @property
    def content(self) -> bytes:
        """What stands for all that was sent; the order of keys in an entry, and 1 or 1.0, make no difference."""
        sums = self._by_entry(self._value_hashes)
        return b"".join(part.tobytes() for part in (self.steps, self.sent_ts, self.skipped, sums))

    def _by_entry(self, hashes: _hash.Hashes) -> _hash.Hashes:
        if self.key_index is None:
            return _hash.row_sums(hashes.reshape(-1, len(self.keys)))
        sums = np.zeros(len(hashes) + 1, np.uint64)
        np.cumsum(hashes, out=sums[1:])
        return sums[self.offsets[1:]] - sums[self.offsets[:-1]]

    def points(self, start: int, end: int) -> int:
        """How many points the entries [start, end) have."""
        return int(self.offsets[end] - self.offsets[start])

    def payload(self, start: int, end: int) -> bytes:
        """The entries [start, end) as the bytes that `decode` reads."""
        low, high = int(self.offsets[start]), int(self.offsets[end])
        values = self.values[low:high]
        kind = _DENSE if self.key_index is None else _SPARSE
        parts = [
            _HEAD.pack(_VERSION, kind, end - start, high - low),
            _codec.squeeze(msgspec.msgpack.encode(self.keys)),
            _codec.pack_ints(self.steps[start:end]),
            _codec.pack_moments(self.ts[start:end]),
        ]
        if self.key_index is None:
            # Key by key: what one metric logs is alike.
            values = np.ascontiguousarray(values.reshape(end - start, len(self.keys)).T).reshape(-1)
        elif high > low:
            parts.append(_codec.pack_ints(np.diff(self.offsets[start : end + 1])))
            parts.append(_codec.pack_ints(self.key_index[low:high]))
        parts.append(_codec.pack_floats(values))
        return b"".join(parts)


@dataclass(frozen=True)
class Level0:
    """A decoded payload. `matrix` holds a row of values for each key when every entry has every key."""

    keys: list[str]
    steps: Ints
    ts: Floats
    matrix: Floats | None
    entry_index: Ints
    key_index: Ints
    values: Floats

    @property
    def points(self) -> int:
        return len(self.values) if self.matrix is None else self.matrix.size

    def of_key(self, index: int) -> tuple[Ints | slice, Floats]:
        """Which entries have the key with this index, and their values, in the order of the entries."""
        if self.matrix is not None:
            return slice(None), self.matrix[index]
        which = np.flatnonzero(self.key_index == index)
        return self.entry_index[which], self.values[which]


def columns(entries: Sequence[Entry], arrived_ts: float) -> Columns:
    """The entries as columns. Values that are no finite numbers are left out and counted.

    Raises `Invalid` for a step, ts or key that cannot be.
    """
    count = len(entries)
    steps = _steps(entries)
    sent = [entry.ts for entry in entries]
    if None in sent:
        ts = _floats([arrived_ts if moment is None else moment for moment in sent])
        sent_ts = _floats([_NO_TS if moment is None else moment for moment in sent])
    else:
        ts = sent_ts = _floats(sent)
    if not (np.isfinite(ts) & (ts >= 0)).all():
        where = int(np.flatnonzero(~(np.isfinite(ts) & (ts >= 0)))[0])
        raise invalid(f"points[{where}].ts", "must be a finite number of seconds, not below 0")
    dense = _dense(entries)
    if dense is not None:
        keys, values = dense
        offsets = np.arange(count + 1, dtype=np.int64) * len(keys)
        return Columns(keys, steps, ts, sent_ts, offsets, None, values, np.zeros(count, np.int64), [])
    return _sparse(entries, steps, ts, sent_ts)


def decode(payload: bytes) -> Level0:
    """The points of a payload. Raises `Corrupt`."""
    keys, at = decode_keys(payload)
    _, kind, entries, points = _HEAD.unpack_from(payload)
    raw, at = _codec.expand(payload, at)
    steps = _codec.unpack_ints(raw, entries)
    ts = _codec.unpack_moments(payload, at, entries)
    at = _codec.skip(payload, at + 1)
    none = np.empty(0, np.int64)
    if kind == _DENSE:
        if points != entries * len(keys):
            raise Corrupt("a batch has not the points that its head says")
        values = _codec.unpack_floats(_codec.expand(payload, at)[0], points)
        return Level0(keys, steps, ts, values.reshape(len(keys), entries), none, none, none.view(np.float64))
    if points == 0:
        return Level0(keys, steps, ts, None, none, none, none.view(np.float64))
    raw, at = _codec.expand(payload, at)
    counts = _codec.unpack_ints(raw, entries)
    raw, at = _codec.expand(payload, at)
    key_index = _codec.unpack_ints(raw, points)
    if counts.min() < 0 or counts.sum() != points or key_index.min() < 0 or key_index.max() >= len(keys):
        raise Corrupt("a batch names keys or entries that it does not have")
    values = _codec.unpack_floats(_codec.expand(payload, at)[0], points)
    entry_index = np.repeat(np.arange(entries, dtype=np.int64), counts)
    return Level0(keys, steps, ts, None, entry_index, key_index, values)


def decode_keys(payload: bytes) -> tuple[list[str], int]:
    """The keys of a payload, and where the rest begins. Raises `Corrupt`."""
    try:
        version, kind, _, _ = _HEAD.unpack_from(payload)
        if version != _VERSION or kind not in {_DENSE, _SPARSE}:
            raise Corrupt("a batch is of an unknown version")
        raw, at = _codec.expand(payload, _HEAD.size)
        return msgspec.msgpack.decode(raw, type=list[str]), at
    except (struct.error, msgspec.DecodeError) as error:
        raise Corrupt("a batch has no head") from error


def _steps(entries: Sequence[Entry]) -> Ints:
    try:
        steps = np.frombuffer(array("q", [entry.step for entry in entries]), np.int64)
        if steps.min() >= 0 and steps.max() < 2**53:
            return steps
    except OverflowError:
        pass
    where = next(i for i, entry in enumerate(entries) if not 0 <= entry.step < 2**53)
    raise invalid(f"points[{where}].step", "must be from 0 to 9007199254740991")


def _floats(numbers: Sequence[Any]) -> Floats:
    """The numbers as an array, in half of the time that numpy takes for a list.

    Raises `struct.error` for what is no number, and OverflowError for an int that no float can hold.
    """
    return np.frombuffer(struct.pack(f"<{len(numbers)}d", *numbers), np.float64)


def _dense(entries: Sequence[Entry]) -> tuple[tuple[str, ...], Floats] | None:
    """Keys and values, when all entries have the same keys and finite numbers alone: the usual case, and quick."""
    metrics = [entry.metrics for entry in entries]
    keys = tuple(metrics[0])
    if not keys or any(map(_NONFINITE, entries)) or set(map(len, metrics)) != {len(keys)}:
        return None
    try:
        rows = map(itemgetter(*keys), metrics)
        numbers = _floats(list(rows) if len(keys) == 1 else list(chain.from_iterable(rows)))
    except (KeyError, struct.error, OverflowError):
        return None
    if not np.isfinite(numbers).all():
        return None
    for key in keys:
        _check_key(key, 0)
    return keys, numbers


def _sparse(entries: Sequence[Entry], steps: Ints, ts: Floats, sent_ts: Floats) -> Columns:
    index: dict[str, int] = {}
    key_index: list[int] = []
    values: list[float] = []
    offsets = [0]
    skips: list[Skipped] = []
    for position, entry in enumerate(entries):
        for key, value in entry.metrics.items():
            number = _number(value)
            if number is None:
                _check_key(key, position)
                skips.append(Skipped(position, key))
                continue
            known = index.get(key)
            if known is None:
                _check_key(key, position)
                known = index[key] = len(index)
            key_index.append(known)
            values.append(number)
        for key in entry.nonfinite:
            _check_key(key, position)
            skips.append(Skipped(position, key))
        offsets.append(len(values))
    skipped = np.bincount([skip.entry for skip in skips], minlength=len(entries)) if skips else np.zeros(len(entries))
    return Columns(
        tuple(index),
        steps,
        ts,
        sent_ts,
        np.array(offsets, np.int64),
        np.array(key_index, np.int64),
        np.array(values, np.float64),
        skipped.astype(np.int64),
        skips,
    )


def _number(value: object) -> float | None:
    """The value as a finite float; None for what is none. Only numbers count: the text "1.5" is text."""
    if type(value) not in _NUMBERS:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _check_key(key: str, position: int) -> None:
    if not _is_key(key):
        raise invalid(
            f"points[{position}].metrics", "has a key that is not 1 to 255 characters without control characters"
        )


@lru_cache(maxsize=65536)
def _is_key(key: str) -> bool:
    return ids.is_metric_key(key)
