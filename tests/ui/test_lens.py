"""The Runs lens through its addresses: filter, order, groups, columns, sections, and what charts are asked for."""

import csv
import io
import json
import re

import pytest

from tests.make import Caller, point
from tests.ui.conftest import Visitor


@pytest.fixture
def lab(ada: Caller) -> Caller:
    """Three runs with two rates; `c` failed and has only one point."""
    ada.post("/v1/projects", json={"name": "char-lm", "objective_metric": "val/bpb"})
    for number, (run_id, lr) in enumerate((("a", 0.1), ("b", 0.1), ("c", 0.2))):
        ada.run(
            "char-lm", id=run_id, name=f"run {run_id}", config={"lr": lr, "same": 1}, tags=["sweep"] if number else []
        )
        steps = 20 if run_id != "c" else 1
        points = [
            point(s, **{"val/bpb": 2.0 - s / 20 + number, "train/bpb": 1.0 + number, "lr": lr, "system/cpu": 5.0})
            for s in range(steps)
        ]
        ada.ingest(run_id, points, first_seq=0)
    ada.post("/v1/runs/c/finish", json={"status": "failed"})
    return ada


def rows(page: str) -> list[str]:
    return re.findall(r'<tr id="row-([^"]+)"', page)


def lens(visitor: Visitor, query: str = "") -> str:
    answer = visitor.get(f"/p/char-lm{query}")
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["c", "b", "a"]),
        ("?q=config.lr+>+0.15", ["c"]),
        ("?q=run+a", ["a"]),
        ("?q=^run+[ab]$", ["b", "a"]),
        ("?status=failed", ["c"]),
        ("?tag=sweep", ["c", "b"]),
        ("?sort=latest.val/bpb", ["a", "b", "c"]),
        ("?sort=-latest.val/bpb&q=config.lr<0.2", ["b", "a"]),
        ("?q=latest.nothing+>+1", []),
    ],
)
def test_the_table_holds_what_is_asked_for(ada_at_home: Visitor, lab: Caller, query: str, found: list[str]) -> None:
    assert rows(lens(ada_at_home, query)) == found


def test_a_filter_that_cannot_be_read_shows_its_fault_in_place(ada_at_home: Visitor, lab: Caller) -> None:
    page = lens(ada_at_home, "?q=config.lr+>+oops.lr+and")
    assert rows(page) == []
    assert 'aria-invalid="true"' in page
    assert re.search(r"<mark>\s*</mark>|<mark>[^<]*</mark>", page)
    assert "The filter cannot be understood yet" in page
    assert 'value="config.lr &gt; oops.lr and"' in page, "what was typed stays"


def test_charts_of_a_filtered_table_draw_its_runs(ada_at_home: Visitor, lab: Caller) -> None:
    page = lens(ada_at_home, "?q=config.lr<0.15&hide=a")
    (source,) = re.findall(r'data-source="([^"]+key=val/bpb[^"]*)"', page)
    chart = ada_at_home.get(source.replace("&amp;", "&"), is_htmx=True).text
    assert re.findall(r'<path class="line [^"]+" data-run="([^"]+)"', chart) == ["b"]


def test_of_very_many_groups_the_head_says_how_many_there_are(ada_at_home: Visitor, lab: Caller) -> None:
    for number in range(102):  # and those that have no seed
        lab.run(config={"seed": number})
    page = ada_at_home.get("/p/char-lm?by=config.seed").text
    assert re.search(r"Groups <span[^>]*>100 of 103 · ", page)


def test_groups_show_their_mean_between_their_bounds(ada_at_home: Visitor, lab: Caller) -> None:
    page = lens(ada_at_home, "?by=config.lr")
    assert len(rows(page)) == 2
    assert "2 runs" in page
    assert re.search(r'title="mean of 2, from 1.05 to 2.05">1.55</td>', page)
    found = json.loads(ada_at_home.get("/p/char-lm/values?key=val/bpb&by=config.lr").data)
    ((means, number),) = [(s["ys"], s["n"]) for s in found["series"] if s["name"] == "0.1"]
    assert number == 2
    assert means == pytest.approx([2.5 - s / 20 for s in range(20)])
    chart = ada_at_home.get("/p/char-lm/chart?key=val/bpb&by=config.lr", is_htmx=True).text
    assert 'class="band' in chart
    assert "2 groups" in chart


