"""The Runs lens, the page of a run, charts and receipts: what they say and to whom."""

import json
import re

import pytest
from flask import Flask

from tests.make import Caller, point
from tests.ui.conftest import Visitor


def logged(caller: Caller, project: str = "char-lm", steps: int = 20, **fields: object) -> str:
    """A run with a few points of three metrics; answers its id."""
    run_id: str = caller.run(project, **fields)["id"]
    points = [
        {
            "step": s,
            "ts": 1_764_000_000.0 + s,
            "metrics": {"loss": 2.0 / (s + 1), "val/bpb": 3.0 - s / 100, "system/cpu": 50},
        }
        for s in range(steps)
    ]
    assert caller.ingest(run_id, points, first_seq=0).status_code == 200
    return run_id


def test_without_a_project_the_page_teaches_how_to_begin_with_the_visitors_own_address(ada_at_home: Visitor) -> None:
    page = ada_at_home.get("/", headers={"Host": "localhost:8090"}).text
    assert "No project yet" in page
    assert "--find-links http://localhost:8090/sdk/" in page
    assert "export ARWANDB_BASE_URL=http://localhost:8090" in page


def test_a_project_is_listed_with_its_goal_and_its_runs(ada_at_home: Visitor, ada: Caller) -> None:
    goal = {"name": "char-lm", "objective_metric": "val/bpb", "lower_is_better": True, "target": 2.45}
    ada.post("/v1/projects", json=goal)
    logged(ada)
    page = re.sub(r"<[^>]+>", "", ada_at_home.get("/").text)
    assert "minimize val/bpb to 2.45" in page
    assert "1 run\n" in page
    assert "1 running" in page


def test_a_project_without_runs_shows_the_lines_with_its_own_name(ada_at_home: Visitor, ada: Caller) -> None:
    ada.post("/v1/projects", json={"name": "my <i>lm</i>".replace("/", "-")})
    page = ada_at_home.get("/p/my <i>lm<-i>").text
    assert "No run yet" in page
    assert "project=&#34;my &lt;i&gt;lm&lt;-i&gt;&#34;" in page
    assert "<i>" not in page


def test_the_lens_shows_runs_and_a_drawn_chart_without_script(ada_at_home: Visitor, ada: Caller) -> None:
    run_id = logged(ada, name="baseline", config={"lr": 3e-4, "optimizer": {"name": "adamw"}})
    page = ada_at_home.get("/p/char-lm").text
    assert "baseline" in page
    assert "optimizer.name" in page
    charts = re.findall(r'<figure class="chart panel" .*?</figure>', page, re.S)
    assert len(charts) == 2  # loss and val/bpb; System is closed and comes when it is opened
    assert re.search(rf'<path class="line hue-\d" data-run="{run_id}" d="M [\d l-]+"', charts[0])
    assert "<title" in charts[0]
    assert "loss over step, 1 run. baseline: last 0.1, lowest 0.1, highest 2, 20 points." in charts[0]
    assert 'hx-trigger="intersect once"' in page[page.index('data-section="system"') :]


def test_the_objective_comes_first(ada_at_home: Visitor, ada: Caller) -> None:
    ada.post("/v1/projects", json={"name": "char-lm", "objective_metric": "val/bpb"})
    logged(ada)
    assert re.findall(r'<h3 class="mono"[^>]*>([^<]+)', ada_at_home.get("/p/char-lm").text) == [
        "val/bpb",
        "loss",
        "system/cpu",
    ]


def test_pages_ask_again_while_a_run_lives_and_stop_when_all_have_ended(ada_at_home: Visitor, ada: Caller) -> None:
    run_id = logged(ada)
    for path in ("/p/char-lm", f"/p/char-lm/runs/{run_id}", "/p/char-lm/chart?key=loss"):
        assert 'hx-trigger="every 5s"' in ada_at_home.get(path, is_htmx=True).text, path
    ada.post(f"/v1/runs/{run_id}/finish", json={})
    for path in ("/", "/p/char-lm", f"/p/char-lm/runs/{run_id}", "/p/char-lm/chart?key=loss"):
        assert "every 5s" not in ada_at_home.get(path, is_htmx=True).text, path


def test_a_page_that_asks_for_itself_gets_its_inside_without_drawings(ada_at_home: Visitor, ada: Caller) -> None:
    run_id = logged(ada)
    for path in ("/p/char-lm", f"/p/char-lm/runs/{run_id}"):
        answer = ada_at_home.get(path, is_htmx=True)
        assert answer.text.lstrip().startswith("<div")
        assert '<path class="line' not in answer.text
        assert "HX-Request" in answer.headers["Vary"]
        back = ada_at_home.get(path, is_htmx=True, headers={"HX-History-Restore-Request": "true"})
        assert "<html" in back.text


