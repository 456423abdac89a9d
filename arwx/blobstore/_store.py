"""What every place for bytes can do."""

from datetime import datetime
from typing import Protocol

BLOCK = 2**20


class Lost(Exception):
    """The bytes are not there, or fewer than there should be."""


class Upload(Protocol):
    """Bytes on their way in. Nobody can read them before `publish`."""

    def write(self, block: bytes) -> None:
        """Take the next bytes: `BLOCK` of them, fewer only at the end."""

    def publish(self, sha: str) -> None:
        """Make the bytes durable and readable under their hash, all at once."""

    def abandon(self) -> None:
        """Forget the bytes, as far as that is possible now; `sweep` finds what is left. Never raises."""


class Store(Protocol):
    """A place for bytes by organization and SHA-256. `reach` is how many bytes are best read at once.

    Every method may raise `Unavailable` when the place is away or full.
    """

    reach: int

    def begin(self, org_id: int, declared: str | None) -> Upload:
        """Begin an upload. `declared` is the hash that the sender expects, if it says."""

    def read(self, org_id: int, sha: str, start: int, stop: int) -> bytes:
        """The bytes from `start`, a multiple of `BLOCK`, to `stop`. Raises `Lost` when they are not there."""

    def erase(self, org_id: int, sha: str, before: datetime) -> bool:
        """Remove the bytes unless they were published again since this moment; answers whether it did."""

    def sweep(self, before: datetime) -> int:
        """Remove what uploads that began before this moment left unpublished; answers how many."""

    def trouble(self) -> str | None:
        """Why the store cannot be used now, in one line without secrets; None when it can."""
