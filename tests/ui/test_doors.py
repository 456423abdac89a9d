"""What keeps strangers out: forged forms, planted addresses, guessed passwords, caches, cookies."""

import io
from dataclasses import replace
from urllib.parse import quote

import pytest
from flask import Flask

from arwx import config, create_app, ui
from tests.make import Caller
from tests.ui.conftest import PASSWORD, Visitor

FORMS = ["/login", "/signup", "/logout", "/forgot", "/reset/x", "/invitations/x", "/settings/keys"]
FORMS += ["/settings/members/invite", "/settings/members/1/role", "/settings/organization/delete", "/p/x/delete"]
FORMS += ["/organizations/new", "/organizations/switch", "/settings/account/password", "/settings/account/sessions/end"]


def token_of(visitor: Visitor) -> str:
    page = visitor.get("/settings").text
    return page.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]


def test_every_form_is_in_the_list(app: Flask) -> None:
    """Each address that takes forms is refused without the token; those here stand for all of them."""
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("ui.") and (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}:
            path = rule.rule
            for name in rule.arguments:
                path = path.replace(f"<{name}>", "x").replace(f"<int(max=9007199254740991):{name}>", "1")
            assert client.post(path).status_code == 403, rule.rule


@pytest.mark.parametrize("path", FORMS)
def test_a_forged_form_is_refused_before_the_database_is_asked(
    ada_at_home: Visitor, ben_at_home: Visitor, path: str, queries: list[str]
) -> None:
    tokens = {"none": {}, "nonsense": {"csrf_token": "x"}, "of another session": {"csrf_token": token_of(ben_at_home)}}
    for kind, fields in tokens.items():
        queries.clear()
        answer = ada_at_home.client.post(path, data=fields)
        assert (answer.status_code, queries) == (403, []), kind
        assert "Send it once more" in answer.text
    assert ada_at_home.get("/settings").status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_form_that_another_site_sends_is_refused_even_with_the_token(
    ada_at_home: Visitor, site: str, queries: list[str]
) -> None:
    token = token_of(ada_at_home)
    queries.clear()
    data = {"csrf_token": token, "name": "forged", "level": "admin"}
    answer = ada_at_home.client.post("/settings/keys", data=data, headers={"Sec-Fetch-Site": site})
    assert (answer.status_code, queries) == (403, [])
    answer = ada_at_home.client.post("/settings/keys", data=data, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 200


def test_the_cookie_alone_opens_nothing_under_v1(ada_at_home: Visitor) -> None:
    assert ada_at_home.get("/v1/projects").status_code == 401
    assert ada_at_home.client.post("/v1/runs", json={"project": "x"}).status_code == 401


@pytest.mark.parametrize(
    "elsewhere",
    [
        *("//evil.test", "/\\evil.test", "https:evil.test", "/%09/evil.test", "/%2f/evil.test", "/%2Fevil.test"),
        *("///evil.test", "javascript:alert(1)", "https://evil.test", "evil.test", "/\tevil", "/ok\r\nSet-Cookie: a=b"),
        *("/%5cevil.test", "\\\\evil.test", "/%00", "", " /settings", "data:text/html,x", "/a\\b", "/\u2028"),
    ],
)
def test_nobody_is_sent_elsewhere_after_the_login(ada_at_home: Visitor, app: Flask, elsewhere: str) -> None:
    answer = Visitor(app).log_in("ada@example.org", next=elsewhere)
    assert answer.headers["Location"] == "/"
    assert ada_at_home.get(f"/login?next={quote(elsewhere)}").headers["Location"] == "/"


@pytest.mark.parametrize(
    "here", ["/settings", "/p/char-lm?keys=a%2Fb&x=time", "/p/m%C3%BCller", "/invitations/Wz.x-_y"]
)
def test_paths_of_our_own_are_kept(ada_at_home: Visitor, app: Flask, here: str) -> None:
    assert Visitor(app).log_in("ada@example.org", next=here).headers["Location"] == here
    assert ui.local(here) == here


def test_pages_are_kept_in_no_cache(ada_at_home: Visitor, stranger: Visitor, ada: Caller) -> None:
    ada.run("char-lm")
    pages = ("/", "/p/char-lm", "/settings", "/settings/members", "/settings/account", "/settings/organization")
    for path in (*pages, "/settings/audit", "/organizations/new", "/p/char-lm/delete", "/p/nothing"):
        headers = ada_at_home.get(path).headers
        assert "no-store" in headers["Cache-Control"], path
        assert "Cookie" in headers["Vary"], path
    for path in ("/login", "/signup", "/forgot"):
        assert "no-store" in stranger.get(path).headers["Cache-Control"]
    for path in ("/health", "/ready", "/sdk/", "/v1/openapi.json", "/static/mark.svg", "/v1/projects"):
        answer = ada_at_home.get(path)
        assert "Set-Cookie" not in answer.headers, path


def test_reading_pages_changes_nothing(ada_at_home: Visitor, ada: Caller, queries: list[str]) -> None:
    ada.run("char-lm")
    queries.clear()
    for path in ("/", "/p/char-lm", "/settings", "/settings/members", "/settings/account", "/settings/audit", "/login"):
        ada_at_home.get(path)
    assert [query for query in queries if not query.lstrip().upper().startswith(("SELECT", "WITH", "BEGIN"))] == []


def test_the_cookie_cannot_be_read_sent_along_or_set_by_others(settings: config.Settings, ada_at_home: Visitor) -> None:
    app = create_app(replace(settings, base_url="https://arwx.example.org"))
    visitor = Visitor(app)
    visitor.client.environ_base["wsgi.url_scheme"] = "https"
    login = visitor.client.get("/login", base_url="https://arwx.example.org")
    token = login.text.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]
    answer = visitor.client.post(
        "/login",
        data={"csrf_token": token, "email": "ada@example.org", "password": PASSWORD},
        base_url="https://arwx.example.org",
        headers={"Referer": "https://arwx.example.org/login"},
    )
    assert answer.status_code == 302
    cookies = answer.headers.getlist("Set-Cookie")
    assert len(cookies) == 1
    name, _, attributes = cookies[0].partition("=")
    assert name == "__Host-arwx"
    for attribute in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert attribute in attributes.split("; "), attribute
    assert "Domain" not in attributes
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")
    app.extensions["arwx.db"].engine.dispose()


