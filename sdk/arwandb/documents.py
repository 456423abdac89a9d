"""The config and the summary of a run: mappings that users fill with anything, kept as JSON for the server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from .values import number

_SECRET = re.compile(r"(^|_)(password|passwd|secret|api_?key|(access|auth|bearer|refresh|hf)_token)$", re.IGNORECASE)
_MAX_DEPTH = 16


def plain(value: Any, depth: int = 0) -> Any:
    """The value as JSON has it: numbers stay, NaN becomes its name, tuples and sets become lists, the rest its text.

    Texts under keys that end in password, secret, api_key or such are masked.
    """
    if value is None or isinstance(value, (bool, str)):
        return _clean(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else _digits(value)
    if isinstance(value, float):
        return float(value) if value - value == 0.0 else repr(float(value))
    if depth >= _MAX_DEPTH:
        return "…"
    if fields := getattr(type(value), "__dataclass_fields__", None):
        value = {name: getattr(value, name, None) for name in fields}
    if isinstance(value, Mapping):
        document = {}
        for key, item in list(value.items()):
            name = _clean(str(key))
            is_secret = isinstance(item, str) and item and _SECRET.search(name)
            document[name] = "***" if is_secret else plain(item, depth + 1)
        return document
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth + 1) for item in value]
    try:
        scalar = number(value)
        return plain(scalar, depth + 1) if scalar is not None else _clean(str(value))[:2000]
    except Exception:  # noqa: BLE001 - the __str__ of any class
        return f"<{type(value).__name__}>"


def _digits(value: int) -> str:
    """A number that no JSON reader takes exactly, as text. Python writes no whole numbers of thousands of digits."""
    try:
        return str(value)
    except ValueError:
        return hex(value)[:2000]


def _clean(text: str) -> str:
    """Text without halves of surrogate pairs, which no UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()


def as_mapping(given: Any) -> dict[str, Any]:
    """A config in any of the usual forms: mapping, argparse namespace, dataclass. Raises TypeError for others."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {str(key): value for key, value in given.items()}
    if hasattr(given, "__dict__") and not isinstance(given, type):
        return {key: value for key, value in vars(given).items() if not key.startswith("_")}
    if fields := getattr(type(given), "__dataclass_fields__", None):  # with slots
        return {name: getattr(given, name, None) for name in fields}
    raise TypeError(f"config must be a mapping or a namespace, not {type(given).__name__}")


def _tell_nobody(_: dict[str, Any]) -> None:
    pass


class Document(MutableMapping[str, Any]):
    """A mapping with attributes for its keys; each change is passed on in plain JSON."""

    def __init__(self, tell: Callable[[dict[str, Any]], None], items: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "_tell", tell)
        object.__setattr__(self, "_items", dict(items or {}))

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._items[str(key)] = value
        self._tell(plain({str(key): value}))

    def __delitem__(self, key: str) -> None:
        del self._items[key]
        self._tell({str(key): None})

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._items))

    def __len__(self) -> int:
        return len(self._items)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy, also in another process, is a mapping of its own: its run is not told of changes.
        return Document, (_tell_nobody, self.as_dict())

    def update(self, *given: Any, **more: Any) -> None:
        """Set several keys at once, from a mapping or a namespace."""
        more.pop("allow_val_change", None)
        changes = {**(as_mapping(given[0]) if given else {}), **more}
        self._items.update(changes)
        if changes:
            self._tell(plain(changes))

    def recall(self, stored: Mapping[str, Any]) -> None:
        """Have what the server has under keys that are not set here."""
        object.__setattr__(self, "_items", {**stored, **self._items})

    def setdefaults(self, given: Any) -> None:
        """Set those of the keys that are not set."""
        self.update({key: value for key, value in as_mapping(given).items() if key not in self._items})

    def as_dict(self) -> dict[str, Any]:
        """A copy as a plain dict."""
        return dict(self)


class Summary(Document):
    """What was set here, and for every other name the last value that was logged."""

    def __init__(self, tell: Callable[[dict[str, Any]], None], last: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__(tell)
        object.__setattr__(self, "_last", last)

    def __getitem__(self, key: str) -> Any:
        return self._items[key] if key in self._items else self._last()[key]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._last(), **self._items})

    def __len__(self) -> int:
        return len({**self._last(), **self._items})
