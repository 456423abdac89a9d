"""Numbers to bytes and back, bit for bit.

Integers are coded as differences to the one before, less the smallest difference, in as few bytes as the largest of
the rest needs; equal differences cost 17 bytes in all. Floats keep their bits. Values of more than one byte are stored
byte plane by byte plane ("byte shuffle"), so that what the numbers share lies side by side for zstd.
"""

import struct
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import zstandard

from arwx.points._types import Floats, Ints

Bytes = npt.NDArray[np.uint8]


class Corrupt(Exception):
    """Stored bytes that cannot be what was written."""


_RAW, _ZSTD = 0, 1
_HEAD = struct.Struct("<BBqq")
_FRAME = struct.Struct("<BI")
_SMALLEST_WORTH = 48
_MANY = 256
_MOST_BYTES = 1 << 31
# Moments are mostly decimal fractions of a second; as whole numbers their differences are small.
_TS_SCALES = (1.0, 1e3, 1e6)
_TS_LIMIT = 2.0**53 / 1e6

_T = TypeVar("_T")
# A (de)compressor must not be used by two threads at once, and costs too much to be made each time.
_compressors: list[zstandard.ZstdCompressor] = []
_decompressors: list[zstandard.ZstdDecompressor] = []


def squeeze(raw: bytes, *, is_final: bool = False) -> bytes:
    """The bytes in a frame: zstd level 1 where that is shorter and they are not final, else as they are."""
    if len(raw) >= _SMALLEST_WORTH and not is_final:
        compressor = _compressors.pop() if _compressors else zstandard.ZstdCompressor(level=1, write_checksum=False)
        packed = compressor.compress(raw)
        _compressors.append(compressor)
        if len(packed) < len(raw):
            return _FRAME.pack(_ZSTD, len(packed)) + packed
    return _FRAME.pack(_RAW, len(raw)) + raw


def expand(stored: bytes, at: int = 0) -> tuple[bytes, int]:
    """The bytes of the frame that begins there, and where the next one begins. Raises `Corrupt`."""
    try:
        kind, length = _FRAME.unpack_from(stored, at)
    except struct.error as error:
        raise Corrupt("a frame is cut") from error
    start = at + _FRAME.size
    body = stored[start : start + length]
    if len(body) != length:
        raise Corrupt("a frame is cut")
    if kind == _RAW:
        return body, start + length
    decompressor = _decompressors.pop() if _decompressors else zstandard.ZstdDecompressor()
    try:
        return decompressor.decompress(body, max_output_size=_MOST_BYTES), start + length
    except (zstandard.ZstdError, MemoryError) as error:
        raise Corrupt("a frame does not decompress") from error
    finally:
        _decompressors.append(decompressor)


def skip(stored: bytes, at: int) -> int:
    """Where the frame after this one begins. Raises `Corrupt`."""
    try:
        return at + _FRAME.size + int(_FRAME.unpack_from(stored, at)[1])
    except struct.error as error:
        raise Corrupt("a frame is cut") from error


def shuffle(numbers: npt.NDArray[Any]) -> bytes:
    """The numbers byte plane by byte plane."""
    width = numbers.dtype.itemsize
    if width == 1:
        return numbers.tobytes()
    return numbers.view(np.uint8).reshape(-1, width).T.tobytes()


def unshuffle(raw: bytes, dtype: str, count: int) -> npt.NDArray[Any]:
    """Undo `shuffle`. Raises `Corrupt` when the length does not fit the count."""
    width = np.dtype(dtype).itemsize
    if len(raw) != count * width:
        raise Corrupt("a column has another length than its chunk says")
    planes = np.frombuffer(raw, np.uint8)
    if width == 1:
        return planes.view(dtype)
    return np.ascontiguousarray(planes.reshape(width, count).T).view(dtype).reshape(count)


