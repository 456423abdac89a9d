"""One's own settings: the password, the sessions, reset links, and organizations."""

import re
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask

from arwx import config, create_app, people
from tests.make import Caller
from tests.ui.conftest import PASSWORD, Visitor

NEW = "a better horse battery"


def change(visitor: Visitor, current: str = PASSWORD, new: str = NEW) -> object:
    return visitor.send("/settings/account", "/settings/account/password", current=current, password=new)


def test_a_changed_password_ends_all_other_sessions(ada_at_home: Visitor, app: Flask) -> None:
    phone = Visitor(app)
    phone.log_in("ada@example.org")
    answer = change(ada_at_home)
    assert "The password is changed" in answer.text
    assert ada_at_home.get("/settings").status_code == 200
    assert phone.get("/settings").status_code == 302
    assert phone.log_in("ada@example.org", PASSWORD).status_code == 401
    assert phone.log_in("ada@example.org", NEW).status_code == 302


@pytest.mark.parametrize(
    ("current", "new", "said"),
    [
        ("wrong", NEW, "is not your password"),
        (PASSWORD, "short", "8 to 256"),
        (PASSWORD, "password1", "others would try"),
    ],
)
def test_a_password_is_not_changed_by_halves(
    ada_at_home: Visitor, stranger: Visitor, current: str, new: str, said: str
) -> None:
    answer = change(ada_at_home, current, new)
    assert answer.status_code == 422
    assert said in answer.text
    assert f'"{new}"' not in answer.text
    assert stranger.log_in("ada@example.org").status_code == 302


def test_the_current_password_cannot_be_guessed_in_an_open_session(ada_at_home: Visitor) -> None:
    for _ in range(10):
        assert change(ada_at_home, "wrong").status_code == 422
    answer = change(ada_at_home)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 800


def test_sessions_are_listed_and_ended_one_by_one_or_all(ada_at_home: Visitor, app: Flask) -> None:
    devices = []
    for agent in (
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "<script>alert(1)</script>",
    ):
        device = Visitor(app)
        device.client.environ_base["HTTP_USER_AGENT"] = agent
        device.client.environ_base["REMOTE_ADDR"] = "192.0.2.33"
        device.log_in("ada@example.org")
        devices.append(device)
    page = ada_at_home.get("/settings/account").text
    assert "Firefox on Linux" in page
    assert "192.0.2.33" in page
    assert "this session" in page
    assert "<script>alert" not in page
    found = re.findall(r"(/settings/account/sessions/[0-9a-f]+/end)", page)
    assert len(found) == 2
    for device in devices:
        cookie = device.client.get_cookie("arwx")
        assert cookie is not None
        assert cookie.value not in page
    ada_at_home.send("/settings/account", found[0])
    assert sorted(device.get("/settings").status_code for device in devices) == [200, 302]
    assert ada_at_home.send("/settings/account", found[0]).status_code == 404
    ada_at_home.send("/settings/account", "/settings/account/sessions/end")
    assert [device.get("/settings").status_code for device in devices] == [302, 302]
    assert ada_at_home.get("/settings").status_code == 200


def test_the_sessions_of_others_cannot_be_ended(ada_at_home: Visitor, mallory_at_home: Visitor, app: Flask) -> None:
    phone = Visitor(app)
    phone.log_in("ada@example.org")
    place = re.findall(r"(/settings/account/sessions/[0-9a-f]+/end)", ada_at_home.get("/settings/account").text)[0]
    assert mallory_at_home.send("/settings/account", place).status_code == 404
    assert phone.get("/settings").status_code == 200


def test_a_login_ends_the_session_that_the_browser_had(ada_at_home: Visitor, app: Flask) -> None:
    planted = ada_at_home.client.get_cookie("arwx")
    assert planted is not None
    page = ada_at_home.get("/settings").text
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token is not None
    form = {"csrf_token": token[1], "email": "ada@example.org", "password": PASSWORD}
    assert ada_at_home.client.post("/login", data=form).status_code == 302
    fresh = ada_at_home.client.get_cookie("arwx")
    assert fresh is not None
    assert fresh.value != planted.value
    thief = app.test_client()
    thief.set_cookie("arwx", planted.value)
    assert thief.get("/settings").status_code == 302
    # Whoever planted the cookie knows its form token: it is good for nothing any more.
    assert ada_at_home.client.post("/logout", data={"csrf_token": token[1]}).status_code == 403


