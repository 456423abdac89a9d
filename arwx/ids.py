"""Public ids and names: how they are made and what they may look like."""

import re
import secrets
import time

from arwx.errors import invalid

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no letters that look alike
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_NAME_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f/\\#?%:\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_COMMIT = re.compile(r"(?!-)[^\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]{1,64}\Z")

_ADJECTIVES = (
    "amber brave bright calm clear copper crisp dapper deft eager early faint fair fleet fresh gentle glad "
    "golden grand happy hazel humble jolly keen kind light lively lucid mellow merry mild neat noble northern "
    "olive pale patient plain polar proud quick quiet rapid rustic sage silent silver sincere smooth snowy "
    "solar solid spry stable steady sunny swift tidal tidy topaz tranquil true vivid warm western wise witty "
    "young zesty"
).split()
_NOUNS = (
    "acorn alder aspen badger beacon birch bloom brook canyon cedar cliff clover comet coral cove crane creek "
    "delta dune eagle elm ember falcon fern fjord forest fox galaxy garden glade grove harbor hare heron hill "
    "island ivy jade kestrel lagoon lake lark laurel lynx maple marsh meadow mesa moon moss oak orchid osprey "
    "otter peak pebble pine plover pond prairie quartz raven reef ridge river robin sequoia shore sparrow "
    "spruce star stone summit swan thistle tide trail tulip valley willow wren"
).split()


def new(prefix: str) -> str:
    """A fresh id such as `run_01jd3x9k2mq8…`: sorts by time within a millisecond, 80 random bits."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    digits = []
    for _ in range(26):
        digits.append(_ALPHABET[number & 31])
        number >>= 5
    return f"{prefix}_{''.join(reversed(digits))}"


def check(value: str, field: str = "id") -> str:
    """The id itself, or `Invalid`. Ids made by clients are opaque: 1–64 of letters, digits, `_` and `-`."""
    if not _ID.match(value):
        raise invalid(field, "must be 1 to 64 of the characters A–Z, a–z, 0–9, _ and -")
    return value


def chosen(value: str | None, prefix: str) -> str:
    """The id that a client chose, or a fresh one where it left the choice to us."""
    return new(prefix) if value is None else check(value)


def check_name(value: str, field: str = "name") -> str:
    """The name of a project or an artifact, or `Invalid`. Case is kept."""
    if not 1 <= len(value) <= 128:
        raise invalid(field, "must have 1 to 128 characters")
    if _NAME_FORBIDDEN.search(value):
        raise invalid(field, r"must not contain control or invisible characters, nor any of / \ # ? % :")
    if value != value.strip() or value in {".", ".."}:
        raise invalid(field, "must not begin or end with a space, nor be . or ..")
    return value


def check_text(value: str, field: str, limit: int) -> str:
    """Free text of at most `limit` characters that both databases can hold, or `Invalid`."""
    if len(value) > limit:
        raise invalid(field, f"must have at most {limit:,} characters")
    if "\x00" in value:
        raise invalid(field, "must not contain the NUL character")
    return value


def is_commit(text: str) -> bool:
    """Whether the text may be the hash of a commit or the name of a ref: nothing that a program takes for an option."""
    return _COMMIT.match(text) is not None


def check_commit(value: str, field: str) -> str:
    """The commit itself, or `Invalid`. Nobody is made to say one."""
    if value and not is_commit(value):
        raise invalid(field, "must be a hash or a ref: 1 to 64 characters without blanks, the first of them no -")
    return value


def is_metric_key(key: str) -> bool:
    """Whether the key may name a metric: 1–255 characters, no control characters."""
    return 1 <= len(key) <= 255 and not _CONTROL.search(key)


def readable(seed: str) -> str:
    """A readable name for the thing with this id: the same id gives the same name."""
    number = int.from_bytes(seed.encode()[-12:], "big")
    adjective = _ADJECTIVES[number % len(_ADJECTIVES)]
    noun = _NOUNS[number // len(_ADJECTIVES) % len(_NOUNS)]
    return f"{adjective}-{noun}-{number % 997}"
