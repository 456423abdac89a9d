"""Artifacts from a program's side: files become a version, a version becomes files."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from . import trees
from .desk import checked_id, checked_text, desk
from .documents import plain
from .errors import Error, UsageError
from .journal import TOKEN
from .runs import new_id
from .server import quoted
from .settings import Settings
from .transfer import download
from .trees import File


class Version(dict[str, Any]):
    """A version of an artifact: what the server says of it, and how to get its files."""

    @property
    def is_stored(self) -> bool:
        """Whether the server has it; not yet, when it was logged offline."""
        return isinstance(self.get("version"), int)

    def download(self, dir: str | os.PathLike[str] | None = None) -> str:
        """Put the files into `dir` (`artifacts/NAME/vN` if None) and return that folder.

        Each file is verified by its hash, and appears whole or not at all. Nothing outside the folder is touched, whatever
        the server sends. Files that are there already are not fetched again.
        """
        name, number = str(self["name"]), self["version"]
        folder = os.path.abspath(os.path.expanduser(dir or os.path.join("artifacts", name, f"v{number}")))
        if not self.is_stored:
            raise Error(f"{name} was logged offline: its files can be downloaded once it is delivered")
        entries = self.get("entries")
        if entries is None:
            found = desk.get(f"/v1/artifacts/{quoted(name)}/v{number}", {"project": self.get("project")})
            entries = found.get("entries")
        download(desk.reachable, entries, folder, f"{name}:v{number}")
        return folder

    def used_by(self, run_id: Any = None, experiment_id: Any = None) -> Version:
        """Note that a run or an experiment used this version; the active ones if none is named."""
        return used_by(str(self["name"]), self["version"], run_id, experiment_id, project=self.get("project"))


def artifact(
    name: str,
    paths: Any,
    type: str | None = None,
    produced_by: Any = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    project: str | None = None,
) -> Version:
    """Log a version of an artifact: a file, a folder, a list of them, or a mapping of names in it to files.

    Content-addressed: only what the server lacks is sent, and the same files again are the version that is known already.
    `produced_by` is the experiment (or run) that made it; the active run if none is named.
    """
    _check_name(name, "name")
    sources = _sources(paths)
    if produced_by is not None:
        produced_by = checked_id(produced_by, "produced_by")
    elif desk.run is not None:
        produced_by = desk.run.id
    body = {
        "project": desk.the_project(project), "name": name, "type": checked_text(type, "type", 128),
        "metadata": plain(metadata) if metadata is not None else None, "produced_by": produced_by,
    }  # fmt: skip
    files = list(_read(sources))
    body["entries"] = [file.entry for file in files]
    token = new_id(TOKEN.rstrip("-")).replace("_", "-")
    answer = desk.tell(f"artifact {name}", "POST", "/v1/artifacts/log", body, files=lambda: files, token=token)
    return Version(answer if answer is not None else {**body, "version": token, "label": None, "spooled": True})


def promote(name: str, ref: str, version: Any, *, project: str | None = None) -> Version:
    """Point a ref such as `winner` at a version: 3, "3", "v3", another ref, or what `artifact()` answered."""
    _check_name(name, "name")
    _check_name(ref, "ref")
    wanted = version.get("version") if isinstance(version, Mapping) else version
    if isinstance(wanted, bool) or not isinstance(wanted, (int, str)) or wanted == "":
        raise UsageError(f'version must be one such as 3 or "v3", or what artifact() answered, not {version!r}')
    if isinstance(wanted, str) and not wanted.startswith(TOKEN) and not wanted.lstrip("vV").isdigit():
        wanted = get_artifact(name, wanted, project=project)["version"]
    body = {"version": wanted}
    query = {"project": desk.known_project(project)}
    path = f"/v1/artifacts/{quoted(name)}/refs/{quoted(ref)}"
    answer = desk.tell(f"promotion of {name} to {ref}", "PUT", path, body, query)
    return Version(answer if answer is not None else {"name": name, "ref": ref, **body, **query, "spooled": True})


def get_artifact(name: str, ref: Any = "latest", *, project: str | None = None) -> Version:
    """The version that a ref names: `latest`, a number, or a name that was promoted. `.download(dir)` gets its files."""
    name, _, inner = name.partition(":")  # char-lm:winner, as it is written everywhere
    _check_name(name, "name")
    wanted = inner or ref
    path = f"/v1/artifacts/{quoted(name)}/{quoted(str(wanted))}"
    return Version(desk.get(path, {"project": desk.known_project(project)}))


def artifacts(type: str | None = None, *, project: str | None = None) -> list[dict[str, Any]]:
    """The artifacts of the project, or of the organization if no project is named anywhere; the newest first."""
    query = {"type": type, "project": desk.known_project(project), "limit": 500}
    found: list[dict[str, Any]] = []
    if desk.mode == "disabled":
        return found
    while True:
        page = desk.get("/v1/artifacts", query)
        found += page.get("items") or []
        if not page.get("next"):
            return found
        query["cursor"] = page["next"]


def used_by(
    name: str, ref: Any = "latest", run_id: Any = None, experiment_id: Any = None, *, project: str | None = None
) -> Version:
    """Note that a run or an experiment used a version; the active run, or else the last experiment, if none is named."""
    name, _, inner = name.partition(":")
    _check_name(name, "name")
    if run_id is not None and experiment_id is not None:
        raise UsageError("used_by takes a run_id or an experiment_id, not both")
    if run_id is None and experiment_id is None:
        run_id, experiment_id = (desk.run.id, None) if desk.run is not None else (None, desk.experiment)
    if run_id is None and experiment_id is None:
        raise UsageError("used_by needs a run_id or an experiment_id: no run is active, and there was no experiment")
    body = {
        "run_id": checked_id(run_id, "run_id") if run_id is not None else None,
        "experiment_id": checked_id(experiment_id, "experiment_id") if experiment_id is not None else None,
    }
    query = {"project": desk.known_project(project)}
    path = f"/v1/artifacts/{quoted(name)}/{quoted(str(inner or ref))}/used_by"
    answer = desk.tell(f"use of {name}", "POST", path, body, query)
    return Version(answer if answer is not None else {"name": name, "version": ref, **query, "spooled": True})


def _sources(paths: Any) -> list[tuple[str, str]]:
    """The name in the artifact and the path on this disk of each file."""
    if isinstance(paths, Mapping):
        return [(str(name), _existing(path)) for name, path in paths.items()]
    is_one = isinstance(paths, (str, os.PathLike))
    given = [paths] if is_one or not isinstance(paths, Iterable) else list(paths)
    found: list[tuple[str, str]] = []
    for path in given:
        full = _existing(path)
        inside = "" if is_one else os.path.basename(full)
        if os.path.isdir(full):
            found += [(f"{inside}/{name}" if inside else name, source) for name, source in _walk(full, "", ())]
        else:
            found.append((os.path.basename(full), full))
    if not found:
        raise UsageError(f"there is no file in {os.fspath(paths) if is_one else given}")
    return found


def _existing(path: Any) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(f"an artifact is made of paths, not of {path.__class__.__name__}")
    full = os.path.abspath(os.path.expanduser(os.fspath(path)))
    if not os.path.exists(full):
        raise UsageError(f"there is no {os.fspath(path)}")
    return full


def _walk(root: str, inside: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, str]]:
    """All files of a folder. Links are followed: somebody asked for what is there. One that leads in a circle is refused."""
    found = os.stat(root)
    here = (found.st_dev, found.st_ino)
    if here in above:
        raise UsageError(f"{root} is a link that leads in a circle")
    for name in sorted(os.listdir(root)):
        source, path = os.path.join(root, name), f"{inside}/{name}" if inside else name
        if os.path.isdir(source):
            yield from _walk(source, path, (*above, here))
        else:
            yield path, source


def _read(sources: Iterable[tuple[str, str]]) -> Iterator[File]:
    side = trees.Side()
    for given, source in sources:
        path = unicodedata.normalize("NFC", given)
        if trouble := trees.fault(path):
            raise UsageError(f"{given!r} cannot be stored: the path {trouble}")
        if not side.takes(path):
            raise UsageError(
                f"{given!r} cannot stand beside another file whose name differs in case alone, or is its folder"
            )
        try:
            file = trees.looked_at(path, source, may_be_link=True)
        except OSError as error:
            raise UsageError(f"{source} cannot be read: {error.strerror or error}") from None
        if file is not None:
            yield file


def _check_name(value: Any, what: str) -> None:
    if not isinstance(value, str):
        raise UsageError(f"{what} must be a text, not {value.__class__.__name__}")
    try:
        Settings({"project": value}, {})
    except UsageError as error:
        raise UsageError(str(error).replace("project", what, 1)) from None
