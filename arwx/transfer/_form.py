"""What is in the file: the parts, and the lines of each. A change that an older reader cannot bear is another version."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from arwx.models import (
    Artifact,
    ArtifactLink,
    ArtifactMove,
    ArtifactRef,
    ArtifactVersion,
    Base,
    Decision,
    Experiment,
    File,
    Project,
    ResearchSession,
    Run,
)
from arwx.trees import Entry

FORMAT, VERSION = "arwx project", 1
MANIFEST, README, BLOBS = "manifest.json", "README.txt", "blobs.jsonl"

_Id = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
_Name = Annotated[str, Meta(min_length=1, max_length=128)]
_Sha = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, Meta(ge=0, lt=2**53)]
_Moment = Annotated[datetime, Meta(tz=True)]


class Line(Struct, forbid_unknown_fields=True):
    """A row as the file has it: its fields have the names of the columns. Who did something is told in words."""


class ProjectLine(Line):
    id: _Id
    name: _Name
    description: str | None
    objective_metric: str | None
    lower_is_better: bool
    target: float | None
    experiment_count: _Count
    created_at: _Moment


class RunLine(Line):
    id: _Id
    name: str
    status: Literal["running", "finished", "failed", "killed"]
    config: dict[str, Any]
    summary: dict[str, Any]
    tags: list[str]
    host: dict[str, Any]
    group: str | None
    job_type: str | None
    notes: str | None
    commit: str | None
    diff_sha: str | None
    experiment_id: _Id | None
    exit_code: Annotated[int, Meta(ge=-(2**53), lt=2**53)] | None
    created_at: _Moment
    started_at: _Moment
    finished_at: _Moment | None
    archived_at: _Moment | None


class SessionLine(Line):
    id: _Id
    tag: str | None
    branch: str | None
    created_by: str
    created_at: _Moment


class ExperimentLine(Line):
    id: _Id
    session_id: _Id
    index: Annotated[int, Meta(ge=1, lt=2**53)]
    note: str | None
    commit: str | None
    parent: str | None
    parent_id: _Id | None
    run_id: _Id | None
    config: dict[str, Any] | None
    diff_sha: str | None
    repro_key: _Sha
    tree_sha: _Sha | None
    decision_count: _Count
    created_by: str
    created_at: _Moment
    diff: str | None
    tree: list[Entry] | None


class DecisionLine(Line):
    id: _Id
    experiment_id: _Id
    number: _Count
    status: Literal["keep", "drop", "crash"]
    score: float | None
    metric: str
    lower_is_better: bool
    note: str | None
    created_by: str
    created_at: _Moment


class FileLine(Line):
    id: _Id
    run_id: _Id | None
    experiment_id: _Id | None
    name: str
    uri: str | None
    sha: _Sha | None
    size: _Count | None
    content_type: str | None
    created_by: str
    created_at: _Moment


class ArtifactLine(Line):
    id: _Id
    name: _Name
    type: str | None
    version_count: _Count
    created_by: str
    created_at: _Moment


class VersionLine(Line):
    artifact_id: _Id
    number: Annotated[int, Meta(ge=1, lt=2**53)]
    digest: _Sha
    file_count: _Count
    size: _Count
    details: dict[str, Any]
    entries: list[Entry]
    created_by: str
    created_at: _Moment


class RefLine(Line):
    artifact_id: _Id
    name: _Name
    version: _Count


class MoveLine(Line):
    id: _Id
    artifact_id: _Id
    ref: str
    version: _Count
    previous: _Count | None
    created_by: str
    created_at: _Moment


class LinkLine(Line):
    artifact_id: _Id
    version: _Count
    role: Literal["producer", "consumer"]
    kind: Literal["run", "experiment"]
    target_id: _Id
    created_by: str
    created_at: _Moment


class BlobLine(Line):
    sha: _Sha
    size: _Count


class PartLine(Line):
    """A part as the manifest names it."""

    name: str
    bytes: _Count
    sha256: _Sha


class Manifest(Line):
    """The last part of the file. What is not named here, and is no blob, does not belong to it."""

    format: str
    version: int
    project: str
    exported_at: _Moment
    runs: _Count
    points: _Count
    blobs: _Count
    parts: list[PartLine]


@dataclass(frozen=True)
class Part:
    """A part with the rows of one table. `refs` says which fields hold the id of what."""

    name: str
    line: type[Line]
    model: type[Base]
    refs: dict[str, str]

    @property
    def fields(self) -> tuple[str, ...]:
        return self.line.__struct_fields__


# Parents before their children.
PARTS = (
    Part("project.jsonl", ProjectLine, Project, {"id": "project"}),
    Part("runs.jsonl", RunLine, Run, {"id": "run", "experiment_id": "experiment"}),
    Part("sessions.jsonl", SessionLine, ResearchSession, {"id": "session"}),
    Part(
        "experiments.jsonl",
        ExperimentLine,
        Experiment,
        {"id": "experiment", "session_id": "session", "parent_id": "experiment", "run_id": "run"},
    ),
    Part("decisions.jsonl", DecisionLine, Decision, {"id": "decision", "experiment_id": "experiment"}),
    Part("files.jsonl", FileLine, File, {"id": "file", "run_id": "run", "experiment_id": "experiment"}),
    Part("artifacts.jsonl", ArtifactLine, Artifact, {"id": "artifact"}),
    Part("artifact_versions.jsonl", VersionLine, ArtifactVersion, {"artifact_id": "artifact"}),
    Part("artifact_refs.jsonl", RefLine, ArtifactRef, {"artifact_id": "artifact"}),
    Part("artifact_moves.jsonl", MoveLine, ArtifactMove, {"id": "move", "artifact_id": "artifact"}),
    # What `target_id` is the id of, the line says itself, in `kind`.
    Part("artifact_links.jsonl", LinkLine, ArtifactLink, {"artifact_id": "artifact", "target_id": ""}),
)


def points_part(run_id: str) -> str:
    """The name of the part with the points of a run."""
    return f"points/{run_id}.jsonl"


def blob_part(sha: str) -> str:
    return f"blobs/{sha}"


TOLD = """\
A project of an arwx experiment tracker, exported to be read or imported elsewhere (arwx import FILE).

Every *.jsonl is lines of JSON, a row each: project, runs, sessions, experiments (with their diffs and the trees of their
code), decisions, files, artifacts with versions, refs, their moves, and lineage. Times are RFC 3339, UTC.

points/RUN.jsonl has what a run logged: after some records about its writers and what was acknowledged, one line with
"record":"entry" for each log() call, in the order of steps; ts is Unix seconds.

blobs/SHA256 are the files themselves, by the hash that trees, versions and files name.

manifest.json names every part with its length and SHA-256.
"""
