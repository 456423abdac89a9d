"""The condition `q` and the order `sort` of a list of runs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwx import criteria
from arwx.errors import Invalid
from tests.make import Caller, point


@pytest.fixture
def lab(ada: Caller) -> Caller:
    """Three runs: `hot` with a high rate and a bad loss, `cold`, and `bare` without config and points."""
    for name, lr, losses in (("hot", 0.1, [2.0, 3.0, 2.5]), ("cold", 1e-4, [2.0, 1.0, 1.5])):
        config = {"lr": lr, "opt": {"name": "adamw", "nesterov": name == "hot"}, "a.b": 7}
        run = ada.run("char-lm", id=name, name=f"{name} one", config=config, tags=["sweep", name], group="g1")
        ada.ingest(run["id"], [point(i, **{"loss": v, "val/top 1": v / 4}) for i, v in enumerate(losses)], first_seq=0)
    ada.run("char-lm", id="bare", name="bare")
    return ada


def asked(caller: Caller, **query: Any) -> list[str]:
    answer = caller.get("/v1/projects/char-lm/runs", query_string=query)
    assert answer.status_code == 200, answer.text
    return [run["id"] for run in answer.json["items"]]


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("config.lr > 1e-3", ["hot"]),
        ("config.lr > 1e-5 and latest.loss < 2", ["cold"]),
        ("latest.loss = 2.5 or latest.loss == 1.5", ["cold", "hot"]),
        ("min.loss <= 1 or max.loss >= 3", ["cold", "hot"]),
        ("not config.lr", ["bare"]),
        ("config.lr = null", ["bare"]),
        ("config.lr != 0.1", ["cold"]),
        ("config.opt.name = adamw and config.opt.nesterov = true", ["hot"]),
        ("config.a.b = 7 and name ~ 'HOT'", ["hot"]),
        ("latest.`val/top 1` < 0.5", ["cold"]),
        ("name ~ '^(hot|bare)'", ["bare", "hot"]),
        ("name !~ one", ["bare"]),
        ("tags = sweep and tag != hot", ["cold"]),
        ("id in ('hot', \"bare\")", ["bare", "hot"]),
        ("id not in (hot, bare)", ["cold"]),
        ("status = running and not (group = g1)", ["bare"]),
        ("ran < 2h and age < 1d and created > '2020-01-01'", ["bare", "cold", "hot"]),
        ("created < 2020", []),
        ("created > 2020-01-31", ["bare", "cold", "hot"]),
        ("created > 2020-01-31T08:30:00Z and finished = null", ["bare", "cold", "hot"]),
        ("created<2020-01-31", []),
        (
            "created_at > 2020-01-31 and started_at > 2020-01-31 and last_seen_at > 2020-01-31 and not finished_at",
            ["bare", "cold", "hot"],
        ),
        ("exit_code = 0 or experiment_id = x or diff_sha = y", []),
        ("config.opt.name < 5", []),
    ],
)
def test_a_condition_finds_what_it_says(lab: Caller, q: str, found: list[str]) -> None:
    assert asked(lab, q=q) == found


@pytest.mark.parametrize(
    ("q", "position", "said"),
    [
        ("loss < 2", 0, "loss is not a field"),
        ("latest.loss <", 13, "a value after <"),
        ("latest.loss < 2 latest.lr > 1", 16, "join conditions with and, or"),
        ("(latest.loss < 2", 16, ") is expected"),
        ("config.lr > ", 12, "a value after >"),
        ("config.lr > latest.loss", 12, "a value is expected"),
        ("name ~ '(a'", 8, "a ( without its )"),
        ("name = 'open", 7, "does not end"),
        ("name = a; drop", 8, "; is not understood"),
        ("__class__ = 1", 0, "is not a field"),
        ("name.__class__ = 1", 0, "is not a field"),
        ("and and and", 0, "a field is expected"),
        ("   ", 0, "is empty"),
        ("(" * 60 + "name" + ")" * 60, 24, "nested too deeply"),
        (" and ".join(["name"] * 150), 1000, "at most 1000"),
        (" and ".join(["name"] * 600), 1000, "at most 1000"),
    ],
)
def test_a_fault_is_a_422_with_its_position(lab: Caller, q: str, position: int, said: str) -> None:
    answer = lab.get("/v1/projects/char-lm/runs", query_string={"q": q})
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_field")
    assert answer.json["errors"][0]["field"] == "q"
    assert said in answer.json["detail"]
    assert answer.json["position"] == position


@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from("config.lr ( ) and or not < = 'a' 1e3 ~ in , null".split())).map(" ".join)
)
def test_whatever_is_typed_is_a_condition_or_a_named_fault(text: str) -> None:
    fault: Invalid | None = None
    try:
        criteria.condition(text)
    except Invalid as error:
        fault = error
    assert fault is None or 0 <= fault.extra["position"] <= len(text)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("latest.loss", ["cold", "hot", "bare"]),
        ("-latest.loss", ["hot", "cold", "bare"]),
        ("-config.lr", ["hot", "cold", "bare"]),
        ("name", ["bare", "cold", "hot"]),
        ("created", ["hot", "cold", "bare"]),
        ("-created", ["bare", "cold", "hot"]),
        ("created_at", ["hot", "cold", "bare"]),
        ("-created_at", ["bare", "cold", "hot"]),
        ("config.opt.name", ["cold", "hot", "bare"]),
    ],
)
def test_an_order_puts_runs_without_the_field_last(lab: Caller, sort: str, found: list[str]) -> None:
    assert asked(lab, sort=sort) == found


def test_an_ordered_list_is_walked_page_by_page(ada: Caller) -> None:
    for number in range(7):
        ada.run("char-lm", id=f"r{number}", config={"lr": number % 3})
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = ada.get(f"/v1/projects/char-lm/runs?limit=2&sort=-config.lr&q=config.lr>=0&cursor={cursor}").json
        seen += [run["id"] for run in page["items"]]
        cursor = page["next"]
        if len(seen) == 2:  # a run that comes first now does not shift the rest
            ada.run("char-lm", id="late", config={"lr": 9})
    assert seen == ["r5", "r2", "r4", "r1", "r6", "r3", "r0"]
    assert ada.get("/v1/projects/char-lm/runs?sort=name&cursor=%21").status_code == 422


def test_a_cursor_goes_on_in_its_own_list_alone(lab: Caller) -> None:
    path = "/v1/projects/char-lm/runs?limit=1"
    by_name = lab.get(f"{path}&sort=name").json["next"]
    plain = lab.get(path).json["next"]
    assert lab.get(f"{path}&sort=name&cursor={by_name}").json["items"][0]["id"] == "cold"
    for query in (f"sort=-name&cursor={by_name}", f"sort=name&tag=hot&cursor={by_name}", f"cursor={by_name}",
                  f"sort=name&cursor={plain}"):  # fmt: skip
        answer = lab.get(f"{path}&{query}")
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "cursor")


def test_a_wrong_order_or_status_is_told(ada: Caller) -> None:
    ada.run("char-lm")
    for bad in ("sort=loss", "sort=-", "status=asleep", "status=running,asleep"):
        assert ada.get(f"/v1/projects/char-lm/runs?{bad}").status_code == 422, bad


def test_every_plain_field_of_a_run_is_known_by_its_name(lab: Caller) -> None:
    run = lab.get("/v1/runs/hot").json
    plain = set(run) - {"project", "url", "config", "summary", "latest", "host"}
    for field in plain - {"archived_at"}:
        assert asked(lab, sort=field, q=f"not {field} or {field}"), field


def test_several_states_can_be_asked_for(lab: Caller) -> None:
    lab.post("/v1/runs/hot/finish", json={"status": "failed"})
    lab.post("/v1/runs/cold/finish", json={})
    assert asked(lab, status="failed,running") == ["bare", "hot"]
    assert asked(lab, status="finished") == ["cold"]
