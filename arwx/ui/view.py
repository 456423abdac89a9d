"""What of a page is shown: all of it is in the address, so that a link shows the same view to the next person."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

AXES = ("step", "relative", "time")
SCALES = ("linear", "log")
COLUMNS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class View:
    """The choices of a visitor. What cannot be understood in an address counts as not chosen."""

    x: str = "step"
    y: str = "linear"
    hidden: tuple[str, ...] = ()
    metrics: str = ""
    columns: int = 0  # 0: as many as fit
    has_table: bool = True
    is_complete: bool = False  # every chart in the page itself, for browsers without script
    cursor: str | None = None

    @property
    def args(self) -> dict[str, str]:
        """The query parameters of this view: only what differs from the usual."""
        said = {
            "x": self.x if self.x != "step" else "",
            "y": self.y if self.y != "linear" else "",
            "hide": ",".join(self.hidden),
            "metrics": self.metrics,
            "columns": str(self.columns or ""),
            "table": "" if self.has_table else "no",
            "charts": "all" if self.is_complete else "",
            "cursor": self.cursor or "",
        }
        return {name: value for name, value in said.items() if value}

    @property
    def is_log(self) -> bool:
        return self.y == "log"

    def but(self, **changes: Any) -> "View":
        """This view with other choices."""
        return replace(self, **changes)

    def toggled(self, run_id: str) -> "View":
        """This view with the run shown when it was hidden, and hidden when it was shown."""
        hidden = set(self.hidden) ^ {run_id}
        return replace(self, hidden=tuple(sorted(hidden)))


def read(args: Mapping[str, str]) -> View:
    """The view that a query string asks for."""
    columns = args.get("columns", "")
    return View(
        x=_one_of(AXES, args.get("x")),
        y=_one_of(SCALES, args.get("y")),
        hidden=tuple(sorted({run_id for run_id in args.get("hide", "").split(",") if run_id})),
        metrics=args.get("metrics", "").strip()[:255],
        columns=int(columns) if columns in {"1", "2", "3", "4"} else 0,
        has_table=args.get("table") != "no",
        is_complete=args.get("charts") == "all",
        cursor=args.get("cursor") or None,
    )


def _one_of(choices: tuple[str, ...], asked: str | None) -> str:
    return asked if asked in choices else choices[0]
