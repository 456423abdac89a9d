"""The Runs lens in a real browser: what hands do with the table and the charts."""

import json
import re
import urllib.request
from collections.abc import Iterator
from functools import cache
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


@cache
def key(server: Server) -> str:
    return server.key("admin")


def tell(server: Server, path: str, body: object) -> None:
    headers = {"Authorization": f"Bearer {key(server)}", "Content-Type": "application/json"}
    request = urllib.request.Request(server.base_url + path, json.dumps(body).encode(), headers)
    urllib.request.urlopen(request, timeout=10).close()


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
    expect(page.locator(".tip .is-near")).to_have_count(1)
    expect(page.locator(".board.has-focus")).to_have_count(1)
    page.mouse.move(5, 5)
    expect(page.locator(".tip")).to_be_hidden()
    expect(page.locator(".board.has-focus")).to_have_count(0)


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


def test_on_an_enlarged_chart_a_drag_takes_a_part_of_y_too(page: Page, server: Server) -> None:
    page.goto(f"{server.base_url}/p/char-lm/chart?key=val/bpb")
    drawn = page.locator(".plot")

    def drag(from_x: float, from_y: float, to_x: float, to_y: float) -> None:
        x, y, width, height = plot(page)
        page.mouse.move(x + width * from_x, y + height * from_y)
        page.mouse.down()
        page.mouse.move(x + width * to_x, y + height * to_y, steps=4)
        page.mouse.up()

    drag(0.3, 0.2, 0.6, 0.21)
    page.wait_for_url(lambda address: "zoom=" in address and "ymin" not in address)
    expect(page.locator("[data-reset-zoom]")).to_be_visible()
    page.keyboard.press("z")
    page.wait_for_url(lambda address: "zoom=" not in address)
    expect(page.locator("[data-reset-zoom]")).to_have_count(0)
    whole = [float(drawn.get_attribute(f"data-y-{end}") or "nan") for end in ("low", "high")]
    drag(0.3, 0.75, 0.305, 0.25)
    page.wait_for_url(lambda address: "ymin=" in address and "zoom" not in address)
    low, high = (float(query(page)[end][0]) for end in ("ymin", "ymax"))
    assert whole[0] < low < high < whole[1]
    assert 0.4 < (high - low) / (whole[1] - whole[0]) < 0.6
    expect(drawn).to_have_attribute("data-y-low", str(low))
    expect(page.get_by_label("y from")).to_have_value(str(low).removesuffix(".0"))
    drag(0.3, 0.25, 0.6, 0.75)
    page.wait_for_url(lambda address: "ymin=" in address and "zoom=" in address)
    expect(drawn).to_have_attribute("data-x-low", query(page)["zoom"][0].split("~")[0])
    page.locator(".plot").dblclick()
    page.wait_for_url(lambda address: "ymin=" not in address and "zoom=" not in address)


def test_a_live_chart_grows_under_a_zoom_and_under_the_pointer(page: Page, server: Server) -> None:
    page.goto(f"{server.base_url}/p/char-lm?zoom=0~90")
    x, y, width, height = plot(page, "lr")
    top = page.evaluate("scrollY")
    page.mouse.move(x + width * 0.4, y + height / 2)
    expect(page.locator(".tip")).to_be_visible()
    before = page.locator('.chart[data-key-name="lr"] .line').first.get_attribute("d")
    run = page.locator("tbody tr").first.get_attribute("data-run")
    body = {"run_id": run, "writer_id": "late", "epoch": "e", "first_seq": 0, "points": [point(85, lr=0.009)]}
    tell(server, "/v1/ingest", body)
    page.wait_for_function(
        "before => document.querySelector('.chart[data-key-name=\"lr\"] .line').getAttribute('d') !== before",
        arg=before,
        timeout=15_000,
    )
    assert query(page)["zoom"] == ["0~90"]
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


def test_what_to_do_with_chosen_runs_is_in_sight_and_the_choice_is_dropped_at_once(page: Page) -> None:
    rows = page.locator(".runs tbody tr[data-run]")
    before = rows.first.bounding_box()
    rows.first.locator(".pick input").check()
    rows.nth(1).locator(".pick input").check()
    expect(page.locator(".runs-chosen button:text-is('Compare')")).to_be_in_viewport()
    assert rows.first.bounding_box() == before, "nothing moves under the pointer"
    page.get_by_label("Choose none").click()
    expect(page.locator(".pick input:checked")).to_have_count(0)
    expect(page.locator(".runs-chosen")).to_be_hidden()


def test_columns_are_chosen_from_a_menu(page: Page) -> None:
    page.click("#columns-menu summary")
    while page.locator("#columns-menu input:checked").count():
        page.locator("#columns-menu input:checked").first.uncheck()
    page.check('#columns-menu input[value="config.seed"]')
    page.check('#columns-menu input[value="min.val/bpb"]')
    page.click("#columns-menu button:has-text('Show these')")
    page.wait_for_url(re.compile("cols=min.val"))
    expect(page.locator(".runs thead th")).to_have_text(["Run", "min val/bpb", "seed"])


