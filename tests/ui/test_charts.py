"""Charts in a real browser: strange data, every choice, and what fingers do on a phone."""

import csv
import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from arwx import config, create_app, members, organizations, people
from tests.make import Maker, point
from tests.server import Server

pytestmark = pytest.mark.browser
EMAIL, PASSWORD = "ada@example.org", "correct horse battery"
STEPS = 600


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two finished runs with metrics of every kind, and eight short ones for a long legend."""
    server = Server(tmp_path_factory.mktemp("server"), WEB_CONCURRENCY="1")
    app = create_app(config.from_environment({"ARWX_DATA_DIR": str(server.folder)}))
    ada = Maker(app).caller("Ada's lab", scope="admin")
    with app.extensions["arwx.db"].writing() as session:
        members.join(
            session, people.add_user(session, EMAIL, PASSWORD), organizations.named(session, "Ada's lab"), "owner"
        )
    ada.post("/v1/projects", json={"name": "kinds", "objective_metric": "val/loss"})
    for number, run_id in enumerate(("one", "two")):
        ada.run("kinds", id=run_id, name=f"run {run_id}")
        ada.ingest(run_id, [_entry(step, number) for step in range(STEPS)], first_seq=0)
        ada.post(f"/v1/runs/{run_id}/finish", json={})
    for number in range(8):
        ada.run("many", id=f"short-{number}")
        ada.ingest(f"short-{number}", [point(step, loss=number + 1 / (step + 1)) for step in range(30)], first_seq=0)
        ada.post(f"/v1/runs/short-{number}/finish", json={})
    ada.run("lost", id="lost")
    ada.ingest("lost", [{"step": step, "metrics": {"loss": "NaN", "lr": 0.1}} for step in range(3)], first_seq=0)
    app.extensions["arwx.db"].engine.dispose()
    yield server.start()
    server.stop()


def _entry(step: int, number: int) -> dict[str, Any]:
    metrics: dict[str, Any] = {
        "train/loss": 3 / (step + 1) + number / 10,
        "val/loss": 3.5 / (step + 1) + number / 10,
        "tokens": step * 512.0,
        "signed": float(step - 2),
        "spike": 9000.0 if step == 333 else 1.0 + step % 2,
        "system/cpu": 50.0,
    }
    if step % 100 == 0:
        metrics["sparse"] = step / 100
    if step == 7 and not number:
        metrics["single"] = 0.734
    if step in {200, 400} and not number:
        metrics["train/loss"] = "Infinity" if step == 200 else "NaN"
    return {"step": step, "ts": 1_764_000_000.0 + step * 2, "metrics": metrics}


@pytest.fixture(scope="module")
def open_page(browser: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Pages of somebody who is signed in, on a desktop or on a phone."""
    contexts = []

    def opened(**device: Any) -> Page:
        context = browser.new_context(**device)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{server.base_url}/login")
        page.fill("input[name=email]", EMAIL)
        page.fill("input[name=password]", PASSWORD)
        page.click("main button[type=submit]")
        page.wait_for_url(f"{server.base_url}/")
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def desk(open_page: Callable[..., Page]) -> Page:
    return open_page(viewport={"width": 1440, "height": 900}, permissions=["clipboard-read", "clipboard-write"])


@pytest.fixture(scope="module")
def phone(open_page: Callable[..., Page]) -> Page:
    return open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)


def chart(page: Page, key: str) -> Locator:
    found = page.locator(f'.chart[data-key-name="{key}"]')
    found.scroll_into_view_if_needed()
    expect(found.locator(".line-chart, .is-empty:not(:has-text('Loading'))").first).to_be_visible()
    return found


def go(page: Page, server: Server, path: str, key: str) -> Locator:
    page.goto(server.base_url + path)
    return chart(page, key)


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def x_ends(found: Locator) -> tuple[float, float]:
    plot = found.locator(".plot")
    return float(plot.get_attribute("data-x-low") or "nan"), float(plot.get_attribute("data-x-high") or "nan")


# Data -----------------------------------------------------------------------------------------------------------------


def test_the_same_view_is_the_same_picture(desk: Page, server: Server) -> None:
    def paths() -> list[str]:
        found = go(desk, server, "/p/kinds", "val/loss").locator("path")
        return [path.get_attribute("d") or "" for path in found.all()]

    assert paths() == paths()


def test_few_points_are_dots_that_are_joined_and_one_is_a_dot(desk: Page, server: Server) -> None:
    sparse = go(desk, server, "/p/kinds", "sparse")
    expect(sparse.locator(".dots").first.locator("circle")).to_have_count(6)
    expect(sparse.locator(".line")).to_have_count(2)
    single = chart(desk, "single")
    expect(single.locator(".dots circle")).to_be_visible()
    expect(single.locator(".ends text")).to_have_text("0.734")