def test_an_unchanged_chart_is_a_304(ada_at_home: Visitor, ada: Caller) -> None:
    run_id = logged(ada)
    path = "/p/char-lm/chart?key=loss"
    first = ada_at_home.get(path, is_htmx=True, headers={"Accept-Encoding": "gzip"})
    same = ada_at_home.get(
        path, is_htmx=True, headers={"If-None-Match": first.headers["ETag"], "Accept-Encoding": "gzip"}
    )
    assert (same.status_code, same.data) == (304, b"")
    ada.ingest(run_id, [point(20, loss=0.01)], first_seq=20)
    other = ada_at_home.get(
        path, is_htmx=True, headers={"If-None-Match": first.headers["ETag"], "Accept-Encoding": "gzip"}
    )
    assert other.status_code == 200


def test_hiding_a_run_takes_its_line_away_and_leaves_the_colours(ada_at_home: Visitor, ada: Caller) -> None:
    ids = [logged(ada) for _ in range(3)]

    def looks(path: str) -> dict[str, str]:
        chart = ada_at_home.get(path).text
        return {run: look for look, run in re.findall(r'class="line ([^"]+)" data-run="([^"]+)"', chart)}

    all_shown = looks("/p/char-lm/chart?key=loss")
    assert set(all_shown) == set(ids)
    assert len(set(all_shown.values())) == 3
    one_hidden = looks(f"/p/char-lm/chart?key=loss&hide={ids[0]}")
    assert one_hidden == {run: look for run, look in all_shown.items() if run != ids[0]}
    page = ada_at_home.get(f"/p/char-lm?hide={','.join(ids)}").text
    assert "All runs are hidden" in page
    assert len(re.findall(r'class="eye [^>]+aria-checked="false"', page)) == 3


def test_the_values_behind_a_chart_are_exact(ada_at_home: Visitor, ada: Caller) -> None:
    run_id = ada.run("char-lm", name="exact")["id"]
    values = [0.1 + 0.2, 1 / 3, 1e-300]
    ada.ingest(run_id, [point(step, loss=value) for step, value in enumerate(values)], first_seq=0)
    (series,) = json.loads(ada_at_home.get("/p/char-lm/values?key=loss").data)["series"]
    assert (series["name"], series["xs"], series["ys"]) == ("exact", [0, 1, 2], values)


def test_values_that_were_not_finite_are_told(ada_at_home: Visitor, ada: Caller) -> None:
    run_id = ada.run("char-lm")["id"]
    ada.ingest(run_id, [point(0, loss=1.0), {"step": 1, "metrics": {}, "nonfinite": ["loss", "grad"]}], first_seq=0)
    assert "1 NaN" in ada_at_home.get("/p/char-lm/chart?key=loss").text
    assert "No number to draw" in ada_at_home.get("/p/char-lm/chart?key=grad").text


def test_a_log_axis_leaves_out_and_says_so(ada_at_home: Visitor, ada: Caller) -> None:
    run_id = ada.run("char-lm")["id"]
    ada.ingest(run_id, [point(step, loss=step - 1.0) for step in range(5)], first_seq=0)
    assert "2 ≤ 0 left out" in ada_at_home.get("/p/char-lm/chart?key=loss&y=log").text


def test_the_run_page_tells_config_summary_and_host(ada_at_home: Visitor, ada: Caller) -> None:
    run_id = logged(ada, name="baseline", config={"lr": 3e-4}, host={"hostname": "gpu-box"}, tags=["first"], notes="hm")
    ada.post(f"/v1/runs/{run_id}/finish", json={"status": "failed", "summary": {"best": 0.25}, "exit_code": 3})
    page = re.sub(r"<[^>]+>", " ", ada_at_home.get(f"/p/char-lm/runs/{run_id}").text)
    for said in ("failed", "exit code 3", "on gpu-box", "first", "hm", "3e-4", "best", "0.25", "Integrity receipt"):
        assert said in page, said


def test_the_receipt_says_intact_and_can_say_the_opposite(ada_at_home: Visitor, ada: Caller) -> None:
    run_id = logged(ada)
    path = f"/p/char-lm/runs/{run_id}/receipt"
    said = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", ada_at_home.get(path, is_htmx=True).text))
    assert "intact 60 points stored 0 resent 0 lost" in said
    ada.ingest(run_id, [point(99)], first_seq=30)  # entries 20 to 29 never came
    broken = ada_at_home.get(path).text
    assert "not intact" in broken
    assert "20–29" in broken
    assert "<html" in broken


