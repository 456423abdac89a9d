"""The one clock of the server: moments are aware UTC datetimes."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current moment, aware and in UTC. Tests patch this name."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """The moment as the API writes it: `2026-01-31T12:00:00.250000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