def test_nan_and_infinity_are_triangles_at_the_foot(desk: Page, server: Server) -> None:
    found = go(desk, server, "/p/kinds?x=relative", "train/loss")
    expect(found.locator(".hole path")).to_have_count(2)
    expect(found.locator(".hole path").first).to_be_visible()
    assert "2 values NaN or infinite, between steps 200 and 400" in (found.locator(".hole title").text_content() or "")
    expect(found.locator(".chart-notes")).to_have_text("2 NaN or ∞")


def test_what_cannot_be_drawn_is_said_in_other_words_each(desk: Page, server: Server) -> None:
    expect(go(desk, server, "/p/lost", "loss")).to_contain_text("all 3 values were NaN or infinite")
    expect(go(desk, server, "/p/kinds?zoom=7000~8000", "val/loss")).to_contain_text("No point between")
    expect(go(desk, server, "/p/kinds?x=metric%3Asingle", "sparse")).to_contain_text("together with single")


def test_a_logarithm_leaves_out_what_is_not_above_zero_and_says_so(desk: Page, server: Server) -> None:
    found = go(desk, server, "/p/kinds", "signed")
    desk.click("text=log y")
    desk.wait_for_url(re.compile("y=log"))
    expect(chart(desk, "signed").locator(".chart-notes")).to_contain_text("6 ≤ 0 left out")
    expect(found.locator(".line")).to_have_count(2)
    desk.click("text=log x")
    desk.wait_for_url(re.compile("xs=log"))
    expect(chart(desk, "val/loss").locator(".plot")).to_have_attribute("data-x-log", "")
    expect(chart(desk, "val/loss").locator(".plot")).to_have_attribute("data-x-low", "1.0")


# Controls -------------------------------------------------------------------------------------------------------------


def test_extremes_are_left_outside_by_a_click(desk: Page, server: Server) -> None:
    found = go(desk, server, "/p/kinds", "spike")
    expect(found.locator(".ticks.is-y")).to_contain_text("k")
    desk.click("text=clip")
    desk.wait_for_url(re.compile("clip=yes"))
    expect(found.locator(".chart-notes")).to_contain_text("2 outside")
    expect(found.locator(".ticks.is-y")).not_to_contain_text("k")


def test_another_metric_is_the_axis(desk: Page, server: Server) -> None:
    found = go(desk, server, "/p/kinds", "val/loss")
    desk.select_option(".axes select[name=x]", "metric:tokens")
    expect(found.locator(".chart-over")).to_have_text("over tokens")
    found.locator(".plot").hover()
    expect(desk.locator(".tip-x")).to_contain_text(re.compile(r"^tokens \d+"))


def test_the_crosshair_tells_the_smoothed_and_the_raw_value(desk: Page, server: Server) -> None:
    found = go(desk, server, "/p/kinds", "val/loss")
    assert desk.locator("input[name=smooth]").input_value() == "0"
    desk.locator("input[name=smooth]").fill("0.9")
    desk.wait_for_url(re.compile("smooth=0.9"))
    expect(found.locator(".line.is-raw")).to_have_count(2)
    found.locator(".plot").hover()
    expect(desk.locator(".tip td:nth-child(4)").first).to_have_text(re.compile(r"^raw "))
    soft, raw = (desk.locator(f".tip td:nth-child({n})").first.inner_text() for n in (3, 4))
    assert float(soft) > float(raw.removeprefix("raw ")), "the average of a falling line is above it"


def test_metrics_are_found_by_a_pattern(desk: Page, server: Server) -> None:
    go(desk, server, "/p/kinds", "val/loss")
    desk.keyboard.press("m")
    desk.keyboard.type("^(val|train)/")
    desk.keyboard.press("Enter")
    expect(desk.locator(".chart h3")).to_have_text(["val/loss", "train/loss"])


def test_the_goal_comes_first_and_system_metrics_last_closed_and_over_time(desk: Page, server: Server) -> None:
    go(desk, server, "/p/kinds", "val/loss")
    names = [name.get_attribute("data-key-name") for name in desk.locator(".chart").all()]
    assert (names[0], names[-1]) == ("val/loss", "system/cpu")
    system = desk.locator('details[data-section="system"]')
    assert not system.evaluate("e => e.open")
    system.locator("summary").first.click()
    expect(chart(desk, "system/cpu").locator(".plot")).to_have_attribute("data-x", "relative")


# Zoom -----------------------------------------------------------------------------------------------------------------


def drag(page: Page, found: Locator, start: float, end: float) -> None:
    box = found.locator(".line-chart").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, middle, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile("zoom="))


