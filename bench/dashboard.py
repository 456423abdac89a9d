"""Pages as a visitor has them: first byte, bytes on the wire, and when they can be used in a real browser."""

import re
import shutil
import statistics
from collections.abc import Iterator
from html import unescape

from playwright.sync_api import Browser, sync_playwright

from bench import host, visitor
from bench.session import Session
from bench.table import Row, Skipped
from bench.units import COUNT, KILOBYTES, MILLISECONDS

_IDLE_MS = 10_000

# Usable: the document is there, a run can be clicked, a chart is drawn in view, and the main thread answers again.
_USABLE = """
() => new Promise(done => {
  const seen = element => { const box = element.getBoundingClientRect(); return box.width > 0 && box.top < innerHeight; };
  const drawn = () => [...document.querySelectorAll("svg path, svg polyline")]
    .some(line => line.getBoundingClientRect().width > 100 && seen(line));
  const ready = () => document.readyState === "complete" && [...document.querySelectorAll('a[href*="/runs/"]')].some(seen) && drawn();
  const look = () => ready() ? requestAnimationFrame(() => setTimeout(() => done(performance.now()))) : setTimeout(look, 5);
  look();
})
"""
_TRANSFERRED = """
() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .reduce((sum, entry) => sum + entry.transferSize, 0)
"""


def measure(session: Session) -> Iterator[Row | Skipped]:
    """The project page with 1,000 runs × 50 metrics, and the fragment of a chart of 50 runs × 20,000 points."""
    filled, scale = session.filled, session.scale
    server = filled.server
    big, fifty = filled.runs(scale.count(1000, at_least=2)), filled.fifty()
    cookie = visitor.sign_in(server)

    found = visitor.pages(server, cookie, f"/p/{big}", scale.passes(9))
    yield Row(
        "project page, 1,000 runs × 50 metrics: first byte",
        [one.first_byte_s for one in found],
        MILLISECONDS,
        at_most=0.1,
    )
    yield Row("– server time", [one.server_s for one in found], MILLISECONDS)
    yield Row("– page compressed", [len(found[0].body)], KILOBYTES, found[0].headers.get("content-encoding", "plain"))

    chart = _chart(server, cookie, fifty)
    found = visitor.pages(server, cookie, chart, scale.passes(9), **{"HX-Request": "true"})
    yield Row(
        "chart partial, 50 runs × 20,000 points: server time",
        [one.server_s for one in found],
        MILLISECONDS,
        at_most=0.060,
    )
    encoding = found[0].headers.get("content-encoding", "plain")
    yield Row("– compressed", [len(found[0].body)], KILOBYTES, encoding, at_most=40_000)
    yield from _in_browser(server, cookie, big, scale.passes(5))


def _chart(server: host.Arwx, cookie: str, project: str) -> str:
    """The address of the chart of `loss`, as the page itself names it."""
    page = visitor.pages(server, cookie, f"/p/{project}", 1, **{"Accept-Encoding": "identity"})[0]
    links = re.findall(r'="([^"]*/chart\?[^"]*)"', page.body.decode())
    return next((unescape(link) for link in links if "key=loss" in link), f"/p/{project}/chart?key=loss")


def _in_browser(server: host.Arwx, cookie: str, project: str, rounds: int) -> Iterator[Row | Skipped]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        yield Skipped("project page in a browser", "there is no Chromium here")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        usable, sent, idle = [], [], 0
        _visit(browser, server, cookie, project, idle_ms=0)  # the browser's own first page
        for turn in range(rounds):
            one_usable, one_sent, idle = _visit(
                browser, server, cookie, project, idle_ms=_IDLE_MS if turn == rounds - 1 else 0
            )
            usable.append(one_usable)
            sent.append(one_sent)
        browser.close()
    yield Row("project page, 1,000 runs: usable in Chromium, nothing cached", usable, MILLISECONDS, at_most=1.0)
    yield Row("– bytes on the wire until then", [statistics.median(sent)], KILOBYTES)
    yield Row(f"– requests in {_IDLE_MS // 1000} idle seconds, every run finished", [idle], COUNT, at_most=0)


def _visit(browser: Browser, server: host.Arwx, cookie: str, project: str, *, idle_ms: int) -> tuple[float, float, int]:
    """A first visit: seconds until it is usable, bytes, and how many requests an idle page makes."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    pairs = [pair.partition("=") for pair in cookie.split("; ")]
    context.add_cookies([{"name": name, "value": value, "url": server.base_url} for name, _, value in pairs])
    page = context.new_page()
    page.goto(f"{server.base_url}/p/{project}", wait_until="commit")
    usable_ms = float(page.evaluate(_USABLE))
    sent = float(page.evaluate(_TRANSFERRED))
    asked: list[str] = []
    if idle_ms:
        page.wait_for_load_state("networkidle")
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(idle_ms)
    context.close()
    return usable_ms / 1000, sent, len(asked)