def test_a_group_leads_to_its_runs(ada_at_home: Visitor, lab: Caller) -> None:
    page = lens(ada_at_home, "?by=config.lr")
    address = re.search(r'href="([^"]+)" data-view title="Show the runs of this group">0.1<', page)
    assert address is not None
    assert rows(ada_at_home.get(address[1].replace("&amp;", "&")).text) == ["b", "a"]


def test_columns_are_what_differs_unless_chosen(ada_at_home: Visitor, lab: Caller) -> None:
    heads = re.compile(r'<th scope="col" class="is-[^>]+title="([^"]+)"')
    assert heads.findall(lens(ada_at_home)) == [
        "Last value of val/bpb", "Last value of lr", "Last value of train/bpb", "Config: lr", "Started", "Ran",
    ]  # fmt: skip
    chosen = lens(ada_at_home, "?col=config.same&col=min.val/bpb&col=bogus")
    assert heads.findall(chosen) == ["Config: same", "Smallest value of val/bpb"]
    assert "cols=config.same%2Cmin.val%2Fbpb" in chosen, "the choice stays in the links"


def test_columns_are_of_metrics_that_most_runs_have(ada_at_home: Visitor, ada: Caller) -> None:
    for number in range(3):
        ada.ingest(ada.run("char-lm")["id"], [point(0, **{f"aside{number}": 1, "train/loss": 2})])
    heads = re.findall(r'title="Last value of ([^"]+)"', lens(ada_at_home))
    assert heads[0] == "train/loss"


def test_the_best_is_marked_and_a_column_sorts_both_ways(ada_at_home: Visitor, lab: Caller) -> None:
    page = lens(ada_at_home)
    assert re.findall(r'<tr id="row-(\w)"(?:(?!</tr>).)*?is-best', page, re.S) == ["a"]
    first = re.search(r'href="([^"]+sort=latest.val%2Fbpb)"', page)
    assert first is not None, "the goal is to minimize: the smallest comes first"
    again = ada_at_home.get(first[1]).text
    assert 'aria-sort="ascending"' in again
    assert "sort=-latest.val%2Fbpb" in again


def test_only_this_shows_one_line_and_all_rows(ada_at_home: Visitor, lab: Caller) -> None:
    page = lens(ada_at_home, "?only=b")
    assert rows(page) == ["c", "b", "a"]
    assert page.count('aria-checked="true"') == 1
    chart = ada_at_home.get("/p/char-lm/chart?key=val/bpb&only=b", is_htmx=True).text
    assert re.findall(r'<path class="line [^"]+" data-run="([^"]+)"', chart) == ["b"]


def test_sections_put_twins_beside_each_other_pins_first_and_system_last(ada_at_home: Visitor, lab: Caller) -> None:
    lab.ingest(
        "a", [point(30, **{"val/loss": 1.0, "train/loss": 1.0, "gpu/a": 1.0, "gpu/b": 1.0, "alone/x": 1})], first_seq=20
    )

    def charts(query: str = "") -> dict[str, list[str]]:
        parts = lens(ada_at_home, query).split("data-section=")[1:]
        return {part.split('"')[1]: re.findall(r'data-key-name="([^"]+)"', part) for part in parts}

    assert charts() == {
        "main": ["val/bpb", "alone/x", "lr"],
        "gpu": ["gpu/a", "gpu/b"],
        "train · val": ["train/bpb", "train/loss", "val/loss"],
        "system": ["system/cpu"],
    }
    assert list(charts("?pin=gpu/a,lr").items())[:2] == [("pinned", ["gpu/a", "lr"]), ("main", ["val/bpb", "alone/x"])]
    assert charts("?metrics=^val/(loss|acc)$") == {"main": ["val/loss"]}
    assert "The pattern has a ( without its )" in lens(ada_at_home, "?metrics=(loss")
    closed = lens(ada_at_home, "?closed=gpu&opened=system")
    states = dict(re.findall(r'data-section="([^"]+)" id="[^"]+" (open)?', closed))
    assert states == {"main": "open", "gpu": "", "train · val": "open", "system": "open"}


