"""Conditions on runs, such as `config.lr > 1e-4 and latest.loss < 2`, and orders, such as `-latest.loss`.

    condition   = either
    either      = both ("or" both)*
    both        = one ("and" one)*
    one         = "not" one | "(" either ")" | field | field operator value | field "not"? "in" "(" value, … ")"
    operator    = "<" | "<=" | ">" | ">=" | "=" | "==" | "!=" | "~" | "!~"      (~ is a search by pattern)
    value       = number | "text" | 'text' | moment | true | false | null       (2h, 30m, 10s, 3d are seconds)
    moment      = a date such as 2026-11-20, or a date and a time such as 2026-11-20T08:30Z
    field       = a name of `FIELDS`, or config.… summary.… latest.… min.… max.… host.…   (odd keys: latest.`my key`)

Nothing is ever evaluated as code. A comparison with a field that a run lacks, or of another kind, is false.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol, TypeAlias

from arwx.errors import FieldError, Invalid
from arwx.patterns import Fault, Pattern

LONGEST = 1000
_DEEPEST = 24
_MOST_TOKENS = 200
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<moment>\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[-+]\d\d:?\d\d)?)?)(?![\w.])
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?P<unit>[smhd]\b)?)(?![\w.])
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<word>[A-Za-z_](?:[\w./-]|`[^`]*`)*)
    | (?P<sign><=|>=|==|!=|!~|[<>=~(),])
    )""",
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)")


class Metric(Protocol):
    """What is known of a metric of a run."""

    count: int
    value: float
    min: float
    max: float


