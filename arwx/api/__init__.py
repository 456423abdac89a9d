"""JSON under /v1. Fail-closed: without a valid key everything under it is 401, known address or not."""

from flask import Blueprint, Flask

from arwx.blobstore import open_store
from arwx.config import Settings
from arwx.quotas import Quotas

bp = Blueprint("api", __name__, url_prefix="/v1")
# What needs no key. Each handler says so itself, in its declaration (`operation`).
public = Blueprint("service", __name__)


def init_app(app: Flask) -> None:
    """Attach the blob store, the key check and the routes."""
    from arwx.api import (  # noqa: F401
        agent,
        artifacts,
        blobs,
        charts,
        experiments,
        files,
        guard,
        ingest,
        keys,
        openapi,
        pictures,
        progress,
        projects,
        runs,
        service,
        sessions,
        snapshots,
    )

    settings: Settings = app.extensions["arwx"]
    app.extensions["arwx.blobs"] = open_store(settings.blobs_at, app.extensions["arwx.db"])
    openapi.init_app(app)
    app.extensions["arwx.quotas"] = Quotas(app.extensions["arwx.db"], settings.rate, settings.quota_bytes)
    app.before_request(guard.admit)
    app.after_request(guard.tell_left)
    app.register_blueprint(bp)
    app.register_blueprint(public)
