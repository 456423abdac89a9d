"""Points as a stream of NDJSON: read, stored and committed in pieces, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import msgspec
from flask import g

from arwx import clock
from arwx.access import Scope
from arwx.api import body
from arwx.errors import ArwxError, TruncatedBody, invalid
from arwx.points import Appended, Batch, Entry, append

# Big enough that a commit costs little beside its points, small enough to be nothing beside the process.
_BLOCK_BYTES = 512 * 1024

_decoder = msgspec.json.Decoder(Entry)


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
    lines: int = 1  # read so far; the head is the first


def store(scope: Scope) -> tuple[str, Appended]:
    """Store the stream that the request brings. What is committed stays, also when a later line fails.

    A failure says `next_seq`, the sequence number from which to send again.
    """
    blocks = body.blocks(_BLOCK_BYTES)
    block = next(blocks)
    if not block.strip():
        raise TruncatedBody("The stream ended before its first line, which says whose points follow.")
    first, _, rest = block.partition(b"\n")
    head = body.decode_line(Head, first, 1)
    into = scope.writable.stream(head.run_id)
    # A heartbeat first: an unknown run is told before anything is read.
    total = append(g.db, into, Batch(head.writer_id, head.epoch, head.first_seq, []), clock.now())
    g.db.commit()
    progress = _Progress()
    try:
        for entries in _entries(chain([rest], blocks), progress):
            batch = Batch(head.writer_id, head.epoch, head.first_seq + progress.entries, entries)
            done = append(g.db, into, batch, clock.now())
            # Each piece is durable by itself, so that a cut connection keeps what came before.
            g.db.commit()
            progress.entries += len(entries)
            total = _sum(total, done)
    except ArwxError as error:
        error.extra["next_seq"] = total.next_seq
        raise
    return head.run_id, total


def _entries(blocks: Iterator[bytes], progress: _Progress) -> Iterator[list[Entry]]:
    """The entries of each block, up to the end line. Whatever is whole before a fault is given out first."""
    for block in blocks:
        whole = block.rstrip()
        last = whole.rfind(b"\n") + 1
        if not whole.startswith(b'{"end"', last):
            yield from _decoded(block, progress)
            continue
        yield from _decoded(block[:last], progress)
        end = body.decode_line(End, whole[last:], progress.lines + 1)
        if end.end != progress.entries:
            raise invalid("end", f"says {end.end:,} entries, but {progress.entries:,} came")
        if any(more.strip() for more in blocks):
            raise invalid("end", "must be the last line")
        return
    raise TruncatedBody("The stream ended without its end line.")


def _decoded(block: bytes, progress: _Progress) -> Iterator[list[Entry]]:
    """The lines as entries; at a bad line, those before it first and then the failure with its number."""
    try:
        entries = _decoder.decode_lines(block)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        entries = []
        for number, line in enumerate(block.split(b"\n"), progress.lines + 1):
            try:
                if line.strip():
                    entries.append(body.decode_line(Entry, line, number))
            except ArwxError:
                if entries:
                    yield entries
                raise
    progress.lines += block.count(b"\n")
    if entries:
        yield entries


def _sum(total: Appended, done: Appended) -> Appended:
    return Appended(
        total.accepted + done.accepted,
        total.stored + done.stored,
        total.duplicates + done.duplicates,
        total.skipped + done.skipped,
        done.next_seq,
        total.conflicts + done.conflicts,
    )