def test_a_double_click_and_a_button_show_all_again(desk: Page, server: Server) -> None:
    found = go(desk, server, "/p/kinds", "val/loss")
    for reset in (found.locator(".plot").dblclick, found.locator("[data-unzoom]").click):
        drag(desk, found, 0.2, 0.4)
        expect(found.locator("[data-unzoom]")).to_be_visible()
        reset()
        expect(found.locator("[data-unzoom]")).to_have_count(0)
        expect(found.locator(".plot")).to_have_attribute("data-x-low", "0.0")


def test_the_enlarged_chart_zooms_in_place_and_leads_back(desk: Page, server: Server) -> None:
    found = go(desk, server, "/p/kinds?smooth=0.5", "val/loss")
    found.hover()
    found.locator("[aria-label^=Enlarge]").click()
    expect(desk.locator("h1")).to_have_text("val/loss")
    desk.evaluate("window.same = true")
    drag(desk, chart(desk, "val/loss"), 0.25, 0.5)
    expect(desk.locator(".plot")).to_have_attribute("data-x-low", re.compile(r"^14|^15"))
    assert desk.evaluate("window.same") is True
    assert query(desk)["key"] == "val/loss"
    desk.keyboard.press("Escape")
    desk.wait_for_url(f"{server.base_url}/p/kinds?smooth=0.5")


def test_a_long_legend_is_cut_and_opens(desk: Page, server: Server) -> None:
    go(desk, server, "/p/many/chart?key=loss", "loss")
    expect(desk.locator(".legend tbody tr:visible")).to_have_count(6)
    desk.check("#legend-all")
    expect(desk.locator(".legend tbody tr:visible")).to_have_count(8)


# To take along --------------------------------------------------------------------------------------------------------


def test_all_points_and_the_picture_are_taken_along(desk: Page, server: Server, tmp_path: Path) -> None:
    found = go(desk, server, "/p/kinds?zoom=100~110", "val/loss")
    found.hover()
    found.locator("summary[aria-label^=Take]").click()
    with desk.expect_download() as taken:
        found.locator("text=All points as CSV").click()
    taken.value.save_as(tmp_path / "points.csv")
    rows = list(csv.DictReader((tmp_path / "points.csv").open()))
    assert len(rows) == 2 * STEPS
    assert [row["value"] for row in rows if row["run"] == "run one"][1] == "1.75"
    found.locator("[data-copy-svg]").click()
    expect(found.locator("[data-copy-svg]")).to_have_text("Copied")
    copied = desk.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("<svg")
    assert "run one" in copied


def test_a_chart_is_told_in_words(desk: Page, server: Server) -> None:
    words = go(desk, server, "/p/kinds", "train/loss").locator("figcaption").text_content() or ""
    assert "train/loss over step, 2 runs." in words
    assert re.search(r"run one: last [\d.]+, lowest [\d.]+, highest 3, 598 points\.", words)
    assert "run one: 2 values NaN or infinite, between steps 200 and 400." in words


def test_a_chart_out_of_sight_is_asked_for_when_it_comes_into_view(desk: Page, server: Server) -> None:
    asked: list[str] = []
    desk.on("request", lambda request: asked.append(request.url))
    go(desk, server, "/p/kinds?columns=1&size=l", "val/loss")
    desk.wait_for_load_state("networkidle")
    waiting = desk.locator('.chart.is-waiting[data-key-name="train/loss"]')
    expect(waiting).to_have_count(1)
    assert not any("/chart?" in url for url in asked)
    chart(desk, "train/loss")
    expect(waiting).to_have_count(0)
    assert any("/chart?" in url and "key=train/loss" in url for url in asked)


# Live -----------------------------------------------------------------------------------------------------------------


def test_an_enlarged_chart_grows_unless_nobody_looks(open_page: Callable[..., Page], server: Server) -> None:
    page = open_page(viewport={"width": 1000, "height": 800})
    page.clock.install()
    found = go(page, server, "/p/lost/chart?key=lr&y=log", "lr")
    page.wait_for_load_state("networkidle")
    page.fill("input[name=ymax]", "7")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => window.isAway, configurable: true })")
    page.evaluate("window.isAway = true")
    page.clock.run_for(20_000)
    assert asked == []
    headers = {"Authorization": f"Bearer {server.key('admin')}", "Content-Type": "application/json"}
    points = [point(step, lr=0.1 / step) for step in range(3, 60)]
    body = {"run_id": "lost", "writer_id": "w", "epoch": "e", "first_seq": 0, "points": points}
    request = urllib.request.Request(f"{server.base_url}/v1/ingest", json.dumps(body).encode(), headers)
    urllib.request.urlopen(request, timeout=30).close()
    page.evaluate("window.isAway = false")
    page.clock.run_for(6_000)
    expect(found.locator(".plot")).to_have_attribute("data-x-high", "59.0")
    assert page.locator("input[name=ymax]").input_value() == "7", "what a visitor is typing stays"
    assert query(page) == {"key": "lr", "y": "log"}


