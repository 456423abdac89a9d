"""Who did something, in words: accounts by their e-mail address, keys by their name."""

from collections.abc import Iterable

from sqlalchemy import select

from arwx.access import Scope
from arwx.models import ApiKey, User


def names(scope: Scope, actors: Iterable[str]) -> dict[str, str]:
    """The names of these actors, in two queries however many they are. Keys that were revoked have theirs still."""
    ids: dict[str, set[str]] = {"user": set(), "key": set()}
    found = {}
    for actor in set(actors):
        kind, _, id_ = actor.partition(":")
        if kind in ids:
            ids[kind].add(id_)
            found[actor] = f"a former {'account' if kind == 'user' else 'key'}"
        elif kind == "import":
            found[actor] = id_  # as it was called where the project came from
        else:
            found[actor] = "the command line" if kind == "cli" else kind
    if ids["user"]:
        users = select(User.id, User.email).where(User.id.in_([int(id_) for id_ in ids["user"]]))
        found |= {f"user:{id_}": email for id_, email in scope.db.execute(users)}
    if ids["key"]:
        keys = select(ApiKey.id, ApiKey.name).where(ApiKey.org_id == scope.org_id, ApiKey.id.in_(ids["key"]))
        found |= {f"key:{id_}": name for id_, name in scope.db.execute(keys)}
    return found
