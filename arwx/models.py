"""The tables, except those of the metric store: columns and constraints, no verbs.

Every table declares where it lives when one machine is outgrown. *Reference* tables are small, cold and copied to
every node; *local* ones are small, hot and on one node; *org* tables are spread by `org_id`; *run* tables
(`arwx.points`) are spread by `run_id` and always filtered by both. Keys contain the column that spreads them, and no
foreign key or join crosses the groups.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

REFERENCE = {"dist": "reference"}
LOCAL = {"dist": "local"}
ORG = {"dist": "org_id", "group": "org"}
RUN = {"dist": "run_id", "group": "run"}

# SQLite numbers rows by itself only in a column that is exactly INTEGER.
BigIdentity = BigInteger().with_variant(Integer, "sqlite")


class Moment(TypeDecorator[datetime]):
    """An aware UTC datetime on both databases; SQLite itself knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(TypeDecorator[Any]):
    """JSON kept as text, letter for letter: jsonb would reorder keys, reshape numbers and refuse the escaped NUL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value)


class Base(DeclarativeBase):
    """The one metadata: names of constraints are fixed, so that migrations can drop them by name."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text, datetime: Moment, bytes: LargeBinary, int: BigInteger}  # noqa: RUF012


class Organization(Base):
    __tablename__ = "organizations"
    __table_args__ = (UniqueConstraint("slug"), {"info": REFERENCE})

    id: Mapped[int] = mapped_column(BigIdentity, Identity(), primary_key=True)
    name: Mapped[str]
    slug: Mapped[str]
    created_at: Mapped[datetime]
    # Nobody is in it any more; `arwx gc` takes away what is left.
    deleted_at: Mapped[datetime | None]


class User(Base):
    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("email"), Index(None, "is_first", unique=True), {"info": REFERENCE})

    id: Mapped[int] = mapped_column(BigIdentity, Identity(), primary_key=True)
    email: Mapped[str]
    password_hash: Mapped[str]
    # True for the first account, NULL for all others: of two first sign-ups at once, one is the first.
    is_first: Mapped[bool | None]
    created_at: Mapped[datetime]


class Membership(Base):
    __tablename__ = "memberships"
    __table_args__ = (Index(None, "org_id"), {"info": REFERENCE})

    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    org_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("organizations.id", ondelete="CASCADE"), primary_key=True
    )
    role: Mapped[str]
    created_at: Mapped[datetime]


