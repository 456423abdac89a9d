"""The colours and type of pictures that stand for themselves, in a README or a chat.

The same rules serve the pages, where colours are custom properties: `static/picture.css` is `RULES`, letter for letter,
and the tests say so. Alone, a picture is read by programs that know no custom properties: there colours are put in.
"""

import re
from functools import cache

THEMES = ("auto", "light", "dark")
GROUNDS = ("paper", "none")

LIGHT = {
    "panel": "#ffffff",
    "ink": "#1a1c1e",
    "quiet": "#62666a",
    "hair": "#e7e4dc",
    "edge": "#cfcbc0",
    "grid": "#efece5",
    "accent": "#0f766e",
    "bad": "#b3261e",
    "warn": "#875400",
    "hue-0": "#3744be",
    "hue-1": "#b95400",
    "hue-3": "#9576e7",
    "hue-4": "#c5850c",
    "hue-5": "#700b3c",
    "hue-7": "#7c4437",
    "dropped": "#b4b1a8",
    "kept-edge": "#0a3f3b",
    "badge-ink": "#ffffff",
    "badge-field": "#3c4146",
    "badge-value": "#0f766e",
}
DARK = {
    "panel": "#171a1d",
    "ink": "#e8e6e1",
    "quiet": "#9b9c99",
    "hair": "#262b2f",
    "edge": "#3d4449",
    "grid": "#22272b",
    "accent": "#2dd4bf",
    "bad": "#ff8a80",
    "warn": "#e2ab4a",
    "hue-0": "#72afed",
    "hue-1": "#e58118",
    "hue-3": "#887deb",
    "hue-4": "#f3c93d",
    "hue-5": "#c38ea8",
    "hue-7": "#c24f29",
    "dropped": "#62686c",
    "kept-edge": "#0b2b27",
    "badge-ink": "#f4f2ec",
    "badge-field": "#2c3236",
    "badge-value": "#11726a",
}

