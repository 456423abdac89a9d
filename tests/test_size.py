"""A project of many runs and many metrics stays usable: answers of a bounded size, charts only where somebody looks.

Sixty runs, with ARWX_FULL=1 a thousand; each with 100 metrics.
"""

import html
import os
import re

import pytest

from arwx import clock, points
from arwx.points import Batch, Entry, RunKey
from tests.make import Caller, Maker
from tests.ui.conftest import Visitor
from tests.ui.conftest import ada_at_home as ada_at_home  # a fixture

RUNS = 1_000 if os.environ.get("ARWX_FULL") == "1" else 60
KEYS = [f"block{n:02}/attention/{what}" for n in range(25) for what in ("bias", "grad", "norm", "rms")]
POINTS = 90


@pytest.fixture
def big(make: Maker, ada: Caller) -> list[str]:
    """The ids of its runs, oldest first."""
    entries = [
        Entry(step=step, ts=1.7e9 + step, metrics={key: at + 1 / (step + 1) for at, key in enumerate(KEYS)})
        for step in range(POINTS)
    ]
    run_ids = [ada.run(project="big")["id"] for _ in range(RUNS)]
    with make.database.writing(ada.org_id) as db:
        for run_id in run_ids:
            points.append(db, RunKey(ada.org_id, run_id), Batch("w", "e", 0, entries), clock.now())
    return run_ids


def test_charts_of_all_are_bounded_and_say_what_is_left_out(ada: Caller, big: list[str]) -> None:
    answer = ada.get("/v1/projects/big/charts")
    shown, series = answer.json["runs"], answer.json["series"]
    assert [run["id"] for run in shown] == big[:-51:-1]  # the newest fifty
    assert sum(len(line["steps"]) for lines in series.values() for line in lines) == 396_000
    assert [*series, *answer.json["left_out"]] == KEYS
    assert all(len(lines) == 50 and all(line["count"] == POINTS for line in lines) for lines in series.values())
    assert len(answer.data) < 32 * 2**20
    left_out = ",".join(answer.json["left_out"])
    assert list(ada.get(f"/v1/projects/big/charts?keys={left_out}").json["series"]) == answer.json["left_out"]
    fewer = ada.get(f"/v1/projects/big/charts?samples=20&keys={','.join(KEYS)}").json
    assert (list(fewer["series"]), fewer["left_out"]) == (KEYS, [])


def test_charts_that_did_not_change_touch_no_points(ada: Caller, big: list[str], queries: list[str]) -> None:
    named = big[:200]  # as many as an address holds
    path = f"/v1/projects/big/charts?samples=5&runs={','.join(named)}"
    answer = ada.get(path)
    assert {len(lines) for lines in answer.json["series"].values()} == {len(named)}
    assert any("FROM chunks" in query for query in queries)
    queries.clear()
    again = ada.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert not any(table in query for query in queries for table in ("chunks", "ledger"))
    assert len(queries) < 10


def test_the_page_draws_a_chart_only_where_somebody_looks(
    ada: Caller, ada_at_home: Visitor, big: list[str], queries: list[str]
) -> None:
    page = ada_at_home.get("/p/big").text
    assert len(queries) < 20
    assert len(page) < 500_000
    sources = dict(re.findall(r'<figure [^>]*data-key-name="([^"]+)"[^>]*hx-get="([^"]+)"[^>]*intersect once', page))
    assert len(sources) >= 90
    assert set(sources) < set(KEYS)
    drawn = ada_at_home.get(html.unescape(sources["block24/attention/rms"]), is_htmx=True)
    assert "<path" in drawn.text
    again = ada_at_home.get(
        html.unescape(sources["block24/attention/rms"]), is_htmx=True, headers={"If-None-Match": drawn.headers["ETag"]}
    )
    assert (again.status_code, again.data) == (304, b"")


def test_lists_come_in_pages_with_the_latest_of_every_metric(ada: Caller, big: list[str], queries: list[str]) -> None:
    page = ada.get("/v1/projects/big/runs?limit=50").json
    assert len(queries) < 10
    assert [set(run["latest"]) for run in page["items"]] == [set(KEYS)] * 50
    assert page["next"]
