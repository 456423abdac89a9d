"""Fifty at once who want the same: one wins, the rest are told, and nothing is there twice."""

import threading
from collections import Counter
from collections.abc import Callable

from werkzeug.test import TestResponse

from tests.make import Caller, point

CROWD = 50


def at_once(ask: Callable[[int], TestResponse]) -> Counter[int]:
    """How often each status was answered when all ask at the same moment."""
    gate, found = threading.Barrier(CROWD), []

    def one(number: int) -> None:
        gate.wait()
        while True:
            answer = ask(number)
            if answer.status_code != 503:  # busy: send it again
                break
        found.append(answer.status_code)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(CROWD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(found)


def test_of_many_who_make_one_project_one_makes_it(ada: Caller) -> None:
    assert at_once(lambda _: ada.post("/v1/projects", json={"name": "p"})) == {201: 1, 200: CROWD - 1}
    assert len(ada.get("/v1/projects").json["items"]) == 1


def test_of_many_who_make_one_run_one_makes_it(ada: Caller) -> None:
    assert at_once(lambda _: ada.post("/v1/runs", json={"project": "p", "id": "r"})) == {201: 1, 200: CROWD - 1}


def test_versions_logged_at_once_have_no_gaps(ada: Caller) -> None:
    shas = [
        ada.post("/v1/blobs", data=f"{n}".encode(), content_type="application/octet-stream").json["sha"]
        for n in range(CROWD)
    ]

    def log(number: int) -> TestResponse:
        entries = [{"path": "a", "sha": shas[number], "size": len(str(number))}]
        return ada.post("/v1/artifacts/log", json={"project": "p", "name": "a", "entries": entries})

    assert at_once(log) == {201: CROWD}
    versions = [one["version"] for one in ada.get("/v1/artifacts/a?limit=100").json["versions"]]
    assert sorted(versions) == list(range(1, CROWD + 1))
    moved = at_once(lambda number: ada.open("/v1/artifacts/a/refs/winner", "PUT", json={"version": number + 1}))
    assert moved == {200: CROWD}
    found = ada.get("/v1/artifacts/a?limit=100").json
    # Every move is kept, each from where the one before had led.
    moves = [move for move in found["moves"] if move["ref"] == "winner"]
    assert len(moves) == CROWD
    assert Counter(move["previous"] for move in moves) == Counter(
        [None, *(move["version"] for move in moves if move["version"] != found["refs"]["winner"])]
    )


def test_experiments_recorded_at_once_are_numbered_without_gaps(ada: Caller) -> None:
    ada.post("/v1/sessions", json={"project": "p", "id": "s"})
    assert at_once(lambda _: ada.post("/v1/experiments", json={"session_id": "s"})) == {201: CROWD}
    found = ada.get("/v1/projects/p/experiments?limit=100").json["items"]
    assert sorted(one["index"] for one in found) == list(range(1, CROWD + 1))


def test_a_key_revoked_by_many_is_revoked_once(ada: Caller) -> None:
    key = ada.post("/v1/keys", json={"name": "k"}).json
    assert at_once(lambda _: ada.delete(f"/v1/keys/{key['id']}"))[204] >= 1
    assert Caller(ada.app, ada.org_id, key["key"]).get("/v1/projects").status_code == 401


def test_writers_who_come_at_once_wait_for_each_other_and_none_is_refused(ada: Caller) -> None:
    """Eight threads, a batch each, ten times: whoever stands in the queue is served, and never told to come again."""
    run, answers = ada.run(id="crowded"), []
    gate = threading.Barrier(8)

    def write(writer: int) -> None:
        gate.wait()
        for seq in range(10):
            sent = ada.ingest(run["id"], [point(seq)], first_seq=seq, writer_id=f"w{writer}")
            answers.append(sent.status_code)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(answers) == {200: 80}
    assert ada.get("/v1/runs/crowded/integrity").json["points_stored"] == 80
