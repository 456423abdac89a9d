"""Values: what `log()` was given becomes finite numbers under flat names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MAX_KEY = 255
MAX_STEP = 2**53 - 1
# The points of one entry: a line of the stream stays below its megabyte. A larger `log()` becomes several entries.
MAX_POINTS = 2000
MAX_DEPTH = 16

Metrics = dict[str, Any]


def settle(metrics: Any) -> Metrics:
    """A flat copy that holds plain numbers, or None for what is none; nothing in it can be changed from outside.

    Tensors and arrays are read here, on the caller's thread: an optimizer may change them in place a moment later.
    """
    flat: Metrics = {}
    if isinstance(metrics, Mapping):
        _flatten(metrics, "", flat, 0)
    return flat


def _flatten(metrics: Mapping[Any, Any], prefix: str, flat: Metrics, depth: int) -> None:
    for key, value in metrics.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            if depth < MAX_DEPTH:
                _flatten(value, f"{name}/", flat, depth + 1)
            else:
                flat[name] = None
        else:
            flat[name] = number(value)


def number(value: Any) -> float | int | None:
    """The plain number that this is: of bool, int, float, numpy and torch scalars, anything with `__float__`. Else None."""
    if isinstance(value, (int, float)):
        # A subclass of float such as numpy.float64 becomes a float; bool and int stay exact.
        return float(value) if isinstance(value, float) else int(value)
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        if hasattr(value, "item"):  # arrays and tensors; of one element only, others raise
            value = value.item()
            if isinstance(value, (int, float)):
                return value
        return float(value) if hasattr(type(value), "__float__") else None
    except Exception:  # noqa: BLE001 - any class may stand here, and none of them may hurt training
        return None


def whole_step(step: Any) -> int | None:
    """The step as an integer 0…2^53−1, or None if it is none."""
    try:
        whole = int(step.item() if hasattr(step, "item") else step)
    except Exception:  # noqa: BLE001 - as above
        return None
    return whole if 0 <= whole <= MAX_STEP else None


class _Names(dict[Any, str]):
    """For each metric name its JSON with a colon; the empty string for a name that the server would refuse."""

    def __missing__(self, name: Any) -> str:
        text = ""
        if 1 <= len(name) <= MAX_KEY and not any(_is_unfit(character) for character in name):
            text = json.dumps(name) + ":"
        if len(self) < 65536:
            self[name] = text
        return text


def _is_unfit(character: str) -> bool:
    code = ord(character)
    return code < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000


class Encoder:
    """Turns settled metrics into entries as the wire wants them, and counts what it had to leave out."""

    def __init__(self, next_step: int = 0) -> None:
        self.next_step = next_step
        self.points = 0
        self.skipped = 0
        self.unfit_name: str | None = None
        self.last: Metrics = {}
        self._names = _Names()

    def encode(
        self, metrics: Metrics, step: int | None, ts: float, *, is_system: bool = False
    ) -> list[tuple[int, bytes]]:
        """The entries of one `log()`: mostly one, none if there was nothing in it. Each is (points, JSON).

        Without a step the entry takes the one behind the greatest that was seen.
        """
        if is_system:
            step = step or 0
        else:
            if step is None:
                step = self.next_step
            if step >= self.next_step:
                self.next_step = min(step + 1, MAX_STEP)
        parts: list[str] = []
        bad: list[str] = []
        names = self._names
        for name, value in metrics.items():
            if type(name) is not str:
                return self.encode({str(key): item for key, item in metrics.items()}, step, ts, is_system=is_system)
            label = names[name]
            if not label:
                self.unfit_name = name
                self.skipped += 1
            elif type(value) is float:
                # NaN and infinities are the floats whose difference from themselves is not zero.
                if value - value == 0.0:
                    parts.append(label + repr(value))
                else:
                    bad.append(label[:-1])
            else:
                text = _literal(value)
                if text:
                    parts.append(label + text)
                else:
                    bad.append(label[:-1])
        if not is_system:
            self.last.update(metrics)
        self.points += len(parts)
        self.skipped += len(bad)
        if not parts and not bad:
            return []
        if len(parts) + len(bad) <= MAX_POINTS:
            return [(len(parts), _entry(step, ts, parts, bad))]
        cut = MAX_POINTS
        entries = [(len(some), _entry(step, ts, some, [])) for some in _cut(parts, cut)]
        return entries + [(0, _entry(step, ts, [], some)) for some in _cut(bad, cut)]


def _cut(parts: list[str], size: int) -> list[list[str]]:
    return [parts[start : start + size] for start in range(0, len(parts), size)]


def _entry(step: int, ts: float, parts: list[str], bad: list[str]) -> bytes:
    tail = f',"nonfinite":[{",".join(bad)}]' if bad else ""
    return f'{{"step":{step},"ts":{ts!r},"metrics":{{{",".join(parts)}}}{tail}}}'.encode("ascii")


def _literal(value: Any) -> str:
    """The JSON of a number that is not a plain float; empty if it is no finite number."""
    if isinstance(value, int):
        if -MAX_STEP <= value <= MAX_STEP:
            return repr(int(value))
        try:
            return repr(float(value))
        except OverflowError:
            return ""
    plain = number(value)
    if plain is None or isinstance(plain, int):
        return "" if plain is None else _literal(plain)
    return repr(plain) if plain - plain == 0.0 else ""
