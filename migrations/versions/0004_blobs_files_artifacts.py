"""Blobs, files and artifacts with their versions, refs and lineage."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from arwx.models import Json, Moment

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "blobs",
        _org(),
        _text("sha"),
        _number("size"),
        sa.Column("blocks", sa.LargeBinary(), nullable=False),
        *_made(),
        sa.Column("leased_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organizations.id"], name="fk_blobs_organizations"),
        sa.PrimaryKeyConstraint("org_id", "sha", name="pk_blobs"),
    )
    op.create_table(
        "blob_contents",
        _org(),
        _text("sha"),
        _text("upload_id"),
        sa.PrimaryKeyConstraint("org_id", "sha", name="pk_blob_contents"),
    )
    op.create_index("ix_blob_contents_org_id_upload_id", "blob_contents", ["org_id", "upload_id"])
    op.create_table(
        "blob_chunks",
        _org(),
        _text("upload_id"),
        _number("number"),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "upload_id", "number", name="pk_blob_chunks"),
    )
    op.create_index("ix_blob_chunks_org_id_created_at", "blob_chunks", ["org_id", "created_at"])
    op.create_table(
        "files",
        _org(),
        _text("id"),
        _text("project_id"),
        _text("run_id", nullable=True),
        _text("experiment_id", nullable=True),
        _text("name"),
        _text("uri", nullable=True),
        _text("sha", nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        _text("content_type", nullable=True),
        *_made(),
        _of_project("files"),
        sa.PrimaryKeyConstraint("org_id", "id", name="pk_files"),
    )
    op.create_index("ix_files_org_id_project_id_created_at_id", "files", ["org_id", "project_id", "created_at", "id"])
    op.create_index("ix_files_org_id_run_id", "files", ["org_id", "run_id"])
    op.create_index("ix_files_org_id_experiment_id", "files", ["org_id", "experiment_id"])
    op.create_table(
        "artifacts",
        _org(),
        _text("id"),
        _text("project_id"),
        _text("name"),
        _text("type", nullable=True),
        _number("version_count"),
        *_made(),
        _of_project("artifacts"),
        sa.PrimaryKeyConstraint("org_id", "id", name="pk_artifacts"),
        sa.UniqueConstraint("org_id", "project_id", "name", name="uq_artifacts_org_id_project_id_name"),
    )
    op.create_index("ix_artifacts_org_id_name", "artifacts", ["org_id", "name"])
    op.create_index("ix_artifacts_org_id_created_at_id", "artifacts", ["org_id", "created_at", "id"])
    op.create_table(
        "artifact_versions",
        _org(),
        _text("artifact_id"),
        _number("number"),
        _text("digest"),
        _number("file_count"),
        _number("size"),
        sa.Column("metadata", Json(), nullable=False),
        sa.Column("entries", Json(), nullable=False),
        *_made(),
        _of_artifact("artifact_versions"),
        sa.PrimaryKeyConstraint("org_id", "artifact_id", "number", name="pk_artifact_versions"),
        sa.UniqueConstraint("org_id", "artifact_id", "digest", name="uq_artifact_versions_org_id_artifact_id_digest"),
    )
    op.create_table(
        "artifact_refs",
        _org(),
        _text("artifact_id"),
        _text("name"),
        _number("version"),
        _of_version("artifact_refs"),
        sa.PrimaryKeyConstraint("org_id", "artifact_id", "name", name="pk_artifact_refs"),
    )
    op.create_table(
        "artifact_moves",
        _org(),
        _text("id"),
        _text("artifact_id"),
        _text("ref"),
        _number("version"),
        sa.Column("previous", sa.BigInteger(), nullable=True),
        *_made(),
        _of_artifact("artifact_moves"),
        sa.PrimaryKeyConstraint("org_id", "id", name="pk_artifact_moves"),
    )
    op.create_index("ix_artifact_moves_org_id_artifact_id", "artifact_moves", ["org_id", "artifact_id"])
    op.create_table(
        "artifact_links",
        _org(),
        _text("artifact_id"),
        _number("version"),
        _text("role"),
        _text("kind"),
        _text("target_id"),
        *_made(),
        _of_version("artifact_links"),
        sa.PrimaryKeyConstraint(
            "org_id", "artifact_id", "version", "role", "kind", "target_id", name="pk_artifact_links"
        ),
    )
    op.create_index("ix_artifact_links_org_id_target_id", "artifact_links", ["org_id", "target_id"])
    if op.get_bind().dialect.name == "postgresql":
        # Weights and archives hardly shrink; PostgreSQL must not try to compress every mebibyte of them.
        op.execute("ALTER TABLE blob_chunks ALTER COLUMN data SET STORAGE EXTERNAL")


def _org() -> sa.Column[Any]:
    return _number("org_id")


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _number(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _made() -> tuple[sa.Column[Any], sa.Column[Any]]:
    return _text("created_by"), sa.Column("created_at", Moment(), nullable=False)


def _of_project(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["org_id", "project_id"], ["projects.org_id", "projects.id"], name=f"fk_{table}_projects"
    )


def _of_artifact(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["org_id", "artifact_id"], ["artifacts.org_id", "artifacts.id"], name=f"fk_{table}_artifacts"
    )


def _of_version(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["org_id", "artifact_id", "version"],
        ["artifact_versions.org_id", "artifact_versions.artifact_id", "artifact_versions.number"],
        name=f"fk_{table}_artifact_versions",
    )