def reset_path(app: Flask, email: str = "ada@example.org") -> str:
    with app.extensions["arwx.db"].reading() as db:
        user = people.find(db, email)
        assert user is not None
        return f"/reset/{people.reset_token(app.extensions['arwx'].secret_key, user)}"


def test_a_reset_link_works_once_and_ends_all_sessions(ada_at_home: Visitor, stranger: Visitor, app: Flask) -> None:
    path = reset_path(app)
    assert "ada@example.org" in stranger.get(path).text
    assert stranger.send(path, path, password="short").status_code == 422
    assert stranger.send(path, path, password=NEW).headers["Location"] == "/login"
    assert ada_at_home.get("/settings").status_code == 302
    assert "older than an hour" in stranger.get(path).text
    assert stranger.send("/login", path, password="another horse battery").status_code == 404
    assert stranger.log_in("ada@example.org", NEW).status_code == 302


def test_a_reset_link_that_is_old_or_altered_opens_nothing(
    ada_at_home: Visitor, stranger: Visitor, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = reset_path(app)
    assert stranger.get(path[:-2] + ("xx" if path[-2:] != "xx" else "yy")).status_code == 404
    monkeypatch.setattr(people, "RESET_LASTS_S", -1)
    assert stranger.get(path).status_code == 404


class Post(socketserver.StreamRequestHandler):
    """A mail server of a few words, which keeps what it is sent."""

    kept: list[str]

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        lines: list[str] = []
        while line := self.rfile.readline().decode().strip():
            if line.upper().startswith("DATA"):
                self.wfile.write(b"354 go on\r\n")
                while (part := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                    lines.append(part)
                self.kept.append("\n".join(lines))
            if line.upper().startswith("QUIT"):
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 fine\r\n")


@pytest.fixture
def post() -> Iterator[tuple[int, list[str]]]:
    kept: list[str] = []
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), type("Kept", (Post,), {"kept": kept}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], kept
    server.shutdown()
    server.server_close()


def wait_for(kept: list[str], count: int) -> None:
    for _ in range(200):
        if len(kept) >= count:
            return
        threading.Event().wait(0.02)


def test_a_forgotten_password_comes_by_mail_and_tells_nobody_who_has_an_account(
    ada_at_home: Visitor, settings: config.Settings, post: tuple[int, list[str]]
) -> None:
    port, kept = post
    app = create_app(replace(settings, smtp_url=f"smtp://127.0.0.1:{port}?from=arwx@example.org"))
    stranger = Visitor(app)
    known = stranger.send("/forgot", "/forgot", email="ada@example.org")
    unknown = stranger.send("/forgot", "/forgot", email="nobody@example.org")
    assert known.status_code == unknown.status_code == 200
    assert re.sub(r'value="[^"]+"', "", known.text) == re.sub(r'value="[^"]+"', "", unknown.text)
    wait_for(kept, 1)
    assert len(kept) == 1
    assert "To: ada@example.org" in kept[0]
    link = re.search(r"http://localhost(/reset/\S+)", kept[0].replace("=\n", "").replace("=3D", "="))
    assert link is not None
    assert stranger.send(link[1], link[1], password=NEW).status_code == 302
    for _ in range(8):
        stranger.send("/forgot", "/forgot", email="ada@example.org")
    assert stranger.send("/forgot", "/forgot", email="ada@example.org").status_code == 429
    app.extensions["arwx.db"].engine.dispose()


def test_an_invitation_is_mailed_where_there_is_a_mail_server(
    ada_at_home: Visitor, settings: config.Settings, post: tuple[int, list[str]]
) -> None:
    port, kept = post
    app = create_app(replace(settings, smtp_url=f"smtp://127.0.0.1:{port}?from=arwx@example.org"))
    ada = Visitor(app)
    ada.log_in("ada@example.org")
    ada.send("/settings/members", "/settings/members/invite", email="dana@example.org", role="member")
    wait_for(kept, 1)
    assert "To: dana@example.org" in kept[0]
    assert "/invitations/" in kept[0]
    app.extensions["arwx.db"].engine.dispose()


def test_without_a_mail_server_the_page_says_who_can_help(stranger: Visitor) -> None:
    assert "arwx user reset" in stranger.get("/forgot").text


def test_one_more_organization_is_made_and_one_goes_to_and_fro(ada_at_home: Visitor, ada: Caller) -> None:
    ada.run("ada-alone")
    assert "ada-alone" in ada_at_home.get("/").text
    answer = ada_at_home.send("/organizations/new", "/organizations/new", organization="Vision group")
    assert answer.headers["Location"] == "/"
    front = ada_at_home.get("/").text
    assert "Vision group" in front
    assert "ada-alone" not in front
    assert ada_at_home.get("/p/ada-alone").status_code == 404
    slugs = re.findall(r'name="slug" value="([^"]+)"', front)
    assert slugs == ["ada-s-lab", "vision-group"]
    before = ada_at_home.client.get_cookie("arwx")
    ada_at_home.send("/", "/organizations/switch", slug="ada-s-lab")
    assert ada_at_home.get("/p/ada-alone").status_code == 200
    after = ada_at_home.client.get_cookie("arwx")
    assert before is not None
    assert after is not None
    assert after.value != before.value
    ada_at_home.client.set_cookie("arwx", before.value)
    assert ada_at_home.get("/settings").headers["Location"].startswith("/login")  # the session before is over


@pytest.mark.parametrize("slug", ["elsewhere", "nothing", "", "a\x00b"])
def test_nobody_goes_where_they_do_not_belong(ada_at_home: Visitor, mallory_at_home: Visitor, slug: str) -> None:
    assert ada_at_home.send("/", "/organizations/switch", slug=slug).status_code == 404
    assert "Ada&#39;s lab" in ada_at_home.get("/").text


def test_a_wrong_name_of_an_organization_is_told(ada_at_home: Visitor) -> None:
    answer = ada_at_home.send("/organizations/new", "/organizations/new", organization="a/b")
    assert answer.status_code == 422
    assert "must not contain" in answer.text
    assert ada_at_home.send("/settings/organization", "/settings/organization", name="").status_code == 422
    ada_at_home.send("/settings/organization", "/settings/organization", name="Ada & co")
    assert "Ada &amp; co" in ada_at_home.get("/settings").text


def test_where_sign_up_is_closed_nobody_makes_organizations(ada_at_home: Visitor, settings: config.Settings) -> None:
    app = create_app(replace(settings, signup="closed"))
    ada = Visitor(app)
    ada.log_in("ada@example.org")
    assert ada.send("/organizations/new", "/organizations/new", organization="Second").status_code == 403
    app.extensions["arwx.db"].engine.dispose()


def test_a_member_revokes_their_own_key_and_no_other(ada_at_home: Visitor, ben_at_home: Visitor) -> None:
    ada_at_home.send("/settings", "/settings/keys", name="ada's", level="read")
    ben_at_home.send("/settings", "/settings/keys", name="ben's", level="write")
    found = re.findall(r"/settings/keys/(key_[^/]+)/revoke", ben_at_home.get("/settings").text)
    assert len(set(found)) == 1
    everything = set(re.findall(r"/settings/keys/(key_[^/]+)/revoke", ada_at_home.get("/settings").text))
    for key_id in everything - set(found):
        assert ben_at_home.send("/settings", f"/settings/keys/{key_id}/revoke").status_code == 403
    assert ben_at_home.send("/settings", f"/settings/keys/{found[0]}/revoke").status_code == 302
    assert ben_at_home.send("/settings", "/settings/keys", name="too much", level="admin").status_code == 403