def pack_ints(numbers: Ints) -> bytes:
    """At least one int64 as bytes; wraps around where differences do."""
    first = int(numbers[0])
    if len(numbers) == 1:
        return squeeze(_HEAD.pack(0, 0, first, 0))
    steps = numbers[1:] - numbers[:-1]
    low, high = int(steps.min()), int(steps.max())
    if low == high:
        return squeeze(_HEAD.pack(0, 0, first, low))
    span = high - low
    width = 1 if span < 1 << 8 else 2 if span < 1 << 16 else 4 if span < 1 << 32 else 8
    rest = (steps - low).astype(f"<u{width}") if width < 8 else (steps - np.int64(low)).view("<u8")
    return squeeze(_HEAD.pack(width, 0, first, low) + shuffle(rest))


def unpack_ints(raw: bytes, count: int) -> Ints:
    """Undo `pack_ints` on the bytes of its frame. Raises `Corrupt`."""
    try:
        width, _, first, low = _HEAD.unpack_from(raw)
    except struct.error as error:
        raise Corrupt("a column is cut") from error
    if width == 0:
        return first + low * np.arange(count, dtype=np.int64) if low else np.full(count, first, np.int64)
    if width not in {1, 2, 4, 8}:
        raise Corrupt("a column has an unknown width")
    numbers = np.empty(count, np.int64)
    numbers[0] = first
    rest = unshuffle(raw[_HEAD.size :], f"<u{width}", count - 1)
    np.add(rest.view(np.int64) if width == 8 else rest, np.int64(low), out=numbers[1:], casting="unsafe")
    return np.cumsum(numbers, out=numbers)


def pack_floats(numbers: Floats) -> bytes:
    """Many floats as a frame for each byte plane, since each has odds of its own; few as one frame."""
    if len(numbers) < _MANY:
        return squeeze(shuffle(numbers))
    planes = numbers.view(np.uint8).reshape(-1, 8).T
    return squeeze(b"".join([squeeze(plane.tobytes()) for plane in planes]), is_final=True)


def unpack_floats(raw: bytes, count: int) -> Floats:
    """Undo `pack_floats` on the bytes of its frame. Raises `Corrupt`."""
    if count < _MANY:
        return unshuffle(raw, "<f8", count)
    numbers = np.empty((count, 8), np.uint8)
    at = 0
    for index in range(8):
        plane, at = expand(raw, at)
        if len(plane) != count:
            raise Corrupt("a column has another length than its chunk says")
        numbers[:, index] = np.frombuffer(plane, np.uint8)
    return numbers.view(np.float64).reshape(count)


def pack_moments(ts: Floats) -> bytes:
    """Unix seconds, bit for bit: as whole seconds, milli- or microseconds where that gives the same bits back."""
    for kind, scale in enumerate(_TS_SCALES if float(ts.max()) < _TS_LIMIT else ()):
        # A few tell most that do not fit.
        if _is_same(np.rint(ts[:16] * scale) / scale, ts[:16]):
            whole = np.rint(ts * scale)
            if _is_same(whole / scale, ts):
                return bytes([kind]) + pack_ints(whole.astype(np.int64))
    return bytes([len(_TS_SCALES)]) + pack_ints(ts.view(np.int64))


def unpack_moments(stored: bytes, at: int, count: int) -> Floats:
    """Undo `pack_moments` on the bytes from there on. Raises `Corrupt`."""
    kind = stored[at] if at < len(stored) else 255
    numbers = unpack_ints(expand(stored, at + 1)[0], count)
    if kind < len(_TS_SCALES):
        return numbers / _TS_SCALES[kind]
    if kind == len(_TS_SCALES):
        return numbers.view(np.float64)
    raise Corrupt("moments are of an unknown kind")


def _is_same(left: Floats, right: Floats) -> bool:
    """Whether the bits agree: -0.0 is not 0.0 here."""
    return bool((left.view(np.int64) == right.view(np.int64)).all())
