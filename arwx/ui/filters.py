"""How values read: numbers, times, lengths of time, states; and what templates need besides."""

import hashlib
import json
import math
import re
import shlex
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, current_app, g, request, url_for
from markupsafe import Markup

from arwx import clock, criteria, organizations, web
from arwx.runs import RunView
from arwx.svg import spark, ticks
from arwx.ui import highlight

THIN = "\N{NARROW NO-BREAK SPACE}"
_WEEK_S = 7 * 86_400
# Browsers call themselves by the names of their forebears too: the rarer name comes first.
_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?\Z")
_DASHES = {"1": "6 3", "2": "2 3", "3": "8 3 2 3"}


def init_app(app: Flask) -> None:
    """Give the templates what they use; let browsers keep the static files whose address names their content."""
    for said in (
        count,
        number,
        ago,
        moment,
        duration,
        plain,
        slug,
        ran,
        silence,
        twice,
        as_axis,
        quoted,
        look,
        size,
        highlight.patches,
        program,
    ):
        app.add_template_filter(said)
    app.add_template_filter(spark.draw, "spark")
    app.add_template_filter(shlex.quote, "in_shell")
    app.jinja_env.globals.update(
        asset=asset, base_url=web.base_url, visitor=lambda: g.get("visitor"), organizations=_organizations
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True

    @app.after_request
    def keep(response: Response) -> Response:
        # Fonts and vendored scripts carry their version in their name, ours in the query.
        is_fixed = "v" in request.args or request.path.startswith(("/static/fonts/", "/static/vendor/"))
        if request.endpoint == "static" and is_fixed and response.status_code == 200:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def asset(name: str) -> str:
    """The address of a static file, which changes with its content."""
    folder = current_app.static_folder
    if folder is None:
        raise RuntimeError("the application has no static folder")
    path = Path(folder) / name
    return url_for("static", filename=name, v=_digest(str(path), path.stat().st_mtime_ns))


@lru_cache(maxsize=64)
def _digest(path: str, _modified: int) -> str:
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=5).hexdigest()


def _organizations() -> list[organizations.Belonging]:
    """Where the visitor may go over to, for the switcher of every page."""
    return organizations.of(g.db, g.visitor)


def count(value: int) -> str:
    """A whole number in groups of three: `12 480`."""
    return f"{value:,}".replace(",", THIN)


def number(value: Any, digits: int = 4) -> str:
    """A number to a few significant digits, groups of three before the point: `2.413`, `12 480`, `3.1e-5`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return count(int(value)).replace("-", "\N{MINUS SIGN}")
    whole, dot, rest = ticks.significant(value, digits).partition(".")
    # Greater ones than of six digits have an exponent.
    return (
        f"{whole[:-3]}{THIN}{whole[-3:]}{dot}{rest}"
        if whole[-4:].isdecimal() and len(whole) > 3
        else f"{whole}{dot}{rest}"
    )


def duration(seconds: float) -> str:
    """A length of time in its two largest units: `1h 30m`."""
    return "<1s" if 0 < seconds < 1 else ticks.span(max(0.0, seconds if seconds < 60 else round(seconds)))


def ran(run: RunView) -> float:
    """For how many seconds a run went, or goes."""
    return criteria.ran(run, clock.now())


def silence(run: RunView) -> float:
    """For how many seconds nothing was heard of a run."""
    return max(0.0, (clock.now() - run.last_seen_at).total_seconds())


def ago(then: datetime | None) -> Markup:
    """A moment as people say it, the exact one in its title. The script of the page keeps the words fresh."""
    if then is None:
        return Markup('<span class="quiet">never</span>')
    seconds = (clock.now() - then).total_seconds()
    if seconds < 10:
        words = "just now"
    elif seconds < _WEEK_S:
        words = f"{ticks.span(int(seconds)).split(' ')[0]} ago"
    else:
        words = f"{then.day} {then:%b %Y}"
    return _time(then, words, "ago")


def moment(then: datetime | None) -> Markup:
    """A moment to the minute, in UTC."""
    return Markup("") if then is None else _time(then, f"{then.day} {then:%b %Y, %H:%M} UTC", "moment")


def _time(then: datetime, words: str, kind: str) -> Markup:
    element = Markup('<time datetime="{}" title="{}" data-time="{}">{}</time>')
    return element.format(clock.rfc3339(then), f"{then:%Y-%m-%d %H:%M:%S} UTC", kind, words)


def plain(value: Any) -> str:
    """A value of a config or a summary on one line: text as it is, everything else as JSON has it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return ticks.significant(value, 6)
    return json.dumps(value, ensure_ascii=False)


def slug(text: str) -> str:
    """A short name for an element id: no two metrics share one, whatever signs are in their names."""
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def program(agent: str) -> str:
    """The name of a browser and its system, as far as what it calls itself tells: `Firefox on Linux`."""
    browser = next((name for sign, name in _BROWSERS if sign in agent), agent.split("/")[0][:32] or "Unknown program")
    system = next((name for sign, name in _SYSTEMS if sign in agent), "")
    return f"{browser} on {system}" if system else browser


def size(number_of_bytes: int) -> str:
    """A number of bytes as people say it: `412 B`, `3.2 MiB`."""
    value = float(number_of_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{ticks.significant(value, 3)} {unit}"


def twice(value: str) -> tuple[str, str]:
    """A choice of a list that is called what it is."""
    return value, value


def as_axis(key: str) -> tuple[str, str]:
    """A metric as a choice of the horizontal axis."""
    return f"metric:{key}", key


def quoted(value: str) -> str:
    """A value as a filter has it: numbers and truths bare, everything else in quotes."""
    if value in {"true", "false"} or _NUMBER.match(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def look(classes: str) -> dict[str, Any]:
    """The look of a run as a picture outside of the page needs it: the number of its hue, and its dash."""
    hue, _, dash = classes.partition(" dash-")
    return {"hue": int(hue.removeprefix("hue-")), "dash": _DASHES.get(dash)}