class Subject(Protocol):
    """What a condition looks at: a run."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def group(self) -> str | None: ...
    @property
    def job_type(self) -> str | None: ...
    @property
    def notes(self) -> str | None: ...
    @property
    def commit(self) -> str | None: ...
    @property
    def diff_sha(self) -> str | None: ...
    @property
    def experiment_id(self) -> str | None: ...
    @property
    def exit_code(self) -> int | None: ...
    @property
    def tags(self) -> list[str]: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def summary(self) -> Mapping[str, Any]: ...
    @property
    def host(self) -> Mapping[str, Any]: ...
    @property
    def latest(self) -> Mapping[str, Any]: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def started_at(self) -> datetime: ...
    @property
    def last_seen_at(self) -> datetime: ...
    @property
    def finished_at(self) -> datetime | None: ...


Read: TypeAlias = Callable[[Any, datetime], Any]
Test: TypeAlias = Callable[[Any, datetime], bool]


@dataclass(frozen=True)
class Condition:
    """A condition that was read."""

    text: str
    test: Test

    def holds(self, run: Subject, now: datetime) -> bool:
        return self.test(run, now)


@dataclass(frozen=True)
class Order:
    """An order that was read: by which field, and in which direction. Runs without the field come last."""

    text: str
    read: Read
    is_descending: bool

    def arrange(self, runs: Sequence[Any], now: datetime) -> list[Any]:
        """The runs in this order; equals stay as they are."""
        known: list[tuple[tuple[int, Any], Any]] = []
        unknown = []
        for run in runs:
            rank = _rank(self.read(run, now))
            if rank is None:
                unknown.append(run)
            else:
                known.append((rank, run))
        known.sort(key=lambda pair: pair[0], reverse=self.is_descending)
        return [run for _, run in known] + unknown


def ran(run: Subject, now: datetime) -> float:
    """For how many seconds a run went, or goes: one that fell silent ends where it was last heard of."""
    end = now if run.status == "running" else run.finished_at or run.last_seen_at
    return max(0.0, (end - run.started_at).total_seconds())


FIELDS: dict[str, Read] = {
    "id": lambda run, _: run.id,
    "name": lambda run, _: run.name,
    "status": lambda run, _: run.status,
    "group": lambda run, _: run.group,
    "job_type": lambda run, _: run.job_type,
    "notes": lambda run, _: run.notes,
    "commit": lambda run, _: run.commit,
    "diff_sha": lambda run, _: run.diff_sha,
    "experiment_id": lambda run, _: run.experiment_id,
    "exit_code": lambda run, _: run.exit_code,
    "tags": lambda run, _: run.tags,
    "tag": lambda run, _: run.tags,
    "created": lambda run, _: run.created_at,
    "started": lambda run, _: run.started_at,
    "finished": lambda run, _: run.finished_at,
    "seen": lambda run, _: run.last_seen_at,
    # As a run is answered, so that whoever has read one need not learn other names.
    "created_at": lambda run, _: run.created_at,
    "started_at": lambda run, _: run.started_at,
    "finished_at": lambda run, _: run.finished_at,
    "last_seen_at": lambda run, _: run.last_seen_at,
    "ran": ran,
    "age": lambda run, now: (now - run.started_at).total_seconds(),
}
SPACES = ("config", "summary", "latest", "min", "max", "host")


def condition(text: str, field: str = "q") -> Condition:
    """The condition that the text states. `Invalid` about `field`, with the position of the fault, when it is none."""
    return Condition(text, _Parser(text, field).condition())


def order(text: str, field: str = "sort") -> Order:
    """The order that the text names: a field, with a `-` in front for the greatest first."""
    is_descending = text.startswith("-")
    name = text[1:] if is_descending else text
    if len(text) > LONGEST:
        _fault(field, f"must have at most {LONGEST} characters", LONGEST)
    return Order(text, reader(name, field, int(is_descending)), is_descending)


def reader(name: str, field: str = "sort", position: int = 0) -> Read:
    """What reads the field of this name from a run; `Invalid` for a name that is none."""
    if name in FIELDS:
        return FIELDS[name]
    space, _, rest = name.partition(".")
    key = rest.replace("`", "")
    if space not in SPACES or not key:
        known = ", ".join([*sorted(FIELDS), *(f"{space}.…" for space in SPACES)])
        _fault(field, f"{name[:80]} is not a field: there are {known}", position)
    if space in {"latest", "min", "max"}:
        part = "value" if space == "latest" else space
        return lambda run, _: getattr(m, part) if (m := run.latest.get(key)) is not None and m.count else None
    return lambda run, _: dig(getattr(run, space), key)


def dig(tree: Any, path: str) -> Any:
    """The value under a dotted path; a key may hold dots itself."""
    if not isinstance(tree, Mapping):
        return None
    if path in tree:
        return tree[path]
    at = path.find(".")
    while at >= 0:
        if (found := dig(tree.get(path[:at]), path[at + 1 :])) is not None:
            return found
        at = path.find(".", at + 1)
    return None


@dataclass(frozen=True)
class _Token:
    kind: str
    value: Any
    at: int


class _Parser:
    """Recursive descent over the tokens. Bounded in length and depth, so that no text is expensive."""

    def __init__(self, text: str, field: str) -> None:
        self.field = field
        self.text = text
        if len(text) > LONGEST:
            self.fault(f"must have at most {LONGEST} characters", LONGEST)
        self.tokens = list(self._tokens())
        self.at = 0
        self.depth = 0

    def condition(self) -> Test:
        if not self.tokens:
            self.fault("is empty", 0)
        test = self._either()
        if self.at < len(self.tokens):
            token = self.tokens[self.at]
            self.fault(f"{self._shown(token)} is not expected here: join conditions with and, or", token.at)
        return test

    def fault(self, message: str, position: int) -> NoReturn:
        _fault(self.field, message, position)

    def _tokens(self) -> Iterator[_Token]:
        at, end = 0, len(self.text.rstrip())
        count = 0
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                start = at + len(self.text[at:]) - len(self.text[at:].lstrip())
                sign = self.text[start]
                self.fault(
                    f"{sign} begins a text that does not end" if sign in "\"'" else f"{sign} is not understood", start
                )
            count += 1
            kind = match.lastgroup or ""
            kind = "number" if kind == "unit" else kind
            if count > _MOST_TOKENS:
                self.fault(f"has more than {_MOST_TOKENS} words and signs", match.start(kind))
            # A moment is a text that needs no quotes.
            yield _Token("text" if kind == "moment" else kind, self._value(kind, match), match.start(kind))
            at = match.end()

    def _value(self, kind: str, match: re.Match[str]) -> Any:
        raw = match[kind]
        if kind == "number":
            unit = match["unit"]
            return float(raw[:-1]) * _UNITS[unit] if unit else float(raw)
        return _ESCAPED.sub(r"\1", raw[1:-1]) if kind == "text" else raw

    def _either(self) -> Test:
        ways = [self._both()]
        while self._takes("or"):
            ways.append(self._both())
        return ways[0] if len(ways) == 1 else lambda run, now: any(way(run, now) for way in ways)

    def _both(self) -> Test:
        parts = [self._one()]
        while self._takes("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda run, now: all(part(run, now) for part in parts)

    def _one(self) -> Test:
        self.depth += 1
        if self.depth > _DEEPEST:
            self.fault("is nested too deeply", self._here())
        try:
            if self._takes("not"):
                inner = self._one()
                return lambda run, now: not inner(run, now)
            if self._takes("("):
                inner = self._either()
                self._must(")")
                return inner
            return self._comparison()
        finally:
            self.depth -= 1

    def _comparison(self) -> Test:
        token = self._next("a field such as config.lr or latest.loss")
        if token.kind != "word" or token.value in {"and", "or", "in"}:
            self.fault(f"a field is expected, not {self._shown(token)}", token.at)
        read = reader(token.value, self.field, token.at)
        for sign in ("<=", ">=", "==", "!=", "!~", "<", ">", "=", "~"):
            if self._takes(sign):
                return self._compared(read, sign)
        is_not = self._peek() == "not" and self._peek(1) == "in" and self._takes("not")
        if self._takes("in"):
            return self._among(read, is_not=bool(is_not))
        return lambda run, now: read(run, now) not in (None, False, "", [])

    def _compared(self, read: Read, sign: str) -> Test:
        token = self._next(f"a value after {sign}")
        if sign in {"~", "!~"}:
            if token.kind == "word":
                token = _Token("text", token.value, token.at)
            if token.kind != "text":
                self.fault(f"a text is expected after {sign}, not {self._shown(token)}", token.at)
            try:
                pattern = Pattern(token.value)
            except Fault as error:
                self.fault(f"pattern: {error.message}", token.at + 1 + error.position)
            is_wanted = sign == "~"
            return lambda run, now: (v := read(run, now)) is not None and _finds(pattern, v) is is_wanted
        value = self._literal(token)
        return lambda run, now: _compare(sign, read(run, now), value)

    def _among(self, read: Read, *, is_not: bool) -> Test:
        self._must("(")
        values = [self._literal(self._next("a value"))]
        while self._takes(","):
            values.append(self._literal(self._next("a value")))
        self._must(")")
        return lambda run, now: (
            (v := read(run, now)) is not None and any(_compare("=", v, one) for one in values) is not is_not
        )

    def _literal(self, token: _Token) -> Any:
        if token.kind in {"number", "text"}:
            return token.value
        if token.kind == "word":
            words = {"true": True, "false": False, "null": None, "none": None}
            if token.value.lower() in words:
                return words[token.value.lower()]
            # `status = running` says what it means without quotes; a field on the right side would not.
            if token.value.partition(".")[0] not in SPACES:
                return token.value
        return self.fault(f"a value is expected, not {self._shown(token)}", token.at)

    def _peek(self, ahead: int = 0) -> str | None:
        if self.at + ahead >= len(self.tokens):
            return None
        token = self.tokens[self.at + ahead]
        return str(token.value).lower() if token.kind in {"word", "sign"} else None

    def _takes(self, word: str) -> bool:
        is_there = self._peek() == word
        self.at += is_there
        return is_there

    def _must(self, sign: str) -> None:
        if not self._takes(sign):
            self.fault(f"{sign} is expected", self._here())

    def _next(self, what: str) -> _Token:
        if self.at >= len(self.tokens):
            self.fault(f"{what} is expected at the end", len(self.text))
        token: _Token = self.tokens[self.at]
        self.at += 1
        return token

    def _here(self) -> int:
        return self.tokens[self.at].at if self.at < len(self.tokens) else len(self.text)

    def _shown(self, token: _Token) -> str:
        return self.text[token.at :].split(maxsplit=1)[0][:40] if token.kind != "text" else f'"{token.value[:40]}"'


def _fault(field: str, message: str, position: int) -> NoReturn:
    error = Invalid(f"{field}: {message} (position {position + 1})", [FieldError(field, message)])
    error.extra = {"position": position}
    raise error


def _finds(pattern: Pattern, value: Any) -> bool:
    return any(pattern.search(str(one)) for one in (value if isinstance(value, list) else [value]))


def _compare(sign: str, found: Any, wanted: Any) -> bool:
    if wanted is None:
        return (found is None) is (sign in {"=", "=="}) if sign in {"=", "==", "!="} else False
    if found is None:
        return False
    if isinstance(found, list):
        return (wanted in found) is (sign != "!=") if sign in {"=", "==", "!="} else False
    if isinstance(found, datetime):
        wanted = _moment(wanted)
    if sign in {"=", "=="}:
        return _same(found, wanted)
    if sign == "!=":
        return not _same(found, wanted)
    if not _comparable(found, wanted):
        return False
    if sign == "<":
        return bool(found < wanted)
    if sign == "<=":
        return bool(found <= wanted)
    return bool(found > wanted) if sign == ">" else bool(found >= wanted)


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, int | float) and isinstance(wanted, str):
        return str(found) == wanted
    return bool(found == wanted)


def _comparable(found: Any, wanted: Any) -> bool:
    kinds: tuple[Any, ...] = (int | float, str, datetime)
    return any(isinstance(found, kind) and isinstance(wanted, kind) for kind in kinds)


def _moment(wanted: Any) -> datetime | None:
    """The moment that a text such as 2026-11-20 or 2026-11-20T12:00 names, in UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(str(wanted))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    except ValueError:
        return None


def _rank(value: Any) -> tuple[int, Any] | None:
    """What values of different kinds are sorted by: numbers, then moments, then texts."""
    if value is None or value == [] or value != value:
        return None
    if isinstance(value, int | float):
        return (0, float(value)) if abs(value) < 1e308 else (0, float("inf") if value > 0 else float("-inf"))
    if isinstance(value, datetime):
        return (1, value.timestamp())
    return (2, str(value).casefold())
