"""What a run is told: arguments first, then ARWANDB_* in the environment, then WANDB_*, then defaults."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from . import notice
from .errors import UsageError

DEFAULT_BASE_URL = "http://127.0.0.1:8090"
DEFAULT_FOLDER = "arwandb-spool"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What a name must not have: control and invisible characters, and what means something in addresses.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f/\\#?%:\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_LONGEST = {"name": 255, "group": 255, "job_type": 255, "notes": 65_536, "tag": 128}
_MOST_TAGS = 100
_MODES = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
_RESUME = {
    "allow": "allow",
    "must": "must",
    "never": "never",
    "auto": "allow",
    "true": "allow",
    "false": None,
    "": None,
}


class Settings:
    """The settings of one run, read once. Raises `UsageError` for values that cannot work."""

    def __init__(self, given: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._given = given or {}
        self._environ = environ
        self.base_url = str(self._pick("base_url", default=DEFAULT_BASE_URL)).rstrip("/")
        if not self.base_url.startswith(("http://", "https://")):
            raise UsageError(f"ARWANDB_BASE_URL must begin with http:// or https://, not {self.base_url!r}")
        self.project = self._name("project", "uncategorized")
        self.is_project_named = self._pick("project") is not None
        self.mode = self._mode()
        self.run_id: str | None = self._id("id", "RUN_ID")
        self.writer_id: str | None = self._id("writer_id")
        self.resume = self._resume()
        self.folder = _absolute(str(self._pick("dir", default=DEFAULT_FOLDER)))
        self.name: str | None = self._text("name")
        self.notes: str | None = self._text("notes")
        self.group: str | None = self._text("group", "RUN_GROUP")
        self.job_type: str | None = self._text("job_type")
        self.tags = tag_list(self._pick("tags"))
        self.has_system_metrics = _truth(self._pick("system_metrics", default=True))
        self.system_interval = max(1.0, self._seconds("system_interval", 15.0))
        self.flush_interval = max(0.05, self._seconds("flush_interval", 1.0))
        self.finish_timeout = max(0.0, self._seconds("finish_timeout", 15.0))
        self.is_git_disabled = _truth(self._pick("disable_git", default=False))
        self.max_diff_bytes = int(self._seconds("max_diff_bytes", 1 << 20))
        self.snapshot_max_file = int(self._seconds("snapshot_max_file", 5 << 20))
        self.is_silent = _truth(self._pick("silent", default=False))

    @property
    def api_key(self) -> str | None:
        """The key: from the environment, or what `python -m arwandb login` kept for this server."""
        return self._pick("api_key") or stored_key(self.base_url, self._environ)

    def _pick(self, name: str, variable: str | None = None, *, default: Any = None) -> Any:
        value = self._given.get(name)
        if value is not None:
            return value
        variable = variable or name.upper()
        for prefix in ("ARWANDB_", "WANDB_"):
            found = self._environ.get(prefix + variable)
            if found:
                return found
        return default

    def _text(self, name: str, variable: str | None = None) -> str | None:
        value = self._pick(name, variable)
        return None if value is None else fitting(value, name)

    def _name(self, name: str, default: str) -> str:
        value = str(self._pick(name, default=default))
        if not 1 <= len(value) <= 128 or _UNFIT.search(value) or value.strip() != value or value in {".", ".."}:
            raise UsageError(f"{name} must be 1 to 128 characters without / \\ # ? % : and outer spaces, not {value!r}")
        return value

    def _id(self, name: str, variable: str | None = None) -> str | None:
        value = self._pick(name, variable)
        if value is not None and not _ID.fullmatch(str(value)):
            raise UsageError(f"{name} must be 1 to 64 characters of A-Z a-z 0-9 _ -, not {value!r}")
        return None if value is None else str(value)

    def _mode(self) -> str:
        given = self._pick("mode", default="online")
        if self._given.get("mode") is None and _truth(self._environ.get("WANDB_DISABLED") or False):
            return "disabled"
        mode = _MODES.get(str(given).lower())
        if mode is None:
            raise UsageError(f"mode must be online, offline or disabled, not {given!r}")
        return mode

    def _resume(self) -> str | None:
        given = self._pick("resume")
        if given is None:
            return None
        word = str(given).lower()
        if word not in _RESUME:
            raise UsageError(f"resume must be allow, must or never, not {given!r}")
        return _RESUME[word]

    @property
    def is_resuming(self) -> bool:
        """Whether a run that is named shall go on, should it be there."""
        return self.run_id is not None and self.resume in {"allow", "must"}

    @property
    def asks_first(self) -> bool:
        """Whether the run depends on what the server knows of it."""
        return self.is_resuming or self.resume in {"must", "never"}

    def _seconds(self, name: str, default: float) -> float:
        given = self._pick(name, default=default)
        try:
            value = float(given)
        except (TypeError, ValueError):
            value = -1.0
        if not 0 <= value < 1e12:
            raise UsageError(f"{name} must be a number, not {given!r}")
        return value


def fitting(value: Any, name: str) -> str:
    """The text as the server takes it: a name that is too long is cut, and loses nobody the rest of a description."""
    text = str(value).encode("utf-8", "replace").decode().replace("\0", "")
    if len(text) > _LONGEST[name]:
        notice.once(f"long {name}", f"{name}: at most {_LONGEST[name]:,} characters are kept, the rest is left out")
    return text[: _LONGEST[name]]


def tag_list(given: Any) -> list[str]:
    """The tags of a list, or of a text with commas. Raises `UsageError` for what is neither."""
    parts = given.split(",") if isinstance(given, str) else given
    if parts is not None and not isinstance(parts, Iterable):
        raise UsageError(f"tags must be a list of texts, not {given!r}")
    found = [fitting(str(tag).strip(), "tag") for tag in parts or () if tag is not None and str(tag).strip()]
    if len(found) > _MOST_TAGS:
        notice.once("tags", f"a run has at most {_MOST_TAGS} tags; the rest of them is left out")
    return found[:_MOST_TAGS]


def _absolute(folder: str) -> str:
    try:
        return os.path.abspath(os.path.expanduser(folder))
    except OSError:  # the current folder was removed: nothing can be made there, and the spool goes elsewhere
        return folder


def _truth(value: Any) -> bool:
    return str(value).strip().lower() not in {"0", "false", "off", "no", "none", "disabled", ""}


def _credentials_path(environ: Mapping[str, str]) -> str:
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    return os.path.join(home, "arwandb", "credentials.json")


def stored_key(base_url: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The key that `login` kept for this server, if any."""
    try:
        with open(_credentials_path(environ), encoding="utf-8") as file:
            key = json.load(file).get(base_url)
    except (OSError, ValueError, AttributeError):
        return None
    return key if isinstance(key, str) else None


def store_key(base_url: str, key: str, environ: Mapping[str, str] = os.environ) -> str:
    """Keep the key for this server in a file that only its owner can read; returns its path. Raises OSError."""
    path = _credentials_path(environ)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    try:
        with open(path, encoding="utf-8") as file:
            keys = json.load(file)
    except (OSError, ValueError):
        keys = {}
    keys = {**(keys if isinstance(keys, dict) else {}), base_url: key}
    fresh = f"{path}.{os.getpid()}.tmp"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(keys, file, indent=1)
    os.replace(fresh, path)
    return path