RULES = """\
.picture text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.picture text { font-variant-numeric: tabular-nums; fill: var(--quiet); }
.picture .ground { fill: var(--panel); stroke: var(--hair); }
.picture .title { font-size: 20px; font-weight: 600; fill: var(--ink); }
.picture .subtitle { font-size: 13.5px; }
.picture .name { font-size: 12.5px; fill: var(--ink); }
.picture .halo { stroke: var(--panel); stroke-width: 4px; stroke-linejoin: round; paint-order: stroke; }
.picture .number { font-size: 17px; font-weight: 600; fill: var(--accent); }
.picture .goal { font-size: 12.5px; fill: var(--ink); }
.picture .message { font-size: 15px; text-anchor: middle; }
.picture .is-end { text-anchor: end; }
.picture .is-middle { text-anchor: middle; }
.picture path, .picture line { fill: none; }
.picture .grid { stroke: var(--grid); }
.picture .axis { stroke: var(--edge); }
.picture .leader { stroke: var(--quiet); stroke-width: 0.75px; }
.picture .band { fill: var(--accent); fill-opacity: 0.13; }
.picture .stairs { stroke: var(--accent); stroke-width: 2px; stroke-linejoin: round; }
.picture .target { stroke: var(--ink); stroke-width: 1.25px; stroke-dasharray: 6 5; stroke-opacity: 0.6; }
.picture .begin { stroke: var(--edge); stroke-dasharray: 2 3; }
.picture .dot { stroke-linecap: round; }
.picture .rim { stroke: var(--kept-edge); stroke-width: 11.5px; }
.picture .best { stroke-width: 9px; }
.picture .noise { stroke-width: 9px; stroke-opacity: 0.45; }
.picture .pad { stroke: var(--panel); stroke-width: 9px; }
.picture .aside { stroke-width: 6.5px; stroke-opacity: 0.75; }
.picture .drop { stroke: var(--dropped); stroke-width: 5.5px; }
.picture .unscored { stroke: var(--dropped); stroke-width: 4px; }
.picture .ring { stroke: var(--warn); stroke-width: 1.75px; }
.picture .crash { stroke: var(--bad); stroke-width: 1.5px; }
.picture .undecided { stroke: var(--quiet); stroke-width: 1.5px; }
.picture .arrow { fill: var(--quiet); }
.picture .arrow.is-kept { fill: var(--accent); }
.picture .c0 { stroke: var(--accent); } .picture text.c0 { fill: var(--accent); }
.picture .c1 { stroke: var(--hue-0); } .picture text.c1 { fill: var(--hue-0); }
.picture .c2 { stroke: var(--hue-1); } .picture text.c2 { fill: var(--hue-1); }
.picture .c3 { stroke: var(--hue-3); } .picture text.c3 { fill: var(--hue-3); }
.picture .c4 { stroke: var(--hue-4); } .picture text.c4 { fill: var(--hue-4); }
.picture .c5 { stroke: var(--hue-5); } .picture text.c5 { fill: var(--hue-5); }
.picture .c6 { stroke: var(--hue-7); } .picture text.c6 { fill: var(--hue-7); }
.picture text[class^="c"] { stroke: none; }
.picture .hit { stroke: transparent; stroke-width: 16px; stroke-linecap: round; pointer-events: stroke; }
.picture.is-dense .rim { stroke-width: 7px; }
.picture.is-dense .best, .picture.is-dense .noise, .picture.is-dense .pad { stroke-width: 5.5px; }
.picture.is-dense .aside { stroke-width: 4.5px; }
.picture.is-dense .drop { stroke-width: 3.5px; }
.picture .small { display: none; }
@media (max-width: 640px) {
.picture .wide { display: none; }
.picture .small { display: inline; }
.picture text { font-size: 22px; }
.picture .title { font-size: 32px; }
.picture .subtitle { font-size: 24px; }
.picture .name { font-size: 23px; }
.picture .halo { stroke-width: 7px; }
.picture .number { font-size: 27px; }
.picture .goal { font-size: 22px; }
.picture .message { font-size: 26px; }
.picture .stairs { stroke-width: 4px; }
.picture .target { stroke-width: 2.5px; stroke-dasharray: 12 9; }
.picture .grid, .picture .axis { stroke-width: 2px; }
.picture .rim { stroke-width: 20px; }
.picture .best, .picture .noise, .picture .pad { stroke-width: 15px; }
.picture .aside { stroke-width: 12px; }
.picture .drop { stroke-width: 9px; }
.picture .ring, .picture .crash, .picture .undecided { stroke-width: 2.5px; }
}
"""

BADGE = """\
.badge text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.badge text { fill: var(--badge-ink); }
.badge .best { font-weight: 600; }
.badge .field { fill: var(--badge-field); }
.badge .value { fill: var(--badge-value); }
"""

_VARIABLE = re.compile(r"var\(--([\w-]+)\)")
_RULE = re.compile(r"([^{}\n]+) \{ ([^{}]*) \}")


@cache
def style(theme: str) -> str:
    """The style sheet of a picture that stands alone. `auto` follows what the reader prefers."""
    return _themed(RULES, theme)


@cache
def badge_style(theme: str) -> str:
    """The style sheet of a badge."""
    return _themed(BADGE, theme)


def _themed(rules: str, theme: str) -> str:
    if theme == "auto":
        return f"{_filled(rules, LIGHT)}@media (prefers-color-scheme: dark) {{\n{_filled(_colours(rules), DARK)}\n}}\n"
    return _filled(rules, DARK if theme == "dark" else LIGHT)


def _colours(rules: str) -> str:
    """The colours of the rules alone: said again for the dark, a size would undo what a small place has."""
    found = []
    for selector, body in _RULE.findall(rules):
        if coloured := [one.strip() for one in body.split(";") if _VARIABLE.search(one)]:
            found.append(f"{selector.strip()} {{ {'; '.join(coloured)}; }}")
    return "\n".join(found)


def _filled(rules: str, colours: dict[str, str]) -> str:
    return _VARIABLE.sub(lambda found: colours[found[1]], rules)