# Fingers --------------------------------------------------------------------------------------------------------------


class Fingers:
    """Fingers on the screen of a phone, as the browser itself hears of them."""

    def __init__(self, page: Page, found: Locator) -> None:
        self.page, self.session = page, page.context.new_cdp_session(page)
        box = found.locator(".line-chart").bounding_box()
        assert box is not None
        self.box = box

    def send(self, kind: str, *shares: float, down: float = 0.0) -> None:
        y = self.box["y"] + self.box["height"] / 2 + down
        points = [
            {"x": self.box["x"] + self.box["width"] * share, "y": y, "id": number}
            for number, share in enumerate(shares)
        ]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def slide(self, start: tuple[float, ...], end: tuple[float, ...], down: float = 0.0) -> None:
        for part in (0.25, 0.5, 0.75, 1.0):
            shares = [a + (b - a) * part for a, b in zip(start, end, strict=True)]
            self.send("touchMove", *shares, down=down * part)


def middle(page: Page, server: Server, path: str = "/p/kinds") -> tuple[Locator, Fingers]:
    """The chart of the goal in the middle of the phone."""
    found = go(page, server, path, "val/loss")
    found.evaluate("e => e.scrollIntoView({ block: 'center' })")
    return found, Fingers(page, found)


def test_a_tap_tells_the_values_and_one_elsewhere_ends_it(phone: Page, server: Server) -> None:
    _, fingers = middle(phone, server)
    fingers.send("touchStart", 0.5)
    fingers.send("touchEnd")
    expect(phone.locator(".tip")).to_be_visible()
    expect(phone.locator(".tip-x")).to_contain_text(re.compile(r"^step (29|30)\d"))
    box = phone.locator(".tip").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    phone.touchscreen.tap(180, 20)
    expect(phone.locator(".tip")).to_be_hidden()


def test_a_finger_sideways_reads_and_one_downwards_scrolls(phone: Page, server: Server) -> None:
    found, fingers = middle(phone, server)
    fingers.send("touchStart", 0.2)
    fingers.slide((0.2,), (0.8,))
    expect(phone.locator(".tip-x")).to_contain_text(re.compile(r"^step 4[78]\d"))
    fingers.send("touchEnd")
    assert "zoom" not in query(phone)
    found.evaluate("e => e.scrollIntoView({ block: 'center' })")
    before = phone.evaluate("scrollY")
    fingers = Fingers(phone, found)
    fingers.send("touchStart", 0.5)
    fingers.slide((0.5,), (0.5,), down=-160)
    fingers.send("touchEnd")
    phone.wait_for_function("before => scrollY > before + 60", arg=before)
    assert "zoom" not in query(phone)


def test_a_finger_that_stays_and_then_moves_zooms_and_the_page_stays(phone: Page, server: Server) -> None:
    found, fingers = middle(phone, server)
    before = phone.evaluate("scrollY")
    fingers.send("touchStart", 0.25)
    expect(phone.locator(".marquee")).to_be_visible()
    fingers.slide((0.25,), (0.5,), down=40)
    fingers.send("touchEnd")
    phone.wait_for_url(re.compile("zoom="))
    expect(found.locator("[data-unzoom]")).to_be_visible()
    low, high = x_ends(found)
    assert (low, high) == (pytest.approx(150, abs=12), pytest.approx(300, abs=12))
    assert phone.evaluate("scrollY") == before
    found.locator("[data-unzoom]").tap()
    phone.wait_for_url(lambda address: "zoom=" not in address)


def test_two_fingers_spread_to_zoom_and_close_to_show_all(phone: Page, server: Server) -> None:
    found, fingers = middle(phone, server)
    fingers.send("touchStart", 0.4)
    fingers.send("touchStart", 0.4, 0.6)
    fingers.slide((0.4, 0.6), (0.2, 0.8))
    expect(phone.locator(".marquee")).to_be_visible()
    fingers.send("touchEnd")
    phone.wait_for_url(re.compile("zoom="))
    expect(found.locator("[data-unzoom]")).to_be_visible()
    low, high = x_ends(found)
    assert (low, high) == (pytest.approx(200, abs=15), pytest.approx(400, abs=15))
    fingers = Fingers(phone, found)
    fingers.send("touchStart", 0.2)
    fingers.send("touchStart", 0.2, 0.8)
    fingers.slide((0.2, 0.8), (0.4, 0.6))
    fingers.send("touchEnd")
    phone.wait_for_url(lambda address: "zoom=" not in address)
