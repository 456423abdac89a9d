"""What the server counts: over all its processes, for whoever has the token, and in names that nobody can multiply."""

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.make import point
from tests.server import Server
from tests.test_deploy import call

TOKEN = "a token for the scraper"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), ARWX_METRICS_TOKEN=TOKEN).start()
    yield server
    server.stop()


def read(server: Server, token: str = TOKEN) -> str:
    request = urllib.request.Request(f"{server.base_url}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


def value(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_counts_are_right_over_all_processes(server: Server) -> None:
    key = server.key("admin")
    call(server, key, "POST", "/v1/runs", {"project": "p", "id": "r"})
    batch = {"run_id": "r", "writer_id": "w", "epoch": "e"}
    for number in range(40):
        sent = {**batch, "first_seq": number, "points": [point(number, a=1.0, b=2.0)]}
        assert call(server, key, "POST", "/v1/ingest", sent)[0] == 200
    assert (
        call(server, key, "POST", "/v1/ingest", {**batch, "first_seq": 0, "points": [point(0, a=1.0, b=2.0)]})[0] == 200
    )
    text = read(server)
    assert value(text, 'arwx_points_total{outcome="stored"}') == 80
    assert value(text, 'arwx_points_total{outcome="duplicate"}') == 2
    assert value(text, 'arwx_requests_total{method="POST",route="/v1/ingest",status="200"}') == 41
    assert value(text, 'arwx_request_seconds_count{route="/v1/ingest"}') == 41


def test_what_anybody_sends_makes_no_more_names(server: Server) -> None:
    key = server.key("admin")

    def ask(method: str, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request(method, path, headers={"Authorization": f"Bearer {key}"})
        status = connection.getresponse().status
        connection.close()
        return status

    assert (ask("GET", "/v1/runs/x"), ask("GET", "/nothing"), ask("BREW", "/nothing")) == (404, 404, 404)
    before = len(read(server).splitlines())
    for number in range(100):
        ask("GET", f"/v1/runs/x{number}")
        ask("GET", f"/nothing/{number}")
        ask(f"BREW{chr(65 + number % 26)}", f"/nothing/{number}")
    assert len(read(server).splitlines()) - before <= 4


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x"])
def test_without_the_token_nothing_is_there(server: Server, token: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        read(server, token)
    assert caught.value.code == 404
    assert caught.value.headers["Content-Type"] == "application/problem+json"


def test_a_server_without_a_token_counts_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path).start()
    with pytest.raises(urllib.error.HTTPError) as caught:
        read(server)
    assert caught.value.code == 404
    assert not (tmp_path / "metrics").exists()
    server.stop()