def test_without_a_choice_only_config_that_differs_has_a_column(page: Page) -> None:
    heads = page.locator(".runs thead th a:first-child").all_inner_texts()
    assert "lr" in heads
    assert "optimizer.name" in heads
    assert not {"dataset", "model.heads"} & set(heads), "those are the same in all runs"


def test_a_pinned_column_stays_while_the_table_scrolls_sideways(page: Page) -> None:
    head = page.locator(".runs thead th", has=page.locator("a:text-is('batch_size')"))
    head.scroll_into_view_if_needed()
    head.hover()
    head.locator(".pin-column").click()
    page.wait_for_url(re.compile("pincols=config.batch_size"))
    expect(page.locator(".runs thead th").nth(1)).to_contain_text("batch_size")
    cells = [page.locator(".runs tbody tr").first.locator("> *").nth(number) for number in (0, 1, 2)]

    def lefts() -> list[float]:
        return [box["x"] for cell in cells if (box := cell.bounding_box())]

    page.locator(".lens-runs .scroll").evaluate("e => { e.scrollLeft = 0; }")
    before = lefts()
    page.locator(".lens-runs .scroll").evaluate("e => { e.scrollLeft = 120; }")
    after = lefts()
    assert after[:2] == before[:2]
    assert after[2] < before[2] - 100
    page.reload()
    expect(page.locator(".runs tbody .pin-0")).to_have_count(10)
    page.locator(".runs thead .is-pinned").hover()
    page.locator(".runs thead .is-pinned .pin-column").click()
    page.wait_for_url(lambda address: "pincols" not in address)


def test_the_table_is_as_wide_as_it_was_made_and_stays_so(page: Page, server: Server) -> None:
    def width() -> float:
        return float(page.locator(".lens-runs").evaluate("e => e.offsetWidth"))

    split = page.locator("[data-split]")
    usual = width()
    box = split.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 6, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 126, box["y"] + 100, steps=4)
    page.mouse.up()
    assert width() == usual + 120
    with page.expect_response(lambda answer: answer.url == f"{server.base_url}/p/char-lm", timeout=12_000):
        pass  # the page renews itself
    page.wait_for_timeout(100)
    assert width() == usual + 120
    page.reload()
    assert width() == usual + 120
    split.focus()
    page.keyboard.press("ArrowLeft")
    assert width() == usual + 120 - 32
    assert split.get_attribute("aria-valuenow") == str(round(width()))
    page.keyboard.press("Home")
    assert width() == 288
    split.dblclick()
    assert width() == usual


def test_runs_are_grouped_and_a_group_opens_into_its_runs(page: Page) -> None:
    page.select_option(".filter select[name=by]", "config.optimizer.name")
    page.wait_for_url(re.compile("by=config.optimizer.name"))
    rows = page.locator(".runs tbody tr")
    expect(rows).to_have_count(3)
    expect(page.locator('.chart[data-key-name="val/bpb"] .band').first).to_be_attached()
    rows.nth(1).hover()
    group = rows.nth(1).get_attribute("data-run")
    expect(page.locator(f'.line.is-focused[data-run="{group}"]').first).to_be_visible()
    rows.nth(1).locator(".run-name").click()
    page.wait_for_url(re.compile("q=config.optimizer.name"))
    expect(rows).to_have_count(3)
    expect(page.locator(".filter select[name=by]")).to_have_value("")


def test_more_runs_than_a_page_holds_are_turned_over(page: Page, server: Server) -> None:
    for number in range(53):
        tell(server, "/v1/runs", {"project": "many", "id": f"many-{number:02d}", "name": f"many-{number:02d}"})
    page.goto(f"{server.base_url}/p/many")
    rows = page.locator(".runs tbody tr[data-run]")
    expect(rows).to_have_count(50)
    page.click("text=Older runs")
    expect(rows).to_have_count(3)
    assert rows.evaluate_all("all => all.map(e => e.dataset.run)") == ["many-02", "many-01", "many-00"]
    page.reload()
    expect(rows).to_have_count(3)
    page.click("text=First page")
    expect(rows).to_have_count(50)


def test_chosen_runs_are_hidden_or_shown_alone(page: Page) -> None:
    lines = page.locator('.chart[data-key-name="val/bpb"] .line')
    for number in (0, 1):
        page.locator(".pick input").nth(number).check()
    page.click(".runs-chosen button:text-is('Hide')")
    expect(lines).to_have_count(8)
    page.click(".chip:has-text('2 hidden')")
    expect(lines).to_have_count(10)
    for number in (0, 1, 2):
        page.locator(".pick input").nth(number).check()
    page.click(".runs-chosen button:text-is('Only these')")
    expect(lines).to_have_count(3)


