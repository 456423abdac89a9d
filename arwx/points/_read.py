"""What all readers share: the points that are still in level 0, and which keys are meant."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from arwx.points import _batch, _chunk
from arwx.points._chunk import Points
from arwx.points._codec import Corrupt
from arwx.points._tables import ledger

SYSTEM = "system/"


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
        writers = np.full(count, writer, np.int64)
        seqs = np.arange(first_seq, first_seq + count, dtype=np.int64)
        for index in wanted:
            at, values = batch.of_key(index)
            if len(values):
                points = Points(batch.steps[at], batch.ts[at], writers[at], seqs[at], values)
                found.setdefault((run_id, names[index]), []).append(points)
    return {where: _chunk.join(parts).in_order() for where, parts in found.items()}


def decoded(payloads: Iterable[bytes]) -> list[Points]:
    """The chunks that can be decoded; receipts tell of the others."""
    found = []
    for payload in payloads:
        try:
            found.append(_chunk.decode(payload))
        except Corrupt:
            continue
    return found
