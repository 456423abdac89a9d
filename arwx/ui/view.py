"""What of a page is shown: all of it is in the address, so that a link shows the same view to the next person."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlencode

from werkzeug.datastructures import MultiDict

from arwx.extremes import held

AXES = ("step", "relative", "time")
SCALES = ("linear", "log")
COLUMNS = (0, 1, 2, 3, 4)
SIZES = ("m", "s", "l")
MOST_COLUMNS = 40
MOST_PINNED = 3

# Which parameters say what is drawn of a chart, and which say of which runs.
OF_CHART = ("x", "y", "xs", "smooth", "clip", "zoom", "ymin", "ymax", "size")
OF_RUNS = ("q", "status", "tag", "sort", "by", "archived", "hide", "only", "cursor")


@dataclass(frozen=True)
class View:
    """The choices of a visitor. What cannot be understood in an address counts as not chosen."""

    # Which runs, and how the table shows them.
    q: str = ""
    status: str = ""
    tag: str = ""
    sort: str = ""
    by: str = ""  # group by this field
    is_archived: bool = False
    hidden: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    shown_columns: tuple[str, ...] = ()
    pinned_columns: tuple[str, ...] = ()  # these stay in sight beside the names
    cursor: str | None = None
    has_table: bool = True
    # How charts are drawn.
    x: str = "step"  # or "metric:" and the name of a metric
    y: str = "linear"
    xs: str = "linear"
    smooth: float = 0.0
    is_clipped: bool = False
    zoom: tuple[float, float] | None = None
    y_low: float | None = None
    y_high: float | None = None
    size: str = "m"
    # Which charts, and where.
    metrics: str = ""
    pins: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    columns: int = 0  # 0: as many as fit
    is_complete: bool = False  # every chart in the page itself, for browsers without script
    # What else the address of a page says, and its links must keep: which chart, which runs.
    carried: tuple[tuple[str, str], ...] = ()

    @property
    def args(self) -> dict[str, str]:
        """The query parameters of this view: only what differs from the usual."""
        said = {
            "q": self.q,
            "status": self.status,
            "tag": self.tag,
            "sort": self.sort,
            "by": self.by,
            "archived": "yes" if self.is_archived else "",
            "hide": _pack(self.hidden),
            "only": _pack(self.only),
            "cols": _pack(self.shown_columns),
            "pincols": _pack(self.pinned_columns),
            "table": "" if self.has_table else "no",
            "x": self.x if self.x != "step" else "",
            "y": self.y if self.y != "linear" else "",
            "xs": self.xs if self.xs != "linear" else "",
            "smooth": f"{self.smooth:g}" if self.smooth else "",
            "clip": "yes" if self.is_clipped else "",
            "zoom": f"{_short(self.zoom[0])}~{_short(self.zoom[1])}" if self.zoom else "",
            "ymin": "" if self.y_low is None else _short(self.y_low),
            "ymax": "" if self.y_high is None else _short(self.y_high),
            "size": self.size if self.size != "m" else "",
            "metrics": self.metrics,
            "pin": _pack(self.pins),
            "closed": _pack(self.closed),
            "opened": _pack(self.opened),
            "columns": str(self.columns or ""),
            "charts": "all" if self.is_complete else "",
            "cursor": self.cursor or "",
        }
        return {**dict(self.carried), **{name: value for name, value in said.items() if value}}

    @property
    def query(self) -> str:
        """The view as it stands behind an address: empty, or beginning with a question mark."""
        return f"?{urlencode(self.args)}" if self.args else ""

    @property
    def is_log(self) -> bool:
        return self.y == "log"

    @property
    def x_kind(self) -> str:
        return "metric" if self.x.startswith("metric:") else self.x

    @property
    def x_metric(self) -> str | None:
        return self.x.removeprefix("metric:") if self.x_kind == "metric" else None

    @property
    def is_filtered(self) -> bool:
        return bool(self.q or self.status or self.tag)

    def but(self, **changes: Any) -> "View":
        """This view with other choices. Other runs, or another order of them, begin at their first page."""
        if changes.keys() & {"q", "status", "tag", "sort", "by", "is_archived"}:
            changes = {"cursor": None, **changes}
        if "x" in changes:
            changes = {"zoom": None, **changes}  # the ends of one axis mean nothing on another
        return replace(self, **changes)

    def toggled(self, run_id: str) -> "View":
        """This view with the run shown when it was hidden, and hidden when it was shown."""
        if self.only:
            return self.but(only=_toggle(self.only, run_id))
        return self.but(hidden=_toggle(self.hidden, run_id))

    def alone(self, run_id: str) -> "View":
        """This view with this run alone, or with all of them when it was alone."""
        return self.but(only=() if self.only == (run_id,) else (run_id,), hidden=())

    def pinned(self, key: str) -> "View":
        return self.but(pins=_toggle(self.pins, key))

    def with_column_pinned(self, name: str) -> "View":
        """This view with the column staying in sight, or not any more; of too many the one pinned last gives way."""
        if name in self.pinned_columns or len(self.pinned_columns) < MOST_PINNED:
            return self.but(pinned_columns=_toggle(self.pinned_columns, name))
        return self.but(pinned_columns=(*self.pinned_columns[: MOST_PINNED - 1], name))

    def sorted_by(self, name: str, *, is_greatest_first: bool) -> "View":
        """This view in the order of the column; the other way round when it is so already."""
        first, second = (f"-{name}", name) if is_greatest_first else (name, f"-{name}")
        return self.but(sort=second if self.sort == first else first)

    def within(self, ids: Collection[str]) -> "View":
        """This view without what it hides or shows elsewhere: runs while groups are listed, or the other way round."""
        return replace(
            self,
            hidden=tuple(one for one in self.hidden if one in ids),
            only=tuple(one for one in self.only if one in ids),
        )

    def shows(self, run_id: str) -> bool:
        return run_id in self.only if self.only else run_id not in self.hidden


def read(args: MultiDict[str, str], carry: Iterable[str] = ()) -> View:
    """The view that a query string asks for. Forms send a list as one parameter several times, links as one text."""
    columns = args.get("columns", "")
    picked = tuple(dict.fromkeys(args.getlist("run")))[:500]
    mode = args.get("do", "")
    hidden, only = _unpack(args.get("hide")), _unpack(args.get("only"))
    if picked and mode == "hide":
        hidden, only = tuple(sorted({*hidden, *picked})), ()
    elif picked and mode == "only":
        hidden, only = (), tuple(sorted(picked))
    return View(
        q=args.get("q", "").strip()[:1000],
        status=args.get("status", "")[:100],
        tag=args.get("tag", "")[:128],
        sort=args.get("sort", "")[:300],
        by=args.get("by", "")[:300],
        is_archived=args.get("archived") == "yes",
        hidden=hidden,
        only=only,
        shown_columns=tuple(dict.fromkeys(args.getlist("col") or _unpack(args.get("cols"), is_sorted=False)))[
            :MOST_COLUMNS
        ],
        pinned_columns=_unpack(args.get("pincols"), is_sorted=False)[:MOST_PINNED],
        cursor=args.get("cursor") or None,
        has_table=args.get("table") != "no",
        x=_axis(args.get("x", "")),
        y=_one_of(SCALES, args.get("y")),
        xs=_one_of(SCALES, args.get("xs")),
        smooth=min(0.99, max(0.0, _number(args.get("smooth")) or 0.0)),
        is_clipped=args.get("clip") == "yes",
        zoom=_window(args.get("zoom", "")),
        y_low=_number(args.get("ymin")),
        y_high=_number(args.get("ymax")),
        size=_one_of(SIZES, args.get("size")),
        metrics=args.get("metrics", "").strip()[:200],
        pins=_unpack(args.get("pin"), is_sorted=False),
        closed=_unpack(args.get("closed")),
        opened=_unpack(args.get("opened")),
        columns=int(columns) if columns in {"1", "2", "3", "4"} else 0,
        is_complete=args.get("charts") == "all",
        carried=tuple((name, args[name]) for name in carry if args.get(name)),
    )


def _one_of(choices: tuple[str, ...], asked: str | None) -> str:
    return asked if asked in choices else choices[0]


def _axis(asked: str) -> str:
    return asked if asked.startswith("metric:") and len(asked) <= 262 else _one_of(AXES, asked)


def _number(asked: str | None) -> float | None:
    try:
        found = float(asked or "")
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _short(number: float) -> str:
    """The number as people write it: exact, and whole ones without a fraction."""
    return repr(number).removesuffix(".0")


def _window(asked: str) -> tuple[float, float] | None:
    low, high = (_number(part) for part in (asked.partition("~")[0], asked.partition("~")[2]))
    return (held(low), held(high)) if low is not None and high is not None and low < high else None


def _toggle(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(one for one in names if one != name) if name in names else (*names, name)


def _pack(names: Iterable[str]) -> str:
    """Names in one text: commas between them, and those within them written otherwise."""
    return ",".join(name.replace("%", "%25").replace(",", "%2C") for name in names)


def _unpack(text: str | None, *, is_sorted: bool = True) -> tuple[str, ...]:
    found = dict.fromkeys(unquote(name) for name in (text or "").split(",") if name)
    return tuple(sorted(found)) if is_sorted else tuple(found)
