"""People by the command line, and what holds across the processes of a real server and its restarts."""

import html
import http.cookiejar
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import KIND
from tests.people.conftest import PASSWORD
from tests.server import Server


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = request.getfixturevalue("postgres").create("people") if KIND == "postgres" else None
    server = Server(tmp_path_factory.mktemp("people"), url).start()
    add(server, "ada@example.org", "--role", "owner")
    yield server
    server.stop()


def add(server: Server, email: str, *options: str, org: str = "Ada's lab", password: str = PASSWORD) -> str:
    return server.run("user", "add", email, "--org", org, "--password-stdin", *options, stdin=f"{password}\n")


def refused(server: Server, *arguments: str, stdin: str | None = None) -> tuple[int, str]:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        server.run(*arguments, stdin=stdin)
    return caught.value.returncode, caught.value.stderr.strip()


class Browser:
    """A few requests with cookies, over a real socket, a new connection each."""

    def __init__(self, server: Server) -> None:
        self.base_url = server.base_url
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), urllib.request.ProxyHandler({})
        )

    def open(self, path: str, **fields: str) -> tuple[int, str, str]:
        """The status, the path where one ends up, and the page."""
        data = urllib.parse.urlencode(fields).encode() if fields else None
        try:
            with self.opener.open(self.base_url + path, data, timeout=30) as answer:
                return answer.status, urllib.parse.urlsplit(answer.url).path, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, path, error.read().decode()

    def send(self, path: str, **fields: str) -> tuple[int, str, str]:
        token = re.search(r'name="csrf_token" value="([^"]+)"', self.open(path)[2])
        assert token is not None
        return self.open(path, csrf_token=html.unescape(token[1]), **fields)

    def log_in(self, email: str, password: str = PASSWORD) -> int:
        return self.send("/login", email=email, password=password)[0]


def test_the_throttle_holds_across_workers_and_a_restart(server: Server) -> None:
    add(server, "target@example.org")
    answers = [Browser(server).log_in("target@example.org", "wrong password") for _ in range(14)]
    assert answers == [401] * 10 + [429] * 4
    server.stop()
    server.start()
    assert Browser(server).log_in("target@example.org") == 429


def test_a_session_outlives_a_restart_and_a_reset_ends_it(server: Server, tmp_path: Path) -> None:
    other = Server(tmp_path, None).start()
    try:
        add(other, "ada@example.org", "--role", "owner")
        browser = Browser(other)
        assert browser.log_in("ada@example.org") == 200
        other.kill()
        other.start()
        assert browser.open("/settings")[1] == "/settings"
        link = other.run("user", "reset", "Ada@Example.org")
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/reset/[\w.-]+", link)
        path = urllib.parse.urlsplit(link).path
        assert Browser(other).send(path, password="a better horse battery")[:2] == (200, "/login")
        assert browser.open("/settings")[1] == "/login"
        assert Browser(other).log_in("ada@example.org", "a better horse battery") == 200
        assert Browser(other).open(path)[0] == 404
    finally:
        other.stop()


def test_people_are_added_to_organizations_by_name_or_slug(server: Server) -> None:
    assert add(server, "Ben@Example.org") == "ben@example.org is member of Ada's lab (ada-s-lab)."
    assert (
        add(server, "ben@example.org", "--role", "viewer", org="Vision")
        == "ben@example.org is viewer of Vision (vision)."
    )
    code, said = refused(server, "user", "add", "ben@example.org", "--org", "vision", "--password-stdin", stdin="\n")
    assert (code, said) == (1, "ben@example.org is a member of Vision already.")


@pytest.mark.parametrize(
    ("email", "password", "said"),
    [
        ("eve@example.org", "", "password must have 8 to 256 characters"),
        ("eve@example.org", "password1", "password is one of the first that others would try"),
        ("nobody", PASSWORD, "email must be an e-mail address"),
    ],
)
def test_a_bad_account_is_refused_in_one_line(server: Server, email: str, password: str, said: str) -> None:
    arguments = ("user", "add", email, "--org", "Never made", "--password-stdin")
    assert refused(server, *arguments, stdin=f"{password}\n") == (1, said)
    assert refused(server, "key", "list", "--org", "Never made")[0] == 1


def test_keys_are_made_listed_and_revoked(server: Server) -> None:
    secret = server.run("key", "new", "--org", "ada-s-lab", "--name", "rack 7", "--scope", "read")
    assert re.fullmatch(r"arwx_live_[0-9A-Za-z]{30}", secret)
    listed = server.run("key", "list", "--org", "Ada's lab")
    assert secret not in listed
    key_id = next(line.split()[0] for line in listed.splitlines() if line.endswith("rack 7"))
    request = urllib.request.Request(f"{server.base_url}/v1/projects", headers={"Authorization": f"Bearer {secret}"})
    assert urllib.request.urlopen(request, timeout=30).status == 200
    assert server.run("key", "revoke", key_id) == f"{key_id} is revoked."
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == 401
    caught.value.close()
    assert refused(server, "key", "revoke", key_id) == (1, f"No working key has the id {key_id}.")
    assert refused(server, "key", "new", "--org", "nowhere", "--name", "x")[0] == 1


def test_nobody_gets_a_link_for_an_account_that_is_not_there(server: Server) -> None:
    assert refused(server, "user", "reset", "eve@example.org") == (1, "No account has the e-mail eve@example.org.")


def test_the_job_says_what_it_took(server: Server) -> None:
    key = server.key("admin")
    for method, path, body in (
        ("POST", "/v1/runs", b'{"project":"p","id":"doomed"}'),
        ("DELETE", "/v1/runs/doomed", None),
    ):
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        request = urllib.request.Request(server.base_url + path, body, headers, method=method)
        urllib.request.urlopen(request, timeout=30).close()
    assert server.run("gc") == "Gone for good: 1 runs."
    assert server.run("gc") == "Nothing to take away."
