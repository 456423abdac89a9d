"""Writing the spool: entries get their sequence number and go to disk; where the disk fails, memory stands in."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from itertools import islice

from .disk import Disk, File
from .records import Entry, Identity, header, record
from .stream import SUFFIX, Segment, Stream

_WRITE = 1 << 20
_RETRY_S = 5.0
# What an entry in memory takes beyond its JSON.
_OVERHEAD = 160


class Spool(Stream):
    """The spool of this process: one writer epoch, written by one thread, read and acknowledged by another.

    `add` numbers entries, `commit` writes them (they then survive a kill), `sync` forces them to the device (they then
    survive a power cut). Neither raises: entries that cannot be written stay in memory, up to `memory_bytes`, from
    where they are sent as well; beyond it the oldest are kept, and each new one leaves a counted gap.
    """

    def __init__(
        self,
        disk: Disk | None,
        folder: str,
        identity: Identity,
        *,
        segment_bytes: int = 4 << 20,
        memory_bytes: int = 32 << 20,
    ) -> None:
        super().__init__(disk or Disk(), folder, identity)
        self.fault: OSError | None = None
        self.dropped = 0
        self.spooled_seq = 0
        self.synced_seq = 0
        self._has_disk = disk is not None
        self._segment_bytes = segment_bytes
        self._memory_bytes = memory_bytes
        self._segment: Segment | None = None
        self._file: File | None = None
        self._number = 0
        self._retry_at = 0.0
        # What is not on disk, and what is there but not forced to it yet: a failed fsync brings it back.
        self._pending: deque[Entry] = deque()
        self._pending_bytes = 0
        self._unsynced: deque[Entry] = deque()
        self._unsynced_bytes = 0
        self._is_new = False
        self._sync_faults = 0

    def add(self, entries: list[tuple[int, bytes]]) -> None:
        """Number these entries, each (points, JSON), and take them over."""
        with self._lock:
            for points, payload in entries:
                seq = self.next_seq
                self.next_seq = seq + 1
                self.points += points
                if self._pending_bytes + len(payload) + _OVERHEAD > self._memory_bytes:
                    self.dropped += points
                    continue
                self._pending.append((seq, points, payload))
                self._pending_bytes += len(payload) + _OVERHEAD

    @property
    def unwritten(self) -> int:
        """How many entries are in memory alone: neither on disk nor stored."""
        return len(self._pending)

    def commit(self, now: float) -> None:
        """Write what is pending; after a fault, try again every few seconds with a fresh segment."""
        if not self._pending or not self._has_disk or now < self._retry_at:
            return
        try:
            # The sender may take the last of it from memory at any moment, so it is looked at once, under the lock.
            while (first := self._first_pending()) is not None:
                segment = self._segment or self._start(first)
                self._append(segment)
                if self._unsynced_bytes >= self._segment_bytes:
                    self._force()
                if segment.size >= self._segment_bytes and self._segment is segment:
                    self._force()
                    self._close_segment()
            self.fault = None
        except OSError as error:
            self.fault = error
            self._retry_at = now + _RETRY_S
            self._leave_segment()

    def sync(self, now: float) -> None:
        """Force what was written to the device. A segment whose fsync fails is given up and its entries written anew."""
        if self._segment is None or not self._unsynced:
            return
        try:
            if self.acked < self.spooled_seq:  # otherwise the server has all of it, on a disk of its own
                self._force()
            else:
                self._forget_unsynced()
            # An acknowledged segment of some size is given back to the disk.
            if self.acked >= self._segment.next_seq and self._segment.size > self._segment_bytes // 4:
                self._close_segment()
        except OSError as error:
            self.fault = error
            # Once more at once, on a fresh file; a device that goes on failing is asked every few seconds.
            self._retry_at = now if self._sync_faults == 1 else now + _RETRY_S
            self._close_segment()
            self.commit(now)

    def close(self, now: float) -> None:
        """Write and force everything that can be, and let go of the file."""
        self._retry_at = now
        self.commit(now)
        self.sync(now)
        self._close_segment()
        self.ack(self.acked)  # a file whose removal failed is tried once more

    def abandon(self) -> None:
        """After a fork, in the child: let go of the parent's file without touching it."""
        if self._file is not None:
            self._file.close()

    def _first_pending(self) -> int | None:
        with self._lock:
            return self._pending[0][0] if self._pending else None

    def _start(self, first: int) -> Segment:
        """Open the next segment, for entries from `first` on. It exists with its header before anybody may read it."""
        self._number += 1
        path = f"{self.folder}/{self.identity.stem}.{self._number:06d}{SUFFIX}"
        # Locked before it gets its name: a sync that comes by takes a file without a lock for one that nobody writes to.
        file = self.disk.create(path + ".new")
        head = header(self.identity)
        try:
            file.lock()
            self._write(file, head)
            self.disk.rename(path + ".new", path)
        except OSError:
            file.close()
            self.disk.remove(path + ".new")
            raise
        self._file, self._segment = file, Segment(path, size=len(head), first_seq=first, next_seq=first, is_whole=True)
        self._is_new = True
        with self._lock:
            self.segments.append(self._segment)
        return self._segment

    def _append(self, segment: Segment) -> None:
        """Write up to a megabyte of what is pending; entries leave memory only when the whole of it is written."""
        assert self._file is not None  # noqa: S101 - a segment is never without its file
        entries: list[Entry] = []
        size = 0
        with self._lock:
            for entry in self._pending:
                entries.append(entry)
                size += len(entry[2])
                if size >= _WRITE:
                    break
        if not entries:
            return
        data = b"".join([record(self.identity, entry) for entry in entries])
        try:
            self._write(self._file, data)
        except OSError:
            # What was torn off must not stay in the way of the reader; if it does, its CRC gives it away.
            try:
                self._file.truncate(segment.size)
            except OSError:
                segment.size += len(data)
            raise
        last = entries[-1][0]
        with self._lock:
            segment.size += len(data)
            segment.next_seq = max(segment.next_seq, last + 1)
            self.spooled_seq = max(self.spooled_seq, last + 1)
            self._unsynced.extend(entries)
            self._unsynced_bytes += size
            # Meanwhile the sender may have had some of them acknowledged, straight from memory.
            self._drop_pending(last + 1)

    @staticmethod
    def _write(file: File, data: bytes) -> None:
        view = memoryview(data)
        while view:
            taken = file.write(view)
            if taken <= 0:
                raise OSError(5, "write took nothing")
            view = view[taken:]

    def _force(self) -> None:
        assert self._file is not None  # noqa: S101 - as above
        assert self._segment is not None  # noqa: S101
        try:
            self._file.sync()
            if self._is_new:
                self._is_new = False
                self.disk.sync_folder(self.folder)
        except OSError:
            # The kernel may have thrown the pages away and forgotten the error: nothing since the last good fsync is
            # trusted, and a second fsync of the same file would lie.
            with self._lock:
                back = [entry for entry in self._unsynced if entry[0] >= self.acked]
                self._pending.extendleft(reversed(back))
                self._pending_bytes += sum(len(entry[2]) + _OVERHEAD for entry in back)
            self._forget_unsynced()
            self._sync_faults += 1
            raise
        self._sync_faults = 0
        self.synced_seq = self._segment.next_seq
        self._forget_unsynced()

    def _leave_segment(self) -> None:
        """Go on in another file after a fault. What stands in this one is forced first: no later fsync would cover it."""
        if self._file is not None and self._unsynced:
            try:
                self._force()
            except OSError:
                pass  # its entries are back in memory
        self._close_segment()

    def _forget_unsynced(self) -> None:
        self._unsynced.clear()
        self._unsynced_bytes = 0

    def _close_segment(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self.fault = error
        segment, self._file, self._segment = self._segment, None, None
        if segment is not None:
            segment.is_closed = True
            if segment.next_seq == segment.first_seq:
                segment.next_seq = 0  # nothing was ever written to it
            self.ack(self.acked)

    def _drop_pending(self, next_seq: int) -> None:
        while self._pending and self._pending[0][0] < next_seq:
            self._pending_bytes -= len(self._pending.popleft()[2]) + _OVERHEAD

    def ack(self, next_seq: int) -> None:
        with self._lock:
            self._drop_pending(next_seq)
        super().ack(next_seq)

    def iterate(self, start: int) -> Iterator[Entry]:
        """The entries from `start` on: from disk as far as they are there, then from memory."""
        while True:
            with self._lock:
                before = [(segment, segment.size) for segment in self.segments]
            for entry in super().iterate(start):
                start = entry[0] + 1
                yield entry
            with self._lock:
                # What moved from memory to disk while we read must be read there, or it would look like a gap.
                if before != [(segment, segment.size) for segment in self.segments]:
                    continue
                at = bisect_left(self._pending, (start,))
                rest = list(islice(self._pending, at, at + 2000))
            if not rest:
                return
            for entry in rest:
                start = entry[0] + 1
                yield entry