def test_a_quiet_page_asks_nothing_and_tells_what_came_when_somebody_returns(page: Page, server: Server) -> None:
    tell(server, "/v1/runs", {"project": "quiet", "id": "quiet-1"})
    tell(server, "/v1/runs/quiet-1/finish", {})
    own = page.context.new_page()
    own.clock.install()
    own.goto(f"{server.base_url}/p/quiet")
    own.wait_for_load_state("networkidle")
    asked: list[str] = []
    own.on("request", lambda request: asked.append(urlsplit(request.url).path))
    own.clock.fast_forward(600_000)
    own.wait_for_timeout(300)
    assert asked == [], "nobody is there"
    with own.expect_request_finished(lambda request: urlsplit(request.url).path == "/p/quiet/news"):
        own.mouse.move(300, 300)
    own.mouse.move(310, 310)
    own.evaluate("dispatchEvent(new Event('focus'))")
    own.wait_for_timeout(300)
    assert asked == ["/p/quiet/news"], "once, on return"
    expect(own.locator("#news")).to_have_count(0)
    tell(server, "/v1/runs", {"project": "quiet", "id": "quiet-2"})
    own.clock.fast_forward(60_000)
    own.evaluate("dispatchEvent(new Event('focus'))")
    expect(own.locator("#news")).to_have_text("1 new run · show")
    own.click("#news")
    expect(own.locator("#row-quiet-2")).to_be_visible()
    expect(own.locator("#news")).to_have_count(0)
    own.close()


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
    with page.expect_response(lambda answer: "/chart?" in answer.url):  # it lives, and what is typed stays
        page.fill("input[name=ymin]", "1")
        page.fill("input[name=ymax]", "2")
        page.locator("h1").click()
    page.wait_for_timeout(100)
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


def test_the_page_of_a_run_is_read_and_changed_in_place(page: Page, server: Server) -> None:
    runs = f"{server.base_url}/p/char-lm?q=double"
    page.goto(runs)
    page.locator(".runs .run-name").first.click()
    page.wait_for_url(re.compile("/runs/run_"))
    expect(page.locator("#receipt .badge b")).to_have_text("intact")
    page.click("#receipt .badge")
    expect(page.locator(".receipt-body")).to_contain_text("rank0")
    code = page.locator("#code")
    expect(code.locator(".commit")).to_have_text(re.compile("^[0-9a-f]{40}$"))
    added, removed = code.locator(".is-diff .gi").first, code.locator(".is-diff .gd").first
    colours = {one.evaluate("e => getComputedStyle(e).color") for one in (added, removed)}
    assert len(colours) == 2
    page.fill("[data-filters=config-list]", "depth")
    expect(page.locator("#config-list > div:visible dt")).to_have_text(["model.depth"])
    page.fill("[data-filters=config-list]", "")
    page.locator("#against").select_option(index=1)
    page.wait_for_url(re.compile("against=run_"))
    expect(page.locator("#config-list .is-changed del").first).to_be_visible()
    page.locator("h1").click()
    page.keyboard.press("e")
    page.fill("#edit-name", "twice-as-wide")
    page.fill("#edit-tags", "wide, keep")
    page.fill("#edit-notes", "Worth another look.")
    page.click(".edit-form button:text-is('Save')")
    expect(page.locator("h1")).to_have_text("twice-as-wide")
    expect(page.locator(".run-facts .tag")).to_have_text(["wide", "keep"])
    expect(page.locator(".notes")).to_have_text("Worth another look.")
    page.click(".run-tools button:text-is('Archive')")
    expect(page.locator(".notice")).to_contain_text("In the archive")
    page.click(".run-tools button:text-is('Take back')")
    expect(page.locator(".notice")).to_have_count(0)
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.click(".run-tools button:text-is('Delete')")
    assert "/runs/run_" in page.url, "it was only asked"
    page.click(".run-facts .tag:text-is('wide')")
    expect(page.locator(".runs tbody tr[data-run]")).to_have_count(1)


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
    order = phone.get_by_label("Sort by")
    order.select_option(label="val/bpb, lowest first")
    expect(phone).to_have_url(re.compile("sort=latest"))
    scores = phone.locator(".runs td[data-label='val/bpb']")
    expect(scores.first).to_have_class(re.compile("is-best"))
    found = [float(text) for text in scores.all_inner_texts() if text != "–"]
    assert found == sorted(found)
    assert len(found) > 5
    phone.close()


def test_where_there_is_room_the_heads_of_the_table_sort_alone(page: Page) -> None:
    expect(page.get_by_label("Sort by")).to_be_hidden()
    page.click(".runs thead a:text-is('val/bpb')")
    expect(page.locator(".runs td[data-label='val/bpb']").first).to_have_class(re.compile("is-best"))
