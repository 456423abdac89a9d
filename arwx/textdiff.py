"""Differences of two texts, in bounded time."""

from collections.abc import Iterator, Sequence

# Beyond this many changed lines, or after this many comparisons of lines (about a second), the changed stretch is shown
# as a whole: old lines out, new lines in.
MAX_EDITS = 400
MAX_COMPARED = 4_000_000
_CONTEXT = 3
_NO_NEWLINE = "\\ No newline at end of file\n"

_Hunk = list[tuple[str, str]]


def unified(old: str, new: str, old_name: str, new_name: str) -> str:
    """The unified diff that turns `old` into `new`, with three lines of context; empty for equal texts.

    Shortest by Myers' greedy algorithm ("An O(ND) Difference Algorithm and Its Variations", 1986) up to 400 changed
    lines, and correct, if long, above. Time is bounded, whatever the texts are.
    """
    script = list(_edits(_lines(old), _lines(new)))
    parts = [f"--- {old_name}\n+++ {new_name}\n"]
    read = old_at = new_at = 0
    for start, hunk in _hunks(script):
        # Between two hunks no line changes.
        old_at, new_at = old_at + start - read, new_at + start - read
        old_count, new_count = sum(mark != "+" for mark, _ in hunk), sum(mark != "-" for mark, _ in hunk)
        parts.append(f"@@ -{_span(old_at, old_count)} +{_span(new_at, new_count)} @@\n")
        for mark, line in hunk:
            parts.append(mark + line if line.endswith("\n") else f"{mark}{line}\n{_NO_NEWLINE}")
        read, old_at, new_at = start + len(hunk), old_at + old_count, new_at + new_count
    return "".join(parts) if len(parts) > 1 else ""


def _lines(text: str) -> list[str]:
    """The lines with their ends. Only LF ends a line, as for `patch` and Git."""
    lines = text.split("\n")
    last = lines.pop()
    return [line + "\n" for line in lines] + ([last] if last else [])


def _edits(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every line with its mark: " " stays, "-" goes, "+" comes."""
    shorter = min(len(old), len(new))
    head = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    tail = next((i for i in range(shorter - head) if old[-1 - i] != new[-1 - i]), shorter - head)
    yield from ((" ", line) for line in old[:head])
    yield from _middle(old[head : len(old) - tail], new[head : len(new) - tail])
    yield from ((" ", line) for line in old[len(old) - tail :])


def _middle(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, str]]:
    trace = _trace(old, new)
    if trace is None:
        yield from (("-", line) for line in old)
        yield from (("+", line) for line in new)
        return
    backwards: _Hunk = []
    x, y = len(old), len(new)
    for edits in range(len(trace) - 1, 0, -1):
        reached, diagonal = trace[edits - 1], x - y
        is_down = diagonal == -edits or (
            diagonal != edits and reached.get(diagonal - 1, -1) < reached.get(diagonal + 1, -1)
        )
        before = diagonal + 1 if is_down else diagonal - 1
        from_x = reached[before]
        from_y = from_x - before
        stays = x - from_x - (0 if is_down else 1)
        backwards += [(" ", old[i]) for i in range(x - 1, x - 1 - stays, -1)]
        backwards.append(("+", new[from_y]) if is_down else ("-", old[from_x]))
        x, y = from_x, from_y
    backwards += [(" ", old[i]) for i in range(x - 1, -1, -1)]
    yield from reversed(backwards)


def _trace(old: Sequence[str], new: Sequence[str]) -> list[dict[int, int]] | None:
    """For each number of edits, how far each diagonal reaches; None when it takes too many of them, or too long."""
    if abs(len(old) - len(new)) > MAX_EDITS:
        return None
    compared = 0
    reached: dict[int, int] = {1: 0}
    trace: list[dict[int, int]] = []
    for edits in range(MAX_EDITS + 1):
        now: dict[int, int] = {}
        for diagonal in range(-edits, edits + 1, 2):
            down, right = reached.get(diagonal + 1, -1), reached.get(diagonal - 1, -1)
            x = down if diagonal == -edits or (diagonal != edits and right < down) else right + 1
            y, start = x - diagonal, x
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            compared += x - start + 1
            now[diagonal] = x
            if x >= len(old) and y >= len(new):
                return [*trace, now]
        if compared > MAX_COMPARED:
            return None
        trace.append(now)
        reached = now
    return None


def _hunks(script: _Hunk) -> Iterator[tuple[int, _Hunk]]:
    """The stretches of changed lines with their context, and where each starts."""
    first = last = None
    for at, (mark, _) in enumerate(script):
        if mark == " ":
            continue
        if first is None or last is None:
            first = at
        elif at > last + 2 * _CONTEXT + 1:
            yield _hunk(script, first, last)
            first = at
        last = at
    if first is not None and last is not None:
        yield _hunk(script, first, last)


def _hunk(script: _Hunk, first: int, last: int) -> tuple[int, _Hunk]:
    start = max(0, first - _CONTEXT)
    return start, script[start : last + _CONTEXT + 1]


def _span(at: int, count: int) -> str:
    """A range as unified diffs write it: counted from 1, the line before it when it is empty."""
    if count == 1:
        return f"{at + 1}"
    return f"{at + 1 if count else at},{count}"
