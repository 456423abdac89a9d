"""A project of 1,000 experiments: the running best as JSON, as a picture, and as what an agent is told."""

import random
from collections.abc import Iterator

import msgspec

from bench import host, load, visitor, wire
from bench.session import Session
from bench.table import Row, Skipped
from bench.units import KILOBYTES, MILLISECONDS

_CLIENTS = 4


def measure(session: Session) -> Iterator[Row | Skipped]:
    """Milliseconds in the server and bytes of each view of the project."""
    server = session.filled.server
    count = session.scale.count(1000, at_least=20)
    _fill(server, count)
    for what, path, at_most_s, at_most_bytes in (
        ("progress as JSON", "/v1/projects/research/progress", 0.050, None),
        ("progress.svg", "/v1/projects/research/progress.svg", 0.050, 60_000.0),
        ("frontier.svg", "/v1/projects/research/frontier.svg", 0.050, 60_000.0),
        ("context for an agent", "/v1/agent/context?project=research", None, None),
    ):
        yield from _view(server, f"{count:,} experiments: {what}", path, at_most_s, at_most_bytes)
    cookie = visitor.sign_in(server)
    try:
        found = visitor.pages(server, cookie, "/p/research/experiments", 5)
    except RuntimeError as error:
        yield Skipped(f"{count:,} experiments: page of them", str(error))
        return
    yield Row(f"{count:,} experiments: page of them, first byte", [one.first_byte_s for one in found], MILLISECONDS)
    yield Row(f"{count:,} experiments: page of them, compressed", [len(found[0].body)], KILOBYTES)


def _view(
    server: host.Arwx, what: str, path: str, at_most_s: float | None, at_most_bytes: float | None
) -> Iterator[Row | Skipped]:
    whole = server.request("GET", path)
    with wire.Connection(server.port) as connection:
        answers = [connection.send(whole) for _ in range(10)][1:]
    if answers[0].status != 200:
        yield Skipped(what, f"{path} answers {answers[0].status}")
        return
    yield Row(f"{what}, server time", [one.server_s for one in answers], MILLISECONDS, at_most=at_most_s)
    yield Row(f"{what}, bytes as sent", [len(answers[0].body)], KILOBYTES, at_most=at_most_bytes)


def _fill(server: host.Arwx, count: int) -> None:
    """One session; each experiment decided: a slow gain in noise, a tenth crashed, kept when it was better."""
    for path, body in (
        ("/v1/projects", {"name": "research", "objective_metric": "val_bpb", "lower_is_better": True, "target": 0.9}),
        ("/v1/sessions", {"project": "research", "id": "ses_bench", "tag": "bench"}),
    ):
        server.call("POST", path, msgspec.json.encode(body))
    chance, best = random.Random(5), float("inf")
    experiments, decisions = [], []
    for number in range(count):
        score = 1.5 - 0.5 * number / count + chance.gauss(0, 0.05)
        verdict = "crash" if chance.random() < 0.1 else "keep" if score < best else "drop"
        if verdict == "keep":
            best = score
        made = {
            "session_id": "ses_bench",
            "id": f"exp_{number}",
            "note": f"try {number}: a warm-up of {number % 17} steps",
            "config": {"number": number},
        }
        experiments.append(server.request("POST", "/v1/experiments", msgspec.json.encode(made)))
        decided = {"status": verdict, "score": None if verdict == "crash" else score}
        path = f"/v1/experiments/exp_{number}/decision"
        decisions.append(server.request("POST", path, msgspec.json.encode(decided)))
    load.run(server.port, [experiments], b"exp_")
    load.run(server.port, [decisions[i::_CLIENTS] for i in range(_CLIENTS)], b"status")
