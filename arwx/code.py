"""The code that a run ran: its commit, and what was changed and not committed."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import undefer

from arwx import blobs
from arwx.access import Scope
from arwx.blobstore import Store
from arwx.errors import ArwxError
from arwx.models import Blob, Experiment
from arwx.runs import RunView


@dataclass(frozen=True)
class Patch:
    """Uncommitted changes as a unified diff; without `text`, `why` says what became of it."""

    sha: str
    text: str | None
    why: str = ""


def patches(scope: Scope, store: Store, runs: list[RunView]) -> dict[str, Patch]:
    """The uncommitted changes of these runs by their hash: from the blobs, or from the experiments of the runs."""
    wanted = {run.diff_sha for run in runs if run.diff_sha}
    found = {sha: Patch(sha, None, "was never uploaded") for sha in wanted}
    if not wanted:
        return {}
    for blob in scope.db.scalars(scope.blobs().where(Blob.sha.in_(wanted))):
        found[blob.sha] = _of_blob(store, blob)
    missing = {sha for sha, patch in found.items() if patch.text is None}
    if missing:
        rows = select(Experiment).where(Experiment.org_id == scope.org_id, Experiment.diff_sha.in_(missing))
        for row in scope.db.scalars(rows.options(undefer(Experiment.diff)).limit(50)):
            if row.diff and row.diff_sha:
                found[row.diff_sha] = Patch(row.diff_sha, row.diff)
    return found


def _of_blob(store: Store, blob: Blob) -> Patch:
    if blob.size > blobs.MAX_TEXT_BYTES:
        return Patch(blob.sha, None, f"is too big to be shown: {blob.size:,} bytes")
    try:
        return Patch(blob.sha, b"".join(blobs.stream(store, blob)).decode())
    except UnicodeDecodeError:
        return Patch(blob.sha, None, "is not text")
    except ArwxError as error:
        return Patch(blob.sha, None, f"cannot be read: {error.message}")
