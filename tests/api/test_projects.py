"""Projects over /v1."""

import pytest

from tests.make import Caller


def test_a_project_is_made_and_its_goal_changed_field_by_field(ada: Caller) -> None:
    made = ada.post(
        "/v1/projects", json={"name": "char-lm", "objective_metric": "val_bpb", "lower_is_better": True, "target": 2.45}
    )
    assert made.status_code == 201
    assert made.json["objective_metric"] == "val_bpb"

    changed = ada.post("/v1/projects", json={"name": "char-lm", "description": "Characters"})
    assert changed.status_code == 200
    assert (changed.json["target"], changed.json["description"]) == (2.45, "Characters")

    cleared = ada.post("/v1/projects", json={"name": "char-lm", "target": None})
    assert cleared.json["target"] is None
    assert ada.get("/v1/projects/char-lm").json["objective_metric"] == "val_bpb"


def test_a_list_is_walked_page_by_page_without_gap_or_repeat(ada: Caller) -> None:
    for number in range(7):
        ada.post("/v1/projects", json={"name": f"p{number}"})
    seen, cursor = [], ""
    while cursor is not None:
        page = ada.get(f"/v1/projects?limit=3&cursor={cursor}").json
        seen += [project["name"] for project in page["items"]]
        cursor = page["next"]
        if len(seen) == 3:  # a project made meanwhile does not shift the pages
            ada.post("/v1/projects", json={"name": "late"})
    assert seen == [f"p{number}" for number in reversed(range(7))]


@pytest.mark.parametrize(
    "name",
    ["a/b", "..", ".", "a\\b", "a#b", "a?b", "a%b", "a:b", " a", "a ", "", "a" * 129, "a\u0000", "a\u202eb", "a\nb"],
)
def test_a_name_that_could_not_be_an_address_is_refused(ada: Caller, name: str) -> None:
    answer = ada.post("/v1/projects", json={"name": name})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "name")
    answer = ada.post("/v1/runs", json={"project": name})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "project")


def test_names_keep_case_blanks_and_letters_of_the_world(ada: Caller) -> None:
    for name in ("Char LM", "ζ-functions", "モデル", "a.b_c-d"):
        assert ada.post("/v1/projects", json={"name": name}).status_code == 201
        assert ada.get(f"/v1/projects/{name}").json["name"] == name


def test_a_target_must_be_a_number(ada: Caller) -> None:
    answer = ada.post("/v1/projects", data='{"name":"p","target":"low"}', content_type="application/json")
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == "target"
    assert (
        ada.post("/v1/projects", data='{"name":"p","target":NaN}', content_type="application/json").status_code == 400
    )


def test_an_unchanged_list_is_a_304(ada: Caller) -> None:
    ada.post("/v1/projects", json={"name": "p"})
    first = ada.get("/v1/projects")
    again = ada.get("/v1/projects", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