def test_after_ten_wrong_passwords_the_page_says_how_long_to_wait(ada_at_home: Visitor, app: Flask) -> None:
    guesser = Visitor(app)
    said = {guesser.log_in("ada@example.org", "wrong password").status_code for _ in range(10)}
    assert said == {401}
    answer = guesser.log_in("ada@example.org", PASSWORD)
    assert answer.status_code == 429
    assert 800 < int(answer.headers["Retry-After"]) <= 900
    assert "Wait 15 minutes" in answer.text
    elsewhere = Visitor(app)
    elsewhere.client.environ_base["REMOTE_ADDR"] = "203.0.113.9"
    assert elsewhere.log_in("ada@example.org").status_code == 302


def test_an_address_that_the_caller_wrote_does_not_count_unless_a_proxy_stands_there(
    ada_at_home: Visitor, app: Flask, settings: config.Settings
) -> None:
    def tries(application: Flask) -> list[int]:
        answers = []
        for number in range(12):
            guesser = Visitor(application)
            guesser.client.environ_base["HTTP_X_FORWARDED_FOR"] = f"198.51.100.{number}"
            answers.append(guesser.log_in(f"nobody{number}@example.org", "wrong").status_code)
        return answers

    assert tries(app) == [401] * 10 + [429] * 2
    behind = create_app(replace(settings, proxies=1))
    assert tries(behind) == [401] * 12
    behind.extensions["arwx.db"].engine.dispose()


def test_a_known_and_an_unknown_email_get_the_same_page(ada_at_home: Visitor, stranger: Visitor) -> None:
    def said(email: str) -> str:
        text = stranger.log_in(email, "not the password").text
        return text.replace(email, "E").split("<main", 1)[1].split('name="csrf_token"')[0]

    assert said("ada@example.org") == said("nobody@example.org")


@pytest.mark.parametrize("signup", ["first", "closed"])
def test_who_is_not_invited_makes_no_account(ada_at_home: Visitor, settings: config.Settings, signup: str) -> None:
    app = create_app(replace(settings, signup=signup))
    stranger = Visitor(app)
    form = {"email": "eve@example.org", "password": PASSWORD, "organization": "Eve"}
    assert stranger.send("/login", "/signup", **form).status_code == 403
    assert stranger.log_in("eve@example.org").status_code == 401
    app.extensions["arwx.db"].engine.dispose()


def test_sign_ups_from_one_address_are_paced(settings: config.Settings, database_url: str) -> None:
    app = create_app(replace(settings, signup="open"))
    answers = []
    for number in range(12):
        form = {"email": f"m{number}@example.org", "password": PASSWORD, "organization": f"Lab {number}"}
        answers.append(Visitor(app).send("/signup", "/signup", **form).status_code)
    assert answers == [302] * 10 + [429] * 2
    app.extensions["arwx.db"].engine.dispose()


def test_a_form_that_says_nothing_of_who_may_send_it_is_for_owners(
    ada_at_home: Visitor, ben_at_home: Visitor, app: Flask
) -> None:
    app._got_first_request = False
    app.add_url_rule("/undeclared", "ui.undeclared", lambda: "done", methods=["POST"])
    assert ben_at_home.send("/settings", "/undeclared").status_code == 403
    assert ada_at_home.send("/settings", "/undeclared").status_code == 200


def test_a_form_has_an_end(ada_at_home: Visitor, queries: list[str]) -> None:
    token = token_of(ada_at_home)
    queries.clear()
    for data in (
        {"csrf_token": token, "name": "n" * 2**21},
        {"csrf_token": token, "name": (io.BytesIO(b"n" * 2**21), "n")},
    ):
        assert ada_at_home.client.post("/settings/keys", data=data).status_code == 413
    assert queries == []
