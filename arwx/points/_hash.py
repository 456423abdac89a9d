"""The checksum: what was acknowledged, as one number that does not depend on order or cut.

Every point has a 64-bit hash over (key, step, ts bits, value bits); the checksum of any multiset of points is the sum
of the hashes modulo 2**64. Sums of strong hashes are a multiset hash: Clarke, Devadas, van Dijk, Gassend and Suh,
"Incremental multiset hash functions", ASIACRYPT 2003 (MSet-Add-Hash). It finds accidents and clumsy hands; it does not
stop a forger who can rewrite the ledger too. The mixer is the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA
2014).
"""

from functools import lru_cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from arwx.points._types import Floats, Ints

Hashes = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ODD = np.uint64(0xD1342543DE82EF95)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S48 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(48)
_MASK = (1 << 64) - 1


@lru_cache(maxsize=65536)
def of_key(key: str) -> int:
    """64 bits that stand for the key."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "little")


def of_values(key_hash: int | Hashes, values: Floats) -> Hashes:
    """A hash of each value under its key."""
    return _mix(values.view(np.uint64) ^ np.uint64(key_hash))


def of_places(steps: Ints, ts: Floats) -> Hashes:
    """A number for each (step, ts), to be added to hashes of values before `of_points`."""
    return steps.view(np.uint64) * _GOLDEN + ts.view(np.uint64) * _ODD


def of_points(places: Hashes, values: Hashes) -> Hashes:
    return _mix(places + values)


def total(hashes: Hashes) -> int:
    """The checksum of these points, from 0 to 2**64 - 1."""
    return int(hashes.sum(dtype=np.uint64))


def row_sums(table: Hashes) -> Hashes:
    """The sum of each row of a table of hashes."""
    sums: Hashes = table.sum(axis=1, dtype=np.uint64)
    return sums


def digests(places: Hashes, value_sums: Hashes, skipped: Ints) -> npt.NDArray[np.uint16]:
    """16 bits for each entry: over its step and ts, the sum of its value hashes, and how many values were skipped."""
    return (_mix(_mix(places) + value_sums + skipped.view(np.uint64) * _GOLDEN) >> _S48).astype("<u2")


def of_bytes(payload: bytes) -> int:
    """64 bits that stand for these very bytes."""
    return int.from_bytes(blake2b(payload, digest_size=8).digest(), "little")


def signed(checksum: int) -> int:
    """The checksum as a signed 64-bit integer, which is what databases store."""
    checksum &= _MASK
    return checksum - (1 << 64) if checksum >> 63 else checksum


def text(checksum: int) -> str:
    """The checksum as 16 hexadecimal digits."""
    return f"{checksum & _MASK:016x}"


def _mix(numbers: Hashes) -> Hashes:
    """Mix in place; every caller brings an array of its own."""
    shifted = numbers >> _S30
    numbers ^= shifted
    numbers *= _MIX_1
    np.right_shift(numbers, _S27, out=shifted)
    numbers ^= shifted
    numbers *= _MIX_2
    np.right_shift(numbers, _S31, out=shifted)
    numbers ^= shifted
    return numbers
