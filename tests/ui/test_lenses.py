"""The Experiments and Artifacts lenses: what was tried and what came out of it, for people."""

import hashlib
import html
import re
from typing import Any

import pytest
from flask import Flask

from tests.make import Caller
from tests.ui.conftest import Visitor, at_home


def goal(caller: Caller) -> str:
    caller.post("/v1/projects", json={"name": "char-lm", "objective_metric": "bpb", "lower_is_better": True})
    return str(caller.post("/v1/sessions", json={"project": "char-lm", "tag": "night"}).json["id"])


def tried(caller: Caller, session: str, status: str = "", score: float | None = None, **fields: Any) -> str:
    id_ = str(caller.post("/v1/experiments", json={"session_id": session, **fields}).json["id"])
    if status:
        caller.post(f"/v1/experiments/{id_}/decision", json={"status": status, "score": score})
    return id_


def entries(caller: Caller, files: dict[str, bytes]) -> list[dict[str, Any]]:
    for content in files.values():
        caller.post("/v1/blobs", data=content)
    return [
        {"path": path, "sha": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for path, content in files.items()
    ]


def attach(caller: Caller, experiment_id: str, files: dict[str, bytes]) -> None:
    caller.open(f"/v1/experiments/{experiment_id}/tree", "PUT", json={"entries": entries(caller, files)})


def log(caller: Caller, files: dict[str, bytes], **fields: Any) -> int:
    body = {"project": "char-lm", "name": "model", "entries": entries(caller, files), **fields}
    return int(caller.post("/v1/artifacts/log", json=body).json["version"])


def text(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def test_the_lens_tells_the_story_newest_first(ada: Caller, ada_at_home: Visitor) -> None:
    session = goal(ada)
    tried(ada, session, "keep", 2.5, note="baseline")
    tried(ada, session, "crash", note="twice the width")
    tried(ada, session, "keep", 2.4, note="warm up")
    page = ada_at_home.get("/p/char-lm/experiments").text
    assert "bpb 2.5 → 2.4 in 3 experiments" in text(page)
    assert text(page).count("2 kept, 1 crashed") == 1, "what the picture says is said once"
    assert "4 % better than the first that was kept." in text(page)
    table = text(page.partition("<table")[2])
    assert table.index("#3") < table.index("#2") < table.index("#1")
    only = text(ada_at_home.get("/p/char-lm/experiments?status=crash").text.partition("<table")[2])
    assert "twice the width" in only
    assert "warm up" not in only


def test_why_an_experiment_was_dropped_stands_in_the_table_and_at_the_head_of_its_page(
    ada: Caller, ada_at_home: Visitor
) -> None:
    session = goal(ada)
    tried(ada, session, "keep", 2.4, note="baseline")
    id_ = tried(ada, session, "keep", 2.5, note="wider")
    note = "<i>no gain</i> for twice the memory\nsee the curves"
    ada.post(f"/v1/experiments/{id_}/decision", json={"status": "drop", "score": 2.5, "note": note})
    row = ada_at_home.get("/p/char-lm/experiments").text.partition(f'data-try="{id_}"')[2].partition("</tr>")[0]
    assert "&lt;i&gt;no gain&lt;/i&gt; for twice the memory</span>" in row
    page = ada_at_home.get(f"/p/char-lm/experiments/{id_}").text
    head = text(page.partition('<header class="page-head')[2].partition("</header>")[0])
    assert "the best stays 2.4, better by 0.1" in head
    assert "<i>no gain</i> for twice the memory" in head
    assert '<option value="drop" selected>' in page, "a verdict is given anew from the one that counts"
    ada.post(f"/v1/experiments/{id_}/decision", json={"status": "drop", "score": 2.5})
    assert "no gain" not in ada_at_home.get("/p/char-lm/experiments").text, "what was taken back is not said"


def test_each_point_of_the_picture_leads_to_its_experiment(ada: Caller, ada_at_home: Visitor) -> None:
    session = goal(ada)
    made = [tried(ada, session, "keep", 2.5, note="<b>base</b>"), tried(ada, session, "crash"), tried(ada, session)]
    page = ada_at_home.get("/p/char-lm/experiments").text
    for number, id_ in enumerate(made, 1):
        assert f'<a href="/p/char-lm/experiments/{id_}" id="e{number}" data-experiment="{id_}"' in page
    assert re.findall(r'data-kind="(\w+)"', page) == ["crash", "undecided", "best"]
    assert "#1 kept 2.5 · &lt;b&gt;base&lt;/b&gt;" in page
    assert "<style" not in page
    assert "style=" not in page


def test_the_lens_costs_as_many_queries_for_one_as_for_fifty(
    ada: Caller, ada_at_home: Visitor, queries: list[str]
) -> None:
    session = goal(ada)
    counted = []
    for more in (1, 49):
        for number in range(more):
            tried(ada, session, "keep", 2.0 - number / 100)
        for path in ("/p/char-lm/experiments", "/p/char-lm/artifacts"):
            log(ada, {"w": str(more).encode()}, name=f"model-{more}")
            queries.clear()
            assert ada_at_home.get(path).status_code == 200
            counted.append(len(queries))
    assert counted[:2] == counted[2:]


def test_an_experiment_shows_code_config_and_what_was_tried_before(ada: Caller, ada_at_home: Visitor) -> None:
    session = goal(ada)
    first = tried(ada, session, "keep", 2.5, note="baseline", config={"lr": 0.001}, commit="a" * 40)
    attach(ada, first, {"train.py": b"width = 1\n", "src/model.py": b"x\n"})
    second = tried(ada, session, "keep", 2.4, note="wider\nand the reason", config={"lr": 0.002}, diff="+<b>bold</b>\n")
    attach(ada, second, {"train.py": b"width = 2\n", "src/model.py": b"x\n"})
    again = tried(ada, session, "drop", 2.45, config={"lr": 0.002}, diff="+<b>bold</b>\n")
    page = ada_at_home.get(f"/p/char-lm/experiments/{second}").text
    plain = text(page)
    assert "and the reason" in plain
    assert "Since the last kept, #1" in plain
    assert "lr 0.001 0.002" in plain
    assert "-width = 1" in plain
    assert "+width = 2" in plain
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "Tried before" not in plain
    assert "Tried before" in text(ada_at_home.get(f"/p/char-lm/experiments/{again}").text)
    assert "model.py" in text(ada_at_home.get(f"/p/char-lm/experiments/{second}?in=src").text)
    file = ada_at_home.get(f"/p/char-lm/experiments/{second}/files/train.py")
    assert (file.data, file.headers["Content-Disposition"]) == (b"width = 2\n", "attachment; filename=train.py")
    assert ada_at_home.get(f"/p/char-lm/experiments/{second}/files/gone.py").status_code == 404
    assert b"curl" in ada_at_home.get(f"/p/char-lm/experiments/{second}/reproduce.sh").data


def test_a_verdict_is_given_from_the_page(ada: Caller, ada_at_home: Visitor) -> None:
    one = tried(ada, goal(ada), note="baseline")
    page = f"/p/char-lm/experiments/{one}"
    wrong = ada_at_home.send(page, f"{page}/decide", status="keep")
    assert wrong.status_code == 422
    assert "score" in text(wrong.text)
    assert ada_at_home.send(page, f"{page}/decide", status="keep", score="nearly 2").status_code == 422
    assert ada_at_home.send(page, f"{page}/decide", status="keep", score="2.25", note="clear").status_code == 302
    told = ada.get(f"/v1/experiments/{one}").json["decisions"]
    assert [(row["status"], row["score"], row["note"]) for row in told] == [("keep", 2.25, "clear")]
    assert told[0]["decided_by"].startswith("user:")
    assert "ada@example.org" in ada_at_home.get(page).text


def test_every_version_is_shown_with_its_score_and_the_winner_with_its_flag(ada: Caller, ada_at_home: Visitor) -> None:
    session = goal(ada)
    one, two = tried(ada, session, "keep", 2.5), tried(ada, session, "keep", 2.4)
    log(ada, {"w.bin": b"one"}, produced_by=one, type="model")
    log(ada, {"w.bin": b"two"}, produced_by=two)
    ada.open("/v1/artifacts/model/refs/winner", "PUT", json={"version": 1})
    rows = re.findall(r"<tr class=.*?</tr>", ada_at_home.get("/p/char-lm/artifacts").text, re.S)
    told = [text(row) for row in rows]
    assert len(told) == 2
    assert "v2 latest 2.4" in told[0]
    assert "winner" not in told[0]
    assert "v1 winner 2.5" in told[1]
    assert "#1" in told[1]


def test_a_winner_of_long_ago_is_still_in_sight(ada: Caller, ada_at_home: Visitor) -> None:
    goal(ada)
    for number in range(52):
        log(ada, {"w.bin": b"%d" % number})
    ada.open("/v1/artifacts/model/refs/winner", "PUT", json={"version": 1})
    for page in ("/p/char-lm/artifacts", "/p/char-lm/artifacts/model"):
        (way,) = re.findall(r'<a class="ref is-winner" href="([^"]+)">', ada_at_home.get(page).text)
        assert "Files of v1" in text(ada_at_home.get(way).text)


def test_a_ref_is_moved_from_the_page(ada: Caller, ada_at_home: Visitor) -> None:
    goal(ada)
    log(ada, {"w.bin": b"one"})
    log(ada, {"w.bin": b"two"})
    page = "/p/char-lm/artifacts/model"
    for ref in ("latest", "v7", "", "a/b"):
        assert ada_at_home.send(page, f"{page}/promote", ref=ref, version="v1").status_code in {409, 422}
    assert ada_at_home.send(page, f"{page}/promote", ref="winner", version="v1").status_code == 302
    assert ada.get("/v1/artifacts/model/winner").json["version"] == 1
    shown = text(ada_at_home.get(page).text)
    assert "winner to v1" in shown
    assert "ada@example.org" in shown


def test_files_are_browsed_compared_and_fetched(ada: Caller, ada_at_home: Visitor) -> None:
    goal(ada)
    log(ada, {"config.json": b'{"layers": 6}\n', "tokenizer/vocab.txt": b"a b\n"})
    log(ada, {"config.json": b'{"layers": 8}\n', "tokenizer/vocab.txt": b"a b\n", "new.txt": b"n"})
    page = "/p/char-lm/artifacts/model"
    assert "tokenizer/" in text(ada_at_home.get(page).text)
    assert "vocab.txt" in text(ada_at_home.get(f"{page}?in=tokenizer").text)
    compared = text(ada_at_home.get(f"{page}?version=v2&with=v1").text)
    assert "From v1 to v2" in compared
    assert "added new.txt" in re.sub(r"\+ ", "", compared)
    assert '-{"layers": 6}' in compared
    file = ada_at_home.get(f"{page}/v1/files/tokenizer/vocab.txt")
    assert (file.data, file.mimetype) == (b"a b\n", "application/octet-stream")
    for path in ("v1/files/../../secret", "v1/files/none", "v9/files/new.txt"):
        assert ada_at_home.get(f"{page}/{path}").status_code == 404


def test_lineage_is_drawn_from_maker_to_user(ada: Caller, ada_at_home: Visitor) -> None:
    one = tried(ada, goal(ada), "keep", 2.5, note="base<line>")
    log(ada, {"w.bin": b"one"}, produced_by=one)
    run = ada.run(name="evaluation")
    ada.post("/v1/artifacts/model/v1/used_by", json={"run_id": run["id"]})
    page = ada_at_home.get("/p/char-lm/artifacts/model").text
    picture = page[page.index('<svg class="lineage"') :]
    picture = picture[: picture.index("</svg>")]
    assert picture.count("<rect") == 3
    assert picture.count("<path") == 2
    assert "base&lt;line&gt;" in picture
    assert f'href="/p/char-lm/runs/{run["id"]}"' in picture


@pytest.mark.parametrize("path", ["experiments", "experiments/{one}", "artifacts", "artifacts/model"])
def test_strangers_find_nothing(ada: Caller, mallory_at_home: Visitor, path: str) -> None:
    one = tried(ada, goal(ada), "keep", 2.5)
    log(ada, {"w.bin": b"one"})
    assert mallory_at_home.get(f"/p/char-lm/{path.format(one=one)}").status_code == 404


def test_a_viewer_looks_and_changes_nothing(app: Flask, ada: Caller) -> None:
    one = tried(ada, goal(ada), "keep", 2.5)
    log(ada, {"w.bin": b"one"})
    viewer = at_home(app, ada, "Ada's lab", "vi@example.org", "viewer")
    page = viewer.get(f"/p/char-lm/experiments/{one}").text
    assert "Record the verdict" not in page
    assert "Move to" not in viewer.get("/p/char-lm/artifacts/model").text
    for action in (f"experiments/{one}/decide", "artifacts/model/promote"):
        answer = viewer.send("/settings", f"/p/char-lm/{action}", status="drop", ref="winner", version="v1")
        assert answer.status_code == 403


def test_nothing_yet_shows_how_to_begin(ada: Caller, ada_at_home: Visitor) -> None:
    ada.post("/v1/projects", json={"name": "empty"})
    assert "ar.experiment(" in text(ada_at_home.get("/p/empty/experiments").text)
    assert "ar.artifact(" in text(ada_at_home.get("/p/empty/artifacts").text)


def test_the_picture_is_shared_by_an_address_that_can_be_revoked(
    ada: Caller, ada_at_home: Visitor, stranger: Visitor
) -> None:
    tried(ada, goal(ada), "keep", 2.5)
    page = "/p/char-lm/experiments/share"
    assert page in ada_at_home.get("/p/char-lm/experiments").text
    assert ada_at_home.send(page, page, kind="everything").status_code == 422
    made = ada_at_home.send(page, page, kind="progress").text
    address = re.findall(r'src="http://localhost(/embed/[^"]+)"', made)[0]
    assert f"[![char-lm: progress](http://localhost{address})]" in text(made)
    assert stranger.get(address).mimetype == "image/svg+xml"
    again = ada_at_home.get(page).text
    assert address not in again
    revoke = re.findall(r'action="(/p/char-lm/experiments/share/[^"]+/revoke)"', again)[0]
    assert ada_at_home.send(page, revoke).status_code == 302
    assert stranger.get(address).status_code == 404
