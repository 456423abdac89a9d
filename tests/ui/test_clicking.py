"""The Runs lens in a real browser: what hands do with the table and the charts."""

import json
import re
import urllib.request
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from arwx import config, create_app
from tests import showcase
from tests.make import point
from tests.server import Server

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the showcase: ten runs, two of which live."""
    server = Server(tmp_path_factory.mktemp("server"), WEB_CONCURRENCY="1")
    app = create_app(config.from_environment({"ARWX_DATA_DIR": str(server.folder)}))
    showcase.fill(app, runs=10, steps=400)
    app.extensions["arwx.db"].engine.dispose()
    yield server.start()
    server.stop()


@pytest.fixture(scope="module")
def signed_in(browser: Browser, server: Server) -> Iterator[Page]:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(f"{server.base_url}/login")
    page.fill("input[name=email]", showcase.EMAIL)
    page.fill("input[name=password]", showcase.PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_url(f"{server.base_url}/")
    yield page
    page.context.close()


@pytest.fixture
def page(signed_in: Page, server: Server) -> Page:
    """The lens as it opens, with its first chart drawn."""
    signed_in.mouse.move(0, 0)
    signed_in.goto(f"{server.base_url}/p/char-lm")
    expect(signed_in.locator(".chart .line").first).to_be_visible()
    return signed_in


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def plot(page: Page, key: str = "val/bpb") -> tuple[float, float, float, float]:
    """Where the drawing of a chart is on the screen."""
    chart = page.locator(f'.chart[data-key-name="{key}"]')
    chart.scroll_into_view_if_needed()
    expect(chart.locator(".line").first).to_be_visible()
    box = chart.locator(".line-chart").bounding_box()
    assert box is not None
    return box["x"], box["y"], box["width"], box["height"]


def test_the_crosshair_tells_every_run_at_x_sorted_by_value(page: Page) -> None:
    x, y, width, height = plot(page)
    page.mouse.move(x + width * 0.25, y + height / 2)
    expect(page.locator(".tip")).to_be_visible()
    assert page.locator(".tip-x").inner_text().startswith("step ")
    told = [float(cell) for cell in page.locator(".tip td:nth-child(3)").all_inner_texts()]
    assert len(told) == 10
    assert told == sorted(told, reverse=True)
    assert page.locator(".tip .is-near").count() == 1
    assert page.locator(".board.has-focus").count() == 1
    page.mouse.move(5, 5)
    expect(page.locator(".tip")).to_be_hidden()
    assert page.locator(".board.has-focus").count() == 0


def test_a_row_under_the_pointer_lights_up_its_line(page: Page) -> None:
    row = page.locator("tbody tr").nth(3)
    run = row.get_attribute("data-run")
    row.hover()
    expect(page.locator(f'.line.is-focused[data-run="{run}"]').first).to_be_visible()
    expect(page.locator(".board.has-focus .line:not(.is-focused)").first).to_have_css("opacity", "0.25")


def test_dragging_zooms_all_charts_and_a_double_click_shows_all_again(page: Page) -> None:
    x, y, width, height = plot(page)
    page.mouse.move(x + width * 0.25, y + height / 2)
    page.mouse.down()
    page.mouse.move(x + width * 0.5, y + height / 2, steps=4)
    expect(page.locator(".marquee")).to_be_visible()
    page.mouse.up()
    page.wait_for_url(re.compile("zoom="))
    low, high = (float(end) for end in query(page)["zoom"][0].split("~"))
    assert 70 < low < high < 230
    for key in ("val/bpb", "lr"):
        drawn = page.locator(f'.chart[data-key-name="{key}"] .plot')
        expect(drawn).to_have_attribute("data-x-low", str(low))
        expect(drawn).to_have_attribute("data-x-high", str(high))
    page.keyboard.press("z")
    page.wait_for_url(lambda address: "zoom=" not in address)
    expect(page.locator('.chart[data-key-name="val/bpb"] .plot')).to_have_attribute("data-x-low", "0.0")
    page.go_back()
    page.wait_for_url(re.compile("zoom="))


def test_a_live_chart_grows_under_a_zoom_and_under_the_pointer(page: Page, server: Server) -> None:
    page.goto(f"{server.base_url}/p/char-lm?zoom=0.0~90.0")
    x, y, width, height = plot(page, "lr")
    top = page.evaluate("scrollY")
    page.mouse.move(x + width * 0.4, y + height / 2)
    expect(page.locator(".tip")).to_be_visible()
    before = page.locator('.chart[data-key-name="lr"] .line').first.get_attribute("d")
    run = page.locator("tbody tr").first.get_attribute("data-run")
    key = server.key("admin")
    body = {"run_id": run, "writer_id": "late", "epoch": "e", "first_seq": 0, "points": [point(85, lr=0.009)]}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    urllib.request.urlopen(
        urllib.request.Request(f"{server.base_url}/v1/ingest", json.dumps(body).encode(), headers), timeout=10
    ).close()
    page.wait_for_function(
        "before => document.querySelector('.chart[data-key-name=\"lr\"] .line').getAttribute('d') !== before",
        arg=before,
        timeout=15_000,
    )
    assert query(page)["zoom"] == ["0.0~90.0"]
    assert page.evaluate("scrollY") == top
    expect(page.locator(".tip")).to_be_visible()


def test_choices_change_the_address_without_a_new_page(page: Page) -> None:
    page.evaluate("window.same = true")
    page.select_option(".axes select[name=x]", "relative")
    page.wait_for_url(re.compile("x=relative"))
    expect(page.locator('.chart[data-key-name="val/bpb"] .plot')).to_have_attribute("data-x", "relative")
    page.click("text=log y")
    page.wait_for_url(re.compile("y=log"))
    page.locator("input[name=smooth]").fill("0.9")
    page.wait_for_url(re.compile("smooth=0.9"))
    expect(page.locator(".line.is-raw").first).to_be_attached()
    page.wait_for_url(
        lambda address: parse_qs(urlsplit(address).query) == {"x": ["relative"], "y": ["log"], "smooth": ["0.9"]}
    )
    assert page.evaluate("window.same") is True
    page.reload()
    expect(page.locator('.chart[data-key-name="val/bpb"] .plot')).to_have_attribute("data-x", "relative")
    assert page.locator(".axes select[name=x]").input_value() == "relative"


def test_the_filter_is_reached_by_key_and_says_what_is_wrong_in_place(page: Page) -> None:
    page.keyboard.press("f")
    page.keyboard.type("config.optimizer.name = muon")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("q="))
    expect(page.locator("tbody tr[data-run]")).to_have_count(3)
    page.locator("[data-key=f]").fill("config.lr >")
    page.keyboard.press("Enter")
    expect(page.locator("#filter-fault")).to_contain_text("a value after >")
    assert page.locator("[data-key=f]").input_value() == "config.lr >"
    page.locator("[data-key=f]").fill("")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr[data-run]")).to_have_count(10)


def test_the_eye_hides_a_line_and_only_this_leaves_one(page: Page) -> None:
    lines = page.locator('.chart[data-key-name="val/bpb"] .line')
    expect(lines).to_have_count(10)
    page.locator(".eye").nth(2).click()
    expect(lines).to_have_count(9)
    expect(page.locator("tbody tr").nth(2)).to_have_class(re.compile("is-hidden"))
    page.locator("tbody tr").nth(4).hover()
    page.locator(".only").nth(4).click()
    expect(lines).to_have_count(1)
    page.click(".chip:has-text('only 1 shown')")
    expect(lines).to_have_count(10)


def test_chosen_runs_stay_chosen_while_the_page_renews_itself_and_are_compared(page: Page) -> None:
    for number in (1, 3):
        page.locator(".pick input").nth(number).check()
    with page.expect_response(lambda answer: "/p/char-lm" in answer.url and "chart" not in answer.url, timeout=12_000):
        pass
    page.wait_for_timeout(200)
    assert page.locator(".pick input:checked").count() == 2
    page.keyboard.press("Tab")
    page.click("button:has-text('Compare')")
    page.wait_for_url(re.compile("/compare"))
    expect(page.locator("h1")).to_have_text("2 runs compared")
    expect(page.locator(".chart .line").first).to_be_visible()


def test_columns_are_chosen_from_a_menu(page: Page) -> None:
    page.click("#columns-menu summary")
    while page.locator("#columns-menu input:checked").count():
        page.locator("#columns-menu input:checked").first.uncheck()
    page.check('#columns-menu input[value="config.seed"]')
    page.check('#columns-menu input[value="min.val/bpb"]')
    page.click("#columns-menu button:has-text('Show these')")
    page.wait_for_url(re.compile("cols=min.val"))
    expect(page.locator(".runs thead th")).to_have_text(["Run", "min val/bpb", "seed"])


def test_a_pin_moves_a_chart_to_the_top_and_a_closed_section_stays_closed(page: Page) -> None:
    twins = page.locator('details[data-section="train · val"]')
    twins.locator("summary h2").click()
    page.wait_for_url(re.compile("closed=train"))
    chart = page.locator('.chart[data-key-name="lr"]')
    chart.hover()
    chart.locator("[data-pin]").click()
    expect(page.locator('details[data-section="pinned"] h3')).to_have_text(["lr"])
    assert not twins.evaluate("e => e.open")
    page.reload()
    expect(page.locator('details[data-section="pinned"] .line').first).to_be_visible()
    assert not twins.evaluate("e => e.open")


def test_a_chart_is_walked_by_keyboard(page: Page) -> None:
    page.locator('.chart[data-key-name="val/bpb"] .plot').focus()
    page.keyboard.press("Home")
    expect(page.locator(".tip-x")).to_have_text(re.compile(r"^step 0 · \d{4}-\d\d-\d\d .* UTC$"))
    page.keyboard.press("End")
    expect(page.locator(".tip-x")).not_to_have_text(re.compile("^step 0 "))
    page.keyboard.press("Escape")
    expect(page.locator(".tip")).to_be_hidden()


def test_a_chart_is_enlarged_and_left_with_escape(page: Page) -> None:
    chart = page.locator('.chart[data-key-name="val/bpb"]')
    chart.hover()
    chart.locator("[aria-label^=Enlarge]").click()
    expect(page.locator("h1")).to_have_text("val/bpb")
    page.fill("input[name=ymin]", "1")
    page.fill("input[name=ymax]", "2")
    page.click("main button:text-is('Set')")
    page.wait_for_url(re.compile("ymin=1&ymax=2"))
    expect(page.locator(".chart-notes")).to_contain_text("outside")
    page.keyboard.press("Escape")
    page.wait_for_url(re.compile("/p/char-lm$"))


def test_shortcuts_are_listed_and_lead_to_places(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.locator("#shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#shortcuts")).to_be_hidden()
    page.keyboard.press("b")
    expect(page.locator(".lens-runs")).to_have_count(0)
    page.keyboard.press("b")
    expect(page.locator(".lens-runs")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("e")
    page.wait_for_url(re.compile("/experiments"))
    page.keyboard.press("/")
    page.keyboard.type("baseline")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/find\?q=baseline"))


def test_a_chart_that_does_not_come_says_so_and_is_asked_for_again(page: Page) -> None:
    pattern = re.compile(r"/chart\?.*key=val/loss")
    page.route(pattern, lambda route: route.abort())
    page.reload()
    chart = page.locator('.chart[data-key-name="val/loss"]')
    chart.scroll_into_view_if_needed()
    expect(chart).to_contain_text("The server does not answer.")
    page.unroute(pattern)
    chart.locator("text=Try again").click()
    expect(chart.locator(".line").first).to_be_visible()


def test_nothing_jumps_while_charts_come(page: Page) -> None:
    page.add_init_script(
        "window.shift = 0; new PerformanceObserver(list => { for (const e of list.getEntries()) "
        "if (!e.hadRecentInput) window.shift += e.value; }).observe({type: 'layout-shift', buffered: true});"
    )
    page.reload()
    page.wait_for_timeout(1500)
    assert page.evaluate("window.shift") < 0.02


def test_a_phone_gets_cards_and_stacked_charts(browser: Browser, signed_in: Page, server: Server) -> None:
    phone = signed_in.context.new_page()
    phone.set_viewport_size({"width": 360, "height": 740})
    phone.goto(f"{server.base_url}/p/char-lm")
    assert phone.locator(".runs thead").is_hidden()
    left = [box["x"] for one in phone.locator(".chart").all()[:3] if (box := one.bounding_box())]
    assert len(set(left)) == 1
    small = phone.evaluate(
        "[...document.querySelectorAll('main a, main button, main summary, main select, main input:not([type=hidden])')]"
        ".filter(e => e.checkVisibility() && !e.closest('label, p, h1, .run-id, .choice, thead') && e.getBoundingClientRect().height < 32)"
        ".map(e => e.outerHTML.slice(0, 90))"
    )
    assert small == []
    phone.close()
