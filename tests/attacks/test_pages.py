"""What people write is text, everywhere: a crawl of all pages in a real browser with poison in every field."""

import hashlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import pytest
from playwright.sync_api import Browser, Error, Page

from tests.server import Server

# Without a slash or a colon, for names; with both, for everything else.
NAME = "\"'><svg onload=alert(1)><img src=x onerror=alert(2)>{{7*7}}"
TEXT = NAME + "</script><script>alert(3)</script></title></textarea>javascript:alert(4)]]><script>alert(5)</script>"
COMMIT = "".join(TEXT.split())[:64]
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(6)"><script>alert(7)</script><text>{NAME}</text></svg>'
MOST_PAGES = 150


class Poisoner:
    """A server in which every text is poison, and who fills it."""

    def __init__(self, server: Server) -> None:
        self.server, self.key = server, server.key("admin", org=NAME[:100])

    def send(self, method: str, path: str, body: Any = None, raw: bytes | None = None) -> tuple[int, dict[str, Any]]:
        data = raw if raw is not None else json.dumps(body).encode()
        kind = "application/octet-stream" if raw is not None else "application/json"
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": kind}
        request = urllib.request.Request(self.server.base_url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def must(self, method: str, path: str, body: Any = None, raw: bytes | None = None) -> dict[str, Any]:
        status, answer = self.send(method, path, body, raw)
        assert status in {200, 201}, f"{method} {path} → {status} {answer}"
        return answer

    def fill(self) -> None:
        # An inner dot: names of metrics and of config entries are written in many places.
        goal = {"objective_metric": TEXT[:255], "target": 0.5, "lower_is_better": True, "description": TEXT}
        self.must("POST", "/v1/projects", {"name": NAME, **goal})
        self.must("POST", "/v1/projects", {"name": "javascript-alert(8)"})
        for run_id in ("one", "two"):
            fields = {
                "name": TEXT[:255],
                "group": TEXT[:255],
                "job_type": TEXT[:255],
                "notes": TEXT,
                "tags": [TEXT[:128]],
            }
            config = {TEXT: TEXT, "nested": {TEXT: TEXT}, "list": [TEXT], "number": run_id == "one"}
            host = {"hostname": TEXT, TEXT: TEXT}
            self.must(
                "POST",
                "/v1/runs",
                {"project": NAME, "id": run_id, "config": config, "host": host, "commit": COMMIT, **fields},
            )
            metrics = {TEXT[:255]: 1.0, f"group/{TEXT}"[:255]: 2.0, "loss": 3.0}
            points = [
                {"step": step, "ts": 1_764_000_000.0 + step, "metrics": metrics, "nonfinite": [TEXT[:200]]}
                for step in range(20)
            ]
            batch = {"run_id": run_id, "writer_id": TEXT[:64], "epoch": "e", "first_seq": 0, "points": points}
            status, _ = self.send("POST", "/v1/ingest", batch)
            if status != 200:
                self.must("POST", "/v1/ingest", {**batch, "writer_id": "w"})
        self.must("POST", "/v1/runs/one/finish", {"summary": {TEXT: TEXT}})
        self.must("POST", "/v1/sessions", {"project": NAME, "id": "s", "tag": TEXT[:128], "branch": TEXT[:255]})
        shas = []
        for content in (SVG.encode(), TEXT.encode()):
            shas.append((self.must("POST", "/v1/blobs", raw=content)["sha"], len(content)))
        for number, run_id in enumerate(("one", "two")):
            experiment = {
                "session_id": "s",
                "id": f"e{number}",
                "note": TEXT,
                "run_id": run_id,
                "commit": COMMIT,
                "parent": COMMIT,
            }
            self.must(
                "POST",
                "/v1/experiments",
                {**experiment, "diff": f"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-{NAME}\n+{TEXT}\n", "config": {TEXT: TEXT}},
            )
            path = NAME.replace("/", "")[:60]
            entries = [
                {"path": f"{path}{number}.py", "sha": shas[number][0], "size": shas[number][1], "mode": "100644"}
            ]
            self.must("PUT", f"/v1/experiments/e{number}/tree", {"entries": entries})
            self.must(
                "POST", f"/v1/experiments/e{number}/decision", {"status": "keep", "score": 1.0 - number, "note": TEXT}
            )
            version = {
                "project": NAME,
                "name": NAME,
                "type": NAME,
                "entries": entries,
                "metadata": {TEXT: TEXT},
                "produced_by": f"e{number}",
            }
            self.must("POST", "/v1/artifacts/log", version)
        self.must(
            "PUT", f"/v1/artifacts/{quote(NAME, safe='')}/refs/winner?project={quote(NAME, safe='')}", {"version": 1}
        )
        for name, content in (("evil.svg", SVG), ("evil.html", f"<html><body>{TEXT}</body></html>")):
            where = f"project={quote(NAME)}&name={quote(NAME.replace('/', '')[:80] + name)}&run_id=one"
            self.must("POST", f"/v1/files/upload?{where}", raw=content.encode())
        self.must(
            "POST",
            "/v1/files",
            {"project": NAME, "name": "link", "uri": f"https://example.org/{quote(TEXT)}", "run_id": "one"},
        )
        self.must("POST", "/v1/keys", {"name": NAME, "scope": "read"})


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Poisoner]:
    server = Server(tmp_path_factory.mktemp("server"), ARWX_RATE="0").start()
    poisoner = Poisoner(server)
    poisoner.fill()
    yield poisoner
    server.stop()


