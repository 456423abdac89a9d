"""Which sequence numbers of a writer came: all below a watermark, and a few ranges above it. Pure rules.

Ranges are half-open pairs (start, end), sorted, apart from each other.
"""

Range = tuple[int, int]

# The most ranges above a watermark. A writer that sends in order has none, one that skips what was refused a few; each
# is read and written again with every batch of the writer.
MOST = 1000


def missing(next_seq: int, above: list[Range], start: int, end: int) -> list[Range]:
    """The parts of [start, end) that did not come yet."""
    found = []
    at = max(start, min(next_seq, end))
    for low, high in above:
        if high <= at:
            continue
        if low >= end:
            break
        if low > at:
            found.append((at, low))
        at = high
    if at < end:
        found.append((at, end))
    return found


def add(next_seq: int, above: list[Range], start: int, end: int) -> tuple[int, list[Range]]:
    """The watermark and the ranges after [start, end) came."""
    merged: list[Range] = []
    for low, high in sorted([*above, (start, end)]):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    while merged and merged[0][0] <= next_seq:
        next_seq = max(next_seq, merged.pop(0)[1])
    return next_seq, merged


def gaps(ranges: list[Range], end: int) -> list[Range]:
    """The holes in [0, end) between ranges, which may come in any order and touch or overlap."""
    next_seq, above = 0, []
    for low, high in sorted(ranges):
        if low <= next_seq:
            next_seq = max(next_seq, high)
        else:
            above.append((next_seq, low))
            next_seq = high
    if next_seq < end:
        above.append((next_seq, end))
    return above
