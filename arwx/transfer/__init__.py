"""A project as one file: written out of one server, read into another. `arwx/guide/operate.md` describes the file.

`pack` writes what was there at one moment. `unpack` makes the project hidden, piece by piece, and shows it when all of
it is there and right; what a stopped import leaves is hidden, and goes with the next one or with `arwx gc`.
"""

from arwx.transfer._pack import Packed, pack
from arwx.transfer._unpack import Unpacked, unpack

__all__ = ["Packed", "Unpacked", "pack", "unpack"]
