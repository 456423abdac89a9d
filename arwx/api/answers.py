"""What the answers of /v1 hold, as types: `shapes` makes them, the type checker compares, OpenAPI documents them."""

from typing import Annotated, Any, Generic, NotRequired, TypeAlias, TypedDict, TypeVar

from msgspec import Meta

from arwx import briefing, lessons
from arwx.frontier import Noise
from arwx.points import HistoryEntry, WriterReceipt

T = TypeVar("T")


def one_of(*words: str) -> Meta:
    """A text that is one of a few words."""
    return Meta(extra_json_schema={"enum": list(words)})


Moment: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Sha: TypeAlias = Annotated[str, Meta(extra_json_schema={"pattern": "^[0-9a-f]{64}$"})]
Url: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "uri"})]
# Arrays of numbers come straight from numpy.
Steps: TypeAlias = Annotated[Any, Meta(extra_json_schema={"type": "array", "items": {"type": "integer"}})]
Values: TypeAlias = Annotated[Any, Meta(extra_json_schema={"type": "array", "items": {"type": "number"}})]
Judged: TypeAlias = Annotated[str, one_of("keep", "drop", "crash")]
Standing: TypeAlias = Annotated[str, one_of("keep", "drop", "crash", "undecided")]


class List(TypedDict, Generic[T]):
    """A part of a list, newest first, and the cursor that continues it (null at the end)."""

    items: list[T]
    next: str | None


class FieldFault(TypedDict):
    """What is wrong with one field of the request."""

    field: str
    message: str


