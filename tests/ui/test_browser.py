"""Every page in a real browser: nothing that a screen reader stumbles over, nothing blocked, nothing wider than a phone."""

import hashlib
import json
import urllib.request
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.make import point
from tests.server import Server

PAGES = [
    *("/", "/p/char-lm", "/p/char-lm/experiments", "/p/char-lm/artifacts", "/find?q=one"),
    *(
        "/p/char-lm?by=config.lr",
        "/p/char-lm?pincols=latest.loss",
        "/p/char-lm?q=config.lr+%3E",
        "/p/char-lm/compare?runs=one,two",
    ),
    *("/p/char-lm/chart?key=loss&smooth=0.6", "/p/char-lm/runs/one?against=two"),
    *("/p/char-lm/runs/one", "/p/char-lm/runs/one/receipt", "/settings", "/nothing"),
    *("/settings/members", "/settings/organization", "/settings/account", "/settings/audit"),
    *("/organizations/new", "/p/char-lm/delete"),
    *(
        "/p/char-lm/experiments/try",
        "/p/char-lm/experiments/try?in=src&file=src/train.py",
        "/p/char-lm/experiments/share",
        "/p/char-lm/artifacts/model",
        "/p/char-lm/artifacts/model?version=v2&with=v1",
    ),
]
DOORS = ["/login", "/signup", "/forgot", "/docs", "/docs/dashboard", "/docs/api"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two runs: one finished, one that still lives and has logged NaN and system metrics."""
    server = Server(tmp_path_factory.mktemp("server")).start()
    key = server.key("admin")

    def post(path: str, body: object, method: str = "POST") -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        raw = body
        if isinstance(raw, bytes):
            headers["Content-Type"] = "application/octet-stream"
        else:
            raw = json.dumps(body).encode()
        request = urllib.request.Request(server.base_url + path, raw, headers, method=method)
        urllib.request.urlopen(request, timeout=30).close()

    post("/v1/projects", {"name": "char-lm", "objective_metric": "val/bpb", "target": 0.5})
    for run_id in ("one", "two"):
        post("/v1/runs", {"project": "char-lm", "id": run_id, "config": {"lr": 0.1, "opt": {"name": run_id}}})
        points = [
            point(step, **{"loss": 1 / (step + 1), "val/bpb": 2.0 - step / 90, "system/cpu": 5.0}) for step in range(60)
        ]
        points[30]["nonfinite"] = ["grad_norm"]
        post("/v1/ingest", {"run_id": run_id, "writer_id": "w", "epoch": "e", "first_seq": 0, "points": points})
    post("/v1/runs/one/finish", {})
    post("/v1/sessions", {"project": "char-lm", "id": "night"})
    for number, id_ in enumerate(("base", "try")):
        content = f"width = {number}\n".encode()
        file = {"path": "src/train.py", "sha": hashlib.sha256(content).hexdigest(), "size": len(content)}
        post("/v1/blobs", content)
        fields = {"session_id": "night", "id": id_, "note": "warm up", "config": {"lr": number}, "diff": "-a\n+b\n"}
        post("/v1/experiments", {**fields, "run_id": "one"})
        post(f"/v1/experiments/{id_}/tree", {"entries": [file]}, "PUT")
        post(f"/v1/experiments/{id_}/decision", {"status": "keep", "score": 2.5 - number})
        version = {"project": "char-lm", "name": "model", "type": "model", "produced_by": id_}
        post("/v1/artifacts/log", {**version, "entries": [file], "metadata": {"bpb": 2.5}})
    post("/v1/artifacts/model/refs/winner", {"version": 2}, "PUT")
    yield server
    server.stop()


def visit(browser: Browser, server: Server, scheme: str, width: int) -> Page:
    page = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800}).new_page()  # type: ignore[arg-type]
    page.goto(f"{server.base_url}/login")
    page.fill("input[name=email]", "ada@example.org")
    page.fill("input[name=password]", "correct horse battery")
    page.click("main button[type=submit]")
    page.wait_for_url(f"{server.base_url}/")
    return page


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 1400), ("light", 360)])
def test_every_page_is_clean(browser: Browser, server: Server, scheme: str, width: int) -> None:
    stranger = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800}).new_page()  # type: ignore[arg-type]
    page = visit(browser, server, scheme, width)
    faults: list[str] = []
    for shown, paths in ((stranger, DOORS), (page, PAGES)):
        shown.on("console", lambda message: faults.append(message.text) if "Security Policy" in message.text else None)
        shown.on("pageerror", lambda error: faults.append(str(error)))
        shown.add_init_script(
            "window.shift = 0; new PerformanceObserver(list => { for (const e of list.getEntries()) "
            "if (!e.hadRecentInput) window.shift += e.value; }).observe({type: 'layout-shift', buffered: true});"
        )
        for path in paths:
            shown.goto(server.base_url + path)
            shown.wait_for_load_state("load")
            shown.wait_for_timeout(400)  # charts that come into view
            if (shift := shown.evaluate("window.shift")) > 0.01:
                faults.append(f"{path} jumps by {shift:.3f}")
            found = Axe().run(shown)
            faults += [f"{path}: {one['id']}: {one['nodes'][0]['html'][:200]}" for one in found.response["violations"]]
            if shown.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                faults.append(f"{path} is wider than the window")
        shown.context.close()
    assert faults == []


@pytest.mark.browser
def test_no_name_is_too_long_for_its_page(browser: Browser, server: Server) -> None:
    key, project, metric = server.key("admin"), "p" * 128, "m" * 255

    def post(path: str, body: object, method: str = "POST") -> dict[str, str]:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        request = urllib.request.Request(server.base_url + path, json.dumps(body).encode(), headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, str] = json.loads(answer.read())
        return found

    post("/v1/projects", {"name": project, "objective_metric": metric, "description": "d" * 2000})
    run = {
        "name": "r" * 255,
        "tags": ["t" * 128] * 1 + list("abcdef"),
        "group": "g" * 255,
        "host": {"hostname": "h" * 200},
    }
    config = {"k" * 100: "v" * 500, "deep": {"a" * 90: ["b" * 90] * 9}}
    post(
        "/v1/runs", {"project": project, "id": "long", "config": config, "notes": "n" * 3000, "commit": "c" * 40, **run}
    )
    post("/v1/ingest", {"run_id": "long", "points": [point(step, **{metric: step}) for step in range(9)]})
    session = post("/v1/sessions", {"project": project, "tag": "s" * 128})["id"]
    fields = {"session_id": session, "note": "e" * 2000, "run_id": "long", "diff": "+" + "x" * 2000, "config": config}
    tried = post("/v1/experiments", fields)["id"]
    post(f"/v1/experiments/{tried}/decision", {"status": "keep", "score": 1 / 3, "note": "w" * 2000})
    kept = b"width = 0\n"  # a blob that is there already
    entry = {"path": "f" * 200 + "/file.py", "sha": hashlib.sha256(kept).hexdigest(), "size": len(kept)}
    version = {
        "project": project,
        "name": "a" * 128,
        "type": "y" * 64,
        "entries": [entry],
        "produced_by": tried,
        "metadata": config,
    }
    post("/v1/artifacts/log", version)
    for number in range(40):
        post(f"/v1/artifacts/{'a' * 128}/refs/nightly-{number}-{'x' * 40}?project={project}", {"version": 1}, "PUT")
    wide = []
    for width in (360, 1400):
        page = visit(browser, server, "light", width)
        for path in (
            "",
            "/experiments",
            "/artifacts",
            f"/experiments/{tried}",
            f"/artifacts/{'a' * 128}",
            "/runs/long",
            "/delete",
        ):
            page.goto(f"{server.base_url}/p/{project}{path}")
            if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                wide.append((width, path))
        for path in ("/", "/find?q=rrr", "/settings/organization"):
            page.goto(server.base_url + path)
            if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                wide.append((width, path))
        page.goto(f"{server.base_url}/p/{project}/artifacts/{'a' * 128}")
        refs = page.locator(".versions .refs")
        expect(refs.locator(".ref:visible")).to_have_count(6)
        refs.locator("summary").click()
        expect(refs.locator(".ref:visible", has_text="nightly-39")).to_be_visible()
        crumb = page.locator(".bar-path li:nth-child(2) a").bounding_box()
        assert crumb is not None
        assert crumb["width"] > 60, "the way back stays wide enough to be read and touched"
        page.context.close()
    assert wide == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
def test_every_menu_opens_within_the_window(browser: Browser, server: Server, width: int) -> None:
    page = visit(browser, server, "light", width)
    outside, opened = [], 0
    for path in ("/p/char-lm", "/p/char-lm/runs/one", "/p/char-lm/chart?key=loss"):
        page.goto(server.base_url + path)
        page.wait_for_timeout(400)
        for menu in page.locator("details.menu").all()[:9]:
            summary = menu.locator("> summary")
            if not summary.is_visible():
                continue
            summary.click()
            box = menu.locator("> .menu-body").bounding_box()
            assert box is not None
            opened += 1
            if box["x"] < 0 or box["x"] + box["width"] > width:
                outside.append((path, menu.get_attribute("id")))
            page.keyboard.press("Escape")
    assert outside == []
    assert opened > 9
    page.context.close()


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "ink"), [("light", "rgb(26, 28, 30)"), ("dark", "rgb(232, 230, 225)")])
def test_a_shared_picture_is_readable_where_it_is_small(
    browser: Browser, server: Server, scheme: str, ink: str
) -> None:
    page = visit(browser, server, scheme, 1280)
    page.goto(f"{server.base_url}/p/char-lm/experiments/share")
    page.click("text=Make the address")
    address = page.locator(".fresh pre").last.inner_text().strip()
    page.set_viewport_size({"width": 400, "height": 260})
    page.goto(address)
    said = "e => [getComputedStyle(e).fontSize, getComputedStyle(e).fill]"
    assert page.locator("text.title.small").evaluate(said) == ["32px", ink]
    assert page.locator("text.small.name, .small text.name").first.evaluate(said) == ["23px", ink]
    page.context.close()


@pytest.mark.browser
def test_a_wide_window_is_used(browser: Browser, server: Server) -> None:
    page = visit(browser, server, "dark", 2560)
    for path in ("/p/char-lm", "/p/char-lm/runs/one", "/p/char-lm/experiments", "/p/char-lm/artifacts/model"):
        page.goto(server.base_url + path)
        panels = [
            box
            for one in page.locator("main .panel, .lens-charts").all()
            if one.is_visible() and (box := one.bounding_box())
        ]
        assert max(box["x"] + box["width"] for box in panels) > 2500, path
        assert page.evaluate("document.documentElement.scrollWidth") <= 2560
    page.goto(f"{server.base_url}/docs")
    prose = page.locator(".prose").bounding_box()
    assert prose is not None
    assert prose["width"] <= 720, "lines of prose stay readable"
    page.context.close()


@pytest.mark.browser
def test_printed_pages_hold_what_is_to_be_read(browser: Browser, server: Server) -> None:
    page = visit(browser, server, "light", 1000)
    page.emulate_media(media="print")
    for path in ("/p/char-lm", "/p/char-lm/runs/one", "/p/char-lm/experiments", "/docs"):
        page.goto(server.base_url + path)
        shown = page.evaluate(
            "[...document.querySelectorAll('.bar, .tabs, .toolbar, .filter, .split, .quiet-button, .docs-contents, .button')]"
            ".filter(e => e.checkVisibility()).map(e => e.outerHTML.slice(0, 80))"
        )
        assert shown == [], path
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        ink = page.evaluate("getComputedStyle(document.body).color")
        assert ink == "rgb(26, 28, 30)", "paper is light, whatever the screen was"
    page.context.close()


@pytest.mark.browser
def test_nothing_moves_for_who_wants_it_still(browser: Browser, server: Server) -> None:
    page = visit(browser, server, "light", 1400)
    page.emulate_media(reduced_motion="reduce")
    page.goto(f"{server.base_url}/p/char-lm")
    moving = page.evaluate(
        "[...document.querySelectorAll('*')].map(e => getComputedStyle(e))"
        ".filter(s => s.animationName !== 'none' || parseFloat(s.transitionDuration) > 0).length"
    )
    assert moving == 0
    page.context.close()


@pytest.mark.browser
def test_the_first_view_needs_no_script(browser: Browser, server: Server) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{server.base_url}/login")
    page.fill("input[name=email]", "ada@example.org")
    page.fill("input[name=password]", "correct horse battery")
    page.click("main button[type=submit]")
    page.wait_for_url(f"{server.base_url}/")
    page.goto(f"{server.base_url}/p/char-lm")
    assert page.locator("figure.chart svg title").first.text_content()
    page.context.close()


@pytest.mark.browser
def test_a_finished_run_asks_for_nothing_more(browser: Browser, server: Server) -> None:
    page = visit(browser, server, "light", 1400)
    page.clock.install()
    page.goto(f"{server.base_url}/p/char-lm/runs/one")
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(20_000)
    page.wait_for_timeout(300)
    assert asked == []
    page.goto(f"{server.base_url}/p/char-lm/runs/two")
    page.wait_for_load_state("networkidle")
    with page.expect_request("**/runs/two**"):  # one that lives is looked after
        page.clock.run_for(20_000)
    page.context.close()


@pytest.mark.browser
def test_the_theme_is_kept_from_page_to_page(browser: Browser, server: Server) -> None:
    page = visit(browser, server, "light", 1400)
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("[data-theme-switch]")  # from automatic to light
    page.click("[data-theme-switch]")  # to dark
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != before
    page.goto(f"{server.base_url}/settings")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    page.context.close()
