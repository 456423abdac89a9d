"""Delivery: what the server, and what stands in between, may answer, and what then becomes of the points."""

import time
from email.utils import formatdate
from pathlib import Path

import arwandb
import pytest
from arwandb import sender
from arwandb.http import Request, Response
from arwandb.papers import Papers
from arwandb.records import Identity
from arwandb.sender import Sender
from arwandb.spool import Spool

from tests.sdk.conftest import until
from tests.sdk.model import Answer, problem
from tests.sdk.standin import StandIn

HTML = (200, {"Content-Type": "text/html"}, b"<html>Please log in to the hotel's network</html>")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses as in life, but short."""
    monkeypatch.setattr(sender, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(sender, "_LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(sender, "_DENIED_PAUSE_S", 0.1)
    monkeypatch.setattr(sender, "_REFUSED_PAUSE_S", 0.1)


def log(count: int, start: int = 0) -> None:
    for step in range(start, start + count):
        arwandb.log({"loss": float(step), "lr": 0.5})


def whole(standin: StandIn, run: arwandb.Run, count: int) -> None:
    """The run has each of `count` entries once, in order."""
    assert standin.model.values(run.id, "loss") == [float(step) for step in range(count)]
    assert standin.model.conflicts == 0


@pytest.mark.parametrize(
    "bad",
    [
        (500, {}, b"oops"), (502, {"Content-Type": "text/html"}, b"<html>bad gateway</html>"), (503, {"Retry-After": "0"}, b""),
        (429, {"Retry-After": "0.05"}, b"{}"), (408, {}, b""), HTML, (200, {"Content-Type": "application/json"}, b'{"run_id":'),
        (200, {"Content-Type": "application/json"}, b'{"run_id":"another","accepted":1,"stored":1,"next_seq":1}'),
        (301, {"Location": "http://127.0.0.1:1/"}, b""), (302, {"Location": "/v1/runs"}, b""), (404, {}, b"nginx"),
        (400, {"Content-Type": "text/html"}, b"bad"), problem(400, "truncated_body"), problem(401, "unauthorized"),
        problem(403, "forbidden"), (204, {}, b""),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_receipt_is_no_receipt(standin: StandIn, bad: Answer) -> None:
    answers = [0]

    def fault(method: str, path: str) -> Answer | None:
        answers[0] += 1
        return bad if answers[0] % 3 else None

    standin.fault = fault
    run = arwandb.init()
    log(50)
    time.sleep(0.2)
    log(50, 50)
    arwandb.finish(timeout=20)
    whole(standin, run, 100)
    assert run.status()["quarantined"] == 0
    assert standin.model.runs[run.id]["status"] == "finished"


def refused(answer: Response | OSError, tmp_path: Path, *, chance: float = 1.0) -> tuple[Sender, list[Request]]:
    """A sender whose every request ends like this; and the requests that it made."""
    made: list[Request] = []

    def send(request: Request) -> Response:
        made.append(request)
        if isinstance(answer, OSError):
            raise answer
        return answer

    spool = Spool(None, str(tmp_path), Identity("run_1", "w", "ab" * 16))
    return Sender(spool, Papers({"project": "p", "id": "run_1"}), send, chance=lambda: chance), made


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("7", 7.0), ("0", 0.05), ("-3", 0.05), ("86400", 300.0), ("a moment to come", 100.0), (formatdate(0), 0.05)],
)  # fmt: skip
@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_the_server_asks_for_is_kept(tmp_path: Path, status: int, asked: str, seconds: float) -> None:
    if asked == "a moment to come":
        asked = formatdate(time.time() + seconds)
    sender_, made = refused(Response(status, {"retry-after": asked}, b""), tmp_path)
    due = sender_.step(1000.0)
    assert due - 1000.0 == pytest.approx(seconds, abs=2.0 if seconds == 100.0 else 1e-9)
    assert sender_.step(due - 0.01) == due
    assert len(made) == 1
    sender_.step(due)
    assert len(made) == 2


@pytest.mark.parametrize("asked", ["soon", "nan", "Mon, 99 Foo 2026", ""])
def test_a_pause_that_makes_no_sense_is_one_of_ours(tmp_path: Path, asked: str) -> None:
    sender_, _ = refused(Response(503, {"retry-after": asked}, b""), tmp_path)
    assert 0.05 < sender_.step(1000.0) - 1000.0 < 2


def test_pauses_grow_are_spread_and_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the pauses of life
    for answer in (OSError(104, "reset"), TimeoutError(), Response(500, {}, b"")):
        longest, shortest = (refused(answer, tmp_path, chance=chance)[0] for chance in (1.0, 0.0))
        now, pauses = 0.0, []
        for _ in range(12):
            due = longest.step(now)
            pauses.append(due - now)
            now = due
        assert pauses == sorted(pauses)
        assert pauses[0] <= 1.1
        assert pauses[-1] == pytest.approx(30.05)
        assert shortest.step(0.0) == pytest.approx(0.05)


@pytest.mark.parametrize(
    "said",
    [b'"accepted":1,"next_seq":1', b'"accepted":4000,"next_seq":20', b'"accepted":40', b'"accepted":40,"next_seq":null',
     b'"accepted":40,"next_seq":-1', b'"accepted":"40","next_seq":20', b'"accepted":0,"skipped":"40","next_seq":20'],
)  # fmt: skip
def test_a_receipt_that_does_not_account_for_the_points_is_not_believed(standin: StandIn, said: bytes) -> None:
    asked = [0]

    def fault(method: str, path: str) -> Answer | None:
        if path.startswith("/v1/ingest"):
            asked[0] += 1
            if asked[0] < 4:
                return 200, {"Content-Type": "application/json"}, b'{"run_id":"%s",%s}' % (run.id.encode(), said)
        return None

    run = arwandb.init()
    standin.fault = fault
    log(20)
    arwandb.finish()
    whole(standin, run, 20)
    assert asked[0] >= 4


@pytest.mark.parametrize("what", ["hangs up", "answers 502"])
def test_a_run_that_must_be_new_is_not_refused_because_the_first_answer_was_lost(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    carry_out, made = standin._carry_out, [0]

    def spoilt(method: str, path: str, key: str | None, body: bytes) -> Answer:
        answer = carry_out(method, path, key, body)
        made[0] += path == "/v1/runs"
        return (502, {}, b"") if path == "/v1/runs" and made[0] == 1 else answer

    if what == "answers 502":
        monkeypatch.setattr(standin, "_carry_out", spoilt)
    else:
        standin.fault = lambda method, path: None if standin.model.runs else "lose"
    run = arwandb.init(id="new", resume="never")
    log(20)
    arwandb.finish()
    whole(standin, run, 20)
    assert standin.model.runs["new"]["status"] == "finished"


def test_lost_answers_and_requests_that_come_twice_are_stored_once(standin: StandIn) -> None:
    import random

    chance, batches = random.Random(3), [0]

    def fault(method: str, path: str) -> str | None:
        if path == "/v1/ingest":
            batches[0] += 1
            if batches[0] < 3:  # however few batches a busy machine makes of it all
                return ["twice", "lose"][batches[0] - 1]
        return chance.choice(["lose", "twice", "drop", None, None])

    standin.fault = fault
    run = arwandb.init()
    for part in range(20):
        log(100, part * 100)
        time.sleep(0.02)
    arwandb.finish(timeout=30)
    whole(standin, run, 2000)
    assert standin.model.receipt(run.id)["intact"]
    assert standin.model.duplicates > 0


def test_the_server_may_be_away_at_init_and_come_later(standin: StandIn) -> None:
    standin.stop()
    start = time.monotonic()
    run = arwandb.init(config={"lr": 1.0})
    assert time.monotonic() - start < 5  # of the 15 seconds for which the end would wait
    log(1000)
    time.sleep(0.2)
    standin.restart()
    arwandb.finish()
    whole(standin, run, 1000)
    assert standin.model.runs[run.id]["config"] == {"lr": 1.0}


def test_the_server_may_restart_in_between(standin: StandIn) -> None:
    run = arwandb.init()
    log(300)
    until(lambda: run.status()["stored"] == 300)
    standin.stop()
    log(300, 300)
    time.sleep(0.2)
    standin.restart()
    log(300, 600)
    arwandb.finish()
    whole(standin, run, 900)


def heard(capsys: pytest.CaptureFixture[str], words: str) -> str:
    """What was said on stderr until these words were."""
    said = [""]

    def are_said() -> bool:
        said[0] += capsys.readouterr().err
        return words in said[0]

    until(are_said)
    return said[0]


def test_a_key_that_stops_working_costs_nothing_once_it_works_again(
    standin: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    run = arwandb.init()
    log(100)
    until(lambda: run.status()["stored"] == 100)
    standin.model.keys.clear()
    log(100, 100)
    said = heard(capsys, "API key")
    assert run.status()["stored"] == 100
    until(lambda: run.status()["spooled"] == 200)
    standin.model.keys.add(standin.key)
    arwandb.finish()
    whole(standin, run, 200)
    assert (said + capsys.readouterr().err).count("API key") == 1


def test_without_a_key_a_line_says_how_to_get_one_and_a_login_is_enough(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ARWANDB_API_KEY")
    run = arwandb.init()
    log(100)
    said = heard(capsys, "python -m arwandb login")
    until(lambda: run.status()["spooled"] == 100)
    assert standin.model.requests == []
    assert arwandb.login(standin.key)
    arwandb.finish()
    whole(standin, run, 100)
    assert (said + capsys.readouterr().err).count("python -m arwandb login") == 1


@pytest.mark.parametrize("count", [1, 40, 3000, 12_000])
def test_the_smallest_failing_part_is_put_aside_and_the_rest_goes_on(
    standin: StandIn, spool: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    standin.model.poison = {"evil"}
    run = arwandb.init()
    bad = {0, count // 3, count - 1}
    for step in range(count):
        arwandb.log({"evil": 1.0} if step in bad else {"loss": float(step)})
    arwandb.finish(timeout=30)

    assert standin.model.values(run.id, "loss") == [float(step) for step in range(count) if step not in bad]
    assert run.status()["quarantined"] == len(bad)
    assert len(next(spool.glob("*/quarantine/*.jsonl")).read_text().splitlines()) == len(bad)
    assert not standin.model.receipt(run.id)["intact"]
    assert capsys.readouterr().err.count("put aside") == 1
    assert len(standin.model.requests) < 150


def test_a_smaller_limit_of_the_server_is_found(standin: StandIn) -> None:
    standin.model.max_entries = 70
    run = arwandb.init()
    log(3000)
    arwandb.finish(timeout=30)
    whole(standin, run, 3000)
    assert run.status()["quarantined"] == 0


def test_a_run_that_the_server_forgot_is_registered_again(standin: StandIn) -> None:
    run = arwandb.init(config={"lr": 1.0})
    log(10)
    until(lambda: run.status()["stored"] == 10)
    standin.model.runs.clear()
    log(10, 10)
    arwandb.finish()
    assert standin.model.runs[run.id]["config"] == {"lr": 1.0}
    whole(standin, run, 20)


def test_a_refused_description_does_not_cost_the_points(standin: StandIn) -> None:
    def fault(method: str, path: str) -> Answer | None:
        if path == "/v1/runs" and not standin.model.requests.count(("POST", "/x")):
            standin.model.requests.append(("POST", "/x"))
            return problem(422, "invalid_field", "config is too deep")
        return None

    standin.fault = fault
    run = arwandb.init(config={"lr": 1.0})
    log(10)
    arwandb.finish()
    whole(standin, run, 10)
    assert standin.model.runs[run.id]["config"] == {}


def test_config_and_summary_changes_reach_the_server_while_it_runs(standin: StandIn) -> None:
    run = arwandb.init(config={"lr": 1.0})
    until(lambda: run.id in standin.model.runs)
    run.config.update({"batch": 8})
    run.summary["best"] = 0.5
    until(lambda: standin.model.runs[run.id]["summary"] == {"best": 0.5})
    assert standin.model.runs[run.id]["config"] == {"lr": 1.0, "batch": 8}
    assert standin.model.runs[run.id]["status"] == "running"


def test_finish_is_bounded_when_the_server_is_a_black_hole(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(1)
        monkeypatch.setenv("ARWANDB_BASE_URL", f"http://127.0.0.1:{hole.getsockname()[1]}")
        run = arwandb.init()
        log(100)
        until(lambda: run.status()["spooled"] == 100)
        start = time.monotonic()
        arwandb.finish(timeout=0.5)
        assert time.monotonic() - start < 8  # of the 15 seconds for which it usually waits
    assert run.status()["spooled"] == 100
    monkeypatch.setenv("ARWANDB_BASE_URL", standin.base_url)
    assert arwandb.sync()[0].is_intact
    whole(standin, run, 100)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
def test_finish_soon_gives_up_where_nobody_listens(
    standin: StandIn, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import socket

    look_up = socket.getaddrinfo

    def unknown(host: object, *given: object, **more: object) -> object:
        if host == b"no-such-host.invalid":
            raise socket.gaierror(-2, "Name or service not known")
        return look_up(host, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("ARWANDB_BASE_URL", url)
    run = arwandb.init()
    log(100)
    start = time.monotonic()
    arwandb.finish()
    assert time.monotonic() - start < 6  # of the 15 seconds that it may take
    said = capsys.readouterr().err
    assert "100 of 100 entries are kept" in said
    assert f"python -m arwandb sync {run.dir}" in said
    monkeypatch.setenv("ARWANDB_BASE_URL", standin.base_url)
    assert arwandb.sync()[0].is_intact
    whole(standin, run, 100)


def test_finish_waits_for_an_absent_server_as_long_as_it_was_told(standin: StandIn) -> None:
    import threading

    standin.stop()
    run = arwandb.init()
    log(100)
    timer = threading.Timer(2.5, standin.restart)
    timer.start()
    arwandb.finish(timeout=20)
    timer.join()
    whole(standin, run, 100)


def test_a_quiet_run_shows_that_it_lives(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_BEAT_S", 0.1)
    arwandb.init()
    until(lambda: standin.model.batches.count(0) >= 3)


def test_what_was_gathered_is_sent_at_the_interval_or_the_count(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = arwandb.init(flush_interval=3600)
    log(200)
    time.sleep(0.3)
    assert standin.model.entries == {}
    log(200, 200)
    until(lambda: run.status()["stored"] == 400)
