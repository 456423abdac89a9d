r"""Regular expressions for searching names, matched in time linear in the text whatever the pattern.

Python's own engine backtracks: a pattern such as `(a+)+$` stops a worker for minutes. This one follows all states at
once (Thompson 1968). It knows `. * + ? | ( ) [a-z] [^a-z] ^ $ \d \w \s` and their opposites; case does not matter.
"""

from collections.abc import Callable
from dataclasses import dataclass

LONGEST = 200
_CLASSES: dict[str, Callable[[str], bool]] = {
    "d": str.isdigit,
    "w": lambda c: c.isalnum() or c == "_",
    "s": str.isspace,
}
_SPECIAL = set("\\.*+?|()[]^$")


class Fault(Exception):
    """The pattern cannot be read: what is wrong, and at which character, counted from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} at position {position + 1}")
        self.message, self.position = message, position


@dataclass(frozen=True)
class _Step:
    """`test` consumes one character and leads on; without it the step is free and leads to all of `to`."""

    to: tuple[int, ...] = ()
    test: Callable[[str], bool] | None = None
    edge: str = ""


class Pattern:
    """A pattern that was read. `search` says whether it occurs anywhere in a text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._plain = None if set(text) & _SPECIAL else text.casefold()
        if self._plain is None:
            if len(text) > LONGEST:
                raise Fault(f"has more than {LONGEST} characters", LONGEST)
            reader = _Reader(text)
            self._start, self._steps = reader.read(), reader.steps

    def search(self, text: str) -> bool:
        text = text.casefold()
        if self._plain is not None:
            return self._plain in text
        here: set[int] = set()
        for position in range(len(text) + 1):
            here = self._reach({*here, self._start}, position, len(text))
            if 0 in here:
                return True
            if position < len(text):
                char = text[position]
                here = {s.to[0] for s in map(self._steps.__getitem__, here) if s.test is not None and s.test(char)}
        return False

    def _reach(self, begun: set[int], position: int, end: int) -> set[int]:
        """All steps to which the free ones lead from here."""
        found: set[int] = set()
        waiting = list(begun)
        while waiting:
            at = waiting.pop()
            if at in found:
                continue
            found.add(at)
            step = self._steps[at]
            if step.test is None and (not step.edge or position == (0 if step.edge == "^" else end)):
                waiting.extend(step.to)
        return found


class _Reader:
    """Reads a pattern from its end backwards into steps: each piece is told where it leads. Step 0 is the goal."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.steps: list[_Step] = [_Step()]
        self.depth = 0

    def read(self) -> int:
        tree = self._either()
        if self.at < len(self.text):
            raise Fault("a ) without its (", self.at)
        return self._lay(tree, 0)

    # A tree: ("seq", parts) ("or", parts) ("*" | "+" | "?", part) ("one", test) ("edge", char)

    def _either(self) -> tuple[str, object]:
        ways = [self._sequence()]
        while self._peek() == "|":
            self.at += 1
            ways.append(self._sequence())
        return ways[0] if len(ways) == 1 else ("or", ways)

    def _sequence(self) -> tuple[str, object]:
        parts: list[tuple[str, object]] = []
        while (char := self._peek()) and char not in "|)":
            if char in "*+?":
                if not parts or parts[-1][0] in {"*", "+", "?"}:
                    raise Fault(f"nothing before {char}", self.at)
                parts[-1] = (char, parts[-1])
                self.at += 1
            else:
                parts.append(self._piece(char))
        return ("seq", parts)

    def _piece(self, char: str) -> tuple[str, object]:
        begun = self.at
        self.at += 1
        if char == "(":
            self.depth += 1
            if self.depth > 20:
                raise Fault("too many (", begun)
            inner = self._either()
            if self._peek() != ")":
                raise Fault("a ( without its )", begun)
            self.at += 1
            self.depth -= 1
            return inner
        if char == "[":
            return ("one", self._set(begun))
        if char in "^$":
            return ("edge", char)
        if char == ".":
            return ("one", lambda _: True)
        if char == "\\":
            return ("one", self._escaped(begun))
        return ("one", _is(char))

    def _escaped(self, begun: int) -> Callable[[str], bool]:
        if not (char := self._peek()):
            raise Fault("nothing after \\", begun)
        self.at += 1
        if char.lower() not in _CLASSES:
            return _is(char)
        known = _CLASSES[char.lower()]
        return known if char.islower() else lambda c: not known(c)

    def _set(self, begun: int) -> Callable[[str], bool]:
        is_not = self._peek() == "^"
        self.at += is_not
        tests: list[Callable[[str], bool]] = []
        while (char := self._peek()) != "]" or not tests:
            if not char:
                raise Fault("a [ without its ]", begun)
            self.at += 1
            if char == "\\":
                tests.append(self._escaped(self.at - 1))
            elif self.text[self.at : self.at + 1] == "-" and self.text[self.at + 1 : self.at + 2] not in {"", "]"}:
                tests.append(_between(char.casefold(), self.text[self.at + 1].casefold()))
                self.at += 2
            else:
                tests.append(_is(char))
        self.at += 1
        return lambda c: any(test(c) for test in tests) is not is_not

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _lay(self, tree: tuple[str, object], then: int) -> int:
        """Lay out the tree in front of the step `then`; the step where it begins."""
        kind, of = tree
        if kind == "seq":
            for part in reversed(of):  # type: ignore[call-overload]
                then = self._lay(part, then)
            return then
        if kind == "or":
            return self._add(_Step(tuple(self._lay(part, then) for part in of)))  # type: ignore[attr-defined]
        if kind == "edge":
            return self._add(_Step((then,), edge=str(of)))
        if kind == "one":
            return self._add(_Step((then,), test=of))  # type: ignore[arg-type]
        if kind == "?":
            return self._add(_Step((self._lay(of, then), then)))  # type: ignore[arg-type]
        loop = self._add(_Step())
        inner = self._lay(of, loop)  # type: ignore[arg-type]
        self.steps[loop] = _Step((inner, then))
        return loop if kind == "*" else inner

    def _add(self, step: _Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1


def _is(char: str) -> Callable[[str], bool]:
    folded = char.casefold()
    return lambda c: c == folded


def _between(low: str, high: str) -> Callable[[str], bool]:
    return lambda c: low <= c <= high
