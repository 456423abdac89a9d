"""What anybody may ask without a key: is the service alive, is it ready, and the wheel of the SDK."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from flask import Response, abort, current_app, render_template, request, send_file

from arwx import db, downloads, schema, web
from arwx.api import answers, public, shapes
from arwx.api.operation import HTML, PUBLIC, TEXT, ZIP, operation
from arwx.errors import NotFound

_WHEELS = Path(__file__).parents[2] / "dist"
_VERSION = re.compile(r"arwandb-(\d+(?:\.\d+)*)-py3-none-any\.whl\Z")


@dataclass(frozen=True)
class Wheel:
    """One published version of the SDK."""

    name: str
    version: str
    sha256: str
    path: Path


def find_wheels() -> list[Wheel]:
    """The wheels that were built before the server started, newest first; only these are ever served."""
    found = []
    for path in _WHEELS.glob("arwandb-*.whl"):
        if match := _VERSION.match(path.name):
            found.append(Wheel(path.name, match[1], hashlib.sha256(path.read_bytes()).hexdigest(), path))
    return sorted(found, key=lambda wheel: [int(part) for part in wheel.version.split(".")], reverse=True)


@public.get("/health")
@operation(PUBLIC, gives=answers.Health)
def health() -> Response:
    """The process is alive. It asks nothing else."""
    return shapes.answer({"status": "ok"})


@public.get("/ready")
@operation(PUBLIC, gives=answers.Readiness, fails=[503])
def ready() -> Response:
    """The database answers and has the schema of this version, the blob store works; 503 says what is missing."""
    with db.current().reading() as session:
        trouble = schema.trouble(session)
    trouble = trouble or downloads.store().trouble()
    return shapes.answer(
        {"status": "not ready", "reason": trouble} if trouble else {"status": "ready"}, 503 if trouble else 200
    )


@public.get("/metrics")
@operation(PUBLIC, gives=TEXT, fails=[404])
def get_metrics_of_server() -> Response:
    """What the server counts about itself, for Prometheus; with `Authorization: Bearer` and ARWX_METRICS_TOKEN."""
    token = web.settings().metrics_token
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not token:
        raise NotFound("Nothing is counted here: ARWX_METRICS_TOKEN is not set.")
    from arwx import metrics  # only where it is wanted: it costs memory

    if not metrics.is_token(given, token):
        raise NotFound("Nothing is counted here: ARWX_METRICS_TOKEN is not set.")
    return Response(metrics.text(), mimetype="text/plain", headers={"Cache-Control": "no-store"})


@public.get("/sdk/")
@operation(PUBLIC, gives=HTML)
def sdk_index() -> str:
    """A page that `pip install --find-links` reads."""
    return render_template("sdk/index.html", wheels=current_app.extensions["arwx.wheels"], base_url=web.base_url())


@public.get("/sdk/latest.json")
@operation(PUBLIC, gives=answers.SdkVersion, fails=[404])
def sdk_latest() -> Response:
    """The newest version of the SDK and where it is."""
    wheels: list[Wheel] = current_app.extensions["arwx.wheels"]
    if not wheels:
        abort(404, "This server has no wheel of the SDK. Build it with: make setup")
    newest = wheels[0]
    return shapes.answer(
        {"version": newest.version, "url": f"{web.base_url()}/sdk/{newest.name}", "sha256": newest.sha256}
    )


@public.get("/sdk/<name>")
@operation(PUBLIC, gives=ZIP, in_parts=True)
def sdk_wheel(name: str) -> Response:
    """One wheel."""
    wheels: list[Wheel] = current_app.extensions["arwx.wheels"]
    wheel = next((wheel for wheel in wheels if wheel.name == name), None)
    if wheel is None:
        abort(404, "No such wheel.")
    return send_file(
        wheel.path,
        mimetype="application/zip",
        as_attachment=True,
        download_name=wheel.name,
        etag=wheel.sha256,
        conditional=True,
        max_age=300,
    )
