"""The parameters of addresses, by name: the same word means the same thing everywhere. OpenAPI documents them."""

from dataclasses import dataclass, field
from typing import Any

from arwx import briefing, charts, digest, embeds, lineage, pages, points, runs
from arwx.svg import theme

HISTORY_LIMIT, HISTORY_MOST = 10_000, 100_000

_TEXT = {"type": "string"}
_ID = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_NAME = {"type": "string", "minLength": 1, "maxLength": 128}
_STEP = {"type": "integer", "minimum": 0, "maximum": points.LAST_STEP}


@dataclass(frozen=True)
class Parameter:
    """What it means, an example, and which values it takes."""

    words: str
    example: Any
    schema: dict[str, Any] = field(default_factory=lambda: _TEXT)
    is_required: bool = False


def _limit(default: int, most: int) -> Parameter:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Parameter("How many items a page has.", min(default, 50), schema)


# Where an address has other bounds, or means something of its own, its handler's name stands in front.
QUERY = {
    "limit": _limit(pages.DEFAULT_LIMIT, pages.MAX_LIMIT),
    "get_metrics.limit": _limit(HISTORY_LIMIT, HISTORY_MOST),
    "get_lineage.limit": _limit(lineage.MOST, lineage.MOST),
    "agent_context.limit": _limit(briefing.DEFAULT_LIMIT, briefing.MOST),
    "cursor": Parameter("Where to go on: the `next` of the page before.", None),
    "status": Parameter(
        f"Only runs in this state; several are separated by commas: {', '.join(runs.STATES)}.", "running"
    ),
    "tag": Parameter("Only runs with this tag.", "baseline"),
    "group": Parameter("Only runs of this group.", "sweep-7"),
    "q": Parameter("Only runs for which this condition holds.", "config.lr > 1e-4 and latest.loss < 2"),
    "sort": Parameter("The order: a field, with `-` in front for the greatest first.", "-latest.loss"),
    "archived": Parameter(
        "Whether archived runs are left out, come alone, or come along.",
        "no",
        {"type": "string", "enum": ["no", "yes", "any"], "default": "no"},
    ),
    "keys": Parameter("Only these metrics, separated by commas; `system/*` means all with that prefix.", "loss,lr"),
    "runs": Parameter("Only these runs, by id, separated by commas; without it the newest 50.", "run_by-hand"),
    "min_step": Parameter("Only entries from this step on.", 0, _STEP),
    "max_step": Parameter("Only entries up to this step.", 9000, _STEP),
    "since_step": Parameter("Only points after this step, such as the last one that is known.", 0, _STEP),
    "samples": Parameter(
        "How many points a series has at most.",
        500,
        {
            "type": "integer",
            "minimum": charts.MIN_SAMPLES,
            "maximum": charts.MAX_SAMPLES,
            "default": charts.DEFAULT_SAMPLES,
        },
    ),
    "x": Parameter("What the x-axis shows.", "step", {"type": "string", "enum": list(charts.AXES), "default": "step"}),
    "session_id": Parameter("Only this session.", "ses_night-shift", _ID),
    "theme": Parameter(
        "The colours; `auto` follows what the reader prefers.",
        "auto",
        {"type": "string", "enum": list(theme.THEMES), "default": "auto"},
    ),
    "background": Parameter(
        "What is behind the picture: paper of its own, or whatever is there.",
        "paper",
        {"type": "string", "enum": list(theme.GROUNDS), "default": "paper"},
    ),
    "project": Parameter("The project; needed where the name alone could mean several.", "char-lm", _NAME),
    "upload_file.project": Parameter("The project, made on first use.", "char-lm", _NAME, is_required=True),
    "upload_file.name": Parameter(
        "The name of the file: a relative path.",
        "samples/step-900.txt",
        {"type": "string", "minLength": 1, "maxLength": 1024},
        is_required=True,
    ),
    "agent_context.project": Parameter("The project; without it all projects are told, a line each.", "char-lm", _NAME),
    "max_chars": Parameter(
        "The answer has no more characters than this.",
        2000,
        {"type": "integer", "minimum": digest.SHORTEST, "maximum": digest.LONGEST},
    ),
    "since": Parameter("The `cursor` of an earlier answer: only what is new.", None),
    "format": Parameter(
        "What the answer is.", "json", {"type": "string", "enum": ["json", "markdown"], "default": "json"}
    ),
    "type": Parameter("Only artifacts of this type.", "model"),
    "run_id": Parameter("The run.", "run_by-hand", _ID),
    "experiment_id": Parameter("The experiment.", "exp_wider-mlp", _ID),
}

PATH = {
    "run_id": Parameter("The run.", "run_by-hand", _ID),
    "session_id": Parameter("The session.", "ses_night-shift", _ID),
    "experiment_id": Parameter("The experiment.", "exp_wider-mlp", _ID),
    "other_id": Parameter("The experiment to compare with.", "exp_deeper", _ID),
    "file_id": Parameter("The file.", "file_sample", _ID),
    "embed_id": Parameter("The embed.", "emb_readme", _ID),
    "embed.token": Parameter("The secret of the address.", "1_Zq3vXW0c9yTn4bKd7mRfLhQe"),
    "kind": Parameter("Which picture.", "progress", {"type": "string", "enum": list(embeds.KINDS)}),
    "key_id": Parameter("The key.", "key_laptop", _ID),
    "sha": Parameter(
        "The SHA-256 of the bytes, in lower-case hexadecimal.",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    ),
    "ref": Parameter("A ref such as `winner`; `latest` and `v3` are built in.", "winner", _NAME),
    "artifacts.name": Parameter("The artifact.", "char-lm-weights", _NAME),
    "projects.name": Parameter("The project.", "char-lm", _NAME),
    "sdk.name": Parameter("The file name of a wheel.", "arwandb-1.3.1-py3-none-any.whl"),
}

HEADERS = {
    "Idempotency-Key": Parameter(
        "What a batch without sequence numbers is known by: the same key again stores nothing.", "batch-17"
    ),
    "X-Content-SHA256": Parameter(
        "The SHA-256 that the sender expects; other bytes are refused with 422.",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    ),
    "Content-Encoding": Parameter("The body may come compressed.", "gzip", {"type": "string", "enum": ["gzip"]}),
}


def of_query(handler: str, name: str) -> Parameter:
    """The meaning of a query parameter at this handler."""
    return QUERY.get(f"{handler}.{name}") or QUERY[name]


def of_path(rule: str, name: str) -> Parameter:
    """The meaning of a part of an address: `name` by the noun before it, the others by themselves."""
    noun = rule.partition(f"/<{name}>")[0].rpartition("/")[2]
    return PATH.get(f"{noun}.{name}") or PATH[name]
