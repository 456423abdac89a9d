"""Reading a spool: the segments of one writer epoch, in order, around whatever is damaged in them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

from .disk import Disk
from .records import Damage, Entry, Identity, body_offset, scan

_CHUNK = 256 << 10
SUFFIX = ".spool"


class Segment:
    """One spool file. `size` says how far it may be read; `is_whole`, that what stands there will not grow by itself."""

    __slots__ = ("damage", "first_seq", "is_closed", "is_lost", "is_whole", "next_seq", "path", "size")

    def __init__(
        self, path: str, *, size: int = 0, first_seq: int = 0, next_seq: int = 0, is_whole: bool = False
    ) -> None:
        self.path, self.size, self.first_seq, self.next_seq = path, size, first_seq, next_seq
        self.is_whole = is_whole
        self.is_closed = False
        self.is_lost = False
        self.damage: dict[int, int] = {}


class Stream:
    """The entries of one writer epoch, to be read, acknowledged and, where the server refuses them, put aside.

    The lock guards the lists alone; no disk is touched while it is held.
    """

    def __init__(self, disk: Disk, folder: str, identity: Identity) -> None:
        self.disk, self.folder, self.identity = disk, folder, identity
        self.acked = 0
        self.next_seq = 0
        self.points = 0
        self.damaged_bytes = 0
        self.quarantined = 0
        self.segments: list[Segment] = []
        self._lock = threading.Lock()
        # Where the last read stopped: the segment, the offset in it, and the sequence number that comes next.
        self._cursor: tuple[Segment, int, int] | None = None

    @property
    def backlog(self) -> int:
        """How many entries are not acknowledged (gaps count as entries)."""
        return self.next_seq - self.acked

    def path(self, ending: str) -> str:
        """The name of a file of this stream."""
        return f"{self.folder}/{self.identity.stem}{ending}"

    def read(self, start: int, max_entries: int, max_bytes: int) -> list[Entry]:
        """The entries from `start` on, in order, without those that are lost; empty if there are none (yet).

        Raises OSError if the disk does not answer; trying again later is then right.
        """
        entries: list[Entry] = []
        for entry in self.iterate(start):
            entries.append(entry)
            max_bytes -= len(entry[2])
            if len(entries) >= max_entries or max_bytes <= 0:
                break
        return entries

    def iterate(self, start: int) -> Iterator[Entry]:
        """As `read`, one by one."""
        position = start
        with self._lock:
            segments = [segment for segment in self.segments if segment.next_seq > start]
            cursor = self._cursor
        for segment in segments:
            offset = 0
            if cursor is not None and cursor[0] is segment and cursor[2] == position:
                offset = cursor[1]
            for entry, behind in self._entries(segment, offset):
                # Entries can stand in two segments, after a failed fsync; they are the same then.
                if entry[0] >= position:
                    position = entry[0] + 1
                    self._cursor = (segment, behind, position)
                    yield entry

    def _entries(self, segment: Segment, offset: int) -> Iterator[tuple[Entry, int]]:
        """The whole records of one segment from `offset` (0: the beginning), each with the offset behind it."""
        limit, want, data, begin = segment.size, _CHUNK, b"", offset
        while begin < limit and not segment.is_lost:
            try:
                data = self.disk.read(segment.path, begin, min(want, limit - begin))
            except FileNotFoundError:
                segment.is_lost = True
                return
            # A file that is shorter than it was ends here; so does one that was read to its limit.
            is_end = len(data) < min(want, limit - begin) or begin + len(data) >= limit
            at = body_offset(self.identity, data) if begin == 0 else 0
            consumed = at
            for behind, item in scan(self.identity, data, at, is_end=is_end and segment.is_whole):
                consumed = behind
                if isinstance(item, Damage):
                    self._note_damage(segment, begin + item.start, begin + item.end)
                else:
                    yield item, begin + behind
            if is_end:
                return
            # Nothing whole in the chunk: a long record, or a damaged length. Look at more of it.
            want = _CHUNK if consumed else want * 4
            begin += consumed

    def _note_damage(self, segment: Segment, start: int, end: int) -> None:
        if segment.damage.get(start, -1) < end:
            self.damaged_bytes += end - max(start, segment.damage.get(start, start))
            segment.damage[start] = end

    def ack(self, next_seq: int) -> None:
        """Everything below `next_seq` is stored or put aside: forget it, and remove the files that hold nothing else."""
        with self._lock:
            self.acked = max(self.acked, next_seq)
            done = [segment for segment in self.segments if segment.is_closed and segment.next_seq <= self.acked]
            self.segments = [segment for segment in self.segments if segment not in done]
        for segment in done:
            self._discard(segment)

    def _discard(self, segment: Segment) -> None:
        try:
            for start, end in sorted(segment.damage.items()):
                self.disk.make_folder(f"{self.folder}/quarantine")
                name = f"{self.folder}/quarantine/{segment.path.rpartition('/')[2]}@{start}-{end}"
                self.disk.replace(name, self.disk.read(segment.path, start, end - start))
            self.disk.remove(segment.path)
        except OSError:
            # It stays, to be removed at the next acknowledgement; at worst a sync finds nothing new in it.
            with self._lock:
                self.segments.insert(0, segment)

    def put_aside(self, entry: Entry, reason: str) -> None:
        """Keep an entry that the server refused, with its reason, where a person can look at it. Best effort."""
        self.quarantined += 1
        note = b'{"seq":%d,"reason":%s,"entry":%s}\n' % (entry[0], json.dumps(reason).encode(), entry[2])
        try:
            self.disk.make_folder(f"{self.folder}/quarantine")
            file = self.disk.open(f"{self.folder}/quarantine/{self.identity.stem}.refused.jsonl")
            try:
                file.write(note)
                file.sync()
            finally:
                file.close()
        except OSError:
            return


class SpoolReader(Stream):
    """The stream of a writer that ended, or that runs in another process: what its files hold.

    `scan_all` reads all of it once, so that counts are known. Files that their writer still has open are read as far as
    they are whole, and never removed.
    """

    def __init__(self, disk: Disk, folder: str, identity: Identity, acked: int) -> None:
        super().__init__(disk, folder, identity)
        self.acked = acked
        self.is_live = False
        self.entries = 0

    def scan_all(self) -> None:
        """Find the segments and count what is in them. Raises OSError, and `NewerFormat`."""
        seen = 0
        segments = []
        prefix = self.identity.stem + "."
        for name in self.disk.names(self.folder):
            if not (name.startswith(prefix) and name.endswith(SUFFIX)):
                continue
            path = f"{self.folder}/{name}"
            file = self.disk.open(path, is_made=False)
            is_closed = file.lock()
            file.close()
            self.is_live = self.is_live or not is_closed
            segment = Segment(path, size=self.disk.size(path), is_whole=is_closed)
            segment.is_closed = is_closed
            first: int | None = None
            for (seq, points, _), _ in self._entries(segment, 0):
                first = seq if first is None else first
                segment.next_seq = max(segment.next_seq, seq + 1)
                if seq >= seen:
                    seen = seq + 1
                    if seq >= self.acked:
                        self.entries += 1
                        self.points += points
            segment.first_seq = first or 0
            segments.append(segment)
        self.segments = segments
        self.next_seq = max(self.acked, seen)
        # A file without one whole record is done at once; its bytes go to quarantine.
        self.ack(self.acked)