def test_system_metrics_are_over_time(ada_at_home: Visitor, lab: Caller) -> None:
    assert 'data-x="relative"' in ada_at_home.get("/p/char-lm/chart?key=system/cpu&x=relative", is_htmx=True).text
    assert re.search(r'data-source="[^"]+key=system/cpu&amp;x=relative', lens(ada_at_home))


def test_the_crosshair_knows_when_a_step_was(ada_at_home: Visitor, ada: Caller) -> None:
    ada.run("char-lm", id="one")
    ada.ingest("one", [point(s, ts=1_764_000_000.0 + s * 9, loss=1.0) for s in range(6)], first_seq=0)
    (series,) = json.loads(ada_at_home.get("/p/char-lm/values?key=loss").data)["series"]
    assert series["ts"] == [1_764_000_000 + s * 10 for s in range(6)]


def test_of_many_runs_the_crosshair_gets_seven_digits(ada_at_home: Visitor, ada: Caller) -> None:
    values = [1 / 3, -2e-9 / 3, 0.0, 123456789.125, 1e308, 5e-324]
    for number in range(11):
        ada.run("char-lm", id=f"r{number}")
        ada.ingest(f"r{number}", [point(s, loss=value) for s, value in enumerate(values)], first_seq=0)
    series = json.loads(ada_at_home.get("/p/char-lm/values?key=loss").data)["series"]
    assert [f"{found:.7g}" for found in series[0]["ys"]] == [f"{value:.7g}" for value in values]
    assert len(repr(series[0]["ys"][0])) == 9


def test_a_zoom_reads_the_window_more_closely(ada_at_home: Visitor, ada: Caller) -> None:
    ada.run("char-lm", id="long")
    points = [point(s, loss=float(s % 7)) for s in range(6000)]
    for first in range(0, 6000, 2000):
        ada.ingest("long", points[first : first + 2000], first_seq=first)
    ada.post("/v1/runs/long/finish", json={})

    def values(query: str) -> tuple[list[float], list[float]]:
        (series,) = json.loads(ada_at_home.get(f"/p/char-lm/values?key=loss{query}").data)["series"]
        return series["xs"], series["ys"]

    assert len(values("")[0]) < 600
    assert values("&zoom=1000~1200")[0] == list(range(1000, 1201))
    xs, ys = values("&x=relative&zoom=1000~1200")
    assert (xs, ys) == ([float(s) for s in range(1000, 1201)], [float(s % 7) for s in range(1000, 1201)])
    page = ada_at_home.get("/p/char-lm/chart?key=loss&zoom=1000~1200", is_htmx=True).text
    assert 'data-x-low="1000.0" data-x-high="1200.0"' in page
    assert "No point between" in ada_at_home.get("/p/char-lm/chart?key=loss&zoom=9000~9100", is_htmx=True).text


def test_a_metric_is_drawn_over_another(ada_at_home: Visitor, ada: Caller) -> None:
    ada.run("char-lm", id="one")
    entries = [
        {"step": s, "metrics": {"loss": 10.0 - s, **({"tokens": s * 100.0} if s % 2 == 0 else {})}} for s in range(9)
    ]
    ada.ingest("one", entries, first_seq=0)
    (series,) = json.loads(ada_at_home.get("/p/char-lm/values?key=loss&x=metric:tokens").data)["series"]
    assert series["xs"] == [s * 100.0 for s in range(9)], "between two points of the other, in a straight line"
    assert series["ys"] == [10.0 - s for s in range(9)]
    nothing = ada_at_home.get("/p/char-lm/chart?key=loss&x=metric:absent", is_htmx=True).text
    assert "No run has loss together with absent" in nothing


