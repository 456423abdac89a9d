"""arwx: a small, exact experiment tracker for people and agents who do machine-learning research."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from arwx.config import Settings

__version__ = "0.1.0"


def create_app(settings: "Settings | None" = None) -> "Flask":
    """The application, its parts attached in order. Without settings they come from the environment."""
    # Only here, so that `arwx serve` does not load everything just to make way for the process that serves.
    from flask_compress import Compress
    from werkzeug.middleware.proxy_fix import ProxyFix

    from arwx import api, config, db, logins, turns, ui, web
    from arwx.api import guard, service

    settings = settings or config.from_environment()
    app = db.Arwx(__name__)
    app.config.update(
        SECRET_KEY=settings.secret_key,
        SESSION_COOKIE_NAME="__Host-arwx" if settings.is_https else "arwx",
        SESSION_COOKIE_SECURE=settings.is_https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=logins.LIFETIME,
        COMPRESS_ALGORITHM=["zstd", "br", "gzip"],
        COMPRESS_MIN_SIZE=1024,
        COMPRESS_BR_LEVEL=4,
        COMPRESS_STREAMS=False,
        SEND_FILE_MAX_AGE_DEFAULT=3600,
    )
    app.extensions["arwx"] = settings
    if settings.proxies:
        # Addresses that callers themselves may have written are in front of these.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.proxies, x_proto=settings.proxies)  # type: ignore[method-assign]
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["arwx.wheels"] = service.find_wheels()
    web.init_app(app, settings)
    turns.init_app(app)
    db.init_app(app, settings)
    api.init_app(app)
    ui.init_app(app)
    web.answer_failures(app, guard.speaks_json, guard.problem, ui.failure)
    Compress(app)
    return app
