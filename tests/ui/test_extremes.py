"""Numbers from end to end of the floats, in every view of them: nothing that was logged breaks a page."""

import random
from typing import Any

import pytest

from tests.make import Caller
from tests.ui.conftest import Visitor

GREATEST = 1.7976931348623157e308
NUMBERS = [GREATEST, -GREATEST, 1e200, -1e200, 5e-324, -5e-324, 0.0, -0.0, 1e-300, 1.0, 1e16, 123456789.125]
ENDS = ["0", "-1", "1e308", "-1e308", "1e999", "nan", "5e-324", "1e-300", "words"]
CHOICES = {
    "x": ["relative", "time", "metric:a", "metric:b", "metric:missing", "metric:"],
    "y": ["log"],
    "xs": ["log"],
    "smooth": ["0.5", "0.99", "nan", "-1"],
    "clip": ["yes"],
    "zoom": ["0~10", "-1e308~1e308", "1e308~1.1e308", "5e-324~1e-323", "0~0", "~", "nan~1", "1e18~1e19"],
    "ymin": ENDS,
    "ymax": ENDS,
    "size": ["s", "l"],
    "metrics": ["a", "/[/", "/a|b/"],
    "by": ["config.lr", "config.deep.lr", "config.odd", "group", "status", "missing"],
    "sort": ["-latest.a", "config.lr", "-config.odd", "missing"],
    "q": ["latest.a > 1e308", "config.lr = 1e308", "("],
    "cols": ["latest.a,min.a,max.a,config.lr,config.odd"],
    "charts": ["all"],
}


@pytest.fixture
def diverged(ada: Caller) -> list[str]:
    """A project whose goal and eight runs went everywhere."""
    chance = random.Random(1)
    goal = {"name": "char-lm", "objective_metric": "a", "lower_is_better": True, "target": -GREATEST}
    assert ada.post("/v1/projects", json=goal).status_code == 201
    found = []
    for number, length in enumerate((1, 2, 3, 40, 40, 40, 300, 300)):
        odd = chance.choice(["a", None, True, [1, 2], 2**62])
        config = {"lr": chance.choice(NUMBERS), "deep": {"lr": chance.choice(NUMBERS)}, "odd": odd}
        run = ada.run(name=f"r{number}", config=config, group=f"g{number % 3}" if number else None)
        entries: list[dict[str, Any]] = [
            {
                "step": step * (1 if number % 2 else 10**12),
                "ts": 1e9 + step * chance.choice([0, 1e-3, 1e6]),
                "metrics": {key: chance.choice(NUMBERS) for key in "abcd"[: 1 + number % 4]},
            }
            for step in range(length)
        ]
        assert ada.ingest(run["id"], entries, first_seq=0).status_code == 200
        found.append(run["id"])
    return found


def test_no_view_of_extreme_numbers_breaks(ada_at_home: Visitor, diverged: list[str]) -> None:
    chance = random.Random(2)
    some, all_runs = f"/p/char-lm/runs/{diverged[7]}", ",".join(diverged)
    charts = ["/p/char-lm/chart", "/p/char-lm/values", "/p/char-lm/chart.svg", "/p/char-lm/chart.csv"]
    for _ in range(250):
        page = chance.choice([*charts, *charts, "/p/char-lm", "/p/char-lm/compare", some])
        chosen = {name: chance.choice(CHOICES[name]) for name in chance.sample(sorted(CHOICES), chance.randint(0, 6))}
        if page in charts:
            chosen |= {"key": chance.choice("abcd"), **chance.choice([{}, {"runs": all_runs}, {"run": diverged[7]}])}
        elif page.endswith("compare"):
            chosen["runs"] = all_runs
        answer = ada_at_home.get(page, is_htmx=chance.random() < 0.5, query_string=chosen)
        # A chart is not found where its run lacks the metric; a filter may be no filter.
        assert answer.status_code in {200, 404, 422}, (page, chosen, answer.text[:2000])
        for unheard in ("Mnan", "nan,", "inf,", '="nan', '="inf', '="-inf'):
            assert unheard not in answer.text.lower(), (page, chosen, unheard)


@pytest.mark.parametrize("ends", [{"ymax": "0.5"}, {"ymin": "90"}, {"ymin": "-5"}, {"ymin": "9", "ymax": "2"}])
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_ends_beyond_all_data_show_an_empty_range(
    ada: Caller, ada_at_home: Visitor, ends: dict[str, str], scale: str
) -> None:
    run = ada.run()
    ada.ingest(run["id"], [{"step": step, "metrics": {"loss": 2.0 + step}} for step in range(9)])
    answer = ada_at_home.get("/p/char-lm/chart", query_string={"key": "loss", "y": scale, **ends})
    assert answer.status_code == 200