def test_smoothing_is_unbiased_and_keeps_the_raw_line(ada_at_home: Visitor, ada: Caller) -> None:
    ada.run("char-lm", id="one")
    ada.ingest("one", [point(s, loss=v) for s, v in enumerate([1.0, 3.0, 1.0, 3.0])], first_seq=0)
    (series,) = json.loads(ada_at_home.get("/p/char-lm/values?key=loss&smooth=0.5").data)["series"]
    assert series["ys"] == [1.0, 3.0, 1.0, 3.0]
    assert series["smooth"] == pytest.approx([1.0, 3.5 / 1.5, 2.75 / 1.75, 4.375 / 1.875])
    chart = ada_at_home.get("/p/char-lm/chart?key=loss&smooth=0.5", is_htmx=True).text
    assert chart.count('class="line is-raw') == 1
    flat = json.loads(ada_at_home.get("/p/char-lm/values?key=loss&smooth=0.99").data)["series"][0]["smooth"]
    assert flat[0] == 1.0, "the first value is itself, whatever the weight"


def test_a_mean_of_smoothed_runs_is_the_smoothed_mean(ada_at_home: Visitor, lab: Caller) -> None:
    found = json.loads(ada_at_home.get("/p/char-lm/values?key=val/bpb&by=config.lr&smooth=0.7").data)["series"]
    one = json.loads(ada_at_home.get("/p/char-lm/values?key=val/bpb&run=a&smooth=0.7").data)["series"][0]
    (mean,) = [series for series in found if series["name"] == "0.1"]
    assert mean["ys"] == pytest.approx([2.5 - s / 20 for s in range(20)])
    assert mean["smooth"] == pytest.approx([value + 0.5 for value in one["smooth"]])


def test_extremes_are_clipped_and_counted(ada_at_home: Visitor, ada: Caller) -> None:
    ada.run("char-lm", id="one")
    ada.ingest("one", [point(s, loss=1e6 if s == 50 else 1.0 + s % 2) for s in range(100)], first_seq=0)
    assert "1 outside" in ada_at_home.get("/p/char-lm/chart?key=loss&clip=yes", is_htmx=True).text
    assert "outside" not in ada_at_home.get("/p/char-lm/chart?key=loss", is_htmx=True).text
    assert "outside" in ada_at_home.get("/p/char-lm/chart?key=loss&ymax=1.5", is_htmx=True).text


def test_values_that_are_not_finite_are_marked_from_the_first_to_the_last(ada_at_home: Visitor, ada: Caller) -> None:
    ada.run("char-lm", id="one", name="<one>")
    entries = [{"step": s, "ts": 1e9 + 2 * s, "metrics": {"loss": 1.0, "tokens": s * 10.0}} for s in range(10)]
    for step, lost in ((4, "NaN"), (6, "Infinity"), (11, "-Infinity")):
        entries[step:] = [{"step": step, "ts": 1e9 + 2 * step, "metrics": {"loss": lost}}, *entries[step + 1 :]]
    ada.ingest("one", entries, first_seq=0)
    places = {}
    for x in ("step", "relative", "metric:tokens"):
        chart = ada_at_home.get(f"/p/char-lm/chart?key=loss&x={x}", is_htmx=True).text
        assert "&lt;one&gt;: 3 values NaN or infinite, between steps 4 and 11" in chart
        assert "3 NaN or ∞" in chart
        hole = chart[chart.index('<g class="hole') : chart.index('<g class="ends"')]
        places[x] = re.findall(r'<svg x="([\d.]+)%"', hole)
        assert "<line x1=" in hole
    assert places["step"] == [f"{4 / 11 * 100:.2f}", "100.0"]
    assert places["relative"] == places["metric:tokens"] == [f"{4 / 9 * 100:.2f}", "100.0"]
    assert ada_at_home.get("/p/char-lm/chart.svg?key=loss").text.count("between steps 4 and 11</title>") == 2


