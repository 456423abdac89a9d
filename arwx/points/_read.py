"""What all readers share: the points that are still in level 0, and which keys are meant."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from arwx.points import _batch, _chunk
from arwx.points._chunk import Axes, Axis, Points
from arwx.points._codec import Corrupt
from arwx.points._tables import ledger

SYSTEM = "system/"

# The payload of a chunk, and that of the axis which it shares with others, if it does.
Stored = tuple[bytes, bytes | None]


def chooser(keys: Sequence[str] | None) -> Callable[[str], bool]:
    """Whether a key is meant by these names and prefixes (`loss/*`); None means all but `system/*`."""
    if keys is None:
        return lambda key: not key.startswith(SYSTEM)
    names = {key for key in keys if not key.endswith("/*")}
    prefixes = tuple(key[:-1] for key in keys if key.endswith("/*"))
    return lambda key: key in names or key.startswith(prefixes)


def pending(
    db: Session, org_id: int, run_ids: Sequence[str], is_meant: Callable[[str], bool]
) -> dict[tuple[str, str], Points]:
    """The points of level 0 by run and key, in order. A batch that cannot be decoded is passed over: receipts tell."""
    query = (
        select(ledger.c.run_id, ledger.c.writer, ledger.c.first_seq, ledger.c.payload)
        .where(ledger.c.org_id == org_id, ledger.c.run_id.in_(run_ids), ledger.c.payload.is_not(None))
        .order_by(ledger.c.run_id, ledger.c.writer, ledger.c.first_seq)
    )
    found: dict[tuple[str, str], list[Points]] = {}
    for run_id, writer, first_seq, payload in db.execute(query):
        try:
            names, _ = _batch.decode_keys(payload)
            wanted = [index for index, name in enumerate(names) if is_meant(name)]
            if not wanted:
                continue
            batch = _batch.decode(payload)
        except Corrupt:
            continue
        count = len(batch.steps)
        seqs = np.arange(first_seq, first_seq + count, dtype=np.int64)
        axis = Axis(batch.steps, batch.ts, np.full(count, writer, np.int64), seqs)
        for index in wanted:
            at, values = batch.of_key(index)
            if len(values):
                found.setdefault((run_id, names[index]), []).append(Points(axis[at], values))
    return {where: _chunk.join(parts).in_order() for where, parts in found.items()}


def decoded(stored: Iterable[Stored], known: Axes) -> list[Points]:
    """The chunks that can be decoded; receipts tell of the others. Axes are decoded once and then `known`."""
    found = []
    for payload, shared in stored:
        try:
            packed = _chunk.split(payload, shared)
            axis = _chunk.unpack_axis(packed.axis) if shared is None else known[packed.axis]
            found.append(Points(axis, packed.values()))
        except Corrupt:
            continue
    return found
