"""Snapshots: the code of an experiment as a tree of files, and what differs between two."""

from dataclasses import dataclass
from typing import Any

import msgspec

from arwx import blobs, trees
from arwx.access import Scope
from arwx.blobstore import Store
from arwx.errors import NotFound, invalid
from arwx.models import Experiment
from arwx.trees import Entry, TreeDiff


@dataclass(frozen=True)
class Snapshot:
    """A tree by its hash. The entries are in the order of their paths."""

    sha: str
    entries: list[Entry]

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(entry.size for entry in self.entries)


def attach(scope: Scope, experiment: Experiment, entries: list[Entry]) -> Snapshot:
    """Make these files the code of the experiment, in place of those that were.

    Raises `Invalid` for a tree that cannot be, and `Conflict` with `missing` when blobs of it are not uploaded yet.
    """
    checked = trees.check(entries)
    if not checked:
        raise invalid("entries", "must have at least one item")
    blobs.require(scope, checked)
    experiment.tree = [msgspec.to_builtins(entry) for entry in checked]
    experiment.tree_sha = trees.digest(checked)
    return Snapshot(experiment.tree_sha, checked)


def of(experiment: Experiment) -> Snapshot:
    """The code of the experiment. Raises `NotFound` when none was attached."""
    if experiment.tree_sha is None:
        raise NotFound("The experiment has no snapshot of its code.")
    return Snapshot(experiment.tree_sha, msgspec.convert(experiment.tree, list[Entry]))


def diff(scope: Scope, store: Store, a: Experiment, b: Experiment) -> TreeDiff:
    """What leads from the code of `a` to that of `b`. Raises `NotFound` when one of them has no snapshot."""
    return trees.diff(of(a).entries, of(b).entries, blobs.texts(scope, store))


def recipe(experiment: Experiment) -> dict[str, Any]:
    """What a script needs to rebuild the code: the files, or else commit and diff, which lead there in a clone."""
    return {
        "experiment": experiment,
        "files": of(experiment).entries if experiment.tree_sha else None,
        "config": msgspec.json.encode(experiment.config).decode() if experiment.config is not None else None,
    }
