"""Passwords: which are refused, how they are kept, and how they are compared without telling or costing too much."""

import threading
import unicodedata
from functools import cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from arwx.aside import aside
from arwx.errors import invalid

SHORTEST, LONGEST = 8, 256
_COMMON = Path(__file__).with_name("common_passwords.txt")

# argon2id as OWASP's password storage sheet has it at the least: 19 MiB, two passes, one lane.
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
# Compared with when nobody has the e-mail, so that the answer takes the same work either way: the hash of 32 random bytes
# that nobody kept.
_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$Ph0Y8FdK7EbOV4IVRbbXBg$j6M8GmciLvXbNxzJ2OwVt2e8GwN6HrBxAq3uy63XMS4"
# Each takes 19 MiB: a flood of logins must not take all memory.
_at_once = threading.BoundedSemaphore(4)


def new(password: str, email: str) -> str:
    """The hash to keep of a new password, or `Invalid`. It takes long: no transaction should be open."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise invalid("password", f"must have {SHORTEST} to {LONGEST} characters")
    folded = password.casefold()
    if folded in _common() or folded in {email.casefold(), email.casefold().partition("@")[0]}:
        raise invalid("password", "is one of the first that others would try")
    return _hash(_bytes(password))


def is_right(kept: str | None, password: str) -> bool:
    """Whether this is the password. The same work is done when there is none to compare with."""
    try:
        with _at_once:
            return aside(_hasher.verify, kept or _NOBODY, _bytes(password[: LONGEST + 1])) and kept is not None
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(kept: str) -> bool:
    """Whether the hash was made with less work than is asked for today."""
    return _hasher.check_needs_rehash(kept)


def again(password: str) -> str:
    """The hash to keep of a password that is known to be right."""
    return _hash(_bytes(password))


def _hash(raw: bytes) -> str:
    with _at_once:
        return aside(_hasher.hash, raw)


def _bytes(password: str) -> bytes:
    # The same letters may come in two spellings, as one letter or as a letter and its accent, by the keyboard's whim.
    return unicodedata.normalize("NFC", password).encode(errors="surrogatepass")


@cache
def _common() -> frozenset[str]:
    """The passwords of 8 and more characters that people choose most, from lists of leaked ones."""
    return frozenset(_COMMON.read_text(encoding="utf-8").split("\n"))
