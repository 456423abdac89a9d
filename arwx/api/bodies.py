"""What the request bodies of /v1 hold, as types: `body` decodes into them, OpenAPI documents them."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from arwx.points import Entry, Expected
from arwx.trees import Entry as TreeEntry


class NewProject(Struct, forbid_unknown_fields=True):
    """Make or change a project. What is absent stays, null clears."""

    name: str
    objective_metric: str | None | UnsetType = UNSET
    lower_is_better: bool | None | UnsetType = UNSET
    target: float | None | UnsetType = UNSET
    description: str | None | UnsetType = UNSET


class NewRun(Struct, forbid_unknown_fields=True):
    """Make a run, or find the one with this id."""

    project: str
    id: str | None = None
    name: str | None = None
    config: dict[str, Any] | None = None
    tags: list[str] | None = None
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    resume: str | None = None
    host: dict[str, Any] | None = None
    commit: str | None = None
    diff_sha: str | None = None
    experiment_id: str | None = None
    started_at: Annotated[datetime, Meta(tz=True)] | None = None


class RunChange(Struct, forbid_unknown_fields=True):
    """Change a run. `config` and `summary` merge; what is absent stays, null clears."""

    name: str | None | UnsetType = UNSET
    tags: list[str] | None | UnsetType = UNSET
    notes: str | None | UnsetType = UNSET
    group: str | None | UnsetType = UNSET
    config: dict[str, Any] | None | UnsetType = UNSET
    summary: dict[str, Any] | None | UnsetType = UNSET
    archived: bool | UnsetType = UNSET


class Finish(Struct, forbid_unknown_fields=True):
    """Close a run, with the client's own counts when it keeps them. Without a status it failed if its exit code is
    another than 0, and finished otherwise.
    """

    status: str | None = None
    summary: dict[str, Any] | None = None
    exit_code: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    expected: list[Expected] | None = None


class Ingest(Struct, forbid_unknown_fields=True):
    """A batch of entries: entry i has the sequence number `first_seq + i`. Who names no writer is the writer `http`."""

    run_id: str
    points: list[Entry] = []
    writer_id: str | None = None
    epoch: str | None = None
    first_seq: int | None = None


class NewKey(Struct, forbid_unknown_fields=True):
    """Make an API key."""

    name: str
    scope: str = "write"


class NewSession(Struct, forbid_unknown_fields=True):
    """Open a line of inquiry, or find the one with this id."""

    project: str
    id: str | None = None
    tag: str | None = None
    branch: str | None = None


class NewExperiment(Struct, forbid_unknown_fields=True):
    """Record one tried change. `diff_sha` is of the full diff, also when `diff` holds only a marker for it."""

    session_id: str
    id: str | None = None
    note: str | None = None
    commit: str | None = None
    parent: str | None = None
    parent_id: str | None = None
    diff: str | None = None
    diff_sha: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None
    config: dict[str, Any] | None = None
    run_id: str | None = None
    repro_key: str | None = None


class NewEmbed(Struct, forbid_unknown_fields=True):
    """Make a picture of a project visible to anybody."""

    kind: str


class Shas(Struct, forbid_unknown_fields=True):
    """Hashes of blobs."""

    shas: list[str]


class NewFile(Struct, forbid_unknown_fields=True):
    """Register a file that lies elsewhere. Nobody ever fetches the URI."""

    project: str
    name: str
    uri: str
    sha: str | None = None
    size: int | None = None
    content_type: str | None = None
    run_id: str | None = None
    experiment_id: str | None = None


class NewTree(Struct, forbid_unknown_fields=True):
    """The files of an experiment's code, by path and by the SHA-256 of blobs that were uploaded before."""

    entries: list[TreeEntry]


class NewVersion(Struct, forbid_unknown_fields=True):
    """Log a version of an artifact. `produced_by` is the id of an experiment or of a run."""

    project: str
    name: str
    entries: list[TreeEntry]
    type: str | None = None
    metadata: dict[str, Any] | None = None
    produced_by: str | None = None


class Promotion(Struct, forbid_unknown_fields=True):
    """Move a ref to a version: 3, "3" or "v3"."""

    version: int | str
    project: str | None = None


class Use(Struct, forbid_unknown_fields=True):
    """Who used a version: a run or an experiment."""

    run_id: str | None = None
    experiment_id: str | None = None
    project: str | None = None


class NewDecision(Struct, forbid_unknown_fields=True):
    """A verdict on an experiment."""

    status: str
    score: float | None = None
    metric: str | None = None
    note: str | None = None
