"""`make demo`: a server with a demo account, a real training that logs into it twice, and a short research loop on it.

Everything is kept under the data folder, so a second call finds its account again and adds more. The server stays up
afterwards for looking around; Ctrl-C stops it.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
ARWX = Path(sys.executable).parent / "arwx"
ORG, EMAIL = "Demo lab", "demo@example.org"
TARGET = 2.2
TRAININGS = [
    ["--name", "baseline", "--lr", "3e-3", "--seed", "1"],
    ["--name", "hot", "--lr", "2e-2", "--seed", "1"],
]


def main() -> int:
    data = Path(os.environ.get("ARWX_DATA_DIR") or ROOT / "data").absolute()
    port = os.environ.get("PORT") or "8090"
    base_url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "ARWX_DATA_DIR": str(data),
        "PORT": port,
        "ARWX_HOST": os.environ.get("ARWX_HOST", "127.0.0.1"),
    }
    subprocess.run([ARWX, "migrate"], env=environment, check=True)
    demo = data / "demo"
    demo.mkdir(parents=True, exist_ok=True)
    password = account(demo / "password", environment)
    key = subprocess.run(
        [ARWX, "key", "new", "--org", ORG, "--name", "demo"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # takes the server along, as Ctrl-C does
    with (demo / "server.log").open("ab") as log:
        server = subprocess.Popen([ARWX, "serve"], env=environment, cwd=ROOT, stdout=log)
    try:
        wait_until_ready(base_url, server)
        print(f"\n  Open {base_url}/p/char-lm and log in as {EMAIL} with the password {password}\n", flush=True)
        set_goal(base_url, key)
        install_sdk(base_url, demo / "site")
        environment = logging_to(base_url, key, demo)
        train(environment)
        print(
            f"\n  Both runs are in. A few experiments on the model now: {base_url}/p/char-lm/experiments\n", flush=True
        )
        research(environment)
        print(f"\n  All is in. {base_url}/p/char-lm shows it; Ctrl-C stops the server.\n", flush=True)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        server.wait()


def account(kept: Path, environment: dict[str, str]) -> str:
    """The password of the demo account, which is made at the first call."""
    if not kept.exists():
        password = secrets.token_urlsafe(9)
        subprocess.run(
            [ARWX, "user", "add", EMAIL, "--org", ORG, "--role", "owner", "--password-stdin"],
            env=environment, input=password + "\n", text=True, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        kept.touch(mode=0o600)
        kept.write_text(password)
    return kept.read_text()


def wait_until_ready(base_url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{base_url}/ready", timeout=2):
                return
        except OSError:
            if server.poll() is not None:
                sys.exit(server.returncode)
            time.sleep(0.1)
    sys.exit(f"The server does not answer on {base_url}.")


def set_goal(base_url: str, key: str) -> None:
    """What the project is after: it makes the metric the first chart."""
    goal = {"name": "char-lm", "objective_metric": "val_bpb", "lower_is_better": True, "target": TARGET}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{base_url}/v1/projects", json.dumps(goal).encode(), headers)
    urllib.request.urlopen(request, timeout=10).close()


def install_sdk(base_url: str, site: Path) -> None:
    """Install the SDK the way users do: from the running server."""
    with urllib.request.urlopen(f"{base_url}/sdk/latest.json", timeout=5) as answer:
        wheel = json.load(answer)["url"]
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--upgrade", "--target", str(site), wheel]
    subprocess.run(command, check=True)


def logging_to(base_url: str, key: str, demo: Path) -> dict[str, str]:
    """The environment of a process that logs into the demo."""
    return {
        **os.environ,
        "ARWANDB_BASE_URL": base_url,
        "ARWANDB_API_KEY": key,
        "ARWANDB_PROJECT": "char-lm",
        "ARWANDB_DIR": str(demo / "spool"),
        "PYTHONPATH": str(demo / "site"),
    }


def train(environment: dict[str, str]) -> None:
    steps = os.environ.get("DEMO_STEPS")
    for settings in TRAININGS:
        limited = [*settings, "--steps", steps] if steps else settings
        subprocess.run(
            [sys.executable, ROOT / "examples" / "char_lm" / "train.py", *limited], env=environment, check=True
        )


def research(environment: dict[str, str]) -> None:
    """The research loop in short: eight experiments, seconds each."""
    steps = os.environ.get("DEMO_STEPS")
    characters = ["--characters", str(128 * int(steps))] if steps else []
    loop = [sys.executable, ROOT / "examples" / "char_lm" / "loop.py", "--short", "--target", str(TARGET), *characters]
    subprocess.run(loop, env=environment, check=True)


if __name__ == "__main__":
    sys.exit(main())