def watched(page: Page, faults: list[str]) -> None:
    def dialog(found: Any) -> None:
        faults.append(f"dialog {found.message} at {page.url}")
        found.dismiss()

    page.on("dialog", dialog)
    page.on(
        "console",
        lambda message: faults.append(f"{page.url}: {message.text}") if "Security Policy" in message.text else None,
    )
    page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))


@pytest.mark.browser
def test_no_page_runs_what_was_written_into_it(browser: Browser, poisoned: Poisoner) -> None:
    base, faults = poisoned.server.base_url, []
    context = browser.new_context(accept_downloads=False)
    page = context.new_page()
    watched(page, faults)
    page.goto(f"{base}/login")
    page.fill("input[name=email]", "ada@example.org")
    page.fill("input[name=password]", "correct horse battery")
    page.click("main button[type=submit]")
    page.wait_for_url(f"{base}/")
    waiting, seen, with_poison = ["/"], set(), 0
    while waiting and len(seen) < MOST_PAGES:
        path = waiting.pop(0)
        # Of pages that differ in how they are sorted or filtered, a few are enough.
        kind = re.sub(r"[0-9a-f]{16,}|\d+", "#", urlsplit(path).path)
        if path in seen or sum(one.partition("?")[0] == path.partition("?")[0] for one in seen) > 4 or "logout" in kind:
            continue
        seen.add(path)
        try:
            page.goto(base + path, wait_until="load")
        except Error as error:
            if "Download is starting" not in str(error) and "ERR_ABORTED" not in str(error):
                raise
            continue
        page.wait_for_timeout(150)
        with_poison += "onerror=alert" in page.evaluate("document.documentElement.textContent")
        assert page.evaluate("document.querySelectorAll('svg[onload], img[onerror], img[src=x]').length") == 0, path
        links = page.evaluate(
            "[...document.querySelectorAll('a[href], [hx-get]')].map(e => e.getAttribute('href') || e.getAttribute('hx-get'))"
        )
        for link in links:
            there = urlsplit(urljoin(base + path, link))
            assert there.scheme in {"http", "https"}, f"{path} links to {link[:80]}"
            if there.netloc == urlsplit(base).netloc:
                waiting.append(there.path + (f"?{there.query}" if there.query else ""))
    context.close()
    print(f"crawled {len(seen)} pages, {with_poison} of them with poison in them as text")
    assert faults == []
    assert len(seen) >= 15
    assert with_poison >= 8


@pytest.mark.browser
def test_bytes_of_people_are_saved_and_never_shown(browser: Browser, poisoned: Poisoner) -> None:
    """An SVG and a page, uploaded as blob and as file: every address of their bytes starts a download."""
    sha = hashlib.sha256(SVG.encode()).hexdigest()
    headers = {"Authorization": f"Bearer {poisoned.key}"}
    request = urllib.request.Request(f"{poisoned.server.base_url}/v1/files?run_id=one", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        files = [file for file in json.loads(answer.read())["items"] if file["sha"]]
    assert len(files) == 2
    context = browser.new_context(extra_http_headers=headers)
    page, faults = context.new_page(), []
    watched(page, faults)
    for path in (f"/v1/blobs/{sha}", *(f"/v1/files/{file['id']}/content" for file in files)):
        with pytest.raises(Error, match=r"Download is starting|ERR_ABORTED"):
            page.goto(poisoned.server.base_url + path)
        with urllib.request.urlopen(
            urllib.request.Request(poisoned.server.base_url + path, headers=headers), timeout=30
        ) as answer:
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["Content-Disposition"].startswith("attachment")
            assert "sandbox" in answer.headers["Content-Security-Policy"]
            assert "\n" not in answer.headers["Content-Disposition"]
        with pytest.raises(urllib.error.HTTPError):  # nobody chooses another type
            urllib.request.urlopen(
                urllib.request.Request(f"{poisoned.server.base_url}{path}?type=text/html", headers=headers), timeout=30
            )
    context.close()
    assert faults == []
