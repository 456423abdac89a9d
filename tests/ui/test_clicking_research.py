"""The Experiments and Artifacts lenses in a real browser: what hands do with the story and with what came out of it."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from arwx import config, create_app, members, organizations, people
from tests import showcase
from tests.server import Server

pytestmark = pytest.mark.browser
VIEWER = "vi@example.org"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the showcase, to which a viewer belongs too."""
    server = Server(tmp_path_factory.mktemp("server"), WEB_CONCURRENCY="1")
    app = create_app(config.from_environment({"ARWX_DATA_DIR": str(server.folder)}))
    showcase.fill(app, runs=18, steps=200)
    with app.extensions["arwx.db"].writing() as session:
        members.join(
            session,
            people.add_user(session, VIEWER, showcase.PASSWORD),
            organizations.named(session, "Ada's lab"),
            "viewer",
        )
    app.extensions["arwx.db"].engine.dispose()
    yield server.start()
    server.stop()


@pytest.fixture(scope="module")
def tell(server: Server) -> Any:
    """Send a body to the API as a program of Ada's would."""
    key = server.key("admin")

    def send(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(server.base_url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    return send


def at_home(browser: Browser, server: Server, email: str) -> Page:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.base_url)
    page = context.new_page()
    page.goto(f"{server.base_url}/login")
    page.fill("input[name=email]", email)
    page.fill("input[name=password]", showcase.PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_url(f"{server.base_url}/")
    return page


@pytest.fixture(scope="module")
def page(browser: Browser, server: Server) -> Iterator[Page]:
    page = at_home(browser, server, showcase.EMAIL)
    yield page
    page.context.close()


@pytest.fixture
def story(page: Page, server: Server) -> Page:
    """The Experiments lens."""
    page.mouse.move(0, 0)
    page.goto(f"{server.base_url}/p/char-lm/experiments")
    return page


@pytest.fixture
def model(page: Page, server: Server) -> Page:
    """The page of the artifact."""
    page.goto(f"{server.base_url}/p/char-lm/artifacts/model")
    return page


def opened(page: Page, number: int) -> None:
    page.click(f"#try-{number} .note a")
    expect(page.locator("h1")).to_contain_text(f"#{number}")


def point_at(page: Page, number: int) -> None:
    box = page.locator(f"#e{number}").evaluate(
        "e => { const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }"
    )
    page.mouse.move(*box)


def best(page: Page) -> str:
    return page.locator(".project-goal-line b").inner_text()


def test_a_point_of_the_picture_says_what_it_is_at_once_and_leads_to_its_experiment(story: Page) -> None:
    point_at(story, 2)
    expect(story.locator(".point-tip")).to_contain_text("#2 ")
    expect(story.locator("#try-2")).to_have_class(re.compile("is-pointed"))
    assert story.locator("#e2 title").count() == 0, "the browser's own words would come late, beside ours"
    story.mouse.move(5, 5)
    expect(story.locator(".point-tip")).to_be_hidden()
    point_at(story, 2)
    story.mouse.down()
    story.mouse.up()
    story.wait_for_url(re.compile("/experiments/exp_"))
    expect(story.locator("h1")).to_contain_text("#2")


def test_a_point_is_reached_by_keyboard(story: Page) -> None:
    story.locator("#e1").focus()
    expect(story.locator(".point-tip")).to_contain_text("#1 kept")
    story.keyboard.press("Enter")
    expect(story.locator("h1")).to_contain_text("#1")


def test_the_picture_is_one_stop_for_the_tab_key_and_the_arrows_walk_it(story: Page) -> None:
    stops = story.locator(".picture a[tabindex='0']")
    expect(stops).to_have_count(1)
    assert stops.get_attribute("data-kind") == "best"
    stops.focus()
    story.keyboard.press("Home")
    expect(story.locator("#e1")).to_be_focused()
    story.keyboard.press("ArrowRight")
    expect(story.locator("#e2")).to_be_focused()
    expect(story.locator(".point-tip")).to_contain_text("#2 ")
    expect(stops).to_have_count(1)
    story.keyboard.press("Tab")
    focused = story.locator(".progress-figure figcaption a").first
    expect(focused).to_be_focused()
    assert focused.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"


def test_a_row_under_the_pointer_lights_up_its_point(story: Page) -> None:
    story.locator("#try-3").hover()
    expect(story.locator("#e3")).to_have_class(re.compile("is-pointed"))
    story.locator("#try-1").hover()
    expect(story.locator("#e3")).not_to_have_class(re.compile("is-pointed"))


def test_the_table_tells_who_judged_what_and_when(story: Page) -> None:
    heads = ["No.", "Verdict", "Score", "Gain", "What was tried", "Judged by", "When"]
    expect(story.locator(".tries thead th")).to_have_text(heads)
    cells = story.locator("#try-1 > *").all_inner_texts()
    assert cells[0] == "#1"
    assert cells[1].strip() == "kept"
    assert float(cells[2]) > 1
    assert cells[3:5] == ["first", "baseline"]
    assert "key" in cells[5]
    assert "ago" in cells[6]


def test_verdicts_are_sifted_without_a_new_page(story: Page) -> None:
    story.evaluate("window.same = true")
    story.click(".choice a:text-is('dropped')")
    story.wait_for_url(re.compile("status=drop"))
    expect(story.locator("#try-1")).to_have_count(0)
    assert set(story.locator(".tries .verdict").all_inner_texts()) == {"dropped"}
    story.click(".choice a:text-is('all')")
    expect(story.locator("#try-1")).to_be_visible()
    assert story.evaluate("window.same") is True


def test_an_experiment_shows_its_diff_in_colours_and_what_changed_since_the_last_kept(story: Page) -> None:
    number = story.locator("tr.is-step").first.get_attribute("id")
    assert number is not None
    opened(story, int(number.removeprefix("try-")))
    expect(story.locator("#changed-title")).to_contain_text("Since the last kept, #")
    changed = story.locator("section[aria-labelledby=changed-title]")
    expect(changed.locator("details[open] pre").first).to_contain_text("+")
    added, removed = (changed.locator(f".is-diff {kind}").first for kind in (".gi", ".gd"))
    colours = {one.evaluate("e => getComputedStyle(e).color") for one in (added, removed)}
    assert len(colours) == 2
    story.click("#changed-title a")
    expect(story.locator("h1")).not_to_contain_text(number.removeprefix("try-"))


def test_the_tree_is_walked_and_a_file_read_and_saved(story: Page, tmp_path: Path) -> None:
    opened(story, 1)
    story.click(".files a:text-is('model/')")
    story.click(".files a:text-is('attention.py')")
    expect(story.locator("#opened pre")).to_have_text("heads = 1\n")
    assert story.locator("#opened .mi").evaluate("e => getComputedStyle(e).color") != story.locator(
        "#opened pre"
    ).evaluate("e => getComputedStyle(e).color")
    with story.expect_download() as saved:
        story.click("[aria-label='Download attention.py']")
    saved.value.save_as(tmp_path / "attention.py")
    assert (tmp_path / "attention.py").read_text() == "heads = 1\n"
    story.keyboard.press("Escape")
    expect(story.locator("#opened")).to_have_count(0)
    expect(story.locator(".crumbs")).to_contain_text("model")
    story.click(".crumbs a:text-is('files')")
    expect(story.locator(".files a:text-is('README.md')")).to_be_visible()


def test_the_curves_of_its_run_stand_beside_those_of_the_last_kept(story: Page) -> None:
    opened(story, 2)
    charts = story.locator(".curves .chart")
    expect(charts.first.locator(".line")).to_have_count(2)
    expect(charts.first.locator("h3")).to_have_text("val/bpb")
    expect(story.locator(".curves-key")).to_contain_text("the last kept, #1")
    story.click(".curves a:text-is('All of the run')")
    story.wait_for_url(re.compile("/runs/run_"))


def test_the_script_that_reproduces_it_is_copied_and_saved(story: Page, server: Server) -> None:
    opened(story, 1)
    button = story.locator("[aria-label='Copy: Reproduce in a shell']")
    button.click()
    expect(button).to_contain_text("Copied")
    copied = story.evaluate("navigator.clipboard.readText()")
    assert "curl -sf -H @- " in copied
    assert re.search(rf"{re.escape(server.base_url)}/v1/experiments/exp_\w+/reproduce \| sh\Z", copied)
    with story.expect_download() as saved:
        story.click("text=Download the script")
    assert Path(saved.value.path()).read_text().startswith("#!/bin/sh")


def test_what_was_tried_before_is_told_and_linked(page: Page, server: Server, tell: Any) -> None:
    session = tell("POST", "/v1/sessions", {"project": "char-lm", "tag": "again"})["id"]
    same = {"session_id": session, "commit": "c" * 40, "config": {"lr": 7}}
    first, again = (tell("POST", "/v1/experiments", {**same, "note": note}) for note in ("bold", "bold, again"))
    page.goto(f"{server.base_url}/p/char-lm/experiments/{again['id']}")
    expect(page.locator("section[aria-labelledby=prior-title]")).to_contain_text(f"#{first['index']} bold")
    page.click(f"section[aria-labelledby=prior-title] a:text-is('#{first['index']}')")
    expect(page.locator("h1")).to_contain_text(f"#{first['index']}")
    expect(page.locator("#prior-title")).to_have_count(0)


def test_a_verdict_is_given_changed_and_taken_back_and_the_frontier_follows(
    page: Page, server: Server, tell: Any
) -> None:
    lens = f"{server.base_url}/p/char-lm/experiments"
    session = tell("POST", "/v1/sessions", {"project": "char-lm"})["id"]
    made = tell("POST", "/v1/experiments", {"session_id": session, "note": "a leap"})
    page.goto(lens)
    before = best(page)
    opened(page, made["index"])
    page.click("text=Record the verdict")
    expect(page.locator("[role=alert]")).to_contain_text("score")
    page.fill("#score", "0.5")
    page.fill("#note", "clearly better")
    page.click("text=Record the verdict")
    expect(page.locator(".run-side .rows li")).to_have_count(1)
    expect(page.locator(".run-side .rows")).to_contain_text("clearly better")
    page.goto(lens)
    assert best(page) == "0.5"
    expect(page.locator(".picture .title.wide")).to_contain_text("0.5")
    opened(page, made["index"])
    page.click("text=Judge it anew")
    page.select_option("#status", "drop")
    page.fill("#note", "it was luck")
    page.click("text=Record the verdict")
    expect(page.locator(".run-side .rows li").first).to_contain_text("it was luck")
    page.goto(lens)
    assert best(page) == before
    opened(page, made["index"])
    page.click("text=Back to this")
    expect(page.locator(".run-side .rows li").first).to_contain_text("back to verdict 1 of 2")
    page.goto(lens)
    assert best(page) == "0.5"
    told = tell("GET", f"/v1/experiments/{made['id']}")["decisions"]
    assert [one["status"] for one in told] == ["keep", "drop", "keep"], "nothing is overwritten"


def test_the_lens_grows_while_the_story_goes_on(page: Page, server: Server, tell: Any) -> None:
    session = tell("POST", "/v1/sessions", {"project": "char-lm"})["id"]
    tell("POST", "/v1/experiments", {"session_id": session, "note": "while nobody looked"})
    page.goto(f"{server.base_url}/p/char-lm/experiments")
    made = tell("POST", "/v1/experiments", {"session_id": session, "note": "while it is looked at"})
    expect(page.locator(f"#try-{made['index']}")).to_contain_text("while it is looked at", timeout=15_000)
    expect(page.locator(f"#e{made['index']}")).to_be_attached()


def test_every_version_is_listed_and_the_winner_has_its_flag(page: Page, server: Server, tell: Any) -> None:
    page.goto(f"{server.base_url}/p/char-lm/artifacts")
    versions = tell("GET", "/v1/artifacts/model?project=char-lm")["versions"]
    rows = page.locator(".versions tbody tr")
    expect(rows).to_have_count(min(5, len(versions)))
    assert rows.locator(".ref.is-winner").count() == 1
    expect(rows.first.locator(".ref.is-winner svg")).to_be_visible()
    first = rows.first.locator("> *").all_inner_texts()
    assert first[0] == f"v{len(versions)}"
    assert float(first[2]) > 1
    assert first[3].endswith("KiB")
    rows.last.locator("th a").click()
    page.wait_for_url(re.compile(r"/artifacts/model\?version=v\d"))


def test_the_winner_is_moved_from_the_page_and_the_move_is_kept(model: Page) -> None:
    model.click(".versions th a:text-is('v1')")
    expect(model.locator("#files-title")).to_contain_text("v1")
    model.click("text=Move to v1")
    row = model.locator(".versions tbody tr", has=model.locator("th a:text-is('v1')"))
    expect(row.locator(".ref.is-winner")).to_be_visible()
    assert model.locator(".versions .ref.is-winner").count() == 1
    moves = model.locator(".run-side .rows li").first
    expect(moves).to_contain_text("to v1")
    expect(moves).to_contain_text("ada@example.org")
    model.fill("#ref", "latest")
    model.click("text=Move to v1")
    expect(model.locator("[role=alert]")).to_contain_text("reserved")


def test_a_viewer_sees_it_all_and_is_offered_nothing(browser: Browser, server: Server) -> None:
    page = at_home(browser, server, VIEWER)
    page.goto(f"{server.base_url}/p/char-lm/artifacts/model")
    expect(page.locator(".versions .ref.is-winner")).to_have_count(1)
    assert page.locator("text=Promote").count() == 0
    page.goto(f"{server.base_url}/p/char-lm/experiments")
    assert page.locator("text=Share this picture").count() == 0
    opened(page, 1)
    assert page.locator("text=Judge it").count() == page.locator("text=Back to this").count() == 0
    page.context.close()


def test_files_of_a_version_are_browsed_and_saved(model: Page, tmp_path: Path) -> None:
    model.click(".files a:text-is('tokenizer/')")
    model.click(".files a:text-is('vocab.txt')")
    expect(model.locator("#opened pre")).to_have_text("a b c")
    model.click("[aria-label='Close the file']")
    model.click(".crumbs a:text-is('files')")
    model.click(".files a:text-is('weights.bin')")
    expect(model.locator("#opened")).to_contain_text("No text")
    with model.expect_download() as saved:
        model.click("[aria-label='Download weights.bin']")
    assert Path(saved.value.path()).stat().st_size == 40_000


def test_lineage_is_followed_by_keyboard(model: Page) -> None:
    nodes = model.locator(".lineage-node")
    assert nodes.count() >= 6
    nodes.first.focus()
    seen = set()
    for _ in range(nodes.count()):
        seen.add(model.evaluate("document.activeElement.getAttribute('href')"))
        model.keyboard.press("Tab")
    assert len(seen) == nodes.count()
    node = model.locator(".lineage-node[href*='/runs/']").first
    node.focus()
    model.keyboard.press("Enter")
    model.wait_for_url(re.compile("/runs/run_"))


def test_two_versions_are_compared(model: Page) -> None:
    model.locator(".versions a:text-is('Compare')").last.click()
    expect(model.locator("#compared-title")).to_contain_text("From v1 to v")
    expect(model.locator("#compared")).to_contain_text("weights.bin")