def test_a_metric_that_was_never_finite_says_so(ada_at_home: Visitor, ada: Caller) -> None:
    ada.run("char-lm", id="one")
    ada.ingest("one", [{"step": s, "metrics": {"loss": "NaN", "lr": 1}} for s in range(3)], first_seq=0)
    chart = ada_at_home.get("/p/char-lm/chart?key=loss", is_htmx=True).text
    assert "No number to draw: all 3 values were NaN or infinite" in chart


def test_all_points_come_as_csv(ada_at_home: Visitor, lab: Caller, mallory_at_home: Visitor) -> None:
    lab.patch("/v1/runs/b", json={"name": "=cmd()"})
    answer = ada_at_home.get("/p/char-lm/chart.csv?key=val/bpb")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="val-bpb.csv"'
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(lines) == 41
    assert {line["run"] for line in lines} == {"run a", "'=cmd()", "run c"}
    assert [float(line["value"]) for line in lines if line["run_id"] == "a"] == [2.0 - s / 20 for s in range(20)]
    assert mallory_at_home.get("/p/char-lm/chart.csv?key=val/bpb").status_code == 404
    told = ada_at_home.get("/settings/audit?kind=export").text
    assert told.count("exported <b>val/bpb of char-lm</b>") == 1, (
        "taking points out is something that owners can look up"
    )


def test_the_picture_stands_alone(ada_at_home: Visitor, lab: Caller) -> None:
    import xml.etree.ElementTree as ET

    lab.patch("/v1/runs/a", json={"name": "<script>&"})
    answer = ada_at_home.get("/p/char-lm/chart.svg?key=val/bpb")
    assert answer.mimetype == "image/svg+xml"
    root = ET.fromstring(answer.data)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in answer.text
    assert "<script>" not in answer.text
    assert "<script>&" in "".join(root.itertext())


def test_a_chart_has_a_page_of_its_own(ada_at_home: Visitor, lab: Caller) -> None:
    page = ada_at_home.get("/p/char-lm/chart?key=val/bpb&ymin=0&ymax=1").text
    assert "<html" in page
    assert 'name="ymin" value="0"' in page
    assert page.count('<tr data-run="') == 3
    assert re.search(r'href="[^"]*\?key=val%2Fbpb[^"]*y=log', page), "its links stay with the chart"


def test_runs_compare_beside_each_other(ada_at_home: Visitor, lab: Caller) -> None:
    page = ada_at_home.get("/p/char-lm/compare?run=a&run=c").text
    differs = page[: page.index("Last values")]
    assert re.findall(r'<th scope="row" class="mono clip" title="([^"]+)"', differs) == ["lr"]
    assert "1 config entry is the same in all" in page
    best = re.search(r'title="val/bpb">.*?</tr>', page, re.S)
    assert best is not None
    assert best[0].count("is-best") == 1
    assert ada_at_home.get("/p/char-lm/compare?runs=a,c").text.count('data-key-name="') == page.count('data-key-name="')
    for wrong in ("", "?runs=a", "?" + "&".join(f"run=r{n}" for n in range(21))):
        assert "Choose from two to 20 runs" in ada_at_home.get(f"/p/char-lm/compare{wrong}").text
    assert ada_at_home.get("/p/char-lm/compare?runs=a,nothing").status_code == 404


def test_many_filtered_runs_cost_the_queries_of_one(ada_at_home: Visitor, ada: Caller, queries: list[str]) -> None:
    def cost(path: str) -> int:
        queries.clear()
        assert ada_at_home.get(path, is_htmx=True).status_code == 200
        return len(queries)

    ada.run("char-lm", id="r0", config={"lr": 0})
    ada.ingest("r0", [point(0)], first_seq=0)
    paths = [
        "/p/char-lm", "/p/char-lm?q=config.lr<100&sort=latest.loss", "/p/char-lm?by=config.lr",
        "/p/char-lm/chart?key=loss", "/p/char-lm/chart?key=loss&by=config.lr",
    ]  # fmt: skip
    for_one = [cost(path) for path in paths]
    for number in range(1, 50):
        ada.run("char-lm", id=f"r{number}", config={"lr": number})
        ada.ingest(f"r{number}", [point(0)], first_seq=0)
    assert [cost(path) for path in paths] == for_one
