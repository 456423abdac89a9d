"""The whole way of a newcomer, with the real parts: browser, gunicorn, wheel, training process.

Sign-up, a key, a training script that logs through the wheel from /sdk/, and a chart that grows without a reload. The
server is killed in the middle; the training does not notice, and the receipt is intact.
"""

import json
import os
import re
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.server import Server

TRAINING = """
import os, sys, time
import arwandb

run = arwandb.init(project="char-lm", name="first light", config={"lr": 3e-4})
worst = 0.0
for step in range(int(os.environ["STEPS"])):
    started = time.perf_counter()
    arwandb.log({"loss": 2.0 / (1 + step / 50), "val/bpb": 3.0 - step / 1000})
    worst = max(worst, time.perf_counter() - started)
    time.sleep(0.01)
arwandb.finish()
print(run.id, worst)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path).start()
    yield server
    server.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    yield context.new_page()
    context.close()


def install(server: Server, site: Path, *arguments: str) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check", "--no-cache-dir"]
    subprocess.run([*pip, "--target", str(site), *arguments], check=True, env=server.environment)


def training(server: Server, site: Path, key: str, steps: int) -> subprocess.Popen[str]:
    environment = {
        **server.environment,
        "PYTHONPATH": str(site),
        "ARWANDB_BASE_URL": server.base_url,
        "ARWANDB_API_KEY": key,
        "ARWANDB_DIR": str(server.folder / "spool"),
        "STEPS": str(steps),
    }
    return subprocess.Popen(
        [sys.executable, "-c", TRAINING], env=environment, text=True, stdout=subprocess.PIPE, cwd=site
    )


def receipt(server: Server, key: str, run_id: str) -> dict[str, object]:
    request = urllib.request.Request(
        f"{server.base_url}/v1/runs/{run_id}/integrity", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, object] = json.load(answer)
        return found


@pytest.mark.browser
def test_from_sign_up_to_a_chart_that_grows(server: Server, page: Page, tmp_path: Path) -> None:
    page.goto(server.base_url)
    expect(page).to_have_url(re.compile("/signup"))  # the very first visitor has no account to log in with
    page.fill("input[name=email]", "ada@example.org")
    page.fill("input[name=password]", "correct horse battery")
    page.fill("input[name=organization]", "Ada's lab")
    page.click("main button[type=submit]")
    page.goto(f"{server.base_url}/settings")
    page.fill("input[name=name]", "laptop")
    page.click("form[action$='/settings/keys'] button[type=submit]")
    page.locator(".fresh").wait_for()
    key = re.search(r"arwx_live_[0-9A-Za-z]{30}", page.content())
    assert key, "the key is shown once, ready to paste"
    page.reload()
    assert key[0] not in page.content()

    site = tmp_path / "site"
    install(server, site, f"{server.base_url}/sdk/arwandb-1.3.1-py3-none-any.whl")
    process = training(server, site, key[0], steps=1200)

    page.goto(f"{server.base_url}/p/char-lm")
    link = page.get_by_role("link", name="first light").first
    for _ in range(60):
        if link.count():
            break
        page.wait_for_timeout(250)
        page.reload()
    link.click()
    line = page.locator("figure:has-text('loss') svg path.line, figure:has-text('loss') svg polyline").first
    line.wait_for(state="attached", timeout=20_000)
    before = line.get_attribute("d") or ""
    page.evaluate("window.notReloaded = true")
    # The server dies and comes back while the training runs and the page is open.
    server.kill()
    server.start()
    expect(line).not_to_have_attribute("d", before, timeout=30_000)
    assert page.evaluate("window.notReloaded") is True

    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    run_id, worst = out.split()
    assert float(worst) < 1, "no call of log() waited for the server"
    found = receipt(server, key[0], run_id)
    assert (found["lost"], found["intact"]) == (0, True)
    history = urllib.request.Request(
        f"{server.base_url}/v1/runs/{run_id}/metrics?keys=loss", headers={"Authorization": f"Bearer {key[0]}"}
    )
    with urllib.request.urlopen(history, timeout=30) as answer:
        assert [entry["step"] for entry in json.load(answer)["items"]] == list(range(1200))


def test_both_install_lines_and_the_unzipped_copy_work(server: Server, tmp_path: Path) -> None:
    wheel = "arwandb-1.3.1-py3-none-any.whl"
    install(server, tmp_path / "by-link", f"{server.base_url}/sdk/{wheel}")
    offline = {**os.environ, "PIP_NO_INDEX": "1"}
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir"]
    line = ["--upgrade", "arwandb", "--find-links", f"{server.base_url}/sdk/", "--no-deps"]
    subprocess.run([*pip, *line, "--target", str(tmp_path / "by-index")], check=True, env=offline)
    urllib.request.urlretrieve(f"{server.base_url}/sdk/{wheel}", tmp_path / "arwandb.whl")
    with zipfile.ZipFile(tmp_path / "arwandb.whl") as archive:
        archive.extractall(tmp_path / "unzipped", [n for n in archive.namelist() if n.startswith("arwandb/")])
    for site in ("by-link", "by-index", "unzipped"):
        code = "import arwandb; print(arwandb.__version__, arwandb.__file__)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(tmp_path / site)},
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        )
        version, path = done.stdout.split()
        assert version == "1.3.1"
        assert path.startswith(str(tmp_path / site))


def test_a_dead_server_stops_no_training_and_sync_delivers(server: Server, tmp_path: Path) -> None:
    key = server.key()
    site = tmp_path / "site"
    install(server, site, f"{server.base_url}/sdk/arwandb-1.3.1-py3-none-any.whl")
    server.kill()
    process = training(server, site, key, steps=50)
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 0
    server.start()
    run_id = out.split()[0]
    environment = {
        **server.environment,
        "PYTHONPATH": str(site),
        "ARWANDB_BASE_URL": server.base_url,
        "ARWANDB_API_KEY": key,
    }
    sync = [sys.executable, "-m", "arwandb", "sync", str(server.folder / "spool")]
    for _ in range(2):  # any number of times
        subprocess.run(sync, check=True, env=environment, cwd=site)
    found = receipt(server, key, run_id)
    assert (found["intact"], found["lost"]) == (True, 0)
