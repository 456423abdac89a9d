r"""The format of spool files, version 1.

    file    = magic, header, record…
    magic   = b"arwandb" and one byte, the version of the format
    header  = u32 length, u32 CRC-32, JSON {"run","writer","epoch"}
    record  = mark F5 D7, u32 length, u64 seq, u32 points, u32 CRC-32, payload

Numbers are little-endian. The payload is one entry as JSON in ASCII, just as the wire wants it; the mark has bytes that
no payload has, so a reader finds its way behind a damaged place. The CRC of a record begins with the CRC of the header's
JSON: a stale block of another file is not believed. The header can be rebuilt from the names of folder and file.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from zlib import crc32

VERSION = 1
MAGIC = b"arwandb" + bytes([VERSION])
MARK = b"\xf5\xd7"
MAX_PAYLOAD = 8 << 20

_HEADER = struct.Struct("<II")
_RECORD = struct.Struct("<2sIQII")
_CHECKED = _RECORD.size - 4

Entry = tuple[int, int, bytes]
"""One entry: its sequence number, how many points it holds, its JSON."""


class Identity:
    """Whose entries a spool holds. Frozen by convention; `seed` starts the CRC of each of its records."""

    __slots__ = ("epoch", "json", "run", "seed", "writer")

    def __init__(self, run: str, writer: str, epoch: str) -> None:
        self.run, self.writer, self.epoch = run, writer, epoch
        self.json = json.dumps({"run": run, "writer": writer, "epoch": epoch}, separators=(",", ":")).encode()
        self.seed = crc32(self.json)

    @property
    def stem(self) -> str:
        """How the files of this identity begin."""
        return f"{self.writer}.{self.epoch}"


def header(identity: Identity) -> bytes:
    """The first bytes of a spool file."""
    return MAGIC + _HEADER.pack(len(identity.json), identity.seed) + identity.json


def record(identity: Identity, entry: Entry) -> bytes:
    """One entry as it stands in a spool file."""
    seq, points, payload = entry
    head = _RECORD.pack(MARK, len(payload), seq, points, 0)[:_CHECKED]
    crc = crc32(payload, crc32(head, identity.seed))
    return head + crc.to_bytes(4, "little") + payload


class Damage:
    """A stretch of a spool file, from `start` up to `end`, that holds no whole record."""

    __slots__ = ("end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end


class NewerFormat(Exception):
    """The file was written by a later version of the SDK, which is needed to read it."""


def body_offset(identity: Identity, data: bytes) -> int:
    """Where records begin. A damaged header counts as damage of its own: 0 says, look for the first record.

    Raises `NewerFormat` for a whole header of a later version.
    """
    expected = header(identity)
    if data.startswith(expected):
        return len(expected)
    if data[:7] == MAGIC[:7] and len(data) > 16 and data[7] > VERSION:
        length, crc = _HEADER.unpack_from(data, 8)
        if crc32(data[16 : 16 + length]) == crc:
            raise NewerFormat(f"spool format {data[7]} is newer than this arwandb; please upgrade")
    return 0


def scan(identity: Identity, data: bytes, start: int, *, is_end: bool) -> Iterator[tuple[int, Entry | Damage]]:
    """Read records from `data[start:]`; yields each with the offset behind it.

    Stops before a record that is not complete, unless `is_end` says that no more bytes will come: then the rest is
    damage. Whole records behind damage are found again by mark and CRC.
    """
    position, size = start, len(data)
    while position < size:
        entry, end = _entry_at(identity, data, position)
        if entry is not None:
            yield end, entry
            position = end
            continue
        if end > size and not is_end:
            return
        # Damage: go on at the next place where a whole record stands.
        resume = data.find(MARK, position + 1)
        while resume != -1:
            entry, end = _entry_at(identity, data, resume)
            if entry is not None or (end > size and not is_end):
                break
            resume = data.find(MARK, resume + 1)
        if resume == -1:
            if not is_end:
                return
            resume = size
        yield resume, Damage(position, resume)
        position = resume


def _entry_at(identity: Identity, data: bytes, position: int) -> tuple[Entry | None, int]:
    """The entry at this place, or None; and where it ends, beyond the data if more bytes are needed to tell."""
    body = position + _RECORD.size
    if body > len(data):
        return None, body
    mark, length, seq, points, crc = _RECORD.unpack_from(data, position)
    if mark != MARK or length > MAX_PAYLOAD:
        return None, position
    end = body + length
    if end > len(data):
        return None, end
    payload = data[body:end]
    if crc32(payload, crc32(data[position : position + _CHECKED], identity.seed)) != crc:
        return None, position
    return (seq, points, payload), end
