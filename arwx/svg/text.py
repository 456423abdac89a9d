"""Words in pictures: what XML may hold, how long a text may be, and about how wide it is."""

import re
import unicodedata

# What XML 1.0 has no way to write, and what turns the direction of the text around it.
_ILLEGAL = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\u2028\u2029\u202a-\u202e\u2066-\u2069]+"
)
_NARROW, _SLIM, _WIDE = frozenset("ijl.,:;'|!`"), frozenset('frtI()[]{}/\\-" '), frozenset("mwMW@%—…")


def clean(text: str) -> str:
    """The text on one line, without what XML cannot hold."""
    return " ".join(_ILLEGAL.sub(" ", text).split())


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, the last of them an ellipsis when something is missing."""
    text = clean(text[: 8 * limit + 64])
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def width(text: str, size: float) -> float:
    """About how wide the text is in a sans of this size, on whatever system: rather too much than too little."""
    return size * sum(map(_share, text))


def _share(char: str) -> float:
    """The width of one character in parts of the font size."""
    if char in _NARROW:
        return 0.29
    if char in _SLIM:
        return 0.38
    if char in _WIDE:
        return 0.95
    if char.isascii():
        return 0.7 if char.isupper() else 0.58
    if unicodedata.combining(char):
        return 0.0
    return 1.05 if unicodedata.east_asian_width(char) in "WF" else 0.68