class Login(Base):
    """A signed-in browser. The cookie holds the token, we hold its hash."""

    __tablename__ = "logins"
    __table_args__ = (Index(None, "user_id"), {"info": REFERENCE})

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"))
    org_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("organizations.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]
    # Written at most once an hour: reference rows are copied to every node.
    seen_at: Mapped[datetime]
    # The role that the session was opened with: when it is another by now, the session gets another token.
    role: Mapped[str] = mapped_column(server_default="")
    ip: Mapped[str] = mapped_column(server_default="")
    agent: Mapped[str] = mapped_column(server_default="")
    # A token that was replaced is good for some seconds more, for what the page had asked for at the same moment.
    ends_at: Mapped[datetime | None]


class Throttle(Base):
    """Whoever is counted against guessing (an account, an address), and when the counted tries stop counting."""

    __tablename__ = "throttles"
    __table_args__ = ({"info": LOCAL},)

    subject: Mapped[str] = mapped_column(primary_key=True)
    tries: Mapped[list[list[Any]]] = mapped_column(Json)
    ends_at: Mapped[datetime]


class ApiKey(Base):
    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("org_id", "hash"), {"info": ORG})

    org_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("organizations.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    hash: Mapped[bytes]
    name: Mapped[str]
    scope: Mapped[str]
    prefix: Mapped[str]
    last_four: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Invitation(Base):
    """A link that lets one person in. The link itself is signed, not stored."""

    __tablename__ = "invitations"
    __table_args__ = (Index(None, "org_id", "created_at", "id"), {"info": ORG})

    org_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("organizations.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    # Only the account with this e-mail may use it; NULL for whoever has the link.
    email: Mapped[str | None]
    role: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    used_by: Mapped[str | None]
    revoked_at: Mapped[datetime | None]


class AuditEntry(Base):
    """What somebody did that owners may want to know. Rows are only ever added."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "org_id", "created_at", "id"), {"info": ORG})

    org_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("organizations.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    action: Mapped[str]
    actor: Mapped[str]
    # As it was at that moment: accounts and keys go, what they did stays.
    actor_name: Mapped[str]
    subject: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(Json)
    ip: Mapped[str]


class Allowance(Base):
    """The bucket of a key: how many requests it may make at once, as of `filled_at`. It fills up by itself."""

    __tablename__ = "allowances"
    __table_args__ = ({"info": ORG},)

    org_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("organizations.id"), primary_key=True)
    key_id: Mapped[str] = mapped_column(primary_key=True)
    tokens: Mapped[float] = mapped_column(Float(53))
    filled_at: Mapped[datetime]


class Project(Base):
    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("org_id", "name"), Index(None, "org_id", "deleted_at"), {"info": ORG})

    org_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("organizations.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str | None]
    objective_metric: Mapped[str | None]
    lower_is_better: Mapped[bool] = mapped_column(default=True)
    target: Mapped[float | None] = mapped_column(Float(53))
    # How many experiments were ever recorded here; the newest has this number.
    experiment_count: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class Run(Base):
    """What the catalogue knows of a run. Its points, counts and last sign of life are in `arwx.points`."""

    __tablename__ = "runs"
    __table_args__ = (
        ForeignKeyConstraint(["org_id", "project_id"], ["projects.org_id", "projects.id"]),
        Index(None, "org_id", "project_id", "created_at", "id"),
        {"info": ORG},
    )

    org_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    name: Mapped[str]
    status: Mapped[str]
    config: Mapped[dict[str, Any]] = mapped_column(Json)
    summary: Mapped[dict[str, Any]] = mapped_column(Json)
    tags: Mapped[list[str]] = mapped_column(Json)
    host: Mapped[dict[str, Any]] = mapped_column(Json)
    group: Mapped[str | None]
    job_type: Mapped[str | None]
    notes: Mapped[str | None]
    commit: Mapped[str | None]
    diff_sha: Mapped[str | None]
    experiment_id: Mapped[str | None]
    exit_code: Mapped[int | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    archived_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class ResearchSession(Base):
    """One line of inquiry: a sequence of experiments."""

    __tablename__ = "sessions"
    __table_args__ = (
        ForeignKeyConstraint(["org_id", "project_id"], ["projects.org_id", "projects.id"]),
        Index(None, "org_id", "project_id", "created_at", "id"),
        {"info": ORG},
    )

    org_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    tag: Mapped[str | None]
    branch: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class Experiment(Base):
    """One tried change, with its true number in the project."""

    __tablename__ = "experiments"
    __table_args__ = (
        ForeignKeyConstraint(["org_id", "project_id"], ["projects.org_id", "projects.id"]),
        ForeignKeyConstraint(["org_id", "session_id"], ["sessions.org_id", "sessions.id"]),
        UniqueConstraint("org_id", "project_id", "index"),
        Index(None, "org_id", "project_id", "repro_key"),
        Index(None, "org_id", "session_id"),
        {"info": ORG},
    )

    org_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    session_id: Mapped[str]
    index: Mapped[int]
    note: Mapped[str | None]
    commit: Mapped[str | None]
    parent: Mapped[str | None]
    parent_id: Mapped[str | None]
    run_id: Mapped[str | None]
    config: Mapped[dict[str, Any] | None] = mapped_column(Json)
    diff_sha: Mapped[str | None]
    repro_key: Mapped[str]
    tree_sha: Mapped[str | None]
    decision_count: Mapped[int] = mapped_column(BigInteger, default=0)
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    # Read only where they are asked for: they are the big ones.
    diff: Mapped[str | None] = mapped_column(deferred=True)
    tree: Mapped[list[dict[str, Any]] | None] = mapped_column(Json, deferred=True)


class Decision(Base):
    """A verdict on an experiment. Verdicts are appended; the one with the highest number counts."""

    __tablename__ = "decisions"
    __table_args__ = (
        ForeignKeyConstraint(["org_id", "experiment_id"], ["experiments.org_id", "experiments.id"]),
        UniqueConstraint("org_id", "experiment_id", "number"),
        Index(None, "org_id", "project_id"),
        {"info": ORG},
    )

    org_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    experiment_id: Mapped[str]
    number: Mapped[int]
    status: Mapped[str]
    score: Mapped[float | None] = mapped_column(Float(53))
    metric: Mapped[str]
    # The direction as it was when the verdict was given: a later change of the goal does not rewrite history.
    lower_is_better: Mapped[bool]
    note: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class Embed(Base):
    """An address under which anybody sees one picture of a project. Revoked ones are gone."""

    __tablename__ = "embeds"
    __table_args__ = (
        ForeignKeyConstraint(["org_id", "project_id"], ["projects.org_id", "projects.id"]),
        UniqueConstraint("org_id", "hash"),
        Index(None, "org_id", "project_id"),
        {"info": ORG},
    )

    org_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    kind: Mapped[str]
    hash: Mapped[bytes]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class Blob(Base):
    """Bytes that an organization uploaded, by their SHA-256. The bytes themselves are in the blob store."""

    __tablename__ = "blobs"
    __table_args__ = ({"info": ORG},)

    org_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("organizations.id"), primary_key=True)
    sha: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int]
    # A short hash of each block, so that a part of the blob can be verified without reading all of it.
    blocks: Mapped[bytes]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    # When somebody last sent it or was told that it is here: nobody may sweep it for a while after.
    leased_at: Mapped[datetime]


class BlobContent(Base):
    """Which upload holds the bytes of a blob, when the database is the blob store."""

    __tablename__ = "blob_contents"
    __table_args__ = (Index(None, "org_id", "upload_id"), {"info": ORG})

    org_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    sha: Mapped[str] = mapped_column(primary_key=True)
    upload_id: Mapped[str]


class BlobChunk(Base):
    """A mebibyte of an upload. Without a row in `blob_contents` that names the upload, nobody can read it."""

    __tablename__ = "blob_chunks"
    __table_args__ = (Index(None, "org_id", "created_at"), {"info": ORG})

    org_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    upload_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    created_at: Mapped[datetime]
    data: Mapped[bytes]


class File(Base):
    """A file that belongs to a project, and perhaps to a run or an experiment: a blob, or a URI that is only stored."""

    __tablename__ = "files"
    __table_args__ = (
        ForeignKeyConstraint(["org_id", "project_id"], ["projects.org_id", "projects.id"]),
        Index(None, "org_id", "project_id", "created_at", "id"),
        Index(None, "org_id", "run_id"),
        Index(None, "org_id", "experiment_id"),
        {"info": ORG},
    )

    org_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    run_id: Mapped[str | None]
    experiment_id: Mapped[str | None]
    name: Mapped[str]
    uri: Mapped[str | None]
    sha: Mapped[str | None]
    size: Mapped[int | None]
    content_type: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class Artifact(Base):
    """A named output of a project. Its versions are numbered from 1 without gaps."""

    __tablename__ = "artifacts"
    __table_args__ = (
        ForeignKeyConstraint(["org_id", "project_id"], ["projects.org_id", "projects.id"]),
        UniqueConstraint("org_id", "project_id", "name"),
        Index(None, "org_id", "name"),
        Index(None, "org_id", "created_at", "id"),
        {"info": ORG},
    )

    org_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    name: Mapped[str]
    type: Mapped[str | None]
    version_count: Mapped[int]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class ArtifactVersion(Base):
    """One state of an artifact, for ever. The same tree is the same version."""

    __tablename__ = "artifact_versions"
    __table_args__ = (
        ForeignKeyConstraint(["org_id", "artifact_id"], ["artifacts.org_id", "artifacts.id"]),
        UniqueConstraint("org_id", "artifact_id", "digest"),
        {"info": ORG},
    )

    org_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    artifact_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    digest: Mapped[str]
    file_count: Mapped[int]
    size: Mapped[int]
    # "metadata" itself is taken: it is the name of the schema in every model.
    details: Mapped[dict[str, Any]] = mapped_column("metadata", Json)
    entries: Mapped[list[dict[str, Any]]] = mapped_column(Json, deferred=True)
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class ArtifactRef(Base):
    """A movable name, such as `winner`, and the version to which it points now."""

    __tablename__ = "artifact_refs"
    __table_args__ = (
        ForeignKeyConstraint(
            ["org_id", "artifact_id", "version"],
            ["artifact_versions.org_id", "artifact_versions.artifact_id", "artifact_versions.number"],
        ),
        {"info": ORG},
    )

    org_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    artifact_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]


class ArtifactMove(Base):
    """A ref was moved: where to, by whom, when. Never changed afterwards."""

    __tablename__ = "artifact_moves"
    __table_args__ = (
        ForeignKeyConstraint(["org_id", "artifact_id"], ["artifacts.org_id", "artifacts.id"]),
        Index(None, "org_id", "artifact_id"),
        {"info": ORG},
    )

    org_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    artifact_id: Mapped[str]
    ref: Mapped[str]
    version: Mapped[int]
    previous: Mapped[int | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class ArtifactLink(Base):
    """Lineage: a run or an experiment that made a version (`producer`) or used it (`consumer`)."""

    __tablename__ = "artifact_links"
    __table_args__ = (
        ForeignKeyConstraint(
            ["org_id", "artifact_id", "version"],
            ["artifact_versions.org_id", "artifact_versions.artifact_id", "artifact_versions.number"],
        ),
        Index(None, "org_id", "target_id"),
        {"info": ORG},
    )

    org_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    artifact_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    target_id: Mapped[str] = mapped_column(primary_key=True)
    created_by: Mapped[str]
    created_at: Mapped[datetime]
