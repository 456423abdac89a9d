"""Points as a stream of NDJSON: read, stored and committed in pieces, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from flask import g

from arwx import clock
from arwx.access import Scope
from arwx.api import body
from arwx.errors import ArwxError, TruncatedBody, invalid
from arwx.points import Appended, Batch, Entry, append

# Big enough that a commit costs little beside its points, small enough to be nothing beside the process.
_PIECE_BYTES = 512 * 1024

_entries = msgspec.json.Decoder(Entry)


class Head(msgspec.Struct, forbid_unknown_fields=True):
    """The first line: whose entries follow, and the sequence number of the first."""

    run_id: str
    writer_id: str
    epoch: str
    first_seq: int


class End(msgspec.Struct, forbid_unknown_fields=True):
    """The last line: how many entries came before it. Without it the stream counts as cut."""

    end: int


@dataclass
class _Progress:
    entries: int = 0
    line: int = 1  # lines read so far; the head is the first


def store(scope: Scope) -> tuple[str, Appended]:
    """Store the stream that the request brings. What is committed stays, also when a later line fails.

    A failure says `next_seq`, the sequence number from which to send again.
    """
    lines = body.lines()
    head = body.decode_line(Head, next(lines, b""), 1)
    into = scope.writable.stream(head.run_id)
    progress = _Progress()
    # A heartbeat first: an unknown run is told before anything is read.
    total = append(g.db, into, Batch(head.writer_id, head.epoch, head.first_seq, []), clock.now())
    g.db.commit()
    try:
        for entries in _pieces(lines, progress):
            batch = Batch(head.writer_id, head.epoch, head.first_seq + progress.entries, entries)
            done = append(g.db, into, batch, clock.now())
            # Each piece is durable by itself, so that a cut connection keeps what came before.
            g.db.commit()
            progress.entries += len(entries)
            total = Appended(
                total.accepted + done.accepted,
                total.stored + done.stored,
                total.duplicates + done.duplicates,
                total.skipped + done.skipped,
                done.next_seq,
                total.conflicts + done.conflicts,
            )
    except ArwxError as error:
        error.extra["next_seq"] = total.next_seq
        raise
    return head.run_id, total


def _pieces(lines: Iterator[bytes], progress: _Progress) -> Iterator[list[Entry]]:
    """The entries, a piece at a time, up to the end line. Whatever is whole before a fault is given out first."""
    read: list[bytes] = []
    size = 0
    try:
        for line in lines:
            if line.startswith(b'{"end"'):
                yield from _decoded(read, progress)
                _check_end(line, lines, progress)
                return
            read.append(line)
            size += len(line)
            if size >= _PIECE_BYTES:
                yield from _decoded(read, progress)
                read, size = [], 0
    except TruncatedBody:
        yield from _decoded(read, progress)
        raise
    yield from _decoded(read, progress)
    raise TruncatedBody("The stream ended without its end line.")


def _decoded(read: list[bytes], progress: _Progress) -> Iterator[list[Entry]]:
    """The lines as entries; at a bad line, those before it first and then the failure with its number."""
    first = progress.line + 1
    progress.line += len(read)
    try:
        entries = _entries.decode_lines(b"\n".join(read))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        entries = []
        for number, line in enumerate(read, first):
            try:
                entries.append(body.decode_line(Entry, line, number))
            except ArwxError:
                if entries:
                    yield entries
                raise
    if entries:
        yield entries


def _check_end(line: bytes, rest: Iterator[bytes], progress: _Progress) -> None:
    end = body.decode_line(End, line, progress.line + 1)
    if end.end != progress.entries:
        raise invalid("end", f"says {end.end:,} entries, but {progress.entries:,} came")
    if next(rest, None) is not None:
        raise invalid("end", "must be the last line")
