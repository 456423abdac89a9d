"""What a delivery came to: for a run, and for the records of research calls."""

from __future__ import annotations

from typing import Any


class Receipt:
    """What became of one run: the server's own account of it, and what is still here.

    `is_intact` says that the server lost nothing, doubled nothing, and that nothing is waiting here.
    """

    def __init__(self, run_id: str, project: str) -> None:
        self.run_id, self.project = run_id, project
        self.server: dict[str, Any] = {}
        self.delivered = 0
        self.waiting = 0
        self.damaged_bytes = 0
        self.quarantined = 0
        self.faults: list[str] = []

    @property
    def is_intact(self) -> bool:
        """Whether all of the run is stored, provably."""
        is_clean = not (self.waiting or self.faults or self.quarantined or self.damaged_bytes)
        return is_clean and self.server.get("intact") is True

    def __str__(self) -> str:
        words = [f"run {self.run_id}:"]
        if self.server:
            stored, lost = self.server.get("points_stored"), self.server.get("lost")
            words.append(f"{stored} points stored, {self.server.get('duplicates_collapsed')} resent, {lost} lost,")
        if self.delivered:
            words.append(f"{self.delivered} entries delivered now,")
        if self.waiting:
            words.append(f"{self.waiting} entries still here,")
        if self.damaged_bytes:
            words.append(f"{self.damaged_bytes} damaged bytes set aside,")
        if self.quarantined:
            words.append(f"{self.quarantined} entries refused,")
        words += [f"{fault}," for fault in self.faults]
        words.append("intact" if self.is_intact else "NOT intact")
        return " ".join(words)


class JournalReceipt(Receipt):
    """What became of the records of a spool."""

    def __init__(self, delivered: int, left: int, refused: list[str], trouble: str | None) -> None:
        super().__init__("", "")
        self.delivered, self.waiting, self.refused = delivered, left, refused
        self.faults = [trouble] if trouble else []

    @property
    def is_intact(self) -> bool:
        """Whether everything was told and nothing was refused."""
        return not (self.waiting or self.refused or self.faults)

    def __str__(self) -> str:
        words = [f"research: {self.delivered} records delivered,"]
        if self.waiting:
            words.append(f"{self.waiting} still here,")
        words += [f"{one}," for one in [*self.refused, *self.faults]]
        words.append("complete" if self.is_intact else "NOT complete")
        return " ".join(words)