class Problem(TypedDict):
    """A failure in the form of RFC 9457. `code` is for programs, `detail` for people; some codes say more."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str | None
    errors: NotRequired[list[FieldFault]]


class Health(TypedDict):
    """The process is alive."""

    status: Annotated[str, one_of("ok")]


class Readiness(TypedDict):
    """Whether requests should be sent here, and what is missing when not."""

    status: Annotated[str, one_of("ready", "not ready")]
    reason: NotRequired[str]


class SdkVersion(TypedDict):
    """The newest version of the SDK that this server gives out."""

    version: str
    url: Url
    sha256: Sha


class Project(TypedDict):
    """A project: its goal, how far it has come, and counts."""

    name: str
    description: str | None
    objective_metric: str | None
    lower_is_better: bool
    target: float | None
    created_at: Moment
    runs: int
    live_runs: int
    experiments: int
    best: float | None
    target_reached: bool
    last_seen_at: Moment | None
    url: Url


class Latest(TypedDict):
    """The newest value of a metric."""

    step: int
    value: float
    ts: float


class Run(TypedDict):
    """A run. `silent` and `crashed` are derived from `last_seen_at`, and undo themselves when points come again."""

    id: str
    project: str
    name: str
    status: Annotated[str, one_of("running", "finished", "failed", "killed", "silent", "crashed")]
    config: dict[str, Any]
    summary: dict[str, Any]
    latest: dict[str, Latest]
    tags: list[str]
    group: str | None
    job_type: str | None
    notes: str | None
    host: dict[str, Any]
    commit: str | None
    diff_sha: str | None
    experiment_id: str | None
    exit_code: int | None
    created_at: Moment
    started_at: Moment
    last_seen_at: Moment
    finished_at: Moment | None
    archived_at: Moment | None
    url: Url


class Ingested(TypedDict):
    """What became of a batch, in points: `accepted` = `stored` + `duplicates`. It is durable by now.

    `next_seq` is the first sequence number of the writer's epoch that is not stored yet.
    """

    run_id: str
    accepted: int
    stored: int
    duplicates: int
    skipped: int
    next_seq: int


class History(TypedDict):
    """A page of the history in step order."""

    run_id: str
    items: list[HistoryEntry]
    next: str | None


class Receipt(TypedDict):
    """The ledger of what was acknowledged against a decoded count of what is stored. `intact` can fail."""

    run_id: str
    points_committed: int
    points_stored: int
    duplicates_collapsed: int
    lost: int
    intact: bool
    skipped_nonfinite: int
    conflicts: int
    checksum_committed: str
    checksum_stored: str
    writers: list[WriterReceipt]
    problems: list[str]
    checked_at: Moment
    commit: str | None
    diff_sha: str | None


class Line(TypedDict):
    """One metric of one run. A point that is shown was logged; `min` and `max` hold the stretch it stands for."""

    run_id: str
    count: int
    steps: Steps
    values: Values
    min: Values
    max: Values
    x: NotRequired[Values]


class ChartedRun(TypedDict):
    """A run as the legend of a chart needs it."""

    id: str
    name: str
    status: str
    latest: dict[str, Latest]


class Charts(TypedDict):
    """Downsampled series by metric. `left_out` are metrics for which the answer had no room: ask for them by `keys`."""

    project: str
    samples: int
    x: Annotated[str, one_of("step", "time", "relative")]
    runs: list[ChartedRun]
    series: dict[str, list[Line]]
    left_out: list[str]


class Session(TypedDict):
    """A line of inquiry: a sequence of experiments."""

    id: str
    project: str
    tag: str | None
    branch: str | None
    created_by: str
    created_at: Moment


class Tried(TypedDict):
    """An experiment that was tried before, with its verdict."""

    experiment_id: str
    index: int
    session_id: str
    note: str | None
    status: Standing
    score: float | None


class Verdict(TypedDict):
    """The verdict that counts."""

    status: Judged
    score: float | None
    metric: str
    lower_is_better: bool
    decided_by: str
    decided_at: Moment


class Decision(TypedDict):
    """One verdict of those that were given on an experiment."""

    id: str
    experiment_id: str
    status: Judged
    score: float | None
    metric: str
    lower_is_better: bool
    note: str | None
    decided_by: str
    decided_at: Moment


class Experiment(TypedDict):
    """One tried change, with its true number in the project."""

    id: str
    index: int
    project: str
    session_id: str
    note: str | None
    commit: str | None
    parent: str | None
    parent_id: str | None
    diff_sha: str | None
    config: dict[str, Any] | None
    run_id: str | None
    repro_key: str
    tree_sha: str | None
    decision: Verdict | None
    created_by: str
    created_at: Moment


class RecordedExperiment(Experiment):
    """An experiment, and what was tried before that is the same."""

    prior: list[Tried]


class FullExperiment(RecordedExperiment):
    """An experiment with all verdicts on it."""

    decisions: list[Decision]


class Goal(TypedDict):
    """What the project tries to reach."""

    metric: str | None
    lower_is_better: bool
    target: float | None


class Step(TypedDict):
    """An experiment in the story. `best` is the running best after it."""

    index: int
    experiment_id: str
    session_id: str
    note: str | None
    status: Standing
    score: float | None
    metric: str | None
    best: float | None
    is_best: bool
    gain: float | None
    within_noise: bool
    decided_at: Moment | None
    commit: str | None


class Progress(TypedDict):
    """The running best. The counts are of the whole story, also when only the frontier's steps are shown."""

    project: str
    goal: Goal
    counts: dict[Standing, int]
    items: list[Step]
    best: Step | None
    target_reached: bool
    noise: Noise | None


class Organization(TypedDict):
    """The organization to which the key belongs."""

    name: str
    slug: str


class Bootstrap(TypedDict):
    """What a dashboard shows first. `GET /v1/projects` goes on with the cursor `next`, null when these are all."""

    organization: Organization
    projects: list[Project]
    next: str | None
    runs: list[Run]


class Embed(TypedDict):
    """A picture of a project that anybody may see who has its address, which is not kept."""

    id: str
    kind: Annotated[str, one_of("progress", "frontier", "badge")]
    created_by: str
    created_at: Moment


class FreshEmbed(Embed):
    """An embed with its address and ready-made Markdown, which are shown this once."""

    url: Url
    markdown: str


class Context(TypedDict):
    """Where the research stands. Lists begin with what matters most; `left_out` counts what is not told, by list.

    Fields are missing where they did not fit into `max_chars`. `projects` comes alone, when no project was named.
    """

    project: NotRequired[str]
    changed: NotRequired[bool]
    goal: NotRequired[Goal]
    best: NotRequired[float | None]
    best_index: NotRequired[int | None]
    gap: NotRequired[float | None]
    target_reached: NotRequired[bool]
    chain: NotRequired[list[briefing.Move]]
    decisions: NotRequired[list[briefing.Judgement]]
    dead_ends: NotRequired[list[lessons.DeadEnd]]
    near_misses: NotRequired[list[lessons.NearMiss]]
    open: NotRequired[list[briefing.OpenExperiment]]
    runs: NotRequired[list[briefing.RunNews]]
    counts: NotRequired[dict[Standing, int]]
    noise: NotRequired[Noise | None]
    description: NotRequired[str | None]
    projects: NotRequired[list[briefing.ProjectLine]]
    left_out: dict[str, int]
    cursor: str