def test_what_another_organization_owns_does_not_exist(ada: Caller, mallory_at_home: Visitor) -> None:
    run_id = logged(ada)

    def told(path: str) -> tuple[int, str]:
        answer = mallory_at_home.get(path)
        return answer.status_code, re.sub(r'value="[^"]+"', "", answer.text)  # without the token of the form

    for path in (
        "/p/char-lm",
        "/p/char-lm/chart?key=loss",
        "/p/char-lm/values?key=loss",
        f"/p/char-lm/runs/{run_id}",
        f"/p/char-lm/runs/{run_id}/receipt",
    ):
        assert told(path) == told("/p/nothing"), path
    assert told("/p/char-lm")[0] == 404
    assert "/p/char-lm" not in mallory_at_home.get("/").text


def test_a_run_is_not_found_under_another_project(ada_at_home: Visitor, ada: Caller) -> None:
    run_id = logged(ada)
    logged(ada, "other")
    assert ada_at_home.get(f"/p/other/runs/{run_id}").status_code == 404
    assert ada_at_home.get(f"/p/other/chart?key=loss&run={run_id}").status_code == 404


@pytest.mark.parametrize("path", ["/nothing", "/p/nothing", "/p/char-lm/chart?key=nothing", "/p/char-lm/runs/nothing"])
def test_what_is_not_there_is_told_in_plain_words(ada_at_home: Visitor, ada: Caller, path: str) -> None:
    logged(ada)
    answer = ada_at_home.get(path)
    assert answer.status_code == 404
    assert "There is nothing here" in answer.text
    assert "All projects" in answer.text


def test_names_from_outside_cannot_become_markup(ada_at_home: Visitor, ada: Caller) -> None:
    evil = '"><script>alert(1)</script>'
    run_id = ada.run("char-lm", name=evil, config={evil: evil}, tags=[evil], notes=evil, host={evil: evil})["id"]
    ada.ingest(run_id, [{"step": 0, "metrics": {evil: 1.0}}], first_seq=0)
    for path in ("/p/char-lm", f"/p/char-lm/runs/{run_id}"):
        page = ada_at_home.get(path).text
        assert "alert(1)" in page
        assert "<script>" not in page


def test_no_page_carries_script_or_style_of_its_own(ada_at_home: Visitor, ada: Caller) -> None:
    run_id = logged(ada)
    for path in ("/", "/p/char-lm", f"/p/char-lm/runs/{run_id}", "/settings", "/nothing"):
        answer = ada_at_home.get(path)
        assert not re.search(r"<style|<script(?! src=)|\sstyle=|\son[a-z]+=", answer.text), path
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "script-src 'self'" in policy


def test_a_page_of_runs_costs_the_same_queries_for_one_run_and_for_thirty(
    ada_at_home: Visitor, ada: Caller, queries: list[str]
) -> None:
    logged(ada)
    ada_at_home.get("/p/char-lm")
    queries.clear()
    ada_at_home.get("/p/char-lm", is_htmx=True)
    for_one = len(queries)
    for _ in range(29):
        logged(ada, steps=2)
    queries.clear()
    ada_at_home.get("/p/char-lm", is_htmx=True)
    assert len(queries) == for_one


def test_older_runs_are_on_the_next_page(ada_at_home: Visitor, ada: Caller) -> None:
    names = [f"run number {n}" for n in range(52)]
    for name in names:
        ada.run("char-lm", name=name)
    page = ada_at_home.get("/p/char-lm").text
    following = re.search(r'href="([^"]+cursor=[^"]+)" data-view>Older runs', page)
    assert following is not None
    older = ada_at_home.get(following[1].replace("&amp;", "&")).text
    shown = [name for name in names if f">{name}<" in page]
    assert sorted([*shown, *(name for name in names if f">{name}<" in older)]) == sorted(names)


def test_static_files_whose_address_names_their_content_are_kept(app: Flask, stranger: Visitor) -> None:
    page = stranger.get("/login").text
    address = re.search(r'href="(/static/arwx\.css\?v=[0-9a-f]+)"', page)
    assert address is not None
    assert "immutable" in stranger.get(address[1]).headers["Cache-Control"]
    assert "immutable" not in stranger.get("/static/arwx.css").headers["Cache-Control"]
