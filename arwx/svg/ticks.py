"""Where the ticks of an axis stand and what they say."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_CLOCK_STEPS = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(_MINUTE * n for n in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * n for n in (1, 2, 3, 6, 12)),
    *(_DAY * n for n in (1, 2, 4, 7, 14, 30, 60, 90, 180, 365)),
)
# Up to where each factor is nearer than the next one: their geometric means.
_NICE = ((1.0, math.sqrt(2)), (2.0, math.sqrt(10)), (5.0, math.sqrt(50)))


@dataclass(frozen=True, slots=True)
class Tick:
    """A value on an axis and the few characters that name it."""

    value: float
    label: str


def linear(low: float, high: float, count: float = 5) -> list[Tick]:
    """Round values (1, 2 or 5 times a power of ten apart) within [low, high], about `count` of them, at least one."""
    if not high - low > 1e-305:
        return [Tick(low, significant(low))]
    step = _nice((high - low) / count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # One notation for all: 5e-4 and 1e-3, not 5e-4 and 0.0010.
    is_tiny = step < 1e-3 and step * max(abs(first), abs(last)) < 1e-2
    label = _exponent if is_tiny else short
    return [Tick(i * step, label(i * step, step) if i else "0") for i in range(first, last + 1)]


def whole(low: float, high: float, count: float = 5) -> list[Tick]:
    """As `linear`, never between whole numbers: for steps, of which there is no half."""
    if high - low < count and high > low:
        return [Tick(float(i), short(float(i), 1.0)) for i in range(math.ceil(low), math.floor(high) + 1)]
    return linear(low, high, count)


def log(low: float, high: float, count: float = 5) -> list[Tick]:
    """Ticks of a logarithmic axis over [low, high], low > 0: powers of ten, with 2 and 5 between when those are few."""
    if not high > low:
        return [Tick(low, significant(low))]
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = last - first
    if decades > 2 * count:
        stride, factors = math.ceil(decades / count), [1]
    else:
        stride, factors = 1, [1] if decades > 3 else [1, 2, 5]
    values = [float(f"{f}e{e}") for e in range(first, last + 1) if e % stride == 0 for f in factors]
    inside = [v for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
    # Less than a decade may hold a single round value, or none: there a linear choice says more.
    return [Tick(v, short(v, v)) for v in inside] if len(inside) > 1 else linear(low, high, count)


def relative(low: float, high: float, count: float = 4) -> list[Tick]:
    """Ticks of an axis in seconds since a start: whole seconds, minutes, hours or days."""
    return _clock(low, high, count, span)


def moments(low: float, high: float, count: float = 4) -> list[Tick]:
    """Ticks of an axis in Unix seconds, as times of day in UTC, or dates where ticks are days apart."""
    step = _clock_step(low, high, count)

    def label(value: float) -> str:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)
        if step >= _DAY:
            return f"{moment.day} {moment:%b}"
        return f"{moment:%H:%M:%S}" if step < _MINUTE else f"{moment:%H:%M}"

    return _clock(low, high, count, label)


def short(value: float, step: float) -> str:
    """A tick label: `250`, `10k`, `1.5M`, `0.02`, `1e-5`; as many decimals as ticks `step` apart need to differ."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e15 or size < 1e-3:
        return _exponent(value, step)
    scale, suffix = next(((s, x) for s, x in _SUFFIXES if size >= s), (1.0, ""))
    decimals = max(0, -math.floor(math.log10(step / scale) + 1e-9))
    if decimals > 6:
        return significant(value, 8)
    text = f"{value / scale:.{decimals}f}"
    if suffix and "." in text:  # 1k, 1.5k, 2k; without a suffix all have the same decimals: 1.0, 1.5, 2.0
        text = text.rstrip("0").rstrip(".")
    return _sign(text + suffix)


def significant(value: float, digits: int = 4) -> str:
    """A value to `digits` significant ones, as short as it goes: `2.413`, `1234`, `3.1e-5`."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else _sign("-∞")
    if value == int(value) and abs(value) < 1e6:
        return _sign(str(int(value)))
    if 1e-3 <= abs(value) < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:.{decimals}f}"
        return _sign(text.rstrip("0").rstrip(".") if "." in text else text)
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return _sign(f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}")


def compact(value: float) -> str:
    """As `significant`, in at most eight signs: with a suffix from ten thousand on, `43.25k`; `4.63e-11`."""
    if 0 < abs(value) < 1e-3 or abs(value) >= 1e15:
        return significant(value, 3)
    scale, suffix = next(((s, x) for s, x in _SUFFIXES if abs(value) >= max(s, 1e4)), (1.0, ""))
    return significant(value / scale) + suffix


def span(seconds: float) -> str:
    """A length of time in its two largest units: `45s`, `2m`, `1h 30m`, `3d`."""
    if seconds < 0:
        return _sign("-" + span(-seconds))
    if seconds < _MINUTE:
        return f"{significant(seconds, 2)}s"
    for unit, name, part, part_name in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "m"), (_MINUTE, "m", 1.0, "s")):
        if seconds >= unit:
            rest = int(seconds % unit // part)
            return f"{int(seconds // unit)}{name}" + (f" {rest}{part_name}" if rest else "")
    raise AssertionError("unreachable: a minute or more has a unit")


def _clock(low: float, high: float, count: float, label: Callable[[float], str]) -> list[Tick]:
    if not high > low:
        return [Tick(low, label(low))]
    step = _clock_step(low, high, count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [Tick(i * step, label(i * step)) for i in range(first, last + 1)]


def _clock_step(low: float, high: float, count: float) -> float:
    """The readable step nearest to the wanted one; below a second and beyond a year, 1, 2 or 5."""
    wanted = (high - low) / count
    if wanted < 1:
        return _nice(wanted) if wanted > 0 else 1.0
    if wanted > _CLOCK_STEPS[-1]:
        return _nice(wanted / _DAY) * _DAY
    return min(_CLOCK_STEPS, key=lambda step: abs(math.log(step / wanted)))


def _nice(rough: float) -> float:
    """The nearest of 1, 2 and 5 times a power of ten, by ratio."""
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next((factor for factor, end in _NICE if rough < end * power), 10.0)


def _exponent(value: float, step: float) -> str:
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    decimals = min(6, max(0, exponent - math.floor(math.log10(step) + 1e-9)))
    mantissa, _, power = f"{value:.{decimals}e}".partition("e")
    return _sign(f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(power)}")


def _sign(text: str) -> str:
    """With a true minus in front, which is as wide as a digit. Exponents keep the hyphen."""
    return "\N{MINUS SIGN}" + text[1:] if text.startswith("-") else text