class Blob(TypedDict):
    """Bytes by their SHA-256."""

    sha: Sha
    size: int


class Missing(TypedDict):
    """Those of the hashes asked for that the organization has not uploaded yet."""

    missing: list[Sha]


class File(TypedDict):
    """A file: an uploaded blob (`sha`), or one that lies elsewhere (`uri`)."""

    id: str
    project: str
    name: str
    run_id: str | None
    experiment_id: str | None
    uri: str | None
    sha: Sha | None
    size: int | None
    content_type: str | None
    created_by: str
    created_at: Moment


class LatestVersion(TypedDict):
    """The newest version of an artifact."""

    version: int
    label: str
    digest: str
    files: int
    size: int
    created_at: Moment


class Artifact(TypedDict):
    """A named output of a project. `refs` tells the version of each movable name, `latest` included."""

    name: str
    project: str
    type: str | None
    version_count: int
    refs: dict[str, int]
    latest: LatestVersion
    created_by: str
    created_at: Moment


class Link(TypedDict):
    """A run or an experiment that made or used a version."""

    kind: Annotated[str, one_of("run", "experiment")]
    id: str


class Version(TypedDict):
    """A version without its files. Its score is the newest decision on the experiment that made it."""

    name: str
    project: str
    type: str | None
    version: int
    label: str
    digest: str
    files: int
    size: int
    metadata: dict[str, Any]
    refs: list[str]
    score: float | None
    metric: str | None
    status: Judged | None
    produced_by: list[Link]
    used_by: list[Link]
    created_by: str
    created_at: Moment


class LoggedVersion(Version):
    """A version, and whether its tree was known before."""

    deduped: bool


class PromotedVersion(Version):
    """A version, and the ref that points at it now."""

    ref: str


class StoredFile(TypedDict):
    """One file of a tree."""

    path: str
    sha: Sha
    size: int
    mode: str


class Tree(TypedDict):
    """The files of an experiment's code in the order of their paths."""

    experiment_id: str
    tree_sha: Sha
    entries: list[StoredFile]


class AttachedTree(TypedDict):
    """What was attached, and the earlier experiments with the same tree, or the same commit, diff and config."""

    experiment_id: str
    tree_sha: Sha
    files: int
    size: int
    prior: list[Tried]


class ModifiedFile(TypedDict):
    """A file that differs. `diff` is null where it is no text, or too big to be compared."""

    path: str
    diff: str | None


class TreeDiff(TypedDict):
    """What leads from one tree to another."""

    added: list[str]
    removed: list[str]
    modified: list[ModifiedFile]


class FullVersion(Version):
    """A version with all its files."""

    entries: list[StoredFile]


class Move(TypedDict):
    """A ref was moved: from where to where, by whom, when."""

    ref: str
    version: int
    previous: int | None
    moved_by: str
    moved_at: Moment


class FullArtifact(Artifact):
    """An artifact with a page of its versions and the last moves of its refs."""

    versions: list[Version]
    next: str | None
    moves: list[Move]


class Node(TypedDict):
    """A version, an experiment or a run in a lineage."""

    id: str
    kind: Annotated[str, one_of("version", "experiment", "run")]
    label: str | None
    version: NotRequired[int]
    digest: NotRequired[str]
    refs: NotRequired[list[str]]
    index: NotRequired[int]


Edge = TypedDict("Edge", {"from": str, "to": str, "role": Annotated[str, one_of("producer", "consumer")]})


class Lineage(TypedDict):
    """A graph. Edges lead from what made a version to it, and from it to what used it."""

    name: str
    project: str
    nodes: list[Node]
    edges: list[Edge]


class Key(TypedDict):
    """An API key, without its secret."""

    id: str
    name: str
    scope: Annotated[str, one_of("read", "write", "admin")]
    prefix: str
    last_four: str
    created_at: Moment
    last_used_at: Moment | None


class FreshKey(Key):
    """A key with its secret, which is shown this once."""

    key: str
